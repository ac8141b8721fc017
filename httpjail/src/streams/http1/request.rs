//! The body of a request.

use std::{
    fmt,
    rc::Rc,
    task::{Context, Poll},
};

use http_body::SizeHint;

use crate::streams::Polled;

/// Who reads the bodies of requests off a connection, one after another. Each has a number, by which
/// one that is still held knows that its time is over.
pub(crate) trait Intake {
    /// Reads the body of this number on, for whoever wants it.
    fn poll_frame(&self, number: u64, cx: &mut Context<'_>) -> Polled;

    /// What is still to come of it, if that is known; nothing, if it is over.
    fn size_hint(&self, number: u64) -> SizeHint;

    /// Whether nothing more is to come of it.
    fn is_over(&self, number: u64) -> bool;

    /// Nobody wants the rest of it.
    fn give_up(&self, number: u64);
}

/// A body on its way in. Whoever holds it reads it off its connection.
pub(crate) struct RequestBody {
    intake: Rc<dyn Intake>,
    number: u64,
}

impl RequestBody {
    /// The body of this number.
    pub(crate) fn new(intake: Rc<dyn Intake>, number: u64) -> Self {
        Self { intake, number }
    }

    pub(in crate::streams) fn is_end_stream(&self) -> bool {
        self.intake.is_over(self.number)
    }

    pub(in crate::streams) fn size_hint(&self) -> SizeHint {
        self.intake.size_hint(self.number)
    }

    pub(in crate::streams) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        match self.is_end_stream() {
            true => Poll::Ready(None),
            false => self.intake.poll_frame(self.number, cx),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.intake.give_up(self.number);
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("number", &self.number).finish_non_exhaustive()
    }
}
