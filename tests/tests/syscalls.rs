//! System calls that lead past the jail.

use std::collections::BTreeMap;

use httpjail_tests::{Invocation, Lab};

/// Stands for what the call before has returned: a descriptor, for example.
const RETURNED: i64 = i64::MIN;

/// Does calls of the form `NAME NUMBER ARGUMENT…` and prints each one's name and error.
const CALLER: &str = r#"
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
done = -1
for line in sys.stdin:
    name, *numbers = line.split()
    numbers = (done if number == "returned" else int(number) for number in numbers)
    done = libc.syscall(*(ctypes.c_long(number) for number in numbers))
    print(name, "done" if done >= 0 else errno.errorcode[ctypes.get_errno()])
"#;

/// What became of each call.
fn call(place: &Invocation<'_>, calls: &[(&str, Vec<i64>)]) -> BTreeMap<String, String> {
    let mut caller = place.start(["python3", "-c", CALLER]);
    for (name, numbers) in calls {
        let word = |number: &i64| match *number {
            RETURNED => "returned".to_owned(),
            number => number.to_string(),
        };
        let numbers: Vec<_> = numbers.iter().map(word).collect();
        caller.write(&format!("{name} {}\n", numbers.join(" ")));
    }
    let called = caller.finish().exits(0);
    let pairs = called.stdout.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, error)| (name.to_owned(), error.to_owned())).collect()
}

/// Calls that can't succeed, but get past the question whether they are permitted.
fn refused() -> Vec<(&'static str, Vec<i64>)> {
    vec![
        ("bpf", vec![libc::SYS_bpf, 0xffff, 0, 0]),
        ("finit_module", vec![libc::SYS_finit_module, -1, 0, 0]),
        ("fsopen", vec![libc::SYS_fsopen, 0, 0]),
        ("io_uring_setup", vec![libc::SYS_io_uring_setup, 0, 0]),
        ("keyctl", vec![libc::SYS_keyctl, -1, 0]),
        ("mount", vec![libc::SYS_mount, 0, 0, 0, 0, 0]),
        ("mount_setattr", vec![libc::SYS_mount_setattr, -1, 0, 0, 0, 0]),
        ("open_by_handle_at", vec![libc::SYS_open_by_handle_at, -1, 0, 0]),
        ("open_tree", vec![libc::SYS_open_tree, -1, 0, 0]),
        ("perf_event_open", vec![libc::SYS_perf_event_open, 0, 0, -1, -1, 0]),
        ("pidfd_getfd", vec![libc::SYS_pidfd_getfd, -1, 0, 0]),
        ("process_vm_readv", vec![libc::SYS_process_vm_readv, 0, 0, 0, 0, 0, 1]),
        (
            "attach_reuseport_cbpf",
            vec![libc::SYS_setsockopt, -1, libc::SOL_SOCKET.into(), 51, 0, 0],
        ),
        (
            "attach_reuseport_ebpf",
            vec![libc::SYS_setsockopt, -1, libc::SOL_SOCKET.into(), 52, 0, 0],
        ),
        ("setns", vec![libc::SYS_setns, -1, 0]),
        ("umount2", vec![libc::SYS_umount2, 0, 0]),
        ("userfaultfd", vec![libc::SYS_userfaultfd, -1]),
    ]
}

#[test]
fn refuses_calls_that_lead_out() {
    let lab = Lab::new();
    let calls = refused();
    let twin = call(&lab.outside(), &calls);
    assert_eq!(twin.len(), calls.len());
    for (name, error) in twin {
        assert_ne!(error, "EPERM", "{name} without a jail");
    }
    for jail in [lab.jail(), lab.jail().as_user()] {
        for (name, error) in call(&jail, &calls) {
            assert_eq!(error, "EPERM", "{name}");
        }
    }
    lab.assert_clean();
}

#[test]
fn refuses_sockets_that_no_hook_sees() {
    let lab = Lab::new();
    let socket = |family: i32, kind: i32, protocol: i64| {
        vec![libc::SYS_socket, family.into(), kind.into(), protocol]
    };
    let calls = [
        ("unix", socket(libc::AF_UNIX, libc::SOCK_STREAM, 0), "done", "done"),
        ("route", socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), "done", "done"),
        ("uevent", socket(libc::AF_NETLINK, libc::SOCK_RAW, 15), "done", "EPROTONOSUPPORT"),
        ("packet", socket(libc::AF_PACKET, libc::SOCK_RAW, 0), "done", "EAFNOSUPPORT"),
        ("vsock", socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0), "done", "EAFNOSUPPORT"),
        ("raw", socket(libc::AF_INET, libc::SOCK_RAW, 255), "done", "EPERM"),
    ];
    let list: Vec<_> = calls.iter().map(|(name, call, ..)| (*name, call.clone())).collect();
    let twin = call(&lab.outside(), &list);
    let jails = [lab.jail(), lab.jail().as_user()].map(|jail| call(&jail, &list));
    for (name, _, outside, inside) in calls {
        assert_eq!(twin[name], outside, "{name} without a jail");
        for jailed in &jails {
            assert_eq!(jailed[name], inside, "{name}");
        }
    }
    lab.assert_clean();
}

#[test]
fn cannot_take_over_a_process_outside() {
    let lab = Lab::new();
    let outside = lab.outside().as_user().start_probe(["hang"]);
    outside.line("hanging");
    let pid = i64::from(outside.pid());
    const SEIZE: i64 = 0x4206;
    let calls = [
        ("kill", vec![libc::SYS_kill, pid, 0]),
        ("pidfd_open", vec![libc::SYS_pidfd_open, pid, 0]),
        ("pidfd_getfd", vec![libc::SYS_pidfd_getfd, RETURNED, 0, 0]),
        ("ptrace", vec![libc::SYS_ptrace, SEIZE, pid, 0, 0]),
    ];
    for (name, error) in call(&lab.outside().as_user(), &calls) {
        assert_eq!(error, "done", "{name} without a jail");
    }
    for jail in [lab.jail(), lab.jail().as_user()] {
        for (name, error) in call(&jail, &calls) {
            let wanted = if name == "pidfd_getfd" { "EPERM" } else { "ESRCH" };
            assert_eq!(error, wanted, "{name}");
        }
    }
    drop(outside);
    lab.assert_clean();
}

#[test]
fn leaves_debuggers_their_own_children() {
    let lab = Lab::new();
    let trace = "strace -qq -e trace=exit_group -o trace true && cat trace; rm -f trace";
    for place in [lab.outside(), lab.jail(), lab.jail().as_user()] {
        let traced = place.sh(trace).exits(0);
        assert!(traced.stdout.contains("exit_group(0)"), "{traced:?}");
    }
    lab.assert_clean();
}

#[test]
fn leaves_the_tools_of_user_accounts_working() {
    let lab = Lab::new();
    // By libaudit and PAM, which ask netlink for the audit system.
    for place in [lab.outside(), lab.jail()] {
        let run = place.sh("runuser -u nobody -- id -un").exits(0);
        assert_eq!(run.stdout, "nobody\n");
    }
    lab.assert_clean();
}
