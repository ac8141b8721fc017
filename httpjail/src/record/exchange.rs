//! One request, or one connection that is judged as a whole, from its judgement to its end.
//!
//! Whatever happens to it, its record is written once: when the last that holds the exchange lets
//! go of it. Nobody else writes one, and nobody can forget to.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    json,
    ledger::{Book, is_request, push_facts, push_target},
    summary::Seen,
};
use crate::policy::{Authority, DecidedBy, Decision, Process, RequestFacts, Scheme};

/// Who is to look for the cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command, or how it is set up.
    Jailed,
    /// The server, or the way there.
    Upstream,
    /// This program, or how it was told to work.
    Httpjail,
}

impl Fault {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Jailed => "jailed",
            Self::Upstream => "upstream",
            Self::Httpjail => "httpjail",
        }
    }
}

/// What a record says about the program behind a connection, written once for all its requests.
#[derive(Clone, Debug, Default)]
pub struct Client(Option<Rc<str>>);

impl Client {
    /// The client that the kernel saw; `exe` is its program, where that is known.
    pub(super) fn new(process: Option<&Process>, exe: Option<&str>) -> Self {
        let mut text = String::with_capacity(128);
        json::key(&mut text, "process");
        match process {
            None => text.push_str("null"),
            Some(process) => {
                text.push('{');
                json::number(&mut text, "pid", u64::from(process.pid));
                json::number(&mut text, "uid", u64::from(process.uid));
                json::text(&mut text, "comm", process.comm.as_str());
                json::text(&mut text, "exe", exe);
                text.push('}');
            }
        }
        Self(Some(text.into()))
    }

    pub(super) fn push(&self, line: &mut String) {
        line.push(',');
        line.push_str(self.0.as_deref().unwrap_or("\"process\":null"));
    }
}

/// An exchange whose record is still to be written. Cheap to clone; where nothing is recorded it's
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Exchange(Option<Rc<Open>>);

#[derive(Debug)]
struct Open {
    book: Arc<Book>,
    client: Client,
    began: SystemTime,
    start: Instant,
    told: RefCell<Told>,
    protocol: Cell<Option<&'static str>>,
    status: Cell<Option<u16>>,
    sent: Cell<u64>,
    received: Cell<u64>,
    rule: Cell<Option<Duration>>,
    connect: Cell<Option<Duration>>,
    first_byte: Cell<Option<Duration>>,
    is_complete: Cell<bool>,
}

/// What is known in words.
#[derive(Debug, Default)]
struct Told {
    /// `None` until it was judged or refused: without that there is nothing to record.
    subject: Option<Subject>,
    error: Option<(Fault, String)>,
}

#[derive(Debug)]
struct Subject {
    is_request: bool,
    is_allowed: bool,
    /// Members of the record: facts, decision and rule.
    members: String,
    /// For the summary.
    host: String,
}

impl Exchange {
    /// One of which nothing is kept.
    pub fn none() -> Self {
        Self(None)
    }

    pub(super) fn begin(book: &Arc<Book>, client: &Client) -> Self {
        book.opened();
        Self(Some(Rc::new(Open {
            book: Arc::clone(book),
            client: client.clone(),
            began: SystemTime::now(),
            start: Instant::now(),
            told: RefCell::default(),
            protocol: Cell::default(),
            status: Cell::default(),
            sent: Cell::default(),
            received: Cell::default(),
            rule: Cell::default(),
            connect: Cell::default(),
            first_byte: Cell::default(),
            is_complete: Cell::default(),
        })))
    }

    /// The time, if it is of interest.
    pub fn now(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// The gate has decided about `facts`, by whom it asked at `asked`.
    pub fn judged(
        &self,
        facts: &RequestFacts,
        decision: &Decision,
        decided_by: &DecidedBy,
        asked: Option<Instant>,
    ) {
        let Some(open) = &self.0 else { return };
        open.rule.set(asked.map(|asked| asked.elapsed()));
        let ledger = &open.book.ledger;
        let mut members = String::new();
        if ledger.sink.is_some() {
            members.reserve(384);
            push_facts(&mut members, facts, ledger.urls);
            push_decision(&mut members, decision, decided_by);
        }
        open.told.borrow_mut().subject = Some(Subject {
            is_request: is_request(facts.scheme),
            is_allowed: matches!(decision, Decision::Allow(_)),
            members,
            host: open.host(&facts.authority),
        });
    }

    /// It was refused before anybody was asked: what came over a connection to `target` contradicts
    /// itself.
    pub fn malformed(&self, method: &str, scheme: Scheme, target: &Authority, message: &str) {
        let Some(open) = &self.0 else { return };
        let mut members = String::with_capacity(256);
        push_malformed(&mut members, Some(method), scheme, target);
        let host = open.host(target);
        open.told.borrow_mut().subject =
            Some(Subject { is_request: true, is_allowed: false, members, host });
        self.blame(Fault::Jailed, || message.to_owned());
    }

    /// Somebody else has recorded it: this thread was given up meanwhile.
    pub fn disown(&self) {
        if let Some(open) = &self.0 {
            open.told.borrow_mut().subject = None;
        }
    }

    /// What the client speaks.
    pub fn speaks(&self, protocol: &'static str) {
        if let Some(open) = &self.0 {
            open.protocol.set(Some(protocol));
        }
    }

    /// A connection was made for it, which took so long.
    pub fn connected(&self, took: Option<Duration>) {
        if let Some(open) = &self.0 {
            open.connect.set(took);
        }
    }

    /// The origin has begun to answer.
    pub fn first_byte(&self) {
        if let Some(open) = &self.0 {
            open.first_byte.set(Some(open.start.elapsed()));
        }
    }

    /// What the client is answered.
    pub fn answered(&self, status: u16) {
        if let Some(open) = &self.0 {
            open.status.set(Some(status));
        }
    }

    /// So many bytes more have gone to the origin.
    pub fn sent(&self, bytes: usize) {
        if let Some(open) = &self.0 {
            open.sent.set(open.sent.get() + bytes as u64);
        }
    }

    /// So many bytes more have gone to the client.
    pub fn received(&self, bytes: usize) {
        if let Some(open) = &self.0 {
            if open.first_byte.get().is_none() && open.status.get().is_none() {
                // Of a connection as a whole nobody sees the head of an answer.
                open.first_byte.set(Some(open.start.elapsed()));
            }
            open.received.set(open.received.get() + bytes as u64);
        }
    }

    /// It has come to its proper end.
    pub fn complete(&self) {
        if let Some(open) = &self.0 {
            open.is_complete.set(true);
        }
    }

    /// Whether it has: what happens afterwards makes no difference to whoever asked.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|open| open.is_complete.get())
    }

