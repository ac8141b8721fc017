//! `--server`: the proxy alone, for programs that somebody else tells of it.
//!
//! One process, which gives root's rights up before it takes the first connection. A reload puts the
//! rule in the place of the one before, and begins the files that it writes to anew.

use std::{
    io::{self, PipeWriter},
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use rustix::process::geteuid;

use super::{clients::Clients, files, rules_process, run::unprivileged};
use crate::{
    backend::{
        macos::process::{self, Held},
        user,
    },
    cli::plan::{ProxyPlan, ServerPlan, Summary},
    dns,
    policy::{NoProcesses, RunFacts},
    proxy,
    record::LogFile,
    rules::Reload,
    session::{
        Outcome, SessionError, doors, kept,
        rule_file::{is_stream, open},
        service::{Files, NoDns, Place, Service},
        serving::raise_descriptor_limit,
        told::{DRAIN, in_full, places},
        way_out,
    },
};

/// Serves until it is told to end.
///
/// # Errors
///
/// When the proxy can't be put up, or has ended by itself.
pub fn run_server(plan: ServerPlan) -> Result<Outcome, SessionError> {
    process::hide().map_err(SessionError::Proxy)?;
    doors::announce_server(&plan);
    let upstream = way_out::options(&plan.proxy.upstream, None)?;
    process::hold_signals(Held::Alone).map_err(SessionError::Signals)?;
    let listeners = places::of_server(plan.binds)?;
    // The page is that of one step of a job, which a server mostly outlives.
    let written = ProxyPlan { summary: Summary::None, ..plan.proxy.clone() };
    let files = files::open_all(&written, None)?;
    let (rules, rules_process) = rules_process::start(plan.proxy.rules.clone(), || Ok(None))?;
    let authority = kept::open()?;
    process::forgo_core_dumps().map_err(SessionError::Proxy)?;
    places::tell(&listeners, authority.certificate())?;
    if geteuid().is_root() {
        let owner = user::invoking_user()?;
        process::become_user(&unprivileged(owner.as_ref())?).map_err(SessionError::Proxy)?;
    }
    let renewal = Renewal::new(&plan.proxy, &files);
    let jail = format!("server-{}", std::process::id());
    let service = Service::new(plan.proxy, rules, upstream, files, jail);
    let (stopped, stop) = io::pipe().map_err(SessionError::Proxy)?;
    let ended_by = heed_signals(renewal, stop).map_err(SessionError::Signals)?;
    let place = Place {
        listeners,
        flows: Arc::new(Clients::All),
        canary: proxy::Canary::default(),
        names: Arc::new(dns::Names::new()),
        dns_tcp: Arc::new(NoDns),
        authority: Arc::new(authority.into_authority()),
        inspector: Arc::new(NoProcesses),
        run: RunFacts::default(),
        drain: DRAIN,
        shut: None,
    };
    raise_descriptor_limit();
    let started = service.start().map_err(SessionError::Proxy)?;
    let served = started.serve(place, stopped, Vec::new);
    if let Some(rules) = rules_process {
        rules.stop();
    }
    served.map_err(|error| SessionError::Proxy(io::Error::other(error)))?;
    match ended_by.load(Ordering::Acquire) {
        0 => Err(SessionError::ServerDied),
        libc::SIGTERM => Ok(Outcome::Exited(0)),
        signal => Ok(Outcome::Signalled(u8::try_from(signal).unwrap_or(u8::MAX))),
    }
}

/// Does what signals ask for, on a thread of its own. The one that ends it is kept; another after it
/// ends the process at once.
fn heed_signals(mut renewal: Renewal, stop: PipeWriter) -> io::Result<Arc<AtomicI32>> {
    let ended_by = Arc::new(AtomicI32::new(0));
    let ends = Arc::clone(&ended_by);
    let heed = move || {
        let mut stop = Some(stop);
        while let Ok(signal) = process::next_signal(Held::Alone) {
            match (signal, stop.take()) {
                (libc::SIGHUP, serves @ Some(_)) => {
                    renewal.renew();
                    stop = serves;
                }
                (signal, Some(stop)) => {
                    tracing::info!(
                        "ends when what is under way has ended; another signal ends it at once"
                    );
                    ends.store(signal, Ordering::Release);
                    drop(stop);
                }
                (_, None) => {
                    tracing::warn!("requests that were under way are cut");
                    process::exit(match ends.load(Ordering::Acquire) {
                        libc::SIGTERM => 0,
                        signal => u8::try_from(128 + signal).unwrap_or(u8::MAX),
                    });
                }
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(heed)?;
    Ok(ended_by)
}

/// What SIGHUP has done anew.
struct Renewal {
    rule: Option<(Reload, PathBuf)>,
    /// Files that are written to, by the descriptor that they are written by.
    files: Vec<(RawFd, PathBuf)>,
}

impl Renewal {
    fn new(plan: &ProxyPlan, files: &Files) -> Self {
        let rule = plan.rules.javascript().zip(plan.rule_file.clone());
        let rule = rule.filter(|(_, path)| !is_stream(path));
        let written = [(&files.log, &plan.request_log), (&files.records, &plan.record)];
        let descriptor = |log: &LogFile| log.as_fd().as_raw_fd();
        Self {
            rule: rule.map(|(rule, path)| (Reload::new(rule, path.clone()), path)),
            files: written
                .into_iter()
                .filter_map(|(file, path)| Some((descriptor(file.as_ref()?), path.clone()?)))
                .collect(),
        }
    }

    fn renew(&mut self) {
        for (descriptor, path) in &self.files {
            let begun = LogFile::open(path).map_err(|error| in_full(&error)).and_then(|file| {
                process::replace(*descriptor, file.as_fd()).map_err(|error| error.to_string())
            });
            if let Err(error) = begun {
                let path = path.display();
                tracing::error!(error, "{path} is written to as before");
            }
        }
        if let Some((reload, path)) = &mut self.rule {
            match open(path, None) {
                Ok(file) => reload.read(file),
                Err(error) => tracing::error!(%error, "the rules stay as they were"),
            }
        }
        tracing::info!("the rule was looked at, and logs are begun anew");
    }
}
