//! The proxy's side: asks the process that runs a rule's program, and waits for its answers while
//! other requests go on.

use std::{
    collections::HashMap,
    future::ready,
    io, mem,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{Kind, Program, failed, wire};
use crate::{
    policy::{Awaited, DecidedBy, Decision, RemoteEngine, RequestFacts, RunFacts},
    rules::warnings::Warnings,
};

/// Most questions that wait for an answer; a jailed program could ask without end.
const MOST_WAITING: usize = 4096;
/// Most bytes of them.
const MOST_BYTES: usize = 32 << 20;
const CHUNK: usize = 64 << 10;

/// Where the process that runs the program is reached.
#[derive(Clone, Debug)]
pub struct Link {
    kind: Kind,
    patience: Duration,
    stream: Arc<UnixStream>,
}

/// Has requests judged by the program.
pub struct Remote {
    kind: Kind,
    patience: Duration,
    shared: Arc<Shared>,
    run: RunFacts,
}

struct Shared {
    state: Mutex<State>,
    /// Something waits to be sent.
    wake: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    out: Vec<u8>,
    /// Until they are answered: the other side has them, whether or not anybody waits here.
    waiting: HashMap<u64, Unanswered>,
    /// How many bytes they have.
    bytes: usize,
    is_over: bool,
    warnings: Warnings,
}

/// A question that is out.
struct Unanswered {
    size: usize,
    /// Closed when nobody wants to know any more.
    answer: oneshot::Sender<Decision>,
}

/// A question whose answer somebody waits for.
struct Waiting {
    shared: Arc<Shared>,
    answer: oneshot::Receiver<Decision>,
}

impl Link {
    /// `stream` leads to a process that serves `program`.
    pub fn new(program: &Program, stream: UnixStream) -> Self {
        let (kind, patience) = (program.kind(), program.patience());
        Self { kind, patience, stream: Arc::new(stream) }
    }

    /// The stream, to be kept across a fork.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Begins to ask, by a thread of its own: after a fork, call it in the process that asks.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn open(self, run: RunFacts) -> io::Result<Remote> {
        let Self { kind, patience, stream } = self;
        let stream = stream.try_clone()?;
        stream.set_nonblocking(true)?;
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talking = Arc::clone(&shared);
        let talk = move || {
            let ended = runtime.block_on(talking.talk(stream));
            tracing::debug!(?ended, "nothing asks the rule's program any more");
            talking.give_up();
        };
        thread::Builder::new().name("rules".to_owned()).spawn(talk)?;
        Ok(Remote { kind, patience, shared, run })
    }
}

impl RemoteEngine for Remote {
    fn ask(&self, facts: &Arc<RequestFacts>) -> Awaited {
        match self.put(facts) {
            Ok(waiting) => Box::pin(waiting.answer(self.patience)),
            Err(why) => {
                self.shared.lock().warnings.warn(UNASKED, &why);
                Box::pin(ready(failed()))
            }
        }
    }

    fn decided_by(&self, _facts: &RequestFacts) -> DecidedBy {
        DecidedBy::Engine(match self.kind {
            Kind::Script => "sh",
            Kind::Lines => "proc",
        })
    }

    /// Exit codes say nothing of connections; lines may.
    fn may_open_tcp(&self) -> bool {
        self.kind == Kind::Lines
    }
}

impl Remote {
    /// Ends the talk, as the end of the other side does.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.shared.give_up();
        self.shared.wake.notify_one();
    }

    /// Sends the question, or says why it can't be.
    fn put(&self, facts: &RequestFacts) -> Result<Waiting, String> {
        let question = facts.to_json(&self.run);
        let question =
            question.map_err(|error| format!("its process can't be looked up: {error}"))?;
        let question = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        if question.len() > wire::LONGEST_QUESTION {
            return Err(format!("it is {} bytes long", question.len()));
        }
        let (sender, answer) = oneshot::channel();
        let mut state = self.shared.lock();
        if state.is_over {
            return Err("the process that asks the rule's program has ended".to_owned());
        }
        if state.waiting.len() >= MOST_WAITING || state.bytes > MOST_BYTES {
            return Err(format!("{} requests wait for the rule's program", state.waiting.len()));
        }
        state.last += 1;
        let id = state.last;
        wire::push(&mut state.out, id, &question);
        state.bytes += question.len();
        state.waiting.insert(id, Unanswered { size: question.len(), answer: sender });
        drop(state);
        self.shared.wake.notify_one();
        Ok(Waiting { shared: Arc::clone(&self.shared), answer })
    }
}

impl Waiting {
    async fn answer(self, patience: Duration) -> Decision {
        match timeout(patience, self.answer).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) => failed(),
            Err(_) => {
                let detail = format!("none in {} seconds", patience.as_secs());
                self.shared.lock().warnings.warn(UNANSWERED, &detail);
                failed()
            }
        }
    }
}

impl Shared {
    async fn talk(&self, stream: UnixStream) -> io::Result<()> {
        let (read, write) = tokio::net::UnixStream::from_std(stream)?.into_split();
        tokio::select! {
            ended = self.send(write) => ended,
            ended = self.receive(read) => ended,
        }
    }

    async fn send(&self, mut stream: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let (out, is_over) = {
                let mut state = self.lock();
                (mem::take(&mut state.out), state.is_over)
            };
            if is_over {
                return Ok(());
            }
            if out.is_empty() {
                self.wake.notified().await;
            } else {
                stream.write_all(&out).await?;
            }
        }
    }

    async fn receive(&self, mut stream: OwnedReadHalf) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK);
        while stream.read_buf(&mut bytes).await? > 0 {
            let mut taken = 0;
            while let Some(frame) =
                wire::next(&bytes, &mut taken, wire::LONGEST_ANSWER).map_err(io::Error::other)?
            {
                let decision = wire::decode(&frame.body).unwrap_or_else(failed);
                let mut state = self.lock();
                if let Some(Unanswered { size, answer }) = state.waiting.remove(&frame.id) {
                    state.bytes -= size;
                    // Whoever asked may have gone.
                    let _ = answer.send(decision);
                }
            }
            bytes.drain(..taken);
            bytes.reserve(CHUNK);
        }
        Ok(())
    }

    /// Denies what waits, and all that is to come.
    fn give_up(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.out = Vec::new();
        state.waiting.clear();
    }

    /// A panic elsewhere leaves the state as good as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const UNASKED: &str = "request denied: the rule's program can't be asked";
const UNANSWERED: &str = "request denied: no answer of the rule's program came in time";
