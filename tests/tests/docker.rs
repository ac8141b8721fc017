//! Containers in a jail: `--docker-run` with podman and docker, and the same without a jail.

use std::path::Path;

use httpjail_tests::containers::{Containers, IMAGE};
use httpjail_tests::{BANNER, Lab, programs};
use rustix::process::Signal;
use serde_json::Value;

/// What every container does first: asks for what is allowed, and for what isn't.
const WGET: &str = "wget -q -O - http://a.test/x; wget -q -O - http://b.test/y; echo ended";

/// A datagram that holds a mark, then the devices of the network, and the routes.
const UDP: &str = "busybox timeout 1 busybox tftp -g -r a-mark 45.67.89.2
    cat /proc/net/dev /proc/net/route";

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

/// What holds for either engine.
fn is_jailed(lab: &Lab, containers: &Containers<'_>) {
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let twin = containers.twin(&[], &["sh", "-c", WGET]);
    let outside = containers.outside().run(twin).exits(0);
    assert_eq!(outside.stdout, "hello from a.test\nhello from b.test\nended\n", "without a jail");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1));

    let jail = containers.jail().js("r.host === 'a.test'");
    let script = format!("{WGET}; exit 42");
    let jailed = jail.run(["--rm", IMAGE, "sh", "-c", &script]).exits(42);
    assert_eq!(jailed.stdout, "hello from a.test\nended\n", "{jailed:?}");
    assert!(jailed.stderr.contains("403"), "{jailed:?}");
    assert_eq!(jailed.log, ["+ GET http://a.test/x", "- GET http://b.test/y"]);
    assert_eq!((a.seen().len(), b.seen().len()), (2, 1));

    let records = containers.records();
    let requests = of_kind(&records, "request");
    let decisions: Vec<_> = requests.iter().map(|it| (&it["host"], &it["decision"])).collect();
    assert_eq!(decisions.len(), 2, "{records:#?}");
    for request in requests {
        assert_eq!(request["process"]["exe"], "/bin/busybox", "{request:#}");
        assert_eq!(request["process"]["uid"], 0, "{request:#}");
    }
    containers.assert_clean();
}

