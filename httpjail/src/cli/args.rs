//! The shape of the command line: what clap reads, without any effect.

mod action;
mod page;

use std::{
    ffi::{OsStr, OsString},
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use clap::{
    ArgAction, Args, CommandFactory, Parser, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};

pub(super) use self::action::Action;
pub(super) use self::page::{AFTER_HELP, USAGE};
use super::{
    options::{self, ClientCert, PrivateRange, Resolve, Timeout},
    question::{HeaderField, Program},
    upstream_proxy::UpstreamProxy,
};
use crate::policy::{HostPattern, RequestPattern, TcpTarget};

/// Options that are about a command and what is around it.
const OF_A_COMMAND: [&str; 4] = ["timeout", "user", "keep_env", "unset_env"];

/// Options that only the kernel's guards can keep.
const OF_A_JAIL: [&str; 4] = ["publish", "allow_unix", "allow_new_privileges", "strict"];

/// Options about the way that allowed requests take, and what is written of them.
const OF_TRAFFIC: [&str; 9] = [
    "request_log",
    "record",
    "log_full_urls",
    "summary",
    "upstream_ca",
    "resolve",
    "allow_private",
    "allow_tcp",
    "passthrough",
];

/// Run a command so that only the HTTP(S) requests that a rule allows get out.
#[derive(Debug, Parser)]
#[command(
    name = "httpjail",
    version,
    after_help = AFTER_HELP,
    override_usage = USAGE,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    next_line_help = false
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) action: Option<Action>,

    #[command(flatten)]
    pub(super) run: RunArgs,
}

impl Cli {
    /// Reads the words of a command line, the first of which is httpjail's own name.
    ///
    /// # Errors
    ///
    /// Clap's own, which may be a page of help.
    pub(super) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words: Vec<_> = words.into_iter().collect();
        let verbose = words.iter().skip(1).take_while(|word| is_verbosity(word)).count();
        let named = words.get_mut(verbose + 1);
        if let Some(word) = named.filter(|word| *word == "docker-run") {
            // The same by another name, with all its options.
            *word = "--docker-run".into();
        } else if verbose > 0
            && words
                .get(verbose + 1)
                .is_some_and(|it| Self::command().find_subcommand(it).is_some())
        {
            // Clap takes any option before the name of an action for a sign that a command of this
            // name is to be run.
            words[1..=verbose + 1].rotate_right(1);
        }
        Self::try_parse_from(words)
    }
}

/// Whether it is `-v`, as often as you like.
fn is_verbosity(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        word == "--verbose" || !letters.is_empty() && letters.bytes().all(|it| it == b'v')
    })
}

