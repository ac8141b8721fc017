use super::*;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::read(["httpjail"].iter().chain(words).map(OsString::from))
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
        (&["-v", "--", "cleanup"], &["cleanup"]),
        (&["-v", "cleaner"], &["cleaner"]),
        (&["--summary", "-v", "cleanup"], &["cleanup"]),
    ] {
        assert_eq!(command(words), expected, "{words:?}");
    }
}

#[test]
fn knows_cleanup_by_its_bare_name() {
    for (words, expected) in [
        (&["cleanup"][..], (false, 0)),
        (&["cleanup", "--all"], (true, 0)),
        (&["cleanup", "-v"], (false, 1)),
        (&["-v", "cleanup"], (false, 1)),
        (&["-vv", "--verbose", "cleanup", "--all", "-v"], (true, 4)),
    ] {
        let Some(Action::Cleanup { all, verbose }) = parse(words).unwrap().action else {
            panic!("{words:?}");
        };
        assert_eq!((all, verbose.verbose), expected, "{words:?}");
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
fn a_containers_arguments_are_the_tools() {
    let read = |words: &[&str]| {
        let words = ["httpjail"].iter().chain(words).map(OsString::from);
        Cli::read(words).map(|cli| (cli.run.docker_run, cli.run.engine, cli.run.command))
    };
    let args: Vec<OsString> = ["--rm", "-it", "image", "sh"].map(OsString::from).into();
    let jailed = (true, None, args.clone());
    assert_eq!(read(&["--docker-run", "--", "--rm", "-it", "image", "sh"]).unwrap(), jailed);
    assert_eq!(read(&["docker-run", "--", "--rm", "-it", "image", "sh"]).unwrap(), jailed);
    let words =
        ["docker-run", "--js", "x", "--engine", "podman", "--", "--rm", "-it", "image", "sh"];
    assert_eq!(read(&words).unwrap(), (true, Some("podman".into()), args));
    let (is_run, _, command) = read(&["--", "docker-run", "x"]).unwrap();
    assert_eq!((is_run, command), (false, vec!["docker-run".into(), "x".into()]));
    for words in [
        &["--docker-run", "--weak", "--", "x"][..],
        &["--docker-run", "--server"],
        &["docker-run", "--test", "u"],
        &["docker-run", "--publish", "80", "--", "x"],
        &["docker-run", "--user", "x", "--", "x"],
        &["docker-run", "--keep-env", "x", "--", "x"],
        &["--engine", "podman", "--", "x"],
        &["docker-run", "--rm", "x"],
    ] {
        read(words).unwrap_err();
    }
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
        &["--allow", "ex ample", "cmd"],
        &["--keep-env", "A=B", "cmd"],
        &["--keep-env=", "cmd"],
        &["--unset-env", "A=B", "cmd"],
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
        &["--allow", "ex ample", "cmd"],
        &["--keep-env", "A=B", "cmd"],
        &["cleanup", "more"],
        &["--server", "cmd"],
        &["--weak", "--strict", "cmd"],
    ]
    .iter()
    .map(|words| format!("$ httpjail {}\n{}", words.join(" "), parse(words).unwrap_err()))
    .collect();
    insta::assert_snapshot!("complaints", complaints.join("\n"));
}
