//! The lab: namespaces, wire, servers, cgroup and files of one test.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::addresses::{
    CLIENT_V4, NAMESERVER_V4, ORIGIN_HOSTS, WIRE_V4, WIRE_V6, origin_v4, origin_v6,
};
use crate::authority::Authority;
use crate::cgroup::Cgroup;
use crate::grpc::GrpcOrigin;
use crate::invocation::Invocation;
use crate::nameserver::Nameserver;
use crate::namespace::Namespace;
use crate::origin::{self, Origin, Reply, Seen};
use crate::process::Running;
use crate::raw::{self, Duplex};
use crate::servers::Servers;
use crate::sniffer::{Frame, Sniffer};
use crate::ssh::SshServer;
use crate::sys::Mounts;
use crate::{forward_proxy, network, postgres, programs};

/// The plain user that [`Invocation::as_user`] stands for.
pub const USER_UID: u32 = 12_345;
/// The plain user's group.
pub const USER_GID: u32 = 12_346;
/// A group of the plain user's whose members can speak to a daemon that is root.
pub const DOCKER_GID: u32 = 12_347;
/// Another group of the plain user's.
pub const FRIENDS_GID: u32 = 12_348;
/// The plain user's name.
pub const USER_NAME: &str = "labuser";
/// What a server sends that speaks first.
pub const BANNER: &str = "SSH-2.0-lab";
/// Where the SSH server of [`Lab::banner_server`] listens, on both of the wire's addresses.
pub const BANNER_PORT: u16 = 22;
const POSTGRES_PORT: u16 = 5432;

static LABS: AtomicU32 = AtomicU32::new(0);

/// A client and its origins, each in a network namespace of its own.
///
/// The order of the fields is the order in which they are taken down: processes first, then the
/// servers' sockets, then the namespaces.
#[derive(Debug)]
pub struct Lab {
    cgroup: Cgroup,
    servers: Servers,
    sniffer: Sniffer,
    nameserver: Nameserver,
    client: Namespace,
    origins: Namespace,
    authority: AuthorityFile,
    next_host: AtomicU8,
    logs: AtomicU32,
    folder: TempDir,
}

