//! What is said to the proxy, and what it says back.

use httpjail_tests::Lab;

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
