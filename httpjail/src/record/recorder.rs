//! What the rest of the program tells of requests, and where that goes: a line in the request log
//! when something was decided, a record when it has ended, and the summary's counts.

use std::{
    fmt, io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use super::{
    LogFile,
    exchange::{Client, Exchange, Fault, push_error, push_malformed, push_refusal, tidy},
    json,
    ledger::{Book, Ledger, Urls, is_request, push_target},
    line::{self, Verdict},
    refusal::KernelRefusal,
    sink::{Purpose, Sink, SinkHandle},
    summary::{Seen, Summary, Tally},
};
use crate::policy::{
    Authority, DecidedBy, Decision, Denial, DenyReason, Process, RequestFacts, Scheme,
};

const LOG: Purpose = Purpose { thread: "request-log", name: "the request log" };
const RECORDS: Purpose = Purpose { thread: "records", name: "the file of records" };

/// What is wanted.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Where the request log goes.
    pub log: Option<LogFile>,
    /// Where the records go.
    pub records: Option<LogFile>,
    /// The run's id, for the records.
    pub jail: String,
    /// How much of a URL is written down.
    pub urls: Urls,
    /// Whether a summary is wanted.
    pub summary: bool,
}

/// Takes note of what is asked and decided. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    log: Option<Sink>,
    urls: Urls,
    /// Where there are records, or a summary.
    books: Option<Books>,
}

/// The books of all threads, and that of this one.
#[derive(Clone, Debug)]
struct Books {
    own: Arc<Book>,
    all: Arc<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    books: Mutex<Vec<Arc<Book>>>,
    /// Exchanges that stay open for ever, but have their record.
    given_up: AtomicU64,
}

/// The other end of a [`Recorder`]: brings out what is still waiting.
#[derive(Debug)]
pub struct RecorderHandle {
    log: Option<SinkHandle>,
    records: Option<SinkHandle>,
    ledger: Arc<Ledger>,
    shelf: Arc<Shelf>,
}

/// What came of the records of a run.
#[derive(Debug)]
pub struct Ended {
    /// How many lines and records were lost.
    pub lost: u64,
    /// The summary, if one is wanted.
    pub summary: Option<Summary>,
}

/// Something that was refused before anybody could be asked about it.
#[derive(Clone, Copy)]
pub struct Refused<'a> {
    /// `TCP` for bytes that are neither TLS nor HTTP, `TLS` for a handshake that failed, `HTTP` for
    /// a request that could not be parsed or whose names disagree.
    pub protocol: &'static str,
    /// Over which kind of connection it came, if it was a request.
    pub scheme: Scheme,
    /// Where the connection went.
    pub target: &'a Authority,
    /// Whose it was.
    pub client: &'a Client,
    /// Why it was refused, in a word.
    pub reason: &'static str,
    /// Who is to look for the cause.
    pub fault: Fault,
    /// What happened.
    pub message: &'a dyn fmt::Display,
}

