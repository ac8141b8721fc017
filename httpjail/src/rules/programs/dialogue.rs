//! What is asked of a `--proc` program and what it answers, without doing either.
//!
//! One question at a time is out, for an answer says not which it is about. A program whose answers
//! carry the `id` of the question shows that it can tell them apart: it gets many at a time, and
//! every answer must have one from then on.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::question;
use crate::{policy::Decision, rules::answer};

/// Most questions that are out at the same time.
const MOST_OUT: usize = 512;
/// How much is written at a time.
const BATCH: usize = 64 << 10;
/// The longest line that is an answer.
const LONGEST_LINE: usize = 64 << 10;
/// How often a question is asked before it is given up.
const ATTEMPTS: u8 = 2;

/// One question.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: u64,
    /// In JSON.
    pub(super) body: Vec<u8>,
    attempts: u8,
    since: Instant,
    /// When the program must have answered.
    due: Option<Instant>,
}

/// What the program said about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u64,
    /// The decision, or what proves nothing.
    pub(super) meaning: Result<Decision, String>,
}

/// Why a program can't be talked to any more; it is replaced.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// It took too long.
    #[error("it didn't answer in time")]
    Late,
    /// It ended, or closed its standard output.
    #[error("it ended")]
    Ended,
    /// It doesn't read.
    #[error("it doesn't read its standard input")]
    Deaf,
    /// It said nothing, with a line end.
    #[error("it answered with an empty line")]
    Empty,
    /// It said more than anybody reads.
    #[error("it answered with more than {LONGEST_LINE} bytes in a line")]
    Endless,
    /// It said something that nobody asked it for.
    #[error("it is out of step, so no answer of it is trusted: {0}")]
    OutOfStep(&'static str),
}

/// The questions that are to be asked and that are out.
#[derive(Debug)]
pub(super) struct Dialogue {
    limit: Duration,
    patience: Duration,
    waiting: VecDeque<Question>,
    /// In the order in which they are due.
    out: VecDeque<Question>,
    tells_ids: bool,
    /// What is to be written.
    pub(super) output: Vec<u8>,
    /// What was read and isn't a whole line.
    input: Vec<u8>,
}

impl Question {
    /// A question that has come now.
    pub(super) fn new(id: u64, body: Vec<u8>) -> Self {
        Self { id, body, attempts: 0, since: Instant::now(), due: None }
    }

    /// Whether nobody waits for its answer any more, who has so much `patience`.
    pub(super) fn is_stale(&self, now: Instant, patience: Duration) -> bool {
        now.saturating_duration_since(self.since) > patience
    }
}

impl Dialogue {
    /// Nothing is asked yet; answers may take up to `limit`, and questions wait for them no longer
    /// than `patience`.
    pub(super) fn new(limit: Duration, patience: Duration) -> Self {
        Self {
            limit,
            patience,
            waiting: VecDeque::new(),
            out: VecDeque::new(),
            tells_ids: false,
            output: Vec::new(),
            input: Vec::new(),
        }
    }

    /// Takes a question in.
    pub(super) fn ask(&mut self, question: Question) {
        self.waiting.push_back(question);
    }

    /// Whether there is nothing to ask and nothing to wait for.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }

    /// Whether the program must have said nothing, for nothing may be out beside the next question.
    pub(super) fn must_be_silent(&self) -> bool {
        !self.tells_ids && self.out.is_empty()
    }

    /// Puts as much into the output as may be asked now. Gives back questions that can't be put, and
    /// those that it is too late for.
    pub(super) fn fill(&mut self, now: Instant) -> Vec<Question> {
        let mut unfit = Vec::new();
        while self.has_room()
            && let Some(mut question) = self.waiting.pop_front()
        {
            let is_wanted = !question.is_stale(now, self.patience);
            match question::line(question.id, &question.body).filter(|_| is_wanted) {
                Some(line) => {
                    self.output.extend_from_slice(&line);
                    question.due = Some(now + self.limit);
                    self.out.push_back(question);
                }
                None => unfit.push(question),
            }
        }
        unfit
    }

    fn has_room(&self) -> bool {
        match self.tells_ids {
            true => self.out.len() < MOST_OUT && self.output.len() < BATCH,
            false => self.out.is_empty(),
        }
    }

