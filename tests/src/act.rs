//! The contract between the suites and the probe: what a report says.

use serde_json::{Value, json};

/// How a network act came out.
#[derive(Debug)]
pub enum Outcome {
    /// It was done; what was seen.
    Done(Value),
    /// The kernel refused a step of it.
    Refused {
        /// The system call, or what stood for it.
        step: &'static str,
        /// Its error.
        error: std::io::Error,
    },
}

impl Outcome {
    /// The report's one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Done(seen) => json!({ "ok": true, "seen": seen }),
            Self::Refused { step, error } => json!({
                "ok": false,
                "step": step,
                "errno": error.raw_os_error(),
                "error": error.to_string(),
                "kind": format!("{:?}", error.kind()),
            }),
        }
    }
}

/// A step of an act that the kernel refused.
#[derive(Debug)]
pub struct Refusal(pub &'static str, pub std::io::Error);

impl From<Result<Value, Refusal>> for Outcome {
    fn from(result: Result<Value, Refusal>) -> Self {
        match result {
            Ok(seen) => Self::Done(seen),
            Err(Refusal(step, error)) => Self::Refused { step, error },
        }
    }
}

/// Names the step that failed.
pub trait Step<T> {
    /// Turns an error into the refusal of `step`.
    ///
    /// # Errors
    /// When there is one.
    fn step(self, step: &'static str) -> Result<T, Refusal>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Refusal> {
        self.map_err(|error| Refusal(step, error.into()))
    }
}
