//! From a plan to an armed jail, in which the command waits for the word.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use httpjail_common::event::RefuseReason;
use rustix::process::{Resource, getrlimit};

use super::{
    SessionError, canary,
    control::Channel,
    doors, host,
    jail::Jail,
    kept,
    log::{self, Owners},
    proxy_process::Proxy,
    proxy_role::{self, ProxyRole},
    relay::Relay,
    rule_files,
    rule_watch::RuleWatch,
    rules_process::{self, RulesCgroup, RulesProcess},
    run_dir::RunDir,
    servers::Servers,
    service::{self, Files, Service},
    supervise::{End, until_start},
    way_out,
};
use crate::{
    backend::linux::{
        addresses,
        backstop::Backstop,
        cgroup::Hierarchy,
        devices,
        parent::Parent,
        probe,
        signals::Signals,
        spawn::{self, Child, ENDING, HeldChild, Outer, Privileges, SpawnError, SpawnPlan},
        user::{self, Identity},
    },
    cli::plan::RunPlan,
    tls::ChildTrust,
    upstream::Options,
};

/// How long the proxy may take until it reports: a key and a certificate.
pub(super) const PROXY_START: Duration = Duration::from_secs(10);

/// The lowest limit of open files that a start gets along with, with up to [`FEW_WORKERS`].
const FEWEST_DESCRIPTORS: u64 = 64;
const FEW_WORKERS: usize = 4;
/// Those of a worker's runtime.
const DESCRIPTORS_PER_WORKER: usize = 3;

/// The plan is sound on this machine; nothing has been made.
pub(super) struct Planned {
    plan: RunPlan,
    upstream: Options,
    sockets: Vec<PathBuf>,
    streams: Vec<Outer>,
    identity: Option<Identity>,
    inherited: spawn::Signals,
    signals: Signals,
    hierarchy: Hierarchy,
    files: Files,
    owners: Owners,
    rule: Option<RuleWatch>,
}

impl Planned {
    /// Checks what can be checked without making anything.
    ///
    /// # Errors
    ///
    /// Not root, no cgroup v2, files that can't be opened.
    pub(super) fn check(plan: RunPlan) -> Result<Self, SessionError> {
        if !rustix::process::geteuid().is_root() {
            return Err(SessionError::NotRoot);
        }
        enough_descriptors(service::workers(&plan.proxy))?;
        let hierarchy = Hierarchy::find().map_err(SessionError::Hierarchy)?;
        let streams = spawn::sockets()?;
        let identity = user::of_command(plan.user.as_deref())?;
        rule_files::tell_of_changeable(&plan.proxy.rules, identity.as_ref(), plan.lacking)?;
        host::tell_of_missing_guard(plan.lacking, probe::lacking())?;
        let sockets = host::sockets(&plan.allow_unix)?;
        doors::announce(&plan, &sockets, identity.is_none());
        host::tell_of_low_ports(&plan.published, identity.is_none());
        let upstream = way_out::options(&plan.proxy.upstream, identity.as_ref())?;
        let (files, owners) = log::open_all(&plan.proxy, identity.as_ref())?;
        let inherited = spawn::Signals::capture();
        let signals = Signals::block().map_err(SessionError::Signals)?;
        let rule = rule_watch(&plan, identity.as_ref())?;
        Ok(Self {
            plan,
            upstream,
            sockets,
            streams,
            identity,
            inherited,
            signals,
            hierarchy,
            files,
            owners,
            rule,
        })
    }

