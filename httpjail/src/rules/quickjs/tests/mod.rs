//! What a rule may answer, what it can see, and that it can do no more.

mod answers;
mod limits;
mod request;
mod state;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::Js;
use crate::policy::{
    Authority, Decision, Denial, DenyReason, EngineFactory, Headers, Host, Limits, Opaque, Process,
    ProcessDetails, ProcessInspector, RequestFacts, RuleEngine, RunFacts, Scheme,
};

fn facts() -> RequestFacts {
    RequestFacts {
        method: "POST".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("api.github.com").expect("a host"), 8443),
        path: "/repos/a b".to_owned(),
        query: Some("q=1&r=2".to_owned()),
        protocol: Some(Version::HTTP_11),
        headers: headers(&[("accept", b"a/b"), ("cookie", b"a=1"), ("accept", b"c/d")]),
        requester: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
        process: Some(Process { pid: 42, uid: 1000, comm: "curl".to_owned() }),
        time: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_999),
    }
}

fn headers(fields: &[(&'static str, &[u8])]) -> Headers {
    let field = |(name, value): &(&'static str, &[u8])| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"))
    };
    fields.iter().map(field).fold(HeaderMap::new(), appended).into()
}

fn appended(mut map: HeaderMap, (name, value): (HeaderName, HeaderValue)) -> HeaderMap {
    map.append(name, value);
    map
}

/// What this process runs can't be found out.
const UNKNOWN: u32 = 99;

struct Known;

impl ProcessInspector for Known {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        match pid {
            42 => Ok(Some("/usr/bin/curl".to_owned())),
            UNKNOWN => Err(io::Error::other("nobody answers")),
            _ => Ok(None),
        }
    }

    fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>> {
        let argv = ["curl", "-sS", "a b"].map(str::to_owned).to_vec();
        let exe = self.executable(pid)?;
        Ok(exe.map(|exe| ProcessDetails { exe, ppid: 41, argv }))
    }
}

fn run() -> RunFacts {
    RunFacts { jail: Some("0123abcd".to_owned()), processes: Arc::new(Known) }
}

fn engine(source: &str) -> Box<dyn RuleEngine> {
    let rule = Js::compile("--js", source).expect("the rule compiles");
    rule.in_run(run()).engine()
}

fn judge(source: &str) -> Decision {
    engine(source).decide(&facts())
}

const ALLOW: Decision = Decision::Allow(Limits { max_tx_bytes: None, opaque: Opaque::Refused });

fn deny(message: Option<&str>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::Rule, message: message.map(str::to_owned) })
}

fn failed(message: Option<&str>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::RuleFailed, message: message.map(str::to_owned) })
}

fn threw() -> Decision {
    failed(Some("JavaScript execution failed"))
}
