//! The mixed load: several curls at a gentle, steady pace in one jail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One of the curls.
struct Stream {
    /// What it stands for.
    name: &'static str,
    /// How many requests it makes a minute.
    per_minute: u32,
    /// The status that each must get.
    status: &'static str,
    /// What curl is told besides.
    options: &'static str,
    /// What is asked for; the number of the request follows.
    url: &'static str,
}

/// Together less than a quarter of a core, clients and origin included, so that others can work
/// meanwhile, and what grows by the request has some 400,000 of them to show it.
const STREAMS: [Stream; 10] = [
    stream("HTTPS, kept connection", 2400, "200", "", "https://x.bench.test/1k?"),
    stream("HTTP, kept connection", 2400, "200", "", "http://x.bench.test/1k?"),
    stream("HTTPS, new connection", 480, "200", CLOSE, "https://x.bench.test/1k?"),
    stream("HTTP, new connection", 900, "200", CLOSE, "http://x.bench.test/1k?"),
    stream("HTTPS, denied", 240, "403", CLOSE, "https://denied.test/"),
    stream("HTTP, denied", 240, "403", "", "http://denied.test/"),
    stream("HTTPS, upload of 1 MiB", 60, "204", UPLOAD, "https://x.bench.test/upload?"),
    stream("HTTP, upload of 1 MiB", 60, "204", CHUNKS, "http://x.bench.test/upload?"),
    stream("HTTPS, slow download of 256 MiB", 1, "200", SLOW, "https://x.bench.test/256m?"),
    stream("HTTP, slow download of 256 MiB", 1, "200", SLOW, "http://x.bench.test/256m?"),
];

const CLOSE: &str = "--header 'Connection: close'";
const UPLOAD: &str = "--upload-file /srv/upload";
const CHUNKS: &str = "--upload-file /srv/upload --header 'Transfer-Encoding: chunked'";
const SLOW: &str = "--limit-rate 20M";

const fn stream(
    name: &'static str,
    per_minute: u32,
    status: &'static str,
    options: &'static str,
    url: &'static str,
) -> Stream {
    Stream { name, per_minute, status, options, url }
}

/// What the clients got.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Answers {
    /// How many answers each stream got that it should get.
    pub(super) good: BTreeMap<&'static str, u64>,
    /// What else they got, and how often.
    pub(super) bad: Vec<String>,
    /// All answers.
    pub(super) all: u64,
}

/// Makes what is uploaded.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    fs::write(folder.join("upload"), vec![b'u'; 1 << 20])
        .context("failed to write what is uploaded")
}

/// The shell script that is jailed: all streams at once, each in rounds of a minute, until `minutes`
/// are over. Each stream ends with lines of its number, a status and how often that came.
pub(super) fn script(minutes: u64) -> String {
    let mut script = format!("end=$(($(date +%s) + {}))\n{FUNCTION}", minutes * 60);
    for (number, stream) in STREAMS.iter().enumerate() {
        let Stream { per_minute, options, url, .. } = stream;
        script.push_str(&format!(
            "stream {number} --rate {per_minute}/m {options} '{url}[1-{per_minute}]' &\n"
        ));
    }
    script + "wait\n"
}

/// Only the run's own authority is read: a curl that reads the system's as well does little else.
const FUNCTION: &str = r#"stream() {
    number=$1
    shift
    while [ "$(date +%s)" -lt "$end" ]; do
        curl --silent --no-progress-meter --output /dev/null --write-out '%{http_code}\n' \
            --cacert "$NODE_EXTRA_CA_CERTS" "$@"
    done | awk -v number="$number" '{ n[$1]++ } END { for (s in n) print number, s, n[s] }'
}
"#;

impl Answers {
    /// Reads what the script printed.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut this = Self::default();
        for line in text.lines() {
            this.add(line).with_context(|| format!("failed to read {line:?}"))?;
        }
        Ok(this)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let stream = STREAMS.get(words.next()?.parse::<usize>().ok()?)?;
        let (status, count) = (words.next()?, words.next()?.parse::<u64>().ok()?);
        self.all += count;
        if status == stream.status {
            *self.good.entry(stream.name).or_default() += count;
        } else {
            self.bad.push(format!("{}: {count} × {status}", stream.name));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_good_answers_from_others() {
        let answers = Answers::parse("0 200 5\n4 403 2\n0 502 1\n").unwrap();
        assert_eq!(answers.good["HTTPS, kept connection"], 5);
        assert_eq!(answers.good["HTTPS, denied"], 2);
        assert_eq!(answers.bad, ["HTTPS, kept connection: 1 × 502"]);
        assert_eq!(answers.all, 8);
    }

    #[test]
    fn does_not_take_another_text_for_answers() {
        assert!(Answers::parse("curl: (6) no such host").is_err());
    }

    #[test]
    fn every_stream_is_in_the_script() {
        let script = script(60);
        assert_eq!(script.matches("\nstream ").count(), STREAMS.len());
        assert!(script.starts_with("end=$(($(date +%s) + 3600))\n"));
    }
}
