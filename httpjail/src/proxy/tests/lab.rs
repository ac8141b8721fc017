//! A proxy with fakes around it: flows that the test registers, names, and a rule of the test's.

use std::{
    collections::HashMap,
    fs,
    future::Future,
    io::{self, PipeWriter},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls_pki_types::CertificateDer;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::wire::Client;
use crate::{
    policy::{
        Decision, Denial, DenyReason, EngineFactory, Engines, Host, Limits, Opaque, Openings,
        Process, ProcessDetails, ProcessInspector, RemoteEngine, RequestFacts, RuleEngine,
    },
    proxy::{
        Aim, Canary, Flow, FlowTable, ProxyConfig, ProxyError, SyntheticNames, TcpDns, Timeouts,
        run,
    },
    record::{LogFile, Outputs, Recorder, RecorderHandle, Urls, check_records},
    tls::Authority,
    upstream::{Options, PrivateAccess},
};

/// The address that stands for `a.test`, as the DNS stub would give it.
pub(super) const A_TEST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

type Rule = fn(&RequestFacts) -> Decision;

/// How the proxy is set up.
pub(super) struct Setup {
    pub(super) rule: Rule,
    pub(super) private: PrivateAccess,
    pub(super) timeouts: Timeouts,
    pub(super) drain: Duration,
    pub(super) extra_ca: Vec<CertificateDer<'static>>,
    /// The rest of what is decided about the way out.
    pub(super) options: Options,
    pub(super) openings: Openings,
    /// Whether the rule knows of connections that aren't HTTP.
    pub(super) knows_tcp: bool,
    /// Who decides instead of the rule.
    pub(super) remote: Option<Arc<dyn RemoteEngine>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rule: |_| Decision::Allow(Limits::default()),
            private: PrivateAccess::All,
            timeouts: Timeouts::default(),
            drain: Duration::ZERO,
            extra_ca: Vec::new(),
            options: Options::default(),
            openings: Openings::default(),
            knows_tcp: false,
            remote: None,
        }
    }
}

/// A rule that denies with a message.
pub(super) fn deny(message: &str) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::Rule, message: Some(message.to_owned()) })
}

/// A rule that lets out `most` bytes.
pub(super) fn allow_bytes(most: u64) -> Decision {
    Decision::Allow(Limits { max_tx_bytes: Some(most), ..Limits::default() })
}

/// A rule that opens connections, whatever is spoken on them.
pub(super) fn allow_tcp() -> Decision {
    Decision::Allow(Limits { opaque: Opaque::Allowed, ..Limits::default() })
}

/// A running proxy; dropped, it is stopped.
pub(super) struct Lab {
    pub(super) authority: CertificateDer<'static>,
    address: SocketAddr,
    shared: Arc<Shared>,
    folder: TempDir,
    log: Option<RecorderHandle>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<Result<(), ProxyError>>>,
}

struct Shared {
    rule: Rule,
    knows_tcp: bool,
    judged: Mutex<Vec<RequestFacts>>,
    /// How many had been judged at each call for preparation.
    prepared: Mutex<Vec<usize>>,
    flows: Mutex<HashMap<SocketAddr, Flow>>,
}

