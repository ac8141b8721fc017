//! How long one rule decision takes, how long ten rules of practice take together, and how long
//! an engine takes to make.
#![expect(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    time::UNIX_EPOCH,
};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use httpjail::{
    policy::{Authority, Decision, EngineFactory, Headers, Host, Process, RequestFacts, Scheme},
    rules::Js,
};

/// Rules, each of which allows the request to `host`.
const RULES: [(&str, &str, &str); 5] = [
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
    (
        "header fields, process",
        "api.github.com",
        "r.headers.accept === '*/*' && r.header('User-Agent').startsWith('git/') \
         && r.protocol === 'HTTP/2' && r.process.comm === 'git' && r.process.uid === 1000",
    ),
];

/// Rules as people write them, the README's first, and a host to which each allows [`facts`].
const PRACTICE: [(&str, &str); 10] = [
    ("api.github.com", "r.host === 'api.github.com' && r.method === 'GET'"),
    ("github.com", "true"),
    (
        "pypi.org",
        "const host = r.host; \
         host === 'pypi.org' || host === 'files.pythonhosted.org' \
         ? { allow: { max_tx_bytes: 4096 } } \
         : { deny_message: host + ' is not a package index' }",
    ),
    (
        "crates.io",
        "const hosts = new Set(['crates.io', 'static.crates.io', 'index.crates.io', 'github.com']); \
         hosts.has(r.host)",
    ),
    ("docs.rs", "/^(docs|static|index)\\.(rs|crates\\.io)$/.test(r.host)"),
    (
        "api.github.com",
        "const [, owner] = r.path.split('/repos/'); \
         r.method === 'GET' && owner?.startsWith('httpjail/') && !r.path.includes('..')",
    ),
    (
        "registry.npmjs.org",
        "({ 'registry.npmjs.org': ['GET'], 'api.npmjs.org': ['GET', 'POST'] })[r.host]\
         ?.includes(r.method) ?? false",
    ),
    ("deb.debian.org", "r.scheme === 'https' && r.port === 443 && r.host.endsWith('.debian.org')"),
    ("github.com", "r.url.startsWith('https://github.com/repos/httpjail/')"),
    (
        "api.github.com",
        "function reads() { return ['GET', 'HEAD', 'OPTIONS'].includes(r.method) } \
         const query = Object.fromEntries((r.query ?? '').split('&').map(p => p.split('='))); \
         if (r.process?.comm !== 'git') 'git only'; \
         else if (!reads() || query.per_page > 100) ({ deny_message: 'read less' }); \
         else true",
    ),
];

/// What a client sends.
fn headers() -> Headers {
    let fields = [
        ("user-agent", "git/2.47.3"),
        ("accept", "*/*"),
        ("accept-encoding", "deflate, gzip, br, zstd"),
        ("accept-language", "en-GB, *;q=0.9"),
        ("authorization", "Basic eC1hY2Nlc3MtdG9rZW46Z2hwX3NlY3JldA=="),
        ("pragma", "no-cache"),
        ("git-protocol", "version=2"),
    ];
    let fields = fields
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    HeaderMap::from_iter(fields).into()
}

fn facts(host: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse(host).expect("a host"), 443),
        path: "/repos/httpjail/httpjail/commits".to_owned(),
        query: Some("per_page=100".to_owned()),
        protocol: Some(Version::HTTP_2),
        headers: headers(),
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: Some(Process { pid: 4711, uid: 1000, comm: "git".to_owned() }),
        time: UNIX_EPOCH,
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
    let mut practice = PRACTICE.map(|(host, rule)| {
        let mut engine = Js::compile("practice", rule).expect("the rule compiles").engine();
        let facts = facts(host);
        assert!(matches!(engine.decide(&facts), Decision::Allow(_)), "{rule}");
        (engine, facts)
    });
    c.bench_function("ten rules of practice, one decision each", |b| {
        b.iter(|| {
            for (engine, facts) in &mut practice {
                black_box(engine.decide(black_box(facts)));
            }
        });
    });
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
