//! Init, the view of the file systems, and what neither lets the command do.

use std::process;

use super::*;

#[test]
fn init_shows_its_name_and_nothing_of_its_parent() {
    let fixture = Fixture::new();
    let script = "tr '\\0' '|' < /proc/1/cmdline; echo; cat /proc/1/comm; echo /proc/[0-9]*";
    let (code, output) = fixture.run(script, None);
    // The shell is the second process of the jail, and executes nothing here; `tr` and `cat` end.
    assert_eq!((code, output.as_str()), (0, "httpjail-init|\nhttpjail-init\n/proc/1 /proc/2\n"));
}

#[test]
fn nobody_in_the_jail_looks_into_init() {
    let fixture = Fixture::new();
    for identity in [None, Some(Identity::fixture())] {
        for file in ["environ", "mem", "root/"] {
            let script =
                format!("head -c 1 /proc/$$/environ; ls -d /proc/1/{file} && cat /proc/1/{file}");
            let (code, output) = fixture.run(&script, identity.as_ref());
            assert_ne!(code, 0, "{file}: {output}");
        }
    }
}

#[test]
fn what_the_command_left_behind_ends_with_it() {
    let fixture = Fixture::new();
    // The inner shell ends, so that init gets the sleeper, in a session of its own.
    let script = "(setsid sh -c 'echo $$; exec sleep 1000' & ) < /dev/null 2> /dev/null; exit 3";
    let (code, _) = fixture.run(script, None);
    assert_eq!(code, 3);
    wait_until_empty(fixture.cgroup.path());
}

#[test]
fn orphans_leave_no_zombies() {
    let fixture = Fixture::new();
    // The orphan writes after its parent has ended; once it is reaped, kill finds it no more.
    let script = "sh -c 'sh -c \"exec sleep 0.01\" & echo $!' > $OUTPUT.pid
        read orphan < $OUTPUT.pid
        while kill -0 $orphan 2> /dev/null; do :; done; echo gone";
    let (code, output) = fixture.run(script, None);
    assert_eq!((code, output.as_str()), (0, "gone\n"));
}

#[test]
fn a_caller_that_ignores_its_children_gets_the_status_all_the_same() {
    let fixture = Fixture::new();
    // SAFETY: every test is a process of its own.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let signals = Signals::capture();
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let (code, _) = fixture.run_with("exit 9", None, signals);
    assert_eq!(code, 9);
}

#[test]
fn hands_signals_to_the_command_by_init() {
    let fixture = Fixture::new();
    let script = "trap 'echo caught > $OUTPUT; exit 5' USR1; echo > $READY; while :; do read x < $READY; done";
    let ready = fixture.directory.path().join("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &ready, 0o600.into()).unwrap();
    let environment = [fixture.environment.clone(), vec![("READY".into(), ready.clone().into())]];
    let environment = environment.concat();
    let args = ["-c".into(), script.into()];
    let plan = SpawnPlan { environment: &environment, ..fixture.plan("sh", &args) };
    let child = spawn(plan).unwrap().held().unwrap().release().unwrap();
    File::open(&ready).unwrap().read_exact(&mut [0]).unwrap();
    child.signal(libc::SIGUSR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(fixture.output(), "caught\n");
}

#[test]
fn the_death_of_init_ends_the_command() {
    let fixture = Fixture::new();
    let args = ["1000".into()];
    let child = spawn(fixture.plan("sleep", &args)).unwrap().held().unwrap().release().unwrap();
    kill_process(child.pid(), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    wait_until_empty(fixture.cgroup.path());
}

#[test]
fn finds_settings_and_processes_wherever_they_are_mounted() {
    let fixture = Fixture::new();
    // SAFETY: unshare takes flags alone; this thread's mounts are its own from here on.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    mount("none", "/", None, libc::MS_REC | libc::MS_PRIVATE);
    for kind in ["proc", "cgroup2"] {
        let place = fixture.directory.path().join(kind);
        fs::create_dir(&place).unwrap();
        mount("none", place.to_str().unwrap(), Some(kind), 0);
    }
    let script = "cd ${OUTPUT%/*}
        echo $(ls proc | grep '^[0-9]')
        mkdir cgroup2/httpjail-test-made 2>&1";
    let twin = process::Command::new("sh")
        .args(["-c", script])
        .envs(fixture.environment.clone())
        .output()
        .unwrap();
    fs::remove_dir(fixture.directory.path().join("cgroup2/httpjail-test-made")).unwrap();
    assert!(twin.stdout.len() > 20, "without a jail all show: {twin:?}");
    let (_, output) = fixture.run(script, None);
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[0].starts_with("1 2") && lines[0].len() < 10, "{output}");
    assert!(lines[1].contains("Read-only"), "{output}");
}

fn mount(source: &str, target: &str, kind: Option<&str>, flags: libc::c_ulong) {
    let text = |text: &str| std::ffi::CString::new(text).unwrap();
    let (source, target, kind) = (text(source), text(target), kind.map(text));
    let kind = kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: all strings are NUL-terminated and outlive the call.
    let done =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}
