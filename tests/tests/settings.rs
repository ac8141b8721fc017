//! The kernel's settings, cgroups first of all, can be read in a jail and not written, by root
//! either.

use httpjail_tests::{Invocation, Lab, cgroup};

/// Writes what a file holds back to it, and says whether that went well.
fn write_back(place: &Invocation<'_>, path: &str) -> String {
    let script =
        format!("content=$(cat {path}) && printf %s \"$content\" > {path} && echo written");
    place.sh(&script).stdout
}

#[test]
fn keeps_root_in_its_cgroup() {
    let lab = Lab::new();
    let other = lab.cgroup().child("other");
    let script = format!("echo $$ > {}/cgroup.procs && echo moved", other.path().display());
    assert_eq!(lab.outside().sh(&script).exits(0).stdout, "moved\n", "without a jail");
    for script in [
        script.clone(),
        // By another mount of the same hierarchy.
        format!(
            "mkdir own; mount -t cgroup2 none own; {}",
            script.replace(&cgroup::mount().display().to_string(), "own")
        ),
        format!("mount -o remount,rw {}; {script}", cgroup::mount().display()),
        format!("umount -l /sys; umount -l {}; {script}", cgroup::mount().display()),
        format!("unshare -m sh -c 'umount -l {}; {script}'", cgroup::mount().display()),
    ] {
        let jailed = lab.jail().sh(&script);
        assert_eq!(jailed.stdout, "", "{script}: {jailed:?}");
    }
    drop(other);
    lab.outside().sh("rmdir own").exits(0);
    lab.assert_clean();
}

/// Runs trust what earlier ones have left there.
#[test]
fn leaves_no_word_for_other_runs() {
    let lab = Lab::new();
    let folder = format!("/run/httpjail/of-{}", std::process::id());
    let script = format!("mkdir {folder} && echo made; rmdir {folder}");
    lab.jail().sh("true").exits(0);
    assert_eq!(lab.outside().sh(&script).stdout, "made\n", "without a jail");
    for script in [
        script.clone(),
        format!("mount -o remount,rw /run/httpjail; {script}"),
        format!("umount -l /run/httpjail; {script}"),
    ] {
        let jailed = lab.jail().sh(&script);
        assert_eq!(jailed.stdout, "", "{script}: {jailed:?}");
        assert!(!std::path::Path::new(&folder).exists(), "{script}");
    }
    lab.assert_clean();
}

#[test]
fn keeps_the_kernels_settings() {
    let lab = Lab::new();
    for path in ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/core_pattern"] {
        assert_eq!(write_back(&lab.outside(), path), "written\n", "without a jail");
        assert_eq!(write_back(&lab.jail(), path), "", "{path}");
        lab.jail().sh(&format!("cat {path}")).exits(0);
    }
    lab.assert_clean();
}

/// What is mounted over `/proc` does not cover it for who is in it already.
#[test]
fn keeps_the_kernels_settings_from_a_folder_of_theirs() {
    let lab = Lab::new();
    for (folder, path) in [
        ("/proc", "sys/net/ipv4/ip_forward"),
        ("/proc/sys/net/ipv4", "ip_forward"),
        ("/proc/sys/net/ipv4", "/proc/self/cwd/ip_forward"),
    ] {
        let written = |place: Invocation<'_>| write_back(&place.in_folder(folder), path);
        assert_eq!(written(lab.outside()), "written\n", "without a jail");
        assert_eq!(written(lab.jail()), "", "{folder} {path}");
        lab.jail().in_folder(folder).sh(&format!("cat {path}")).exits(0);
    }
    let processes = "set -- [0-9]*; echo $#; set -- /proc/[0-9]*; echo $#";
    let listed = lab.jail().in_folder("/proc").sh(processes).exits(0).stdout;
    assert!(matches!(listed.lines().collect::<Vec<_>>()[..], [one, other] if one == other));
    lab.assert_clean();
}

#[test]
fn leaves_plain_devices() {
    let lab = Lab::new();
    let script = "for name in null zero full random urandom ptmx; do
        : < /dev/$name || exit 1; : > /dev/$name || exit 1
    done
    script -qec 'echo out > /dev/stdout; echo err > /dev/stderr; : < /dev/tty' /dev/null";
    for jail in [lab.jail(), lab.jail().as_user()] {
        let jailed = jail.sh(script).exits(0);
        assert_eq!(jailed.stdout.replace('\r', ""), "out\nerr\n", "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn hides_devices_that_carry_packets() {
    let lab = Lab::new();
    for device in ["/dev/net/tun", "/dev/vsock", "/dev/vhost-net", "/dev/vhost-vsock"] {
        let kind = format!("stat -c %t:%T {device}");
        let twin = lab.outside().sh(&kind);
        if twin.code == Some(0) {
            assert_eq!(lab.jail().sh(&kind).exits(0).stdout, "1:3\n", "{device} is /dev/null");
        }
    }
    let tun = "python3 -c 'import os; os.open(\"/dev/net/tun\", os.O_RDWR); print(\"open\")'";
    let made = "mkdir -p dev; mknod dev/tun c 10 200 && ";
    let open = tun.replace("/dev/net/tun", "dev/tun");
    let own = lab.jail().sh(&format!("{made}{open}"));
    assert_eq!(own.stdout, "", "{own:?}");
    lab.assert_clean();
}
