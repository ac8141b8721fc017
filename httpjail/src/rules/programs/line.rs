//! `--proc`: a program that is asked line by line, and replaced when it fails.

use std::{future::pending, io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe::{Receiver, Sender},
    sync::mpsc::UnboundedReceiver,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Program,
    dialogue::{Answer, Damage, Dialogue, Question},
    output::{self, LastLine},
    running::{Running, Streams},
};
use crate::{policy::Decision, rules::warnings::Warnings};

/// How long a program may take to end when nobody asks it any more.
const MOMENT: Duration = Duration::from_millis(200);
const CHUNK: usize = 64 << 10;

/// A running program that can be asked.
pub(super) struct Partner {
    running: Running,
    stdin: Sender,
    stdout: Receiver,
    last: LastLine,
    /// Ends with its standard error.
    talk: JoinHandle<()>,
}

impl Partner {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// When it can't be.
    pub(super) fn start(program: &Program) -> io::Result<Self> {
        let (running, streams) = Running::start(program.command()?, Stdio::piped())?;
        let Streams { stdin, stdout, stderr } = streams;
        let stdin = stdin.ok_or_else(|| io::Error::other("a stream is missing"))?;
        let last = LastLine::default();
        let talk = spawn_local(output::log(stderr, last.clone()));
        Ok(Self { running, stdin, stdout, last, talk })
    }
}

/// Asks the program, and tells what was decided about which question.
pub(super) struct Line<'a, F> {
    program: &'a Program,
    questions: UnboundedReceiver<Question>,
    answer: F,
    dialogue: Dialogue,
    warnings: Warnings,
}

/// Why a talk with one process is over.
enum Over {
    /// Nobody asks any more.
    Unasked,
    /// The process failed.
    Damaged(Damage),
}

impl<'a, F: FnMut(u64, Option<Decision>)> Line<'a, F> {
    /// `answer` is told each question's decision, or that none could be had.
    pub(super) fn new(
        program: &'a Program,
        questions: UnboundedReceiver<Question>,
        answer: F,
    ) -> Self {
        let dialogue = Dialogue::new(program.limit(), program.patience());
        Self { program, questions, answer, dialogue, warnings: Warnings::default() }
    }

    /// Asks until nobody has questions any more; `first` is the process to begin with.
    pub(super) async fn serve(mut self, first: Partner) {
        let mut next = Some(first);
        loop {
            let Some(mut partner) = next.take().or_else(|| self.replace()) else {
                if !self.wait().await {
                    return;
                }
                continue;
            };
            let over = self.talk(&mut partner).await;
            let Over::Damaged(damage) = over else {
                return self.part(partner).await;
            };
            self.bury(partner, &damage).await;
            let lost = self.dialogue.restart(&damage, std::time::Instant::now());
            lost.into_iter().for_each(|question| (self.answer)(question.id, None));
            // A program that ends at once isn't started again before there is something to ask.
            if self.dialogue.is_idle() && !self.wait().await {
                return;
            }
        }
    }

    /// Waits for a question. `false`: nobody asks any more.
    async fn wait(&mut self) -> bool {
        let question = self.questions.recv().await;
        let has_come = question.is_some();
        question.into_iter().for_each(|question| self.dialogue.ask(question));
        has_come
    }

    /// A new process, or the end of all questions that wait for one.
    fn replace(&mut self) -> Option<Partner> {
        match Partner::start(self.program) {
            Ok(partner) => Some(partner),
            Err(error) => {
                self.warnings.warn(UNSTARTED, &error.to_string());
                let lost = self.dialogue.give_up();
                lost.into_iter().for_each(|question| (self.answer)(question.id, None));
                None
            }
        }
    }

    async fn talk(&mut self, partner: &mut Partner) -> Over {
        let Partner { stdin, stdout, .. } = partner;
        let mut chunk = vec![0; CHUNK];
        loop {
            while let Ok(question) = self.questions.try_recv() {
                self.dialogue.ask(question);
            }
            if self.dialogue.must_be_silent()
                && let Err(damage) = self.hear_rest(stdout, &mut chunk)
            {
                return Over::Damaged(damage);
            }
            let unfit = self.dialogue.fill(std::time::Instant::now());
            unfit.into_iter().for_each(|question| (self.answer)(question.id, None));
            let due = self.dialogue.due();
            let is_full = !self.dialogue.output.is_empty();
            tokio::select! {
                biased;
                read = stdout.read(&mut chunk) => {
                    let heard = match read {
                        Ok(count @ 1..) => self.hear(chunk.get(..count).unwrap_or_default()),
                        Ok(0) | Err(_) => Err(Damage::Ended),
                    };
                    if let Err(damage) = heard {
                        return Over::Damaged(damage);
                    }
                }
                written = stdin.write(&self.dialogue.output), if is_full => match written {
                    Ok(count) => drop(self.dialogue.output.drain(..count)),
                    Err(_) => return Over::Damaged(Damage::Deaf),
                },
                question = self.questions.recv() => match question {
                    Some(question) => self.dialogue.ask(question),
                    None => return Over::Unasked,
                },
                () = until(due) => return Over::Damaged(Damage::Late),
            }
        }
    }

    /// Reads what the program has said unasked.
    fn hear_rest(&mut self, stdout: &Receiver, chunk: &mut [u8]) -> Result<(), Damage> {
        match rustix::io::read(stdout, &mut *chunk) {
            Ok(count) if count > 0 => self.hear(chunk.get(..count).unwrap_or_default()),
            // Its end is seen soon enough.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let mut answers = Vec::new();
        let heard = self.dialogue.hear(bytes, &mut answers);
        for Answer { id, meaning } in answers {
            match meaning {
                Ok(decision) => (self.answer)(id, Some(decision)),
                Err(said) => {
                    self.warnings.warn(MEANINGLESS, &said);
                    (self.answer)(id, None);
                }
            }
        }
        heard
    }

    /// Ends a process that failed, and tells why.
    async fn bury(&mut self, mut partner: Partner, damage: &Damage) {
        let moment = match damage {
            // It may be about to tell how.
            Damage::Ended | Damage::Deaf => MOMENT,
            Damage::Late | Damage::Empty | Damage::Endless | Damage::OutOfStep(_) => Duration::ZERO,
        };
        let ended = partner.running.end(moment).await;
        // What it said last is still to be read; what it started may hold the pipe.
        let _ = timeout(MOMENT, &mut partner.talk).await;
        let mut why = damage.to_string();
        if *damage == Damage::Ended
            && let Ok(status) = ended
        {
            why = format!("{why} by {status}");
        }
        let last = partner.last.text();
        if !last.is_empty() {
            why = format!("{why}; the last that it said: {last}");
        }
        self.warnings.warn(REPLACED, &why);
    }

    /// Ends a process that nobody asks any more: it sees the end of its input, and has a moment.
    async fn part(self, partner: Partner) {
        let Partner { mut running, stdin, stdout: _open, .. } = partner;
        drop(stdin);
        if let Err(error) = running.end(MOMENT).await {
            tracing::debug!(%error, "the rule's program");
        }
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(Instant::from_std(due)).await,
        None => pending().await,
    }
}

const UNSTARTED: &str = "requests denied: the rule's program can't be started";
const MEANINGLESS: &str = "request denied: the rule's program answered what means nothing";
const REPLACED: &str = "the rule's program failed and is replaced";
