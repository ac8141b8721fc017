//! What is said to the proxy, and what it says back.

use httpjail_tests::Lab;
use httpjail_tests::addresses::WIRE_V4;

use crate::trial::Who;

const MARKUP: &str = "<script>alert(1)</script>";
const ENCODED: &str = "%3Cscript%3Ealert(1)%3C/script%3E";

/// No browser reads more than text into a refusal, whatever the request and the rule put there.
#[test]
fn c21_markup_in_a_refusal() {
    let lab = Lab::new();
    lab.origin("a.test");
    let curl = |path: &str| ["curl", "-gsSi", &format!("http://a.test/{path}")].map(str::to_owned);
    lab.outside().run(curl(MARKUP)).exits(0);
    assert!(lab.saw(MARKUP), "without a jail it gets out");
    let unescaping = "({ deny_message: decodeURIComponent(r.path) })";
    for (rule, path, repeated) in
        [("true", MARKUP, false), ("false", ENCODED, false), (unescaping, ENCODED, true)]
    {
        for who in Who::BOTH {
            let refused = who.jail_by(&lab, rule).run(curl(path)).exits(0).stdout;
            let (head, body) = refused.split_once("\r\n\r\n").expect("a head and a body");
            assert_eq!(body.contains(MARKUP), repeated, "{refused}");
            assert!(head.starts_with("HTTP/1.1 4"), "{refused}");
            let head = head.to_lowercase();
            let is_text = head.contains("content-type: text/plain")
                && head.contains("x-content-type-options: nosniff");
            assert!(is_text || body.is_empty(), "{refused}");
        }
    }
    lab.assert_clean();
}

/// A server that wants a certificate of its client gets none from the proxy, whatever the client
/// has; a client that wants a certain key of its server ends when it sees another.
#[test]
fn c16_certificates_that_only_the_ends_have() {
    const MAKE: &str = "make() {
            name=$1; shift
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 \\
                -keyout $name.key -out $name.pem -subj /CN=$name \"$@\" 2> errors || cat errors
        }
        make authority
        make server -CA authority.pem -CAkey authority.key -addext subjectAltName=DNS:strict.test
        make client -CA authority.pem -CAkey authority.key
        chmod a+r *
        openssl x509 -in server.pem -pubkey -noout | openssl pkey -pubin -outform der |
            openssl dgst -sha256 -binary | base64";
    let lab = Lab::new();
    lab.set_name("strict.test", &[WIRE_V4.into()]);
    let pin = lab.outside().sh(MAKE).exits(0).stdout;
    let file = |name: &str| lab.home().join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key, authority) =
        (file("server.pem"), file("server.key"), file("authority.pem"));
    let server = ["openssl", "s_server", "-accept", "45.67.89.2:443", "-www"];
    let of_server = ["-cert", &certificate, "-key", &key];
    let of_clients = ["-CAfile", &authority, "-Verify", "1", "-verify_return_error"];
    let server = lab.start_at_origins([&server[..], &of_server, &of_clients].concat());
    server.line("ACCEPT");

    let curl = "curl -sS -o /dev/null -w '%{http_code}' --cert client.pem --key client.key";
    let trust = "--cacert authority.pem";
    let pinned = format!("--pinnedpubkey sha256//{}", pin.trim());
    let url = "https://strict.test/";
    let twin = lab.outside().sh(&format!("{curl} {trust} {pinned} {url}")).exits(0);
    assert_eq!(twin.stdout, "200", "without a jail: {twin:?}");
    for who in Who::BOTH {
        let jail = || who.jail(&lab).option("--upstream-ca").option(&authority);
        let refused = jail().sh(&format!("{curl} {url}")).exits(0);
        assert_eq!(refused.stdout, "502", "{refused:?}");
        assert_eq!(refused.log, ["+ GET https://strict.test/"], "{refused:?}");
        let before = lab.frames().len();
        const PIN_MISMATCH: i32 = 90;
        jail().sh(&format!("{curl} {pinned} {url}")).exits(PIN_MISMATCH);
        assert_eq!(lab.frames().len(), before, "nothing was asked");
    }
    drop(server);
    lab.assert_clean();
}
