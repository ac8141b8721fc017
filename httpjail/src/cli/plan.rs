//! What to do, once the command line has been understood: after this there are no raw options.

mod asked;
mod error;
mod proxy;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{self, PathBuf},
    time::Duration,
};

use clap_complete::Shell;
use httpjail_common::jail::Published;

use self::asked::question;
pub use self::{
    error::PlanError,
    proxy::{ProxyPlan, Summary, UpstreamPlan},
};
use super::args::{Action, Cli, RunArgs};
pub use super::bind::{Bind, BindError, Binds};
pub use super::options::{ClientCert, PrivateRange, Resolve};
pub use super::question::Told;
use crate::{
    backend::{Privileges, user::Wishes},
    policy::{Lists, RequestFacts},
    rules::{Program, RuleSource, Rules},
};

/// The one thing that this invocation does.
#[derive(Debug)]
pub enum Plan {
    /// Run a command in a jail.
    Run(Box<RunPlan>),
    /// Run a command that is told of the proxy.
    Weak(Box<RunPlan>),
    /// Run a container in a jail.
    Container(Box<ContainerPlan>),
    /// Serve as a proxy alone.
    Server(Box<ServerPlan>),
    /// Show the kept authority's certificate.
    Ca(CaForm),
    /// Tell about the system's trust in it.
    Trust(TrustWish),
    /// Print what a shell needs to complete command lines.
    Completions(Shell),
    /// Ask the rule about one request.
    Test(Box<TestPlan>),
    /// Remove what dead runs left.
    Cleanup {
        /// Also what stays between runs.
        all: bool,
    },
    /// Make an account for jails.
    #[cfg(target_os = "macos")]
    Setup {
        /// Its name, if not the usual one.
        user: Option<OsString>,
    },
    /// Tell how the guards stand on this host.
    Doctor {
        /// As JSON.
        json: bool,
    },
}

/// A run: rules are compiled, names and addresses parsed; no file was opened but the rule's.
#[derive(Debug)]
pub struct RunPlan {
    /// What its proxy does.
    pub proxy: ProxyPlan,
    /// The program, as given.
    pub command: OsString,
    /// Its arguments, untouched.
    pub args: Vec<OsString>,
    /// How long the command may run.
    pub timeout: Option<Duration>,
    /// Ports of the jail that programs outside can connect to.
    pub published: Published,
    /// Unix sockets, and folders of such, that the jail doesn't hide.
    pub allow_unix: Vec<PathBuf>,
    /// Whether programs in the jail gain privileges.
    pub privileges: Privileges,
    /// Whom the command runs as, if not whom it is usual.
    pub user: Option<OsString>,
    /// What becomes of it where a guard is missing that jails can do without.
    pub lacking: Lacking,
    /// What is special about the command's environment.
    pub environment: Wishes,
    /// Where the proxy listens, if programs are told of it.
    pub binds: Binds,
}

/// A container's run.
#[derive(Debug)]
pub struct ContainerPlan {
    /// All but how it comes about; command and arguments are those of the engine's `run`.
    pub run: RunPlan,
    /// The engine's tool, if one was named.
    pub engine: Option<OsString>,
}

/// A proxy that stands alone.
#[derive(Debug)]
pub struct ServerPlan {
    /// What it does.
    pub proxy: ProxyPlan,
    /// Where it listens.
    pub binds: Binds,
}

/// How the kept authority's certificate is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaForm {
    /// By its path.
    Path,
    /// Itself.
    Pem,
}

/// What the system's trust in it should become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustWish {
    /// Nothing else than it is.
    Told,
    /// Trusted.
    Installed,
    /// Not trusted.
    Removed,
}

/// What is done where a guard is missing that jails can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// The jail does without, and the user is told.
    Warn,
    /// Nothing is run.
    Refuse,
}

/// A question to the rule.
#[derive(Debug)]
pub struct TestPlan {
    /// What decides before the rule is asked.
    pub lists: Lists,
    /// What decides.
    pub rules: Rules,
    /// The request.
    pub facts: RequestFacts,
    /// What was told of it besides its URL; the facts hold it.
    pub told: Told,
}

impl Plan {
    /// Understands what clap read. The only effect is reading the rule's file; of the environment,
    /// variables that name proxies count.
    pub(super) fn new(cli: Cli) -> Result<Self, PlanError> {
        match cli.action {
            Some(Action::Cleanup { all, verbose: _ }) => return Ok(Self::Cleanup { all }),
            #[cfg(target_os = "macos")]
            Some(Action::Setup { user, verbose: _ }) => return Ok(Self::Setup { user }),
            Some(Action::Doctor { json, verbose: _ }) => return Ok(Self::Doctor { json }),
            Some(Action::Completions { shell }) => return Ok(Self::Completions(shell)),
            Some(Action::Ca { form, verbose: _ }) => {
                return Ok(Self::Ca(if form.print { CaForm::Pem } else { CaForm::Path }));
            }
            Some(Action::Trust { wanted, verbose: _ }) => {
                return Ok(Self::Trust(match (wanted.install, wanted.remove) {
                    (true, _) => TrustWish::Installed,
                    (false, true) => TrustWish::Removed,
                    (false, false) => TrustWish::Told,
                }));
            }
            None => {}
        }
        different_logs(&cli.run)?;
        let rules = rules(&cli.run)?;
        match cli.run.test {
            Some(words) => {
                let told = Told { headers: cli.run.header, program: cli.run.process };
                let mut facts = question(&words)?;
                told.fill(&mut facts);
                let lists = Lists { allow: cli.run.allow, deny: cli.run.deny };
                Ok(Self::Test(Box::new(TestPlan { lists, rules, facts, told })))
            }
            None if cli.run.server => {
                ServerPlan::new(cli.run, rules).map(|server| Self::Server(Box::new(server)))
            }
            None if cli.run.weak || is_told_by_default(&cli.run) => {
                let binds = Binds::from_environment(|name| std::env::var_os(name))?;
                let run = RunPlan::new(cli.run, rules)?;
                Ok(Self::Weak(Box::new(RunPlan { binds, ..run })))
            }
            None if cli.run.docker_run => {
                let engine = cli.run.engine.clone();
                let run = RunPlan::new(cli.run, rules)?;
                Ok(Self::Container(Box::new(ContainerPlan { run, engine })))
            }
            None => RunPlan::new(cli.run, rules).map(|run| Self::Run(Box::new(run))),
        }
    }
}

