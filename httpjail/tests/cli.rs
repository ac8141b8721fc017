//! The command line of the real binary, as far as it needs no jail.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn httpjail(words: &[&str]) -> Said {
    said(command(words))
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_httpjail"));
    command.args(words).env_remove("RUST_LOG").env_remove("NO_COLOR");
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

fn said(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    Said {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

#[test]
fn test_prints_the_verdict_and_exits_with_it() {
    let rule = "r.host === 'a.test' && r.method === 'GET' || 'only GET of a.test'";
    for (words, code, out) in [
        (
            &["https://a.test/x?y"][..],
            0,
            "ALLOW GET https://a.test/x?y\ndecided by the rule of --js\n",
        ),
        (
            &["get", "https://a.test:443"],
            0,
            "ALLOW GET https://a.test/\ndecided by the rule of --js\n",
        ),
        (
            &["https://b.test:8443/"],
            1,
            "DENY GET https://b.test:8443/\nonly GET of a.test\ndecided by the rule of --js\n",
        ),
        (
            &["POST", "http://a.test/"],
            1,
            "DENY POST http://a.test/\nonly GET of a.test\ndecided by the rule of --js\n",
        ),
        (
            &["post https://A.test/"],
            1,
            "DENY POST https://a.test/\nonly GET of a.test\ndecided by the rule of --js\n",
        ),
    ] {
        let said = httpjail(&[&["--js", rule, "--test"], words].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(code), out), "{words:?}: {}", said.err);
        assert_eq!(said.err, "", "{words:?}");
    }
}

#[test]
fn test_without_a_rule_denies() {
    let said = httpjail(&["--test", "https://a.test/"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(1), "DENY GET https://a.test/\ndecided by default: there is no rule\n")
    );
}

#[test]
fn test_names_what_decides() {
    let rule = "r.host === 'rule.test' || 'no'";
    let options = ["--allow", "GET **.a.test/x/**", "--deny=b.a.test", "--js", rule, "--test"];
    for (url, out) in [
        (
            "https://a.test/x/y",
            "ALLOW GET https://a.test/x/y\ndecided by --allow 'GET **.a.test/x/**'\n",
        ),
        (
            "https://b.a.test/x",
            "DENY GET https://b.a.test/x\ndenied by --deny 'b.a.test'\ndecided by --deny 'b.a.test'\n",
        ),
        ("https://rule.test/", "ALLOW GET https://rule.test/\ndecided by the rule of --js\n"),
        (
            "https://a.test/x/../y",
            "DENY GET https://a.test/x/../y\nno\ndecided by the rule of --js\n",
        ),
    ] {
        let said = httpjail(&[&options[..], &[url]].concat());
        assert_eq!((said.out.as_str(), said.err.as_str()), (out, ""), "{url}");
        assert_eq!(said.code, Some(i32::from(out.starts_with("DENY"))), "{url}");
    }
    let said = httpjail(&["--allow", "a.test", "--test", "https://b.test/"]);
    insta::assert_snapshot!(said.out, @r"
    DENY GET https://b.test/
    no --allow is about this request
    decided by default: there is no rule
    ");
}

#[test]
fn test_sets_the_other_facts() {
    let rule = "r.header('X-Token') === 'a, b' && r.process.exe === '/usr/bin/git' \
                && r.process.comm === 'git' && r.process.argv[0] === '/usr/bin/git' \
                && r.process.ppid > 0 && r.jail === null && r.protocol === 'HTTP/1.1'";
    let test = ["--js", rule, "--test", "https://a.test/"];
    let facts = ["--header", "X-Token: a", "--header=x-token:b", "--process", "/usr/bin/git"];
    assert_eq!(httpjail(&[&test[..], &facts[..]].concat()).code, Some(0));
    assert_eq!(httpjail(&[&test[..], &facts[..3]].concat()).code, Some(1));
}

#[test]
fn test_tells_a_limit() {
    let said = httpjail(&["--js", "({allow: {max_tx_bytes: 10}})", "--test", "http://a.test/"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.starts_with("ALLOW GET http://a.test/\n"), "{}", said.out);
    assert!(said.out.contains("10 bytes"), "{}", said.out);
}

#[test]
fn test_refuses_what_is_no_request() {
    for words in [&["a.test"][..], &["ftp://a.test/"], &["G(T", "http://a.test/"], &["a b c"]] {
        let said = httpjail(&[&["--test"], words].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(said.err.starts_with("httpjail: failed to understand --test: "), "{}", said.err);
    }
}

#[test]
fn a_rule_from_a_file_is_named_by_the_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rule.js");
    let file = path.to_str().expect("text");
    let test = |text: &str| {
        fs::write(&path, text).expect("writable");
        httpjail(&["--js-file", file, "--test", "https://a.test/"])
    };
    assert_eq!(test("// Only a.test.\nconst host = 'a.test';\nr.host === host\n").code, Some(0));
    let said = test("true;\n\nconst = 1");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains(&format!("{file} at line 3, column 7: ")), "{}", said.err);
    fs::remove_file(&path).expect("it was there");
    let said = httpjail(&["--js-file", file, "--test", "https://a.test/"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains(file) && said.err.contains("No such file"), "{}", said.err);
}

#[test]
fn nothing_is_run_when_the_rule_is_wrong() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mark = dir.path().join("mark");
    let words = ["--js", "r.host ===", "--", "touch", mark.to_str().expect("text")];
    let said = httpjail(&words);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(said.err, @"httpjail: failed to compile the rule: syntax error in --js at line 1, column 11: unexpected token in expression: ''");
    assert!(!Path::new(&mark).exists());
}

#[test]
fn wrong_usage_exits_with_2_and_says_so_on_standard_error() {
    for words in [
        &[][..],
        &["--"],
        &["--js", "true", "--js-file", "rule.js", "true"],
        &["--js", "true"],
        &["--bogus", "true"],
        &["--timeout", "soon", "true"],
        &["--allow-unix", "docker.sock", "true"],
        &["--allow-unix", "@abstract", "true"],
        &["--test", "https://a.test/", "--", "true"],
    ] {
        let said = httpjail(words);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{words:?}");
        assert!(!said.err.is_empty(), "{words:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    for (words, start) in [
        (["--help"], "Run a command so that only the HTTP(S) requests"),
        (["-h"], "Run a command so that only the HTTP(S) requests"),
        (["--version"], "httpjail "),
        (["-V"], "httpjail "),
    ] {
        let said = httpjail(&words);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}");
        assert!(said.out.starts_with(start), "{}", said.out);
    }
}

#[test]
fn a_rule_that_fails_denies_and_warns() {
    for (rule, out, warning) in [
        ("r.process.pid", "JavaScript execution failed\n", "TypeError"),
        ("for (;;);", "JavaScript execution failed\n", "100 ms"),
        (
            "const a = []; for (;;) a.push(new Array(100000).fill(0))",
            "JavaScript execution failed\n",
            "memory",
        ),
        ("(async () => true)()", "", "[object Promise]"),
        ("({})", "", "{}"),
        ("'\\u001b[31m'.length", "", "5"),
    ] {
        let said = httpjail(&["--js", rule, "--test", "https://a.test/"]);
        assert_eq!(
            said.out,
            format!("DENY GET https://a.test/\n{out}decided by the rule of --js\n"),
            "{rule}"
        );
        assert_eq!(said.code, Some(1), "{rule}");
        assert!(said.err.contains("WARN") && said.err.contains(warning), "{rule}: {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{rule}: {}", said.err);
    }
}

#[test]
fn the_console_speaks_on_standard_error_at_its_level() {
    let rule = "console.debug('d'); console.log('l', {a: [1]}, null, undefined, 1.5); \
                console.info('i'); console.warn('w\\n\\u001b[31m'); console.error('e', new Error('x')); true";
    let test = ["--js", rule, "--test", "https://a.test/"];
    let lines = |said: Said| -> Vec<String> {
        assert_eq!(said.out, "ALLOW GET https://a.test/\ndecided by the rule of --js\n");
        // The time is not what is tested.
        said.err.lines().map(|line| line["00:00:00.000".len()..].trim().to_owned()).collect()
    };
    let loud = ["WARN w\\u{a}\\u{1b}[31m", "ERROR e Error: x"];
    assert_eq!(lines(httpjail(&test)), loud);
    let all = ["DEBUG d", "INFO l {\"a\":[1]} null undefined 1.5", "INFO i", loud[0], loud[1]];
    assert_eq!(lines(httpjail(&[&["-v"], &test[..]].concat())), all[1..]);
    assert_eq!(lines(httpjail(&[&["-vv"], &test[..]].concat())), all);
    let mut command = command(&test);
    command.env("RUST_LOG", "httpjail::rules::js=error");
    assert_eq!(lines(said(command)), loud[1..]);
}
