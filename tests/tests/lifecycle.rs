//! Jails beside each other, and what is left of one however it ends: nothing.

use httpjail_tests::{Invocation, Lab, Running, programs};
use rustix::process::{Signal, kill_process};

const JAILS: usize = 20;

#[test]
fn keeps_twenty_jails_at_once_to_their_own_rules() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let mut jails: Vec<Running> = (0..JAILS).map(|number| start_numbered(&lab, number)).collect();
    jails.iter().for_each(|jail| drop(jail.line("ready")));
    assert_eq!(lab.jails().len(), JAILS);
    jails.iter_mut().for_each(|jail| jail.write("go\n"));
    for (number, jail) in jails.into_iter().enumerate() {
        let jailed = jail.finish().exits(0);
        assert_eq!(jailed.stdout, "ready\n200 403", "jail {number}: {jailed:?}");
        assert_eq!(jailed.log.len(), 2, "jail {number}: {jailed:?}");
    }
    let mut seen: Vec<_> = a.seen().into_iter().map(|seen| seen.target).collect();
    seen.sort();
    let mut wanted: Vec<_> = (0..JAILS).map(|number| format!("/{number}")).collect();
    wanted.sort();
    assert_eq!(seen, wanted, "each jail's own request, and no other");
    lab.assert_clean();
}

/// A jail that may ask for one path alone, and asks for its neighbour's as well.
fn start_numbered(lab: &Lab, number: usize) -> Running {
    let other = (number + 1) % JAILS;
    let script = format!(
        "echo ready; read go
         curl -sS -o /dev/null -w '%{{http_code}} ' https://a.test/{number}
         curl -sS -o /dev/null -w '%{{http_code}}' https://a.test/{other}"
    );
    lab.jail().js(&format!("r.path === '/{number}'")).start(["sh", "-c", &script])
}

/// Connections that one jail may have to its proxy at once.
const CONNECTIONS: usize = 8192;

/// Opens connections until one is refused, closes all of them and does so again; then holds them,
/// tries tens of thousands more, and waits until its input ends.
const FLOOD: &str = "import errno, resource, socket, struct, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
reset = struct.pack('ii', 1, 0)
def flood():
    clients = []
    while len(clients) < 9000:
        client, error = attempt()
        if error == errno.EPERM:
            return clients
        clients.append(client)
    return clients
def attempt():
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    return client, client.connect_ex(('45.67.89.2', 80))
print('first', len(flood()), flush=True)
clients = flood()
print('again', len(clients), flush=True)
refused = sum(attempt()[1] == errno.EPERM for _ in range(60000 - len(clients)))
print('refused', refused, flush=True)
sys.stdin.read()";

/// The flooding jail's proxy is stopped, so that nothing is taken off the table.
#[test]
fn bounds_a_flood_of_connections_to_the_jail_that_makes_it() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = format!("echo ready; read go; exec python3 -c \"{FLOOD}\"");
    let mut flooding = lab.jail().js("true").start(["sh", "-c", &script]);
    flooding.line("ready");
    let proxy = flooding.proxy();
    kill_process(proxy, Signal::STOP).expect("a living process");
    flooding.write("go\n");
    assert_eq!(flooding.line("first"), format!("first {CONNECTIONS}"));
    assert_eq!(flooding.line("again"), format!("again {CONNECTIONS}"), "all were given back");
    assert_eq!(flooding.line("refused"), format!("refused {}", 60_000 - CONNECTIONS));
    let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://a.test/"];
    assert_eq!(lab.jail().js("true").run(curl).exits(0).stdout, "200", "the next jail");
    kill_process(proxy, Signal::CONT).expect("a stopped process");
    flooding.finish().exits(0);
    lab.assert_clean();
}

/// A jail with a process in a session of its own, out of reach of the command's end.
fn start_stubborn(invocation: &Invocation<'_>) -> Running {
    let script = "(trap '' TERM HUP INT; setsid sleep 1000) > /dev/null 2>&1 < /dev/null &
        echo ready; exec sleep 1000";
    let jail = invocation.start(["sh", "-c", script]);
    jail.line("ready");
    jail
}

/// Kills the supervisor, the hard way, and waits for the jail's processes to end.
fn kill_supervisor(lab: &Lab) {
    let jail = start_stubborn(&lab.jail().js("true"));
    jail.signal(Signal::KILL);
    let killed = jail.finish();
    assert_eq!(killed.signal, Some(9), "{killed:?}");
    lab.cgroup().wait_until_empty();
}

#[test]
fn ends_every_process_when_the_supervisor_is_killed() {
    let lab = Lab::new();
    kill_supervisor(&lab);
}

