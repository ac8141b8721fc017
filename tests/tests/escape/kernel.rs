//! What undoes the jail from within the kernel: cgroups, programs, rules, devices, settings.

use std::path::Path;

use httpjail_tests::{Invocation, Lab, cgroup};

use crate::trial::{Who, assert_refused};

/// A shell script prints `done` when `free` runs it without a jail, and in no jail.
fn assert_never_done(lab: &Lab, free: Who, script: &str) {
    let done = |place: Invocation<'_>| place.sh(script).stdout.contains("done");
    assert!(done(free.outside(lab)), "{script}: not done without a jail");
    for who in Who::BOTH {
        assert!(!done(who.jail(lab)), "{script}: done in a jail by {who:?}");
    }
}

#[test]
fn a27_calls_of_32_bit_programs() {
    let lab = Lab::new();
    assert_refused(&lab, Who::User, &[libc::ENOSYS], &[&["foreign-socket"]]);
    lab.assert_clean();
}

/// It is only opened: nothing is moved, should the jail fail.
#[test]
fn b01_writing_cgroup_procs() {
    let lab = Lab::new();
    let other = lab.cgroup().child("other");
    let errno = [libc::EROFS, libc::EACCES, libc::EPERM];
    for cgroup in [other.path(), &cgroup::mount()] {
        let procs = cgroup.join("cgroup.procs");
        assert_refused(&lab, Who::Root, &errno, &[&["open", procs.to_str().expect("UTF-8")]]);
    }
    drop(other);
    lab.assert_clean();
}

#[test]
fn b02_fresh_cgroup_mount() {
    let lab = Lab::new();
    std::fs::create_dir(lab.home().join("own")).expect("the home is there");
    let mount = "mount -t cgroup2 none own && echo done";
    assert_never_done(&lab, Who::Root, &format!("unshare -m sh -c '{mount}'"));
    for who in Who::BOTH {
        for way in ["sh", "unshare -Urm sh", "unshare -UrmC sh"] {
            let jailed = who.jail(&lab).sh(&format!("{way} -c '{mount}'"));
            assert!(!jailed.stdout.contains("done"), "{way}: {jailed:?}");
        }
    }
    lab.assert_clean();
}

#[test]
fn b03_clone_into_cgroup() {
    let lab = Lab::new();
    let other = lab.cgroup().child("other");
    let act = ["clone-into", other.path().to_str().expect("UTF-8")];
    assert_refused(&lab, Who::Root, &[libc::ENOSYS], &[&act]);
    drop(other);
    lab.assert_clean();
}

/// The first step of every way to detach a program or to write a map.
#[test]
fn b04_bpf_calls() {
    let lab = Lab::new();
    assert_refused(&lab, Who::Root, &[libc::EPERM], &[&["bpf"]]);
    lab.assert_clean();
}

#[test]
fn b06_nftables_flush() {
    let lab = Lab::new();
    let make = "nft add table inet escape";
    lab.outside().sh(&format!("{make}; nft flush ruleset")).exits(0);
    assert!(lab.tables().is_empty(), "without a jail all tables go");
    lab.outside().sh(make).exits(0);
    for who in Who::BOTH {
        for act in ["nft flush ruleset", "nft delete table inet httpjail"] {
            let jailed = who.jail(&lab).sh(act);
            assert_ne!(jailed.code, Some(0), "{act} as {who:?}: {jailed:?}");
            assert_eq!(lab.tables(), ["table inet escape", "table inet httpjail"], "{act}");
        }
    }
    lab.outside().sh("nft delete table inet escape").exits(0);
    lab.assert_clean();
}

#[test]
fn b09_tunnels_and_routes() {
    let lab = Lab::new();
    for (make, take) in [
        ("ip tuntap add dev escape0 mode tun", "ip link delete escape0"),
        (
            "ip link add escape1 type vxlan id 7 remote 45.67.89.2 dstport 4789",
            "ip link delete escape1",
        ),
        ("ip route add 45.67.90.0/24 via 45.67.89.2", "ip route delete 45.67.90.0/24"),
        ("ip rule add from 127.0.0.1 table 99", "ip rule delete table 99"),
    ] {
        assert_never_done(&lab, Who::Root, &format!("{make} && {take} && echo done"));
    }
    lab.assert_clean();
}