/// Nothing but what the proxy makes leaves the machine: no name, no datagram, no connection.
fn has_no_other_way_out(lab: &Lab, containers: &Containers<'_>) {
    lab.banner_server();
    let raw = ["sh", "-c", "echo SSH-2.0-x | nc -w 3 45.67.89.2 22"];
    let outside = containers.outside().run(containers.twin(&[], &raw));
    assert!(outside.stdout.contains(BANNER), "without a jail: {outside:?}");
    lab.set_name("secret.test", &[[45, 67, 89, 2].into()]);
    let lookup = ["nslookup", "-type=a", "secret.test"];
    let outside = containers.outside().run(containers.twin(&[], &lookup));
    assert!(outside.stdout.contains("45.67.89.2"), "without a jail: {outside:?}");
    assert_eq!(lab.names_asked(), ["secret.test"]);

    containers.outside().run(containers.twin(&[], &["sh", "-c", UDP]));
    assert!(lab.saw("a-mark"), "without a jail");

    let jail = containers.jail().js("true");
    let words = |command: &[&'static str]| [&["--rm", IMAGE], command].concat();
    lab.assert_silent(|| {
        let jailed = jail.run(words(&raw));
        assert!(!jailed.stdout.contains(BANNER), "{jailed:?}");
        let jailed = jail.run(words(&lookup));
        assert!(jailed.stdout.contains("198.18."), "a name's stand-in: {jailed:?}");
        let jailed = jail.run(words(&["sh", "-c", UDP]));
        let devices = jailed.stdout.lines().filter(|line| line.contains(':')).count();
        assert_eq!(devices, 1, "lo, and no route: {jailed:?}");
    });
    assert_eq!(lab.names_asked(), ["secret.test"]);
    let records = containers.records();
    assert_eq!(of_kind(&records, "tcp").len(), 1, "{records:#?}");
    let refused = of_kind(&records, "kernel-refusal");
    let is_tftps = |it: &&Value| it["reason"] == "udp" && it["process"]["comm"] == "busybox";
    assert!(refused.iter().any(is_tftps), "who was refused: {records:#?}");
    containers.assert_clean();
}

#[test]
fn a_container_of_podman_is_jailed() {
    let lab = Lab::new();
    is_jailed(&lab, &Containers::podman(&lab, &[]));
}

#[test]
fn a_container_of_docker_is_jailed() {
    let lab = Lab::new();
    is_jailed(&lab, &Containers::docker(&lab, &[]));
}

#[test]
fn a_container_of_podman_has_no_other_way_out() {
    let lab = Lab::new();
    has_no_other_way_out(&lab, &Containers::podman(&lab, &[]));
}

#[test]
fn a_container_of_docker_has_no_other_way_out() {
    let lab = Lab::new();
    has_no_other_way_out(&lab, &Containers::docker(&lab, &[]));
}

#[test]
fn programs_in_a_container_trust_the_runs_authority_and_never_see_its_key() {
    let lab = Lab::new();
    let containers = Containers::podman(&lab, &["curl"]);
    let origin = lab.origin("a.test");
    let curl = ["curl", "-sS", "https://a.test/x"];
    let ca = format!("{}:/ca.pem:ro", lab.ca_file().display());
    let options = ["-v", &ca, "-e", "CURL_CA_BUNDLE=/ca.pem"];
    let outside = containers.outside().run(containers.twin(&options, &curl)).exits(0);
    assert_eq!(outside.stdout, "hello from a.test\n", "without a jail");
    let untrusting = containers.outside().run(containers.twin(&[], &curl));
    assert_ne!(untrusting.code, Some(0), "without a jail, and without the authority");

    let jail = containers.jail().js("r.path !== '/y'");
    let jailed = jail.run([&["--rm", IMAGE][..], &curl].concat()).exits(0);
    assert_eq!(jailed.stdout, "hello from a.test\n", "{jailed:?}");
    assert_eq!(origin.seen().len(), 2);
    let look = "cd $(cat /proc/mounts | grep -o '/run/httpjail/[^ ]*'); cat * 2> /dev/null";
    let script = format!("{look}; touch x || echo read-only; curl -sS https://a.test/y");
    let script = script.replace("grep", "busybox grep").replace("touch", "busybox touch");
    let jailed = jail.run(["--rm", IMAGE, "sh", "-c", &script]).exits(0);
    assert!(jailed.stdout.contains("BEGIN CERTIFICATE"), "{jailed:?}");
    assert!(!jailed.stdout.contains("PRIVATE KEY"), "{jailed:?}");
    assert!(jailed.stdout.contains("read-only"), "{jailed:?}");
    assert!(jailed.stdout.contains("httpjail"), "the page of the refusal: {jailed:?}");
    containers.assert_clean();
}

/// Streams, exit codes, names and limits are the tool's business, and pass through.
fn arguments_pass_through(lab: &Lab, containers: &Containers<'_>) {
    lab.origin("a.test");
    let jail = containers.jail().js("true");
    let mut piped = jail.start(["--rm", "-i", IMAGE, "sh", "-c", "cat; exit 3"]);
    piped.write("through the pipe\n");
    piped.close_stdin();
    let piped = piped.finish().exits(3);
    assert_eq!(piped.stdout, "through the pipe\n", "{piped:?}");
    let folder = lab.home().join("here");
    let file = folder.join("variables");
    std::fs::create_dir(&folder).expect("the lab's folder can be written to");
    std::fs::write(&file, "FROM_A_FILE=yes\n").expect("the lab's folder can be written to");
    let (file, folder) = (file.display().to_string(), folder.display().to_string());
    let mount = format!("{folder}:/here:ro");
    let script = "echo $A $B $FROM_A_FILE $(busybox pwd) $(busybox id -u); ls /here; \
                  wget -q -O - http://a.test/";
    let words = ["--rm", "-e", "A=1", "--env", "B=2", "--env-file", &file, "-w", "/tmp", "-u"];
    let more = ["7:7", "-v", &mount, "--entrypoint", "/bin/sh", "-m", "64m", IMAGE, "-c", script];
    let jailed = jail.run(words.iter().chain(&more)).exits(0);
    assert!(jailed.stdout.starts_with("1 2 yes /tmp 7\n"), "{jailed:?}");
    assert!(jailed.stdout.contains("\nvariables\n"), "{jailed:?}");
    assert!(jailed.stdout.ends_with("hello from a.test\n"), "{jailed:?}");
    let kept = jail.run(["--name", "kept", IMAGE, "wget", "-q", "-O", "-", "http://a.test/"]);
    assert_eq!(kept.exits(0).stdout, "hello from a.test\n");
    assert_eq!(containers.all(), ["kept"], "without --rm it stays, and nothing else");
    let unknown = jail.run(["--no-such-option", IMAGE]).exits(125);
    assert!(unknown.stderr.contains("unknown flag: --no-such-option"), "{unknown:?}");
    let detached = jail.run(["-d", IMAGE, "true"]).exits(125);
    assert!(detached.stderr.contains("--detach"), "{detached:?}");
    assert_eq!(containers.all(), ["kept"], "what wasn't run is removed");
}

#[test]
fn podmans_arguments_pass_through() {
    let lab = Lab::new();
    let containers = Containers::podman(&lab, &[]);
    arguments_pass_through(&lab, &containers);
    containers.outside().run(["podman", "rm", "kept"]).exits(0);
    let jail = containers.jail().js("true");
    let named = jail.run([
        "--rm",
        "--hostname=named",
        "--add-host=x.test:1.2.3.4",
        IMAGE,
        "sh",
        "-c",
        "busybox hostname; busybox grep x.test /etc/hosts",
    ]);
    assert_eq!(named.exits(0).stdout, "named\n1.2.3.4\tx.test\n");
    containers.assert_clean();
}

#[test]
fn dockers_arguments_pass_through() {
    let lab = Lab::new();
    let containers = Containers::docker(&lab, &[]);
    arguments_pass_through(&lab, &containers);
    containers.outside().run(["docker", "rm", "kept"]).exits(0);
    containers.assert_clean();
}

/// What a container would have that reaches past its guards, and what is said of it.
fn ways_out_are_refused(lab: &Lab, containers: &Containers<'_>, more: &[(&[&str], &str)]) {
    let socket = lab.home().join("daemon").join("socket");
    std::fs::create_dir(socket.parent().expect("a folder")).expect("the lab's own folder");
    let path = socket.clone();
    let _daemon = lab.at_client(move || std::os::unix::net::UnixListener::bind(path));
    let (file, folder) = (socket.display(), socket.parent().expect("a folder").display());
    let (file, folder) = (format!("{file}:/s"), format!("{folder}:/s"));
    // Of another network namespace than the jail's caller: no list tells of it.
    let foreign = lab.home().join("foreign").join("below");
    std::fs::create_dir_all(&foreign).expect("the lab's own folder");
    let _foreign = std::os::unix::net::UnixListener::bind(foreign.join("s")).expect("a socket");
    let foreign = format!("{}:/s", lab.home().join("foreign").display());
    let cases: [(&[&str], &str); 19] = [
        (&["--privileged"], "privileged"),
        (&["--network", "host"], "its network is \"host\""),
        (&["--network=bridge"], "its network is \"bridge\""),
        (&["--net", "host"], "its network is \"host\""),
        (&["--pid=host"], "its processes"),
        (&["--ipc", "host"], "its shared memory"),
        (&["--cap-add", "NET_ADMIN"], "CAP_NET_ADMIN"),
        (&["--cap-add=ALL"], "reaches beyond it"),
        (&["--cgroup-parent", "/elsewhere"], "its cgroup"),
        (&["-p", "80:80"], "ports of this machine"),
        (&["-P"], "ports of this machine"),
        (&["--security-opt", "systempaths=unconfined"], "/proc/sys"),
        (&["-v", "/proc/sys:/s"], "the kernel's proc"),
        (&["-v", "/:/s:ro"], "a part of"),
        (&["-v", &file], "of a program outside"),
        (&["-v", &folder], "of a program outside"),
        (&["-v", &foreign], "foreign/below/s\" of a program outside"),
        (&["-v", "/run/httpjail:/s"], "a part of \"/run/httpjail\""),
        (&["-v", "/var/lib:/s"], "a part of \"/var/lib/containerd\""),
    ];
    let jail = containers.jail().js("true");
    for (options, said) in cases.iter().chain(more) {
        let words = options.iter().chain(&["--rm", IMAGE, "sh", "-c", "echo it ran"]);
        let refused = jail.run(words).exits(125);
        assert!(refused.stderr.contains(said), "{options:?}: {refused:?}");
        assert_eq!(refused.stdout, "", "{options:?}");
    }
    assert_eq!(containers.all(), Vec::<String>::new());
    let folder = folder.trim_end_matches(":/s").to_owned();
    let opened = containers.jail().js("true").option("--allow-unix").option(&folder);
    let words = ["--rm", "-v", &file, IMAGE, "ls", "/s"];
    assert_eq!(opened.run(words).exits(0).stdout, "/s\n", "what is opened on purpose");
}

#[test]
fn podmans_ways_out_are_refused() {
    let lab = Lab::new();
    let containers = Containers::podman(&lab, &[]);
    let volume =
        "type=volume,src=vv,dst=/s,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/run";
    let more: [(&[&str], &str); 3] = [
        (&["--security-opt", "unmask=ALL"], "/proc/sys"),
        (&["--mount", volume], "the volume vv has options"),
        (&["--cgroups=split"], "failed to create the container"),
    ];
    ways_out_are_refused(&lab, &containers, &more);
    storage_is_refused(&containers, &lab.home().join("podman/storage"));
    lab.assert_clean();
}

#[test]
fn dockers_ways_out_are_refused() {
    let lab = Lab::new();
    let containers = Containers::docker(&lab, &[]);
    let volume =
        "type=volume,src=vv,dst=/s,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/run";
    let more: [(&[&str], &str); 2] = [
        (&["--mount", volume], "the volume vv has options"),
        (&["-v", "/var/lib/docker/none-such:/s:ro"], "a part of \"/var/lib/docker\""),
    ];
    ways_out_are_refused(&lab, &containers, &more);
    storage_is_refused(&containers, &lab.home().join("docker/data"));
}

/// What an engine makes only when it starts its first container: where namespaces are held, above all.
#[test]
fn what_dockers_engine_makes_late_is_refused() {
    let lab = Lab::new();
    let containers = Containers::docker(&lab, &[]);
    let mount = format!("{}:/s", lab.home().join("docker/exec/netns").display());
    let jail = containers.jail().js("true");
    let refused = jail.run(["--rm", "-v", &mount, IMAGE, "sh", "-c", "ls /s"]).exits(125);
    assert!(refused.stderr.contains("the kernel's nsfs"), "{refused:?}");
    assert_eq!(refused.stdout, "", "{refused:?}");
    assert_eq!(containers.all(), Vec::<String>::new());
}

/// Where the engine itself says that it keeps its containers; a volume in there is the container's own.
fn storage_is_refused(containers: &Containers<'_>, storage: &Path) {
    let mount = format!("{}:/s", storage.join("volumes").display());
    let jail = containers.jail().js("true");
    let refused = jail.run(["--rm", "-v", &mount, IMAGE, "true"]).exits(125);
    assert!(refused.stderr.contains(&format!("a part of {storage:?}")), "{refused:?}");
    for volume in ["named:/s", "/s"] {
        let words = ["--rm", "-v", volume, IMAGE, "sh", "-c", "echo it > /s/x; cat /s/x"];
        assert_eq!(jail.run(words).exits(0).stdout, "it\n", "{volume}");
    }
}

/// However a run ends, its container ends with it, and nothing is left.
fn ends_with_its_run(lab: &Lab, containers: &Containers<'_>) {
    lab.origin("a.test");
    let jail = containers.jail().js("true");
    let ready = "wget -q -O - http://a.test/; echo ready";
    let trap = format!("trap 'exit 5' TERM; {ready}; while :; do sleep 0.05; done");
    let told = jail.start(["--rm", IMAGE, "sh", "-c", &trap]);
    told.line("ready");
    told.signal(Signal::TERM);
    told.finish().exits(5);
    containers.assert_clean();

    let stubborn = format!("trap '' TERM INT; {ready}; sleep 1000; sleep 1000");
    let words = ["--rm", IMAGE, "sh", "-c", &stubborn];
    let timed = jail.clone().option("--timeout").option("3").start(words);
    timed.line("ready");
    timed.finish().exits(124);
    containers.assert_clean();

    let killed = jail.start(words);
    killed.line("ready");
    killed.signal(Signal::KILL);
    assert_eq!(killed.finish().signal, Some(9));
    // The proxy ends the container; the next run sweeps.
    jail.run(["--rm", IMAGE, "true"]).exits(0);
    containers.assert_clean();
}

#[test]
fn podmans_containers_end_with_their_runs() {
    let lab = Lab::new();
    ends_with_its_run(&lab, &Containers::podman(&lab, &[]));
}

#[test]
fn dockers_containers_end_with_their_runs() {
    let lab = Lab::new();
    ends_with_its_run(&lab, &Containers::docker(&lab, &[]));
}

#[test]
fn without_an_engine_it_says_so() {
    let lab = Lab::new();
    let jail = lab.jail().js("true").option("--docker-run");
    let none = jail.env("PATH", "/nowhere").run([IMAGE, "true"]).exits(125);
    assert!(none.stderr.contains("neither docker nor podman answers"), "{none:?}");
    let other = lab.jail().js("true").option("--docker-run").option("--engine").option("true");
    let other = other.run([IMAGE, "true"]).exits(125);
    assert!(other.stderr.contains("doesn't answer as docker or podman do"), "{other:?}");
    lab.assert_clean();
}

/// A terminal is the tool's to hand on: keys reach the container, whose answer and exit code come back.
#[test]
fn a_container_has_the_terminal_that_it_is_given() {
    let lab = Lab::new();
    let (podman, docker) = (Containers::podman(&lab, &[]), Containers::docker(&lab, &[]));
    for (containers, tool) in [(&podman, "podman"), (&docker, "docker")] {
        let script = "busybox tty; echo what; read it; echo it-was-$it; exit 4";
        let line = format!(
            "exec {} docker-run --js true --engine {tool} -- --rm -it {IMAGE} sh -c '{script}'",
            programs::httpjail().display()
        );
        let mut typed = containers.outside().start(["script", "-qefc", &line, "/dev/null"]);
        typed.line("what");
        typed.write("typed\n");
        let typed = typed.finish().exits(4);
        assert!(typed.stdout.contains("/dev/pts/0"), "{typed:?}");
        assert!(typed.stdout.contains("it-was-typed"), "{typed:?}");
        assert_eq!(containers.all(), Vec::<String>::new());
    }
}