/// Options of a run, of `--server` and of `--test`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The rule that decides about each request
    #[arg(long, value_name = "CODE", conflicts_with = "js_file", allow_hyphen_values = true)]
    pub(super) js: Option<String>,

    /// A file that holds the rule; it's read anew when it changes, if the command can't write it
    #[cfg_attr(
        target_os = "macos",
        arg(help = "A file that holds the rule; it's read once, at the start")
    )]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) js_file: Option<PathBuf>,

    /// Run this program for each request; a script with spaces is the shell's
    #[arg(
        long,
        value_name = "SCRIPT",
        conflicts_with_all = ["js", "js_file"],
        allow_hyphen_values = true
    )]
    pub(super) sh: Option<OsString>,

    /// Ask this running program about each request, line by line
    #[arg(
        long,
        value_name = "CMD",
        conflicts_with_all = ["js", "js_file", "sh"],
        allow_hyphen_values = true
    )]
    pub(super) proc: Option<OsString>,

    /// Allow these requests, whatever the rule says; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(super) allow: Vec<RequestPattern>,

    /// Deny these requests, whatever else allows them; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(super) deny: Vec<RequestPattern>,

    /// Print what comes of one request and what decides about it, and run nothing
    #[arg(
        long,
        value_name = "[METHOD] URL",
        num_args = 1..=2,
        conflicts_with = "command",
        conflicts_with_all = OF_A_COMMAND,
        conflicts_with_all = OF_A_JAIL,
        conflicts_with_all = OF_TRAFFIC
    )]
    pub(super) test: Option<Vec<String>>,

    /// With --test: the request has this header field; repeatable
    #[arg(long, value_name = "NAME: VALUE", requires = "test", conflicts_with = "command")]
    pub(super) header: Vec<HeaderField>,

    /// With --test: this program sends the request
    #[arg(long, value_name = "EXE", requires = "test", conflicts_with = "command")]
    pub(super) process: Option<Program>,

    /// Tell the command of the proxy by its environment (HTTPS_PROXY), without root and without force
    #[arg(long, conflicts_with = "test", conflicts_with_all = OF_A_JAIL)]
    pub(super) weak: bool,

    /// Serve as a proxy alone, at 127.0.0.1:8080 and :8443 (HTTPJAIL_HTTP_BIND, HTTPJAIL_HTTPS_BIND)
    #[arg(
        long,
        conflicts_with_all = ["command", "test", "weak"],
        conflicts_with_all = OF_A_COMMAND,
        conflicts_with_all = OF_A_JAIL
    )]
    pub(super) server: bool,

    /// Jail a container: the arguments are those of `docker run`, or `podman run`; also: docker-run
    #[arg(
        long,
        conflicts_with_all = ["test", "weak", "server", "publish", "allow_new_privileges"],
        conflicts_with_all = ["user", "keep_env", "unset_env"]
    )]
    pub(super) docker_run: bool,

    /// With --docker-run: the tool, instead of docker or else podman, whichever answers
    #[arg(long, value_name = "TOOL", requires = "docker_run")]
    pub(super) engine: Option<OsString>,

    /// Append one line for each request: time, + or -, method, URL
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) request_log: Option<PathBuf>,

    /// Append one JSON object for each request, connection, name and refusal (docs/records.md)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) record: Option<PathBuf>,

    /// Write whole URLs to logs and records, with the queries, which often hold credentials
    #[arg(long)]
    pub(super) log_full_urls: bool,

    /// At the end, tell what was requested; in a GitHub job, on its page, too
    #[arg(long)]
    pub(super) summary: bool,

    /// Kill the command and all that it started after this time
    #[arg(long, value_name = "SECS")]
    pub(super) timeout: Option<Timeout>,

    /// Trust these certificates (PEM) upstream, besides the system's; repeatable
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) upstream_ca: Vec<PathBuf>,

    /// Show this certificate (PEM) to origins at HOST, or *.HOST, that ask for one; repeatable
    #[arg(long, value_name = "HOST=CERT,KEY")]
    pub(super) client_cert: Vec<ClientCert>,

    /// Go through this HTTP proxy instead of the environment's (HTTPS_PROXY), or through none
    #[arg(long, value_name = "URL|none")]
    pub(super) upstream_proxy: Option<UpstreamProxy>,

    /// Use this address for that name, upstream; repeatable
    #[arg(long, value_name = "NAME=ADDR")]
    pub(super) resolve: Vec<Resolve>,

    /// Let allowed requests go to private, loopback and other special addresses; repeatable
    #[arg(
        long,
        value_name = "CIDR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    pub(super) allow_private: Vec<PrivateRange>,

    /// Let programs on this machine connect to this TCP port of the command; repeatable
    #[arg(long, value_name = "PORT", value_parser = options::port)]
    pub(super) publish: Vec<NonZeroU16>,

    /// Let connections to this target pass unread, whatever is spoken; * is a wildcard; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) allow_tcp: Vec<TcpTarget>,

    /// Don't look into TLS to this server name, if the rule allows it; * is a wildcard; repeatable
    #[arg(long, value_name = "HOST", value_parser = HostPattern::server_name)]
    pub(super) passthrough: Vec<HostPattern>,

    /// Leave this Unix socket, or those below this folder, within the command's reach; repeatable
    #[arg(
        long,
        value_name = "PATH",
        value_parser = OsStringValueParser::new().try_map(options::socket_path)
    )]
    pub(super) allow_unix: Vec<PathBuf>,

    /// Let programs that the command runs gain privileges, as set-user-id ones (sudo) do
    #[arg(long)]
    pub(super) allow_new_privileges: bool,

    /// Run the command as this user, by name or id, instead of the one who called sudo
    #[arg(long, value_name = "USER", value_hint = ValueHint::Username)]
    pub(super) user: Option<OsString>,

    /// Leave this variable as it is in the command's environment; repeatable
    #[arg(
        long,
        value_name = "NAME",
        value_parser = OsStringValueParser::new().try_map(options::variable)
    )]
    pub(super) keep_env: Vec<OsString>,

    /// Take this variable out of the command's environment; repeatable
    #[arg(
        long,
        value_name = "NAME",
        value_parser = OsStringValueParser::new().try_map(options::variable)
    )]
    pub(super) unset_env: Vec<OsString>,

    /// Serve the jail's connections on so many threads, instead of on one for every two cores
    #[arg(long, value_name = "N", value_parser = options::workers)]
    pub(super) workers: Option<NonZeroUsize>,

    /// Run nothing where a guard is missing that jails can do without, or the command can write its
    /// --js-file
    #[arg(long)]
    pub(super) strict: bool,

    #[command(flatten)]
    pub(super) verbose: Verbose,

    /// The command to run in the jail
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(super) command: Vec<OsString>,
}

/// How much httpjail says on standard error.
#[derive(Debug, Args)]
pub(super) struct Verbose {
    /// Say more on standard error: -v info, -vv debug, -vvv trace (RUST_LOG wins)
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

#[cfg(test)]
mod tests;
