//! Rules that never come to an end, and don't look at the clock either.

use std::{
    sync::{Condvar, Mutex},
    time::Duration,
};

use serde_json::Value;

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
};
use crate::{
    policy::{Decision, Limits, RequestFacts},
    proxy::{ProxyError, Timeouts},
};

/// Something that only the test ends.
struct Hang {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Hang {
    const fn new() -> Self {
        Self { over: Mutex::new(false), changed: Condvar::new() }
    }

    fn wait(&self) {
        let over = self.over.lock().unwrap();
        drop(self.changed.wait_while(over, |over| !*over).unwrap());
    }

    fn end(&self) {
        *self.over.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

fn impatient(rule: fn(&RequestFacts) -> Decision) -> Lab {
    let timeouts = Timeouts { decision: Duration::from_millis(40), ..Timeouts::default() };
    Lab::start(Setup { rule, timeouts, ..Setup::default() })
}

#[test]
fn a_rule_that_hangs_denies_and_others_are_served() {
    static HANG: Hang = Hang::new();
    let lab = impatient(|facts| {
        if facts.path == "/hang" {
            HANG.wait();
        }
        Decision::Allow(Limits::default())
    });
    let origin = Origin::plain(echo);
    let mut stuck = lab.connect((A_TEST, origin.port()));
    stuck.send("GET /hang HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(stuck.rest().unwrap_or_default(), "");
    for _ in 0..4 {
        assert_eq!(lab.connect((A_TEST, origin.port())).get("a.test", "/").status, 200);
    }
    HANG.end();
    assert_eq!(lab.connect((A_TEST, origin.port())).get("a.test", "/").status, 200);
    let hung = |record: &Value| record["path"] == "/hang";
    let hung: Vec<_> = lab.full_records().into_iter().filter(hung).collect();
    assert_eq!(hung.len(), 1, "{hung:#?}");
    assert_eq!(hung[0]["error"]["fault"], "httpjail");
    assert_eq!(hung[0]["rule"]["reason"], "rule-failed");
    assert!(!origin.requests().iter().any(|request| request.contains("/hang")));
}

#[test]
fn a_rule_that_always_hangs_ends_the_proxy() {
    static HANG: Hang = Hang::new();
    let lab = impatient(|_| {
        HANG.wait();
        Decision::Allow(Limits::default())
    });
    for _ in 0..9 {
        let mut client = lab.connect((A_TEST, 80));
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.rest().unwrap_or_default(), "");
    }
    assert!(matches!(lab.ended(), Err(ProxyError::Stuck)));
    HANG.end();
}
