//! Programs that are told to use a proxy work in a jail as they do without: the jail's own proxy
//! answers in the other's place, and judges what they ask it for.

use httpjail_tests::addresses::WIRE_V4;
use httpjail_tests::{Lab, folder};

const HELLO: &str = "hello from a.test";
const RULE: &str = "r.host === 'a.test'";

/// The client gets its pages by way of the proxy without a jail, and in one that allows it, with
/// one record for each; in one that doesn't, it gets none and the origin isn't asked.
fn assert_fetches(script: &str, requests: &[&str]) {
    let lab = Lab::new();
    lab.forward_proxy();
    let a = lab.origin("a.test");
    let outside = lab.outside().sh(script).exits(0);
    assert!(outside.stdout.contains(HELLO), "without a jail: {outside:?}");
    assert_eq!(a.seen_lines(), requests, "without a jail");
    let allowed = lab.jail().as_user().js(RULE).sh(script).exits(0);
    assert!(allowed.stdout.contains(HELLO), "{allowed:?}");
    let records: Vec<_> = requests.iter().map(|request| format!("+ {request}")).collect();
    assert_eq!(allowed.log, records);
    assert_eq!(a.seen().len(), 2 * requests.len());
    let denied = lab.jail().as_user().js(&format!("!({RULE})")).sh(script);
    assert!(!denied.stdout.contains(HELLO), "{denied:?}");
    assert!(!denied.log.is_empty(), "{denied:?}");
    assert!(denied.log.iter().all(|line| line.starts_with("- GET ")), "{denied:?}");
    assert_eq!(a.seen().len(), 2 * requests.len(), "a denied request got out");
    lab.assert_clean();
}

const BOTH: [&str; 2] = ["GET http://a.test/", "GET https://a.test/"];

#[test]
fn curl() {
    assert_fetches(
        "curl -sSf -x http://proxy.test:3128 http://a.test/ &&
            curl -sSf -x http://proxy.test:3128 https://a.test/",
        &BOTH,
    );
}

#[test]
fn curl_with_variables() {
    assert_fetches(
        "http_proxy=http://proxy.test:3128 curl -sSf http://a.test/ &&
            HTTPS_PROXY=http://proxy.test:3128 curl -sSf https://a.test/",
        &BOTH,
    );
}

#[test]
fn curl_through_a_tunnel_to_any_port_and_in_the_clear() {
    assert_fetches(
        "curl -sSf -p -x http://proxy.test:3128 http://a.test:8080/ &&
            curl -sSf -x http://proxy.test:3128 https://a.test:8443/",
        &["GET http://a.test:8080/", "GET https://a.test:8443/"],
    );
}

#[test]
fn wget() {
    assert_fetches(
        "export http_proxy=http://proxy.test:3128 https_proxy=http://proxy.test:3128
            wget -q -O - http://a.test/ &&
            wget -q -O - --ca-certificate=\"$SSL_CERT_FILE\" https://a.test/",
        &BOTH,
    );
}

