//! The records of one run, and what each worker thread keeps of them.

use std::{
    cell::RefCell,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{json, sink::Sink, stamp::Stamp, summary::Tally};
use crate::policy::{Authority, RequestFacts, Scheme};

/// The version of the records' form.
const VERSION: u32 = 1;
/// Stands for a query.
pub(super) const REDACTED: &str = "?<redacted>";

/// How much of a URL is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urls {
    /// All but the query, which often holds credentials.
    #[default]
    Redacted,
    /// All of it.
    Full,
}

/// What all records of a run have in common.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Where records go; there is none where only a summary is wanted.
    pub(super) sink: Option<Sink>,
    /// The run's id.
    pub(super) jail: String,
    pub(super) urls: Urls,
    pub(super) has_summary: bool,
}

/// One thread's part of the ledger: what it counts is contended by nobody until the end.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) ledger: Arc<Ledger>,
    /// Exchanges that are under way.
    open: AtomicU64,
    tally: Mutex<Tally>,
}

thread_local! {
    static STAMP: RefCell<Stamp> = RefCell::new(Stamp::new());
}

impl Ledger {
    /// The beginning of a record of this `kind`.
    pub(super) fn begin(&self, kind: &str, time: SystemTime) -> String {
        let mut line = String::with_capacity(768);
        json::display(&mut line, format_args!("{{\"v\":{VERSION},\"kind\":\"{kind}\",\"time\":\""));
        // A thread that is ending has no stamp to share any more.
        let shared = STAMP.try_with(|stamp| push_time(&mut line, &mut stamp.borrow_mut(), time));
        if shared.is_err() {
            push_time(&mut line, &mut Stamp::new(), time);
        }
        line.push('"');
        json::text(&mut line, "jail", self.jail.as_str());
        line
    }

    /// Ends a record and hands it on.
    pub(super) fn write(&self, mut line: String) {
        if let Some(sink) = &self.sink {
            line.push_str("}\n");
            sink.push(&line);
        }
    }

    /// Records the first question about a name; `addresses` are what stands for it.
    pub(super) fn name(&self, name: &str, kind: &str, answer: &str, addresses: &[IpAddr]) {
        let mut line = self.begin("dns", SystemTime::now());
        json::text(&mut line, "name", name);
        json::text(&mut line, "type", kind);
        json::text(&mut line, "answer", answer);
        json::key(&mut line, "addresses");
        let addresses: Vec<_> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
        json::display(&mut line, format_args!("[{}]", addresses.join(",")));
        self.write(line);
    }
}

fn push_time(line: &mut String, stamp: &mut Stamp, time: SystemTime) {
    line.push_str(str::from_utf8(stamp.text(time)).unwrap_or_default());
}

impl Book {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, open: AtomicU64::new(0), tally: Mutex::default() }
    }

    /// An exchange has begun, and will have its record.
    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// It has it, or is none of this thread's any more.
    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many have none: their thread hangs.
    pub(super) fn still_open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// A panic elsewhere leaves the tally as good as it was: numbers that were added or not.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends what was asked for, as members of a record.
pub(super) fn push_facts(line: &mut String, facts: &RequestFacts, urls: Urls) {
    let RequestFacts { method, scheme, authority, path, query, .. } = facts;
    let is_request = is_request(*scheme);
    if is_request {
        json::text(line, "method", method.as_str());
    }
    json::key(line, "url");
    line.push('"');
    push_url(line, facts, urls);
    line.push('"');
    push_target(line, *scheme, authority);
    if is_request {
        json::text(line, "path", path.as_str());
        json::key(line, "query");
        match (query, urls) {
            (None, _) => line.push_str("null"),
            (Some(_), Urls::Redacted) => line.push_str("\"<redacted>\""),
            (Some(query), Urls::Full) => {
                line.push('"');
                json::escape(line, query);
                line.push('"');
            }
        }
    }
}

/// Appends where a connection went.
pub(super) fn push_target(line: &mut String, scheme: Scheme, target: &Authority) {
    json::text(line, "scheme", scheme.as_str());
    json::key(line, "host");
    // A canonical host needs no escapes.
    json::display(line, format_args!("\"{}\"", target.host()));
    json::number(line, "port", u64::from(target.port()));
}

fn push_url(line: &mut String, facts: &RequestFacts, urls: Urls) {
    let RequestFacts { scheme, authority, path, query, .. } = facts;
    json::display(line, format_args!("{scheme}://{}", authority.in_url(*scheme)));
    json::escape(line, path);
    match (query, urls) {
        (None, _) => {}
        (Some(_), Urls::Redacted) => line.push_str(REDACTED),
        (Some(query), Urls::Full) => {
            line.push('?');
            json::escape(line, query);
        }
    }
}

/// Whether that is a request's scheme, and not that of a connection as a whole.
pub(super) fn is_request(scheme: Scheme) -> bool {
    match scheme {
        Scheme::Http | Scheme::Https => true,
        Scheme::Tcp | Scheme::Tls => false,
    }
}