    /// When the next answer is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.out.front().and_then(|question| question.due)
    }

    /// Reads what the program said.
    ///
    /// # Errors
    ///
    /// [`Damage`]; the answers before it count, and are in `answers`.
    pub(super) fn hear(&mut self, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<(), Damage> {
        self.input.extend_from_slice(bytes);
        let mut input = mem::take(&mut self.input);
        let mut taken = 0;
        while let Some(rest) = input.get(taken..)
            && let Some(length) = rest.iter().position(|byte| *byte == b'\n')
        {
            if length > LONGEST_LINE {
                return Err(Damage::Endless);
            }
            answers.push(self.read(rest.get(..length).unwrap_or_default())?);
            taken += length + 1;
        }
        input.drain(..taken);
        if input.len() > LONGEST_LINE {
            return Err(Damage::Endless);
        }
        self.input = input;
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<Answer, Damage> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            return Err(Damage::Empty);
        }
        let (question, meaning) = match tagged(line) {
            Some((id, rest)) => {
                let at = id.and_then(|id| self.out.iter().position(|question| question.id == id));
                let question = at.and_then(|at| self.out.remove(at));
                let question = question.ok_or(Damage::OutOfStep(STRANGE_ID))?;
                self.tells_ids = true;
                (question, answer::read_json(&rest))
            }
            None if self.tells_ids => return Err(Damage::OutOfStep(NO_ID)),
            None => {
                let question = self.out.pop_front().ok_or(Damage::OutOfStep(UNASKED))?;
                (question, answer::read_text(line))
            }
        };
        Ok(Answer { id: question.id, meaning: meaning.ok_or_else(|| line.to_owned()) })
    }

    /// Takes note that the program is gone, after this `damage`: what was out is to be asked again,
    /// but for what was asked often enough, which is given back.
    pub(super) fn restart(&mut self, damage: &Damage, now: Instant) -> Vec<Question> {
        self.tells_ids = false;
        self.output.clear();
        self.input.clear();
        let mut lost = Vec::new();
        while let Some(mut question) = self.out.pop_back() {
            // Where one question was too much for it, the others are not to blame.
            let is_to_blame = *damage != Damage::Late || question.due.is_none_or(|due| due <= now);
            question.attempts += u8::from(is_to_blame);
            question.due = None;
            if question.attempts < ATTEMPTS {
                self.waiting.push_front(question);
            } else {
                lost.push(question);
            }
        }
        lost
    }

    /// Gives back all that waits or is out.
    pub(super) fn give_up(&mut self) -> Vec<Question> {
        self.out.drain(..).chain(self.waiting.drain(..)).collect()
    }
}

/// The `id` of an answer that has one, if it could be one of ours, and the answer without it.
fn tagged(line: &str) -> Option<(Option<u64>, Value)> {
    if !line.starts_with('{') {
        return None;
    }
    let mut value: Value = serde_json::from_str(line).ok()?;
    let id = value.as_object_mut()?.remove("id")?;
    Some((id.as_u64(), value))
}

