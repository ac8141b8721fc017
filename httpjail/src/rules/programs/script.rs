//! `--sh`: one process for each request.

use std::{io, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver, time::timeout};

use super::{
    Program, failed,
    output::{self, LastLine},
    question,
    running::{Running, Streams},
};
use crate::policy::{Decision, Denial, DenyReason, Limits};

/// How much is kept of what a script says.
const MOST_KEPT: usize = 64 << 10;

/// What came of a script.
pub(super) enum Verdict {
    /// It answered.
    Decided(Decision),
    /// It didn't, for this reason; the request is denied.
    Failed(String),
}

impl Verdict {
    /// The decision, and why it is one where the script made none.
    pub(super) fn into_parts(self) -> (Decision, Option<String>) {
        match self {
            Self::Decided(decision) => (decision, None),
            Self::Failed(why) => (failed(), Some(why)),
        }
    }
}

/// Runs the script on one question, within the program's limit of time.
pub(super) async fn run(program: &Program, question: &[u8]) -> Verdict {
    match attempt(program, question).await {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Failed(format!("it can't be run: {error}")),
    }
}

async fn attempt(program: &Program, question: &[u8]) -> io::Result<Verdict> {
    let variables = match question::variables(question) {
        Ok(variables) => variables,
        Err(error) => return Ok(Verdict::Failed(error.to_string())),
    };
    let mut command = program.command()?;
    command.envs(variables);
    let (mut running, streams) = Running::start(command, Stdio::null())?;
    let Streams { stdin: _, mut stdout, mut stderr } = streams;
    let (mut message, mut talk) = (Vec::new(), Vec::new());
    let is_in_time = {
        let read = async {
            tokio::join!(keep(&mut stdout, &mut message), keep(&mut stderr, &mut talk));
            // Who closes both goes on.
            std::future::pending::<()>().await;
        };
        let end = async {
            tokio::select! {
                ended = running.ended() => ended,
                () = read => Ok(()),
            }
        };
        timeout(program.limit(), end).await
    };
    let status = running.finish().await?;
    rest(&stdout, &mut message);
    rest(&stderr, &mut talk);
    let last = LastLine::default();
    talk.split(|byte| *byte == b'\n').for_each(|line| output::say(line, &last));
    let Ok(ended) = is_in_time else {
        return Ok(Verdict::Failed(format!("it took longer than {}", seconds(program.limit()))));
    };
    ended?;
    Ok(match status.code() {
        Some(0) => Verdict::Decided(Decision::Allow(Limits::default())),
        // What the shell says when it can't run something.
        Some(126 | 127) | None => {
            Verdict::Failed(format!("it ended by {status}; it said: {}", last.text()))
        }
        Some(_) => {
            let message = String::from_utf8_lossy(&message);
            let message = Some(message.trim()).filter(|message| !message.is_empty());
            let message = message.map(str::to_owned);
            Verdict::Decided(Decision::Deny(Denial { reason: DenyReason::Rule, message }))
        }
    })
}

/// Reads all, and keeps the beginning.
async fn keep(stream: &mut Receiver, kept: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        add(kept, chunk.get(..count).unwrap_or_default());
    }
}

/// Reads what is there and was not read when the script ended.
fn rest(stream: &Receiver, kept: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while kept.len() < MOST_KEPT
        && let Ok(count @ 1..) = rustix::io::read(stream, &mut chunk)
    {
        add(kept, chunk.get(..count).unwrap_or_default());
    }
}

fn add(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_KEPT.saturating_sub(kept.len());
    kept.extend(bytes.iter().take(room));
}

pub(super) fn seconds(limit: Duration) -> String {
    format!("{} seconds", limit.as_secs_f64())
}
