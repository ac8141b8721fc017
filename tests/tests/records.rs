//! Records and the summary of real runs: one record for each thing asked for, however it ends.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use httpjail_tests::{BANNER, Finished, Invocation, Lab, USER_UID, addresses::WIRE_V4, records};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RULE: &str = "r.host !== 'no.test'";

fn recorded<'lab>(lab: &'lab Lab, name: &str) -> (Invocation<'lab>, PathBuf) {
    let path = lab.home().join(name);
    let jail = lab.jail().js(RULE).option("--record").option(&path);
    (jail, path)
}

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

/// What a record says in short.
fn short(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let status = record["status"].as_u64().map_or("-".to_owned(), |status| status.to_string());
    let fault = record["error"]["fault"].as_str().unwrap_or("-");
    format!("{} {} {status} {fault}", text("decision"), text("url"))
}

#[test]
fn each_outcome_has_one_record() {
    let lab = Lab::new();
    lab.origin("a.test");
    lab.set_name("gone.test", &[]);
    let script = "curl -s -o /dev/null --data abc 'http://a.test/x?token=secret'
        curl -s -o /dev/null https://a.test/h2
        curl -s -o /dev/null http://no.test/
        curl -s -o /dev/null http://gone.test/
        curl -s -o /dev/null -H 'Host: a b' http://a.test/
        curl -s -o /dev/null --capath /nowhere --cacert CA https://a.test/
        exit 0";
    let (jail, path) = recorded(&lab, "records.jsonl");
    // The origins' authority isn't the run's.
    let script = script.replace("CA", &lab.ca_file().to_string_lossy());
    let jailed = jail.sh(&script).exits(0);
    let all = records::read(&path);
    let requests: Vec<_> = of_kind(&all, "request").into_iter().map(short).collect();
    assert_eq!(
        requests,
        [
            "allow http://a.test/x?<redacted> 200 -",
            "allow https://a.test/h2 200 -",
            "deny http://no.test/ 403 -",
            "allow http://gone.test/ 502 upstream",
            "deny - 400 jailed",
        ]
    );
    let tcp: Vec<_> = of_kind(&all, "tcp").into_iter().map(short).collect();
    assert_eq!(tcp, ["deny tls://a.test:443 - jailed"]);
    assert_eq!(jailed.log.len(), requests.len() + tcp.len(), "{jailed:?}");
    assert!(!fs::read_to_string(&path).expect("it is there").contains("secret"));
    assert!(!jailed.log.concat().contains("secret"), "{jailed:?}");
    let [first, second, ..] = of_kind(&all, "request")[..] else { panic!("two at least") };
    assert_eq!((&first["bytes_sent"], &first["bytes_received"]), (&json!(3), &json!(18)));
    assert_eq!((&first["protocol"], &second["protocol"]), (&json!("http/1.1"), &json!("h2")));
    assert_eq!(first["rule"], json!({"engine": "js", "reason": "rule"}));
    let exe = first["process"]["exe"].as_str().expect("curl was there when it connected");
    assert!(exe.ends_with("/curl"), "{exe}");
    let names: Vec<_> = of_kind(&all, "dns").into_iter().map(|dns| dns["name"].clone()).collect();
    assert_eq!(names, ["a.test", "no.test", "gone.test"]);
    let run = first["jail"].as_str().expect("the run's id");
    assert!(run.len() == 8 && all.iter().all(|record| record["jail"] == run));
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    lab.assert_clean();
}

#[test]
fn whole_urls_are_written_on_request() {
    let lab = Lab::new();
    lab.origin("a.test");
    let (jail, path) = recorded(&lab, "records.jsonl");
    let script = "curl -s -o /dev/null 'http://a.test/x?token=secret'";
    let jailed = jail.option("--log-full-urls").sh(script).exits(0);
    assert_eq!(jailed.log, ["+ GET http://a.test/x?token=secret"]);
    let all = records::read(&path);
    let request = of_kind(&all, "request")[0];
    assert_eq!(request["url"], "http://a.test/x?token=secret");
    assert_eq!(request["query"], "token=secret");
    lab.assert_clean();
}

#[test]
fn what_the_kernel_side_refuses_is_counted() {
    let lab = Lab::new();
    let act = ["udp-send-to", &format!("{WIRE_V4}:4433")];
    let (jail, path) = recorded(&lab, "records.jsonl");
    let sent = |finished: &Finished| finished.report()["ok"] == json!(true);
    assert!(sent(&lab.outside().probe(act)), "without a jail");
    let jailed = lab.assert_silent(|| jail.probe(act));
    assert!(!sent(&jailed), "{jailed:?}");
    let all = records::read(&path);
    let [refusal] = of_kind(&all, "kernel-refusal")[..] else { panic!("one: {all:#?}") };
    assert_eq!((&refusal["reason"], &refusal["count"]), (&json!("udp"), &json!(1)));
    lab.assert_clean();
}

#[test]
fn the_pattern_that_decided_is_told() {
    let lab = Lab::new();
    lab.origin("a.test");
    let (jail, path) = recorded(&lab, "records.jsonl");
    let jail = jail.option("--allow").option("GET **.test/x/*");
    let jail = jail.option("--deny").option("b.test").option("--deny").option("a.test/x/no");
    jail.sh("for path in /x/y /x/no /z; do curl -s -o /dev/null http://a.test$path; done").exits(0);
    let all = records::read(&path);
    let rules: Vec<_> =
        of_kind(&all, "request").into_iter().map(|request| request["rule"].clone()).collect();
    assert_eq!(
        rules,
        [
            json!({"engine": "option", "reason": "rule", "option": "--allow", "pattern": "GET **.test/x/*"}),
            json!({"engine": "option", "reason": "listed", "option": "--deny", "pattern": "a.test/x/no",
                "message": "denied by --deny 'a.test/x/no'"}),
            json!({"engine": "js", "reason": "rule"}),
        ]
    );
    lab.assert_clean();
}

