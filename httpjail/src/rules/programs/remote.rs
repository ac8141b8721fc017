//! The proxy's side: asks the process that runs a rule's program, and waits for its answers while
//! other requests go on.

use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    io,
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

use super::{Kind, Program, failed, looked_up, wire};
use crate::{
    policy::{Awaited, DecidedBy, Decision, RemoteEngine, RequestFacts, RunFacts},
    rules::warnings::Warnings,
};

/// Most questions that wait for an answer; a jailed program could ask without end.
const MOST_WAITING: usize = 4096;
/// Most bytes of them.
const MOST_BYTES: usize = 32 << 20;
const CHUNK: usize = 64 << 10;
/// How many questions are put into words before they are sent: the first must not wait for all.
const AT_ONCE: usize = 32;

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
}

struct Shared {
    state: Mutex<State>,
    run: RunFacts,
    /// Something waits to be sent.
    wake: Notify,
}

#[derive(Default)]
struct State {
    last: u64,
    /// What is to be put into words, in the order in which it came.
    unsaid: VecDeque<(u64, Arc<RequestFacts>)>,
    /// Until they are answered: the other side has them, whether or not anybody waits here.
    waiting: HashMap<u64, Unanswered>,
    /// How many bytes they have.
    bytes: usize,
    is_over: bool,
    warnings: Warnings,
}

/// A question that waits to be sent, or is out.
struct Unanswered {
    /// About how many bytes it has, at least those that the jailed program chose.
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
        let shared = Arc::new(Shared { state: Mutex::default(), run, wake: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talking = Arc::clone(&shared);
        let talk = move || {
            let ended = runtime.block_on(talking.talk(stream));
            tracing::debug!(?ended, "nothing asks the rule's program any more");
            talking.give_up();
        };
        thread::Builder::new().name("rules".to_owned()).spawn(talk)?;
        Ok(Remote { kind, patience, shared })
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

    /// Has the question sent, or says why it can't be. It is put into words elsewhere: that takes a look
    /// at the process, for which a thread that serves connections had better not wait.
    fn put(&self, facts: &Arc<RequestFacts>) -> Result<Waiting, String> {
        let size = size(facts);
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
        state.unsaid.push_back((id, Arc::clone(facts)));
        state.bytes += size;
        state.waiting.insert(id, Unanswered { size, answer: sender });
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
        let mut out = Vec::new();
        loop {
            let (unsaid, is_over) = {
                let mut state = self.lock();
                let count = state.unsaid.len().min(AT_ONCE);
                (state.unsaid.drain(..count).collect::<Vec<_>>(), state.is_over)
            };
            if is_over {
                return Ok(());
            }
            if unsaid.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let run = looked_up::once(&self.run);
            for (id, facts) in unsaid {
                match say(&facts, &run) {
                    Ok(question) => wire::push(&mut out, id, &question),
                    Err(why) => self.cannot_ask(id, &why),
                }
            }
            stream.write_all(&out).await?;
            out.clear();
        }
    }

    /// Denies what nobody can be asked about.
    fn cannot_ask(&self, id: u64, why: &str) {
        let mut state = self.lock();
        state.warnings.warn(UNASKED, why);
        if let Some(Unanswered { size, answer }) = state.waiting.remove(&id) {
            state.bytes -= size;
            // Whoever asked may have gone.
            let _ = answer.send(failed());
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
        state.unsaid.clear();
        state.waiting.clear();
    }

    /// A panic elsewhere leaves the state as good as it was.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The question about a request in JSON, or why there is none.
fn say(facts: &RequestFacts, run: &RunFacts) -> Result<Vec<u8>, String> {
    let question = facts.to_json(run);
    let question = question.map_err(|error| format!("its process can't be looked up: {error}"))?;
    let question = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    match question.len() {
        0..=wire::LONGEST_QUESTION => Ok(question),
        length => Err(format!("it is {length} bytes long")),
    }
}

/// How many bytes a jailed program made a request's question long by, about.
fn size(facts: &RequestFacts) -> usize {
    let headers = facts.headers.iter().map(|(name, value)| name.len() + value.len());
    facts.path.len() + facts.query.as_ref().map_or(0, String::len) + headers.sum::<usize>()
}

const UNASKED: &str = "request denied: the rule's program can't be asked";
const UNANSWERED: &str = "request denied: no answer of the rule's program came in time";
