//! What is checked, opened and taken over before anything is made for a container.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    backend::linux::{
        cgroup::Hierarchy,
        signals::Signals,
        spawn,
        user::{self, Identity},
    },
    cli::plan::{ContainerPlan, RunPlan},
    session::{
        SessionError,
        arm::enough_descriptors,
        doors, host,
        log::{self, Owners},
        rule_files,
        service::{self, Files},
        way_out,
    },
    upstream::Options,
};

/// The plan is sound on this machine; nothing has been made.
pub(super) struct Prepared {
    pub(super) plan: RunPlan,
    /// The tool, if one was named.
    pub(super) engine: Option<OsString>,
    pub(super) upstream: Options,
    /// Sockets that the container may have mounted.
    pub(super) sockets: Vec<PathBuf>,
    /// The user who called, whose the files of logs are.
    pub(super) identity: Option<Identity>,
    pub(super) inherited: spawn::Signals,
    pub(super) signals: Signals,
    pub(super) hierarchy: Hierarchy,
    pub(super) files: Files,
    pub(super) owners: Owners,
}

impl Prepared {
    /// Checks what can be checked without making anything.
    ///
    /// # Errors
    ///
    /// Not root, no cgroup v2, files that can't be opened.
    pub(super) fn check(plan: ContainerPlan) -> Result<Self, SessionError> {
        let ContainerPlan { run: plan, engine } = plan;
        if !rustix::process::geteuid().is_root() {
            return Err(SessionError::NotRoot);
        }
        enough_descriptors(service::workers(&plan.proxy))?;
        let hierarchy = Hierarchy::find().map_err(SessionError::Hierarchy)?;
        let identity = user::of_command(None)?;
        rule_files::tell_of_changeable(&plan.proxy.rules, identity.as_ref(), plan.lacking)?;
        let sockets = host::sockets(&plan.allow_unix)?;
        doors::announce(&plan, &sockets, false);
        let upstream = way_out::options(&plan.proxy.upstream, identity.as_ref())?;
        let (files, owners) = log::open_all(&plan.proxy, identity.as_ref())?;
        let inherited = spawn::Signals::capture();
        let signals = Signals::block().map_err(SessionError::Signals)?;
        Ok(Self {
            plan,
            engine,
            upstream,
            sockets,
            identity,
            inherited,
            signals,
            hierarchy,
            files,
            owners,
        })
    }
}
