use std::{sync::mpsc, thread};

use super::*;
use crate::policy::{Host, Limits};
use crate::record::sink::BUFFER_BYTES;

impl Recorder {
    fn to_writer(out: impl io::Write + Send + 'static) -> io::Result<(Self, RecorderHandle)> {
        let (sink, handle) = Sink::start(LOG, out)?;
        let log = (Some(sink), Some(handle));
        Ok(Self::joined(log, (None, None), String::new(), Urls::Full, false))
    }

    /// One that writes the request log alone.
    pub(crate) fn to_log(log: LogFile) -> io::Result<(Self, RecorderHandle)> {
        Self::start(Outputs { log: Some(log), urls: Urls::Full, ..Outputs::default() })
    }
}

fn facts(path: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("a.test").unwrap(), 8443),
        path: path.to_owned(),
        query: Some("q".to_owned()),
        protocol: None,
        headers: crate::policy::Headers::default(),
        requester: [127, 0, 0, 1].into(),
        process: None,
        time: std::time::UNIX_EPOCH,
    }
}

/// Waits for a word before each write, if it was given an ear.
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    go: Option<mpsc::Receiver<()>>,
}

impl io::Write for Gathered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(go) = &self.go {
            go.recv().map_err(io::Error::other)?;
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn is_complete_once_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (recorder, handle) = Recorder::to_log(LogFile::open(&path).unwrap()).unwrap();
    recorder.request(&facts("/1"), &Decision::Allow(Limits::default()));
    recorder.request(&facts("/2"), &Decision::Deny(Denial::new(DenyReason::Rule)));
    recorder.refused_line("TCP", &facts("/").authority);
    assert_eq!(handle.finish(), 0);
    let text = std::fs::read_to_string(&path).unwrap();
    let rest: Vec<_> = text.lines().map(|line| line.split_at(24)).collect();
    assert!(rest.iter().all(|(time, _)| time.starts_with("20") && time.ends_with('Z')));
    assert_eq!(
        rest.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
        [
            " + GET https://a.test:8443/1?q",
            " - GET https://a.test:8443/2?q",
            " - TCP tcp://a.test:8443",
        ]
    );
}

#[test]
fn writes_each_record_of_many_threads_once() {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let out = Gathered { bytes: Arc::clone(&bytes), go: None };
    let (recorder, handle) = Recorder::to_writer(out).unwrap();
    thread::scope(|scope| {
        for worker in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for n in 0..1000 {
                    let decision = Decision::Deny(Denial::new(DenyReason::Rule));
                    recorder.request(&facts(&format!("/{worker}/{n}")), &decision);
                }
            });
        }
    });
    assert_eq!(handle.finish(), 0);
    let bytes = bytes.lock().unwrap();
    let mut lines: Vec<_> =
        str::from_utf8(&bytes).unwrap().lines().map(|line| &line[24..]).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 4000);
}

#[test]
fn never_keeps_a_worker_waiting_and_counts_what_did_not_fit() {
    let (go, ear) = mpsc::channel();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let out = Gathered { bytes: Arc::clone(&bytes), go: Some(ear) };
    let (recorder, handle) = Recorder::to_writer(out).unwrap();
    let total = 2 * BUFFER_BYTES as u64 / 2000 + 1000;
    let long = facts(&"x".repeat(2000));
    for _ in 0..total {
        recorder.request(&long, &Decision::Allow(Limits::default()));
    }
    for _ in 0..total {
        go.send(()).unwrap();
    }
    let lost = handle.finish();
    let written = bytes.lock().unwrap().iter().filter(|&&byte| byte == b'\n').count() as u64;
    assert!(lost > 0 && written > 0);
    assert_eq!(lost + written, total);
}

#[test]
fn gives_up_on_a_log_that_takes_nothing() {
    let (go, ear) = mpsc::channel();
    let out = Gathered { bytes: Arc::default(), go: Some(ear) };
    let (recorder, handle) = Recorder::to_writer(out).unwrap();
    recorder.request(&facts("/"), &Decision::Allow(Limits::default()));
    assert_eq!(handle.finish(), 1);
    drop(go);
}

