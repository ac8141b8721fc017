//! Programs that are asked as the proxy asks them.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant, UNIX_EPOCH},
};

use http::Version;
use tokio::sync::oneshot;

use super::{Link, Program, failed, remote::Remote, serve};
use crate::policy::{
    Authority, Awaited, Decision, Denial, DenyReason, Headers, Host, Limits, Process,
    ProcessDetails, ProcessInspector, RemoteEngine, RequestFacts, RunFacts, Scheme,
};

const ALLOWED: Decision =
    Decision::Allow(Limits { max_tx_bytes: None, opaque: crate::policy::Opaque::Refused });
/// More than any of these programs takes on the slowest machine, unless it hangs.
const PATIENT: Duration = Duration::from_secs(20);
/// For those that hang.
const IMPATIENT: Duration = Duration::from_millis(300);

pub(in crate::rules) fn facts(path: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Http,
        authority: Authority::new(Host::parse("a.test").unwrap(), 80),
        path: path.to_owned(),
        query: None,
        protocol: Some(Version::HTTP_11),
        headers: Headers::default(),
        requester: [127, 0, 0, 1].into(),
        process: None,
        time: UNIX_EPOCH,
    }
}

fn denied(message: &str) -> Decision {
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    Decision::Deny(Denial { reason: DenyReason::Rule, message })
}

/// A program, and the thread in the place of the process that runs it.
pub(in crate::rules) struct Served {
    remote: Option<Remote>,
    thread: Option<JoinHandle<io::Result<()>>>,
    _stop: oneshot::Sender<()>,
}

struct Programs;

impl ProcessInspector for Programs {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        match pid {
            1 => Ok(Some("/sbin/init".to_owned())),
            2 => Ok(None),
            _ => Err(io::Error::other("nobody knows")),
        }
    }

    fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>> {
        let details = |exe| ProcessDetails { exe, ppid: 1, argv: Vec::new() };
        Ok(self.executable(pid)?.map(details))
    }
}

impl Served {
    pub(in crate::rules) fn new(program: Program) -> Self {
        let (asks, answers) = UnixStream::pair().unwrap();
        let run = RunFacts { jail: None, processes: Arc::new(Programs) };
        let remote = Link::new(&program, asks).open(run).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let started = |started: Result<(), &io::Error>| {
                tell.send(started.map_err(io::Error::kind)).map_err(io::Error::other)
            };
            serve(&program, answers, started, stopped)
        });
        told.recv().unwrap().unwrap();
        Self { remote: Some(remote), thread: Some(thread), _stop: stop }
    }

    fn script(script: &str) -> Self {
        Self::script_within(PATIENT, script)
    }

    fn script_within(limit: Duration, script: &str) -> Self {
        Self::new(Program::script(script.as_ref()).unwrap().with_limit(limit))
    }

    fn lines(script: &str) -> Self {
        Self::lines_within(PATIENT, script)
    }

    fn lines_within(limit: Duration, script: &str) -> Self {
        let command = shell_words::join(["sh", "-c", script]);
        Self::new(Program::lines(command.as_ref()).unwrap().with_limit(limit))
    }

    fn begin(&self, facts: RequestFacts) -> Awaited {
        self.remote.as_ref().unwrap().ask(&Arc::new(facts))
    }

    pub(in crate::rules) fn decide(&self, facts: RequestFacts) -> Decision {
        block_on(self.begin(facts))
    }

    fn ask(&self, path: &str) -> Decision {
        self.decide(facts(path))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.remote.as_ref().unwrap().close();
        let ended = self.thread.take().unwrap().join();
        assert!(thread::panicking() || matches!(ended, Ok(Ok(()))), "{ended:?}");
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_script_allows_by_its_exit_status_and_says_why_not() {
    let served = Served::script(
        r#"case $HTTPJAIL_PATH in
            /ok) echo ignored;;
            /why) echo; echo "not $HTTPJAIL_HOST:$HTTPJAIL_PORT"; echo talk >&2; exit 3;;
            *) exit 1;;
        esac"#,
    );
    assert_eq!(served.ask("/ok"), ALLOWED);
    assert_eq!(served.ask("/why"), denied("not a.test:80"));
    assert_eq!(served.ask("/"), denied(""));
}