impl Lab {
    pub(super) fn start(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Arc::new(Authority::new().unwrap());
        let shared = Arc::new(Shared {
            rule: setup.rule,
            knows_tcp: setup.knows_tcp,
            judged: Mutex::default(),
            prepared: Mutex::default(),
            flows: Mutex::default(),
        });
        let folder = tempfile::tempdir().unwrap();
        let open = |name| Some(LogFile::open(&folder.path().join(name)).unwrap());
        let outputs = Outputs {
            log: open("log"),
            records: open("records"),
            jail: "lab".to_owned(),
            urls: Urls::Full,
            summary: true,
        };
        let (recorder, log) = Recorder::start(outputs).unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names = ["a.test", "b.test"].map(|name| (Host::parse(name).unwrap(), loopback));
        let config = ProxyConfig {
            listeners: vec![listener],
            flows: Arc::new(Flows(Arc::clone(&shared))),
            canary: Canary::default(),
            names: Arc::new(Names),
            dns_tcp: Arc::new(Hello),
            authority: Arc::clone(&authority),
            engines: setup.remote.map_or_else(
                || Engines::Local(Arc::new(Factory(Arc::clone(&shared)))),
                Engines::Remote,
            ),
            recorder,
            inspector: Arc::new(NoProgram),
            upstream: Options {
                resolve: names.into_iter().chain(setup.options.resolve).collect(),
                extra_ca: setup.extra_ca,
                allow_private: setup.private,
                ..setup.options
            },
            openings: setup.openings,
            workers: 2,
            timeouts: setup.timeouts,
            drain: setup.drain,
        };
        let (stopped, stop) = io::pipe().unwrap();
        let thread = thread::spawn(move || run(config, stopped, ()));
        Self {
            authority: authority.certificate_der(),
            address,
            shared,
            folder,
            log: Some(log),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// A connection that the jailed program meant for `original`.
    pub(super) fn connect(&self, original: impl Into<SocketAddr>) -> Client {
        self.connect_as(Some((original.into(), Aim::Elsewhere)))
    }

    /// A connection of a program that was told of the proxy.
    pub(super) fn connect_to_proxy(&self) -> Client {
        self.connect_as(Some((self.address, Aim::Proxy)))
    }

    /// A connection that isn't the jail's.
    pub(super) fn connect_from_outside(&self) -> Client {
        self.connect_as(None)
    }

    fn connect_as(&self, original: Option<(SocketAddr, Aim)>) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let client = socket.local_addr().unwrap().as_socket().unwrap();
        if let Some((original, aim)) = original {
            let process = Some(Process { pid: 7, uid: 1000, comm: "probe".to_owned() });
            self.shared.flows.lock().unwrap().insert(client, Flow { original, aim, process });
        }
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::new(stream)
    }

    /// The facts that the rule has seen, in order.
    pub(super) fn judged(&self) -> Vec<RequestFacts> {
        self.shared.judged.lock().unwrap().clone()
    }

    /// The URLs that the rule has seen, in order.
    pub(super) fn judged_urls(&self) -> Vec<String> {
        self.judged().iter().map(RequestFacts::url).collect()
    }

    /// Tells the proxy to end.
    pub(super) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the proxy ends.
    pub(super) fn ended(mut self) -> Result<(), ProxyError> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Waits until there are `count` records.
    pub(super) fn await_records(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.log().lines().count() < count {
            assert!(Instant::now() < deadline, "only {}", self.log());
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn log(&self) -> String {
        self.read("log")
    }

    /// Stops the proxy, and gives all lines of the log without their times.
    pub(super) fn records(mut self) -> Vec<String> {
        self.stop().0
    }

    /// Stops the proxy, and gives all records.
    pub(super) fn full_records(mut self) -> Vec<Value> {
        self.stop().1
    }

    /// Whatever a test is about, each line of the log has its record, and the other way round.
    fn stop(&mut self) -> (Vec<String>, Vec<Value>) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap().unwrap();
        assert_eq!(self.log.take().unwrap().finish(), 0);
        let log = self.log();
        let log: Vec<_> =
            log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        let records = check_records(&self.read("records"));
        let mut rest: Vec<_> = records.iter().collect();
        for line in &log {
            let has_line = |record: &&Value| line.starts_with(&log_line(record));
            let at = rest.iter().rposition(has_line);
            rest.remove(at.unwrap_or_else(|| panic!("no record of {line}: {records:#?}")));
        }
        // Whoever brings no request has asked for nothing.
        let is_unused = |record: &&Value| {
            let reason = record["rule"]["reason"].as_str().unwrap();
            record["kind"] == "tcp" && ["no-request", "tls-handshake"].contains(&reason)
        };
        assert!(rest.iter().all(is_unused), "{log:#?}, but {rest:#?}");
        (log, records)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// How many requests had been judged whenever the engine was asked to make itself ready.
    pub(super) fn prepared(&self) -> Vec<usize> {
        self.shared.prepared.lock().unwrap().clone()
    }

    /// The address that the proxy listens at.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Sign and method of the line that the log has for a record.
fn log_line(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let sign = if record["decision"] == "allow" { '+' } else { '-' };
    let is_request = record["kind"] == "request";
    let word = match (record["rule"]["reason"].as_str().unwrap(), is_request) {
        ("malformed", _) => "HTTP".to_owned(),
        (_, true) => text("method").unwrap(),
        (_, false) => text("scheme").unwrap().to_ascii_uppercase(),
    };
    format!("{sign} {word} ")
}

struct NoProgram;

impl ProcessInspector for NoProgram {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        Ok(Some(format!("/bin/of-{pid}")))
    }

    fn details(&self, _pid: u32) -> io::Result<Option<ProcessDetails>> {
        Ok(None)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.log.is_some() && self.thread.is_some() && !thread::panicking() {
            self.stop();
        }
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, None | Some(Ok(Ok(())))));
    }
}

struct Flows(Arc<Shared>);

impl FlowTable for Flows {
    fn take(&self, _stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>> {
        Ok(self.0.flows.lock().unwrap().remove(&client))
    }
}

struct Names;

impl SyntheticNames for Names {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        (address == A_TEST).then(|| "a.test".to_owned())
    }
}

struct Factory(Arc<Shared>);

impl EngineFactory for Factory {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(Engine(Arc::clone(&self.0)))
    }
}

struct Engine(Arc<Shared>);

impl RuleEngine for Engine {
    fn decide(&mut self, facts: &RequestFacts) -> Decision {
        self.0.judged.lock().unwrap().push(facts.clone());
        (self.0.rule)(facts)
    }

    fn may_open_tcp(&self) -> bool {
        self.0.knows_tcp
    }

    fn prepare(&mut self) {
        let judged = self.0.judged.lock().unwrap().len();
        self.0.prepared.lock().unwrap().push(judged);
    }
}

struct Hello;

impl TcpDns for Hello {
    fn serve(&self, mut stream: tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { stream.write_all(b"dns").await.unwrap() })
    }
}