#[test]
fn leaves_a_dead_supervisors_jail_without_network() {
    let lab = Lab::new();
    lab.banner_server();
    let acts = [
        &["udp-send-to", "45.67.89.2:4433"][..],
        &["tcp", "45.67.89.2:22", "--mark", "SSH-2.0-x\r\n"],
    ];
    acts.iter().for_each(|act| drop(lab.outside().probe(*act).exits(0)));
    assert!(!lab.frames().is_empty(), "without a jail the acts get out");
    let jail = start_stubborn(&lab.jail().js("true"));
    let cgroup = lab.jails().pop().expect("a living jail has a cgroup");
    jail.signal(Signal::KILL);
    jail.finish();
    lab.assert_silent(|| {
        for act in acts {
            // Whoever is still in the dead jail, or enters it before it is swept, has no way out.
            lab.outside().in_cgroup(&cgroup).probe(act);
        }
    });
}

#[test]
fn gives_no_network_to_a_cgroup_that_is_no_jail() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    lab.jail().run(["true"]).exits(0);
    let parent = lab.cgroup().descendants().pop().expect("the parent stays");
    let stray = parent.join("stray");
    std::fs::create_dir(&stray).expect("a cgroup can be made");
    for act in [["udp-send-to", "45.67.89.2:4433"], ["tcp", &format!("{}:80", a.v4())]] {
        assert_eq!(lab.outside().probe(act).exits(0).report()["ok"], true, "without a jail");
        let stray = lab.outside().in_cgroup(&stray);
        let report = lab.assert_silent(|| stray.probe(act).exits(0).report());
        assert_eq!(report["ok"], false, "{report}");
    }
    std::fs::remove_dir(&stray).expect("it is empty");
    lab.assert_clean();
}

#[test]
fn sweeps_a_dead_run_at_the_next_one() {
    let lab = Lab::new();
    kill_supervisor(&lab);
    lab.jail().run(["true"]).exits(0);
    lab.assert_clean();
}

#[test]
fn sweeps_a_dead_run_when_told_to() {
    let lab = Lab::new();
    kill_supervisor(&lab);
    lab.outside().run([programs::httpjail().as_os_str(), "cleanup".as_ref()]).exits(0);
    lab.assert_clean();
}

#[test]
fn leaves_living_runs_alone_when_it_sweeps() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "echo ready; read go; curl -sS -o /dev/null -w '%{http_code}' http://a.test/";
    let mut living = lab.jail().js("true").start(["sh", "-c", script]);
    living.line("ready");
    lab.outside().run([programs::httpjail().as_os_str(), "cleanup".as_ref()]).exits(0);
    lab.jail().run(["true"]).exits(0);
    living.write("go\n");
    assert_eq!(living.finish().exits(0).stdout, "ready\n200");
    lab.assert_clean();
}

/// Removes what all jails of the machine share, so it gets a machine of its own, as it were.
#[test]
fn removes_the_parents_when_told_to_remove_all() {
    let lab = Lab::new();
    let httpjail = programs::httpjail();
    let script = format!(
        "parents() {{ find {cgroups} -name 'httpjail-*' | wc -l; }}
         mkfifo ready go
         {httpjail} -- sh -c 'echo > ready; read line < go' & read line < ready
         {httpjail} cleanup --all; echo $?
         echo > go; wait; parents; nft list tables
         {httpjail} cleanup --all; echo $?; parents; nft list tables",
        cgroups = httpjail_tests::cgroup::mount().display(),
        httpjail = httpjail.display(),
    );
    let done = lab.outside().secluded().sh(&script);
    assert_eq!(done.stdout, "125\n1\ntable inet httpjail\n0\n0\n", "{done:?}");
    assert_eq!(lab.cgroup().descendants(), Vec::<std::path::PathBuf>::new());
    lab.assert_clean();
}

/// What is cloned from such a cgroup into another one is killed at birth (Linux 6.18).
#[test]
fn starts_from_a_cgroup_that_was_once_killed() {
    let lab = Lab::new();
    lab.origin("a.test");
    lab.cgroup().kill();
    let script = "curl -sS -o /dev/null -w '%{http_code}' http://a.test/; exit 3";
    assert_eq!(lab.outside().sh(script).exits(3).stdout, "200", "without a jail");
    assert_eq!(lab.jail().sh(script).exits(3).stdout, "403");
    lab.assert_clean();
}

/// As in a container, whose processes see their own cgroup as the root of all.
#[test]
fn judges_in_a_cgroup_namespace() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    lab.banner_server();
    let script = "curl -sS -o /dev/null -w '%{http_code}' https://a.test/; nc -w 3 45.67.89.2 22 < /dev/null";
    let twin = lab.outside().secluded().sh(script);
    assert!(twin.stdout.starts_with("200SSH-"), "without a jail: {twin:?}");
    let denied = lab.assert_silent(|| lab.jail().secluded().sh(script));
    assert_eq!(denied.stdout, "403", "{denied:?}");
    let allowed = lab.jail().secluded().js("r.host === 'a.test'").sh(script);
    assert_eq!(allowed.stdout, "200", "{allowed:?}");
    assert_eq!(a.seen().len(), 2);
    lab.assert_clean();
}

