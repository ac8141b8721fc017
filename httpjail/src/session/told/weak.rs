//! `--weak`: a command that is told of the proxy by its environment, and asked for no more.
//!
//! Nothing here takes privileges. Proxy, rules, records and certificates are those of a jail; what is
//! missing is whatever would force a program to obey.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::AsFd,
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::geteuid;

use super::{
    clients::Clients,
    environment::{self, Places},
    folder::Folder,
    hide,
    role::ToldRole,
};
use crate::{
    backend::linux::{
        descendants::{self, Spared},
        role::RoleUser,
        signals::Signals,
        spawn::{self, PlainChild, PlainPlan, spawn_plain},
        user::{self, Identity},
    },
    cli::plan::{Binds, RunPlan},
    session::{
        Outcome, SessionError,
        arm::{PROXY_START, enough_descriptors},
        control::Channel,
        doors,
        log::{self, Owners},
        proxy_process::Proxy,
        proxy_role::own_uid,
        refused::Refused,
        rules_process::{self, RulesProcess},
        run::outcome,
        service::{self, Service},
        supervise::{Command, End, Watch},
        way_out,
    },
    tls::ChildTrust,
};

/// Runs the plan's command with the proxy in its environment.
///
/// # Errors
///
/// When the proxy can't be put up (the command has not run then) or has ended before the command, or
/// when something that the command started can't be ended.
pub fn run_weak(plan: RunPlan) -> Result<Outcome, SessionError> {
    hide().map_err(SessionError::Proxy)?;
    enough_descriptors(service::workers(&plan.proxy))?;
    let identity = user::of_command(plan.user.as_deref())?;
    doors::announce_weak(&plan, identity.is_none() && geteuid().is_root());
    let upstream = way_out::options(&plan.proxy.upstream, identity.as_ref())?;
    let (files, owners) = log::open_all(&plan.proxy, identity.as_ref())?;
    let inherited = spawn::Signals::capture();
    let signals = Signals::block().map_err(SessionError::Signals)?;
    let folder = Folder::create(&std::env::temp_dir()).map_err(SessionError::Folder)?;
    let (listeners, places) = listen(plan.binds)?;
    let uid = identity.as_ref().map_or(geteuid().as_raw(), Identity::uid);
    let (control, listens) = Channel::pair().map_err(SessionError::Proxy)?;
    let (rules, rules_process) = rules_process::start(plan.proxy.rules.clone(), || Ok(None))?;
    let jail = format!("weak-{}", std::process::id());
    let role = ToldRole {
        control: listens,
        listeners,
        clients: Clients::of(uid).map_err(SessionError::Clients)?,
        authority: None,
        service: Service::new(plan.proxy, rules, upstream, files, jail),
        drain: Duration::ZERO,
    };
    // A user of its own, where that can be given. Else nobody can look into it all the same.
    let user = match geteuid().is_root() {
        true => RoleUser::Own(own_uid(Some(uid))),
        false => RoleUser::Invoking(None),
    };
    let proxy = Proxy::fork(role.descriptors(), user, control, move || role.main());
    let proxy = proxy.map_err(SessionError::Proxy)?;
    let trust = ChildTrust::prepare(folder.path(), |name| std::env::var_os(name))?;
    let look_up = |name: &str| std::env::var_os(name);
    let variables = environment::told(places, trust.variables(), look_up);
    let environment = user::told_environment(
        std::env::vars_os(),
        variables,
        identity.as_ref(),
        &plan.environment,
    );
    trust.fill(&proxy.ready(PROXY_START).map_err(SessionError::Proxy)?.ca_pem)?;
    // The proxy among them.
    let others = Spared::children().map_err(SessionError::Wait)?;
    let rules = rules_process;
    let up = Up { proxy, rules, others, signals, _log_owners: owners, _folder: folder };
    up.run(
        PlainPlan {
            command: &plan.command,
            args: &plan.args,
            environment: &environment,
            identity: identity.as_ref(),
            signals: inherited,
        },
        plan.timeout,
    )
}

/// Binds where the user says, or else one port of the kernel's choice for both.
fn listen(binds: Binds) -> Result<(Vec<TcpListener>, Places), SessionError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |address| {
        let failed = |source| SessionError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let place = listener.local_addr().map_err(failed)?;
        Ok::<_, SessionError>((listener, reachable(place)))
    };
    let (http, place) = bind(binds.http.map_or(any, |bind| bind.address(0)))?;
    let mut places = Places { http: place, https: place };
    let mut listeners = vec![http];
    if let Some(https) = binds.https {
        let (listener, place) = bind(https.address(0))?;
        places.https = place;
        listeners.push(listener);
    }
    Ok((listeners, places))
}

/// How programs of this machine come to a place that may be all of its addresses.
fn reachable(place: SocketAddr) -> SocketAddr {
    let ip = match place.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, place.port())
}

/// What stands around the command.
struct Up {
    proxy: Proxy,
    rules: Option<RulesProcess>,
    others: Spared,
    signals: Signals,
    _log_owners: Owners,
    _folder: Folder,
}

impl Up {
    fn run(self, plan: PlainPlan<'_>, timeout: Option<Duration>) -> Result<Outcome, SessionError> {
        descendants::adopt_orphans().map_err(SessionError::Wait)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let command = spawn_plain(plan)?;
        let ended = self.wait(&command, deadline);
        let killed = descendants::kill_all(&self.others);
        self.proxy.ask_to_stop(Refused::default());
        self.proxy.stop();
        if let Some(rules) = self.rules {
            rules.stop();
        }
        let ended = ended?;
        killed.map_err(SessionError::EndCommand)?;
        outcome(ended)
    }

    fn wait(&self, command: &PlainChild, deadline: Option<Instant>) -> Result<End, SessionError> {
        let others = [command.pid(), self.proxy.pid()];
        descendants::bury_orphans(others).map_err(SessionError::Wait)?;
        let mut watch = Watch {
            signals: &self.signals,
            command,
            proxy: self.proxy.as_fd(),
            rules: self.rules.as_ref().map(AsFd::as_fd),
            inspect: None,
            rule: None,
            in_jail: &|_| false,
            deadline,
            grace: None,
        };
        watch.until_end().map_err(SessionError::Wait)
    }
}

impl Command for PlainChild {
    fn end(&self) -> io::Result<ExitStatus> {
        self.wait()
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.signal(signal)
    }
}
