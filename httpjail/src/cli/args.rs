//! The shape of the command line: what clap reads, without any effect.

use std::{
    ffi::OsString,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use clap::{
    ArgAction, Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::{
    options::{self, ClientCert, PrivateRange, Resolve, Timeout},
    question::{HeaderField, Program},
    upstream_proxy::UpstreamProxy,
};
use crate::policy::{HostPattern, RequestPattern, TcpTarget};

/// Shown below the options on the page of `--help`.
const AFTER_HELP: &str = "\
Rules:
  The rule is JavaScript; the value of its last expression decides. It sees the request as `r`:
    r.method  r.url  r.scheme  r.host  r.port  r.path  r.query  r.protocol  r.requester_ip
    r.headers       the fields by their lower-case names, or r.header(NAME) for one, or null
    r.process       {pid, ppid, uid, comm, exe, argv} of the program that connected, or null
    r.jail  r.time  the run's id, and when it came, in ms since 1970
  It answers with true or false, with a text (denied, with that text as the message), with
  {allow, deny_message}, or with {allow: {max_tx_bytes: N}} to bound what is sent. Anything
  else, an error, and more than 100 ms or 64 MiB, is a denial. Without a rule, all is denied.
  A connection that isn't HTTP has the scheme `tcp`; only {allow: {tcp: true}} opens it.

Patterns:
  --allow and --deny take '[METHOD[,METHOD] ]HOST[:PORT][/PATH]'. A part left out stands for
  all, but --allow without a port means 80 for http and 443 for https; :* means every port.
  * is one label of the host or one segment of the path, ** is any number of them:
  *.example.com, **.example.com (itself included), /repos/*/issues, /repos/**. Queries aren't
  looked at. --deny wins over --allow, and both over the rule. A path with dot segments or
  encoded slashes fits no --allow that names a path, and each --deny that any reading of it
  fits. --allow opens nothing but HTTP.

Rules that are programs:
  They run as the user who called, outside of the jail. One of --sh finds the request in
  HTTPJAIL_URL, _METHOD, _SCHEME, _HOST, _PORT, _PATH, _QUERY, _REQUESTER_IP, _PID, _EXE and
  _HEADERS (JSON); exit status 0 allows, any other denies with what it printed as the message, and
  so do 30 seconds.
  One of --proc reads a line of JSON for each request (as `r`, with an `id`) and answers with a
  line: as above, or any other text to deny with. An answer that repeats the `id`, as in
  {\"id\": 7, \"allow\": true}, lets it have many requests at a time. It has 5 seconds for each.

Examples:
  Only GitHub:
    httpjail --allow github.com -- git clone https://github.com/x/y

  The same, as a rule:
    httpjail --js \"r.host === 'github.com'\" -- git clone https://github.com/x/y

  Read but not write, and keep a log:
    httpjail --js \"['GET', 'HEAD'].includes(r.method)\" --request-log requests.log -- ./agent

  Have a script decide:
    httpjail --sh 'grep -qxF \"$HTTPJAIL_HOST\" allowed-hosts' -- npm install

  Without root; nothing forces the command to use the proxy that its environment names:
    httpjail --weak --js \"r.host === 'github.com'\" -- git clone https://github.com/x/y

  A proxy for programs that somebody else tells of it; SIGHUP reads the rule again:
    httpjail --server --js-file rule.js

  Ask a rule about one request, without running anything:
    httpjail --js-file rule.js --test POST https://api.example.com/v1/items

Exit codes:
  The command's own, or 128 + N when signal N ended it; 124 at the timeout; 125 when httpjail
  failed; 126 when the command can't be run, 127 when it isn't found; 2 for wrong usage, a
  syntax error in a rule included.";

/// The ways to call it.
#[cfg(target_os = "linux")]
const USAGE: &str = "httpjail [OPTIONS] [--] COMMAND [ARGS]...
       httpjail [OPTIONS] --test [METHOD] URL
       httpjail [OPTIONS] --server
       httpjail cleanup [--all]
       httpjail doctor [--json]
       httpjail ca [--path | --print]
       httpjail trust [--install | --remove]";
#[cfg(target_os = "macos")]
const USAGE: &str = "httpjail [OPTIONS] [--] COMMAND [ARGS]...
       httpjail [OPTIONS] --test [METHOD] URL
       httpjail setup [--user NAME]
       httpjail cleanup
       httpjail doctor [--json]
       httpjail ca [--path | --print]
       httpjail trust [--install | --remove]";

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

/// What can be asked for instead of a run.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Remove what dead runs left behind
    Cleanup {
        /// Also remove what stays between runs, when no jail lives
        #[arg(long)]
        all: bool,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Make an account that jailed commands run as
    #[cfg(target_os = "macos")]
    Setup {
        /// Its name: _httpjail, or that with letters or digits behind it
        #[arg(long, value_name = "NAME")]
        user: Option<OsString>,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Try every guard that a jail needs, and say what is missing on this host
    Doctor {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Show the certificate that programs must trust which use the proxy of --server
    Ca {
        #[command(flatten)]
        form: CaForm,

        #[command(flatten)]
        verbose: Verbose,
    },
    /// Tell whether this system trusts that certificate, and how it comes to
    Trust {
        #[command(flatten)]
        wanted: Wanted,

        #[command(flatten)]
        verbose: Verbose,
    },
}

/// Which of the forms of the authority's certificate.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct CaForm {
    /// Print where its file is; this is what is done without an option
    #[arg(long)]
    pub(super) path: bool,

    /// Print it (PEM)
    #[arg(long)]
    pub(super) print: bool,
}

/// What the system's trust should become.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Wanted {
    /// Say how this system comes to trust it
    #[cfg_attr(target_os = "macos", arg(help = "Let this user trust it; the system asks"))]
    #[arg(long)]
    pub(super) install: bool,

    /// Say how this system ceases to trust it
    #[cfg_attr(target_os = "macos", arg(help = "Remove it from this user's keychain"))]
    #[arg(long)]
    pub(super) remove: bool,
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
    #[arg(long, value_name = "FILE")]
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
        conflicts_with_all = [
            "command",
            "request_log",
            "record",
            "log_full_urls",
            "summary",
            "timeout",
            "upstream_ca",
            "resolve",
            "allow_private",
            "publish",
            "allow_tcp",
            "passthrough",
            "allow_unix",
            "allow_new_privileges",
            "user",
            "keep_env",
            "unset_env",
            "strict",
        ]
    )]
    pub(super) test: Option<Vec<String>>,

    /// With --test: the request has this header field; repeatable
    #[arg(long, value_name = "NAME: VALUE", requires = "test", conflicts_with = "command")]
    pub(super) header: Vec<HeaderField>,

    /// With --test: this program sends the request
    #[arg(long, value_name = "EXE", requires = "test", conflicts_with = "command")]
    pub(super) process: Option<Program>,

    /// Tell the command of the proxy by its environment (HTTPS_PROXY), without root and without force
    #[arg(
        long,
        conflicts_with_all = [
            "test",
            "publish",
            "allow_unix",
            "allow_new_privileges",
            "strict",
        ]
    )]
    pub(super) weak: bool,

    /// Serve as a proxy alone, at 127.0.0.1:8080 and :8443 (HTTPJAIL_HTTP_BIND, HTTPJAIL_HTTPS_BIND)
    #[arg(
        long,
        conflicts_with_all = [
            "command",
            "test",
            "weak",
            "timeout",
            "publish",
            "allow_unix",
            "allow_new_privileges",
            "user",
            "keep_env",
            "unset_env",
            "strict",
        ]
    )]
    pub(super) server: bool,

    /// Append one line for each request: time, + or -, method, URL
    #[arg(long, value_name = "FILE")]
    pub(super) request_log: Option<PathBuf>,

    /// Append one JSON object for each request, connection, name and refusal (docs/records.md)
    #[arg(long, value_name = "FILE")]
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
    #[arg(long, value_name = "FILE")]
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
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<OsString>,

    /// Leave this variable as it is in the command's environment; repeatable
    #[arg(long, value_name = "NAME")]
    pub(super) keep_env: Vec<OsString>,

    /// Take this variable out of the command's environment; repeatable
    #[arg(long, value_name = "NAME")]
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
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
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
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["httpjail"].iter().chain(words))
    }

    fn command(words: &[&str]) -> Vec<String> {
        let cli = parse(words).unwrap();
        assert!(cli.action.is_none(), "{words:?}");
        cli.run.command.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn leaves_the_command_untouched() {
        for (words, expected) in [
            (&["true"][..], &["true"][..]),
            (&["--", "true"], &["true"]),
            (&["-v", "curl", "-v", "--js", "x"], &["curl", "-v", "--js", "x"]),
            (&["--js", "x", "--", "curl", "-sI", "u"], &["curl", "-sI", "u"]),
            (&["sh", "-c", "a", "--", "b"], &["sh", "-c", "a", "--", "b"]),
            (&["--", "sh", "--", "b"], &["sh", "--", "b"]),
            (&["--", "--js"], &["--js"]),
            (&["env", "--help"], &["env", "--help"]),
            (&["env", "-V"], &["env", "-V"]),
            (&["env", ""], &["env", ""]),
            (&["--", "cleanup"], &["cleanup"]),
            (&["--", "cleanup", "--all"], &["cleanup", "--all"]),
            (&["--", "doctor"], &["doctor"]),
            (&["sudo", "cleanup"], &["sudo", "cleanup"]),
            (&["help"], &["help"]),
        ] {
            assert_eq!(command(words), expected, "{words:?}");
        }
    }

    #[test]
    fn knows_cleanup_by_its_bare_name() {
        for (words, expected) in
            [(&["cleanup"][..], false), (&["cleanup", "--all"], true), (&["cleanup", "-v"], false)]
        {
            let Some(Action::Cleanup { all, .. }) = parse(words).unwrap().action else {
                panic!("{words:?}");
            };
            assert_eq!(all, expected, "{words:?}");
        }
    }

    #[test]
    fn knows_what_shows_certificates() {
        let action = |words: &[&str]| parse(words).unwrap().action;
        for (words, prints) in
            [(&["ca"][..], false), (&["ca", "--path"], false), (&["ca", "--print"], true)]
        {
            let Some(Action::Ca { form, .. }) = action(words) else { panic!("{words:?}") };
            assert_eq!(form.print, prints, "{words:?}");
        }
        for (words, expected) in [
            (&["trust"][..], (false, false)),
            (&["trust", "--install"], (true, false)),
            (&["trust", "--remove"], (false, true)),
        ] {
            let Some(Action::Trust { wanted, .. }) = action(words) else { panic!("{words:?}") };
            assert_eq!((wanted.install, wanted.remove), expected, "{words:?}");
        }
    }

    #[test]
    fn a_server_needs_no_command_and_takes_what_is_about_the_way_out() {
        let words = ["--server", "--js-file", "r.js", "--request-log", "l", "--upstream-ca", "a"];
        let run = parse(&words).unwrap().run;
        assert!(run.server && !run.weak && run.command.is_empty());
        assert!(parse(&["--weak", "--timeout", "1", "--user", "x", "cmd"]).unwrap().run.weak);
    }

    #[test]
    fn reads_every_option() {
        let run = parse(&[
            "--js-file",
            "r.js",
            "--request-log",
            "log",
            "--record=records",
            "--log-full-urls",
            "--summary",
            "--timeout",
            "1.5",
            "--upstream-ca",
            "a",
            "--upstream-ca",
            "b",
            "--client-cert",
            "a.test=c,k",
            "--client-cert=*.b.test=c,k",
            "--upstream-proxy",
            "none",
            "--resolve",
            "a.test=::1",
            "--resolve",
            "b.test=[::1]",
            "--allow-private=10.0.0.0/8",
            "--allow-private",
            "--strict",
            "--publish=80",
            "--publish",
            "65535",
            "--allow-unix",
            "/run/a",
            "--allow-unix=/run/b",
            "--allow-tcp",
            "git.test:22",
            "--allow-tcp=*.db.test:*",
            "--passthrough=*.bank.test",
            "--allow",
            "GET,POST a.test:80/x",
            "--allow=b.test",
            "--deny",
            "**/admin/**",
            "--allow-new-privileges",
            "-vv",
            "-v",
            "cmd",
        ])
        .unwrap()
        .run;
        assert_eq!(run.js_file, Some("r.js".into()));
        assert_eq!(run.request_log, Some("log".into()));
        assert_eq!(run.record, Some("records".into()));
        assert!(run.log_full_urls && run.summary);
        assert_eq!(run.timeout.unwrap().0.as_millis(), 1500);
        assert_eq!(run.upstream_ca, [PathBuf::from("a"), "b".into()]);
        assert_eq!(run.client_cert.len(), 2);
        assert_eq!(run.upstream_proxy, Some(UpstreamProxy::None));
        assert_eq!(run.resolve.len(), 2);
        let net = PrivateRange::Net("10.0.0.0/8".parse().unwrap());
        assert_eq!(run.allow_private, [net, PrivateRange::All]);
        assert!(run.strict && !parse(&["cmd"]).unwrap().run.strict);
        assert_eq!(run.publish.iter().map(|port| port.get()).collect::<Vec<_>>(), [80, 65535]);
        assert_eq!(run.allow_unix, [PathBuf::from("/run/a"), "/run/b".into()]);
        assert_eq!(run.allow_tcp.len(), 2);
        assert_eq!(run.passthrough, ["*.bank.test".parse().unwrap()]);
        assert_eq!(run.allow, ["GET,POST a.test:80/x", "b.test"].map(|it| it.parse().unwrap()));
        assert_eq!(run.deny, ["**/admin/**".parse().unwrap()]);
        assert!(run.allow_new_privileges);
        assert_eq!(run.verbose.verbose, 3);
        assert_eq!(run.command, ["cmd"]);
    }

    #[test]
    fn takes_a_rule_that_starts_with_a_hyphen() {
        assert_eq!(parse(&["--js", "-1", "cmd"]).unwrap().run.js.unwrap(), "-1");
    }

    #[test]
    fn takes_one_or_two_words_after_test() {
        for words in [&["--test", "u"][..], &["--test", "POST", "u"], &["--test", "POST u"]] {
            let run = parse(words).unwrap().run;
            assert_eq!(run.test.unwrap(), &words[1..]);
            assert!(run.command.is_empty());
        }
        assert!(parse(&["--test", "u", "--js", "true"]).unwrap().run.js.is_some());
    }

    #[test]
    fn refuses_what_is_unclear() {
        for words in [
            &["--bogus", "cmd"][..],
            &["--js", "a", "--js-file", "b", "cmd"],
            &["--js", "a", "--js", "b", "cmd"],
            &["--sh", "a", "--proc", "b", "cmd"],
            &["--sh", "a", "--js", "b", "cmd"],
            &["--js-file", "a", "--proc", "b", "cmd"],
            &["--proc"],
            &["--js"],
            &["--test"],
            &["--test", "GET", "u", "cmd"],
            &["--test", "u", "--", "cmd"],
            &["--test", "u", "--request-log", "log"],
            &["--test", "u", "--record", "records"],
            &["--test", "u", "--log-full-urls"],
            &["--test", "u", "--summary"],
            &["--test", "u", "--timeout", "1"],
            &["--test", "u", "--upstream-ca", "a"],
            &["--test", "u", "--resolve", "a.test=::1"],
            &["--test", "u", "--allow-private"],
            &["--test", "u", "--publish", "80"],
            &["--test", "u", "--allow-tcp", "a.test:22"],
            &["--test", "u", "--passthrough", "a.test"],
            &["--test", "u", "--allow-unix", "/run/a"],
            &["--test", "u", "--allow-new-privileges"],
            &["--test", "u", "--user", "root"],
            &["--test", "u", "--keep-env", "A"],
            &["--test", "u", "--unset-env", "A"],
            &["--strict", "--test", "u"],
            &["--header", "a: b", "cmd"],
            &["--process", "/bin/sh", "cmd"],
            &["--test", "u", "--header", "a"],
            &["--test", "u", "--process", "sh"],
            &["--timeout", "0", "cmd"],
            &["--resolve", "a", "cmd"],
            &["--client-cert", "a.test=c", "cmd"],
            &["--upstream-proxy", "socks5://a.test", "cmd"],
            &["--allow-private=", "cmd"],
            &["--allow-private=x", "cmd"],
            &["--publish", "0", "cmd"],
            &["--publish", "65536", "cmd"],
            &["--publish", "8080:80", "cmd"],
            &["--allow-unix", "relative", "cmd"],
            &["--allow-unix", "@abstract", "cmd"],
            &["--allow-unix=", "cmd"],
            &["--allow-tcp", "a.test", "cmd"],
            &["--allow-tcp", "a.test:53", "cmd"],
            &["--passthrough", "a.test:443", "cmd"],
            &["--passthrough", "192.0.2.1", "cmd"],
            &["--allow", "GET", "a.test", "cmd"],
            &["--deny", "https://a.test", "cmd"],
            &["--weak", "--test", "u"],
            &["--weak", "--strict", "cmd"],
            &["--weak", "--publish", "80", "cmd"],
            &["--weak", "--allow-unix", "/run/a", "cmd"],
            &["--weak", "--allow-new-privileges", "cmd"],
            &["--server", "cmd"],
            &["--server", "--weak"],
            &["--server", "--test", "u"],
            &["--server", "--timeout", "1"],
            &["--server", "--strict"],
            &["--server", "--user", "root"],
            &["ca", "--path", "--print"],
            &["ca", "more"],
            &["trust", "--install", "--remove"],
            &["cleanup", "--js", "a"],
            &["cleanup", "more"],
        ] {
            assert!(parse(words).is_err_and(|error| error.exit_code() == 2), "{words:?}");
        }
    }

    #[test]
    fn explains_itself() {
        insta::assert_snapshot!("help", Cli::command().term_width(100).render_help());
    }

    #[test]
    fn says_what_was_wrong() {
        let complaints: Vec<String> = [
            &["--bogus", "cmd"][..],
            &["--js", "a", "--js-file", "b", "cmd"],
            &["--timeout", "0", "cmd"],
            &["--resolve", "a", "cmd"],
            &["--client-cert", "a.test=c.pem", "cmd"],
            &["--client-cert", "*=c.pem,k.pem", "cmd"],
            &["--allow", "GET", "a.test", "cmd"],
            &["--deny", "POST api*.test", "cmd"],
            &["--upstream-proxy", "socks5h://a.test:1080", "cmd"],
            &["--upstream-proxy", "http://a.test:x", "cmd"],
            &["--allow-private=10.1.2.3/8", "cmd"],
            &["--allow-unix", "docker.sock", "cmd"],
            &["--allow-unix", "@/tmp/.X11-unix/X0", "cmd"],
            &["--allow-tcp", "2001:db8::1:22", "cmd"],
            &["--passthrough", "https://a.test", "cmd"],
            &["cleanup", "more"],
            &["--server", "cmd"],
            &["--weak", "--strict", "cmd"],
        ]
        .iter()
        .map(|words| format!("$ httpjail {}\n{}", words.join(" "), parse(words).unwrap_err()))
        .collect();
        insta::assert_snapshot!("complaints", complaints.join("\n"));
    }
}