#[test]
fn python_urllib() {
    let program = "import urllib.request as u
for url in (\"http://a.test/\", \"https://a.test/\"): print(u.urlopen(url).read().decode())";
    assert_fetches(
        &format!(
            "export http_proxy=http://proxy.test:3128 https_proxy=http://proxy.test:3128
            /usr/bin/python3 -c '{program}'"
        ),
        &BOTH,
    );
}

#[test]
fn python_requests() {
    let program = "import requests
proxies = dict.fromkeys((\"http\", \"https\"), \"http://proxy.test:3128\")
for url in (\"http://a.test/\", \"https://a.test/\"):
    reply = requests.get(url, proxies=proxies); reply.raise_for_status(); print(reply.text)";
    assert_fetches(&format!("/usr/bin/python3 -c '{program}'"), &BOTH);
}

#[test]
fn git() {
    let lab = Lab::new();
    lab.forward_proxy();
    lab.outside()
        .sh("set -e; mkdir site; git init -q source; cd source; echo lab > file; git add file
            git -c user.name=lab -c user.email=lab@lab.test commit -qm lab; cd ..
            git clone -q --bare source site/repository.git
            git -C site/repository.git update-server-info")
        .exits(0);
    let origin = lab.origin_with("git.test", folder(lab.home().join("site")));
    let script = "rm -rf clone && git -c http.proxy=http://proxy.test:3128 clone -q \\
        https://git.test/repository.git clone && grep -q lab clone/file";
    lab.outside().sh(script).exits(0);
    let outside = origin.seen().len();
    let allowed = lab.jail().js("r.host === 'git.test'").sh(script).exits(0);
    assert_eq!(allowed.log.len(), outside, "{allowed:?}");
    assert!(allowed.log.iter().all(|line| line.starts_with("+ GET https://git.test/")));
    let denied = lab.jail().sh(script);
    assert_ne!(denied.code, Some(0), "{denied:?}");
    assert_eq!(origin.seen().len(), 2 * outside, "a denied request got out");
    lab.assert_clean();
}

/// A tunnel on a stream of HTTP/2, by prior knowledge.
#[test]
fn node_by_http2() {
    let lab = Lab::new();
    lab.set_name("proxy.test", &[WIRE_V4.into()]);
    let a = lab.origin("a.test");
    let address = a.v4();
    let server = format!(
        "const [http2, net] = [require('http2'), require('net')];
const server = http2.createServer();
server.on('stream', (stream, headers) => {{
    const socket = net.connect(443, '{address}', () => {{
        stream.respond();
        socket.pipe(stream).pipe(socket);
    }});
    socket.on('error', () => stream.close());
    stream.on('error', () => socket.destroy());
}});
server.listen(3129, '0.0.0.0', () => console.log('listening'));"
    );
    let server = lab.start_at_origins(vec!["node", "-e", &server]);
    server.line("listening");
    let program = "const session = require(\"http2\").connect(\"http://proxy.test:3129\");
session.on(\"error\", () => process.exit(1));
const stream = session.request({ \":method\": \"CONNECT\", \":authority\": \"a.test:443\" });
stream.on(\"response\", headers => {
    if (headers[\":status\"] !== 200) process.exit(1);
    const socket = require(\"tls\").connect({ socket: stream, servername: \"a.test\" }, () => {
        socket.write(\"GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n\");
    });
    socket.on(\"data\", data => process.stdout.write(data));
    socket.on(\"end\", () => session.destroy());
});";
    let script = format!("node -e '{program}'");
    let outside = lab.outside().sh(&script);
    assert!(outside.stdout.contains(HELLO), "without a jail: {outside:?}");
    let allowed = lab.jail().as_user().js(RULE).sh(&script);
    assert!(allowed.stdout.contains(HELLO), "{allowed:?}");
    assert_eq!(allowed.log, ["+ GET https://a.test/"]);
    let denied = lab.assert_silent(|| lab.jail().as_user().js("false").sh(&script));
    assert!(!denied.stdout.contains(HELLO), "{denied:?}");
    assert_eq!(denied.log, ["- GET https://a.test/"]);
    drop(server);
    lab.assert_clean();
}

/// What a tunnel carries beside HTTP and TLS gets nowhere.
#[test]
fn a_tunnel_to_an_ssh_server() {
    let lab = Lab::new();
    lab.forward_proxy();
    let [ssh, _] = lab.banner_server();
    let program = format!(
        "import socket
s = socket.create_connection((\"proxy.test\", 3128))
s.sendall(b\"CONNECT {ssh} HTTP/1.1\\r\\nHost: {ssh}\\r\\n\\r\\n\")
answer = s.recv(9999)
assert answer.startswith(b\"HTTP/1.1 200 \"), answer
print(answer)
s.sendall(b\"SSH-2.0-probe\\r\\n\")
while (piece := s.recv(9999)): print(piece)"
    );
    let script = format!("/usr/bin/python3 -c '{program}'");
    let outside = lab.outside().sh(&script).exits(0);
    assert!(outside.stdout.contains(httpjail_tests::BANNER), "without a jail: {outside:?}");
    let jailed = lab.assert_silent(|| lab.jail().js("true").sh(&script));
    assert!(!jailed.stdout.contains(httpjail_tests::BANNER), "{jailed:?}");
    assert_eq!(jailed.log, [format!("- TCP tcp://{ssh}")]);
    lab.assert_clean();
}
