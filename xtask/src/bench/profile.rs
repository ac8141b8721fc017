//! Where the processes of a jail spend their time: samples by perf, folded into groups.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cost::{Cost, Frame};
use crate::tools;

/// A recording under way.
pub(super) struct Recording {
    perf: Child,
    control: File,
    answers: BufReader<File>,
    data: PathBuf,
}

/// How many samples fell on each kind of work.
#[derive(Clone, Default, Debug)]
pub(super) struct Costs(BTreeMap<Cost, u32>);

impl Recording {
    /// Samples all processors from now on, with the stacks, by the clock: a virtual machine seldom
    /// has counters of cycles.
    ///
    /// # Errors
    /// When perf doesn't start.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let [control, answers, data] =
            ["perf.control", "perf.answers", "perf.data"].map(|name| folder.join(name));
        for fifo in [&control, &answers] {
            if !fifo.exists() {
                tools::run(Command::new("mkfifo").arg(fifo))?;
            }
        }
        let mut perf = Command::new(tools::find("perf").context("perf is missing")?);
        perf.args(["record", "--quiet", "--all-cpus", "-e", "cpu-clock", "-F", "997", "-g"]);
        perf.arg(format!("--control=fifo:{},{}", control.display(), answers.display()));
        perf.arg("--output").arg(&data).stdin(Stdio::null());
        let perf = perf.spawn().context("failed to start perf")?;
        let open = |fifo: &Path| OpenOptions::new().read(true).write(true).open(fifo);
        let mut recording =
            Self { perf, control: open(&control)?, answers: BufReader::new(open(&answers)?), data };
        // It answers once it records.
        recording.tell("ping")?;
        Ok(recording)
    }

    /// Ends it, and tells what the jail's processes did meanwhile.
    ///
    /// # Errors
    /// When perf fails, or saw nothing of them.
    pub(super) fn stop(mut self) -> Result<Costs> {
        self.tell("stop")?;
        let status = self.perf.wait()?;
        ensure!(status.success(), "perf ended with {status}");
        let mut perf = Command::new("perf");
        perf.args(["script", "--no-inline", "--fields", "comm,pid,ip,sym", "--input"]);
        let mut script = perf
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let text = script.stdout.take().context("perf's output isn't piped")?;
        let costs = Costs::read(BufReader::new(text))?;
        let status = script.wait()?;
        ensure!(status.success(), "perf script ended with {status}");
        ensure!(!costs.0.is_empty(), "perf saw nothing of the jail's processes");
        Ok(costs)
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        self.control.write_all(format!("{what}\n").as_bytes())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        // With the NUL of the answer before.
        ensure!(answer.trim_matches(['\n', '\0']) == "ack", "perf said {answer:?}");
        Ok(())
    }
}

impl Costs {
    /// Reads what `perf script` prints: for each sample a line with the names of the thread and the
    /// process, then its frames from the innermost on, then an empty line. What runs outside of the
    /// arena has no number there.
    fn read(text: impl BufRead) -> Result<Self> {
        let mut costs = Self::default();
        let mut is_ours = false;
        let mut frames: Vec<Frame> = Vec::new();
        for line in text.lines().chain([Ok(String::new())]) {
            let line = line?;
            if line.trim().is_empty() {
                if is_ours && !frames.is_empty() {
                    *costs.0.entry(Cost::of(&frames)).or_default() += 1;
                }
                is_ours = false;
                frames.clear();
            } else if line.starts_with(char::is_whitespace) && is_ours {
                frames.extend(Frame::parse(&line));
            } else if !line.starts_with(char::is_whitespace) {
                let is_inside = line.split_whitespace().last() != Some("0");
                is_ours = is_inside && THREADS.iter().any(|name| line.starts_with(name));
            }
        }
        Ok(costs)
    }

    /// The largest costs with their shares of all.
    pub(super) fn largest(&self) -> Vec<(Cost, f64)> {
        let all: u32 = self.0.values().sum();
        let mut shares: Vec<_> = self
            .0
            .iter()
            .map(|(cost, samples)| (*cost, f64::from(*samples) / f64::from(all)))
            .collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }
}

/// How the names of httpjail's threads begin.
const THREADS: [&str; 6] = ["httpjail", "proxy-", "upstream", "dns", "supervisor", "orphans"];

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "proxy-0    44 \n\tffffffff81000000 x\n\tffffffff81000001 __sys_sendto\n\n\
        curl    45 \n\t55 main\n\nproxy-0    44 \n\tffffffff81000001 __sys_sendto\n\n\
        httpjail     0 \n\t55 main\n\nhttpjail    43 \n\t55 JS_Call\n";

    #[test]
    fn samples_of_the_jails_threads_are_folded() {
        let costs = Costs::read(SCRIPT.as_bytes()).unwrap();
        let [(first, share), (second, _)] = costs.largest()[..] else { panic!("{costs:?}") };
        assert_eq!((first, second), (Cost::Send, Cost::Rule));
        assert!((share - 2.0 / 3.0).abs() < 1e-9);
    }
}
