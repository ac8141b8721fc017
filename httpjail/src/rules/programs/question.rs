//! What a rule's program is told of a request: JSON as a line, or as variables.

use std::{ffi::OsString, fmt::Write};

use serde_json::Value;

/// Which variable of `--sh` holds which field of a question, as a JSON pointer (RFC 6901). A field that
/// is null, or isn't there, is an empty variable; an object is JSON.
const VARIABLES: [(&str, &str); 11] = [
    ("HTTPJAIL_URL", "/url"),
    ("HTTPJAIL_METHOD", "/method"),
    ("HTTPJAIL_SCHEME", "/scheme"),
    ("HTTPJAIL_HOST", "/host"),
    ("HTTPJAIL_PORT", "/port"),
    ("HTTPJAIL_PATH", "/path"),
    ("HTTPJAIL_QUERY", "/query"),
    ("HTTPJAIL_REQUESTER_IP", "/requester_ip"),
    ("HTTPJAIL_PID", "/process/pid"),
    ("HTTPJAIL_EXE", "/process/exe"),
    ("HTTPJAIL_HEADERS", "/headers"),
];

/// Why a question can't be put; the request is denied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QuestionError {
    /// A variable ends at a NUL, so that the script would be asked about something else.
    #[error("{0} holds a NUL character")]
    Nul(&'static str),
    /// It isn't JSON.
    #[error("the proxy's question isn't JSON")]
    NotJson,
}

/// The variables of a question in JSON.
///
/// # Errors
///
/// When a value can't be one.
pub(super) fn variables(question: &[u8]) -> Result<Vec<(&'static str, OsString)>, QuestionError> {
    let question: Value = serde_json::from_slice(question).map_err(|_| QuestionError::NotJson)?;
    let variables = VARIABLES.into_iter().map(|(name, pointer)| {
        let text = match question.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        match text.contains('\0') {
            true => Err(QuestionError::Nul(name)),
            false => Ok((name, text.into())),
        }
    });
    variables.collect()
}

/// A question in JSON as a line that begins with its number.
pub(super) fn line(id: u64, question: &[u8]) -> Option<Vec<u8>> {
    let fields = question.strip_prefix(b"{").filter(|_| !question.contains(&b'\n'))?;
    let mut head = String::new();
    write!(head, "{{\"id\":{id},").ok()?;
    let mut line = head.into_bytes();
    line.extend_from_slice(fields);
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use serde_json::json;

    use super::*;
    use crate::{
        policy::{
            Authority, Host, Process, ProcessDetails, ProcessInspector, RequestFacts, RunFacts,
            Scheme,
        },
        rules::programs::tests::facts,
    };

    /// Every process is curl.
    struct Curl;

    impl ProcessInspector for Curl {
        fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
            Ok(Some("/usr/bin/curl".to_owned()))
        }

        fn details(&self, _pid: u32) -> io::Result<Option<ProcessDetails>> {
            let (exe, argv) = ("/usr/bin/curl".to_owned(), vec!["curl".to_owned()]);
            Ok(Some(ProcessDetails { exe, ppid: 3, argv }))
        }
    }

    fn json(facts: &RequestFacts) -> Vec<u8> {
        let run = RunFacts { jail: None, processes: Arc::new(Curl) };
        serde_json::to_vec(&facts.to_json(&run).unwrap()).unwrap()
    }

    #[test]
    fn tells_all_that_is_known() {
        let facts = RequestFacts {
            authority: Authority::new(Host::parse("a.test").unwrap(), 8443),
            scheme: Scheme::Https,
            query: Some("a=1&b".to_owned()),
            process: Some(Process { pid: 7, uid: 1000, comm: "curl".to_owned() }),
            ..facts("/x")
        };
        let line = line(3, &json(&facts)).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        assert!(line.starts_with(b"{\"id\":3,\""));
        let told: Value = serde_json::from_slice(&line).unwrap();
        let expected = json!({
            "id": 3,
            "url": "https://a.test:8443/x?a=1&b",
            "method": "GET",
            "scheme": "https",
            "host": "a.test",
            "port": 8443,
            "path": "/x",
            "query": "a=1&b",
            "requester_ip": "127.0.0.1",
            "process": {
                "pid": 7, "uid": 1000, "comm": "curl",
                "exe": "/usr/bin/curl", "ppid": 3, "argv": ["curl"],
            },
            "protocol": facts.protocol(),
            "headers": {},
            "jail": null,
            "time": facts.milliseconds(),
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn variables_say_the_same() {
        let facts = RequestFacts {
            query: Some("$(touch x);`id`\n".to_owned()),
            process: Some(Process { pid: 7, uid: 1000, comm: "curl".to_owned() }),
            ..facts("/x")
        };
        let told = variables(&json(&facts)).unwrap();
        let of = |name| told.iter().find(|(told, _)| *told == name).unwrap().1.to_str().unwrap();
        assert_eq!(of("HTTPJAIL_QUERY"), "$(touch x);`id`\n");
        assert_eq!((of("HTTPJAIL_PORT"), of("HTTPJAIL_PID")), ("80", "7"));
        assert_eq!((of("HTTPJAIL_EXE"), of("HTTPJAIL_HOST")), ("/usr/bin/curl", "a.test"));
        assert_eq!(of("HTTPJAIL_HEADERS"), "{}");
    }

    #[test]
    fn a_nul_makes_no_variable() {
        let nul = variables(&json(&facts("/a\0b")));
        assert_eq!(nul.unwrap_err(), QuestionError::Nul("HTTPJAIL_URL"));
        assert_eq!(variables(b"{").unwrap_err(), QuestionError::NotJson);
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line(1, b"{\"a\":\n1}"), None);
        assert_eq!(line(1, b"[]"), None);
    }
}
