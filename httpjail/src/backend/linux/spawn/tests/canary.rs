//! A jail that isn't shut: the command must not run.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process, thread,
    time::Duration,
};

use super::*;

const OURS: [u8; WORD] = *b"a word of ours..";

/// A network of this test's own, with nothing but lo: what isn't refused stays in it.
fn enter_own_network() {
    // SAFETY: unshare takes flags alone; this thread's network is its own from here on.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "this test needs root");
    let up = process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.unwrap().success());
}

/// Answers one connection as the proxy would; its address.
fn proxy_that_says(word: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.accept().unwrap().0.write_all(word).unwrap());
    address
}

/// Runs a command in a jail that is tried by `canary`; the error instead, if it didn't run.
fn run(canary: Canary) -> Result<(), SpawnError> {
    let fixture = Fixture { canary, ..Fixture::new() };
    let args = ["-c".into(), "echo ran >$OUTPUT".into()];
    let outcome = spawn(fixture.plan("sh", &args)).unwrap().held().unwrap().release();
    let status = outcome.map(|child| child.wait().unwrap());
    assert_eq!(fixture.output_path().exists(), status.is_ok(), "it runs when all is well");
    wait_until_empty(fixture.cgroup.path());
    status.map(|status| assert!(status.success()))
}

/// Which guard was found open, and by which error.
fn open(outcome: Result<(), SpawnError>) -> (Step, Option<i32>) {
    match outcome {
        Err(SpawnError::Open { guard, source }) => {
            (guard, source.and_then(|source| source.raw_os_error()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn runs_the_command_when_the_proxy_answers() {
    enter_own_network();
    let connections = vec![proxy_that_says(&OURS), proxy_that_says(&OURS)];
    run(Canary { connections, word: OURS, ..Canary::default() }).unwrap();
}

#[test]
fn runs_nothing_when_somebody_else_answers() {
    enter_own_network();
    for answer in [b"another's word..".as_slice(), b"short", b""] {
        let connections = vec![proxy_that_says(answer)];
        let outcome = run(Canary { connections, word: OURS, ..Canary::default() });
        assert_eq!(open(outcome), (Step::TurnConnection, Some(libc::EBADMSG)));
    }
}

/// The cgroup has no programs, so that the connection isn't turned to anybody.
#[test]
fn runs_nothing_when_a_connection_is_not_turned_to_the_proxy() {
    enter_own_network();
    let outside = ("192.0.2.1:443", libc::ENETUNREACH);
    for (target, errno) in
        [outside, ("[2001:db8::1]:443", libc::ENETUNREACH), ("127.0.0.1:9", libc::ECONNREFUSED)]
    {
        let connections = vec![target.parse().unwrap()];
        let outcome = run(Canary { connections, word: OURS, ..Canary::default() });
        assert_eq!(open(outcome), (Step::TurnConnection, Some(errno)), "{target}");
    }
}

#[test]
fn runs_nothing_when_a_datagram_is_not_refused() {
    enter_own_network();
    for target in ["127.0.0.1:9", "[::1]:9"] {
        let datagrams = vec![target.parse().unwrap()];
        let outcome = run(Canary { datagrams, ..Canary::default() });
        assert_eq!(open(outcome), (Step::RefuseDatagram, None), "{target}");
    }
}

#[test]
fn runs_nothing_when_a_datagram_fails_for_another_reason() {
    enter_own_network();
    let datagrams = vec!["192.0.2.1:9".parse().unwrap()];
    let outcome = run(Canary { datagrams, ..Canary::default() });
    assert_eq!(open(outcome), (Step::RefuseDatagram, Some(libc::ENETUNREACH)));
}

/// The cgroup has no programs, so that nothing is dropped; on lo alone, where nobody is.
#[test]
fn runs_nothing_when_a_packet_is_not_dropped() {
    enter_own_network();
    for target in ["127.0.0.1", "::1"] {
        let packets = vec![target.parse().unwrap()];
        let outcome = run(Canary { packets, ..Canary::default() });
        assert_eq!(open(outcome), (Step::DropPacket, None), "{target}");
    }
}

/// Each answer comes later than the last, and the last ones come too late.
#[test]
fn runs_nothing_when_all_together_takes_too_long() {
    const PATIENCE: Duration = Duration::from_millis(300);
    enter_own_network();
    let late = |answers: u32| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut client = listener.accept().unwrap().0;
            thread::sleep(PATIENCE / 2 * answers);
            client.write_all(&OURS)
        });
        address
    };
    let connections = (0..4).map(late).collect();
    let canary = Canary { patience: PATIENCE, connections, word: OURS, ..Canary::default() };
    assert_eq!(open(run(canary)), (Step::TurnConnection, Some(libc::ETIMEDOUT)));
}

#[test]
fn runs_nothing_when_a_file_of_the_cgroups_can_be_written() {
    let folder = TempDir::new().unwrap();
    let writable = folder.path().join("cgroup.procs");
    fs::write(&writable, "").unwrap();
    let outcome = run(Canary { files: vec![writable], ..Canary::default() });
    assert_eq!(open(outcome), (Step::RefuseCgroups, None));
}

#[test]
fn runs_the_command_when_the_cgroups_are_read_only() {
    let fixture = Fixture::new();
    let processes = fixture.cgroup.path().join("cgroup.procs");
    File::options().write(true).open(&processes).expect("outside it can be opened");
    run(Canary { files: vec![processes], ..Canary::default() }).unwrap();
}