#[test]
fn a_script_that_is_a_file_is_run_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("rule");
    fs::write(&script, "#!/bin/sh\n[ \"$HTTPJAIL_METHOD\" = GET ] && [ $# = 0 ]\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let served = Served::new(Program::script(script.as_os_str()).unwrap());
    assert_eq!(served.ask("/"), ALLOWED);
    assert_eq!(served.decide(RequestFacts { method: "PUT".into(), ..facts("/") }), denied(""));
}

#[test]
fn a_script_that_fails_is_a_denial_that_tells_nothing() {
    for script in ["kill -9 $$", "exec /nowhere/program", "/nowhere/program x"] {
        assert_eq!(Served::script(script).ask("/"), failed(), "{script}");
    }
    let since = Instant::now();
    assert_eq!(Served::script_within(IMPATIENT, "sleep 60").ask("/"), failed());
    assert!(since.elapsed() >= IMPATIENT && since.elapsed() < PATIENT);
}

/// Waits until no process has `mark` among its arguments any more: what was killed takes a moment to
/// die.
fn await_end(mark: &str) {
    let lives = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut arguments =
            processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        arguments.any(|arguments| String::from_utf8_lossy(&arguments).contains(mark))
    };
    let since = Instant::now();
    while lives() {
        assert!(since.elapsed() < PATIENT, "{mark} lives");
    }
}

#[test]
fn a_scripts_children_end_with_it() {
    // In time, and too late.
    for (limit, script, decision, mark) in [
        (PATIENT, "sleep 61.731 & exit 0", ALLOWED, "61.731"),
        (IMPATIENT, "sleep 61.732 & sleep 61.732", failed(), "61.732"),
    ] {
        let served = Served::script_within(limit, script);
        assert_eq!(served.ask("/"), decision);
        await_end(mark);
    }
}

#[test]
fn what_a_script_says_is_bounded() {
    let served = Served::script("head -c 1000000 /dev/zero | tr '\\0' x; exit 1");
    let Decision::Deny(Denial { message: Some(message), .. }) = served.ask("/") else {
        panic!("a denial with a message");
    };
    assert_eq!(message.len(), 64 << 10);
}

#[test]
fn scripts_don_t_wait_for_each_other() {
    let served = Served::script("[ $HTTPJAIL_PATH = /ok ] || sleep 60");
    let hanging: Vec<_> = (0..8).map(|_| served.begin(facts("/hang"))).collect();
    let since = Instant::now();
    assert_eq!(served.ask("/ok"), ALLOWED);
    assert!(since.elapsed() < PATIENT, "{:?}", since.elapsed());
    drop(hanging);
}

