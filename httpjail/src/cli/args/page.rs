//! What the page of `--help` says besides the options.

/// Shown below the options on the page of `--help`.
pub(in crate::cli) const AFTER_HELP: &str = "\
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

  A container; what follows is for `docker run`, or `podman run`:
    httpjail docker-run --allow github.com -- --rm -it debian git clone https://github.com/x/y

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
pub(in crate::cli) const USAGE: &str = "httpjail [OPTIONS] [--] COMMAND [ARGS]...
       httpjail [OPTIONS] --test [METHOD] URL
       httpjail [OPTIONS] --server
       httpjail docker-run [OPTIONS] -- ARGS...
       httpjail cleanup [--all]
       httpjail doctor [--json]
       httpjail ca [--path | --print]
       httpjail trust [--install | --remove]";
#[cfg(target_os = "macos")]
pub(in crate::cli) const USAGE: &str = "httpjail [OPTIONS] [--] COMMAND [ARGS]...
       httpjail [OPTIONS] --test [METHOD] URL
       httpjail [OPTIONS] --server
       httpjail setup [--user NAME]
       httpjail cleanup
       httpjail doctor [--json]
       httpjail ca [--path | --print]
       httpjail trust [--install | --remove]";