impl Recorder {
    /// A recorder that keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// A recorder with these outputs, each with a thread of its own: after a fork, call it in the
    /// process that records.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(outputs: Outputs) -> io::Result<(Self, RecorderHandle)> {
        let Outputs { log, records, jail, urls, summary } = outputs;
        let (log, log_handle) = start(LOG, log.map(LogFile::into_file))?;
        let (sink, records_handle) = start(RECORDS, records.map(LogFile::into_file))?;
        Ok(Self::joined((log, log_handle), (sink, records_handle), jail, urls, summary))
    }

    fn joined(
        (log, log_handle): (Option<Sink>, Option<SinkHandle>),
        (sink, records_handle): (Option<Sink>, Option<SinkHandle>),
        jail: String,
        urls: Urls,
        has_summary: bool,
    ) -> (Self, RecorderHandle) {
        let keeps_books = sink.is_some() || has_summary;
        let ledger = Arc::new(Ledger { sink, jail, urls, has_summary });
        let shelf = Arc::<Shelf>::default();
        let handle = RecorderHandle {
            log: log_handle,
            records: records_handle,
            ledger: Arc::clone(&ledger),
            shelf: Arc::clone(&shelf),
        };
        let books = keeps_books.then(|| Books { own: shelf.open(ledger), all: shelf });
        (Self { log, urls, books }, handle)
    }

    /// A recorder for one worker thread, whose counts no other thread waits for.
    #[must_use]
    pub fn for_worker(&self) -> Self {
        let books = self.books.as_ref().map(|books| Books {
            own: books.all.open(Arc::clone(&books.own.ledger)),
            all: Arc::clone(&books.all),
        });
        Self { log: self.log.clone(), urls: self.urls, books }
    }

    /// Whether there are records.
    pub fn has_records(&self) -> bool {
        self.books.as_ref().is_some_and(|books| books.own.ledger.sink.is_some())
    }

    /// What records say about a client, whose program is `exe` if that is known.
    pub fn client(&self, process: Option<&Process>, exe: Option<&str>) -> Client {
        match self.has_records() {
            true => Client::new(process, exe),
            false => Client::default(),
        }
    }

    /// A request, or a connection to be judged as a whole, has come.
    pub fn begin(&self, client: &Client) -> Exchange {
        let begin = |books: &Books| Exchange::begin(&books.own, client);
        self.books.as_ref().map_or_else(Exchange::none, begin)
    }

    /// Writes the request log's line about one judged request.
    pub fn request(&self, facts: &RequestFacts, decision: &Decision) {
        let Some(log) = &self.log else { return };
        let verdict = match decision {
            Decision::Allow(_) => Verdict::Allowed,
            Decision::Deny(_) => Verdict::Denied,
        };
        log.push_stamped(&line::request(verdict, facts, self.urls));
    }

    /// Records a request whose judgement takes for ever: it is denied, and the thread that it holds
    /// up writes nothing any more.
    pub fn given_up(&self, facts: &RequestFacts) {
        let denied = Decision::Deny(Denial::new(DenyReason::RuleFailed));
        self.request(facts, &denied);
        let Some(books) = &self.books else { return };
        books.all.given_up.fetch_add(1, Ordering::Relaxed);
        let exchange = self.begin(&self.client(facts.process.as_ref(), None));
        exchange.judged(facts, &denied, &DecidedBy::Engine("rule"), None);
        exchange.blame(Fault::Httpjail, || "the rule hung; its thread was replaced".to_owned());
    }

    /// Records what was refused before it could be read as a request.
    pub fn refused_flow(&self, refused: &Refused<'_>) {
        self.refused_line(refused.protocol, refused.target);
        self.unused_flow(refused);
    }

    /// Writes the request log's line alone about such a thing.
    pub fn refused_line(&self, protocol: &'static str, target: &Authority) {
        if let Some(log) = &self.log {
            log.push_stamped(&line::refused_flow(protocol, target));
        }
    }

    /// The same for a connection that asked for nothing: it has a record, but no line in the log.
    pub fn unused_flow(&self, refused: &Refused<'_>) {
        let Some(books) = &self.books else { return };
        let Refused { protocol, scheme, target, client, reason, fault, message } = *refused;
        let (ledger, message) = (&books.own.ledger, tidy(message.to_string()));
        let is_request = protocol == "HTTP";
        if ledger.sink.is_some() {
            let kind = if is_request { "request" } else { "tcp" };
            let mut line = ledger.begin(kind, SystemTime::now());
            client.push(&mut line);
            match protocol {
                "HTTP" => push_malformed(&mut line, None, scheme, target),
                _ => push_flow(&mut line, protocol, target, reason),
            }
            if is_request {
                json::text(&mut line, "protocol", None);
                json::number(&mut line, "status", None);
            }
            push_error(&mut line, Some((fault, &message)));
            for member in ["bytes_sent", "bytes_received"] {
                json::number(&mut line, member, 0);
            }
            for member in ["rule_us", "connect_us", "first_byte_us", "total_us"] {
                json::number(&mut line, member, None);
            }
            ledger.write(line);
        }
        if ledger.has_summary {
            let host = target.host().to_string();
            books.own.tally().add(&Seen {
                host: &host,
                is_request,
                is_allowed: false,
                error: Some((fault, &message)),
                sent: 0,
                received: 0,
                total: std::time::Duration::ZERO,
            });
        }
    }

    /// Records the first question about a name: of which `kind`, how it was answered, and by which
    /// addresses.
    pub fn name(&self, name: &str, kind: &str, answer: &str, addresses: &[IpAddr]) {
        if let Some(books) = &self.books {
            books.own.ledger.name(name, kind, answer, addresses);
        }
    }

    /// Counts a record that is not to be had.
    pub fn lose(&self, records: u64) {
        if let Some(sink) = self.books.as_ref().and_then(|books| books.own.ledger.sink.as_ref()) {
            sink.lose(records);
        }
    }
}

impl Shelf {
    fn open(&self, ledger: Arc<Ledger>) -> Arc<Book> {
        let book = Arc::new(Book::new(ledger));
        self.books.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&book));
        book
    }

    /// What all threads have seen, and how many records they still owe.
    fn close(&self) -> (Tally, u64) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tally = Tally::default();
        books.iter().for_each(|book| tally.merge(std::mem::take(&mut *book.tally())));
        let open: u64 = books.iter().map(|book| book.still_open()).sum();
        (tally, open.saturating_sub(self.given_up.load(Ordering::Relaxed)))
    }
}

impl RecorderHandle {
    /// Writes what is waiting, and tells how many records were lost. Later records are lost.
    pub fn finish(self) -> u64 {
        self.finish_with(&[]).lost
    }

    /// The same at the end of a run, in which the kernel side refused this.
    pub fn finish_with(self, refusals: &[KernelRefusal]) -> Ended {
        for refusal in refusals {
            self.ledger.kernel_refusal(refusal);
        }
        let (tally, owed) = self.shelf.close();
        if let Some(sink) = &self.ledger.sink {
            sink.lose(owed);
        }
        let lost = [self.log, self.records].into_iter().flatten().map(SinkHandle::finish).sum();
        let summary = self.ledger.has_summary.then(|| Summary::new(tally, refusals, lost));
        Ended { lost, summary }
    }
}

fn start(
    purpose: Purpose,
    out: Option<impl io::Write + Send + 'static>,
) -> io::Result<(Option<Sink>, Option<SinkHandle>)> {
    Ok(out.map(|out| Sink::start(purpose, out)).transpose()?.unzip())
}

/// Appends what is known of a connection that was no request.
fn push_flow(line: &mut String, protocol: &str, target: &Authority, reason: &str) {
    let scheme = if protocol == "TLS" { Scheme::Tls } else { Scheme::Tcp };
    debug_assert!(!is_request(scheme));
    json::key(line, "url");
    json::display(line, format_args!("\"{scheme}://{target}\""));
    push_target(line, scheme, target);
    push_refusal(line, reason);
}

#[cfg(test)]
mod tests;
