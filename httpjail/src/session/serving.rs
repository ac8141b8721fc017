//! What every proxy of a session runs besides itself: the DNS stub, with as many descriptors as it
//! may have.

use std::{future::Future, io, net::UdpSocket, pin::Pin, thread};

use crate::{dns, proxy};

/// Serves the stub's sockets on a thread of its own.
pub(super) fn serve_dns(stub: dns::Stub, sockets: Vec<UdpSocket>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let local = tokio::task::LocalSet::new();
        for socket in sockets {
            let stub = stub.clone();
            local.spawn_local(async move {
                if let Err(error) = stub.serve_udp(socket).await {
                    tracing::error!(%error, "the DNS stub ended");
                }
            });
        }
        runtime.block_on(local);
    };
    thread::Builder::new().name("dns".to_owned()).spawn(serve).map(drop)
}

/// DNS over TCP, as the proxy hands it on.
pub(super) struct TcpStub(pub(super) dns::Stub);

impl proxy::TcpDns for TcpStub {
    fn serve(&self, stream: tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()>>> {
        let stub = self.0.clone();
        Box::pin(async move { stub.serve_tcp(stream).await })
    }
}

/// As many descriptors as the hard limit gives: each proxied connection takes two.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