impl Lab {
    /// Builds a lab.
    ///
    /// # Panics
    /// Without root, or without the programs and the kernel that it needs.
    #[must_use]
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "kernel tests need root: `cargo xtask test`");
        let folder = new_folder();
        let client = Namespace::new("lab-client", Mounts::Private);
        let origins = Namespace::new("lab-origins", Mounts::Shared);
        network::join(&client, &origins);
        furnish(&client, folder.path());
        let servers = Servers::new();
        let name = format!("lab-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        Self {
            cgroup: Cgroup::new(&name),
            sniffer: Sniffer::start(&origins),
            nameserver: Nameserver::start(&origins, &servers),
            authority: AuthorityFile::new(folder.path().join("ca.pem")),
            next_host: AtomicU8::new(*ORIGIN_HOSTS.start()),
            logs: AtomicU32::new(0),
            servers,
            client,
            origins,
            folder,
        }
    }

    /// Starts a web server that answers everything with 200 and a line of text.
    pub fn origin(&self, name: &str) -> Origin {
        let text = format!("hello from {name}\n");
        self.origin_with(name, move |_| Reply::new(Full::from(Bytes::from(text.clone()))))
    }

    /// Starts a web server with answers of the test's own.
    ///
    /// # Panics
    /// After some thirty of them.
    pub fn origin_with<F>(&self, name: &str, handler: F) -> Origin
    where
        F: Fn(&Seen) -> Reply + Send + Sync + 'static,
    {
        let (v4, v6) = self.new_host(name);
        let tls = |alpn: &[&str]| self.acceptor(name, [v4.into(), v6.into()], alpn);
        let origin = Origin::new(name, v4, v6, std::sync::Arc::new(handler));
        origin.start(&self.origins, &self.servers, tls);
        origin
    }

    /// Starts a gRPC server.
    ///
    /// # Panics
    /// When the lab has no more addresses.
    pub fn grpc_origin(&self, name: &str) -> GrpcOrigin {
        let (v4, v6) = self.new_host(name);
        let tls = self.acceptor(name, [v4.into(), v6.into()], &["h2"]);
        let origin = GrpcOrigin::default();
        origin.start(&self.origins, &self.servers, v4.into(), &tls);
        origin
    }

    /// Two addresses for `name`.
    fn new_host(&self, name: &str) -> (Ipv4Addr, Ipv6Addr) {
        let host = self.next_host.fetch_add(1, Ordering::Relaxed);
        assert!(ORIGIN_HOSTS.contains(&host), "the lab has no more addresses");
        let (v4, v6) = (origin_v4(host), origin_v6(host));
        self.set_name(name, &[v4.into(), v6.into()]);
        (v4, v6)
    }

    /// The certificate that a host shows there, and the protocols that it chooses from.
    fn acceptor(&self, name: &str, addresses: [IpAddr; 2], alpn: &[&str]) -> TlsAcceptor {
        TlsAcceptor::from(self.authority.authority.server(name, &addresses, alpn))
    }

    /// Starts a server whose every connection, in the clear or inside TLS, is the test's own to
    /// serve, on the ports of [`Lab::origin`].
    pub fn raw_origin<F, R>(&self, name: &str, serve: F)
    where
        F: Fn(Box<dyn Duplex>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (v4, v6) = self.new_host(name);
        let addresses = [v4.into(), v6.into()];
        let tls = self.acceptor(name, addresses, &["http/1.1"]);
        for address in addresses {
            for (port, scheme, _) in origin::PORTS {
                let listener = origin::listen(&self.origins, SocketAddr::new(address, port));
                let _guard = self.servers.handle().enter();
                let listener = tokio::net::TcpListener::from_std(listener).expect("pollable");
                let tls = (scheme == origin::Scheme::Https).then(|| tls.clone());
                self.servers.spawn(raw::serve(listener, tls, serve.clone()));
            }
        }
    }

    /// Starts a proxy for programs that are told of one, `proxy.test:3128`, outside of every jail.
    pub fn forward_proxy(&self) {
        self.set_name("proxy.test", &[CLIENT_V4.into()]);
        self.at_client(forward_proxy::start);
    }

    /// Starts a server that speaks first and not HTTP, on the wire's two addresses.
    pub fn banner_server(&self) -> [SocketAddr; 2] {
        [WIRE_V4.into(), WIRE_V6.into()].map(|address| self.banner_server_at(address))
    }

    /// Starts a server that speaks first and not HTTP, on an address of the origins.
    pub fn banner_server_at(&self, address: IpAddr) -> SocketAddr {
        self.serve(SocketAddr::new(address, BANNER_PORT), |mut client| async move {
            drop(client.write_all(format!("{BANNER}\r\n").as_bytes()).await);
            drop(client.shutdown().await);
            // Closed with something unread, the connection would be reset, and the client might lose
            // the banner.
            drop(tokio::io::copy(&mut client, &mut tokio::io::sink()).await);
        })
    }

    /// Starts a server that answers every query of PostgreSQL's with a row that holds it.
    pub fn postgres_server(&self, name: &str) -> SocketAddr {
        self.set_name(name, &[WIRE_V4.into(), WIRE_V6.into()]);
        let converse = |client| async move { drop(postgres::converse(client).await) };
        self.serve((WIRE_V6, POSTGRES_PORT).into(), converse);
        self.serve((WIRE_V4, POSTGRES_PORT).into(), converse)
    }

    /// Starts an SSH server, where the lab's plain user may run commands.
    pub fn ssh_server(&self, name: &str) -> SshServer {
        self.set_name(name, &[WIRE_V4.into()]);
        let (folder, name) = (self.folder.path().join("ssh"), name.to_owned());
        self.origins.run(move || SshServer::start(&folder, &name, (WIRE_V4, BANNER_PORT).into()))
    }

    fn serve<F>(
        &self,
        address: SocketAddr,
        converse: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = origin::listen(&self.origins, address);
        let _guard = self.servers.handle().enter();
        let listener = tokio::net::TcpListener::from_std(listener).expect("pollable");
        self.servers.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(converse(client));
            }
        });
        address
    }

    /// Lets the name server know a name.
    pub fn set_name(&self, name: &str, addresses: &[IpAddr]) {
        self.nameserver.set(name, addresses);
    }

    /// The names that the name server was asked for.
    #[must_use]
    pub fn names_asked(&self) -> Vec<String> {
        self.nameserver.asked()
    }

    /// A command to be run in a jail.
    #[must_use]
    pub fn jail(&self) -> Invocation<'_> {
        Invocation::jailed(self)
    }

    /// A command that is told of the proxy by its environment (`--weak`), by the plain user.
    #[must_use]
    pub fn weak(&self) -> Invocation<'_> {
        Invocation::plain(self, "--weak")
    }

    /// A proxy that stands alone (`--server`), by the plain user; it is started without a command.
    #[must_use]
    pub fn server(&self) -> Invocation<'_> {
        Invocation::plain(self, "--server")
    }

    /// The same without a jail.
    #[must_use]
    pub fn outside(&self) -> Invocation<'_> {
        Invocation::outside(self)
    }

    /// Every packet that has got out to the origins.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.sniffer.settle(&self.client);
        self.sniffer.frames()
    }

    /// Asserts that not one packet gets out meanwhile. What still comes of TCP connections that
    /// were there before is a twin's: their ends are exchanged after it has closed them.
    ///
    /// # Panics
    ///
    /// When a packet got out.
    pub fn assert_silent<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.frames();
        let known: HashSet<_> = before.iter().filter_map(Frame::tcp_flow).collect();
        let done = act();
        let frames = self.frames();
        let is_old = |frame: &Frame| {
            !frame.opens_tcp() && frame.tcp_flow().is_some_and(|flow| known.contains(&flow))
        };
        let new: Vec<_> = frames[before.len()..].iter().filter(|frame| !is_old(frame)).collect();
        assert!(new.is_empty(), "packets got out: {new:?}");
        done
    }

    /// Whether these bytes got out in one packet.
    #[must_use]
    pub fn saw(&self, mark: &str) -> bool {
        self.frames().iter().any(|frame| frame.holds(mark.as_bytes()))
    }

    /// Does something in the origins' namespace, such as a connect from outside.
    pub fn at_origins<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.origins.run(job)
    }

    /// Starts a server of the test's own choice in the origins' namespace; it ends with its handle.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start_at_origins(&self, line: Vec<&str>) -> Running {
        let program = programs::require(line.first().expect("a program"));
        let mut command = Command::new(program);
        command.args(line.iter().skip(1)).current_dir(self.home());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.origins.run(move || command.spawn());
        Running::new(child.expect("a server can be started"), None)
    }

    /// Does something in the client's namespace but outside every jail.
    pub fn at_client<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.client.run(job)
    }

    /// The cgroup in which the lab's commands are started.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A folder that everybody may write to; commands start there, and it is their HOME.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A folder that root alone may write to, as may nobody else above it.
    ///
    /// # Panics
    /// When it has no plain name.
    #[must_use]
    pub fn roots_folder(&self) -> String {
        self.folder.path().join("roots").to_str().expect("a plain name").to_owned()
    }

    /// Where commands put temporary files.
    #[must_use]
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// The certificate of the authority behind the origins.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.authority.path.clone()
    }

    /// The probe, where every user may run it.
    #[must_use]
    pub fn probe(&self) -> PathBuf {
        self.folder.path().join("probe")
    }

    /// The httpjail under test, where every user may run it.
    ///
    /// # Panics
    /// When it can't be put there.
    #[must_use]
    pub fn httpjail(&self) -> PathBuf {
        let path = self.folder.path().join("httpjail");
        let source = programs::httpjail();
        if !path.exists() && fs::hard_link(&source, &path).is_err() {
            fs::copy(&source, &path).expect("the lab's folder can be written to");
        }
        path
    }

    /// Proves that no jail left anything: the parent's programs and its one rule may stay.
    ///
    /// # Panics
    /// When something was left.
    pub fn assert_clean(&self) {
        assert!(!self.cgroup.is_populated(), "processes are left in the lab's cgroup");
        let jails = self.jails();
        assert!(jails.is_empty(), "cgroups of jails are left: {jails:?}");
        assert_eq!(self.client.foreign_processes(), Vec::<String>::new(), "processes are left");
        let tables: Vec<_> =
            self.tables().into_iter().filter(|t| t != "table inet httpjail").collect();
        assert!(tables.is_empty(), "nftables are left: {tables:?}");
        let runs = run_folders(self.cgroup.path());
        assert!(runs.is_empty(), "folders of runs are left: {runs:?}");
        let runs = fs::read_dir(self.temporary()).expect("it is the lab's own").flatten();
        let runs: Vec<_> = runs.map(|entry| entry.path()).collect();
        assert!(runs.is_empty(), "folders of runs without root are left: {runs:?}");
    }

    /// The cgroups of the lab's jails.
    #[must_use]
    pub fn jails(&self) -> Vec<PathBuf> {
        let is_jail = |path: &PathBuf| path.iter().next_back().is_some_and(is_jail_name);
        self.cgroup.descendants().into_iter().filter(is_jail).collect()
    }

    /// The client namespace's nftables.
    ///
    /// # Panics
    /// When `nft` fails.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let nft = programs::require("nft");
        let output = self.client.run(move || Command::new(nft).args(["list", "tables"]).output());
        let output = output.expect("nft can be run");
        assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn client(&self) -> &Namespace {
        &self.client
    }

    pub(crate) fn new_log(&self) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join("logs").join(format!("requests-{number}.log"))
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// An authority and the file with its certificate.
struct AuthorityFile {
    authority: Authority,
    path: PathBuf,
}

