//! A command to be run in the lab, in a jail or outside of one.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::addresses::NAMESERVER_V4;
use crate::bound::Bound;
use crate::lab::{Lab, USER_GID, USER_NAME, USER_UID};
use crate::process::{Finished, Running};
use crate::programs;

/// Variables by which clients outside a jail are told of the lab's authority.
const TRUST: [&str; 9] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "npm_config_cafile",
];

/// A command to be run in the lab.
#[derive(Clone, Debug)]
pub struct Invocation<'lab> {
    lab: &'lab Lab,
    place: Place,
    options: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    cgroup: PathBuf,
    bound: Option<PathBuf>,
    user: Option<u32>,
    held: Option<SocketAddr>,
    folder: PathBuf,
    entry: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Jail,
    Outside,
    /// With httpjail in a mode that takes no privileges, which this option asks for.
    Plain(&'static str),
}

impl<'lab> Invocation<'lab> {
    pub(crate) fn jailed(lab: &'lab Lab) -> Self {
        let ca = lab.ca_file().into_os_string();
        Self::new(lab, Place::Jail).option("--upstream-ca").option(ca)
    }

    /// In a mode without root: by the plain user, who can gain no privileges.
    pub(crate) fn plain(lab: &'lab Lab, mode: &'static str) -> Self {
        let ca = lab.ca_file().into_os_string();
        Self::new(lab, Place::Plain(mode)).as_user().option("--upstream-ca").option(ca)
    }

    pub(crate) fn outside(lab: &'lab Lab) -> Self {
        let this = Self::new(lab, Place::Outside);
        TRUST.iter().fold(this, |this, name| this.env(name, lab.ca_file()))
    }

    fn new(lab: &'lab Lab, place: Place) -> Self {
        let cgroup = lab.cgroup().path().to_owned();
        Self {
            lab,
            place,
            options: Vec::new(),
            environment: Vec::new(),
            cgroup,
            bound: None,
            user: None,
            held: None,
            folder: lab.home(),
            entry: "run-in",
        }
    }

    /// Gives httpjail a rule.
    #[must_use]
    pub fn js(self, rule: &str) -> Self {
        self.option("--js").option(rule)
    }

    /// Gives httpjail an option, or the value of the option before. Outside it means nothing, so
    /// that a test and its twin can be written as one.
    #[must_use]
    pub fn option(mut self, option: impl Into<OsString>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it in another cgroup than the lab's.
    #[must_use]
    pub fn in_cgroup(mut self, cgroup: &Path) -> Self {
        cgroup.clone_into(&mut self.cgroup);
        self
    }

    /// Holds it, and all that it starts, to a bound: with httpjail itself when it is a jail.
    #[must_use]
    pub fn bound_by(mut self, bound: &Bound) -> Self {
        if bound.is_the_only_cgroup() {
            return self.in_cgroup(bound.path());
        }
        self.bound = Some(bound.path().to_owned());
        self
    }

    /// Lets it see the lab's cgroup as the root of all, as in a container: no other jail of the
    /// machine is within its reach.
    #[must_use]
    pub fn secluded(mut self) -> Self {
        self.entry = "seclude";
        self
    }

    /// Runs it as the lab's plain user: in a jail by what sudo leaves in the environment.
    #[must_use]
    pub fn as_user(mut self) -> Self {
        self.user = Some(USER_UID);
        self
    }

    /// Lets httpjail (or the command outside) inherit a socket that is connected to `address`.
    #[must_use]
    pub fn holding(mut self, address: SocketAddr) -> Self {
        self.held = Some(address);
        self
    }

    /// Starts it in another folder than the lab's home.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Runs the probe.
    pub fn probe<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        self.start_probe(arguments).finish()
    }

    /// Runs a shell script.
    pub fn sh(&self, script: &str) -> Finished {
        self.start(["/bin/sh", "-c", script]).finish()
    }

    /// Runs a command.
    pub fn run<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Finished {
        self.start(command).finish()
    }

