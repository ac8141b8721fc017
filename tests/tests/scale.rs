//! A thousand jails, one after another and beside each other, and nothing is left of them.

use httpjail_tests::{Lab, cgroup, programs};

const ROUNDS: usize = 5;
/// Jails of a round that do nothing, four at once.
const IDLE: usize = 190;
/// Jails of a round that make a request, one after another.
const ASKING: usize = 10;

/// Counts what jails could leave. The maps are those of the programs at the parents: other tests'
/// jails, which are of other machines, as it were, have others of the same names.
const COUNT: &str = r#"
count() {
    echo cgroups $(find "$cgroups" -type d -name 'jail-*' | wc -l), \
        runs $(ls /run/httpjail | wc -l), mounts $(wc -l < /proc/self/mountinfo), \
        sockets $(sockets), entries $(entries)
}
sockets() {
    ss -Htuna | grep -vc TIME-WAIT
}
entries() {
    for parent in "$cgroups"/httpjail-*; do
        bpftool --json cgroup show "$parent" | grep -o '"id":[0-9]*' | cut -d: -f2
    done | sort -u | while read program; do
        bpftool --json prog show id $program | grep -o '"map_ids":\[[0-9,]*' | grep -o '[0-9]*'
    done | sort -u | while read map; do
        case $(bpftool --json map show id $map) in
            *'"name":"JAILS"'* | *'"name":"FLOWS"'* | *'"name":"COUNTERS"'* | \
            *'"name":"REFUSALS"'*)
                bpftool --json map dump id $map | grep -o '"key":' ;;
        esac
    done | wc -l
}
"#;

#[test]
fn a_thousand_jails_leave_nothing() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let head = format!(
        "httpjail={} cgroups={}\n{COUNT}",
        programs::httpjail().display(),
        cgroup::mount().display(),
    );
    let sh =
        |script: &str| lab.outside().secluded().sh(&format!("{head}\n{script}")).exits(0).stdout;
    let living = sh("mkfifo ready go
        $httpjail -- sh -c 'exec 3<> go; echo > ready; read line < go' & read line < ready
        count; echo > go; wait; count");
    let (living, before) = living.split_once('\n').expect("two lines");
    // An entry of its own, its counters, and what its init was refused: a datagram and a packet by
    // either family; a listener and a stub by either family.
    assert!(living.starts_with("cgroups 1, runs 2, "), "the one that lives: {living}");
    assert!(living.ends_with("sockets 4, entries 6"), "the one that lives: {living}");
    assert!(before.starts_with("cgroups 0, runs 1, "), "the lock of all runs stays: {before}");
    assert!(before.ends_with("sockets 0, entries 0\n"), "{before}");
    for _ in 0..ROUNDS {
        // The origin may be slow to close the last connection; those of a jail that lasted would
        // outlast the test's deadline.
        let after = sh(&format!(
            "seq {IDLE} | xargs -P 4 -I {{}} $httpjail -- true || echo failed
             for number in $(seq {ASKING}); do
                $httpjail --js true -- curl -sS -o /dev/null http://a.test/ || echo failed
             done
             until test $(sockets) = 0; do :; done; count"
        ));
        assert_eq!(after, before);
    }
    assert_eq!(origin.seen().len(), ROUNDS * ASKING);
    lab.assert_clean();
}
