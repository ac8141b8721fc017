//! Who is measured, and how a client is run under each.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use super::arena::{self, NAMES, ORIGIN};
use super::origin::Origin;
use super::program;
use super::rival::Rival;
use super::usage::{Usage, Who};
use crate::tools;

/// One column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Contestant {
    /// The client talks to the origin itself.
    NoJail,
    /// squid intercepts the client's traffic.
    Squid,
    /// mitmproxy intercepts the client's traffic.
    Mitmproxy,
    /// The client runs in a jail.
    Httpjail,
}

impl Contestant {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 4] = [Self::NoJail, Self::Squid, Self::Mitmproxy, Self::Httpjail];

    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoJail => "nojail",
            Self::Squid => "squid",
            Self::Mitmproxy => "mitmproxy",
            Self::Httpjail => "httpjail",
        }
    }

    /// Whether others measure it against httpjail: its failures are noted, and fail nothing.
    pub(super) fn is_rival(self) -> bool {
        matches!(self, Self::Squid | Self::Mitmproxy)
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rule that decides in the jail; the rivals' say the same.
pub(super) const RULE: &str = "['github.com','api.github.com'].some(h => r.host === h || r.host.endsWith('.' + h)) || r.host.endsWith('.bench.test')";

/// The system's root certificates. Reading them is most of what a curl does.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The servers of one run, and what it takes to put a client before them.
pub(super) struct Field {
    folder: PathBuf,
    httpjail: PathBuf,
    origin: Origin,
    rivals: Vec<(Contestant, Rival)>,
    contestants: Vec<Contestant>,
    notes: Vec<String>,
}

/// What a client printed, and what the proxy between it and the origin used meanwhile.
pub(super) struct Outcome {
    /// The client's standard output.
    pub(super) stdout: String,
    /// Nothing where there is no proxy.
    pub(super) usage: Option<Usage>,
}

impl Field {
    /// Starts the servers that `contestants` need. A rival that doesn't start takes no part.
    ///
    /// # Errors
    /// When the origin doesn't start, or doesn't answer without a rival.
    pub(super) fn prepare(httpjail: &Path, contestants: &[Contestant]) -> Result<Self> {
        let folder = arena::prepare()?;
        let origin = Origin::start(&folder)?;
        origin.namespace.lay_cable(0, || Command::new("ip"))?;
        let mut field = Self {
            folder,
            httpjail: httpjail.to_path_buf(),
            origin,
            rivals: Vec::new(),
            contestants: Vec::new(),
            notes: Vec::new(),
        };
        for contestant in contestants {
            match field.admit(*contestant) {
                Ok(()) => field.contestants.push(*contestant),
                Err(error) if contestant.is_rival() => {
                    field.notes.push(format!("{contestant}, everything: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(field)
    }

    fn admit(&mut self, contestant: Contestant) -> Result<()> {
        if contestant.is_rival() {
            let rival = Rival::start(contestant, &self.folder, &self.origin)?;
            self.rivals.push((contestant, rival));
        }
        self.await_answer(contestant)
    }

    /// Who takes part.
    pub(super) fn contestants(&self) -> &[Contestant] {
        &self.contestants
    }

    /// Which rivals don't take part, and why.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The binary that is measured.
    pub(super) fn binary(&self) -> &Path {
        &self.httpjail
    }

    /// The path of the large file.
    pub(super) fn large_file(&self) -> String {
        self.scratch("origin/1g")
    }

    /// The path of a file in the arena's folder.
    pub(super) fn scratch(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// A command whose traffic goes the way of `contestant`.
    pub(super) fn client(
        &self,
        contestant: Contestant,
        program: impl AsRef<OsStr>,
    ) -> Result<Command> {
        self.client_with(contestant, &[], program)
    }

    /// The same, with further `options` of the jail.
    fn client_with(
        &self,
        contestant: Contestant,
        options: &[&str],
        program: impl AsRef<OsStr>,
    ) -> Result<Command> {
        let mut command = match contestant {
            Contestant::NoJail => self.with_names(Command::new("unshare")),
            Contestant::Squid | Contestant::Mitmproxy => {
                self.with_names(self.rival(contestant)?.namespace.command("unshare"))
            }
            Contestant::Httpjail => self.jailed(options),
        };
        command.arg(program);
        Ok(command)
    }

    /// A command as a user would start it, without what the lab adds: for measuring the start.
    pub(super) fn bare_client(&self, contestant: Contestant, program: &str) -> Command {
        match contestant {
            Contestant::NoJail | Contestant::Squid | Contestant::Mitmproxy => Command::new(program),
            Contestant::Httpjail => {
                let mut command = self.jailed(&[]);
                command.arg(program);
                command
            }
        }
    }

    /// Runs a client to its end while watching the proxy.
    pub(super) fn measure(&self, contestant: Contestant, client: &[&str]) -> Result<Outcome> {
        self.measure_with(contestant, &[], client)
    }

    /// The same, with further `options` of the jail.
    pub(super) fn measure_with(
        &self,
        contestant: Contestant,
        options: &[&str],
        client: &[&str],
    ) -> Result<Outcome> {
        let who = self.proxy(contestant);
        let before = who.as_ref().map(Usage::start).transpose()?;
        // The jail's proxy ends with the jailed command, so that must wait until it was looked at.
        let mut command = self.client_with(contestant, options, "sh")?;
        command
            .args(["-c", r#""$@" 2>&1; echo "$?"; echo bench-end; read end"#, "sh"])
            .args(client);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", tools::line(&command)))?;
        let output = program::wait_for_line(&mut process, "bench-end")?;
        let usage = who.as_ref().map(Usage::now).transpose()?;
        drop(process.stdin.take());
        process.wait()?;

        let Some((stdout, status)) = output.trim_end().rsplit_once('\n') else {
            bail!("{} printed nothing", client.join(" "));
        };
        ensure!(status == "0", "{stdout}\n{} ended with {status}", client.join(" "));
        let usage = usage.map(|now| now.since(before.unwrap_or_default()));
        Ok(Outcome { stdout: stdout.to_owned(), usage })
    }

    /// Arguments with which curl trusts what it meets on the way of `contestant`, besides the
    /// system's roots, which it reads in any case. The jail sets its own in the environment.
    pub(super) fn trust(&self, contestant: Contestant) -> Result<Vec<String>> {
        let authority = match contestant {
            Contestant::NoJail => &self.origin.authority,
            Contestant::Squid | Contestant::Mitmproxy => &self.rival(contestant)?.authority,
            Contestant::Httpjail => return Ok(Vec::new()),
        };
        let bundle = self.folder.join(format!("{contestant}.pem"));
        let system =
            fs::read(SYSTEM_ROOTS).with_context(|| format!("failed to read {SYSTEM_ROOTS}"))?;
        fs::write(&bundle, [system, fs::read(authority)?].concat())?;
        Ok(vec!["--cacert".to_owned(), bundle.to_string_lossy().into_owned()])
    }

    /// Arguments with which curl finds the origin without asking anybody. In the jail, the jail
    /// answers.
    pub(super) fn names(contestant: Contestant) -> Vec<String> {
        if contestant == Contestant::Httpjail {
            return Vec::new();
        }
        let resolve = |name: &&str| ["--resolve".to_owned(), format!("{name}:443:{ORIGIN}")];
        NAMES.iter().flat_map(resolve).collect()
    }

    fn jailed(&self, options: &[&str]) -> Command {
        let mut command = self.jail();
        command.args(options).arg("--");
        command
    }

    /// httpjail with the bench's rule and origin, to which further options can be added.
    pub(super) fn jail(&self) -> Command {
        self.jail_by(&["--js", RULE])
    }

    /// The same with another rule.
    pub(super) fn jail_by(&self, rule: &[&str]) -> Command {
        let mut command = Command::new(&self.httpjail);
        command.args(rule).arg("--upstream-ca").arg(&self.origin.authority);
        for name in NAMES {
            command.args(["--resolve", &format!("{name}={ORIGIN}")]);
        }
        command
    }

    /// The folder of the servers' files, in memory.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// `unshare` that gives its command the arena's names in /etc/hosts.
    fn with_names(&self, mut unshare: Command) -> Command {
        const SCRIPT: &str = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(arena::hosts_file(&self.folder));
        unshare
    }

    fn proxy(&self, contestant: Contestant) -> Option<Who> {
        match contestant {
            Contestant::NoJail => None,
            Contestant::Squid => Some(Who::Named(&["squid", "security_file_c"])),
            Contestant::Mitmproxy => Some(Who::Named(&["mitmdump"])),
            Contestant::Httpjail => Some(Who::Running(self.httpjail.clone())),
        }
    }

    fn rival(&self, contestant: Contestant) -> Result<&Rival> {
        let found = self.rivals.iter().find(|(name, _)| *name == contestant);
        let (_, rival) = found.with_context(|| format!("{contestant} doesn't take part"))?;
        Ok(rival)
    }

    /// Servers take a moment to listen: curl asks again until somebody answers.
    fn await_answer(&self, contestant: Contestant) -> Result<()> {
        for url in ["http://x.bench.test/1k", "https://x.bench.test/1k"] {
            let mut curl = self.client(contestant, "curl")?;
            curl.args(["--silent", "--show-error", "--fail", "--retry-connrefused"]);
            curl.args(["--retry", "8", "--retry-max-time", "30"]).args(self.trust(contestant)?);
            let answer = tools::output(curl.arg(url))
                .with_context(|| format!("{contestant} doesn't answer {url}"))?;
            ensure!(answer.len() == 1024, "{contestant} answers {url} with {answer:?}");
        }
        Ok(())
    }
}
