//! How the proxy comes from the name that was judged to an address: as the machine does.

use httpjail_tests::addresses::{NAMESERVER_V4, PRIVATE_V4};
use httpjail_tests::{Lab, Origin, Reply};

/// Lets the lab's machine resolve names by this line of nsswitch.conf.
fn switch(lab: &Lab, line: &str) {
    let script =
        format!("echo '{line}' > nsswitch.conf && mount --bind nsswitch.conf /etc/nsswitch.conf");
    lab.outside().sh(&script).exits(0);
}

/// Writes a line into the machine's `/etc/hosts`.
fn add_to_hosts(lab: &Lab, line: &str) {
    lab.outside().sh(&format!("echo '{line}' >> /etc/hosts")).exits(0);
}

/// What a request to `name` finds, in a jail: the origin's greeting, or the code.
fn found(lab: &Lab, name: &str) -> String {
    let script = format!("curl -sS http://{name}/");
    let done = lab.jail().js("true").sh(&script).exits(0);
    assert_eq!(done.log, [format!("+ GET http://{name}/")], "{done:?}");
    done.stdout
}

#[test]
fn the_hosts_file_and_the_order_of_nsswitch_hold() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let asked = |name: &str| lab.names_asked().iter().any(|asked| asked == name);

    add_to_hosts(&lab, &format!("{} hosted.test alias.test", a.v4()));
    switch(&lab, "hosts: files dns");
    for name in ["hosted.test", "alias.test", "HOSTED.test"] {
        let script = format!("curl -sS http://{name}/");
        assert!(lab.outside().sh(&script).exits(0).stdout.contains("a.test"), "{name}");
        assert!(lab.jail().js("true").sh(&script).exits(0).stdout.contains("a.test"), "{name}");
    }
    assert!(!asked("hosted.test") && !asked("alias.test"), "the file knew it");

    // A name that both know: who is asked first wins.
    lab.set_name("hosted.test", &[b.v4().into()]);
    assert!(found(&lab, "hosted.test").contains("a.test"));
    switch(&lab, "hosts: dns files");
    assert!(found(&lab, "hosted.test").contains("b.test"));
    lab.assert_clean();
}

#[test]
fn an_address_of_the_hosts_file_is_checked_like_any_other() {
    let lab = Lab::new();
    add_to_hosts(&lab, &format!("{PRIVATE_V4} inside.test"));
    let refused = found(&lab, "inside.test");
    assert!(refused.contains("--allow-private"), "{refused}");
    lab.assert_clean();
}

/// Each new connection asks anew: nothing is kept, so nothing is kept for too long.
#[test]
fn a_name_that_moves_is_followed() {
    let lab = Lab::new();
    let closing = |name: &str| {
        let text = format!("hello from {name}\n");
        lab.origin_with(name, move |_| {
            let mut reply = Reply::new(text.clone().into());
            reply.headers_mut().insert("connection", "close".parse().expect("a legal value"));
            reply
        })
    };
    let (a, b) = (closing("a.test"), closing("b.test"));
    lab.set_name("moving.test", &[a.v4().into()]);
    let script = "curl -sS http://moving.test/; read go; curl -sS http://moving.test/";
    let mut jail = lab.jail().js("true").start(["/bin/sh", "-c", script]);
    jail.line("a.test");
    lab.set_name("moving.test", &[b.v4().into()]);
    jail.write("go\n");
    jail.line("b.test");
    jail.finish().exits(0);
    lab.assert_clean();
}

#[test]
fn a_name_that_cannot_be_resolved_is_told_with_the_cause() {
    let lab = Lab::new();
    for (name, cause) in [
        ("absent.test", "httpjail failed to resolve absent.test: "),
        ("x.silent.test", "httpjail failed to resolve x.silent.test: "),
        ("empty.test", "httpjail failed to resolve empty.test: "),
    ] {
        lab.set_name("empty.test", &[]);
        let script = format!("curl -sS -w ' %{{http_code}}' http://{name}/");
        let done = lab.jail().js("true").sh(&script).exits(0);
        assert!(done.stdout.starts_with(cause) && done.stdout.ends_with("\n 502"), "{done:?}");
        assert_eq!(done.log, [format!("+ GET http://{name}/")]);
    }
    lab.assert_clean();
}

/// Names whose servers don't answer keep their own requests waiting and no others.
#[test]
fn lookups_without_an_answer_hold_up_no_others() {
    const SILENT: usize = 100;
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let resolv = format!("nameserver {NAMESERVER_V4}\noptions timeout:9 attempts:1\n");
    lab.outside().sh(&format!("printf '{resolv}' > /etc/resolv.conf")).exits(0);
    let program = format!(
        "import select, socket
def ask(name):
    connection = socket.create_connection((name, 80))
    connection.sendall(('GET / HTTP/1.1\\r\\nHost: ' + name + '\\r\\n\\r\\n').encode())
    return connection
silent = [ask('x%d.silent.test' % number) for number in range({SILENT})]
answer = ask('a.test').recv(99).split()[1].decode()
answered = select.select(silent, [], [], 0)[0]
print(answer, len(answered))"
    );
    let done = lab.jail().js("true").run(["/usr/bin/python3", "-c", &program]).exits(0);
    assert_eq!(done.stdout, "200 0\n", "{done:?}");
    assert_eq!(done.log.len(), SILENT + 1);
    assert_eq!(a.seen().len(), 1);
    lab.assert_clean();
}

#[test]
fn names_and_addresses_are_dialled_however_they_are_written() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let b = lab.origin("xn--bcher-kva.test");
    let (v4, v6) = (a.v4(), a.v6());
    let in_bits = u32::from(v4);
    for (arguments, origin, host) in [
        ("http://a.test./", &a, "a.test"),
        ("https://a.test./", &a, "a.test"),
        ("https://A.TEST:8443/", &a, "a.test:8443"),
        ("http://xn--bcher-kva.test/", &b, "xn--bcher-kva.test"),
        ("https://XN--BCHER-KVA.test/", &b, "xn--bcher-kva.test"),
        ("http://xn--bcher-kva.test/ -H 'Host: bücher.test'", &b, "xn--bcher-kva.test"),
        (&format!("http://{v4}:8080/"), &a, &format!("{v4}:8080")),
        (&format!("http://{in_bits}/"), &a, &v4.to_string()),
        (&format!("https://{v4}:8443/"), &a, &format!("{v4}:8443")),
        (&format!("http://[{v6}]:8080/"), &a, &format!("[{v6}]:8080")),
        (&format!("https://[{v6}]/"), &a, &format!("[{v6}]")),
        (&format!("http://[::ffff:{v4}]/"), &a, &v4.to_string()),
    ] {
        let script = format!("curl -gsS -o /dev/null -w '%{{http_code}}' {arguments}");
        assert_eq!(lab.outside().sh(&script).exits(0).stdout, "200", "without a jail: {arguments}");
        let before = origin.seen().len();
        let done = lab.jail().js("true").sh(&script).exits(0);
        assert_eq!(done.stdout, "200", "{arguments}: {done:?}");
        assert_eq!(hosts_seen(origin, before), [host], "{arguments}");
        let [record] = &done.log[..] else { panic!("one record: {done:?}") };
        assert!(record.ends_with(&format!("://{host}/")), "{arguments}: {record}");
    }
    lab.assert_clean();
}

fn hosts_seen(origin: &Origin, from: usize) -> Vec<String> {
    origin.seen().split_off(from).into_iter().map(|seen| seen.host).collect()
}