impl RunPlan {
    fn new(mut run: RunArgs, rules: Rules) -> Result<Self, PlanError> {
        let proxy = ProxyPlan::new(&mut run, rules)?;
        let mut words = run.command.into_iter();
        let command = words.next().filter(|word| !word.is_empty()).ok_or(PlanError::NoCommand)?;
        if let Some(network) = proxy.upstream.allow_private.last().and_then(|_| network(&command)) {
            return Err(PlanError::Network(network));
        }
        let ports: BTreeSet<_> = run.publish.into_iter().collect();
        let ports: Vec<_> = ports.into_iter().collect();
        let published = Published::new(&ports).ok_or(PlanError::Published(ports.len()))?;
        Ok(Self {
            proxy,
            command,
            args: words.collect(),
            timeout: run.timeout.map(|timeout| timeout.0),
            published,
            allow_unix: run.allow_unix,
            privileges: if run.allow_new_privileges {
                Privileges::Gained
            } else {
                Privileges::Refused
            },
            user: run.user,
            lacking: if run.strict { Lacking::Refuse } else { Lacking::Warn },
            environment: Wishes { keep: run.keep_env, unset: run.unset_env },
            binds: Binds::default(),
        })
    }
}

impl ServerPlan {
    fn new(mut run: RunArgs, rules: Rules) -> Result<Self, PlanError> {
        let proxy = ProxyPlan::new(&mut run, rules)?;
        Ok(Self { proxy, binds: Binds::from_environment(|name| std::env::var_os(name))? })
    }
}

/// Whether a command that is to run in a jail is told of the proxy instead. On macOS that is so without
/// root, unless an option names what only root can give.
fn is_told_by_default(run: &RunArgs) -> bool {
    cfg!(target_os = "macos")
        && !rustix::process::geteuid().is_root()
        && run.user.is_none()
        && run.publish.is_empty()
        && run.allow_unix.is_empty()
        && !run.allow_new_privileges
        && !run.strict
}

/// `word`, if it is no command but a network.
fn network(word: &OsStr) -> Option<String> {
    let word = word.to_str()?;
    matches!(word.parse(), Ok(PrivateRange::Net(_))).then(|| word.to_owned())
}

/// Sees to it that log and records don't get into each other's way; streams may be shared.
fn different_logs(run: &RunArgs) -> Result<(), PlanError> {
    let (Some(log), Some(records)) = (&run.request_log, &run.record) else { return Ok(()) };
    let whole = |path: &PathBuf| path::absolute(path).unwrap_or_else(|_| path.clone());
    let log = whole(log);
    if log == whole(records) && !log.starts_with("/dev") {
        return Err(PlanError::OneLog(log));
    }
    Ok(())
}

/// What decides: clap has seen to it that one thing does.
fn rules(run: &RunArgs) -> Result<Rules, PlanError> {
    Ok(match run {
        RunArgs { js: Some(code), .. } => Rules::compile(&RuleSource::inline(code.into())?)?,
        RunArgs { js_file: Some(path), .. } => Rules::compile(&RuleSource::file(path)?)?,
        RunArgs { sh: Some(script), .. } => Rules::Program(Program::script(script)?),
        RunArgs { proc: Some(command), .. } => Rules::Program(Program::lines(command)?),
        _ => Rules::Absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_and_records_are_two_files_or_one_stream() {
        let read = |words: [&str; 4]| {
            let words = ["httpjail"].iter().chain(&words).chain(&["cmd"]).map(OsString::from);
            different_logs(&Cli::read(words).unwrap().run)
        };
        for (log, records) in [("a", "a"), ("./a", "a"), ("a", "././a")] {
            let read = read(["--request-log", log, "--record", records]);
            assert!(matches!(read, Err(PlanError::OneLog(_))), "{log} {records}");
        }
        for (log, records) in [("a", "b"), ("a", "b/a"), ("/dev/stderr", "/dev/stderr")] {
            assert!(read(["--request-log", log, "--record", records]).is_ok(), "{log} {records}");
        }
    }

    #[test]
    fn tells_a_network_from_a_command() {
        assert_eq!(network(OsStr::new("10.0.0.0/8")).as_deref(), Some("10.0.0.0/8"));
        for command in ["all", "curl", "./10.0.0.0/8", "bin/8"] {
            assert_eq!(network(OsStr::new(command)), None, "{command}");
        }
    }
}