#[test]
fn stays_in_the_callers_cgroup_and_dies_with_it() {
    let lab = Lab::new();
    let service = lab.cgroup().child("service");
    let jail = lab.jail().in_cgroup(service.path()).start_probe(["hang"]);
    jail.line("hanging");
    let jails = lab.jails();
    assert!(jails.len() == 1 && jails[0].starts_with(service.path()), "{jails:?}");
    service.kill();
    assert_eq!(jail.finish().signal, Some(9));
    service.wait_until_empty();
    lab.cgroup().wait_until_empty();
    lab.jail().run(["true"]).exits(0);
    drop(service);
    lab.assert_clean();
}

#[test]
fn ends_the_jail_when_its_proxy_dies() {
    let lab = Lab::new();
    let jail = lab.jail().start_probe(["hang"]);
    jail.line("hanging");
    kill_process(jail.proxy(), Signal::KILL).expect("a living process");
    jail.finish().exits(125);
    lab.assert_clean();
}

#[test]
fn ends_every_process_when_the_supervisor_dies_and_the_proxy_cannot_help() {
    let lab = Lab::new();
    // No other test's run sweeps it meanwhile.
    let jail = start_stubborn(&lab.jail().secluded().js("true"));
    let cgroup = lab.jails().pop().expect("a living jail has a cgroup");
    let proxy = jail.proxy();
    kill_process(proxy, Signal::STOP).expect("a living process");
    jail.signal(Signal::KILL);
    httpjail_tests::cgroup::wait_until_empty(&cgroup);
    kill_process(proxy, Signal::KILL).expect("a stopped process");
    assert_eq!(jail.finish().signal, Some(9));
    lab.cgroup().wait_until_empty();
}

/// Nobody is left to end the jail then, and its map entry still names the ports. (Secluded, so
/// that no other test's run sweeps it meanwhile.)
#[test]
fn gives_nothing_to_who_takes_a_dead_proxys_ports() {
    let lab = Lab::new();
    let jail = start_stubborn(&lab.jail().secluded().js("true"));
    let cgroup = lab.jails().pop().expect("a living jail has a cgroup");
    let list = |kind: &str| {
        let command =
            format!("ss -Hnl{kind} '( src 127.0.0.1 or src [::1] )' | awk '{{print $4}}'");
        let listed = lab.outside().sh(&command).exits(0).stdout;
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (proxy, stub) = (list("t"), list("u"));
    assert_eq!((proxy.len(), stub.len()), (2, 2), "{proxy:?} {stub:?}");
    let role = jail.proxy();
    // Stopped, it can't see the supervisor die and end the jail.
    kill_process(role, Signal::STOP).expect("a living process");
    jail.signal(Signal::KILL);
    kill_process(role, Signal::KILL).expect("a living process");
    jail.finish();
    assert!(lab.jails().contains(&cgroup), "the jail has outlived both");

    for address in &proxy {
        let stranger = lab.outside().start_probe(["listen", address]);
        stranger.line("listening");
        let twin = lab.outside().probe(["tcp", address, "--mark", "hello\n"]).exits(0);
        assert!(twin.stdout.contains("hello from the listener"), "{twin:?}");
        for target in ["45.67.89.2:80", "[2a0f:9400:7777::2]:80", address] {
            let act = ["tcp", target, "--mark", "secret\n"];
            let report = lab.outside().in_cgroup(&cgroup).probe(act).exits(0).report();
            assert_eq!(report["errno"], 1, "{target}: EPERM at once: {report}");
        }
        assert_eq!(stranger.finish().exits(0).report()["seen"]["accepted"], 1, "the twin's alone");
    }
    for address in &stub {
        let stranger = lab.outside().start_probe(["listen-udp", address]);
        stranger.line("listening");
        lab.outside().probe(["udp-send-to", address, "--mark", "hello"]).exits(0);
        for act in ["udp-send-to", "udp-connect"] {
            for target in ["45.67.89.2:53", "[2a0f:9400:7777::2]:53", address] {
                let act = [act, target, "--mark", "secret"];
                let report = lab.outside().in_cgroup(&cgroup).probe(act).exits(0).report();
                assert_eq!(report["errno"], 1, "{target}: EPERM at once: {report}");
            }
        }
        assert_eq!(stranger.finish().exits(0).report()["seen"]["accepted"], 1, "the twin's alone");
    }
    assert_eq!(lab.frames().len(), 0, "packets got out");
}
