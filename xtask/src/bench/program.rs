//! Servers and other programs of the arena: started, awaited, ended.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tools;

/// A server that ends with this handle.
pub(super) struct Server {
    process: Child,
}

impl Server {
    /// Starts a server that stays in the foreground.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", tools::line(command)))?;
        Ok(Self { process })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a program has printed `line`, and returns what it printed before.
pub(super) fn wait_for_line(process: &mut Child, line: &str) -> Result<String> {
    let stdout = process.stdout.as_mut().context("the program's output isn't piped")?;
    let mut before = String::new();
    // One byte at a time: nothing behind the line may be lost in a buffer.
    let mut reader = BufReader::with_capacity(1, stdout.by_ref());
    loop {
        let start = before.len();
        if reader.read_line(&mut before)? == 0 {
            bail!("the program ended before it said {line:?}: {before}");
        }
        if before[start..].trim_end() == line {
            before.truncate(start);
            return Ok(before);
        }
    }
}
