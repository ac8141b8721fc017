//! The worker threads. Each has its own runtime, engine, leaves and upstream connections, so that
//! nothing on a request's path is shared or locked.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use hyper::server::conn::http1;
use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::spawn_local,
};

use super::{
    ProxyConfig, ProxyError, SyntheticNames, TcpDns, Timeouts, body::Outgoing, connection,
    listener::Downstream, patience::Patience, serve,
};
use crate::{
    policy::{EngineFactory, Gate},
    record::Recorder,
    tls::{Authority, Leaves},
    upstream::{Client, Route},
};

/// Only name lookups block.
const MAX_BLOCKING_THREADS: usize = 16;

/// What the connections of one worker share.
pub(super) struct Worker {
    pub(super) gate: Gate,
    pub(super) recorder: Recorder,
    pub(super) client: Client<Outgoing>,
    pub(super) leaves: RefCell<Leaves>,
    pub(super) names: Arc<dyn SyntheticNames>,
    pub(super) dns_tcp: Arc<dyn TcpDns>,
    pub(super) timeouts: Timeouts,
    pub(super) patience: Rc<Patience>,
    pub(super) http: http1::Builder,
}

/// The running worker threads.
pub(super) struct Workers {
    threads: Vec<(UnboundedSender<Downstream>, JoinHandle<()>)>,
}

/// What a thread needs to become a worker.
struct Seed {
    engines: Arc<dyn EngineFactory>,
    recorder: Recorder,
    route: Arc<Route>,
    authority: Arc<Authority>,
    names: Arc<dyn SyntheticNames>,
    dns_tcp: Arc<dyn TcpDns>,
    timeouts: Timeouts,
}

/// Starts `count` workers and waits until each is ready.
pub(super) fn start(
    config: &ProxyConfig,
    route: &Arc<Route>,
    count: usize,
) -> Result<Workers, ProxyError> {
    let (ready, readiness) = mpsc::channel();
    let mut workers = Workers { threads: Vec::new() };
    for number in 0..count {
        let (sender, downstreams) = unbounded_channel();
        let seed = Seed::new(config, route);
        let ready = ready.clone();
        let thread = thread::Builder::new()
            .name(format!("proxy-{number}"))
            .spawn(move || work(seed, downstreams, &ready))
            .map_err(ProxyError::Worker)?;
        workers.threads.push((sender, thread));
    }
    drop(ready);
    for _ in 0..count {
        let outcome = readiness.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        outcome.map_err(ProxyError::Worker)?;
    }
    Ok(workers)
}

impl Workers {
    /// Gives a connection to the worker that its slot belongs to.
    pub(super) fn hand_over(&self, downstream: Downstream) {
        let worker = self.threads.get(downstream.slot.worker());
        if worker.is_none_or(|(sender, _)| sender.send(downstream).is_err()) {
            tracing::error!("a connection was closed: its worker thread is gone");
        }
    }

    /// Cuts what is under way and waits for the threads' end.
    pub(super) fn stop(self) {
        let (senders, threads): (Vec<_>, Vec<_>) = self.threads.into_iter().unzip();
        drop(senders);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}

impl Seed {
    fn new(config: &ProxyConfig, route: &Arc<Route>) -> Self {
        Self {
            engines: Arc::clone(&config.engines),
            recorder: config.recorder.clone(),
            route: Arc::clone(route),
            authority: Arc::clone(&config.authority),
            names: Arc::clone(&config.names),
            dns_tcp: Arc::clone(&config.dns_tcp),
            timeouts: config.timeouts,
        }
    }

    /// Must be called on the worker's runtime.
    fn grow(self) -> Worker {
        Worker {
            gate: Gate::new(self.engines.engine(), self.recorder.clone()),
            recorder: self.recorder,
            client: Client::new(self.route),
            leaves: RefCell::new(Leaves::new(self.authority)),
            names: self.names,
            dns_tcp: self.dns_tcp,
            timeouts: self.timeouts,
            patience: Patience::start(&self.timeouts),
            http: serve::http(),
        }
    }
}

fn work(
    seed: Seed,
    mut downstreams: UnboundedReceiver<Downstream>,
    ready: &mpsc::Sender<io::Result<()>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let worker = Rc::new(seed.grow());
        // Nobody hears it only when the start was given up already.
        let _ = ready.send(Ok(()));
        while let Some(downstream) = downstreams.recv().await {
            spawn_local(connection::serve(Rc::clone(&worker), downstream));
        }
    });
    // A lookup that hangs must not hold up the end.
    runtime.shutdown_background();
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build_local(LocalOptions::default())
}
