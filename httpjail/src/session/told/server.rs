//! `--server`: the proxy alone, for programs that somebody else tells of it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::geteuid,
};

use super::{clients::Clients, hide, role::ToldRole};
use crate::{
    backend::linux::{role::RoleUser, signals::Signals},
    cli::plan::{Bind, ProxyPlan, ServerPlan, Summary},
    rules::{RuleSource, Rules},
    session::{
        Outcome, SessionError,
        arm::{PROXY_START, enough_descriptors},
        control::Channel,
        doors, kept, log,
        proxy_process::Proxy,
        proxy_role::own_uid,
        refused::Refused,
        rules_process::{self, RulesProcess},
        service::{self, Service},
        way_out,
    },
    tls, upstream,
};

/// Where it listens if nothing else is said.
const DEFAULT_PORTS: [u16; 2] = [8080, 8443];
/// How long requests that are under way may take after the word to end, or after a reload.
const DRAIN: Duration = Duration::from_secs(30);
/// How long a proxy may take for its end after that.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Serves until it is told to end.
///
/// # Errors
///
/// When the proxy can't be put up, or has ended by itself.
pub fn run_server(plan: ServerPlan) -> Result<Outcome, SessionError> {
    hide().map_err(SessionError::Proxy)?;
    enough_descriptors(service::workers(&plan.proxy))?;
    let authority = kept::open()?;
    doors::announce_server(&plan);
    let upstream = way_out::options(&plan.proxy.upstream, None)?;
    let signals = Signals::block().map_err(SessionError::Signals)?;
    let listeners = [plan.binds.http, plan.binds.https].into_iter().zip(DEFAULT_PORTS);
    let listeners =
        listeners.map(|(bind, port)| listen(bind, port)).collect::<Result<Vec<_>, _>>()?;
    let certificate = authority.certificate().to_owned();
    let server = Server {
        listeners,
        authority: Arc::new(authority.into_authority()),
        plan: plan.proxy,
        upstream,
        signals,
        ending: Vec::new(),
    };
    let serving = server.start()?;
    server.say_where(&certificate.display().to_string())?;
    server.serve(serving)
}

fn listen(bind: Option<Bind>, default_port: u16) -> Result<TcpListener, SessionError> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
    let address = bind.map_or(default, |bind| bind.address(default_port));
    if bind.is_some_and(Bind::is_bare) {
        tracing::info!(
            "a port alone means 127.0.0.1 here, and not all addresses as in coder/httpjail: who can \
             reach this proxy can use it; 0.0.0.0:{} says all",
            address.port()
        );
    }
    if !address.ip().is_loopback() {
        tracing::warn!("{address}: whoever can reach this address can use the proxy");
    }
    TcpListener::bind(address).map_err(|source| SessionError::Bind { address, source })
}

/// A proxy, and the process that runs the rule's program, if it is one.
struct Serving {
    proxy: Proxy,
    rules: Option<RulesProcess>,
}

impl AsFd for Serving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.proxy.as_fd()
    }
}

/// What a proxy is made of, so that another can take its place.
struct Server {
    listeners: Vec<TcpListener>,
    authority: Arc<tls::Authority>,
    plan: ProxyPlan,
    upstream: upstream::Options,
    signals: Signals,
    /// Proxies that another has taken the place of, and when they must have ended.
    ending: Vec<(Serving, Instant)>,
}

impl Server {
    /// Starts a proxy, which serves when this is over. The process has one thread.
    fn start(&self) -> Result<Serving, SessionError> {
        // The page is that of one step of a job, which a server mostly outlives. The other files are
        // the caller's own.
        let plan = ProxyPlan { summary: Summary::None, ..self.plan.clone() };
        let (files, _) = log::open_all(&plan, None)?;
        let jail = format!("server-{}", std::process::id());
        let listeners = self.listeners.iter().map(TcpListener::try_clone);
        let listeners = listeners.collect::<io::Result<_>>().map_err(SessionError::Proxy)?;
        let (control, listens) = Channel::pair().map_err(SessionError::Proxy)?;
        let (rules, rules_process) = rules_process::start(self.plan.rules.clone(), || Ok(None))?;
        let role = ToldRole {
            control: listens,
            listeners,
            clients: Clients::All,
            authority: Some(Arc::clone(&self.authority)),
            service: Service::new(self.plan.clone(), rules, self.upstream.clone(), files, jail),
            drain: DRAIN,
        };
        let user = match geteuid().is_root() {
            true => RoleUser::Own(own_uid(None)),
            false => RoleUser::Invoking(None),
        };
        let proxy = Proxy::fork(role.descriptors(), user, control, move || role.main());
        let proxy = proxy.map_err(SessionError::Proxy)?;
        proxy.ready(PROXY_START).map_err(SessionError::Proxy)?;
        Ok(Serving { proxy, rules: rules_process })
    }

