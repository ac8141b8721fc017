//! Sweeping what dead runs left, and `httpjail cleanup`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    SessionError, Swept, container,
    run_dir::{self, DeadRun},
};
use crate::backend::linux::{
    JailId,
    backstop::Backstop,
    cgroup::{CgroupDir, Hierarchy},
    legacy,
    parent::{self, Parent},
};

/// How long killed processes may take to go before the sweep leaves them, without network, to
/// the next one.
const DEATH: Duration = Duration::from_secs(5);
/// Jail cgroups are called this and the run's id.
pub(super) const JAIL_PREFIX: &str = "jail-";
/// Cgroups of rules' programs are called this and the run's id.
pub(super) const RULES_PREFIX: &str = "httpjail-rules-";

/// Removes what dead runs left and, with `all`, the parents with their programs and their
/// nftables rules.
///
/// # Errors
///
/// When a parent can't be removed, or jails live that need it.
pub fn cleanup(all: bool) -> Result<Swept, SessionError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SessionError::NotRoot);
    }
    let hierarchy = Hierarchy::find().map_err(SessionError::Hierarchy)?;
    let parents = parent::all(&hierarchy);
    let orphans: usize = parents.iter().map(|parent| sweep_orphans(&hierarchy, parent)).sum();
    let mut swept = Swept { runs: sweep(&hierarchy, None) + orphans, parents: 0 };
    if !all {
        return Ok(swept);
    }
    let living = parents.iter().map(|parent| named(parent, JAIL_PREFIX).len()).sum();
    if living > 0 {
        return Err(SessionError::JailsLive(living));
    }
    // The keeper at the root stands last: what is shared from it goes first.
    for path in parents.iter().rev() {
        parent::remove(&hierarchy, path)
            .map_err(|source| SessionError::Remove { path: path.clone(), source })?;
        swept.parents += 1;
    }
    Backstop::remove_all()?;
    Ok(swept)
}

/// Ends and removes what dead runs left: their processes, cgroups, map entries and folders; the
/// number of runs swept. What resists is left, without network, to the next sweep.
///
/// `parent` is the parent in use, if there is one, whose orphans go, too.
pub(super) fn sweep(hierarchy: &Hierarchy, parent: Option<&Parent>) -> usize {
    let mut swept = 0;
    for run in DeadRun::all() {
        let cgroup = run.cgroup();
        let gone = cgroup.as_deref().is_none_or(|path| end_jail(hierarchy, path));
        let rules = run.rules();
        let rules_gone = rules.as_deref().is_none_or(|path| end_rules(hierarchy, path));
        if let Some(containers) = run.containers().filter(|_| gone) {
            container::forget(&containers);
        }
        if gone && rules_gone {
            run.remove();
            swept += 1;
        }
    }
    swept + parent.map_or(0, |parent| sweep_orphans(hierarchy, parent.dir().path()))
}

/// Ends and removes jails below a parent, and cgroups of rules' programs beside it, that no run's
/// folder belongs to: it was wiped, or swept by somebody who sees other cgroups, or the run ended, but
/// a process of its didn't. The number of runs that had left them.
fn sweep_orphans(hierarchy: &Hierarchy, parent: &Path) -> usize {
    let is_orphan = |(id, _): &(String, PathBuf)| !run_dir::exists(id);
    let jails = named(parent, JAIL_PREFIX).into_iter().filter(is_orphan);
    let jails = jails.filter(|(_, path)| end_jail(hierarchy, path));
    let beside = parent.parent().map(|place| named(place, RULES_PREFIX)).unwrap_or_default();
    let rules = beside.into_iter().filter(is_orphan);
    let rules = rules.filter(|(_, path)| end_rules(hierarchy, path));
    jails.chain(rules).map(|(id, _)| id).collect::<BTreeSet<_>>().len()
}

/// Ends one dead run's jail. `true`: nothing of it is left.
fn end_jail(hierarchy: &Hierarchy, path: &Path) -> bool {
    if !hierarchy.contains(path) || !is_jail(path) {
        tracing::warn!(path = %path.display(), "a run's note names no jail; left alone");
        return true;
    }
    let Ok(dir) = CgroupDir::open(path) else { return !path.exists() };
    if !dir.try_lock().unwrap_or(false) {
        return false;
    }
    if let Some(maps) = parent::maps_around(hierarchy, path)
        && let Err(error) = maps.disarm(JailId::of(&dir))
    {
        tracing::debug!(%error, "a dead jail's map entry could not be removed");
    }
    let ended = dir.kill().and_then(|()| dir.wait_empty(DEATH));
    match ended.and_then(|()| dir.remove()) {
        Ok(()) => {
            legacy::remove(hierarchy, path);
            true
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a dead run's processes are still there, without network");
            false
        }
    }
}

/// Ends what one dead run's rule had started. `true`: nothing of it is left.
fn end_rules(hierarchy: &Hierarchy, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let is_rules = name.is_some_and(|name| name.starts_with(RULES_PREFIX));
    if !hierarchy.contains(path) || !is_rules {
        tracing::warn!(path = %path.display(), "a run's note names no cgroup of a rule; left alone");
        return true;
    }
    let Ok(dir) = CgroupDir::open(path) else { return !path.exists() };
    if !dir.try_lock().unwrap_or(false) {
        return false;
    }
    let ended = dir.kill().and_then(|()| dir.wait_empty(DEATH));
    match ended.and_then(|()| dir.remove()) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the rule's program of a dead run is still there");
            false
        }
    }
}

/// The cgroups in `place` that are called `prefix` and a run's id, as (run id, cgroup).
fn named(place: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let id = name.to_str()?.strip_prefix(prefix)?;
            Some((id.to_owned(), entry.path()))
        })
        .collect()
}

/// Whether `path` has the name of a jail's cgroup.
fn is_jail(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(JAIL_PREFIX) || container::is_slice(name))
}
