//! What isn't HTTP gets out where an option or the rule opens it, and nowhere else.

use httpjail_tests::addresses::{PRIVATE_V4, WIRE_V4};
use httpjail_tests::{BANNER, Finished, Invocation, Lab};

/// A rule that opens plain TCP to one host, and all requests.
fn opens(host: &str) -> String {
    format!("r.scheme === 'tcp' ? r.host === '{host}' && {{allow: {{tcp: true}}}} : true")
}

/// Runs `script` without a jail, in jails that open `target` by the option and by the rule, and in
/// such as don't: works and is recorded there, doesn't work and is recorded here.
fn assert_opened<'lab>(
    host: &str,
    port: u16,
    (outside, jail): (Invocation<'lab>, Invocation<'lab>),
    run: impl Fn(&Invocation<'lab>) -> Finished,
    works: impl Fn(&Finished) -> bool,
) {
    let twin = run(&outside);
    assert!(works(&twin), "without a jail: {twin:?}");
    let target = format!("tcp://{host}:{port}");
    let opened = [
        jail.clone().option("--allow-tcp").option(format!("{host}:{port}")),
        jail.clone().option("--allow-tcp").option(format!("*.test:{port}")),
        jail.clone().js(&opens(host)),
    ];
    for jail in opened {
        let finished = run(&jail);
        assert!(works(&finished), "opened: {finished:?}");
        assert_eq!(finished.log, [format!("+ TCP {target}")]);
    }
    let shut = [
        jail.clone(),
        jail.clone().js("true"),
        jail.clone().js("({allow: {max_tx_bytes: 1000000}})"),
        jail.clone().js(&opens("other.test")),
        jail.clone().js("true").option("--allow-tcp").option(format!("{host}:{}", port + 1)),
        jail.clone().js("true").option("--allow-tcp").option(format!("other.test:{port}")),
    ];
    for jail in shut {
        let finished = run(&jail);
        assert!(!works(&finished), "shut: {finished:?}");
        assert_eq!(finished.log, [format!("- TCP {target}")], "{finished:?}");
    }
    let finished = run(&jail.option("--allow-tcp").option(format!("{host}:{port}")));
    let warning = finished.stderr.contains("--allow-tcp opens: what the command says to");
    assert!(warning, "it says so at the start: {finished:?}");
}

#[test]
fn git_over_ssh() {
    let lab = Lab::new();
    let server = lab.ssh_server("git.test");
    let made = "set -e; git init -q source; cd source; echo lab > file; git add file
        git -c user.name=lab -c user.email=lab@lab.test commit -qm lab";
    lab.outside().as_user().sh(made).exits(0);
    let source = lab.home().join("source");
    let clone = format!(
        "rm -rf clone; git clone -q labuser@git.test:{} clone && grep -q lab clone/file && \
         echo works",
        source.display()
    );
    let [outside, jail] = [lab.outside(), lab.jail()]
        .map(|invocation| invocation.as_user().env("GIT_SSH_COMMAND", server.client()));
    let run = |invocation: &Invocation<'_>| invocation.sh(&clone);
    let works = |finished: &Finished| finished.stdout.contains("works");
    assert_opened("git.test", 22, (outside, jail), run, works);
    lab.assert_clean();
}

#[test]
fn psql() {
    let lab = Lab::new();
    lab.postgres_server("db.test");
    let ask = ["psql", "-X", "-At", "-h", "db.test", "-U", "lab", "-d", "lab", "-c", "select 'x'"];
    let run = |invocation: &Invocation<'_>| invocation.run(ask);
    let works = |finished: &Finished| finished.stdout == "select 'x'\n";
    let (outside, jail) = (lab.outside().as_user(), lab.jail().as_user());
    assert_opened("db.test", 5432, (outside, jail), run, works);
    lab.assert_clean();
}

