//! Real processes in real cgroups. These tests need root.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::PermissionsExt, process::ExitStatusExt},
    },
    path::PathBuf,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tempfile::TempDir;

use super::{clone::fork, held::spawn_by, *};
use crate::backend::linux::{
    testing::{TestCgroup, wait_until_empty},
    user::Identity,
};

mod canary;
mod jail;

/// A cgroup to spawn into and a directory that everybody may write to.
struct Fixture {
    cgroup: TestCgroup,
    directory: TempDir,
    environment: Vec<(OsString, OsString)>,
    canary: Canary,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let output = directory.path().join("output").into();
        let path = ("PATH".into(), "/usr/bin:/bin".into());
        Self {
            cgroup: TestCgroup::new(),
            directory,
            environment: vec![path, ("OUTPUT".into(), output)],
            canary: Canary::default(),
        }
    }

    fn plan<'a>(&'a self, command: &'a str, args: &'a [OsString]) -> SpawnPlan<'a> {
        SpawnPlan {
            command: command.as_ref(),
            args,
            environment: &self.environment,
            cgroup: self.cgroup.fd(),
            identity: None,
            signals: Signals::capture(),
            folders: &[],
            files: &[],
            streams: &[],
            canary: &self.canary,
            sockets: &[],
            hidden: &[],
            privileges: Privileges::Refused,
        }
    }

    /// Runs a shell script to its end, with its output in the file `$OUTPUT`.
    fn run(&self, script: &str, identity: Option<&Identity>) -> (i32, String) {
        self.run_with(script, identity, Signals::capture())
    }

    fn run_with(
        &self,
        script: &str,
        identity: Option<&Identity>,
        signals: Signals,
    ) -> (i32, String) {
        let args = ["-c".into(), format!("exec >$OUTPUT\n{script}").into()];
        let plan = SpawnPlan { identity, signals, ..self.plan("sh", &args) };
        let status = spawn(plan).unwrap().held().unwrap().release().unwrap().wait().unwrap();
        (status.code().unwrap(), self.output())
    }

    fn output(&self) -> String {
        fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    fn output_path(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    fn exit_code(&self, command: &str) -> i32 {
        match spawn(self.plan(command, &[])).and_then(Unready::held).unwrap().release() {
            Ok(child) => child.wait().unwrap().code().unwrap(),
            Err(SpawnError::NotFound(_)) => 127,
            Err(SpawnError::NotExecutable { .. }) => 126,
            Err(other) => panic!("{other}"),
        }
    }

    fn executable(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn cgroup_of(pid: &str) -> PathBuf {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    PathBuf::from(path)
}

#[test]
fn is_born_in_the_cgroup_and_held_there() {
    let fixture = Fixture::new();
    let held = spawn(fixture.plan("true", &[])).unwrap().held().unwrap();
    let pid = held.pid().as_raw_nonzero().to_string();
    assert!(fixture.cgroup.path().ends_with(cgroup_of(&pid)));
    assert!(held.release().unwrap().wait().unwrap().success());
}

#[test]
fn enters_the_cgroup_by_itself_where_clone3_is_refused() {
    let fixture = Fixture::new();
    let args = ["-c".into(), "cat /proc/self/cgroup >$OUTPUT".into()];
    let mut held = spawn_by(fixture.plan("sh", &args), fork).unwrap();
    held.await_readiness().unwrap();
    let child = held.release().unwrap();
    assert!(child.wait().unwrap().success());
    let name = fixture.cgroup.path().file_name().unwrap().to_str().unwrap();
    assert!(fixture.output().contains(name), "{}", fixture.output());
}

#[test]
fn a_child_that_cannot_enter_the_cgroup_runs_nothing() {
    let fixture = Fixture::new();
    let wrong = File::open("/").unwrap();
    let args = ["-c".into(), "echo ran >$OUTPUT".into()];
    let mut plan = fixture.plan("sh", &args);
    plan.cgroup = wrong.as_fd();
    let error = spawn_by(plan, fork).unwrap().await_readiness().unwrap_err();
    assert!(matches!(error, SpawnError::Child { step: Step::EnterCgroup, .. }), "{error}");
    assert!(!fixture.output_path().exists());
}

#[test]
fn runs_nothing_when_the_gate_is_never_opened() {
    let fixture = Fixture::new();
    let args = ["-c".into(), "echo ran >$OUTPUT".into()];
    let held = spawn(fixture.plan("sh", &args)).unwrap().held().unwrap();
    let pid = held.pid();
    drop(held);
    assert_eq!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    assert!(!fixture.output_path().exists());
}

#[test]
fn the_command_has_no_descriptors_above_two() {
    let fixture = Fixture::new();
    // Not marked to be closed at exec, as a careless parent leaves them.
    let file = File::open("/dev/null").unwrap();
    // SAFETY: makes a descriptor that is closed below.
    let leaked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 100) };
    assert!(leaked >= 100);
    let (code, output) = fixture.run("ls /proc/$$/fd", None);
    // SAFETY: made above, and nobody else's.
    unsafe { libc::close(leaked) };
    // A shell may open its script or terminal at 10 and up, but not for `-c` without a terminal.
    let open: Vec<i32> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((code, open.as_slice()), (0, [0, 1, 2].as_slice()));
}

#[test]
fn becomes_the_user_without_a_way_back() {
    let fixture = Fixture::new();
    let alice = Identity::fixture();
    let script = "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status";
    let (code, output) = fixture.run(script, Some(&alice));
    let lines: Vec<Vec<&str>> =
        output.lines().map(|line| line.split_whitespace().collect()).collect();
    let zero = "0000000000000000";
    assert_eq!(code, 0);
    assert_eq!(
        lines,
        [
            ["Uid:", "65534", "65534", "65534", "65534"].as_slice(),
            &["Gid:", "65533", "65533", "65533", "65533"],
            &["Groups:", "1234", "65533"],
            &["CapPrm:", zero],
            &["CapEff:", zero],
            &["CapAmb:", zero],
            &["NoNewPrivs:", "1"],
        ]
    );
}

#[test]
fn a_set_user_id_program_gains_nothing() {
    let fixture = Fixture::new();
    let alice = Identity::fixture();
    let id = fixture.directory.path().join("id");
    fs::copy("/usr/bin/id", &id).unwrap();
    fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).unwrap();
    let script = format!("{} -u", id.display());
    let (_, output) = fixture.run(&script, Some(&alice));
    assert_eq!(output, "65534\n");
}

