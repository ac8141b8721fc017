//! `httpjail doctor` tells how the guards stand, and leaves nothing.

use httpjail_tests::{Lab, programs};

#[test]
fn finds_every_mandatory_guard_on_the_test_machine() {
    let lab = Lab::new();
    let told = lab.outside().run([programs::httpjail().as_os_str(), "doctor".as_ref()]).exits(0);
    for guard in
        ["privileges", "cgroup v2", "eBPF programs", "nftables rule", "namespaces", "seccomp"]
    {
        let line = told.stdout.lines().find(|line| line.starts_with(guard)).expect(guard);
        assert!(line.contains(" holds "), "{line}");
    }
    lab.assert_clean();
}

#[test]
fn works_without_root_and_says_what_it_could_not_try() {
    let lab = Lab::new();
    let httpjail = lab.home().join("httpjail");
    std::fs::copy(programs::httpjail(), &httpjail).expect("everybody may run a copy");
    let told = lab
        .outside()
        .as_user()
        .run([httpjail.as_os_str(), "doctor".as_ref(), "--json".as_ref()])
        .exits(1);
    let report: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    let state = |guard: &str| {
        let guards = report["guards"].as_array().expect("a list");
        let found = guards.iter().find(|entry| entry["guard"] == guard).expect(guard);
        found["state"].as_str().expect("a text").to_owned()
    };
    assert_eq!(state("privileges"), "missing");
    assert_eq!(state("eBPF programs"), "unknown");
    assert_eq!(state("cgroup v2"), "holds");
    lab.assert_clean();
}
