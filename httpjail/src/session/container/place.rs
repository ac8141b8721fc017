//! The cgroup below which the engine puts a container: the jail.

use std::path::{Path, PathBuf};

use super::engine::{Engine, Kind};
use crate::{
    backend::linux::{
        cgroup::{CgroupDir, Hierarchy},
        parent::Parent,
    },
    session::{SessionError, jail::Jail, run_dir::RunDir},
};

/// What jails that engines make are called: this, the run's id, and the end. Systemd wants that end,
/// and takes the part before a hyphen for the slice around.
const SLICE: &str = "httpjail";
const SLICE_END: &str = ".slice";

/// Where the jail's cgroup is, and how the engine names it.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// For `--cgroup-parent`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Whether the engine makes it.
    is_engines: bool,
}

impl Cgroup {
    /// Finds a place that the engine can use, and notes it for whoever has to sweep. Podman's tool,
    /// which is told to keep cgroups itself, takes one that is there. Docker's engine may leave them to
    /// systemd, which makes them and no others.
    pub(super) fn choose(
        engine: &Engine<'_>,
        hierarchy: &Hierarchy,
        parent: &Parent,
        run_dir: &RunDir,
    ) -> Result<(Self, Option<Jail>), SessionError> {
        let Kind::Docker { has_systemd } = engine.kind else {
            let jail = Jail::make(parent, run_dir)?;
            let path = jail.dir().path().to_owned();
            let below = path.strip_prefix(hierarchy.root()).unwrap_or(&path);
            let name = format!("/{}", below.display());
            return Ok((Self { name, path, is_engines: false }, Some(jail)));
        };
        let slice = format!("{SLICE}-{}{SLICE_END}", run_dir.id());
        let around = if has_systemd { format!("{SLICE}{SLICE_END}") } else { String::new() };
        let path = hierarchy.root().join(around).join(&slice);
        // Without systemd a name is a path; one that isn't absolute may begin at the engine's own.
        let name = if has_systemd { slice } else { format!("/{slice}") };
        run_dir.note_cgroup(&path).map_err(SessionError::RunDir)?;
        Ok((Self { name, path, is_engines: true }, None))
    }

    /// Takes over what the engine has made.
    pub(super) fn take_over(
        &self,
        parent: &Parent,
        made: Option<Jail>,
    ) -> Result<Jail, SessionError> {
        made.map_or_else(|| Jail::adopt(parent, &self.path), Ok)
    }
}

impl Drop for Cgroup {
    /// What the engine has made goes with the jail; this is for what never became one.
    fn drop(&mut self) {
        if self.is_engines
            && let Ok(dir) = CgroupDir::open(&self.path)
        {
            let _ = dir.remove();
        }
    }
}

/// Whether a cgroup's name is one of those.
pub(in crate::session) fn is_slice(name: &str) -> bool {
    let id = name.strip_prefix(SLICE).and_then(|rest| rest.strip_prefix('-'));
    let id = id.and_then(|rest| rest.strip_suffix(SLICE_END));
    id.is_some_and(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a process's cgroup is below the jail.
pub(super) fn holds(jail: &Path, hierarchy: &Hierarchy, pid: u32) -> bool {
    hierarchy.of_process(pid).is_some_and(|cgroup| cgroup.starts_with(jail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_slices() {
        assert!(is_slice("httpjail-0123abcd.slice"));
        for other in ["httpjail.slice", "httpjail-0123abcd", "httpjail-user.slice", "user.slice"] {
            assert!(!is_slice(other), "{other}");
        }
    }
}
