//! What a run came to, by host: counted as it goes, in bounded memory, and told at the end.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    time::Duration,
};

use super::{
    exchange::Fault,
    refusal::{KernelRefusal, summed_up},
};

/// How many hosts one worker thread tells apart; the rest is counted together.
const MOST_HOSTS: usize = 1000;
/// How many hosts are shown.
const SHOWN: usize = 20;
/// The longest cause of a failure that is kept.
const MAX_CAUSE: usize = 300;

/// All that can be at fault, in the order of their numbers.
const FAULTS: [Fault; 3] = [Fault::Jailed, Fault::Upstream, Fault::Httpjail];

/// What of an exchange counts.
pub(super) struct Seen<'a> {
    pub(super) host: &'a str,
    pub(super) is_request: bool,
    pub(super) is_allowed: bool,
    pub(super) error: Option<(Fault, &'a str)>,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) total: Duration,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    hosts: HashMap<String, Count>,
    /// Hosts beyond those.
    others: Count,
}

/// What was seen of a host.
#[derive(Clone, Debug, Default)]
struct Count {
    allowed: u64,
    denied: u64,
    failed: u64,
    connections: u64,
    sent: u64,
    received: u64,
    slowest: Duration,
    /// Why the first of the failed ones did, by who is at fault.
    causes: [Option<String>; FAULTS.len()],
}

/// What a run came to.
#[derive(Debug)]
pub struct Summary {
    total: Count,
    /// The busiest first.
    hosts: Vec<(String, Count)>,
    others: Count,
    /// What the kernel side refused, in one line.
    refusals: String,
    lost: u64,
}

impl Tally {
    pub(super) fn add(&mut self, seen: &Seen<'_>) {
        let is_full = self.hosts.len() >= MOST_HOSTS;
        match self.hosts.get_mut(seen.host) {
            Some(count) => count.add(seen),
            None if is_full => self.others.add(seen),
            None => self.hosts.entry(seen.host.to_owned()).or_default().add(seen),
        }
    }

    /// Takes over what another thread has seen.
    pub(super) fn merge(&mut self, other: Self) {
        for (host, count) in other.hosts {
            self.hosts.entry(host).or_default().merge(count);
        }
        self.others.merge(other.others);
    }
}

impl Count {
    fn add(&mut self, seen: &Seen<'_>) {
        match (seen.is_request, seen.is_allowed) {
            (_, false) => self.denied += 1,
            (true, true) => self.allowed += 1,
            (false, true) => {
                self.allowed += 1;
                self.connections += 1;
            }
        }
        self.sent += seen.sent;
        self.received += seen.received;
        if seen.is_request && seen.is_allowed {
            self.slowest = self.slowest.max(seen.total);
        }
        if let Some((fault, message)) = seen.error {
            self.failed += 1;
            let end = message.floor_char_boundary(MAX_CAUSE.min(message.len()));
            self.causes[fault as usize].get_or_insert_with(|| message[..end].to_owned());
        }
    }

    fn merge(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.failed += other.failed;
        self.connections += other.connections;
        self.sent += other.sent;
        self.received += other.received;
        self.slowest = self.slowest.max(other.slowest);
        for (cause, other) in self.causes.iter_mut().zip(other.causes) {
            if cause.is_none() {
                *cause = other;
            }
        }
    }

    fn sum(&self) -> u64 {
        self.allowed + self.denied
    }
}

impl Summary {
    /// Sums `tally` up; `refusals` are the kernel side's, and so many records were `lost`.
    pub(super) fn new(tally: Tally, refusals: &[KernelRefusal], lost: u64) -> Self {
        let Tally { hosts, mut others } = tally;
        let mut total = others.clone();
        let mut hosts: Vec<_> = hosts.into_iter().collect();
        hosts.sort_by(|(a, x), (b, y)| y.sum().cmp(&x.sum()).then_with(|| a.cmp(b)));
        hosts.iter().for_each(|(_, count)| total.merge(count.clone()));
        for (_, count) in hosts.drain(SHOWN.min(hosts.len())..) {
            others.merge(count);
        }
        Self { total, hosts, others, refusals: summed_up(refusals), lost }
    }

    /// For a terminal.
    pub fn text(&self) -> impl Display {
        fmt::from_fn(|f| self.write_text(f))
    }

    /// As Markdown, for a page of a continuous integration.
    pub fn markdown(&self) -> impl Display {
        fmt::from_fn(|f| self.write_markdown(f))
    }

