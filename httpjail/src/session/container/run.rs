//! A container's run, from nothing to nothing left.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, Instant},
};

use httpjail_common::{event::RefuseReason, jail::Published};

use super::{
    EngineError,
    engine::{Engine, Runner},
    launch::{Container, Place},
    place::{self, Cgroup},
    prepare::Prepared,
};
use crate::{
    backend::linux::{
        backstop::Backstop,
        devices, legacy,
        netns::Netns,
        parent::Parent,
        spawn::{self, PlainChild, Privileges, SpawnPlan},
        user::Identity,
    },
    cli::plan::ContainerPlan,
    session::{
        Outcome, SessionError,
        arm::PROXY_START,
        canary,
        control::Channel,
        jail::Jail,
        proxy_process::{Proxy, wait_for},
        proxy_role::{self, ProxyRole},
        reap,
        rules_process::{self, RulesCgroup, RulesProcess},
        run::outcome,
        run_dir::RunDir,
        servers::Servers,
        service::Service,
        supervise::{Command, End, Watch},
    },
    tls::ChildTrust,
};

/// How long the tool may take to notice that its container was killed.
const NOTICE: Duration = Duration::from_secs(5);

/// Runs the plan's container in a jail.
///
/// # Errors
///
/// When the jail can't be put up, or the container has ways past it (nothing of it has run then), or
/// when it can't be served any more (it was ended then).
pub fn run_container(plan: ContainerPlan) -> Result<Outcome, SessionError> {
    let timeout = plan.run.timeout;
    match run(Prepared::check(plan)?, timeout) {
        Err(SessionError::Engine(EngineError::Interrupted(signal))) => {
            Ok(Outcome::Signalled(signal))
        }
        other => other,
    }
}

fn run(prepared: Prepared, timeout: Option<Duration>) -> Result<Outcome, SessionError> {
    let run_dir = RunDir::create().map_err(SessionError::RunDir)?;
    let _owners = prepared.owners;
    let hierarchy = &prepared.hierarchy;
    let parent = Parent::keeper(hierarchy)?;
    let certificates = certificates(&run_dir)?;
    let trust = ChildTrust::prepare(&certificates, variable)?;
    let signals = &prepared.signals;
    let runner = Runner { signals, inherited: prepared.inherited };
    let engine = Engine::find(prepared.engine.as_deref(), runner)?;
    let (cgroup, made) = Cgroup::choose(&engine, hierarchy, &parent, &run_dir)?;
    let _left_behind = LeftBehind { hierarchy, path: cgroup.path.clone() };
    let words: Vec<_> = std::iter::once(prepared.plan.command).chain(prepared.plan.args).collect();
    let place = Place {
        engine: &engine,
        hierarchy,
        run_dir: &run_dir,
        cgroup: &cgroup,
        certificates: &certificates,
        trust: &trust,
        sockets: &prepared.sockets,
    };
    let (mut container, netns) = Container::create(place, &words)?;
    let mut jail = cgroup.take_over(&parent, made)?;
    let plan = prepared.plan.proxy;
    let (rules, rules_process) = rules_process::start(plan.rules.clone(), || {
        RulesCgroup::make(hierarchy, &run_dir).map(Some)
    })?;
    let inside = |source| SessionError::Engine(EngineError::Netns(source));
    let servers = netns.inside(|| Servers::bind(Published::NONE)).map_err(inside)?;
    let servers = servers.map_err(SessionError::Proxy)?;
    let endpoints = servers.endpoints().map_err(SessionError::Proxy)?;
    jail.mark(&servers).map_err(SessionError::Jail)?;
    let (inspect, asks) = Channel::pair().map_err(SessionError::Proxy)?;
    let (control, listens) = Channel::pair().map_err(SessionError::Proxy)?;
    let cgroups = [jail.dir().path(), hierarchy.root()];
    let (answers, canary) = canary::pair(&endpoints, cgroups).map_err(SessionError::Canary)?;
    // Connections are noted under the namespace in which they are made.
    let flows = netns.inside(|| parent.maps().flows(jail.id())).map_err(inside)?;
    let role = ProxyRole {
        control: listens,
        inspect: asks,
        run_id: run_dir.id().to_owned(),
        servers,
        canary: answers,
        kill_switch: jail.kill_switch()?,
        rule_file: plan.rule_file.clone(),
        service: Service::new(
            plan,
            rules,
            prepared.upstream,
            prepared.files,
            run_dir.id().to_owned(),
        ),
        flows: flows.map_err(SessionError::Jail)?,
    };
    let [uid, _] = proxy_role::uids(prepared.identity.as_ref().map(Identity::uid));
    let proxy = Proxy::start(role, uid, control).map_err(SessionError::Proxy)?;
    Backstop::ensure(parent.dir().id(), parent.level())?;
    parent.maps().open_devices(&devices::special()).map_err(SessionError::Jail)?;
    trust.fill(&proxy.ready(PROXY_START).map_err(SessionError::Proxy)?.ca_pem)?;
    jail.arm(endpoints, Published::NONE).map_err(SessionError::Jail)?;
    try_jail(&netns, &mut jail, &canary, prepared.inherited)?;
    container.starts(&run_dir)?;
    let tool = engine.start(container.start_args())?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let in_jail = |pid| place::holds(&cgroup.path, hierarchy, pid);
    let mut watch = Watch {
        signals,
        command: &Started { container: &container, tool: &tool },
        proxy: proxy.as_fd(),
        rules: rules_process.as_ref().map(AsFd::as_fd),
        inspect: Some(inspect),
        rule: None,
        in_jail: &in_jail,
        deadline,
        grace: None,
    };
    let ended = watch.until_end().map(|ended| container.end(ended).unwrap_or(ended));
    reap::sweep(hierarchy, Some(&parent));
    let taken_down = jail.end(|refusals| {
        proxy.ask_to_stop(refusals);
        proxy.stop();
        rules_process.into_iter().for_each(RulesProcess::stop);
    });
    finish(&tool, &ended);
    drop(container);
    taken_down.map_err(SessionError::End)?;
    outcome(ended.map_err(SessionError::Wait)?)
}