#[test]
fn a_connection_that_passes_unread_has_its_bytes() {
    let lab = Lab::new();
    lab.banner_server();
    lab.set_name("mail.test", &[WIRE_V4.into()]);
    let (jail, path) = recorded(&lab, "records.jsonl");
    jail.option("--allow-tcp").option("mail.test:22").probe(["tcp", "mail.test:22"]).exits(0);
    let all = records::read(&path);
    let [tcp] = of_kind(&all, "tcp")[..] else { panic!("one: {all:#?}") };
    assert_eq!(tcp["url"], "tcp://mail.test:22");
    assert_eq!(
        tcp["rule"],
        json!({
            "engine": "option", "option": "--allow-tcp", "pattern": "mail.test:22", "reason": "rule"
        })
    );
    assert_eq!(tcp["bytes_received"], json!(BANNER.len() + 2));
    lab.assert_clean();
}

/// An origin that begins to answer, and never ends.
fn unfinished(lab: &Lab) {
    lab.raw_origin("slow.test", |mut client| async move {
        let mut asked = [0; 4096];
        if client.read(&mut asked).await.is_ok() {
            let begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789\n";
            drop(client.write_all(begun.as_bytes()).await);
        }
        std::future::pending().await
    });
}

#[test]
fn a_signal_in_the_middle_loses_no_record() {
    let lab = Lab::new();
    unfinished(&lab);
    let (jail, path) = recorded(&lab, "records.jsonl");
    let jail = jail.start(["curl", "-sN", "http://slow.test/"]);
    jail.line("0123456789");
    jail.signal(Signal::TERM);
    jail.finish().exits(143);
    let all = records::read(&path);
    let [request] = of_kind(&all, "request")[..] else { panic!("one: {all:#?}") };
    assert_eq!(short(request), "allow http://slow.test/ 200 jailed");
    assert_eq!(request["bytes_received"], 11);
    lab.assert_clean();
}

#[test]
fn a_client_that_is_killed_in_the_middle_has_its_record() {
    let lab = Lab::new();
    unfinished(&lab);
    let (jail, path) = recorded(&lab, "records.jsonl");
    let mut jail = jail.start([
        "sh",
        "-c",
        "curl -sN http://slow.test/ & read go; kill -9 $!; wait $!; echo killed; read end",
    ]);
    jail.line("0123456789");
    jail.write("go\n");
    jail.line("killed");
    jail.write("end\n");
    jail.finish().exits(0);
    let all = records::read(&path);
    let [request] = of_kind(&all, "request")[..] else { panic!("one: {all:#?}") };
    assert_eq!(short(request), "allow http://slow.test/ 200 jailed");
    assert_eq!(request["bytes_received"], 11);
    lab.assert_clean();
}

#[test]
fn a_full_disk_changes_no_verdict_and_is_told() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let script =
        "for host in a no; do curl -s -o /dev/null -w '%{http_code}\n' http://$host.test/; done";
    let jail = lab.jail().js(RULE).option("--record").option("/dev/full").option("--summary");
    let jailed = jail.sh(script).exits(0);
    assert_eq!(jailed.stdout, "200\n403\n");
    assert_eq!(origin.seen_lines(), ["GET http://a.test/"]);
    assert_eq!(jailed.log, ["+ GET http://a.test/", "- GET http://no.test/"]);
    for told in [
        "the file of records can't be written",
        "records lost: the file of records is incomplete",
        "\n  lost: ",
    ] {
        assert!(jailed.stderr.contains(told), "{told}: {}", jailed.stderr);
    }
    lab.assert_clean();
}

#[test]
fn the_summary_is_told_and_put_on_the_page_of_the_job() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "curl -s -o /dev/null http://a.test/; curl -s -o /dev/null http://no.test/";
    let page = lab.home().join("page.md");
    let jail = lab.jail().as_user().js(RULE).option("--summary");
    let jailed = jail.clone().env("GITHUB_STEP_SUMMARY", &page).sh(script).exits(0);
    let told = "httpjail: 1 request allowed, 1 denied, 0 failed; 0 B sent, 45 B received\n";
    assert!(jailed.stderr.contains(told), "{}", jailed.stderr);
    let written = fs::read_to_string(&page).expect("the page");
    assert!(written.starts_with("### httpjail\n"), "{written}");
    assert!(written.contains("\n| a.test | 1 | 0 | 0 | 0 B | 18 B | "), "{written}");
    assert!(written.contains("\n| no.test | 0 | 1 | 0 | 0 B | 27 B | - |\n"), "{written}");
    assert_eq!(fs::metadata(&page).expect("the page").uid(), USER_UID);

    // What the user may not write isn't written by root for them, and links lead nowhere.
    let roots = lab.home().join("roots");
    fs::write(&roots, "").expect("a file of root's");
    let link = lab.home().join("link");
    std::os::unix::fs::symlink(&roots, &link).expect("a link");
    for page in [&roots, &link] {
        let jailed = jail.clone().env("GITHUB_STEP_SUMMARY", page).sh(script).exits(0);
        assert!(jailed.stderr.contains("the job's page gets no summary"), "{}", jailed.stderr);
        assert!(jailed.stderr.contains(told), "{}", jailed.stderr);
    }
    assert_eq!(fs::read_to_string(&roots).expect("it is there"), "");
    lab.assert_clean();
}
