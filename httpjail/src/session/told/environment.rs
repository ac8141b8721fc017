//! The environment by which programs are told of the proxy.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    net::SocketAddr,
};

use super::places::Places;

/// What programs look for, each in both cases: curl reads `http_proxy` in lower case alone, others
/// read either.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NONE: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// What programs reach without the proxy, beside what the caller says.
const LOCAL: &str = "localhost,127.0.0.1,::1";
/// Node.js, "CLI": its own clients heed the variables above only with this (from version 24 on).
const NODE: (&str, &str) = ("NODE_USE_ENV_PROXY", "1");
/// Java heeds none of them, but this one, if it is there.
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// The variables that tell of the proxy, over those of the run (`trust`), of which Java's options
/// gain some. `caller` looks variables of the caller's environment up.
pub(in crate::session) fn told(
    places: Places,
    trust: &[(OsString, OsString)],
    caller: impl Fn(&str) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    let mut all: BTreeMap<OsString, OsString> = trust.iter().cloned().collect();
    let mut set = |names: &[&str], value: &OsStr| {
        all.extend(names.iter().map(|name| (name.into(), value.to_owned())));
    };
    set(&HTTP, url(places.http).as_ref());
    set(&HTTPS, url(places.https).as_ref());
    set(&NONE, &without_proxy(caller));
    set(&[NODE.0], NODE.1.as_ref());
    if let Some(options) = all.get_mut(OsStr::new(JAVA)) {
        for (scheme, place) in [("http", places.http), ("https", places.https)] {
            let (ip, port) = (place.ip(), place.port());
            options.push(format!(" -D{scheme}.proxyHost={ip} -D{scheme}.proxyPort={port}"));
        }
    }
    all.into_iter().collect()
}

fn url(place: SocketAddr) -> String {
    format!("http://{place}")
}

/// What the caller reaches without a proxy, and this machine. Where the caller's two spellings differ
/// the lower-case one holds, as it does for curl.
fn without_proxy(caller: impl Fn(&str) -> Option<OsString>) -> OsString {
    let given = caller("no_proxy").or_else(|| caller("NO_PROXY")).unwrap_or_default();
    let mut all = given;
    if !all.is_empty() {
        all.push(",");
    }
    all.push(LOCAL);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [&str; 2] = ["127.0.0.1:1", "127.0.0.1:2"];

    fn told(trust: &[(&str, &str)], caller: &[(&str, &str)]) -> BTreeMap<String, String> {
        let [http, https] = PLACES.map(|place| place.parse().unwrap());
        let trust: Vec<_> = trust.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let look_up = |wanted: &str| {
            caller.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.into())
        };
        super::told(Places { http, https }, &trust, look_up)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    #[test]
    fn tells_in_both_cases() {
        let all = told(&[("CA", "x")], &[]);
        for (name, value) in [
            ("HTTP_PROXY", "http://127.0.0.1:1"),
            ("http_proxy", "http://127.0.0.1:1"),
            ("HTTPS_PROXY", "http://127.0.0.1:2"),
            ("https_proxy", "http://127.0.0.1:2"),
            ("ALL_PROXY", "http://127.0.0.1:2"),
            ("all_proxy", "http://127.0.0.1:2"),
            ("NO_PROXY", "localhost,127.0.0.1,::1"),
            ("no_proxy", "localhost,127.0.0.1,::1"),
            ("NODE_USE_ENV_PROXY", "1"),
            ("CA", "x"),
        ] {
            assert_eq!(all[name], value, "{name}");
        }
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn appends_to_what_needs_no_proxy() {
        for (caller, expected) in [
            (&[("NO_PROXY", "a.test")][..], "a.test,localhost,127.0.0.1,::1"),
            (&[("no_proxy", "b.test")], "b.test,localhost,127.0.0.1,::1"),
            (&[("NO_PROXY", "a.test"), ("no_proxy", "b.test")], "b.test,localhost,127.0.0.1,::1"),
            (&[("NO_PROXY", "")], "localhost,127.0.0.1,::1"),
        ] {
            let all = told(&[], caller);
            assert_eq!((&*all["NO_PROXY"], &*all["no_proxy"]), (expected, expected));
        }
    }

    #[test]
    fn tells_java_where_it_is_told_of_the_authority() {
        let all = told(&[("JAVA_TOOL_OPTIONS", "-Da=b")], &[]);
        assert_eq!(
            all["JAVA_TOOL_OPTIONS"],
            "-Da=b -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=1 -Dhttps.proxyHost=127.0.0.1 \
             -Dhttps.proxyPort=2"
        );
    }
}
