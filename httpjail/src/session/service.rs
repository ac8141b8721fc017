//! What every mode's proxy is made of, and how it comes to its end: the records are started before
//! it serves, and told at the end.

#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, RawFd};
use std::{
    io::{self, PipeWriter},
    net::TcpListener,
    num::NonZeroUsize,
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use super::serving::tell;
use crate::{
    cli::plan::{ProxyPlan, Summary},
    dns,
    policy::{Lists, Openings, ProcessInspector, RunFacts},
    proxy,
    record::{Ended, KernelRefusal, LogFile, Outputs, Recorder, RecorderHandle},
    rules::{Rules, listed},
    tls, upstream,
};

/// What a proxy serves by.
pub(super) struct Service {
    /// Where its records go.
    pub(super) outputs: Outputs,
    /// The page of the job that this run is a part of.
    pub(super) step_summary: Option<LogFile>,
    /// What decides before the rules are asked.
    pub(super) lists: Lists,
    /// The checked rules.
    pub(super) rules: Rules,
    /// How to reach origins.
    pub(super) upstream: upstream::Options,
    /// What goes out unread.
    pub(super) openings: Openings,
    /// How many threads serve connections.
    pub(super) workers: usize,
}

/// The files that it writes to, open.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The request log.
    pub(super) log: Option<LogFile>,
    /// The records.
    pub(super) records: Option<LogFile>,
    /// The page of the job.
    pub(super) step_summary: Option<LogFile>,
}

/// Where a proxy stands: what is different in each mode.
pub(super) struct Place {
    /// Where connections come to.
    pub(super) listeners: Vec<TcpListener>,
    /// Tells where they were meant to go.
    pub(super) flows: Arc<dyn proxy::FlowTable>,
    /// Those that are made to try the jail.
    pub(super) canary: proxy::Canary,
    /// Which name an address stands for.
    pub(super) names: Arc<dns::Names>,
    /// Answers DNS over TCP.
    pub(super) dns_tcp: Arc<dyn proxy::TcpDns>,
    /// Signs the leaves.
    pub(super) authority: Arc<tls::Authority>,
    /// Tells which program a process runs.
    pub(super) inspector: Arc<dyn ProcessInspector>,
    /// What rules are told of all requests.
    pub(super) run: RunFacts,
    /// How long what is under way at the end may take.
    pub(super) drain: Duration,
    /// Is closed when it takes no more connections.
    pub(super) shut: Option<PipeWriter>,
}

/// How many threads serve by this plan.
pub(super) fn workers(plan: &ProxyPlan) -> usize {
    plan.workers.map_or_else(proxy::default_workers, NonZeroUsize::get)
}

impl Service {
    /// By `plan`, whose rules are `rules` by now: those that are a program were started. `jail` names
    /// the run in the records.
    pub(super) fn new(
        plan: ProxyPlan,
        rules: Rules,
        upstream: upstream::Options,
        files: Files,
        jail: String,
    ) -> Self {
        let workers = workers(&plan);
        Self {
            outputs: Outputs {
                log: files.log,
                records: files.records,
                jail,
                urls: plan.urls,
                summary: plan.summary == Summary::Told,
            },
            step_summary: files.step_summary,
            lists: plan.lists,
            rules,
            upstream,
            openings: plan.openings,
            workers,
        }
    }

    /// The descriptors that it needs, for a fork that keeps only such.
    #[cfg(target_os = "linux")]
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = Vec::new();
        if let Rules::Linked(link) = &self.rules {
            fds.push(link.stream().as_raw_fd());
        }
        let logs = [&self.outputs.log, &self.outputs.records, &self.step_summary];
        fds.extend(logs.into_iter().flatten().map(|log| log.as_fd().as_raw_fd()));
        fds
    }

    /// Starts what writes the records, in the process that serves.
    ///
    /// # Errors
    ///
    /// When a thread that it takes can't be started.
    pub(super) fn start(self) -> io::Result<Started> {
        let Self { outputs, step_summary, lists, rules, upstream, openings, workers } = self;
        let (recorder, records) = Recorder::start(outputs)?;
        Ok(Started { recorder, records, step_summary, lists, rules, upstream, openings, workers })
    }
}

/// A service that can be recorded.
pub(super) struct Started {
    recorder: Recorder,
    records: RecorderHandle,
    step_summary: Option<LogFile>,
    lists: Lists,
    rules: Rules,
    upstream: upstream::Options,
    openings: Openings,
    workers: usize,
}

impl Started {
    /// Takes records.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Serves at `place` until `stop` is closed, then writes the last records and tells what it all
    /// came to. `refusals`: what the kernel side refused, which is known then.
    ///
    /// # Errors
    ///
    /// When it can't serve.
    pub(super) fn serve(
        self,
        place: Place,
        stop: impl AsFd,
        refusals: impl FnOnce() -> Vec<KernelRefusal>,
    ) -> Result<(), ServiceError> {
        let config = proxy::ProxyConfig {
            listeners: place.listeners,
            flows: place.flows,
            canary: place.canary,
            names: place.names,
            dns_tcp: place.dns_tcp,
            authority: place.authority,
            engines: listed(self.lists, self.rules.into_engines(place.run)?),
            recorder: self.recorder,
            inspector: place.inspector,
            upstream: self.upstream,
            openings: self.openings,
            workers: self.workers,
            timeouts: proxy::Timeouts::default(),
            drain: place.drain,
        };
        let served = proxy::run(config, stop, place.shut);
        let Ended { lost, summary } = self.records.finish_with(&refusals());
        if lost > 0 {
            tracing::error!(lost, "records could not be written");
        }
        if let Some(summary) = summary {
            tell(&summary, self.step_summary);
        }
        Ok(served?)
    }
}

/// Why a proxy can't serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    /// What decides can't be started.
    #[error("the rules can't be asked")]
    Rules(#[from] io::Error),
    /// The proxy itself.
    #[error(transparent)]
    Proxy(#[from] proxy::ProxyError),
}

/// Nobody's DNS is turned to a proxy that programs are told of.
pub(super) struct NoDns;

impl proxy::TcpDns for NoDns {
    fn serve(&self, stream: tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()>>> {
        drop(stream);
        Box::pin(std::future::ready(()))
    }
}