impl AuthorityFile {
    fn new(path: PathBuf) -> Self {
        let authority = Authority::new();
        fs::write(&path, authority.pem()).expect("the lab's folder can be written to");
        Self { authority, path }
    }
}

impl std::fmt::Debug for AuthorityFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

/// Makes the lab's folder, with a copy of the probe that every user may run.
fn new_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("httpjail-lab-").tempdir();
    let folder = folder.expect("a temporary folder can be made");
    for (name, mode) in [("", 0o755), ("home", 0o777), ("logs", 0o777), ("tmp", 0o1777)] {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).expect("a folder can be made");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is our own");
    }
    fs::copy(programs::probe(), folder.path().join("probe")).expect("the probe can be copied");
    folder
}

/// Gives the namespace its own name service and users; sudo asks the plain user for no password.
fn furnish(client: &Namespace, folder: &Path) {
    // sudo looks the machine's own name up.
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let existing = |path| fs::read_to_string(path).expect("every system has users and groups");
    let home = folder.join("home");
    let user = format!("{USER_NAME}:x:{USER_UID}:{USER_GID}::{}:/bin/sh\n", home.display());
    let groups = format!(
        "{USER_NAME}:x:{USER_GID}:\ndocker:x:{DOCKER_GID}:{USER_NAME}\nfriends:x:{FRIENDS_GID}:{USER_NAME}\n"
    );
    // The lab's authority stands for the system's, which sudo doesn't take away.
    let sudoers = format!(
        "Defaults env_keep += SSL_CERT_FILE\nroot ALL=(ALL) ALL\n{USER_NAME} ALL=(ALL) NOPASSWD: ALL\n"
    );
    let files = [
        ("/etc/resolv.conf", format!("nameserver {NAMESERVER_V4}\noptions timeout:1 attempts:1\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {machine}\n")),
        ("/etc/passwd", existing("/etc/passwd") + &user),
        ("/etc/group", existing("/etc/group") + &groups),
        ("/etc/shadow", existing("/etc/shadow") + USER_NAME + ":*:19000:0:99999:7:::\n"),
        ("/etc/sudoers", sudoers),
    ];
    for (target, text) in files {
        let source = folder.join(target.trim_start_matches("/etc/"));
        fs::write(&source, text).expect("the lab's folder can be written to");
        let mode = if matches!(target, "/etc/shadow" | "/etc/sudoers") { 0o440 } else { 0o644 };
        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).expect("it is our own");
        client.bind(&source, target);
    }
}

fn is_jail_name(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("jail-") || name.starts_with("httpjail-rules-")
}

/// Folders of runs whose jail was below this cgroup: by its note, which a run makes first.
fn run_folders(cgroup: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir("/run/httpjail").into_iter().flatten().flatten();
    let folders = folders.map(|entry| entry.path());
    let is_below = |folder: &PathBuf| {
        let note = fs::read_to_string(folder.join("cgroup"));
        note.is_ok_and(|note| Path::new(&note).starts_with(cgroup))
    };
    folders.filter(is_below).collect()
}
