//! What is around the command besides its cgroup, planned before the clone.

use super::{
    SpawnError, SpawnPlan, cmdline::CommandLine, landlock::Domain, seccomp::Filter,
    stand_ins::StandIns, view::View,
};
pub(super) use crate::backend::Privileges;

/// What the child puts up, in this order.
#[derive(Debug)]
pub(super) struct Guards {
    /// Whose arguments must not show as init's.
    pub(super) command_line: CommandLine,
    pub(super) view: View,
    pub(super) stand_ins: StandIns,
    /// None where there is no Landlock to be used.
    pub(super) domain: Option<Domain>,
    pub(super) filter: Filter,
    pub(super) privileges: Privileges,
}

impl Guards {
    /// Looks at the machine and the kernel. All guards are put up or nothing is run, but for
    /// Landlock's, which kernels before 6.12 lack.
    pub(super) fn plan(plan: &SpawnPlan<'_>) -> Result<Self, SpawnError> {
        let own = || (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let user = plan.identity.map_or_else(own, |user| (user.uid(), user.gid()));
        Ok(Self {
            command_line: CommandLine::find().map_err(SpawnError::CommandLine)?,
            view: View::plan(plan.sockets, plan.hidden, user).map_err(SpawnError::View)?,
            stand_ins: StandIns::plan(plan.folders, plan.files),
            domain: Domain::plan(plan.sockets),
            filter: Filter::new(),
            privileges: plan.privileges,
        })
    }
}