    /// Puts the jail up. The proxy is forked first, then the command's init; both get ready while
    /// the kernel side is armed. Init does nothing more before the word.
    ///
    /// # Errors
    ///
    /// Whatever can't be put up; all that was is taken down again.
    pub(super) fn arm(self) -> Result<Armed, SessionError> {
        let run_dir = RunDir::create().map_err(SessionError::RunDir)?;
        let parent = Parent::ensure(&self.hierarchy)?;
        let jail = Jail::make(&parent, &run_dir)?;
        let plan = self.plan.proxy;
        let (rules, rules_process) = rules_process::start(plan.rules.clone(), || {
            RulesCgroup::make(&self.hierarchy, &run_dir).map(Some)
        })?;
        let servers = Servers::bind(self.plan.published).map_err(SessionError::Proxy)?;
        let endpoints = servers.endpoints().map_err(SessionError::Proxy)?;
        jail.mark(&servers).map_err(SessionError::Jail)?;
        let (inspect, asks) = Channel::pair().map_err(SessionError::Proxy)?;
        let (control, listens) = Channel::pair().map_err(SessionError::Proxy)?;
        let cgroups = [jail.dir().path(), self.hierarchy.root()];
        let (answers, canary) = canary::pair(&endpoints, cgroups).map_err(SessionError::Canary)?;
        let role = ProxyRole {
            control: listens,
            inspect: asks,
            run_id: run_dir.id().to_owned(),
            servers,
            canary: answers,
            kill_switch: jail.kill_switch()?,
            rule_file: plan.rule_file.clone(),
            service: Service::new(plan, rules, self.upstream, self.files, run_dir.id().to_owned()),
            flows: parent.maps().flows(jail.id()).map_err(SessionError::Jail)?,
        };
        let [uid, relays] = proxy_role::uids(self.identity.as_ref().map(Identity::uid));
        let proxy = Proxy::start(role, uid, control).map_err(SessionError::Proxy)?;
        let (relay, streams) = match self.streams.is_empty() {
            true => (None, Vec::new()),
            false => {
                let started = Relay::start(self.streams, relays).map_err(SessionError::Relay)?;
                (Some(started.0), started.1)
            }
        };
        let trust = ChildTrust::prepare(run_dir.path(), |name| std::env::var_os(name))?;
        let identity = self.identity.as_ref();
        let run_variables = trust.variables().iter().cloned();
        let stores = trust.stores().clone();
        let environment = user::child_environment(
            std::env::vars_os(),
            run_variables,
            identity,
            &self.plan.environment,
        );
        let hidden = kept::within_reach(identity);
        let command = spawn::spawn(SpawnPlan {
            command: &self.plan.command,
            args: &self.plan.args,
            environment: &environment,
            cgroup: jail.dir().as_fd(),
            identity,
            signals: self.inherited,
            folders: &stores.folders,
            files: &stores.files,
            streams: &streams,
            canary: &canary,
            sockets: &self.sockets,
            hidden: &hidden,
            privileges: self.plan.privileges,
        })?;
        Backstop::ensure(parent.dir().id(), parent.level())?;
        let own = addresses::own().map_err(SessionError::Jail)?;
        parent.maps().note_own_addresses(&own).map_err(SessionError::Jail)?;
        parent.maps().open_devices(&devices::special()).map_err(SessionError::Jail)?;
        let ready = proxy.ready(PROXY_START).map_err(SessionError::Proxy)?;
        trust.fill(&ready.ca_pem)?;
        let command = command.held()?;
        jail.arm(endpoints, self.plan.published).map_err(SessionError::Jail)?;
        Ok(Armed {
            command,
            refusals: [
                (RefuseReason::Udp, canary.datagrams.len()),
                (RefuseReason::Stranger, canary.packets.len()),
            ],
            inherited: self.inherited,
            up: Up {
                relay,
                proxy,
                rules: rules_process,
                jail,
                inspect: Some(inspect),
                rule: self.rule,
                parent,
                hierarchy: self.hierarchy,
                signals: self.signals,
                _log_owners: self.owners,
                run_dir,
            },
        })
    }
}

/// The jail holds, and the command waits in it.
pub(super) struct Armed {
    command: HeldChild,
    /// What the kernel side refuses its init before the command runs.
    refusals: [(RefuseReason, usize); 2],
    /// The signals that the command starts with.
    inherited: spawn::Signals,
    up: Up,
}

/// What came of the word to the command.
pub(super) enum Released {
    /// It runs.
    Runs(Box<Running>),
    /// It must not run any more, and never did: all is taken down.
    Ended(End),
}

impl Armed {
    /// Gives the command the word.
    ///
    /// # Errors
    ///
    /// When it can't be run, or when the jail isn't shut: then it was not run.
    pub(super) fn release(self, deadline: Option<Instant>) -> Result<Released, SessionError> {
        let Self { mut command, refusals, inherited, mut up } = self;
        up.jail.overlook(refusals);
        command.open()?;
        tracing::debug!("the jail is tried from inside");
        let is_fatal = |signal| ENDING.contains(&signal) && !inherited.ignores(signal);
        let ended = until_start(&command, &up.signals, &is_fatal, deadline);
        if let Some(end) = ended.map_err(SessionError::Wait)? {
            drop(command);
            up.close()?;
            return Ok(Released::Ended(end));
        }
        up.jail.forget_until_now();
        let command = command.release().map_err(|error| match error {
            // Without a proxy no connection arrives there.
            SpawnError::Open { .. } if up.proxy.has_ended() => SessionError::ProxyEnded,
            error => error.into(),
        })?;
        Ok(Released::Runs(Box::new(Running { command, inherited, up })))
    }
}