    /// Something went wrong. The first cause counts.
    pub fn blame(&self, fault: Fault, message: impl FnOnce() -> String) {
        let Some(open) = &self.0 else { return };
        let mut told = open.told.borrow_mut();
        if told.error.is_none() {
            told.error = Some((fault, tidy(message())));
        }
    }
}

impl Open {
    /// The host, where the summary wants it.
    fn host(&self, authority: &Authority) -> String {
        if self.book.ledger.has_summary { authority.host().to_string() } else { String::new() }
    }

    fn line(&self, subject: &Subject, error: Option<&(Fault, String)>, total: Duration) -> String {
        let kind = if subject.is_request { "request" } else { "tcp" };
        let mut line = self.book.ledger.begin(kind, self.began);
        self.client.push(&mut line);
        line.push(',');
        line.push_str(&subject.members);
        if subject.is_request {
            json::text(&mut line, "protocol", self.protocol.get());
            json::number(&mut line, "status", self.status.get().map(u64::from));
        }
        push_error(&mut line, error.map(|(fault, message)| (*fault, message.as_str())));
        json::number(&mut line, "bytes_sent", self.sent.get());
        json::number(&mut line, "bytes_received", self.received.get());
        json::number(&mut line, "rule_us", self.rule.get().map(micros));
        json::number(&mut line, "connect_us", self.connect.get().map(micros));
        json::number(&mut line, "first_byte_us", self.first_byte.get().map(micros));
        json::number(&mut line, "total_us", micros(total));
        line
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.book.closed();
        let Told { subject, mut error } = self.told.take();
        let Some(subject) = subject else { return };
        let total = self.start.elapsed();
        if !self.is_complete.get() && error.is_none() {
            error = Some((Fault::Jailed, UNFINISHED.to_owned()));
        }
        let ledger = &self.book.ledger;
        if ledger.sink.is_some() {
            ledger.write(self.line(&subject, error.as_ref(), total));
        }
        if ledger.has_summary {
            self.book.tally().add(&Seen {
                host: &subject.host,
                is_request: subject.is_request,
                is_allowed: subject.is_allowed,
                error: error.as_ref().map(|(fault, message)| (*fault, message.as_str())),
                sent: self.sent.get(),
                received: self.received.get(),
                total,
            });
        }
    }
}

/// Why an exchange whose end nobody saw has ended.
const UNFINISHED: &str = "the program, or the run, ended before the answer was complete";

/// Appends what was decided, and by whom.
fn push_decision(line: &mut String, decision: &Decision, decided_by: &DecidedBy) {
    let (word, reason, message) = match decision {
        Decision::Allow(_) => ("allow", "rule", None),
        Decision::Deny(denial) => ("deny", denial.reason.as_str(), denial.message.as_deref()),
    };
    json::text(line, "decision", word);
    push_rule(line, decided_by, reason, message);
}

/// Appends a denial of what nobody could be asked about.
pub(super) fn push_refusal(line: &mut String, reason: &str) {
    json::text(line, "decision", "deny");
    push_rule(line, &DecidedBy::Engine("httpjail"), reason, None);
}

fn push_rule(line: &mut String, by: &DecidedBy, reason: &str, message: Option<&str>) {
    json::key(line, "rule");
    line.push('{');
    json::text(line, "engine", by.engine());
    json::text(line, "reason", reason);
    if let DecidedBy::Option { option, pattern } = by {
        json::text(line, "option", *option);
        json::text(line, "pattern", &**pattern);
    }
    if let Some(message) = message {
        json::text(line, "message", message);
    }
    line.push('}');
}

/// Appends what is known of a request that couldn't be judged.
pub(super) fn push_malformed(
    line: &mut String,
    method: Option<&str>,
    scheme: Scheme,
    target: &Authority,
) {
    json::text(line, "method", method);
    json::text(line, "url", None);
    push_target(line, scheme, target);
    json::text(line, "path", None);
    json::text(line, "query", None);
    push_refusal(line, "malformed");
}

/// A cause without the page that a library names for its users.
pub(super) fn tidy(mut message: String) -> String {
    if let Some(at) = message.find(": https://docs.rs/") {
        message.truncate(at);
    }
    message
}

/// Appends what went wrong, if anything did.
pub(super) fn push_error(line: &mut String, error: Option<(Fault, &str)>) {
    json::key(line, "error");
    let Some((fault, message)) = error else { return line.push_str("null") };
    line.push('{');
    json::text(line, "fault", fault.as_str());
    json::text(line, "message", message);
    line.push('}');
}

/// How long, in microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