#[test]
fn reports_what_a_shell_would() {
    let fixture = Fixture::new();
    let table = [
        ("no-such-command".to_owned(), 127),
        ("/no/such/file".to_owned(), 127),
        ("/etc/passwd/below-a-file".to_owned(), 127),
        (String::new(), 127),
        ("/etc".to_owned(), 126),
        (fixture.executable("not-executable", "", 0o644), 126),
        (fixture.executable("script-without-a-first-line", "exit 42", 0o755), 42),
        (fixture.executable("script", "#!/bin/sh\nexit 43", 0o755), 43),
        ("true".to_owned(), 0),
    ];
    for (command, code) in table {
        assert_eq!(fixture.exit_code(&command), code, "{command}");
    }
}

#[test]
fn a_program_that_is_there_and_denied_beats_not_found() {
    let mut fixture = Fixture::new();
    fixture.executable("denied", "", 0o644);
    let path = format!("/no-such-directory:{}", fixture.directory.path().display());
    fixture.environment = vec![("PATH".into(), path.into())];
    assert_eq!(fixture.exit_code("denied"), 126);
}

#[test]
fn an_unformatted_script_gets_its_path_and_arguments() {
    let fixture = Fixture::new();
    let script = fixture.executable("script", r#"echo "$0|$1|$2" >$OUTPUT"#, 0o755);
    let args = ["a b".into(), "c".into()];
    let child = spawn(fixture.plan(&script, &args)).unwrap().held().unwrap().release().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fixture.output(), format!("{script}|a b|c\n"));
}

#[test]
fn restores_the_signals_of_the_caller() {
    let fixture = Fixture::new();
    let signals = Signals::capture();
    // SAFETY: tests of one process share dispositions; nothing else here uses these two.
    unsafe {
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
    }
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let (_, output) = fixture.run_with(script, None, signals);
    let ignoring = Signals::capture();
    let (_, inherited) = fixture.run_with(script, None, ignoring);
    // SAFETY: as above.
    unsafe {
        libc::signal(libc::SIGUSR1, libc::SIG_DFL);
        libc::signal(libc::SIGUSR2, libc::SIG_DFL);
    }
    let field = |output: &str, name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let users = (1 << (libc::SIGUSR1 - 1)) | (1 << (libc::SIGUSR2 - 1));
    let pipe = 1 << (libc::SIGPIPE - 1);
    assert_eq!(field(&output, "SigIgn:") & (users | pipe), 0, "{output}");
    assert_eq!(field(&inherited, "SigIgn:") & (users | pipe), users, "{inherited}");
    assert_eq!(field(&output, "SigBlk:"), 0, "{output}");
}

#[test]
fn tells_exit_codes_and_signals_apart() {
    let fixture = Fixture::new();
    let status = |script: &str| {
        let args = ["-c".into(), script.into()];
        spawn(fixture.plan("sh", &args)).unwrap().held().unwrap().release().unwrap().wait().unwrap()
    };
    assert_eq!(status("exit 7").code(), Some(7));
    assert_eq!(status("kill -TERM $$").signal(), Some(libc::SIGTERM));
    assert_eq!(status("exit 7").signal(), None);
}

#[test]
fn a_signal_while_held_ends_the_child_before_the_command() {
    let fixture = Fixture::new();
    let args = ["-c".into(), "echo ran >$OUTPUT".into()];
    let held = spawn(fixture.plan("sh", &args)).unwrap().held().unwrap();
    kill_process(held.pid(), Signal::TERM).unwrap();
    let status = held.release().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGTERM));
    assert!(!fixture.output_path().exists());
}

#[test]
fn kill_of_the_parent_ends_the_child() {
    dies_with_its_parent(None);
    dies_with_its_parent(Some(&Identity::fixture()));
}

/// The parent is a process of its own: it spawns a sleeper, says so and is killed.
fn dies_with_its_parent(identity: Option<&Identity>) {
    let fixture = Fixture::new();
    let args = ["60".into()];
    let plan = SpawnPlan { identity, ..fixture.plan("sleep", &args) };
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY: the forked process spawns, writes to the pipe and waits to be killed. It allocates
    // meanwhile, which glibc keeps working after a fork.
    let parent = unsafe { libc::fork() };
    if parent == 0 {
        let word = match spawn(plan).and_then(Unready::held).and_then(HeldChild::release) {
            Ok(_) => b"runs",
            Err(_) => b"fail",
        };
        // SAFETY: four bytes of a valid buffer; then this process only waits.
        unsafe {
            libc::write(writer.as_raw_fd(), word.as_ptr().cast(), word.len());
            loop {
                libc::pause();
            }
        }
    }
    drop(writer);
    let mut word = [0; 4];
    reader.read_exact(&mut word).unwrap();
    let parent = Pid::from_raw(parent).unwrap();
    kill_process(parent, Signal::KILL).unwrap();
    waitpid(Some(parent), WaitOptions::empty()).unwrap();
    assert_eq!(&word, b"runs");
    wait_until_empty(fixture.cgroup.path());
}
