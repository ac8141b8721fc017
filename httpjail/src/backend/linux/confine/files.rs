//! Landlock: files to read, none to write, no signals to others, no abstract sockets of others.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

/// What resolvers and certificate stores read, wherever a distribution keeps it: configuration,
/// the modules of the name service switch, and the caches of its daemons.
const READABLE: [&str; 10] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run",
    "/var/lib/sss",
    "/nix/store",
    "/gnu/store",
    "/dev/urandom",
    "/sys/devices/system/cpu",
];

/// The newest rules that are asked for (Linux 6.12); an older kernel gives those it knows.
const NEWEST: ABI = ABI::V6;

pub(super) fn restrict(also: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(also, read))?
        .restrict_self()?;
    Ok(status.ruleset)
}
