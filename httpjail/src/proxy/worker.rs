//! A worker thread. Each has its own runtime, engine, leaves and upstream connections, so that
//! nothing on a request's path waits for another thread.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::mpsc::UnboundedReceiver,
    task::spawn_local,
};

use super::{
    ProxyConfig, SyntheticNames, TcpDns, Timeouts,
    buffers::Buffers,
    closing::{self, Closing},
    connection, ech,
    http1::Scratch,
    listener::Downstream,
    patience::Patience,
    programs::Programs,
};
use crate::{
    policy::{Engines, Gate, Openings, ProcessInspector, Pulse},
    record::Recorder,
    tls::{Authority, Leaves},
    upstream::{Client, Route},
};

/// How long the end of a run waits for servers to take what the command has said on connections that
/// are carried unread.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the connections of one worker share.
pub(super) struct Worker {
    pub(super) gate: Gate,
    pub(super) recorder: Recorder,
    pub(super) programs: Programs,
    pub(super) client: Client,
    pub(super) route: Arc<Route>,
    pub(super) openings: Openings,
    pub(super) buffers: Rc<Buffers>,
    pub(super) ech: ech::Notice,
    pub(super) leaves: RefCell<Leaves>,
    pub(super) names: Arc<dyn SyntheticNames>,
    pub(super) dns_tcp: Arc<dyn TcpDns>,
    pub(super) timeouts: Timeouts,
    pub(super) patience: Rc<Patience>,
    pub(super) scratch: Scratch,
    pub(super) closing: Rc<Closing>,
}

/// What a thread needs to become a worker.
pub(super) struct Seed {
    engines: Engines,
    recorder: Recorder,
    inspector: Arc<dyn ProcessInspector>,
    route: Arc<Route>,
    openings: Openings,
    authority: Arc<Authority>,
    names: Arc<dyn SyntheticNames>,
    dns_tcp: Arc<dyn TcpDns>,
    timeouts: Timeouts,
    drain: Duration,
    pulse: Arc<Pulse>,
}

impl Seed {
    /// `pulse` is where the worker's decisions show.
    pub(super) fn new(config: &ProxyConfig, route: &Arc<Route>, pulse: Arc<Pulse>) -> Self {
        Self {
            engines: config.engines.clone(),
            recorder: config.recorder.for_worker(),
            inspector: Arc::clone(&config.inspector),
            route: Arc::clone(route),
            openings: config.openings.clone(),
            authority: Arc::clone(&config.authority),
            names: Arc::clone(&config.names),
            dns_tcp: Arc::clone(&config.dns_tcp),
            timeouts: config.timeouts,
            drain: config.drain,
            pulse,
        }
    }

    /// Must be called on the worker's runtime.
    fn grow(self) -> Worker {
        Worker {
            gate: Gate::new(&self.engines, self.recorder.clone(), self.pulse),
            recorder: self.recorder,
            programs: Programs::new(self.inspector),
            client: Client::new(Arc::clone(&self.route)),
            route: self.route,
            openings: self.openings,
            buffers: Rc::default(),
            ech: ech::Notice::default(),
            leaves: RefCell::new(Leaves::new(self.authority)),
            names: self.names,
            dns_tcp: self.dns_tcp,
            timeouts: self.timeouts,
            patience: Patience::start(&self.timeouts),
            scratch: Scratch::default(),
            closing: Rc::default(),
        }
    }
}

/// A worker's life: serves what comes through `downstreams`, until that is closed.
pub(super) fn work(
    seed: Seed,
    mut downstreams: UnboundedReceiver<Downstream>,
    ready: &mpsc::Sender<io::Result<()>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        let drain = seed.drain;
        let worker = Rc::new(seed.grow());
        // Nobody hears it only when the start was given up already.
        let _ = ready.send(Ok(()));
        while let Some(downstream) = downstreams.recv().await {
            spawn_local(connection::serve(Rc::clone(&worker), downstream));
        }
        closing::drain(&worker, drain).await;
        worker.buffers.all_sent(LAST_WORDS).await;
    });
    // A lookup that hangs must not hold up the end.
    runtime.shutdown_background();
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}
