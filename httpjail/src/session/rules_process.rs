//! The process that runs a rule's program, as the supervisor sees it: made before the proxy, told to
//! end after it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{
    SessionError,
    control::{Channel, STOP},
    proxy_process::wait_for,
    reap::RULES_PREFIX,
    rules_role::{self, RulesRole},
    run_dir::RunDir,
};
use crate::{
    backend::linux::{
        cgroup::{CgroupDir, Hierarchy},
        role::{self, Role, RolePlan, RoleUser},
        user::{self, Identity},
    },
    rules::{Link, Program, Rules},
};

/// How long the program may take to be started.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end when it is told to, before it is killed.
const END: Duration = Duration::from_secs(1);
/// How long killed processes may take to go.
const DEATH: Duration = Duration::from_secs(5);

/// The process, and the cgroup of all that it starts. Dropped, they are killed and removed.
#[derive(Debug)]
pub(super) struct RulesProcess {
    role: Role,
    control: Channel,
    cgroup: Option<RulesCgroup>,
}

/// The cgroup of the rule's program, outside of the jail. Dropped, it ends.
#[derive(Debug)]
pub(super) struct RulesCgroup(CgroupDir);

impl RulesCgroup {
    /// Makes the cgroup beside the jails' parent, after it was noted for whoever has to sweep.
    ///
    /// # Errors
    ///
    /// When the note or the cgroup can't be made.
    pub(super) fn make(hierarchy: &Hierarchy, run_dir: &RunDir) -> Result<Self, SessionError> {
        let path = hierarchy.own().join(format!("{RULES_PREFIX}{}", run_dir.id()));
        run_dir.note_rules(&path).map_err(SessionError::RunDir)?;
        let dir = CgroupDir::create(&path).map_err(SessionError::Rules)?;
        // Like a jail's: who has another `/run` must not take it for a dead run's.
        if !dir.try_lock().map_err(SessionError::Rules)? {
            return Err(SessionError::Rules(io::ErrorKind::ResourceBusy.into()));
        }
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The open file that ends all in it when "1" is written to it, with no privilege asked.
    fn kill_switch(&self) -> io::Result<File> {
        File::options().write(true).open(self.path().join("cgroup.kill"))
    }
}

impl Drop for RulesCgroup {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait_empty(DEATH));
        if let Err(error) = ended.and_then(|()| self.0.remove()) {
            tracing::error!(%error, "what the rule's program started is still there");
        }
    }
}

/// Has the program of `rules` run by a process of its own, if they are one. `cgroup` makes the
/// place for it.
///
/// Must be called while this process has one thread.
///
/// # Errors
///
/// When the program can't be started: nothing else was run then.
pub(super) fn start(
    rules: Rules,
    cgroup: impl FnOnce() -> Result<Option<RulesCgroup>, SessionError>,
) -> Result<(Rules, Option<RulesProcess>), SessionError> {
    let program = match rules {
        Rules::Program(program) => program,
        rules @ (Rules::Absent | Rules::QuickJs(_) | Rules::Linked(_)) => return Ok((rules, None)),
    };
    let user = user::invoking_user()?;
    let environment = user::own_environment(std::env::vars_os(), user.as_ref());
    let program = program.with_environment(environment);
    let (process, link) = RulesProcess::start(program, user.as_ref(), cgroup()?)?;
    Ok((Rules::Linked(link), Some(process)))
}

impl RulesProcess {
    fn start(
        program: Program,
        user: Option<&Identity>,
        cgroup: Option<RulesCgroup>,
    ) -> Result<(Self, Link), SessionError> {
        let failed = SessionError::Rules;
        let (asks, answers) = UnixStream::pair().map_err(failed)?;
        let (control, listens) = Channel::pair().map_err(failed)?;
        let kill_switch = cgroup.as_ref().map(RulesCgroup::kill_switch).transpose();
        let kill_switch = kill_switch.map_err(failed)?;
        let role = RulesRole {
            program: program.clone(),
            control: listens,
            questions: answers,
            kill_switch,
        };
        let plan = RolePlan {
            name: c"httpjail-rules",
            user: RoleUser::Invoking(user),
            cgroup: cgroup.as_ref().map(RulesCgroup::path),
            keep: role.descriptors(),
        };
        let role = role::fork(&plan, move || role.main()).map_err(failed)?;
        let process = Self { role, control, cgroup };
        process.ready(&program)?;
        Ok((process, Link::new(&program, asks)))
    }

    /// Waits for its word that the program can be asked.
    fn ready(&self, program: &Program) -> Result<(), SessionError> {
        if !wait_for(self.control.as_fd(), START).map_err(SessionError::Rules)? {
            return Err(SessionError::Rules(io::ErrorKind::TimedOut.into()));
        }
        rules_role::take_report(&self.control, program)
    }

    /// Tells it to end: nobody asks any more.
    pub(super) fn stop(self) {
        // One that is dead already needs no word.
        let _ = self.control.send(STOP);
        if !matches!(wait_for(self.as_fd(), END), Ok(true)) {
            tracing::warn!("the rule's program did not end in time and was killed");
        }
    }
}

impl AsFd for RulesProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.role.pidfd.as_fd()
    }
}

impl Drop for RulesProcess {
    fn drop(&mut self) {
        self.role.kill();
        drop(self.cgroup.take());
    }
}