/// A variable of the caller, as far as it counts for a container: that there may be a Java in it, and
/// what options that is given, is the image's business.
fn variable(name: &str) -> Option<OsString> {
    match name {
        "JAVA_HOME" => Some(OsString::new()),
        "JAVA_TOOL_OPTIONS" => None,
        name => std::env::var_os(name),
    }
}

/// The folder of what the container sees of the run.
fn certificates(run_dir: &RunDir) -> Result<PathBuf, SessionError> {
    let folder = run_dir.path().join("trust");
    let made = DirBuilder::new().mode(0o755).create(&folder);
    // Whatever the umask.
    made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o755)))
        .map_err(SessionError::RunDir)?;
    Ok(folder)
}

/// Has a process in the jail, and in the container's network, try what must be stopped (P4). What is
/// refused from here on is the container's.
fn try_jail(
    netns: &Netns,
    jail: &mut Jail,
    canary: &spawn::Canary,
    signals: spawn::Signals,
) -> Result<(), SessionError> {
    jail.overlook([
        (RefuseReason::Udp, canary.datagrams.len()),
        (RefuseReason::Stranger, canary.packets.len()),
    ]);
    let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
    let environment: Vec<_> = path.into_iter().collect();
    let plan = SpawnPlan {
        command: "true".as_ref(),
        args: &[],
        environment: &environment,
        cgroup: jail.dir().as_fd(),
        identity: None,
        signals,
        folders: &[],
        files: &[],
        streams: &[],
        canary,
        sockets: &[],
        hidden: &[],
        privileges: Privileges::Refused,
    };
    let tried = netns.inside(|| {
        let child = spawn::spawn(plan)?.held()?.release()?;
        child.wait().map_err(SessionError::Wait)
    });
    tried.map_err(|source| SessionError::Engine(EngineError::Netns(source)))??;
    jail.forget_until_now();
    Ok(())
}

/// A container that runs, by the tool that stays until its end.
struct Started<'a> {
    container: &'a Container<'a>,
    tool: &'a PlainChild,
}

impl AsFd for Started<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tool.as_fd()
    }
}

impl Command for Started<'_> {
    fn end(&self) -> io::Result<ExitStatus> {
        self.tool.wait()
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.container.signal(self.tool, signal)
    }
}

/// Waits for the tool, whose container is dead.
fn finish(tool: &PlainChild, ended: &io::Result<End>) {
    if matches!(ended, Ok(End::Exited(_) | End::Signalled(_))) {
        return;
    }
    if !matches!(wait_for(tool.as_fd(), NOTICE), Ok(true)) {
        let _ = tool.signal(libc::SIGKILL);
    }
    let _ = tool.wait();
}

/// What engines leave of cgroups beside those of version 2. Goes when this is dropped.
struct LeftBehind<'a> {
    hierarchy: &'a crate::backend::linux::cgroup::Hierarchy,
    path: PathBuf,
}

impl Drop for LeftBehind<'_> {
    fn drop(&mut self) {
        legacy::remove(self.hierarchy, &self.path);
    }
}
