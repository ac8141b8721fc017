//! The way from the proxy to the origin: names, proxies of the network, TLS, client certificates.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::{io, thread};

use httpjail_tests::addresses::{PRIVATE_V4, WIRE_V4};
use httpjail_tests::{Lab, openssl};

/// A script that asks for each of these and prints the codes of the answers.
fn codes(urls: &str) -> String {
    format!("for url in {urls}; do curl -sS -o /dev/null -w '%{{http_code}} ' $url; done")
}

/// A forward proxy in the client's namespace, on its loopback device, which remembers what it was
/// asked for.
struct Via {
    heads: Arc<Mutex<Vec<String>>>,
}

const VIA: &str = "http://me:secret@127.0.0.1:3128";

impl Via {
    fn start(lab: &Lab) -> Self {
        let heads = Arc::new(Mutex::default());
        let noted = Arc::clone(&heads);
        lab.at_client(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 3128)).expect("it is free");
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let noted = Arc::clone(&noted);
                    thread::spawn(move || drop(forward(client, &noted)));
                }
            });
        });
        Self { heads }
    }

    /// The first lines of what it was asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let heads = std::mem::take(&mut *self.heads.lock().expect("no proxy panics"));
        // A program may also take it for a web server.
        for head in heads.iter().filter(|head| !head.starts_with("GET /")) {
            let credentials = "proxy-authorization: basic bwu6c2vjcmv0";
            assert!(head.to_lowercase().contains(credentials), "{head}");
        }
        let line = |head: String| head.lines().next().unwrap_or_default().to_owned();
        heads.into_iter().map(line).collect()
    }
}

/// Serves one request, or one tunnel.
fn forward(mut client: TcpStream, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.lock().expect("no proxy panics").push(head.clone());
    let (line, fields) = head.split_once("\r\n").unwrap_or_default();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let server = if line.starts_with("CONNECT ") {
        let Ok(server) = TcpStream::connect(target) else {
            return client.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        };
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        server
    } else {
        let rest = target.trim_start_matches("http://");
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let port = if host.contains(':') { "" } else { ":80" };
        let mut server = TcpStream::connect(format!("{host}{port}"))?;
        let method = line.split(' ').next().unwrap_or_default();
        write!(server, "{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}")?;
        server
    };
    let (mut to, mut from) = (server.try_clone()?, server);
    let down = thread::spawn(move || {
        drop(io::copy(&mut from, &mut client));
        client.shutdown(Shutdown::Write)
    });
    drop(io::copy(&mut reader, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(down.join());
    Ok(())
}

#[test]
fn allowed_requests_go_through_the_proxy_of_the_network() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let via = Via::start(&lab);
    let script = codes("http://a.test/x http://a.test:8080/ https://a.test/ https://a.test:8443/y");
    let asked = [
        "GET http://a.test/x HTTP/1.1",
        "GET http://a.test:8080/ HTTP/1.1",
        "CONNECT a.test:443 HTTP/1.1",
        "CONNECT a.test:8443 HTTP/1.1",
    ];
    // As a program that is told of it goes, without a jail.
    let outside = lab.outside().env("http_proxy", VIA).env("https_proxy", VIA).sh(&script).exits(0);
    assert_eq!(
        (outside.stdout.as_str(), via.asked()),
        ("200 200 200 200 ", asked.map(str::to_owned).into())
    );

    let by_option = lab.jail().as_user().js("true").option("--upstream-proxy").option(VIA);
    let variables = [("HTTPS_PROXY", VIA), ("HTTP_PROXY", VIA)];
    let jail =
        || variables.iter().fold(lab.jail().as_user().js("true"), |jail, (n, v)| jail.env(n, v));
    for jail in
        [by_option, jail(), lab.jail().js("true").env("all_proxy", "me:secret@127.0.0.1:3128")]
    {
        let jailed = jail.sh(&script).exits(0);
        assert_eq!(
            (jailed.stdout.as_str(), via.asked()),
            ("200 200 200 200 ", asked.map(str::to_owned).into())
        );
        assert_eq!(jailed.log.len(), 4, "{jailed:?}");
    }
    // By other ways.
    for jail in [
        jail().option("--upstream-proxy").option("none"),
        jail().env("NO_PROXY", "b.test,a.test"),
        lab.jail().js("true"),
    ] {
        assert_eq!(jail.sh(&script).exits(0).stdout, "200 200 200 200 ");
        assert_eq!(via.asked(), [""; 0]);
    }
    assert_eq!(a.seen().len(), 7 * 4);
    lab.assert_clean();
}

#[test]
fn denied_requests_never_come_to_the_proxy_of_the_network() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let via = Via::start(&lab);
    let script = codes("http://a.test/ https://a.test/");
    let outside = lab.outside().env("http_proxy", VIA).env("https_proxy", VIA).sh(&script).exits(0);
    assert_eq!((outside.stdout.as_str(), via.asked().len()), ("200 200 ", 2));
    let denied = lab.jail().js("false").option("--upstream-proxy").option(VIA).sh(&script).exits(0);
    assert_eq!((denied.stdout.as_str(), via.asked().len()), ("403 403 ", 0));
    assert_eq!(a.seen().len(), 2, "a denied request got out");
    lab.assert_clean();
}

