//! An SSH server of the lab: Dropbear, for one user with one key.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::lab::{USER_GID, USER_NAME, USER_UID};
use crate::programs;

/// A running SSH server; dropped, it ends.
#[derive(Debug)]
pub struct SshServer {
    process: Child,
    folder: PathBuf,
}

impl SshServer {
    /// Makes keys below `folder` and starts the server at `address`, in the calling thread's
    /// namespace.
    pub(crate) fn start(folder: &Path, name: &str, address: SocketAddr) -> Self {
        let home = folder.join("home");
        fs::create_dir_all(home.join(".ssh")).expect("the lab's folder can be written to");
        let (host_key, user_key) = (folder.join("host"), folder.join("user"));
        let made = output("dropbearkey", &["-t", "ed25519", "-f", text(&host_key)]);
        let host_line = made.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let host_line = host_line.expect("dropbearkey shows the public key");
        output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&user_key)]);
        let public = fs::read(folder.join("user.pub")).expect("ssh-keygen makes two files");
        let passwd = format!("{USER_NAME}:x:{USER_UID}:{USER_GID}::{}:/bin/sh\n", home.display());
        for (file, content) in [
            (home.join(".ssh/authorized_keys"), public),
            (folder.join("known_hosts"), format!("{name} {host_line}\n").into_bytes()),
            (folder.join("passwd"), [b"root:x:0:0::/root:/bin/sh\n", passwd.as_bytes()].concat()),
        ] {
            fs::write(file, content).expect("the lab's folder can be written to");
        }
        for owned in [home.join(".ssh/authorized_keys"), home.join(".ssh"), home, user_key] {
            chown(&owned, Some(USER_UID), Some(USER_GID)).expect("root may");
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is our own");
        let mut process = launch(folder, address).spawn().expect("unshare can be run");
        wait_until_it_listens(&mut process);
        Self { process, folder: folder.to_owned() }
    }

    /// The command by which the lab's plain user reaches it, as git wants it.
    #[must_use]
    pub fn client(&self) -> String {
        format!(
            "ssh -F none -i {0}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={0}/known_hosts -o BatchMode=yes -o ConnectTimeout=10",
            self.folder.display()
        )
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        drop(self.process.kill()); // It may have ended.
        drop(self.process.wait());
    }
}

/// The server knows users of its own, in a namespace of mounts of its own.
fn launch(folder: &Path, address: SocketAddr) -> Command {
    let script = "mount --bind \"$1/passwd\" /etc/passwd &&
        exec dropbear -F -E -s -w -j -k -P \"$1/pid\" -r \"$1/host\" -p \"$2\"";
    let mut command = Command::new(programs::require("unshare"));
    command
        .args(["--mount", "--", "/bin/sh", "-c", script, "ssh-server", text(folder)])
        .arg(address.to_string())
        .env("PATH", programs::path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Reads what it says until it listens, and the rest on a thread of its own.
fn wait_until_it_listens(process: &mut Child) {
    let mut lines = BufReader::new(process.stderr.take().expect("it was asked for")).lines();
    let mut said = String::new();
    loop {
        let line = lines.next().and_then(Result::ok);
        let line = line.unwrap_or_else(|| not_listening(&said));
        said = said + &line + "\n";
        if line.contains("Not backgrounding") {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(programs::require(program)).args(arguments).output();
    let output = output.expect("an installed program can be run");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a folder of ours has a plain name")
}

#[expect(clippy::panic, reason = "a server that does not start has to fail the test")]
fn not_listening<T>(said: &str) -> T {
    panic!("the SSH server doesn't listen: {said}")
}
