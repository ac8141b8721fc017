//! Dialling, between addresses of the loopback device: some answer, some refuse, some are dead.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::{
    Options, Origin, PrivateAccess, Route, Timeouts, UpstreamError, dial::Connection, trust::Offer,
};
use crate::policy::{Authority, Host, Scheme};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// One port on addresses of each kind.
struct Addresses {
    port: u16,
    /// Takes connections.
    alive: TcpListener,
    /// The same, on IPv6.
    alive_v6: TcpListener,
    /// Answers nothing at all: its queue is full, so the kernel drops what opens a connection.
    _dead: Socket,
    /// What fills the queue.
    _filling: Vec<TcpStream>,
}

const DEAD: &str = "127.0.0.1";
const ALIVE: &str = "127.0.0.2";
const ALIVE_V6: &str = "::1";
const REFUSING: &str = "127.0.0.3";

impl Addresses {
    fn new() -> Self {
        // The other addresses' port may be taken; another one is tried then.
        (0..100).find_map(|_| Self::at_some_port()).expect("a port is free on three addresses")
    }

    fn at_some_port() -> Option<Self> {
        let dead = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        dead.bind(&socket_address(DEAD, 0).into()).unwrap();
        dead.listen(0).unwrap();
        let port = dead.local_addr().unwrap().as_socket().unwrap().port();
        let alive = TcpListener::bind(socket_address(ALIVE, port)).ok()?;
        let alive_v6 = TcpListener::bind(socket_address(ALIVE_V6, port)).ok()?;
        let connect = |_| TcpStream::connect_timeout(&socket_address(DEAD, port), SHORT);
        let filling: Vec<_> = (0..10).map(connect).map_while(Result::ok).collect();
        assert!(filling.len() < 10, "the queue never fills");
        Some(Self { port, alive, alive_v6, _dead: dead, _filling: filling })
    }

    /// Dials a name with these addresses.
    fn dial(
        &self,
        addresses: &[&str],
        scheme: Scheme,
        timeouts: Timeouts,
    ) -> Result<SocketAddr, UpstreamError> {
        let name = Host::parse("a.test").unwrap();
        let resolve = addresses.iter().map(|ip| (name.clone(), ip.parse().unwrap())).collect();
        let allow_private = PrivateAccess::All;
        let options = Options { resolve, allow_private, timeouts, ..Options::default() };
        let route = Route::new(&options, Vec::new()).unwrap();
        let origin = Origin { scheme, authority: Authority::new(name, self.port) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(route.dial(&origin, Offer::Http1))?;
        let Connection::Plain(stream) = connection else { panic!("nobody here speaks TLS") };
        Ok(stream.peer_addr().unwrap())
    }
}

fn socket_address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn patient() -> Timeouts {
    Timeouts { resolve: LONG, connect: LONG, tunnel: LONG, handshake: LONG }
}

#[test]
fn the_first_address_that_answers_is_taken() {
    let addresses = Addresses::new();
    for (given, taken) in [
        (&[ALIVE][..], ALIVE),
        (&[ALIVE, DEAD], ALIVE),
        (&[DEAD, ALIVE], ALIVE),
        (&[REFUSING, ALIVE], ALIVE),
        (&[DEAD, REFUSING, ALIVE], ALIVE),
        (&[DEAD, DEAD, DEAD, ALIVE], ALIVE),
        (&[ALIVE_V6, ALIVE], ALIVE_V6),
        (&[ALIVE, ALIVE_V6], ALIVE),
        (&[DEAD, REFUSING, ALIVE_V6], ALIVE_V6),
        (&[REFUSING, ALIVE_V6, ALIVE], ALIVE_V6),
    ] {
        let begun = Instant::now();
        let reached = addresses.dial(given, Scheme::Http, patient()).unwrap();
        assert_eq!(reached, socket_address(taken, addresses.port), "{given:?}");
        assert!(begun.elapsed() < LONG / 4, "{given:?}: a dead address held up the others");
    }
    drop((addresses.alive, addresses.alive_v6));
}

#[test]
fn addresses_that_do_not_answer_are_given_up() {
    let addresses = Addresses::new();
    let impatient = Timeouts { connect: SHORT, ..patient() };
    for given in [&[DEAD][..], &[DEAD, DEAD], &[REFUSING, DEAD], &[DEAD, REFUSING]] {
        let error = addresses.dial(given, Scheme::Http, impatient).unwrap_err();
        assert!(matches!(error, UpstreamError::ConnectTimeout(_)), "{given:?}: {error}");
    }
    for given in [&[REFUSING][..], &[REFUSING, REFUSING]] {
        let error = addresses.dial(given, Scheme::Http, patient()).unwrap_err();
        assert!(matches!(error, UpstreamError::Connect { .. }), "{given:?}: {error}");
        assert!(error.in_one_line().contains("refused"), "{given:?}: {error}");
    }
}

#[test]
fn a_handshake_that_is_not_answered_is_given_up() {
    let addresses = Addresses::new();
    let impatient = Timeouts { handshake: SHORT, ..patient() };
    // The queue of the listener takes the connection; nobody reads it.
    let error = addresses.dial(&[ALIVE], Scheme::Https, impatient).unwrap_err();
    assert!(matches!(error, UpstreamError::TlsTimeout(_)), "{error}");
}