/// The client says nothing before it has heard the server.
#[test]
fn servers_that_speak_first() {
    let lab = Lab::new();
    lab.banner_server();
    lab.set_name("mail.test", &[WIRE_V4.into()]);
    let act = ["tcp", "mail.test:22"];
    let heard = |jail: &Finished| jail.report()["seen"]["reply"] == format!("{BANNER}\r\n");
    assert!(heard(&lab.outside().probe(act)), "without a jail");
    for jail in [
        lab.jail().option("--allow-tcp").option("mail.test:22"),
        lab.jail().js(&opens("mail.test")),
    ] {
        let jailed = jail.probe(act).exits(0);
        assert!(heard(&jailed), "{jailed:?}");
        assert_eq!(jailed.log, ["+ TCP tcp://mail.test:22"]);
    }
    for rule in ["true", &opens("other.test")] {
        let jailed = lab.assert_silent(|| lab.jail().js(rule).probe(act).exits(0));
        assert!(!heard(&jailed), "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn special_addresses_stay_shut() {
    let lab = Lab::new();
    lab.banner_server_at(PRIVATE_V4.into());
    lab.set_name("inside.test", &[PRIVATE_V4.into()]);
    let literal = format!("{PRIVATE_V4}:22");
    for target in ["inside.test:22", &literal] {
        let act = ["tcp", target];
        let heard = |finished: &Finished| finished.stdout.contains(BANNER);
        assert!(heard(&lab.outside().probe(act)), "without a jail");
        let opened = lab.jail().option("--allow-tcp").option("*:22");
        let jailed = opened.probe(act).exits(0);
        assert!(!heard(&jailed), "{jailed:?}");
        assert_eq!(jailed.log, [format!("+ TCP tcp://{target}")], "allowed, and not to be reached");
        // It never hears of it.
        lab.assert_silent(|| {
            lab.jail().option("--allow-tcp").option("*:22").probe(["tcp", &literal])
        });
        let private = opened.option("--allow-private=10.77.0.0/24").probe(act).exits(0);
        assert!(heard(&private), "{private:?}");
    }
    lab.assert_clean();
}

#[test]
fn a_pinned_program_reaches_its_server_by_passthrough() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    // It trusts the server's own authority, whatever the environment and the system say.
    let fetch = format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n' |
            openssl s_client -quiet -verify_return_error -connect a.test:443 -servername a.test \
            -CAfile {} -no-CApath -no-CAstore",
        lab.ca_file().display()
    );
    let hello = |finished: &Finished| finished.stdout.contains("hello from a.test");
    assert!(hello(&lab.outside().sh(&fetch)), "without a jail");
    let rule = "r.scheme === 'tls' && r.host === 'a.test'";
    for pattern in ["a.test", "*.test"] {
        let jail = lab.jail().option("--passthrough").option(pattern);
        let through = jail.clone().js(rule).sh(&fetch);
        assert!(hello(&through), "{through:?}");
        assert_eq!(through.log, ["+ TLS tls://a.test:443"]);
        let warned = format!("--passthrough opens: TLS to {pattern} goes there unread");
        assert!(through.stderr.contains(&warned), "{through:?}");
        let before = a.seen().len();
        let denied = lab.assert_silent(|| jail.js("r.scheme !== 'tls'").sh(&fetch));
        assert!(!hello(&denied), "{denied:?}");
        assert_eq!(denied.log, ["- TLS tls://a.test:443"]);
        assert_eq!(a.seen().len(), before);
    }
    for jail in [lab.jail(), lab.jail().option("--passthrough").option("b.test")] {
        let intercepted = jail.js("true").sh(&fetch);
        assert!(!hello(&intercepted), "its server's certificate was not shown: {intercepted:?}");
        assert_eq!(intercepted.log, ["- TLS tls://a.test:443"]);
    }
    lab.assert_clean();
}

/// The usual clients of a host that passes through need nothing special: the certificate is the
/// server's, and here they trust it.
#[test]
fn what_passes_through_is_judged_by_its_name_alone() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let fetch = format!(
        "for host in a b; do
            curl -sS -o /dev/null -w '%{{http_code}} ' --cacert {} https://$host.test/x
        done",
        lab.ca_file().display()
    );
    assert_eq!(lab.outside().sh(&fetch).stdout, "200 200 ");
    let jail = lab.jail().option("--passthrough").option("a.test").js("r.host === 'a.test'");
    let jailed = jail.sh(&fetch);
    // The other one is intercepted as ever.
    assert_eq!(jailed.stdout, "200 403 ", "{jailed:?}");
    assert_eq!(jailed.log, ["+ TLS tls://a.test:443", "- GET https://b.test/x"]);
    assert_eq!((a.seen().len(), b.seen().len()), (2, 1));
    lab.assert_clean();
}
