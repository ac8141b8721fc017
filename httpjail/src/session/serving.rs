//! What every proxy of a session runs besides itself: the DNS stub, with as many descriptors as it
//! may have, and what it says at the end.

use std::{
    future::Future,
    io::{self, Write},
    net::UdpSocket,
    pin::Pin,
    thread,
};

use crate::{
    dns, proxy,
    record::{LogFile, Summary},
};

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

/// Tells what the run came to; who doesn't take it goes without.
pub(super) fn tell(summary: &Summary, page: Option<LogFile>) {
    let told = io::stderr().write_all(summary.text().to_string().as_bytes());
    let page = page.map(LogFile::into_file);
    let shown = page.map(|mut page| page.write_all(summary.markdown().to_string().as_bytes()));
    for error in [Some(told), shown].into_iter().flatten().filter_map(Result::err) {
        tracing::warn!(%error, "the summary can't be written");
    }
}
