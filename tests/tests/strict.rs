//! `--strict` runs nothing where a guard is missing that jails can do without.

use httpjail_tests::{Finished, Lab, programs};

const LACKING: &str = "this host lacks the guard Landlock";

/// Runs httpjail as on a kernel without Landlock.
fn without_landlock(lab: &Lab, options: &[&str]) -> Finished {
    let (probe, httpjail) = (lab.probe(), programs::httpjail());
    let mut line = vec![probe.to_str().expect("a path of the lab's"), "without", "landlock", "--"];
    line.push(httpjail.to_str().expect("a path of the build's"));
    line.extend(options);
    line.extend(["--", "echo", "ran"]);
    lab.outside().run(line)
}

#[test]
fn runs_where_every_guard_is_there() {
    let lab = Lab::new();
    let jailed = lab.jail().option("--strict").run(["echo", "ran"]).exits(0);
    assert_eq!(jailed.stdout, "ran\n");
    assert!(!jailed.stderr.contains(LACKING), "{}", jailed.stderr);
    lab.assert_clean();
}

#[test]
fn runs_nothing_where_a_guard_is_missing() {
    let lab = Lab::new();
    let jailed = without_landlock(&lab, &["--strict"]).exits(125);
    assert_eq!(jailed.stdout, "");
    let told = "failed to put up the guard Landlock, which --strict asks for";
    assert!(jailed.stderr.contains(told), "{}", jailed.stderr);
    assert!(jailed.stderr.contains("hint: it takes Linux 6.12"), "{}", jailed.stderr);
    lab.assert_clean();
}

#[test]
fn warns_once_of_a_missing_guard_without_the_option() {
    let lab = Lab::new();
    let jailed = without_landlock(&lab, &[]).exits(0);
    assert_eq!(jailed.stdout, "ran\n");
    assert_eq!(jailed.stderr.matches(LACKING).count(), 1, "{}", jailed.stderr);
    assert_eq!(jailed.stderr.lines().count(), 1, "{}", jailed.stderr);
    lab.assert_clean();
}