#[test]
fn b10_entering_namespaces() {
    let lab = Lab::new();
    for (option, namespace) in [("net", "net"), ("mount", "mnt"), ("cgroup", "cgroup")] {
        let enter = format!("nsenter --{option}=/proc/self/ns/{namespace} echo done");
        assert_never_done(&lab, Who::Root, &enter);
    }
    lab.assert_clean();
}

/// They are only opened: nothing is written, should the jail fail.
#[test]
fn b11_settings_that_start_programs() {
    let lab = Lab::new();
    let errno = [libc::EROFS, libc::EACCES, libc::EPERM];
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward"] {
        assert_refused(&lab, Who::Root, &errno, &[&["open", path]]);
    }
    // Where cgroups of the first version are mounted, the kernel starts a program of theirs.
    let agent = "/sys/fs/cgroup/memory/release_agent";
    if Path::new(agent).exists() {
        assert_refused(&lab, Who::Root, &errno, &[&["open", agent]]);
    }
    lab.assert_clean();
}

/// Devices whose mere opening does nothing. (No disk of the machine's, though it would be the same.)
const DEVICES: [&str; 6] = ["btrfs-control", "fuse", "kmsg", "kvm", "loop-control", "loop0"];

/// They are only opened, and for reading: nothing is done with them, should the jail fail.
#[test]
fn b11_devices_of_the_machine() {
    let lab = Lab::new();
    let devices = DEVICES.map(|name| format!("/dev/{name}"));
    let there: Vec<_> = devices.iter().filter(|path| Path::new(path).exists()).collect();
    assert!(!there.is_empty(), "every machine has kernel messages");
    let errno = [libc::EPERM, libc::EACCES];
    for path in there {
        assert_refused(&lab, Who::Root, &errno, &[&["open-read", path]]);
    }
    // By a path of its own, and with a mode that keeps nobody out.
    let zero = lab.home().join("zero");
    let messages = lab.home().join("messages");
    let (zero, messages) = (zero.to_str().expect("UTF-8"), messages.to_str().expect("UTF-8"));
    let make = format!("mknod -m 666 {messages} c 1 11 && mknod -m 666 {zero} c 1 5");
    lab.outside().sh(&make).exits(0);
    assert_refused(&lab, Who::Root, &[libc::EPERM], &[&["open-read", messages]]);
    for who in Who::BOTH {
        let jailed = who.jail(&lab).probe(["open-read", zero]).exits(0).report();
        assert_eq!(jailed["ok"], true, "a plain device, as {who:?}: {jailed}");
    }
    lab.assert_clean();
}

#[test]
fn b17_privileged_socket_options() {
    let lab = Lab::new();
    let acts = [
        ["option", "4", "0", "19", "1"],  // IP_TRANSPARENT
        ["option", "6", "41", "75", "1"], // IPV6_TRANSPARENT
        ["option", "4", "1", "36", "1"],  // SO_MARK
        ["option", "6", "1", "36", "1"],  // SO_MARK
        ["option", "4", "6", "19", "1"],  // TCP_REPAIR
    ];
    for act in acts {
        assert_refused(&lab, Who::Root, &[libc::EPERM], &[&act]);
    }
    lab.assert_clean();
}

#[test]
fn b22_netlink() {
    let lab = Lab::new();
    let socket = |protocol: &str| {
        format!("python3 -c 'import socket as s; s.socket(s.AF_NETLINK, s.SOCK_RAW, {protocol})'")
    };
    // Diagnosis (which ends connections), netfilter, generic, user sockets.
    for protocol in ["4", "12", "16", "2"] {
        assert_never_done(&lab, Who::User, &format!("{} && echo done", socket(protocol)));
    }
    let address = "ip addr add 45.67.90.1/32 dev lab-c && ip addr delete 45.67.90.1/32 dev lab-c";
    assert_never_done(&lab, Who::Root, &format!("{address} && echo done"));
    lab.assert_clean();
}
