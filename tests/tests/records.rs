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

/// Program, user, reason, protocol, host, port and count of each refusal, one a line.
fn refusals(all: &[Value]) -> Vec<String> {
    let short = |record: &Value| {
        let process = &record["process"];
        let fields = [&process["comm"], &process["uid"]].into_iter();
        let fields =
            fields.chain(["reason", "protocol", "host", "port", "count"].map(|name| &record[name]));
        let texts = fields.map(|field| field.as_str().map_or(field.to_string(), str::to_owned));
        texts.collect::<Vec<_>>().join(" ")
    };
    let mut all: Vec<_> = of_kind(all, "kernel-refusal").into_iter().map(short).collect();
    all.sort();
    all
}

#[test]
fn programs_that_the_kernel_side_refuses_something_are_named() {
    let lab = Lab::new();
    // A file with a capability that the jail lacks isn't even run; a copy has none.
    let ping = format!(
        "cp -f \"$(command -v ping)\" own-ping && ./own-ping -4 -c1 -W3 {WIRE_V4} > /dev/null 2>&1"
    );
    let udp = format!("echo x 2> /dev/null > /dev/udp/{WIRE_V4}/4433");
    let udplite = "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)' \
        2> /dev/null";
    let script =
        format!("{ping} && echo pinged; bash -c '{udp}' && echo sent; {udplite} && echo made");
    let place = lab.outside().as_user();
    assert_eq!(place.sh(&script).exits(0).stdout, "pinged\nsent\nmade\n");
    let (jail, path) = recorded(&lab, "records.jsonl");
    let jailed = lab.assert_silent(|| jail.as_user().option("--summary").sh(&script));
    assert_eq!(jailed.stdout, "", "{jailed:?}");
    let expected = [
        format!("bash {USER_UID} udp udp {WIRE_V4} 4433 1"),
        format!("own-ping {USER_UID} protocol icmp null null 1"),
        format!("python3 {USER_UID} protocol udplite null null 1"),
    ];
    assert_eq!(refusals(&records::read(&path)), expected);
    for told in ["udp 1 (bash 1)", "protocol 2 (own-ping 1, python3 1)"] {
        assert!(jailed.stderr.contains(told), "{jailed:?}");
    }
    lab.assert_clean();
}

/// In the jail an address stands for it.
#[test]
fn refusals_at_a_name_are_told_with_the_name() {
    let lab = Lab::new();
    lab.origin("a.test");
    let (jail, path) = recorded(&lab, "records.jsonl");
    let script = "import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try: one.connect((\"a.test\", 4433))
except PermissionError: pass";
    jail.as_user().run(["python3", "-c", script]).exits(0);
    let all = refusals(&records::read(&path));
    let named = format!("python3 {USER_UID} udp udp a.test 4433 ");
    assert!(all.iter().any(|one| one.starts_with(&named)), "{all:#?}");
    lab.assert_clean();
}

#[test]
fn a_flood_of_refusals_is_bounded_and_counted_whole() {
    const FLOOD: u64 = 1000;
    let lab = Lab::new();
    let (jail, path) = recorded(&lab, "records.jsonl");
    let script = format!(
        "for port in $(seq {FLOOD}); do echo x > /dev/udp/{WIRE_V4}/$((port + 1000)); done \
         2> /dev/null"
    );
    jail.as_user().run(["bash", "-c", &*format!("{script}; true")]).exits(0);
    let all = records::read(&path);
    let all = of_kind(&all, "kernel-refusal");
    let sum: u64 = all.iter().filter_map(|record| record["count"].as_u64()).sum();
    assert_eq!(sum, FLOOD);
    assert_eq!(all.iter().filter(|record| record["process"].is_null()).count(), 1);
    assert!((100..=129).contains(&all.len()), "{} records", all.len());
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
