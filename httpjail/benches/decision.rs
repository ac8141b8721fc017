//! How long one rule decision takes, and how long an engine takes to make.
#![expect(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
};

use criterion::{Criterion, criterion_group, criterion_main};
use httpjail::{
    policy::{Authority, Decision, EngineFactory, Host, Process, RequestFacts, Scheme},
    rules::Js,
};

/// Rules, each of which allows the request to `host`.
const RULES: [(&str, &str, &str); 4] = [
    ("readme", "github.com", "r.host === 'github.com'"),
    (
        "bench",
        "origin.bench.test",
        "['github.com','api.github.com'].some(h => r.host === h || r.host.endsWith('.' + h)) \
         || r.host.endsWith('.bench.test')",
    ),
    (
        "ten hosts, the last one",
        "deb.debian.org",
        "['github.com','api.github.com','crates.io','static.crates.io','index.crates.io',\
         'pypi.org','files.pythonhosted.org','registry.npmjs.org','proxy.golang.org',\
         'deb.debian.org'].some(h => r.host === h || r.host.endsWith('.' + h))",
    ),
    (
        "const, regular expression, process",
        "api.github.com",
        "const own = /^\\/repos\\/httpjail\\//; \
         r.host === 'api.github.com' && own.test(r.path) && r.process?.comm === 'git' \
         ? {allow: {max_tx_bytes: 65536}} : 'not ours'",
    ),
];

fn facts(host: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse(host).expect("a host"), 443),
        path: "/repos/httpjail/httpjail/commits".to_owned(),
        query: Some("per_page=100".to_owned()),
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: Some(Process { pid: 4711, uid: 1000, comm: "git".to_owned() }),
    }
}

fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    for (name, host, rule) in RULES {
        let mut engine = Js::compile(name, rule).expect("the rule compiles").engine();
        let facts = facts(host);
        assert!(matches!(engine.decide(&facts), Decision::Allow(_)), "{name}");
        group.bench_function(name, |b| b.iter(|| engine.decide(black_box(&facts))));
    }
    group.finish();
    let rule = Js::compile("readme", RULES[0].2).expect("the rule compiles");
    let facts = facts(RULES[0].1);
    c.bench_function("first decision", |b| b.iter(|| rule.engine().decide(&facts)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = decision
}
criterion_main!(benches);
