//! The proxy of the modes that tell programs of it, as a process of its own: like that of a jail it
//! confines itself before it says that it is ready, and nobody can look into it (P12).

use std::{
    io::{self, Read as _},
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::Arc,
    thread,
    time::Duration,
};

use super::clients::Clients;
use crate::{
    backend::linux::confine::confine,
    dns,
    policy::{NoProcesses, RunFacts},
    proxy,
    session::{
        control::{Channel, Ready, STOP},
        proxy_role::named_certificates,
        service::{NoDns, Place, Service},
        serving::raise_descriptor_limit,
    },
    tls,
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
    /// What it serves by.
    pub(super) service: Service,
    /// How long what is under way at the end may take.
    pub(super) drain: Duration,
}

impl ToldRole {
    /// The descriptors that the role keeps across the fork.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = vec![self.control.as_fd().as_raw_fd()];
        fds.extend(self.listeners.iter().map(AsRawFd::as_raw_fd));
        fds.extend(self.clients.descriptors());
        fds.extend(self.service.descriptors());
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
        let service = self.service.start()?;
        let (stopped, stop) = io::pipe()?;
        let (is_shut, shut) = io::pipe()?;
        watch(self.control, stop, is_shut)?;
        let place = Place {
            listeners: self.listeners,
            flows: Arc::new(self.clients),
            canary: proxy::Canary::default(),
            names: Arc::new(dns::Names::new()),
            dns_tcp: Arc::new(NoDns),
            authority,
            inspector: Arc::new(NoProcesses),
            // Nobody tells which process has connected.
            run: RunFacts::default(),
            drain: self.drain,
            shut: Some(shut),
        };
        Ok(service.serve(place, stopped, Vec::new)?)
    }
}

/// Waits for the supervisor's word, or its death, on a thread of its own. The word is repeated when no
/// more connections are taken: whoever comes from then on is another proxy's.
fn watch(control: Channel, stop: io::PipeWriter, mut is_shut: io::PipeReader) -> io::Result<()> {
    let wait = move || {
        let word = control.receive();
        drop(stop);
        if word.is_ok_and(|word| word.starts_with(STOP)) {
            // Nothing is written: it ends when the other end is closed.
            let _ = is_shut.read(&mut [0]);
            // A supervisor that is gone by now waits for nothing.
            let _ = control.send(STOP);
        } else {
            tracing::error!("the supervisor is dead; the proxy ends, too");
        }
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(wait).map(drop)
}
