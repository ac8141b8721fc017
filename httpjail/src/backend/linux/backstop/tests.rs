//! Real packets in network namespaces of the tests' own, without any eBPF program. These tests
//! need root, `ip` and `nft`.

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Backstop, netlink::Netlink, state::Found};
use crate::backend::linux::testing::TestCgroup;

/// The depth of a [`TestCgroup`].
const LEVEL: u32 = 1;

/// Runs a test on a thread with a network namespace of its own, in which only lo is up.
fn in_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_new_namespace();
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn enter_new_namespace() {
    // SAFETY: changes the namespace of this thread alone.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "this test needs root: {}", io::Error::last_os_error());
    ip("link set lo up");
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

fn nft(command: &str) {
    run("nft", &[command]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// A host at the other end of a wire, with a UDP socket on each family.
struct Peer {
    v4: UdpSocket,
    v6: UdpSocket,
}

impl Peer {
    /// Connects this thread's namespace to a new one.
    fn new() -> Self {
        let (its_thread, thread_id) = mpsc::channel();
        let (wired, wait_for_wire) = mpsc::channel();
        let peer = thread::spawn(move || {
            enter_new_namespace();
            its_thread.send(rustix::thread::gettid()).unwrap();
            wait_for_wire.recv().unwrap();
            ip("addr add 10.99.0.2/24 dev far");
            ip("addr add fd99::2/64 dev far nodad");
            ip("link set far up");
            let bind = |address: &str| {
                let socket = UdpSocket::bind(address).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                socket
            };
            // The sockets keep the namespace after this thread's end.
            Self { v4: bind("10.99.0.2:9"), v6: bind("[fd99::2]:9") }
        });
        let peer_id = thread_id.recv().unwrap().as_raw_nonzero();
        ip(&format!("link add near type veth peer name far netns {peer_id}"));
        ip("addr add 10.99.0.1/24 dev near");
        ip("addr add fd99::1/64 dev near nodad");
        ip("link set near up");
        wired.send(()).unwrap();
        peer.join().unwrap()
    }

    fn sockets(&self) -> [&UdpSocket; 2] {
        [&self.v4, &self.v6]
    }
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Sends a datagram from a process that lives in the cgroup.
fn send(cgroup: &Path, word: &'static str, to: SocketAddr) -> io::Result<()> {
    let processes = cgroup.join("cgroup.procs");
    let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let mut command = Command::new("true");
    // SAFETY: the forked process allocates, which glibc keeps working after a fork.
    unsafe {
        command.pre_exec(move || {
            fs::write(&processes, "0")?;
            UdpSocket::bind(local)?.send_to(word.as_bytes(), to).map(drop)
        });
    }
    command.status().map(drop)
}

fn is_refused(outcome: io::Result<()>) -> bool {
    match outcome {
        Ok(()) => false,
        // What the kernel tells a sender whose datagram an output rule dropped.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => true,
        Err(other) => panic!("{other}"),
    }
}

fn found() -> Option<Found> {
    Found::read(&mut Netlink::open().unwrap()).unwrap()
}

fn parents() -> Vec<(u64, u32)> {
    found().iter().flat_map(Found::parents).map(|parent| (parent.id, parent.level)).collect()
}

#[test]
fn what_is_below_the_parent_leaves_only_without_the_rule() {
    let parent = TestCgroup::new();
    let jail = parent.child("jail");
    let nested = jail.child("nested");
    let outside = TestCgroup::new();
    in_namespace(|| {
        let peer = Peer::new();
        let inside = [&parent, &jail, &nested];
        for socket in peer.sockets() {
            let to = socket.local_addr().unwrap();
            for cgroup in inside {
                send(cgroup.path(), "before", to).unwrap();
                assert_eq!(receive(socket), "before");
            }
        }
        Backstop::ensure(parent.id(), LEVEL).unwrap();
        for socket in peer.sockets() {
            let to = socket.local_addr().unwrap();
            for cgroup in inside {
                assert!(is_refused(send(cgroup.path(), "jailed", to)), "{to}");
            }
            // Had one of them come through, it would be read first.
            send(outside.path(), "free", to).unwrap();
            assert_eq!(receive(socket), "free");
        }
        Backstop::remove(parent.id()).unwrap();
        let to = peer.v4.local_addr().unwrap();
        send(jail.path(), "after", to).unwrap();
        assert_eq!(receive(&peer.v4), "after");
    });
}

#[test]
fn loopback_passes() {
    let parent = TestCgroup::new();
    let jail = parent.child("jail");
    in_namespace(|| {
        Backstop::ensure(parent.id(), LEVEL).unwrap();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            send(jail.path(), "local", socket.local_addr().unwrap()).unwrap();
            assert_eq!(receive(&socket), "local");
        }
    });
}

#[test]
fn the_second_ensure_changes_nothing() {
    in_namespace(|| {
        Backstop::ensure(77, 3).unwrap();
        let first = found().unwrap().rules().to_vec();
        Backstop::ensure(77, 3).unwrap();
        assert_eq!(found().unwrap().rules(), first);
        assert_eq!(parents(), [(77, 3)]);
    });
}

#[test]
fn each_parent_has_its_rule_and_the_last_takes_the_table_along() {
    in_namespace(|| {
        let large = u64::MAX - 1;
        Backstop::ensure(1, 1).unwrap();
        Backstop::ensure(large, 2).unwrap();
        assert_eq!(parents(), [(1, 1), (large, 2)]);
        Backstop::remove(3).unwrap();
        Backstop::remove(1).unwrap();
        assert_eq!(parents(), [(large, 2)]);
        Backstop::remove(large).unwrap();
        assert!(found().is_none());
        Backstop::remove(large).unwrap();
        Backstop::remove_all().unwrap();
        Backstop::ensure(1, 1).unwrap();
        Backstop::ensure(2, 1).unwrap();
        Backstop::remove_all().unwrap();
        assert!(found().is_none());
    });
}

#[test]
fn whatever_was_done_to_the_table_is_undone_by_the_next_ensure() {
    let sabotage = [
        "flush ruleset",
        "delete table inet httpjail",
        "flush chain inet httpjail output",
        "insert rule inet httpjail output accept",
        "insert rule inet httpjail output oifname \"lo\" return",
        "add table inet httpjail { flags dormant; }",
        "flush chain inet httpjail output; delete chain inet httpjail output",
        "delete table inet httpjail; add table inet httpjail; add chain inet httpjail output",
        "delete table inet httpjail; add table inet httpjail; \
         add chain inet httpjail output { type filter hook input priority 0; }",
    ];
    let parent = TestCgroup::new();
    in_namespace(|| {
        let peer = Peer::new();
        let to = peer.v4.local_addr().unwrap();
        for command in sabotage {
            Backstop::ensure(7, 1).unwrap();
            Backstop::ensure(parent.id(), LEVEL).unwrap();
            nft(command);
            send(parent.path(), "leak", to).ok();
            Backstop::ensure(parent.id(), LEVEL).unwrap();
            assert!(is_refused(send(parent.path(), "jailed", to)), "{command}");
            assert!(found().unwrap().is_sound(), "{command}");
        }
    });
}

#[test]
fn rules_of_others_survive_a_repair() {
    in_namespace(|| {
        Backstop::ensure(1, 1).unwrap();
        Backstop::ensure(2, 1).unwrap();
        nft("insert rule inet httpjail output accept");
        Backstop::ensure(2, 1).unwrap();
        let mut left = parents();
        left.sort_unstable();
        assert_eq!(left, [(1, 1), (2, 1)]);
    });
}

#[test]
fn a_wrong_level_is_not_taken_for_the_rule() {
    in_namespace(|| {
        Backstop::ensure(5, 2).unwrap();
        Backstop::ensure(5, 1).unwrap();
        assert_eq!(parents(), [(5, 2), (5, 1)]);
    });
}
