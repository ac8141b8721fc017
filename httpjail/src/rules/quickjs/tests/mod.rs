//! What a rule may answer, what it can see, and that it can do no more.

mod answers;
mod limits;
mod request;
mod state;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::Js;
use crate::policy::{
    Authority, Decision, Denial, DenyReason, EngineFactory, Host, Limits, Opaque, Process,
    ProcessInspector, RequestFacts, RuleEngine, Scheme,
};

fn facts() -> RequestFacts {
    RequestFacts {
        method: "POST".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("api.github.com").expect("a host"), 8443),
        path: "/repos/a b".to_owned(),
        query: Some("q=1&r=2".to_owned()),
        requester: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
        process: Some(Process { pid: 42, uid: 1000, comm: "curl".to_owned() }),
    }
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
}

fn engine(source: &str) -> Box<dyn RuleEngine> {
    let rule = Js::compile("--js", source).expect("the rule compiles");
    rule.with_inspector(Arc::new(Known)).engine()
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