    fn say_where(&self, certificate: &str) -> Result<(), SessionError> {
        for (listener, kind) in self.listeners.iter().zip(["HTTP_PROXY", "HTTPS_PROXY"]) {
            let place = listener.local_addr().map_err(SessionError::Proxy)?;
            tracing::info!("serves at {place}: {kind}=http://{place}");
        }
        tracing::info!(
            "programs must trust {certificate}: CURL_CA_BUNDLE, SSL_CERT_FILE, NODE_EXTRA_CA_CERTS \
             and the like name it; `httpjail trust` says how the whole system does"
        );
        Ok(())
    }

    /// Waits for signals, and does what they ask for.
    fn serve(mut self, mut serving: Serving) -> Result<Outcome, SessionError> {
        loop {
            let ready = self.wait(Some(&serving))?;
            if ready.proxy {
                return Err(SessionError::ServerDied);
            }
            while ready.signals
                && let Some(caught) = self.signals.next().map_err(SessionError::Wait)?
            {
                match caught.signal {
                    libc::SIGHUP => serving = self.reload(serving),
                    libc::SIGTERM => return self.end(serving).map(|()| Outcome::Exited(0)),
                    libc::SIGINT | libc::SIGQUIT => {
                        let signal = u8::try_from(caught.signal).unwrap_or(u8::MAX);
                        return self.end(serving).map(|()| Outcome::Signalled(signal));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Puts a proxy with the rules as they are now in the place of the one that serves. What that has
    /// under way it may finish.
    fn reload(&mut self, serving: Serving) -> Serving {
        let before = self.plan.rules.clone();
        if let Some(path) = &self.plan.rule_file {
            match RuleSource::file(path).and_then(|source| Rules::compile(&source)) {
                Ok(rules) => self.plan.rules = rules,
                Err(error) => {
                    let error = in_full(&error);
                    tracing::error!(error, "the rules stay as they were");
                    return serving;
                }
            }
        }
        match self.start() {
            Ok(fresh) => {
                // Until it hears of it, the one before takes connections, too.
                self.retire(serving);
                tracing::info!("another proxy serves, by the rules as they are now");
                fresh
            }
            Err(error) => {
                let error = in_full(&error);
                tracing::error!(
                    error,
                    "no other proxy can be started; the rules stay as they were"
                );
                self.plan.rules = before;
                serving
            }
        }
    }

    /// Tells a proxy to end when what it has under way has ended.
    fn retire(&mut self, serving: Serving) {
        serving.proxy.ask_to_stop(Refused::default());
        self.ending.push((serving, Instant::now() + DRAIN + LAST_RECORDS));
    }

    /// Takes no more connections, and waits for what is under way; until another signal comes, or the
    /// time is up.
    fn end(mut self, serving: Serving) -> Result<(), SessionError> {
        tracing::info!("ends when what is under way has ended; another signal ends it at once");
        self.listeners.clear();
        self.retire(serving);
        while !self.ending.is_empty() {
            let ready = self.wait(None)?;
            if ready.signals && self.signals.next().map_err(SessionError::Wait)?.is_some() {
                tracing::warn!("requests that were under way are cut");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until a signal comes, or a proxy ends: `serving`, or one that another has taken the place
    /// of, or whose time is up.
    fn wait(&mut self, serving: Option<&Serving>) -> Result<Ready, SessionError> {
        let limit = self.ending.iter().map(|(_, deadline)| *deadline).min();
        let limit = limit.map(|limit| timespec(limit.saturating_duration_since(Instant::now())));
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        let ending = self.ending.iter().map(|(ending, _)| ending.as_fd());
        let proxies = ending.chain(serving.map(AsFd::as_fd));
        fds.extend(proxies.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(SessionError::Wait(error.into())),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let signals = ready.next().unwrap_or(false);
        let ended: Vec<_> = ready.by_ref().take(self.ending.len()).collect();
        let proxy = ready.next().unwrap_or(false);
        self.bury(&ended);
        Ok(Ready { proxy, signals })
    }

    /// Lets go of those that have ended, and of those whose time is up.
    fn bury(&mut self, ended: &[bool]) {
        let now = Instant::now();
        for ((serving, deadline), ended) in std::mem::take(&mut self.ending).into_iter().zip(ended)
        {
            if *ended {
                serving.proxy.stop();
                if let Some(rules) = serving.rules {
                    rules.stop();
                }
            } else if now >= deadline {
                // Dropped, it is killed.
                tracing::warn!("requests were cut that took longer than {DRAIN:?}");
            } else {
                self.ending.push((serving, deadline));
            }
        }
    }
}

struct Ready {
    proxy: bool,
    signals: bool,
}

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