fn recorded(urls: Urls, act: impl FnOnce(&Recorder)) -> (Vec<serde_json::Value>, Ended) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records");
    let records = Some(LogFile::open(&path).unwrap());
    let outputs = Outputs { records, urls, summary: true, ..Outputs::default() };
    let (recorder, handle) = Recorder::start(outputs).unwrap();
    act(&recorder);
    let told = KernelRefusal {
        reason: "udp",
        time: std::time::UNIX_EPOCH,
        process: Some(Process { pid: 7, uid: 1000, comm: "node".to_owned() }),
        protocol: Some(17),
        target: Some(Authority::new(Host::parse("192.0.2.1").unwrap(), 443)),
        count: 2,
    };
    let rest =
        KernelRefusal { process: None, protocol: None, target: None, count: 1, ..told.clone() };
    let ended = handle.finish_with(&[told, rest]);
    (crate::record::check_records(&std::fs::read_to_string(&path).unwrap()), ended)
}

#[test]
fn queries_stay_out_of_records_unless_they_are_wanted() {
    let secret = RequestFacts { query: Some("token=s\"ecret".to_owned()), ..facts("/x") };
    for (urls, query) in [(Urls::Redacted, "<redacted>"), (Urls::Full, "token=s\"ecret")] {
        let (records, _) = recorded(urls, |recorder| {
            let exchange = recorder.begin(&Client::default());
            exchange.judged(
                &secret,
                &Decision::Allow(Limits::default()),
                &DecidedBy::Engine("js"),
                None,
            );
            exchange.complete();
        });
        assert_eq!(records[0]["query"], query);
        assert_eq!(records[0]["url"], format!("https://a.test:8443/x?{query}"));
        assert_eq!(records[0]["error"], serde_json::Value::Null);
    }
}

#[test]
fn the_kernels_refusals_and_names_are_recorded_and_summed_up() {
    let (records, ended) = recorded(Urls::Redacted, |recorder| {
        recorder.name("a.test", "A", "address", &["198.18.0.1".parse().unwrap()]);
        recorder.lose(1);
    });
    assert_eq!(
        (records[0]["kind"].as_str(), records[1]["kind"].as_str()),
        (Some("dns"), Some("kernel-refusal"))
    );
    let [.., told, rest] = &records[..] else { panic!("two: {records:#?}") };
    assert_eq!(
        told["process"],
        serde_json::json!({"pid": 7, "uid": 1000, "comm": "node", "exe": null})
    );
    assert_eq!(
        (&told["protocol"], &told["host"], &told["port"]),
        (&"udp".into(), &"192.0.2.1".into(), &443.into())
    );
    assert_eq!(
        (&rest["process"], &rest["host"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!((&told["count"], &rest["count"]), (&2.into(), &1.into()));
    assert_eq!(ended.lost, 1);
    let summary = ended.summary.unwrap().text().to_string();
    assert!(summary.contains("refused by the kernel side: udp 3 (node 2, others 1)"), "{summary}");
    assert!(summary.contains("  lost: 1 record\n"), "{summary}");
}

#[test]
fn an_exchange_has_one_record_when_its_last_holder_lets_go() {
    let (records, _) = recorded(Urls::Redacted, |recorder| {
        let worker = recorder.for_worker();
        let exchange = worker.begin(&Client::default());
        exchange.judged(
            &facts("/"),
            &Decision::Allow(Limits::default()),
            &DecidedBy::Engine("js"),
            None,
        );
        let other = exchange.clone();
        drop(exchange);
        other.sent(3);
        other.received(4);
        let cause = "first: https://docs.rs/rustls/latest";
        other.blame(Fault::Upstream, || cause.to_owned());
        other.blame(Fault::Jailed, || "second".to_owned());
        drop(other);
        // Neither judged nor refused: somebody else has the record.
        drop(worker.begin(&Client::default()));
    });
    assert_eq!(records.len(), 3, "{records:#?}");
    assert_eq!((&records[0]["bytes_sent"], &records[0]["bytes_received"]), (&3.into(), &4.into()));
    assert_eq!(records[0]["error"]["message"], "first");
}

#[test]
fn an_exchange_that_never_ends_is_a_lost_record() {
    let mut open = None;
    let (_, ended) = recorded(Urls::Redacted, |recorder| {
        open = Some(recorder.begin(&Client::default()));
    });
    assert_eq!(ended.lost, 1);
    drop(open);
}

#[test]
fn keeps_nothing_when_there_is_no_log() {
    Recorder::none().request(&facts("/"), &Decision::Allow(Limits::default()));
}