/// The command is told nothing of the proxy, and can't ask it by itself.
#[test]
fn the_command_has_no_part_in_the_proxy_of_the_network() {
    let lab = Lab::new();
    let via = Via::start(&lab);
    let _a = lab.origin("a.test");
    let script = format!(
        "env | grep -i proxy; curl -sS -x {VIA} -o /dev/null -w '%{{http_code}} ' http://a.test/; {}",
        codes("http://127.0.0.1:3128/")
    );
    let outside = lab.outside().sh(&script);
    assert!(outside.stdout.starts_with("200 "), "{outside:?}");
    assert_eq!(via.asked(), ["GET http://a.test/ HTTP/1.1", "GET / HTTP/1.1"]);
    let jail = lab.jail().as_user().js("true").env("http_proxy", VIA).env("HTTPS_PROXY", VIA);
    let jailed = jail.sh(&script);
    // The first is a request to a.test by its own form, the second one to this machine.
    assert!(!jailed.stdout.contains("secret"), "{jailed:?}");
    assert!(!jailed.stderr.contains("secret"), "{jailed:?}");
    assert!(jailed.stdout.ends_with("502 "), "{jailed:?}");
    assert!(via.asked().iter().all(|line| line == "GET http://a.test/ HTTP/1.1"));
    lab.assert_clean();
}

#[test]
fn names_that_are_special_here_are_not_asked_of_the_proxy_of_the_network() {
    let lab = Lab::new();
    let via = Via::start(&lab);
    lab.set_name("inside.test", &[PRIVATE_V4.into()]);
    lab.set_name("both.test", &[PRIVATE_V4.into(), WIRE_V4.into()]);
    let ask = |jail: httpjail_tests::Invocation<'_>, host: &str| {
        let script = format!("curl -sS -w ' %{{http_code}}' http://{host}/");
        let done = jail.js("true").option("--upstream-proxy").option(VIA).sh(&script);
        (done.stdout, via.asked())
    };
    for host in ["inside.test", "both.test", "10.77.0.2", "127.0.0.1"] {
        let (answer, asked) = ask(lab.jail(), host);
        assert!(answer.ends_with(" 502") && answer.contains("--allow-private"), "{host}: {answer}");
        assert_eq!(asked, [""; 0], "{host}");
    }
    let (_, asked) = ask(lab.jail().option("--allow-private"), "inside.test");
    assert_eq!(asked, ["GET http://inside.test/ HTTP/1.1"]);
    // Who isn't known here may be known there.
    let (_, asked) = ask(lab.jail(), "unknown.test");
    assert_eq!(asked, ["GET http://unknown.test/ HTTP/1.1"]);
    lab.assert_clean();
}

#[test]
fn a_variable_that_names_no_usable_proxy_stops_the_start() {
    let lab = Lab::new();
    let _a = lab.origin("a.test");
    let jail = || lab.jail().js("true").env("ALL_PROXY", "socks5h://u:secret@127.0.0.1:1080");
    let refused = jail().sh("echo it ran").exits(2);
    assert_eq!(refused.stdout, "");
    let said =
        "failed to use the proxy that ALL_PROXY names: only http:// proxies can be used, not SOCKS";
    assert!(refused.stderr.contains(said), "{refused:?}");
    assert!(refused.stderr.contains("--upstream-proxy none"), "{refused:?}");
    assert!(!refused.stderr.contains("secret"), "{refused:?}");
    let without = jail().option("--upstream-proxy").option("none");
    assert_eq!(without.sh(&codes("https://a.test/")).exits(0).stdout, "200 ");
    lab.assert_clean();
}

#[test]
fn an_origin_that_demands_a_certificate_is_shown_it_and_the_command_is_not() {
    let lab = Lab::new();
    openssl::furnish_certificates(&lab, "mtls.test");
    lab.set_name("mtls.test", &[WIRE_V4.into()]);
    let demanding = ["-CAfile", "ca.pem", "-Verify", "1", "-verify_return_error"];
    let _server = openssl::Server::start(&lab, 8443, &demanding);
    let ask = "curl -sS -w ' %{http_code}' https://mtls.test:8443/";
    // Without a jail.
    let known = format!("{ask} --cacert ca.pem --cert client.pem --key client.key");
    assert!(lab.outside().sh(&known).exits(0).stdout.ends_with(" 200"));
    assert_ne!(lab.outside().sh(&format!("{ask} --cacert ca.pem")).code, Some(0));

    let file = |name: &str| lab.home().join(name).display().to_string();
    let jail = || lab.jail().as_user().js("true").option("--upstream-ca").option(file("ca.pem"));
    let given = format!("mtls.test={},{}", file("client.pem"), file("client.key"));
    lab.outside().sh("chmod 600 client.key").exits(0);
    let script = format!("cat client.key 2>&1; {ask}");
    let jailed = jail().option("--client-cert").option(&given).sh(&script).exits(0);
    assert!(jailed.stdout.ends_with(" 200"), "{jailed:?}");
    assert!(jailed.stdout.contains("Permission denied"), "{jailed:?}");
    assert!(!jailed.stdout.contains("PRIVATE KEY"), "{jailed:?}");
    assert!(!jailed.stderr.contains("can read the key"), "{jailed:?}");
    let opens =
        "--client-cert opens: allowed requests to mtls.test are made in the certificate's name";
    assert!(jailed.stderr.contains(opens), "{jailed:?}");
    assert_eq!(jailed.log, ["+ GET https://mtls.test:8443/"]);

    let stranger = jail().sh(ask).exits(0);
    let cause = "it wants a client certificate (--client-cert)";
    assert!(stranger.stdout.ends_with(" 502") && stranger.stdout.contains(cause), "{stranger:?}");

    lab.outside().sh("chmod 644 client.key").exits(0);
    let warned = jail().option("--client-cert").option(&given).sh("true").exits(0);
    assert!(warned.stderr.contains("the command can read the key"), "{warned:?}");
    let wrong = format!("mtls.test={},{}", file("client.pem"), file("server.key"));
    let refused = jail().option("--client-cert").option(wrong).sh("echo it ran").exits(125);
    assert!(refused.stderr.contains("they don't belong together"), "{refused:?}");
    assert_eq!(refused.stdout, "");
    lab.assert_clean();
}
