//! The workers as a whole: who gets the next connection, and who hangs and is replaced.

use std::{
    io,
    net::TcpStream,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    Flow, ProxyConfig, ProxyError,
    listener::Downstream,
    load::Load,
    slots::Slot,
    worker::{Seed, work},
};
use crate::{
    policy::{Decision, Denial, DenyReason, Pulse},
    upstream::Route,
};

/// How many workers may be replaced in one run. Their threads are never got rid of: they are at
/// work on something that nothing can interrupt.
const MOST_REPLACED: usize = 8;
/// How long the end waits for a worker that is in the middle of something.
const END: Duration = Duration::from_secs(2);

/// The running workers.
pub(super) struct Staff<'a> {
    config: &'a ProxyConfig,
    route: &'a Arc<Route>,
    members: Vec<Member>,
    replaced: usize,
}

/// One worker, seen from outside.
struct Member {
    downstreams: UnboundedSender<Downstream>,
    load: Arc<Load>,
    pulse: Arc<Pulse>,
    thread: JoinHandle<()>,
    /// Closed when the thread ends.
    end: mpsc::Receiver<()>,
}

impl<'a> Staff<'a> {
    /// Starts the workers and waits until each is ready.
    ///
    /// # Errors
    ///
    /// When a thread or its runtime can't be made.
    pub(super) fn start(
        config: &'a ProxyConfig,
        route: &'a Arc<Route>,
    ) -> Result<Self, ProxyError> {
        let (ready, readiness) = mpsc::channel();
        let mut staff = Self { config, route, members: Vec::new(), replaced: 0 };
        for number in 0..config.workers.max(1) {
            let member = staff.hire(number, ready.clone()).map_err(ProxyError::Worker)?;
            staff.members.push(member);
        }
        drop(ready);
        for _ in &staff.members {
            await_ready(&readiness).map_err(ProxyError::Worker)?;
        }
        Ok(staff)
    }

    fn hire(&self, number: usize, ready: mpsc::Sender<io::Result<()>>) -> io::Result<Member> {
        let (downstreams, receiver) = unbounded_channel();
        let (at_end, end) = mpsc::channel();
        let pulse = Arc::new(Pulse::default());
        let seed = Seed::new(self.config, self.route, Arc::clone(&pulse));
        let life = move || {
            let _at_end: mpsc::Sender<()> = at_end;
            work(seed, receiver, &ready);
        };
        let thread = thread::Builder::new().name(format!("proxy-{number}")).spawn(life)?;
        Ok(Member { downstreams, load: Arc::default(), pulse, thread, end })
    }

    /// Gives a connection to the worker that has the fewest.
    pub(super) fn hand_over(
        &self,
        stream: TcpStream,
        client: std::net::SocketAddr,
        flow: Flow,
        slot: Slot,
    ) {
        let Some(member) = self.members.iter().min_by_key(|member| member.load.count()) else {
            return tracing::error!("a connection was closed: there is no worker");
        };
        let share = match member.load.add(&stream) {
            Ok(share) => share,
            Err(error) => {
                return tracing::warn!(%error, "a connection was closed: too many are open");
            }
        };
        let downstream = Downstream { stream, client, flow, share, slot };
        if member.downstreams.send(downstream).is_err() {
            tracing::error!("a connection was closed: its worker thread is gone");
        }
    }

    /// Whether any connection is open.
    pub(super) fn is_busy(&self) -> bool {
        self.members.iter().any(|member| member.load.count() > 0)
    }

    /// Replaces workers whose decision takes longer than any may: denies and records what was
    /// asked, and cuts their connections, which nobody serves any more.
    ///
    /// # Errors
    ///
    /// When too many had to be replaced, or one can't be.
    pub(super) fn check_up(&mut self) -> Result<(), ProxyError> {
        for number in 0..self.members.len() {
            let Some(member) = self.members.get(number) else { continue };
            let Some(facts) = member.pulse.give_up_after(self.config.timeouts.decision) else {
                continue;
            };
            let denied = Decision::Deny(Denial::new(DenyReason::RuleFailed));
            self.config.recorder.request(&facts, &denied);
            tracing::warn!("request denied: the rule hangs; its thread is replaced");
            member.load.cut();
            if self.replaced == MOST_REPLACED {
                return Err(ProxyError::Stuck);
            }
            self.replaced += 1;
            let (ready, readiness) = mpsc::channel();
            let fresh = self.hire(number, ready).map_err(ProxyError::Worker)?;
            await_ready(&readiness).map_err(ProxyError::Worker)?;
            if let Some(member) = self.members.get_mut(number) {
                *member = fresh;
            }
        }
        Ok(())
    }

    /// Gives what is under way the time of `drain`, cuts the rest and waits for the threads' end; one
    /// that hangs is left to the process's end.
    pub(super) fn stop(self, drain: Duration) {
        let deadline = Instant::now() + drain + END;
        let (downstreams, threads): (Vec<_>, Vec<_>) = self
            .members
            .into_iter()
            .map(|member| (member.downstreams, (member.thread, member.end)))
            .unzip();
        drop(downstreams);
        for (thread, end) in threads {
            let left = deadline.saturating_duration_since(Instant::now());
            if end.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!("a worker thread hangs at the end");
            } else if thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}

fn await_ready(readiness: &mpsc::Receiver<io::Result<()>>) -> io::Result<()> {
    readiness.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}
