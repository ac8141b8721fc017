//! What to do, once the command line has been understood: after this there are no raw options.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use httpjail_common::jail::{MAX_PUBLISHED, Published};

use super::args::{Action, Cli, RunArgs};
pub use super::options::{ClientCert, PrivateRange, Resolve};
use super::upstream_proxy::{self, VariableError};
use crate::{
    backend::{Privileges, user::Wishes},
    policy::{Authority, AuthorityError, HostPort, Openings, RequestFacts, Scheme},
    rules::{RuleError, RuleSource, Rules},
    upstream::Proxies,
};

/// The one thing that this invocation does.
#[derive(Debug)]
pub enum Plan {
    /// Run a command in a jail.
    Run(Box<RunPlan>),
    /// Ask the rule about one request.
    Test(TestPlan),
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
    /// Ports of the jail that programs outside can connect to.
    pub published: Published,
    /// What goes out without being read as HTTP.
    pub openings: Openings,
    /// Unix sockets, and folders of such, that the jail doesn't hide.
    pub allow_unix: Vec<PathBuf>,
    /// Whether programs in the jail gain privileges.
    pub privileges: Privileges,
    /// Whom the command runs as, if not whom it is usual.
    pub user: Option<OsString>,
    /// How many threads the proxy has, if the user says so.
    pub workers: Option<NonZeroUsize>,
    /// What becomes of it where a guard is missing that jails can do without.
    pub lacking: Lacking,
    /// What is special about the command's environment.
    pub environment: Wishes,
}

/// What is done where a guard is missing that jails can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// The jail does without, and the user is told.
    Warn,
    /// Nothing is run.
    Refuse,
}

/// How the proxy reaches origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Addresses that stand for names.
    pub resolve: Vec<Resolve>,
    /// Files of certificates to trust besides the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Certificates that some origins are shown.
    pub client_certs: Vec<ClientCert>,
    /// Proxies on the way.
    pub proxies: Proxies,
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
    /// What was meant as the value of `--allow-private` stands where the command does.
    #[error("start: `{0}` is a network, not a command")]
    Network(String),
    /// More ports than the kernel side holds.
    #[error("publish {0} ports: {MAX_PUBLISHED} are the most")]
    Published(usize),
    /// The rule can't be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The environment names a proxy that can't be used.
    #[error(transparent)]
    Proxy(#[from] VariableError),
    /// `--test` was given no HTTP method.
    #[error("understand --test: `{0}` isn't an HTTP method")]
    Method(String),
    /// `--test` was given no URL.
    #[error("understand --test: `{0}` isn't a URL such as https://example.com/path")]
    Url(String),
    /// A connection as a whole that is given a method, or no port.
    #[error("understand --test: `{0}` means a connection; it takes a port and no method")]
    Connection(String),
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
            Self::Network(network) => {
                Some(format!("write --allow-private={network}, with an equals sign"))
            }
            Self::Proxy(_) => Some(
                "name another by --upstream-proxy, or go without: --upstream-proxy none".to_owned(),
            ),
            Self::Published(_)
            | Self::Rule(_)
            | Self::Method(_)
            | Self::Url(_)
            | Self::Connection(_)
            | Self::Authority { .. } => None,
        }
    }
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
            None => {}
        }
        let rules = rules(cli.run.js.as_deref(), cli.run.js_file.as_deref())?;
        match cli.run.test {
            Some(words) => Ok(Self::Test(TestPlan { rules, facts: question(&words)? })),
            None => RunPlan::new(cli.run, rules).map(|run| Self::Run(Box::new(run))),
        }
    }
}

impl RunPlan {
    fn new(run: RunArgs, rules: Rules) -> Result<Self, PlanError> {
        let mut words = run.command.into_iter();
        let command = words.next().filter(|word| !word.is_empty()).ok_or(PlanError::NoCommand)?;
        if let Some(network) = run.allow_private.last().and_then(|_| network(&command)) {
            return Err(PlanError::Network(network));
        }
        let ports: BTreeSet<_> = run.publish.into_iter().collect();
        let ports: Vec<_> = ports.into_iter().collect();
        let published = Published::new(&ports).ok_or(PlanError::Published(ports.len()))?;
        Ok(Self {
            rules,
            command,
            args: words.collect(),
            request_log: run.request_log,
            timeout: run.timeout.map(|timeout| timeout.0),
            upstream: UpstreamPlan {
                resolve: run.resolve,
                extra_ca: run.upstream_ca,
                client_certs: run.client_cert,
                proxies: upstream_proxy::proxies(run.upstream_proxy, |name| {
                    std::env::var_os(name)
                })?,
                allow_private: run.allow_private,
            },
            published,
            openings: Openings { tcp: run.allow_tcp, passthrough: run.passthrough },
            allow_unix: run.allow_unix,
            privileges: if run.allow_new_privileges {
                Privileges::Gained
            } else {
                Privileges::Refused
            },
            user: run.user,
            workers: run.workers,
            lacking: if run.strict { Lacking::Refuse } else { Lacking::Warn },
            environment: Wishes { keep: run.keep_env, unset: run.unset_env },
        })
    }
}

