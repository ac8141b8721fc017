//! The proxy dials no private address unless it was told that it may.

use std::net::{IpAddr, TcpListener};
use std::thread::{self, JoinHandle};

use httpjail_tests::addresses::{CLIENT_V4, CLIENT_V6, PRIVATE_V4};
use httpjail_tests::{Finished, Lab};

fn get(lab: &Lab, options: &[&str], url: &str) -> Finished {
    let jail = options.iter().fold(lab.jail().js("true"), |jail, option| jail.option(option));
    jail.run(["curl", "-sS", "-w", "%{http_code}", "-g", url]).exits(0)
}

/// Answers so many requests with 200.
fn answer(server: TcpListener, requests: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        for client in server.incoming().take(requests) {
            let mut client = client.expect("a client");
            let mut request = [0; 1024];
            std::io::Read::read(&mut client, &mut request).expect("a request");
            let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            std::io::Write::write_all(&mut client, reply).expect("a reply");
        }
    })
}

fn assert_refused(lab: &Lab, url: &str) {
    let jailed = get(lab, &[], url);
    assert!(jailed.stdout.ends_with("502"), "{url}: {jailed:?}");
}

#[test]
fn refuses_a_name_that_resolves_to_a_private_address() {
    let lab = Lab::new();
    lab.set_name("inside.test", &[PRIVATE_V4.into()]);
    let before = lab.frames().len();
    assert_refused(&lab, "http://inside.test/");
    let dialled = |frame: &httpjail_tests::Frame| frame.destination == PRIVATE_V4;
    assert!(!lab.frames()[before..].iter().any(dialled), "the private address was dialled");
    lab.assert_clean();
}

#[test]
fn refuses_private_literals() {
    let lab = Lab::new();
    for host in ["127.0.0.1", "10.77.0.2", "169.254.169.254", "[::1]", "[fd00:ec2::254]", "0.0.0.0"]
    {
        assert_refused(&lab, &format!("http://{host}:8080/"));
    }
    lab.assert_clean();
}

#[test]
fn dials_private_addresses_when_allowed() {
    let lab = Lab::new();
    lab.set_name("inside.test", &[PRIVATE_V4.into()]);
    let server = lab.at_origins(|| TcpListener::bind((PRIVATE_V4, 80))).expect("port 80");
    let answering = answer(server, 2);
    for options in [&["--allow-private"][..], &["--allow-private=10.77.0.0/16"]] {
        let allowed = get(&lab, options, "http://inside.test/");
        assert!(allowed.stdout.ends_with("200"), "{allowed:?}");
        let warnings: Vec<_> = allowed.stderr.lines().collect();
        assert!(
            matches!(warnings[..], [one] if one.contains("WARN --allow-private opens: ")),
            "{allowed:?}"
        );
    }
    answering.join().expect("the server served");
    let other = get(&lab, &["--allow-private=192.168.0.0/16"], "http://inside.test/");
    assert!(other.stdout.ends_with("502"), "{other:?}");
    lab.assert_clean();
}

/// The variable is often set for another program's sake.
#[test]
fn says_what_it_opens_whatever_is_logged() {
    let lab = Lab::new();
    for directives in ["other=debug", "off", "httpjail=error"] {
        let jail = lab.jail().env("RUST_LOG", directives).option("--allow-private");
        let stderr = jail.run(["true"]).exits(0).stderr;
        assert!(stderr.contains("WARN --allow-private opens: "), "{directives}: {stderr}");
    }
    lab.assert_clean();
}

#[test]
fn refuses_the_machines_own_public_addresses() {
    for own in [IpAddr::from(CLIENT_V4), CLIENT_V6.into()] {
        let lab = Lab::new();
        lab.set_name("own.test", &[own]);
        let server = lab.at_client(move || TcpListener::bind((own, 80))).expect("port 80");
        let answering = answer(server, 2);
        let outside = lab.outside().run(["curl", "-sS", "-w", "%{http_code}", "http://own.test/"]);
        assert!(outside.exits(0).stdout.ends_with("200"), "{own}");
        assert_refused(&lab, "http://own.test/");
        let network = format!("--allow-private={own}");
        let allowed = get(&lab, &[&network], "http://own.test/");
        assert!(allowed.stdout.ends_with("200"), "{allowed:?}");
        answering.join().expect("the server served");
        lab.assert_clean();
    }
}

#[test]
fn refuses_a_rebound_name() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    lab.set_name("rebound.test", &[IpAddr::from(a.v4())]);
    let good = get(&lab, &[], "http://rebound.test/");
    assert!(good.stdout.ends_with("200"), "{good:?}");
    lab.set_name("rebound.test", &[PRIVATE_V4.into()]);
    assert_refused(&lab, "http://rebound.test/");
    lab.assert_clean();
}

#[test]
fn takes_an_address_from_the_command_line() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let jailed = get(&lab, &["--resolve", &format!("other.test={}", a.v6())], "http://other.test/");
    assert!(jailed.stdout.ends_with("200"), "{jailed:?}");
    assert_eq!(a.seen()[0].host, "other.test");
    assert_eq!(lab.names_asked(), Vec::<String>::new(), "nobody had to be asked");
    lab.assert_clean();
}

#[test]
fn refuses_an_origin_with_a_strangers_certificate() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    lab.set_name("liar.test", &[IpAddr::from(a.v4())]);
    let jailed = get(&lab, &[], "https://liar.test/");
    assert!(jailed.stdout.ends_with("502"), "{jailed:?}");
    assert_eq!(a.seen().len(), 0);
    lab.assert_clean();
}

/// coder/httpjail has a variable for that.
#[test]
fn nothing_turns_verification_off() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    lab.set_name("liar.test", &[IpAddr::from(a.v4())]);
    let variable = "HTTPJAIL_DANGER_DISABLE_CERT_VALIDATION";
    let get = |place: httpjail_tests::Invocation<'_>| {
        let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://liar.test/"];
        place.env(variable, "1").run(curl).exits(0).stdout
    };
    assert_eq!(get(lab.jail().js("true")), "502");
    assert_eq!(get(lab.weak().js("true")), "502");
    assert_eq!(a.seen().len(), 0);
    lab.assert_clean();
}

#[test]
fn refuses_the_proxy_to_processes_outside() {
    let lab = Lab::new();
    lab.origin("a.test");
    let mut jailed = lab.jail().js("true").start(["sh", "-c", "echo ready; read line"]);
    jailed.line("ready");
    let listening = "ss -Htln src 127.0.0.1 | awk '{print $4}'";
    let addresses = lab.outside().sh(listening).exits(0).stdout;
    assert!(!addresses.trim().is_empty(), "the proxy listens on the loopback");
    for address in addresses.lines() {
        let curl = ["curl", "-sS", "-m", "10", "-x", address, "http://a.test/"];
        let stranger = lab.outside().run(curl);
        assert_ne!(stranger.code, Some(0), "a stranger was served: {stranger:?}");
        assert_eq!(stranger.stdout, "");
    }
    jailed.write("\n");
    assert!(jailed.finish().exits(0).log.is_empty(), "a stranger's request was judged");
    lab.assert_clean();
}
