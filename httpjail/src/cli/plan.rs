//! What to do, once the command line has been understood: after this there are no raw options.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use super::args::{Action, Cli, RunArgs};
pub use super::options::{PrivateRange, Resolve};
use crate::{
    policy::{Authority, AuthorityError, Host, RequestFacts, Scheme},
    rules::{RuleError, RuleSource, Rules},
};

/// The one thing that this invocation does.
#[derive(Debug)]
pub enum Plan {
    /// Run a command in a jail.
    Run(RunPlan),
    /// Ask the rule about one request.
    Test(TestPlan),
    /// Remove what dead runs left.
    Cleanup {
        /// Also what stays between runs.
        all: bool,
    },
}

/// A run: rules are compiled, names and addresses parsed; no file was opened but the rule's.
#[derive(Debug)]
pub struct RunPlan {
    /// What decides.
    pub rules: Rules,
    /// The program, as given.
    pub command: OsString,
    /// Its arguments, untouched.
    pub args: Vec<OsString>,
    /// Where records go.
    pub request_log: Option<PathBuf>,
    /// How long the command may run.
    pub timeout: Option<Duration>,
    /// How the proxy reaches origins.
    pub upstream: UpstreamPlan,
}

/// How the proxy reaches origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Addresses that stand for names.
    pub resolve: Vec<Resolve>,
    /// Files of certificates to trust besides the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Special addresses that may be dialled.
    pub allow_private: Vec<PrivateRange>,
}

/// A question to the rule.
#[derive(Debug)]
pub struct TestPlan {
    /// What decides.
    pub rules: Rules,
    /// The request.
    pub facts: RequestFacts,
}

/// Why the command line is no plan; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither a command nor anything else to do.
    #[error("start: no command was given")]
    NoCommand,
    /// The rule can't be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// `--test` was given no HTTP method.
    #[error("understand --test: `{0}` isn't an HTTP method")]
    Method(String),
    /// `--test` was given no URL.
    #[error("understand --test: `{0}` isn't a URL such as https://example.com/path")]
    Url(String),
    /// The URL names no host that could be dialled.
    #[error("understand --test: `{url}`")]
    Authority {
        /// As given.
        url: String,
        /// What is wrong with it.
        source: AuthorityError,
    },
}

impl PlanError {
    /// What the user can do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NoCommand => Some(
                "name the command to run: httpjail --js \"r.host === 'example.com'\" -- curl \
                 https://example.com\n      `httpjail --help` has more"
                    .to_owned(),
            ),
            Self::Rule(_) | Self::Method(_) | Self::Url(_) | Self::Authority { .. } => None,
        }
    }
}

impl Plan {
    /// Understands what clap read. The only effect is reading the rule's file.
    pub(super) fn new(cli: Cli) -> Result<Self, PlanError> {
        if let Some(Action::Cleanup { all, verbose: _ }) = cli.action {
            return Ok(Self::Cleanup { all });
        }
        let rules = rules(cli.run.js.as_deref(), cli.run.js_file.as_deref())?;
        match cli.run.test {
            Some(words) => Ok(Self::Test(TestPlan { rules, facts: question(&words)? })),
            None => RunPlan::new(cli.run, rules).map(Self::Run),
        }
    }
}

impl RunPlan {
    fn new(run: RunArgs, rules: Rules) -> Result<Self, PlanError> {
        let mut words = run.command.into_iter();
        let command = words.next().filter(|word| !word.is_empty()).ok_or(PlanError::NoCommand)?;
        Ok(Self {
            rules,
            command,
            args: words.collect(),
            request_log: run.request_log,
            timeout: run.timeout.map(|timeout| timeout.0),
            upstream: UpstreamPlan {
                resolve: run.resolve,
                extra_ca: run.upstream_ca,
                allow_private: run.allow_private,
            },
        })
    }
}

fn rules(code: Option<&str>, file: Option<&std::path::Path>) -> Result<Rules, RuleError> {
    match (code, file) {
        (Some(code), _) => Rules::compile(&RuleSource::inline(code.into())?),
        (None, Some(path)) => Rules::compile(&RuleSource::file(path)?),
        (None, None) => Ok(Rules::Absent),
    }
}

/// Reads `URL`, `METHOD URL` or both in one word, as a request that came from this machine.
fn question(words: &[String]) -> Result<RequestFacts, PlanError> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let (method, url) = match words[..] {
        [url] => ("GET", url),
        [method, url] => (method, url),
        _ => return Err(PlanError::Url(words.join(" "))),
    };
    let method = method.to_ascii_uppercase();
    if http::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(PlanError::Method(method));
    }
    let parsed = url::Url::parse(url).map_err(|_| PlanError::Url(url.to_owned()))?;
    let scheme = match parsed.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(PlanError::Url(url.to_owned())),
    };
    let wrong = |source| PlanError::Authority { url: url.to_owned(), source };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong(AuthorityError::UserInfo));
    }
    let host = Host::parse(parsed.host_str().unwrap_or_default()).map_err(wrong)?;
    let port = match parsed.port() {
        Some(0) => return Err(wrong(AuthorityError::Port)),
        Some(port) => port,
        None => scheme.default_port(),
    };
    Ok(RequestFacts {
        method,
        scheme,
        authority: Authority::new(host, port),
        path: parsed.path().to_owned(),
        query: parsed.query().map(str::to_owned),
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: None,
    })
}
