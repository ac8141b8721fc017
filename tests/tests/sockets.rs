//! Unix sockets: those of the jail work, those of programs outside are out of reach.

use std::process::Command;

use httpjail_tests::{Invocation, Lab, Running, USER_GID, USER_UID};

/// Answers whoever connects to a path or to an abstract name, and says when it is there.
const SERVER: &str = r#"
import os, socket, sys
server = socket.socket(socket.AF_UNIX, int(sys.argv[2]))
server.bind(sys.argv[1].replace("@", "\0"))
if sys.argv[1][0] != "@": os.chmod(sys.argv[1], 0o666)
if server.type != socket.SOCK_DGRAM: server.listen()
print("serving", flush=True)
while True:
    if server.type == socket.SOCK_DGRAM:
        server.recv(100)
    else:
        server.accept()[0].send(b"hello")
"#;

/// Connects, and prints what the server says; or the name of the error.
const CLIENT: &str = r#"
import errno, socket, sys
for name in sys.argv[2:]:
    client = socket.socket(socket.AF_UNIX, int(sys.argv[1]))
    try:
        client.connect(name.replace("@", "\0"))
        print("hello" if client.type == socket.SOCK_DGRAM and client.send(b"x")
            else client.recv(100).decode())
    except OSError as error:
        print(errno.errorcode[error.errno])
"#;

/// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET` on Linux.
const KINDS: [&str; 3] = ["1", "2", "5"];

fn serve(place: &Invocation<'_>, name: &str, kind: &str) -> Running {
    let server = place.start(["python3", "-c", SERVER, name, kind]);
    server.line("serving");
    server
}