    /// Starts the probe.
    pub fn start_probe<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        let probe = self.lab.probe().into_os_string();
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        self.start([probe].into_iter().chain(arguments))
    }

    /// Starts a command.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start<S: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Running {
        self.start_on([Stdio::piped(), Stdio::piped(), Stdio::piped()], command)
    }

    /// Starts a command with these standard streams.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start_on<S: AsRef<OsStr>>(
        &self,
        streams: [Stdio; 3],
        command: impl IntoIterator<Item = S>,
    ) -> Running {
        let log = (self.place != Place::Outside).then(|| self.lab.new_log());
        let mut line: Vec<OsString> = vec![self.lab.probe().into(), self.entry.into()];
        line.extend([self.cgroup.clone().into_os_string(), "--".into()]);
        if let Some(bound) = &self.bound {
            line.extend([self.lab.probe().into(), "run-in".into()]);
            line.extend([bound.clone().into_os_string(), "--".into()]);
        }
        if let Some(address) = self.held {
            line.extend([self.lab.probe().into(), "holding".into()]);
            line.extend([address.to_string().into(), "--".into()]);
        }
        match (self.place, &log) {
            (Place::Jail, Some(log)) => self.push_jail(&mut line, log),
            (Place::Plain(mode), Some(log)) => self.push_plain(&mut line, mode, log),
            (_, _) => self.push_user(&mut line),
        }
        let mut command = command.into_iter().map(|word| word.as_ref().to_owned()).peekable();
        if self.place != Place::Outside && command.peek().is_some() {
            line.push("--".into());
        }
        line.extend(command);
        let environment = self.full_environment();
        let folder = self.folder.clone();
        let child = self.lab.client().run(move || {
            let (program, arguments) = line.split_first().expect("it begins with the probe");
            let mut command = Command::new(program);
            command.args(arguments).env_clear().envs(environment).current_dir(folder);
            let [stdin, stdout, stderr] = streams;
            command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()
        });
        Running::new(child.expect("the probe can be run"), log)
    }

    fn push_jail(&self, line: &mut Vec<OsString>, log: &Path) {
        line.extend([programs::httpjail().into(), "--request-log".into(), log.into()]);
        line.extend(self.options.iter().cloned());
    }

    fn push_plain(&self, line: &mut Vec<OsString>, mode: &str, log: &Path) {
        self.push_user(line);
        let end = line.pop();
        line.extend(["--bounding-set=-all", "--no-new-privs"].map(OsString::from));
        line.extend(end);
        line.push(self.lab.httpjail().into());
        line.extend([mode.into(), "--request-log".into(), log.into()]);
        line.extend(self.options.iter().cloned());
    }

    fn push_user(&self, line: &mut Vec<OsString>) {
        let Some(uid) = self.user else { return };
        line.push(programs::require("setpriv").into());
        line.extend([format!("--reuid={uid}").into(), format!("--regid={USER_GID}").into()]);
        line.extend(["--clear-groups".into(), "--".into()]);
    }

    fn full_environment(&self) -> Vec<(OsString, OsString)> {
        let mut all: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), programs::path().into()),
            ("HOME".into(), self.lab.home().into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("RUSTUP_HOME".into(), rustup_home().into()),
            ("LAB_NAMESERVER".into(), NAMESERVER_V4.to_string().into()),
        ];
        if let Place::Plain(_) = self.place {
            all.push(("TMPDIR".into(), self.lab.temporary().into()));
        }
        if let (Some(uid), Place::Jail) = (self.user, self.place) {
            all.push(("SUDO_UID".into(), uid.to_string().into()));
            all.push(("SUDO_GID".into(), USER_GID.to_string().into()));
            all.push(("SUDO_USER".into(), USER_NAME.into()));
        }
        all.extend(self.environment.iter().cloned());
        all
    }
}

/// Where rustup keeps its toolchains: found by HOME, which the lab sets to a folder of its own.
fn rustup_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".rustup");
    std::env::var_os("RUSTUP_HOME").map_or_else(home, PathBuf::from)
}