/// `word`, if it is no command but a network.
fn network(word: &OsStr) -> Option<String> {
    let word = word.to_str()?;
    matches!(word.parse(), Ok(PrivateRange::Net(_))).then(|| word.to_owned())
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
        [url] => (None, url),
        [method, url] => (Some(method.to_ascii_uppercase()), url),
        _ => return Err(PlanError::Url(words.join(" "))),
    };
    match method {
        Some(method) if http::Method::from_bytes(method.as_bytes()).is_err() => {
            Err(PlanError::Method(method))
        }
        Some(method) => facts(Some(method), url),
        None => facts(None, url),
    }
}

/// Takes a URL apart without normalising its path: the proxy shows rules the path as it was sent,
/// dot segments and all, so the answer here must be the answer there.
fn facts(method: Option<String>, url: &str) -> Result<RequestFacts, PlanError> {
    let not_a_url = || PlanError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(not_a_url)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "tcp" => return connection(Scheme::Tcp, method, url, rest),
        "tls" => return connection(Scheme::Tls, method, url, rest),
        _ => return Err(not_a_url()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let wrong = |source| PlanError::Authority { url: url.to_owned(), source };
    let named = HostPort::parse(authority).map_err(wrong)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(RequestFacts {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        scheme,
        authority: Authority::new(named.host, named.port.unwrap_or(scheme.default_port())),
        path: path.to_owned(),
        query,
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: None,
    })
}

/// A connection as a whole: it has no method of its own, no path, and always a port.
fn connection(
    scheme: Scheme,
    method: Option<String>,
    url: &str,
    authority: &str,
) -> Result<RequestFacts, PlanError> {
    let wrong = |source| PlanError::Authority { url: url.to_owned(), source };
    let (HostPort { host, port: Some(port) }, None) =
        (HostPort::parse(authority).map_err(wrong)?, method)
    else {
        return Err(PlanError::Connection(url.to_owned()));
    };
    Ok(RequestFacts {
        method: scheme.as_str().to_ascii_uppercase(),
        scheme,
        authority: Authority::new(host, port),
        path: String::new(),
        query: None,
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> (String, String) {
        let facts = question(&[url.to_owned()]).unwrap();
        (facts.url(), facts.path)
    }

    #[test]
    fn shows_the_rule_the_path_as_the_proxy_would() {
        assert_eq!(
            asked("http://A.test./pub/../secret?a=b#c"),
            ("http://a.test/pub/../secret?a=b".to_owned(), "/pub/../secret".to_owned())
        );
        assert_eq!(asked("https://a.test").1, "/");
        assert_eq!(asked("https://a.test:8443?x=1").0, "https://a.test:8443/?x=1");
    }

    #[test]
    fn asks_about_connections_by_their_targets() {
        let ask = |words: &[&str]| {
            question(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        for url in ["tcp://db.test:5432", "tls://[::1]:443"] {
            let facts = ask(&[url]).unwrap();
            assert_eq!((facts.url().as_str(), facts.path.as_str()), (url, ""));
        }
        for words in [&["tcp://db.test"][..], &["GET", "tcp://db.test:1"], &["tcp://db.test:1/x"]] {
            assert!(ask(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn tells_a_network_from_a_command() {
        assert_eq!(network(OsStr::new("10.0.0.0/8")).as_deref(), Some("10.0.0.0/8"));
        for command in ["all", "curl", "./10.0.0.0/8", "bin/8"] {
            assert_eq!(network(OsStr::new(command)), None, "{command}");
        }
    }

    #[test]
    fn refuses_what_names_no_host() {
        for url in ["a.test", "ftp://a.test/", "http://", "http://u:p@a.test/", "http://a:0/"] {
            assert!(question(&[url.to_owned()]).is_err(), "{url}");
        }
    }
}
