//! The proxy of the modes that tell programs of it, as a process of its own: like that of a jail it
//! confines itself before it says that it is ready, and nobody can look into it (P12).

use std::{
    io,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    thread,
    time::Duration,
};

use super::clients::Clients;
use crate::{
    backend::linux::confine::confine,
    dns,
    policy::{Lists, NoProcesses, Openings, RunFacts},
    proxy,
    record::{Ended, LogFile, Outputs, Recorder},
    rules::{Rules, listed},
    session::{
        control::{Channel, Ready, STOP},
        proxy_role::named_certificates,
        serving::{raise_descriptor_limit, tell},
    },
    tls, upstream,
};

/// All that the role needs, made before the fork.
pub(super) struct ToldRole {
    /// Ready goes out; [`STOP`] or end of file comes in, and the former is repeated.
    pub(super) control: Channel,
    /// Where it serves.
    pub(super) listeners: Vec<TcpListener>,
    /// Whom it serves.
    pub(super) clients: Clients,
    /// Signs the leaves; none: one is made for this run.
    pub(super) authority: Option<Arc<tls::Authority>>,
    /// Where its records go.
    pub(super) outputs: Outputs,
    /// The page of the job that this run is a part of.
    pub(super) step_summary: Option<LogFile>,
    /// What decides before the rule is asked.
    pub(super) lists: Lists,
    /// The checked rules.
    pub(super) rules: Rules,
    /// How to reach origins.
    pub(super) upstream: upstream::Options,
    /// What goes out unread.
    pub(super) openings: Openings,
    /// How many threads serve connections.
    pub(super) workers: usize,
    /// How long what is under way at the end may take.
    pub(super) drain: Duration,
}

impl ToldRole {
    /// The descriptors that the role keeps across the fork.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = vec![self.control.as_fd().as_raw_fd()];
        fds.extend(self.listeners.iter().map(AsRawFd::as_raw_fd));
        fds.extend(self.clients.descriptors());
        if let Rules::Linked(link) = &self.rules {
            fds.push(link.stream().as_raw_fd());
        }
        let logs = [&self.outputs.log, &self.outputs.records, &self.step_summary];
        fds.extend(logs.into_iter().flatten().map(|log| log.as_fd().as_raw_fd()));
        fds
    }

    /// The role's life; the result is its exit status.
    pub(super) fn main(self) -> u8 {
        match self.serve() {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(error, "the proxy failed");
                1
            }
        }
    }

    fn serve(self) -> Result<(), Box<dyn std::error::Error>> {
        raise_descriptor_limit();
        let authority = match self.authority {
            Some(authority) => authority,
            None => Arc::new(tls::Authority::new()?),
        };
        let extent = confine(&named_certificates())?;
        tracing::debug!(?extent, "the proxy is confined");
        self.control.send(Ready { ca_pem: authority.certificate_pem() }.encode())?;
        let (recorder, records) = Recorder::start(self.outputs)?;
        let (stopped, stop) = io::pipe()?;
        watch(self.control, stop)?;
        let config = proxy::ProxyConfig {
            listeners: self.listeners,
            flows: Arc::new(self.clients),
            canary: proxy::Canary::default(),
            names: Arc::new(dns::Names::new()),
            dns_tcp: Arc::new(NoDns),
            authority,
            // Nobody tells which process has connected.
            engines: listed(self.lists, self.rules.into_engines(RunFacts::default())?),
            recorder,
            inspector: Arc::new(NoProcesses),
            upstream: self.upstream,
            openings: self.openings,
            workers: self.workers,
            timeouts: proxy::Timeouts::default(),
            drain: self.drain,
        };
        let served = proxy::run(config, stopped);
        let Ended { lost, summary } = records.finish_with(&[]);
        if lost > 0 {
            tracing::error!(lost, "records could not be written");
        }
        if let Some(summary) = summary {
            tell(&summary, self.step_summary);
        }
        Ok(served?)
    }
}

/// Waits for the supervisor's word, or its death, on a thread of its own.
fn watch(control: Channel, stop: io::PipeWriter) -> io::Result<()> {
    let wait = move || {
        match control.receive() {
            // A supervisor that is gone by now waits for nothing.
            Ok(word) if word.starts_with(STOP) => drop(control.send(STOP)),
            Ok(_) | Err(_) => tracing::error!("the supervisor is dead; the proxy ends, too"),
        }
        drop(stop);
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(wait).map(drop)
}

/// Nobody's DNS is turned to a proxy that programs are told of.
struct NoDns;

impl proxy::TcpDns for NoDns {
    fn serve(&self, stream: tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()>>> {
        drop(stream);
        Box::pin(std::future::ready(()))
    }
}
