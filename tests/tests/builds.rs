//! What builds, debuggers and a browser do works in a jail as it does without.

use httpjail_tests::{Finished, Lab};

/// The script does its work without a jail, and in one by root and by a plain user.
fn assert_works_alike(script: &str, worked: impl Fn(&Finished) -> bool) {
    let lab = Lab::new();
    let outside = lab.outside().sh(script);
    assert!(outside.code == Some(0) && worked(&outside), "without a jail: {outside:?}");
    for jail in [lab.jail(), lab.jail().as_user()] {
        let jailed = jail.sh(script);
        assert!(jailed.code == Some(0) && worked(&jailed), "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn make_shares_its_jobs() {
    let script = "cd $(mktemp -d -p .) && cat > Makefile <<'END'
all: a b
\t@$(MAKE) --no-print-directory c
a b c d:
\t@cp Makefile $@ && echo made $@
c: d
END
        make -j2 2>&1 | sort";
    assert_works_alike(script, |ran| ran.stdout == "made a\nmade b\nmade c\nmade d\n");
}

/// A program is stopped, looked into, and goes on to its end.
#[test]
fn gdb_runs_a_program() {
    let script = "gdb -nx -batch -ex 'catch syscall exit_group' -ex run -ex 'info registers rip' \
        -ex 'print $pc != 0' -ex continue --args sh -c 'exit 3' 2>&1";
    assert_works_alike(script, |ran| {
        ["Catchpoint 1 (call to syscall exit_group)", "$1 = 1", "exited with code 03"]
            .iter()
            .all(|text| ran.stdout.contains(text))
    });
}

#[test]
fn strace_follows_children() {
    let script = "cd $(mktemp -d -p .) && strace -f -qq -e trace=exit_group -o trace \
        sh -c '(exit 3); (exit 4); exit 5'; cut -d' ' -f2- trace";
    assert_works_alike(script, |ran| {
        ["3", "4", "5"].iter().all(|code| ran.stdout.contains(&format!("exit_group({code})")))
    });
}

/// The browser keeps its own sandbox: as a plain user it ends if it can't have one. It has a list of
/// authorities of its own, to which the user's database of certificates adds.
#[test]
fn chromium_shows_a_page() {
    const TRUST: &str = "mkdir -p $HOME/.pki/nssdb
        certutil -d sql:$HOME/.pki/nssdb -N --empty-password
        certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n jail -i $NODE_EXTRA_CA_CERTS";
    // Nothing but what is asked for, as far as the browser can be told.
    const QUIET: &str = "--no-first-run --disable-background-networking --disable-component-update";
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let script = format!(
        "export HOME=$(realpath $(mktemp -d -p .)); {TRUST}
         chromium --headless --disable-gpu {QUIET} --dump-dom https://a.test/ 2> err || tail err"
    );
    let outside = lab.outside().as_user().sh(&script);
    assert!(outside.stdout.contains("hello from a.test"), "without a jail: {outside:?}");
    let allowed = lab.jail().as_user().js("r.host === 'a.test'").sh(&script);
    assert!(allowed.stdout.contains("hello from a.test"), "{allowed:?}");
    let before = a.seen().len();
    let denied = lab.jail().as_user().js("false").sh(&script);
    assert!(denied.stdout.contains("blocked by httpjail"), "the browser shows why: {denied:?}");
    assert_eq!(a.seen().len(), before, "a denied request got out");
    lab.assert_clean();
}
