//! What a process can say about itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use httpjail_tests::act::{Refusal, Step};
use serde_json::{Value, json};

use crate::arguments::Arguments;

/// The open descriptors and what they lead to.
pub(crate) fn descriptors(_: &Arguments) -> Result<Value, Refusal> {
    let folder = fs::read_dir("/proc/self/fd").step("opendir")?;
    let paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    // The descriptor of the listing itself is closed by now, and leads nowhere.
    let open = paths.iter().filter_map(|path| {
        let target = fs::read_link(path).ok()?;
        let number = path.file_name()?.to_string_lossy().into_owned();
        Some((number, target.to_string_lossy().into_owned()))
    });
    Ok(json!(open.collect::<BTreeMap<_, _>>()))
}

/// Identity, cgroup, environment.
pub(crate) fn identity(_: &Arguments) -> Result<Value, Refusal> {
    let status = fs::read_to_string("/proc/self/status").step("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let cgroups = fs::read_to_string("/proc/self/cgroup").step("/proc/self/cgroup")?;
    let cgroup = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let environment: BTreeMap<_, _> = std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect();
    Ok(json!({
        "pid": std::process::id(),
        "uid": field("Uid"),
        "gid": field("Gid"),
        "groups": field("Groups"),
        "capabilities": field("CapEff"),
        "no_new_privileges": field("NoNewPrivs"),
        "cgroup": cgroup,
        "folder": std::env::current_dir().step("getcwd")?,
        "environment": environment,
    }))
}

/// Says that it is there, and stays until it is killed.
pub(crate) fn hang(_: &Arguments) -> Result<Value, Refusal> {
    println!("{}", json!({ "hanging": std::process::id() }));
    io::Write::flush(&mut io::stdout()).step("write")?;
    loop {
        std::thread::park();
    }
}
