//! Rules that are programs of the user's: `--sh`, one process for each request, and `--proc`, one
//! that answers line by line.
//!
//! They run in a process of their own, with the user's rights (`session` makes it), and the proxy
//! asks that process: `program` is what the user wrote · `question` is what a program is told of a
//! request · `remote` asks, in the proxy, with what `looked_up` keeps of processes meanwhile · `wire`
//! is how · `role` answers, outside of it · `script` runs one `--sh` process · `line` talks to the
//! `--proc` one, by what `dialogue` keeps of it and `running` holds of it · `output` brings what they
//! say to the log.

mod dialogue;
mod line;
mod looked_up;
mod output;
mod program;
mod question;
mod remote;
mod role;
mod running;
mod script;
mod wire;

pub use program::{Kind, Program, ProgramError};
pub use remote::Link;
pub use role::serve;

#[cfg(test)]
pub(in crate::rules) mod tests;

/// What the jailed program reads when a rule's program failed; why is none of its business.
const FAILED: &str = "Program evaluation failed";

fn failed() -> crate::policy::Decision {
    use crate::policy::{Decision, Denial, DenyReason};
    let message = Some(FAILED.to_owned());
    Decision::Deny(Denial { reason: DenyReason::RuleFailed, message })
}
