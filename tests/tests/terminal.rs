//! Job control in a terminal is what it is without a jail.

use httpjail_tests::{Lab, Running, programs};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";

/// The ways to run a command: without a jail, in one, and told of the proxy alone.
fn ways() -> [String; 3] {
    let httpjail = programs::httpjail();
    let with = |options| format!("{} {options} -- ", httpjail.display());
    [String::new(), with("--js true"), with("--weak --js true")]
}

/// Runs a command line with a terminal of its own, whose keyboard is the standard input. A shell
/// reads the line first; `exec` takes it out of the way of the keys.
fn on_terminal(lab: &Lab, line: &str) -> Running {
    let script = programs::require("script");
    lab.outside().start([script.as_os_str(), "-qefc".as_ref(), line.as_ref(), "/dev/null".as_ref()])
}

/// An interactive shell on a terminal, ready for input.
fn shell(lab: &Lab, way: &str) -> Running {
    let mut shell = on_terminal(lab, &format!("exec {way}bash --norc -i"));
    // What is typed is shown, too: the marks are written so that only their output matches.
    shell.write("PS1=; echo shell-is-'ready'\n");
    shell.line("shell-is-ready");
    shell
}

#[test]
fn ends_the_command_at_the_keys_that_end_commands() {
    let lab = Lab::new();
    for way in ways() {
        for (key, code) in [(CTRL_C, 130), (CTRL_BACKSLASH, 131)] {
            let command = "sh -c 'ulimit -c 0; echo ready; exec sleep 1000'";
            let mut jailed = on_terminal(&lab, &format!("exec {way}{command}"));
            jailed.line("ready");
            jailed.write(key);
            jailed.finish().exits(code);
        }
    }
    lab.assert_clean();
}

#[test]
fn leaves_the_key_to_a_command_that_wants_it() {
    let lab = Lab::new();
    for way in ways() {
        let script = "trap 'echo caught' INT; echo ready
            until read -r line; do :; done; echo got $line; exit 6";
        std::fs::write(lab.home().join("wants-it"), script).expect("the home is there");
        let mut jailed = on_terminal(&lab, &format!("exec {way}bash wants-it"));
        jailed.line("ready");
        jailed.write(CTRL_C);
        jailed.write("a line\n");
        let jailed = jailed.finish().exits(6);
        assert_eq!(jailed.stdout.matches("caught").count(), 1, "{jailed:?}");
        assert!(jailed.stdout.contains("got a line"), "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn stops_and_goes_on_in_the_callers_shell() {
    let lab = Lab::new();
    for way in ways() {
        let mut shell = shell(&lab, "");
        // It reads nothing: what is typed for the shell can't be taken by one that is yet to stop.
        let script = "echo is-\"started\"; until [ -e go ]; do :; done; echo goes-\"on\"; exit 4";
        std::fs::write(lab.home().join("waits"), script).expect("the home is there");
        shell.write(&format!("{way}sh waits\n"));
        shell.line("is-started");
        shell.write(CTRL_Z);
        shell.line("Stopped");
        shell.write("touch go; echo the-shell-'reads'\n");
        shell.line("the-shell-reads");
        shell.write("fg\n");
        shell.line("goes-on");
        shell.write("code=$?; rm go; exit $code\n");
        shell.finish().exits(4);
    }
    lab.assert_clean();
}

#[test]
fn gives_job_control_to_a_shell_in_the_jail() {
    let lab = Lab::new();
    for way in ways() {
        let mut shell = shell(&lab, &way);
        shell.write("sh -c 'echo is-\"started\"; exec sleep 1000'\n");
        shell.line("is-started");
        shell.write(CTRL_Z);
        shell.line("Stopped");
        shell.write("bg; kill %1; wait %1; echo status-\"$?\"\n");
        shell.line("status-143");
        shell.write("sh -c 'echo is-\"again\"; exec sleep 1000'\n");
        shell.line("is-again");
        shell.write(CTRL_C);
        shell.write("exit 5\n");
        let ended = shell.finish().exits(5);
        assert!(!ended.stdout.contains("no job control"), "{ended:?}");
    }
    lab.assert_clean();
}

#[test]
fn shows_the_terminals_size() {
    let lab = Lab::new();
    for way in ways() {
        let command = format!("stty rows 33 cols 77; {way}stty size");
        let jailed = on_terminal(&lab, &command).finish().exits(0);
        assert!(jailed.stdout.contains("33 77"), "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn types_nothing_into_the_callers_shell() {
    let lab = Lab::new();
    let inject = "import fcntl, termios
for key in b'echo typed-by-the-$((40+2))\\n':
    fcntl.ioctl(0, termios.TIOCSTI, bytes([key]))
";
    std::fs::write(lab.home().join("inject.py"), inject).expect("the home is there");
    for (way, wanted) in ways().into_iter().zip([true, false]) {
        let mut shell = shell(&lab, "");
        shell.write(&format!("{way}python3 inject.py; echo status-\"$?\"\n"));
        shell.line(if wanted { "status-0" } else { "status-1" });
        shell.write("exit 0\n");
        let seen = shell.finish().exits(0).stdout;
        assert_eq!(seen.contains("typed-by-the-42"), wanted, "{seen}");
        assert_eq!(seen.contains("PermissionError"), !wanted, "{seen}");
    }
    lab.assert_clean();
}