fn ask(place: &Invocation<'_>, kind: &str, names: &[&str]) -> Vec<String> {
    let command = ["python3", "-c", CLIENT, kind].into_iter().chain(names.iter().copied());
    let asked = place.run(command).exits(0);
    asked.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn hides_the_sockets_of_daemons() {
    let lab = Lab::new();
    for kind in KINDS {
        let path = lab.home().join(format!("daemon-{kind}.sock"));
        let path = path.to_str().expect("UTF-8");
        let server = serve(&lab.outside(), path, kind);
        let link = format!("{path}.link");
        std::os::unix::fs::symlink(path, &link).expect("the home is there");
        // The lab's programs run in its home.
        let names =
            [path, &link, &format!("daemon-{kind}.sock"), &format!("/proc/self/root{path}")];
        assert_eq!(ask(&lab.outside().as_user(), kind, &names), ["hello"; 4], "without a jail");
        for jail in [lab.jail(), lab.jail().as_user()] {
            assert_eq!(ask(&jail, kind, &names), ["ECONNREFUSED"; 4], "kind {kind}");
        }
        drop(server);
    }
    lab.assert_clean();
}

#[test]
fn leaves_the_sockets_that_are_named() {
    let lab = Lab::new();
    let home = lab.home();
    std::fs::create_dir(home.join("run")).expect("the home is there");
    std::os::unix::fs::symlink("run", home.join("link")).expect("the home is there");
    let path = |name: &str| home.join(name).into_os_string().into_string().expect("UTF-8");
    let [one, other, away] = ["run/one.sock", "run/other.sock", "away.sock"].map(path);
    // The daemon binds by the path through the link, so that is what the kernel lists.
    let servers = [path("link/one.sock"), other.clone(), away.clone()];
    let servers = servers.map(|name| serve(&lab.outside(), &name, "1"));
    let names = [&*one, &*other, &*away, &*path("link/one.sock")];
    assert_eq!(ask(&lab.outside().as_user(), "1", &names), ["hello"; 4], "without a jail");
    let (yes, no) = ("hello", "ECONNREFUSED");
    for (open, reached) in [
        (&[][..], [no, no, no, no]),
        (&[&*one], [yes, no, no, yes]),
        (&[&*path("link/one.sock")], [yes, no, no, yes]),
        (&[&*path("run")], [yes, yes, no, yes]),
        (&[&*path("link")], [yes, yes, no, yes]),
        (&[&*other, &*away], [no, yes, yes, no]),
    ] {
        for jail in [lab.jail(), lab.jail().as_user()] {
            let jail =
                open.iter().fold(jail, |jail, path| jail.option("--allow-unix").option(path));
            assert_eq!(ask(&jail, "1", &names), reached, "{open:?}");
        }
    }
    drop(servers);
    lab.assert_clean();
}

#[test]
fn says_which_sockets_it_leaves() {
    let lab = Lab::new();
    let home = lab.home();
    let home = home.to_str().expect("UTF-8");
    let run = lab.jail().option("--allow-unix").option(home).run(["true"]).exits(0);
    let warnings: Vec<_> = run.stderr.lines().collect();
    assert!(matches!(warnings[..], [one] if one.contains("WARN --allow-unix opens: ")), "{run:?}");
    for (wrong, why) in [("/no/such.sock", "No such file"), ("/etc/passwd", "neither a socket")] {
        let refused = lab.jail().option("--allow-unix").option(wrong).run(["true"]).exits(125);
        let says = refused.stderr.contains(wrong) && refused.stderr.contains(why);
        assert!(says, "{refused:?}");
    }
    lab.assert_clean();
}

#[test]
fn refuses_abstract_names_of_programs_outside() {
    let lab = Lab::new();
    for kind in KINDS {
        let name = format!("@httpjail-test-{}-{kind}", std::process::id());
        let server = serve(&lab.outside(), &name, kind);
        assert_eq!(ask(&lab.outside().as_user(), kind, &[&name]), ["hello"], "without a jail");
        for jail in [lab.jail(), lab.jail().as_user()] {
            assert_eq!(ask(&jail, kind, &[&name]), ["EPERM"], "kind {kind}");
        }
        drop(server);
    }
    lab.assert_clean();
}

/// The version from which on Landlock tells whose socket is at a path (Linux 7.1).
const PATHS: i64 = 9;

/// On older kernels they are in reach, which is a known issue.
#[test]
fn tells_sockets_that_appear_later() {
    let lab = Lab::new();
    let version = httpjail_tests::sys::landlock_version();
    let refused = if version >= PATHS { "EACCES" } else { "hello" };
    let path = lab.home().join("late.sock");
    let path = path.to_str().expect("UTF-8");
    let script = format!("echo ready; read line; python3 -c \"$CLIENT\" 1 {path}");
    let open = || lab.jail().option("--allow-unix").option(lab.home());
    for (place, answer) in [
        (lab.outside(), "hello"),
        (lab.jail(), refused),
        (lab.jail().as_user(), refused),
        (open().as_user(), "hello"),
    ] {
        let mut running = place.env("CLIENT", CLIENT).start(["sh", "-c", &script]);
        running.line("ready");
        let server = serve(&lab.outside(), path, "1");
        running.write("go\n");
        assert_eq!(running.finish().exits(0).stdout, format!("ready\n{answer}\n"), "{version}");
        drop(server);
        std::fs::remove_file(path).expect("the server made it");
    }
    lab.assert_clean();
}

/// Runs it by a user, with what the scripts below ask for.
fn by(place: Invocation<'_>, uid: u32) -> Invocation<'_> {
    let place = if uid == 0 { place } else { place.as_user() };
    place.env("FOLDER", format!("/run/user/{uid}")).env("CLIENT", CLIENT).env("SERVER", SERVER)
}

/// Folders for root and the user with a file in each; the mount is the lab's own.
fn make_session_folders(lab: &Lab) {
    let make = format!(
        "mount -t tmpfs lab /run/user && mkdir -p /run/user/0/below /run/user/{USER_UID}/below &&
         chmod 700 /run/user/* && chown -R {USER_UID}:{USER_GID} /run/user/{USER_UID} &&
         touch /run/user/0/there /run/user/{USER_UID}/there"
    );
    let made = lab.at_client(move || Command::new("sh").args(["-c", &make]).status());
    assert!(made.expect("a shell").success());
}

/// What is mounted over a folder does not cover it for who is in it already.
#[test]
fn a_working_directory_is_covered_as_well() {
    let lab = Lab::new();
    make_session_folders(&lab);
    for uid in [0, USER_UID] {
        let folder = format!("/run/user/{uid}");
        let server = serve(&by(lab.outside(), uid), &format!("{folder}/bus"), "1");
        let inner = serve(&by(lab.outside(), uid), &format!("{folder}/below/bus"), "1");
        for inside in [folder.clone(), format!("{folder}/below")] {
            let asked = |place: Invocation<'_>| {
                let place = by(place, uid).in_folder(&inside);
                ask(&place, "1", &["bus", "./bus", "/proc/self/cwd/bus"])
            };
            assert_eq!(asked(lab.outside()), ["hello"; 3], "without a jail");
            assert_eq!(asked(lab.jail()), ["ENOENT"; 3], "{inside}");
            let named = lab.jail().option("--allow-unix").option(&folder);
            assert_eq!(asked(named), ["hello"; 3], "{inside}");
        }
        drop((server, inner));
    }
    lab.assert_clean();
}

/// What a user's own programs outside start later stays out of reach there, on every kernel.
#[test]
fn has_session_folders_of_its_own() {
    let lab = Lab::new();
    make_session_folders(&lab);
    let own = "python3 -c \"$SERVER\" $FOLDER/own.sock 1 > ready & read line < ready
        python3 -c \"$CLIENT\" 1 $FOLDER/own.sock; kill $!; wait";
    let script = format!(
        "mkfifo ready; {own}; rm -f ready $FOLDER/own.sock; ls $FOLDER; stat -c %u:%a $FOLDER
        echo ready; read line; python3 -c \"$CLIENT\" 1 $FOLDER/late.sock"
    );
    for uid in [0, USER_UID] {
        let folder = format!("/run/user/{uid}");
        let late = format!("{folder}/late.sock");
        let named = lab.jail().option("--allow-unix").option(&folder);
        for (place, listed, answer) in [
            (lab.outside(), "below\nthere\n", "hello"),
            (lab.jail(), "", "ENOENT"),
            (named, "below\nthere\n", "hello"),
        ] {
            let mut running = by(place, uid).start(["sh", "-c", &script]);
            running.line("ready");
            let server = serve(&by(lab.outside(), uid), &late, "1");
            running.write("go\n");
            let said = running.finish().exits(0).stdout;
            assert_eq!(said, format!("hello\n{listed}{uid}:700\nready\n{answer}\n"));
            drop(server);
            std::fs::remove_file(lab.home().join("ready")).ok();
            let away = late.clone();
            lab.at_client(move || std::fs::remove_file(away)).expect("the server made it");
        }
    }
    lab.assert_clean();
}

/// The folder is the jail's own still, with nothing of the machine's but that.
#[test]
fn leaves_one_socket_of_a_session_folder() {
    let lab = Lab::new();
    make_session_folders(&lab);
    let script = "cd $FOLDER; find . | sort | tr '\n' ' '; stat -c %u . below
        echo ready; read line; python3 -c \"$CLIENT\" 1 ./below/bus ./late ./bus";
    for uid in [0, USER_UID] {
        let folder = format!("/run/user/{uid}");
        let [inner, bus, late] =
            ["below/bus", "bus", "late"].map(|name| format!("{folder}/{name}"));
        let servers = [&inner, &bus].map(|path| serve(&by(lab.outside(), uid), path, "1"));
        let all = ". ./below ./below/bus ./bus ./there ";
        let kept = ". ./below ./below/bus ";
        let jail = |open: &str| lab.jail().option("--allow-unix").option(open);
        for (place, listed, answers) in [
            (lab.outside(), all, ["hello", "hello", "hello"]),
            (jail(&folder), all, ["hello", "hello", "hello"]),
            (jail(&inner), kept, ["hello", "ENOENT", "ENOENT"]),
            (
                jail(&inner).option("--allow-unix").option(format!("{folder}/below")),
                kept,
                ["hello", "ENOENT", "ENOENT"],
            ),
            (jail("/run/user"), all, ["hello", "hello", "hello"]),
        ] {
            let mut running = by(place, uid).start(["sh", "-c", script]);
            running.line("ready");
            let later = serve(&by(lab.outside(), uid), &late, "1");
            running.write("go\n");
            let said = running.finish().exits(0).stdout;
            let answers = answers.join("\n");
            assert_eq!(said, format!("{listed}{uid}\n{uid}\nready\n{answers}\n"));
            drop(later);
            let away = late.clone();
            lab.at_client(move || std::fs::remove_file(away)).expect("the server made it");
        }
        drop(servers);
    }
    lab.assert_clean();
}

/// An X server that is started while the jail is there, on a machine that never had one.
#[test]
fn covers_the_folder_of_displays_that_is_to_come() {
    let lab = Lab::new();
    let folder = lab.ca_file();
    let folder = folder.parent().and_then(|folder| folder.to_str()).expect("UTF-8");
    // A /tmp without that folder, and with the lab's.
    let starter = format!(
        "set -e
        mount --bind {folder} /mnt; mount -t tmpfs -o mode=1777 lab /tmp; mkdir {folder}
        mount --move /mnt {folder}; mkfifo ready go serving
        \"$@\" & jail=$!
        read line < ready; mkdir -p /tmp/.X11-unix
        python3 -c \"$SERVER\" /tmp/.X11-unix/X7 1 > serving & server=$!
        read line < serving; echo > go; wait $jail; kill $server
        wait $server || true"
    );
    let inside = "echo > ready; read line < go; python3 -c \"$CLIENT\" 1 /tmp/.X11-unix/X7";
    let httpjail = httpjail_tests::programs::httpjail();
    let httpjail = httpjail.to_str().expect("UTF-8");
    for (jail, answer) in [(&[][..], "hello\n"), (&[httpjail, "--js", "true", "--"], "ENOENT\n")] {
        let line = ["unshare", "--mount", "sh", "-c", &starter, "sh"].into_iter();
        let line = line.chain(jail.iter().copied()).chain(["sh", "-c", inside]);
        let place = lab.outside().env("CLIENT", CLIENT).env("SERVER", SERVER);
        assert_eq!(place.run(line).stdout, answer);
        for name in ["ready", "go", "serving"] {
            std::fs::remove_file(lab.home().join(name)).expect("it was made");
        }
    }
    lab.assert_clean();
}

/// The user logs in while the jail is there.
#[test]
fn covers_the_session_folder_that_is_to_come() {
    let lab = Lab::new();
    let made =
        lab.at_client(|| Command::new("mount").args(["-t", "tmpfs", "lab", "/run/user"]).status());
    assert!(made.expect("mount").success());
    for uid in [0, USER_UID] {
        let folder = format!("/run/user/{uid}");
        let script = "echo ready; read line; python3 -c \"$CLIENT\" 1 $FOLDER/bus";
        for (place, answer) in [(lab.outside(), "hello"), (lab.jail(), "ENOENT")] {
            let mut running = by(place, uid).start(["sh", "-c", script]);
            running.line("ready");
            let mine = folder.clone();
            lab.at_client(move || {
                std::fs::create_dir(&mine).expect("the mount is the lab's own");
                std::os::unix::fs::chown(&mine, Some(uid), None).expect("root may");
            });
            let server = serve(&by(lab.outside(), uid), &format!("{folder}/bus"), "1");
            running.write("go\n");
            assert_eq!(running.finish().exits(0).stdout, format!("ready\n{answer}\n"));
            drop(server);
            let away = folder.clone();
            lab.at_client(move || std::fs::remove_dir_all(away)).expect("it was made above");
        }
    }
    lab.assert_clean();
}

#[test]
fn cannot_be_uncovered_again() {
    let lab = Lab::new();
    let path = lab.home().join("daemon.sock");
    let path = path.to_str().expect("UTF-8");
    let server = serve(&lab.outside(), path, "1");
    let mask = "mount --bind /dev/null daemon.sock";
    let acts = [
        ("umount", "umount daemon.sock"),
        ("rm", "rm daemon.sock"),
        ("mv", "mv daemon.sock other.sock"),
        ("ln", "ln daemon.sock other.sock"),
    ];
    std::fs::write(lab.home().join("client.py"), CLIENT).expect("the home is there");
    let client = "python3 client.py 1 $PWD/daemon.sock $PWD/other.sock";
    let twin =
        lab.outside().sh(&format!("unshare -m sh -c '{mask} && umount daemon.sock' && echo bare"));
    assert_eq!(twin.stdout, "bare\n", "full root takes a mask away: {twin:?}");
    for (name, act) in acts {
        let jailed = lab.jail().sh(&format!("{act}; {client}")).exits(0);
        assert!(!jailed.stdout.contains("hello"), "{name}: {jailed:?}");
        let user = lab.jail().as_user().sh(&format!("unshare -Urm sh -c '{act}; {client}'"));
        assert!(!user.stdout.contains("hello"), "{name}: {user:?}");
    }
    assert_eq!(ask(&lab.outside(), "1", &[path]), ["hello"], "it serves to the end");
    drop(server);
    lab.assert_clean();
}

#[test]
fn serves_sockets_of_the_jails_own() {
    let lab = Lab::new();
    for kind in KINDS {
        let script = format!(
            "mkfifo ready
             for name in $PWD/own.sock @httpjail-own-{kind}; do
                 python3 -c \"$SERVER\" $name {kind} > ready & read line < ready
                 python3 -c \"$CLIENT\" {kind} $name; kill $!; wait; rm -f own.sock
             done; rm ready"
        );
        let places = [lab.outside(), lab.jail(), lab.jail().as_user()];
        for place in places.map(|place| place.env("SERVER", SERVER).env("CLIENT", CLIENT)) {
            let asked = place.sh(&script).exits(0);
            assert_eq!(asked.stdout, "hello\nhello\n", "kind {kind}: {asked:?}");
        }
    }
    lab.assert_clean();
}