const UNASKED: &str = "it said something before it was asked";
const NO_ID: &str = "it left the id out of an answer, after it had told some";
const STRANGE_ID: &str = "it answered with an id that isn't out";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Limits;

    const LIMIT: Duration = Duration::from_secs(5);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn dialogue(questions: u64) -> Dialogue {
        let mut dialogue = Dialogue::new(LIMIT, PATIENCE);
        for id in 1..=questions {
            dialogue.ask(Question::new(id, b"{\"a\":0}".to_vec()));
        }
        dialogue
    }

    /// The numbers of the questions that are written now.
    fn asked(dialogue: &mut Dialogue, now: Instant) -> Vec<u64> {
        assert!(dialogue.fill(now).is_empty());
        let output = String::from_utf8(mem::take(&mut dialogue.output)).unwrap();
        output
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
            .collect()
    }

    fn hear(dialogue: &mut Dialogue, text: &str) -> (Vec<u64>, Result<(), Damage>) {
        let mut answers = Vec::new();
        let heard = dialogue.hear(text.as_bytes(), &mut answers);
        let allowed = Ok(Decision::Allow(Limits::default()));
        assert!(answers.iter().all(|answer| answer.meaning == allowed), "{answers:?}");
        (answers.iter().map(|answer| answer.id).collect(), heard)
    }

    #[test]
    fn one_question_at_a_time_is_out_without_ids() {
        let (mut dialogue, now) = (dialogue(3), Instant::now());
        for id in 1..=3 {
            assert!(dialogue.must_be_silent());
            assert_eq!(asked(&mut dialogue, now), [id]);
            assert_eq!(asked(&mut dialogue, now), [0; 0]);
            assert_eq!(hear(&mut dialogue, "tr"), (vec![], Ok(())));
            assert_eq!(hear(&mut dialogue, "ue\r\n"), (vec![id], Ok(())));
        }
        assert!(dialogue.is_idle());
    }

    #[test]
    fn many_are_out_once_an_answer_has_an_id() {
        let (mut dialogue, now) = (dialogue(4), Instant::now());
        assert_eq!(asked(&mut dialogue, now), [1]);
        assert_eq!(hear(&mut dialogue, "{\"id\":1,\"allow\":true}\n"), (vec![1], Ok(())));
        assert_eq!(asked(&mut dialogue, now), [2, 3, 4]);
        let late = "{\"allow\":true,\"id\":4}\n{\"id\":2,\"allow\":true}\n{\"id\":3,";
        assert_eq!(hear(&mut dialogue, late), (vec![4, 2], Ok(())));
        assert_eq!(dialogue.due(), Some(now + LIMIT));
        assert_eq!(hear(&mut dialogue, "\"allow\":true}\n"), (vec![3], Ok(())));
        assert!(dialogue.is_idle() && dialogue.due().is_none());
    }

    #[test]
    fn so_many_are_out_and_no_more() {
        let (mut dialogue, now) = (dialogue(2000), Instant::now());
        asked(&mut dialogue, now);
        hear(&mut dialogue, "{\"id\":1,\"allow\":true}\n").1.unwrap();
        assert_eq!(asked(&mut dialogue, now).len(), MOST_OUT);
    }

    #[test]
    fn what_nobody_asked_for_is_no_answer() {
        let now = Instant::now();
        let mut unasked = dialogue(0);
        assert_eq!(hear(&mut unasked, "true\n").1, Err(Damage::OutOfStep(UNASKED)));
        for strange in ["{\"id\":2,\"allow\":true}\n", "{\"id\":\"1\",\"allow\":true}\n"] {
            let mut dialogue = dialogue(2);
            assert_eq!(asked(&mut dialogue, now), [1]);
            assert_eq!(hear(&mut dialogue, strange), (vec![], Err(Damage::OutOfStep(STRANGE_ID))));
        }
        let mut twice = dialogue(2);
        asked(&mut twice, now);
        let both = "true\ntrue\n";
        assert_eq!(hear(&mut twice, both), (vec![1], Err(Damage::OutOfStep(UNASKED))));
    }

    /// A stray line must not be the answer to the one question that is out.
    #[test]
    fn who_tells_ids_tells_them_always() {
        let (mut dialogue, now) = (dialogue(2), Instant::now());
        asked(&mut dialogue, now);
        hear(&mut dialogue, "{\"id\":1,\"allow\":true}\n").1.unwrap();
        assert_eq!(asked(&mut dialogue, now), [2]);
        assert_eq!(hear(&mut dialogue, "true\n"), (vec![], Err(Damage::OutOfStep(NO_ID))));
    }

    #[test]
    fn lines_that_are_none_are_damage() {
        let now = Instant::now();
        for (said, damage) in [
            ("\n".to_owned(), Damage::Empty),
            ("  \r\n".to_owned(), Damage::Empty),
            ("x".repeat(LONGEST_LINE + 1), Damage::Endless),
            ("x".repeat(LONGEST_LINE + 1) + "\n", Damage::Endless),
        ] {
            let mut dialogue = dialogue(1);
            asked(&mut dialogue, now);
            assert_eq!(hear(&mut dialogue, &said), (vec![], Err(damage)));
        }
    }

    #[test]
    fn what_proves_nothing_is_told_as_it_was_said() {
        for said in ["null", "5", "[true]", "{}", "{\"allow\":1}", "{broken", "{\"id\":1}"] {
            let mut dialogue = dialogue(1);
            asked(&mut dialogue, Instant::now());
            let mut answers = Vec::new();
            dialogue.hear(format!("{said}\n").as_bytes(), &mut answers).unwrap();
            assert_eq!(answers, [Answer { id: 1, meaning: Err(said.to_owned()) }]);
        }
    }

    #[test]
    fn a_question_is_asked_twice_and_then_lost() {
        let (mut dialogue, now) = (dialogue(2), Instant::now());
        assert_eq!(asked(&mut dialogue, now), [1]);
        assert!(dialogue.restart(&Damage::Ended, now).is_empty());
        assert_eq!(asked(&mut dialogue, now), [1]);
        let lost = dialogue.restart(&Damage::Empty, now);
        assert_eq!(lost.iter().map(|lost| lost.id).collect::<Vec<_>>(), [1]);
        assert_eq!(asked(&mut dialogue, now), [2]);
    }

    #[test]
    fn one_that_takes_too_long_is_no_blame_on_the_others() {
        let (mut dialogue, start) = (dialogue(2), Instant::now());
        asked(&mut dialogue, start);
        hear(&mut dialogue, "{\"id\":1,\"allow\":true}\n").1.unwrap();
        assert_eq!(asked(&mut dialogue, start), [2]);
        let mut now = start;
        for _ in 0..2 {
            dialogue.ask(Question::new(3, b"{\"a\":0}".to_vec()));
            now += LIMIT / 2;
            asked(&mut dialogue, now);
            now += LIMIT / 2;
            dialogue.restart(&Damage::Late, now);
            assert_eq!(
                asked(&mut dialogue, now).first(),
                Some(&if now == start + LIMIT { 2 } else { 3 })
            );
            dialogue.tells_ids = true;
        }
    }

    #[test]
    fn nobody_is_asked_what_nobody_waits_for() {
        let (mut dialogue, late) = (dialogue(3), Instant::now() + PATIENCE + LIMIT);
        let stale = dialogue.fill(late);
        assert_eq!(stale.iter().map(|stale| stale.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(dialogue.output.is_empty() && dialogue.is_idle());
    }

    #[test]
    fn nothing_of_the_old_process_is_heard_by_the_new_one() {
        let (mut dialogue, now) = (dialogue(1), Instant::now());
        dialogue.fill(now);
        assert_eq!(hear(&mut dialogue, "tru"), (vec![], Ok(())));
        dialogue.restart(&Damage::Ended, now);
        assert!(dialogue.output.is_empty());
        assert_eq!(asked(&mut dialogue, now), [1]);
        assert_eq!(hear(&mut dialogue, "true\n"), (vec![1], Ok(())));
    }
}
