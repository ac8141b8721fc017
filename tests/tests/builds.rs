//! What builds and debuggers do works in a jail as it does without.

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
