//! From a plan to an armed jail: the command is in its cgroup and waits for the word.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    SessionError,
    control::{Channel, Ready},
    proxy_role::{self, ProxyRole},
    reap::{self, JAIL_PREFIX},
    run_dir::RunDir,
};
use crate::{
    backend::linux::{
        backstop::Backstop,
        cgroup::{CgroupDir, Hierarchy},
        maps::{Endpoints, JailId},
        parent::Parent,
        role::{self, Role, RolePlan},
        signals::Signals,
        spawn::{self, Child, SpawnPlan},
        user::Identity,
    },
    cli::plan::RunPlan,
    record::LogFile,
    tls::child_trust,
};

/// How long the proxy may take until it listens: a key, two certificates, four sockets.
const PROXY_START: Duration = Duration::from_secs(10);
/// How long the proxy may take to write its last records.
const PROXY_END: Duration = Duration::from_secs(10);
/// How long killed processes may take to go.
const JAIL_END: Duration = Duration::from_secs(10);

/// The plan is sound on this machine; nothing has been made.
pub(super) struct Planned {
    plan: RunPlan,
    identity: Option<Identity>,
    hierarchy: Hierarchy,
    signals: Signals,
    log: Option<LogFile>,
}

impl Planned {
    /// Checks what can be checked without making anything.
    ///
    /// # Errors
    ///
    /// Not root, no cgroup v2, a request log that can't be opened.
    pub(super) fn check(plan: RunPlan) -> Result<Self, SessionError> {
        if !rustix::process::geteuid().is_root() {
            return Err(SessionError::NotRoot);
        }
        let hierarchy = Hierarchy::find()?;
        let identity = Identity::invoking().map_err(SessionError::Spawn)?;
        let log = plan
            .request_log
            .as_deref()
            .map(|path| {
                LogFile::open(path)
                    .map_err(|source| SessionError::Log { path: path.to_owned(), source })
            })
            .transpose()?;
        let signals = Signals::block().map_err(SessionError::Signals)?;
        Ok(Self { plan, identity, hierarchy, signals, log })
    }
}

/// The command's process is in the jail and waits; everything that holds it is up.
///
/// Fields are dropped in order: the command, the proxy and the jail's kernel objects go before
/// the run's folder, whose lock tells other runs that this one lives.
pub(super) struct Armed {
    command: Child,
    proxy: Proxy,
    jail: Jail,
    inspect: Option<Channel>,
    parent: Parent,
    hierarchy: Hierarchy,
    signals: Signals,
    timeout: Option<Duration>,
    _run_dir: RunDir,
}

impl Planned {
    /// Puts the jail up. The proxy and the command are started first, so that they get ready
    /// while the kernel side is armed; neither can do anything before.
    ///
    /// # Errors
    ///
    /// Whatever can't be put up; all that was is taken down again.
    pub(super) fn arm(self) -> Result<Armed, SessionError> {
        let Self { plan, identity, hierarchy, signals, log } = self;
        let run_dir = RunDir::create().map_err(SessionError::RunDir)?;
        let parent = Parent::ensure(&hierarchy)?;
        Backstop::ensure(parent.dir().id(), parent.level()).map_err(SessionError::Backstop)?;
        let jail = Jail::make(&parent, &run_dir)?;
        let (control, theirs) = Channel::pair().map_err(SessionError::Proxy)?;
        let (inspect, asks) = Channel::pair().map_err(SessionError::Proxy)?;
        let role = ProxyRole {
            control: theirs,
            inspect: asks,
            kill_switch: jail.kill_switch().map_err(SessionError::Proxy)?,
            log,
            rules: plan.rules,
            upstream: plan.upstream,
            flows: parent.maps().flows(jail.id)?,
        };
        let uid = proxy_role::uid(identity.as_ref().map(Identity::uid));
        let proxy = Proxy::start(role, uid, control)?;
        let command = spawn::spawn(SpawnPlan {
            command: plan.command,
            args: plan.args,
            environment: child_trust::environment(run_dir.path()),
            cgroup: jail.dir.fd(),
            identity,
        })
        .map_err(SessionError::Spawn)?;
        let ready = proxy.ready()?;
        child_trust::write(run_dir.path(), &ready.ca_pem).map_err(SessionError::Bundle)?;
        jail.arm(&parent, &ready)?;
        Ok(Armed {
            command,
            proxy,
            jail,
            inspect: Some(inspect),
            parent,
            hierarchy,
            signals,
            timeout: plan.timeout,
            _run_dir: run_dir,
        })
    }
}