/// The command runs.
pub(super) struct Running {
    command: Child,
    /// The signals that the command started with.
    inherited: spawn::Signals,
    up: Up,
}

/// What stands around the command. Fields are dropped in order: the run's folder, whose lock
/// tells other runs that this one lives, goes last.
struct Up {
    relay: Option<Relay>,
    proxy: Proxy,
    rules: Option<RulesProcess>,
    jail: Jail,
    inspect: Option<Channel>,
    rule: Option<RuleWatch>,
    parent: Parent,
    hierarchy: Hierarchy,
    signals: Signals,
    _log_owners: Owners,
    run_dir: RunDir,
}

impl Up {
    /// Ends what is left in the jail, lets the proxy write its last records, and removes all.
    fn close(self) -> Result<(), SessionError> {
        let stop_proxy = |refused| {
            self.proxy.ask_to_stop(refused);
            self.run_dir.clear();
            self.proxy.stop();
            if let Some(rules) = self.rules {
                rules.stop();
            }
        };
        self.jail.end(stop_proxy).map_err(SessionError::End)
    }
}

impl Running {
    pub(super) fn hierarchy(&self) -> &Hierarchy {
        &self.up.hierarchy
    }

    pub(super) fn parent(&self) -> &Parent {
        &self.up.parent
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.up.signals
    }

    pub(super) fn command(&self) -> &Child {
        &self.command
    }

    pub(super) fn proxy(&self) -> &Proxy {
        &self.up.proxy
    }

    pub(super) fn take_rule(&mut self) -> Option<RuleWatch> {
        self.up.rule.take()
    }

    pub(super) fn rules(&self) -> Option<BorrowedFd<'_>> {
        self.up.rules.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn take_inspect(&mut self) -> Option<Channel> {
        self.up.inspect.take()
    }

    /// Whether a process is in the jail now.
    pub(super) fn holds(&self, pid: u32) -> bool {
        let jail = self.up.jail.dir().path();
        self.up.hierarchy.of_process(pid).is_some_and(|cgroup| cgroup.starts_with(jail))
    }

    /// Ends what is left in the jail, lets the proxy write its last records, and removes all. What the
    /// command wrote to sockets is delivered, until `deadline` or a signal that would have ended the
    /// command.
    ///
    /// # Errors
    ///
    /// When something resists; it is left without network, to the next sweep.
    pub(super) fn close(mut self, deadline: Option<Instant>) -> Result<(), SessionError> {
        let (relay, signals) = (self.up.relay.take(), self.up.signals.try_clone());
        let closed = self.up.close();
        if let Some(relay) = relay {
            let is_fatal = |signal| ENDING.contains(&signal) && !self.inherited.ignores(signal);
            relay.finish(&signals.map_err(SessionError::Wait)?, &is_fatal, deadline);
        }
        closed
    }
}

/// Watches over the rule's file, if it may.
fn rule_watch(
    plan: &RunPlan,
    identity: Option<&Identity>,
) -> Result<Option<RuleWatch>, SessionError> {
    // A command that can become root can write what root can.
    let identity = identity.filter(|_| plan.privileges == Privileges::Refused);
    let start = |path: &PathBuf| RuleWatch::start(path, identity, plan.lacking);
    plan.proxy.rule_file.as_ref().map_or(Ok(None), start)
}

/// A run that is short of descriptors could not even take down what it put up, and the proxy, which
/// raises its own limit, could not start its threads.
pub(super) fn enough_descriptors(workers: usize) -> Result<(), SessionError> {
    let limit = getrlimit(Resource::Nofile);
    let more = workers.saturating_sub(FEW_WORKERS).saturating_mul(DESCRIPTORS_PER_WORKER);
    let fewest = FEWEST_DESCRIPTORS.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    let short = |limit: Option<u64>, fewest| limit.filter(|limit| *limit < fewest);
    match short(limit.current, FEWEST_DESCRIPTORS).or_else(|| short(limit.maximum, fewest)) {
        Some(limit) => Err(SessionError::Descriptors { limit, workers }),
        None => Ok(()),
    }
}
