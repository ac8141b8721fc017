//! Accepts the jail's connections and hands them to the workers.
//!
//! One thread accepts for all workers, so that every connection is looked up, counted and given to
//! the worker with the fewest. `SO_REUSEPORT` would let the kernel spread them, by a hash that
//! leaves one worker idle when there are few connections, and would let another process of the
//! same user take a share of them.

use std::{
    io::{self, ErrorKind},
    mem,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use super::{
    Canary, Flow, FlowTable, ProxyConfig, ProxyError,
    load::Share,
    slots::{Slot, Slots},
    staff::Staff,
};
use crate::{policy::Seldom, upstream::Route};

/// Far more than a jail has in good faith, and few enough for the usual limit on descriptors.
const MOST_CONNECTIONS: usize = 4096;
/// How long accepting rests when the system is out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);
/// How often hanging workers are looked for, at least.
const CHECK_UP: Duration = Duration::from_millis(500);
/// How often connections that nobody serves are told of.
const STRANGERS: Duration = Duration::from_secs(1);
/// How many connections one listener may bring before the others and the stop are looked at.
const BATCH: usize = 64;

/// A connection of the jail whose flow is known.
pub(super) struct Downstream {
    pub(super) stream: TcpStream,
    pub(super) client: SocketAddr,
    pub(super) flow: Flow,
    /// What its worker has to carry.
    pub(super) share: Share,
    pub(super) slot: Slot,
}

/// Serves the jail until `stop` becomes readable or its other end is closed, on threads of its own;
/// the calling thread accepts. Connections that are open at the end, or after the time that they
/// have left then, are cut. `shut` is dropped when it takes no more connections.
///
/// # Errors
///
/// When the proxy can't start or wait for connections any more, or when rules hang too often.
pub fn run<Shut>(mut config: ProxyConfig, stop: impl AsFd, shut: Shut) -> Result<(), ProxyError> {
    let mut own = Vec::new();
    let listeners = mem::take(&mut config.listeners);
    for listener in &listeners {
        listener.set_nonblocking(true).map_err(ProxyError::Listen)?;
        own.push(listener.local_addr().map_err(ProxyError::Listen)?);
    }
    let route = Arc::new(Route::new(&config.upstream, own)?);
    let slots = Arc::new(Slots::new(connection_limit()).map_err(ProxyError::Listen)?);
    let staff = Staff::start(&config, &route)?;
    let mut acceptor = Acceptor {
        listeners,
        flows: &*config.flows,
        canary: config.canary.clone(),
        slots,
        staff,
        check_up: (config.timeouts.decision / 4).min(CHECK_UP),
        strangers: Seldom::every(STRANGERS),
    };
    let end = acceptor.accept_until(stop.as_fd());
    if !config.drain.is_zero() {
        acceptor.accept_rest();
    }
    // Who comes from now on is told so by the kernel, or served by another who listens there.
    drop(acceptor.listeners);
    drop(shut);
    acceptor.staff.stop(config.drain);
    end
}

struct Acceptor<'a> {
    listeners: Vec<TcpListener>,
    flows: &'a dyn FlowTable,
    canary: Canary,
    slots: Arc<Slots>,
    staff: Staff<'a>,
    check_up: Duration,
    /// When connections that nobody serves are told of: any program on the machine can make them.
    strangers: Seldom,
}

impl Acceptor<'_> {
    fn accept_until(&mut self, stop: BorrowedFd<'_>) -> Result<(), ProxyError> {
        let mut rest = None;
        loop {
            let accepting = rest.is_none() && !self.slots.are_full();
            let mut waiting = vec![
                PollFd::from_borrowed_fd(stop, PollFlags::IN),
                PollFd::from_borrowed_fd(self.slots.freed(), PollFlags::IN),
            ];
            if accepting {
                let listeners = self.listeners.iter().map(AsFd::as_fd);
                waiting.extend(listeners.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            }
            let check_up = self.staff.is_busy().then_some(self.check_up);
            wait(&mut waiting, rest.take().or(check_up)).map_err(ProxyError::Listen)?;
            let mut ready = waiting.iter().map(|fd| !fd.revents().is_empty());
            if ready.next().unwrap_or(true) {
                return Ok(());
            }
            if ready.next().unwrap_or(false) {
                self.slots.clear_freed();
            }
            let ready: Vec<_> = ready.collect();
            self.staff.check_up()?;
            for (number, ready) in ready.into_iter().enumerate() {
                if ready && let Err(error) = self.accept_batch(number) {
                    tracing::warn!(%error, "can't accept a connection for now");
                    rest = Some(REST);
                }
            }
        }
    }

    /// Accepts what has come before the end.
    fn accept_rest(&mut self) {
        for number in 0..self.listeners.len() {
            if let Err(error) = self.accept_batch(number) {
                tracing::debug!(%error, "connections that had come at the end are not accepted");
            }
        }
    }

    /// Accepts what waits at a listener. An error means that the system is short of something.
    fn accept_batch(&mut self, number: usize) -> io::Result<()> {
        for _ in 0..BATCH {
            if self.slots.are_full() {
                tracing::debug!("the jail has too many connections; new ones wait");
                return Ok(());
            }
            let Some(listener) = self.listeners.get(number) else { break };
            match listener.accept() {
                Ok((stream, client)) => self.admit(stream, client),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client went away before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands a connection of this jail to a worker, and resets any other (P2, P13).
    fn admit(&mut self, stream: TcpStream, client: SocketAddr) {
        let flow = match self.flows.take(&stream, client) {
            Ok(Some(flow)) => flow,
            Ok(None) => {
                if self.strangers.is_due(Instant::now()) {
                    tracing::warn!(
                        %client,
                        "a connection was reset: it isn't of this run, or was closed at once"
                    );
                }
                return reset(&stream);
            }
            Err(error) => {
                if self.strangers.is_due(Instant::now()) {
                    tracing::warn!(%client, %error, "a connection was reset: its flow can't be read");
                }
                return reset(&stream);
            }
        };
        if self.canary.takes(&flow) {
            if let Err(error) = self.canary.answer(&stream) {
                tracing::warn!(%error, "the jail's init can't be answered");
            }
            return;
        }
        self.staff.hand_over(stream, client, flow, self.slots.take());
    }
}

/// Makes the drop of `stream` send a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection is closed without a reset");
    }
}

fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout =
        timeout.map(|timeout| Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Each connection takes a descriptor here, one in its worker's load, and one upstream; the rest of
/// the process needs some.
fn connection_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter =
        limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX));
    quarter.clamp(1, MOST_CONNECTIONS)
}
