//! The process that parses what the jail sends holds no privilege.

use std::collections::HashMap;
use std::fs;

use httpjail_tests::Lab;

/// What `/proc/PID/status` says.
fn status(pid: u32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn the_proxy_is_confined() {
    let lab = Lab::new();
    let mut jail = lab.jail().js("true").start(["sh", "-c", "echo ready; read end"]);
    jail.line("ready");
    let supervisor = status(jail.pid());
    assert_eq!((supervisor["Seccomp"].as_str(), supervisor["NoNewPrivs"].as_str()), ("0", "0"));
    let proxy = status(jail.proxy().as_raw_pid().unsigned_abs());
    for ids in ["Uid", "Gid"] {
        let ids: Vec<u32> =
            proxy[ids].split_whitespace().map(|id| id.parse().expect("a number")).collect();
        assert!(ids.iter().all(|id| *id >= 61184 && *id == ids[0]), "{ids:?}");
    }
    assert_eq!(proxy["Groups"], "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(proxy[set], "0000000000000000", "{set}");
    }
    assert_eq!(proxy["NoNewPrivs"], "1");
    assert_eq!(proxy["Seccomp"], "2", "a filter of system calls");
    jail.close_stdin();
    jail.finish();
    lab.assert_clean();
}
