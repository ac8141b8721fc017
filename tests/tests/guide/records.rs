//! docs/records.md.

use std::collections::BTreeSet;

use httpjail_tests::markdown::Document;
use serde_json::Value;

use crate::scene::Scene;

const DOCUMENT: &str = "docs/records.md";

/// Has records made of requests that are allowed, denied and not trusted, in `records.jsonl`.
fn make_records(scene: &Scene) {
    scene.origin("a.test");
    let script = format!(
        "for url in https://a.test/slow https://a.test/x?q=1 https://b.test/; do
            curl -s -o /dev/null $url; done
        curl -s --capath / --cacert {} https://a.test/ || true",
        scene.lab.ca_file().display()
    );
    scene.put("requests", &script);
    let jail = "sudo httpjail --js \"r.host === 'a.test'\" --record records.jsonl";
    scene.sh(&format!("{jail} -- sh ./requests")).exits(0);
}

#[test]
fn the_denied_are_told_with_their_program() {
    let scene = Scene::of("docs/records.md", "denied");
    make_records(&scene);
    assert_eq!(scene.run().exits(0).stdout, "/usr/bin/curl GET https://b.test/\n");
    scene.lab.assert_clean();
}

#[test]
fn those_that_trust_nobody_are_told() {
    let scene = Scene::of("docs/records.md", "distrust");
    make_records(&scene);
    let told = scene.run().exits(0).stdout;
    // The program is null if it had ended by then.
    assert!(
        told.contains(" a.test: the program doesn't trust the run's certificate authority"),
        "{told:?}"
    );
    scene.lab.assert_clean();
}

#[test]
fn the_slowest_come_first() {
    let scene = Scene::of("docs/records.md", "slowest");
    make_records(&scene);
    let told = scene.run().exits(0).stdout;
    let times = told.lines().map(|line| {
        let list: Value = serde_json::from_str(line).expect("JSON");
        list[0].as_u64().expect("a number")
    });
    let times: Vec<u64> = times.collect();
    assert!(times.len() == 3 && times.is_sorted_by(|a, b| a >= b), "{told}");
    scene.lab.assert_clean();
}

#[test]
fn the_record_that_is_shown_has_the_members_of_one() {
    let scene = Scene::of("docs/records.md", "denied");
    make_records(&scene);
    let records = scene.file("records.jsonl");
    let record = records.lines().find(|line| line.contains("\"request\"")).expect("a request");
    let document = Document::read(DOCUMENT);
    assert_eq!(names(&document.block("line", "record").text), names(record));
    scene.lab.assert_clean();
}

#[test]
fn the_refusal_that_is_shown_has_the_members_of_one() {
    let scene = Scene::of("docs/records.md", "denied");
    scene.origin("a.test");
    let script = "import socket
address = socket.getaddrinfo('a.test', 443)[0][4]
family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
try: socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', address)
except OSError as error: print(error.strerror)";
    scene.put("send.py", script);
    let jail = "sudo httpjail --record records.jsonl -- python3 send.py";
    assert_eq!(scene.sh(jail).exits(0).stdout, "Operation not permitted\n");
    let records = scene.file("records.jsonl");
    let sent = |line: &&str| line.contains("kernel-refusal") && line.contains("\"port\":443");
    let record = records.lines().find(sent).expect("a refusal");
    let document = Document::read(DOCUMENT);
    assert_eq!(names(&document.block("line", "refusal").text), names(record));
    scene.lab.assert_clean();
}

fn names(record: &str) -> BTreeSet<String> {
    let record: Value = serde_json::from_str(record).expect("JSON");
    record.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn the_summary_has_these_columns() {
    let scene = Scene::of("docs/records.md", "summary");
    scene.origin("a.test");
    let jail = "sudo httpjail --js true --summary -- curl -s https://a.test/";
    let told = scene.sh(jail).exits(0).stderr;
    let words = |text: &str, line: usize| -> Vec<String> {
        let line = text.lines().nth(line).unwrap_or_default();
        let words = line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        words.map(|word| word.replace("requests", "request")).collect()
    };
    for line in [0, 1] {
        assert_eq!(words(&scene.block.text, line), words(&told, line), "{told}");
    }
    scene.lab.assert_clean();
}
