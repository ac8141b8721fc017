use std::fs;

use super::*;

const MOUNTS: &str = r"22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 master:3 - cgroup2 cgroup2 rw
42 27 0:38 / /cg\040roups rw,relatime - cgroup2 cgroup2 rw
43 27 0:21 / /srv/chroot/proc rw,relatime - proc proc rw
44 22 0:50 / /proc/sys/fs/binfmt_misc rw,relatime - binfmt_misc none rw
45 27 0:51 /docker.sock /var/run/docker.sock rw - tmpfs tmpfs rw
46 27 0:51 /folder /mnt/folder rw - tmpfs tmpfs rw
";
const SOCKETS: &str = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20786 /run/dbus/system_bus_socket
0000000000000000: 00000003 00000000 00000000 0001 03 20787 /run/dbus/system_bus_socket
0000000000000000: 00000002 00000000 00000000 0002 01 20788 /run/systemd/notify
0000000000000000: 00000003 00000000 00000000 0001 03 20789
0000000000000000: 00000002 00000000 00010000 0001 01 20790 @/tmp/.X11-unix/X0
0000000000000000: 00000002 00000000 00010000 0005 01 20791 /home/a b/control  socket
0000000000000000: 00000002 00000000 00010000 0001 01 20792 relative
0000000000000000: 00000002 00000000 00010000 0001 01 20793 /run/gone
0000000000000000: 00000003 00000000 00000000 0001 03 20794 /run/accepted
";

fn text(paths: &[CString]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

fn planned() -> View {
    let sockets = [
        "/run/dbus/system_bus_socket",
        "/run/systemd/notify",
        "/home/a b/control  socket",
        "/var/run/docker.sock",
        "/run/accepted",
    ];
    let is_socket = |path: &Path| sockets.iter().any(|socket| Path::new(socket) == path);
    View::of(MOUNTS.as_bytes(), SOCKETS.as_bytes(), is_socket)
}

#[test]
fn makes_the_kernels_settings_read_only() {
    let view = planned();
    assert_eq!(text(&view.read_only_trees), ["/sys"]);
    assert_eq!(text(&view.read_only), ["/cg roups"]);
    assert_eq!(text(&view.foreign_proc), ["/srv/chroot/proc"]);
}

#[test]
fn names_each_mount_where_sys_is_none() {
    let mounts = MOUNTS.replace("0:22 / /sys rw", "0:22 / /elsewhere rw");
    let view = View::of(mounts.as_bytes(), b"", |_| false);
    assert_eq!(text(&view.read_only_trees), [""; 0]);
    assert_eq!(text(&view.read_only), ["/elsewhere", "/sys/fs/cgroup", "/cg roups"]);
}

#[test]
fn masks_what_others_can_speak_to() {
    let view = planned();
    let (devices, sockets) = view.masked.split_at(DEVICES.len());
    assert_eq!(text(devices), DEVICES);
    let wanted = [
        "/home/a b/control  socket",
        "/run/dbus/system_bus_socket",
        "/run/systemd/notify",
        "/var/run/docker.sock",
    ];
    assert_eq!(text(sockets), wanted);
}

#[test]
fn knows_a_working_directory_that_is_covered() {
    let view = View {
        private: vec![Private { folder: c"/run/user/7".to_owned(), ..Private::default() }],
        foreign_proc: vec![c"/srv/proc".to_owned()],
        ..View::default()
    };
    for (working, cover) in [
        ("/run/user/7", Some(c"/run/user/7")),
        ("/run/user/7/a b (deleted)", Some(c"/run/user/7")),
        ("/srv/proc/1", Some(c"/srv/proc")),
        ("/proc/sys", Some(c"/proc")),
        ("/run/user/77", None),
        ("/run/user", None),
        ("/", None),
    ] {
        let covered = view.covers(Path::new(working));
        assert_eq!(covered.as_ref().map(|(_, cover)| cover.as_c_str()), cover, "{working}");
    }
}

#[test]
fn keeps_what_is_open_below_a_folder_of_the_jails_own() {
    let open = ["/run/user/7/a/b/c", "/run/user/7/d", "/run/user/7/d/e", "/run/user/77/f"];
    let open = open.map(PathBuf::from);
    let planned =
        Private::plan(Path::new("/run/user/7"), "mode=0700".to_owned(), &open, (7, 8)).unwrap();
    let kept: Vec<_> = planned
        .kept
        .iter()
        .map(|kept| (kept.within.to_str().unwrap(), text(&kept.parents)))
        .collect();
    let between = vec!["/run/user/7/a", "/run/user/7/a/b"];
    assert_eq!(kept, [("a/b/c", between), ("d", vec![])]);
}

#[test]
fn survives_whatever_the_lines_hold() {
    for text in [MOUNTS, SOCKETS] {
        for end in 0..text.len() {
            let prefix = &text.as_bytes()[..end];
            View::of(prefix, prefix, |_| true);
        }
    }
    assert_eq!(unescape(br"a\134b\04"), br"a\b\04");
}

#[test]
fn plans_for_this_machine() {
    assert!(View::plan(&[], &[], (0, 0)).is_ok());
}

#[test]
fn opens_a_socket_by_whatever_path() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let link = here.join("link");
    fs::create_dir(here.join("run")).unwrap();
    std::os::unix::fs::symlink("run", &link).unwrap();
    for name in ["run/a", "run/ab"] {
        fs::write(here.join(name), "").unwrap();
    }
    let is_open = |path: &str, open: &str| is_open(&here.join(path), &[here.join(open)]);
    assert!(is_open("run/a", "run/a") && is_open("link/a", "run/a"));
    assert!(is_open("run/a", "run") && is_open("link/ab", "run"));
    assert!(!is_open("run/ab", "run/a") && !is_open("run/a", "ru"));
    assert!(!is_open("run/absent", "run"));
}