#[test]
fn requests_are_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made");
    let file = file.to_str().unwrap();
    for path in [
        format!("/$(touch${{IFS}}{file})"),
        format!("/`touch {file}`"),
        format!("/';touch {file};'"),
        format!("/\";touch {file};\""),
        format!("/\n touch {file}\n"),
    ] {
        let script = Served::script(r#"echo "$HTTPJAIL_PATH"; exit 1"#);
        assert_eq!(script.ask(&path), denied(path.trim()));
        let lines = Served::lines(r#"while read -r line; do echo "no $line"; done"#);
        let Decision::Deny(denial) = lines.ask(&path) else { panic!("a denial") };
        assert!(denial.message.unwrap().starts_with("no {\"id\":1,"));
        assert!(!Path::new(file).exists(), "{path}");
    }
}

#[test]
fn a_nul_is_a_denial() {
    assert_eq!(Served::script("exit 0 # all").ask("/a\0b"), failed());
}

#[test]
fn a_process_that_cannot_be_looked_up_is_a_denial() {
    let by = |pid| {
        let process = Some(Process { pid, uid: 0, comm: "x".to_owned() });
        RequestFacts { process, ..facts("/") }
    };
    let served = Served::script("echo $HTTPJAIL_PID $HTTPJAIL_EXE; exit 1");
    assert_eq!(served.decide(by(1)), denied("1 /sbin/init"));
    assert_eq!(served.decide(by(2)), denied("2"));
    assert_eq!(served.decide(by(3)), failed());
}

#[test]
fn a_program_keeps_running() {
    let served = Served::lines("n=0; while read -r line; do n=$((n + 1)); echo $n now; done");
    for n in 1..=5 {
        assert_eq!(served.ask("/"), denied(&format!("{n} now")));
    }
}

#[test]
fn a_program_that_ends_is_replaced() {
    let served = Served::lines("read -r line; echo true");
    for _ in 0..3 {
        assert_eq!(served.ask("/"), ALLOWED);
    }
}

/// It does it the first time, and then as it should.
fn assert_second_chance(limit: Duration, failure: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = format!(
        "if mkdir {0}; then read -r line; {failure}; exit 1; fi
         while read -r line; do echo true; done",
        mark.display()
    );
    let served = Served::lines_within(limit, &script);
    assert_eq!(served.ask("/"), ALLOWED, "{failure}");
    assert_eq!(served.ask("/"), ALLOWED, "{failure}");
    drop(served);
    let script = format!("while read -r line; do {failure}; exit 1; done");
    assert_eq!(Served::lines_within(limit, &script).ask("/"), failed(), "{failure}");
}

#[test]
fn a_program_that_fails_has_a_second_chance() {
    for failure in [
        "exit 3",
        "echo",
        "printf tru",
        "exec >&-",
        "echo oops >&2; kill -9 $$",
        "head -c 100000 /dev/zero",
        "echo '{\"id\":99,\"allow\":true}'",
    ] {
        assert_second_chance(PATIENT, failure);
    }
    assert_second_chance(Duration::from_secs(2), "sleep 60");
}

#[test]
fn a_line_too_many_is_not_taken_for_the_next_answer() {
    let served = Served::lines("while read -r line; do printf 'no\\ntrue\\n'; done");
    for _ in 0..3 {
        assert_eq!(served.ask("/"), denied("no"));
    }
}

/// Answers with what `r.path` ends in, backwards: two at a time.
const BACKWARDS: &str = r#"
    id() { id=${1#*:}; id=${id%%,*}; }
    read -r line; id "$line"; echo "{\"id\":$id,\"deny_message\":\"first\"}"
    while read -r one && read -r two; do
        for line in "$two" "$one"; do id "$line"; echo "{\"id\":$id,\"deny_message\":\"$id\"}"; done
    done"#;

#[test]
fn a_program_that_tells_ids_has_several_requests_at_a_time() {
    let served = Served::lines(BACKWARDS);
    assert_eq!(served.ask("/"), denied("first"));
    let (two, three) = (served.begin(facts("/")), served.begin(facts("/")));
    assert_eq!(block_on(two), denied("2"));
    assert_eq!(block_on(three), denied("3"));
}

#[test]
fn a_program_that_does_not_read_is_given_up_in_time() {
    let served = Served::lines_within(IMPATIENT, "sleep 60");
    let path = "/".to_owned() + &"x".repeat(1 << 20);
    assert_eq!(served.ask(&path), failed());
}

#[test]
fn an_answer_that_nobody_waits_for_is_not_the_next_one_s() {
    let served = Served::lines("while read -r line; do sleep 0.05; echo \"$line\" x; done");
    drop(served.begin(facts("/gone")));
    let Decision::Deny(denial) = served.ask("/here") else { panic!("a denial") };
    assert!(denial.message.is_none_or(|message| !message.contains("/gone")));
}

#[test]
fn all_is_denied_when_nobody_runs_the_program_any_more() {
    let served = Served::lines("while read -r line; do [ -e /nowhere ]; done");
    let waiting = served.begin(facts("/"));
    served.remote.as_ref().unwrap().close();
    assert_eq!(block_on(waiting), failed());
    assert_eq!(served.ask("/"), failed());
}

#[test]
fn too_many_questions_are_denied() {
    let served = Served::lines("sleep 60");
    let mut waiting: Vec<_> = (0..5000).map(|_| served.begin(facts("/"))).collect();
    assert_eq!(block_on(waiting.pop().unwrap()), failed());
}
