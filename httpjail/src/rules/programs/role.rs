//! The side that runs the program: takes questions, and answers them by what it says.

use std::{cell::RefCell, io, os::unix::net::UnixStream, rc::Rc, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::spawn_local,
};

use super::{
    Kind, Program,
    dialogue::Question,
    failed,
    line::{Line, Partner},
    script, wire,
};
use crate::{policy::Decision, rules::warnings::Warnings};

/// Most scripts that run at the same time; other questions wait for their turn.
const MOST_SCRIPTS: usize = 32;
const CHUNK: usize = 64 << 10;

/// Runs `program` for who asks at the other end of `questions`, until that is closed or `stop` comes.
/// `tell` is told whether the program can be run, before anybody is asked anything.
///
/// Must be called where nothing is left that the program must not have.
///
/// # Errors
///
/// When it can't be run, or nobody can be served.
pub fn serve(
    program: &Program,
    questions: UnixStream,
    tell: impl FnOnce(Result<(), &io::Error>) -> io::Result<()>,
    stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let first = start(program);
        tell(first.as_ref().map(|_| ()))?;
        let first = first?;
        questions.set_nonblocking(true)?;
        let (read, write) = tokio::net::UnixStream::from_std(questions)?.into_split();
        let answers = Rc::new(Answers::default());
        let (ask, asked) = mpsc::unbounded_channel();
        let answered = async {
            match first {
                None => run_scripts(program, asked, &answers).await,
                Some(first) => {
                    let answer = |id, decision: Option<Decision>| {
                        answers.push(id, &decision.unwrap_or_else(failed));
                    };
                    Line::new(program, asked, answer).serve(first).await;
                }
            }
        };
        let reading = async {
            // However it ends: closing the questions' channel ends what answers them.
            let read = tokio::select! {
                read = take(read, ask) => read,
                _ = stop => Ok(()),
                sent = answers.send(write) => sent,
            };
            if let Err(error) = read {
                tracing::debug!(%error, "nobody can be answered");
            }
        };
        tokio::join!(answered, reading);
        Ok(())
    })
}

/// Checks that the program can be run; one that is asked line by line is started.
fn start(program: &Program) -> io::Result<Option<Partner>> {
    match program.kind() {
        Kind::Script => program.resolve().map(|_| None),
        Kind::Lines => Partner::start(program).map(Some),
    }
}

/// Reads questions until the end.
async fn take(mut stream: OwnedReadHalf, ask: mpsc::UnboundedSender<Question>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK);
    while stream.read_buf(&mut bytes).await? > 0 {
        let mut taken = 0;
        while let Some(frame) =
            wire::next(&bytes, &mut taken, wire::LONGEST_QUESTION).map_err(io::Error::other)?
        {
            if ask.send(Question::new(frame.id, frame.body)).is_err() {
                return Ok(());
            }
        }
        bytes.drain(..taken);
        bytes.reserve(CHUNK);
    }
    Ok(())
}

async fn run_scripts(
    program: &Program,
    mut asked: mpsc::UnboundedReceiver<Question>,
    answers: &Rc<Answers>,
) {
    let program = Rc::new(program.clone());
    let turns = Rc::new(Semaphore::new(MOST_SCRIPTS));
    let warnings = Rc::new(RefCell::new(Warnings::default()));
    while let Some(question) = asked.recv().await {
        let (program, answers) = (Rc::clone(&program), Rc::clone(answers));
        let (turns, warnings) = (Rc::clone(&turns), Rc::clone(&warnings));
        spawn_local(async move {
            // It is never closed.
            let Ok(_turn) = turns.acquire().await else { return };
            if question.is_stale(Instant::now(), program.patience()) {
                return answers.push(question.id, &failed());
            }
            let (decision, failure) = script::run(&program, &question.body).await.into_parts();
            if let Some(why) = failure {
                warnings.borrow_mut().warn(FAILURE, &why);
            }
            answers.push(question.id, &decision);
        });
    }
}

/// Answers that are to be sent.
#[derive(Default)]
struct Answers {
    out: RefCell<Vec<u8>>,
    wake: Notify,
}

impl Answers {
    fn push(&self, id: u64, decision: &Decision) {
        wire::push(&mut self.out.borrow_mut(), id, &wire::encode(decision));
        self.wake.notify_one();
    }

    async fn send(&self, mut stream: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let out = self.out.take();
            if out.is_empty() {
                self.wake.notified().await;
            } else {
                stream.write_all(&out).await?;
            }
        }
    }
}

const FAILURE: &str = "request denied: the rule's script failed";