    fn write_text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "httpjail: {}", self.headline())?;
        let width = self.rows().map(|(host, _)| host.len()).max().unwrap_or(0).max(4);
        if self.rows().next().is_some() {
            let [allowed, denied, failed, sent, received, slowest] = COLUMNS;
            writeln!(
                f,
                "  {:width$}  {allowed:>8}  {denied:>8}  {failed:>8}  {sent:>9}  {received:>9}  {slowest:>9}",
                "host"
            )?;
        }
        for (host, count) in self.rows() {
            let [allowed, denied, failed, sent, received, slowest] = cells(count);
            writeln!(
                f,
                "  {host:width$}  {allowed:>8}  {denied:>8}  {failed:>8}  {sent:>9}  {received:>9}  {slowest:>9}",
            )?;
        }
        for (host, fault, cause) in self.causes() {
            writeln!(f, "  {host} failed ({}): {cause}", fault.as_str())?;
        }
        if !self.refusals.is_empty() {
            writeln!(f, "  refused by the kernel side: {}", self.refusals)?;
        }
        if self.lost > 0 {
            writeln!(f, "  lost: {}", plural(self.lost, "record"))?;
        }
        Ok(())
    }

    fn write_markdown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### httpjail\n\n{}\n", self.headline())?;
        if self.rows().next().is_some() {
            writeln!(f, "| host | {} |", COLUMNS.join(" | "))?;
            writeln!(f, "|---|{}", "--:|".repeat(COLUMNS.len()))?;
        }
        for (host, count) in self.rows() {
            writeln!(f, "| {host} | {} |", cells(count).join(" | "))?;
        }
        for (host, fault, cause) in self.causes() {
            // Nothing in a span of code is markup, and nothing but a backtick ends it.
            let cause = cause.replace('`', "'");
            writeln!(f, "\n{host} failed ({}): `{cause}`", fault.as_str())?;
        }
        if !self.refusals.is_empty() {
            writeln!(f, "\nRefused by the kernel side: {}", self.refusals)?;
        }
        if self.lost > 0 {
            writeln!(f, "\nLost: {}", plural(self.lost, "record"))?;
        }
        writeln!(f)
    }

    fn headline(&self) -> impl Display {
        fmt::from_fn(|f| {
            let Count { allowed, denied, failed, connections, sent, received, .. } = &self.total;
            write!(f, "{} allowed", plural(allowed - connections, "request"))?;
            if *connections > 0 {
                write!(f, ", {} opened", plural(*connections, "connection"))?;
            }
            write!(f, ", {denied} denied, {failed} failed; ")?;
            write!(f, "{} sent, {} received", Bytes(*sent), Bytes(*received))
        })
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &Count)> {
        let hosts = self.hosts.iter().map(|(host, count)| (host.as_str(), count));
        hosts.chain((self.others.sum() > 0).then_some(("all others", &self.others)))
    }

    fn causes(&self) -> impl Iterator<Item = (&str, Fault, &str)> {
        self.rows().flat_map(|(host, count)| {
            let causes = FAULTS.into_iter().zip(&count.causes);
            causes.filter_map(move |(fault, cause)| Some((host, fault, cause.as_deref()?)))
        })
    }
}

const COLUMNS: [&str; 6] = ["allowed", "denied", "failed", "sent", "received", "slowest"];

fn cells(count: &Count) -> [String; 6] {
    let slowest = match count.slowest {
        Duration::ZERO => "-".to_owned(),
        slowest => format!("{} ms", slowest.as_millis()),
    };
    [
        count.allowed.to_string(),
        count.denied.to_string(),
        count.failed.to_string(),
        Bytes(count.sent).to_string(),
        Bytes(count.received).to_string(),
        slowest,
    ]
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes as people read it.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
        match steps.into_iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) => {
                write!(f, "{}.{} {unit}", self.0 / size, self.0 % size * 10 / size)
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Process;

    fn seen(host: &str) -> Seen<'_> {
        Seen {
            host,
            is_request: true,
            is_allowed: true,
            error: None,
            sent: 10,
            received: 1_250_000,
            total: Duration::from_millis(7),
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        tally.add(&seen("b.test"));
        tally.add(&Seen { total: Duration::from_millis(312), ..seen("a.test") });
        tally.add(&Seen { is_allowed: false, received: 31, ..seen("a.test") });
        let error = Some((Fault::Upstream, "connect to `a`: | refused"));
        tally.add(&Seen { is_request: false, error, ..seen("c.test") });
        tally
    }

    #[test]
    fn tells_hosts_the_busiest_first() {
        let refusal = |reason, comm: Option<&str>, count| KernelRefusal {
            reason,
            time: std::time::UNIX_EPOCH,
            process: comm.map(|comm| Process { pid: 7, uid: 1000, comm: comm.to_owned() }),
            protocol: None,
            target: None,
            count,
        };
        let refusals = [refusal("udp", Some("node"), 3), refusal("inbound", None, 1)];
        let summary = Summary::new(tally(), &refusals, 2);
        insta::assert_snapshot!("text", summary.text());
        insta::assert_snapshot!("markdown", summary.markdown());
    }

    #[test]
    fn a_run_without_requests_is_one_line() {
        let summary = Summary::new(Tally::default(), &[], 0).text().to_string();
        assert_eq!(
            summary,
            "httpjail: 0 requests allowed, 0 denied, 0 failed; 0 B sent, 0 B received\n"
        );
    }

    #[test]
    fn every_fault_has_its_place() {
        for (place, fault) in FAULTS.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_goes_uncounted() {
        let mut all = Tally::default();
        for _ in 0..2 {
            let mut one = Tally::default();
            for n in 0..MOST_HOSTS + 50 {
                one.add(&seen(&format!("h{n}.test")));
            }
            assert_eq!((one.hosts.len(), one.others.allowed), (MOST_HOSTS, 50));
            all.merge(one);
        }
        let summary = Summary::new(all, &[], 0);
        assert_eq!(summary.total.allowed, 2 * (MOST_HOSTS as u64 + 50));
        assert_eq!(summary.hosts.len(), SHOWN);
        let shown: u64 = summary.rows().map(|(_, count)| count.allowed).sum();
        assert_eq!(shown, summary.total.allowed);
    }

    #[test]
    fn bytes_are_told_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
