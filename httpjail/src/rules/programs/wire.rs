//! How the proxy and the process that runs a rule's program talk: over a stream, in frames of a
//! length, a number and a body.

use crate::policy::{Decision, Denial, DenyReason, Limits, Opaque};

/// The longest body of a question: a request's head, in JSON, may be longer than it came.
pub(super) const LONGEST_QUESTION: usize = 4 << 20;
/// The longest body of an answer.
pub(super) const LONGEST_ANSWER: usize = 256 << 10;
/// What stands before the body: its length and the number.
const HEAD: usize = 4 + 8;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Which question it is, or is about.
    pub(super) id: u64,
    /// The question in JSON, or a decision.
    pub(super) body: Vec<u8>,
}

/// A frame that is longer than any may be: the two sides don't understand each other.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {0} bytes is too long")]
pub(super) struct TooLong(usize);

/// Appends a frame to `out`.
pub(super) fn push(out: &mut Vec<u8>, id: u64, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(body);
}

/// Takes the first frame of what has come, if it is there whole. `at` is how much of `bytes` is
/// taken already.
pub(super) fn next(bytes: &[u8], at: &mut usize, longest: usize) -> Result<Option<Frame>, TooLong> {
    let Some((head, rest)) = bytes.get(*at..).and_then(|rest| rest.split_at_checked(HEAD)) else {
        return Ok(None);
    };
    let mut number = [0; 8];
    number[4..].copy_from_slice(&head[..4]);
    let length = usize::try_from(u64::from_be_bytes(number)).unwrap_or(usize::MAX);
    number.copy_from_slice(&head[4..]);
    if length > longest {
        return Err(TooLong(length));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    *at += HEAD + length;
    Ok(Some(Frame { id: u64::from_be_bytes(number), body: body.to_vec() }))
}

/// Writes a decision as a body.
pub(super) fn encode(decision: &Decision) -> Vec<u8> {
    match decision {
        Decision::Allow(Limits { max_tx_bytes, opaque }) => {
            let opaque = match opaque {
                Opaque::Refused => ALLOW,
                Opaque::Allowed => ALLOW_OPAQUE,
            };
            let mut body = vec![opaque];
            body.extend(max_tx_bytes.iter().flat_map(|bytes| bytes.to_be_bytes()));
            body
        }
        Decision::Deny(Denial { reason, message }) => {
            let failed = match reason {
                DenyReason::RuleFailed => FAILED,
                DenyReason::Rule
                | DenyReason::NoRule
                | DenyReason::NotForTcp
                | DenyReason::Listed => DENY,
            };
            let mut body = vec![failed, u8::from(message.is_some())];
            let message = message.as_deref().unwrap_or_default();
            body.extend(message.bytes().take(LONGEST_ANSWER - body.len()));
            body
        }
    }
}

/// Reads a decision back; `None`: it is none.
pub(super) fn decode(body: &[u8]) -> Option<Decision> {
    let (kind, rest) = body.split_first()?;
    let reason = match *kind {
        ALLOW => return limits(rest, Opaque::Refused),
        ALLOW_OPAQUE => return limits(rest, Opaque::Allowed),
        DENY => DenyReason::Rule,
        FAILED => DenyReason::RuleFailed,
        _ => return None,
    };
    let (has_message, message) = rest.split_first()?;
    let message = (*has_message != 0).then(|| String::from_utf8_lossy(message).into_owned());
    Some(Decision::Deny(Denial { reason, message }))
}

fn limits(rest: &[u8], opaque: Opaque) -> Option<Decision> {
    let max_tx_bytes = match rest {
        [] => None,
        bytes => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
    };
    Some(Decision::Allow(Limits { max_tx_bytes, opaque }))
}

const ALLOW: u8 = 0xa1;
const ALLOW_OPAQUE: u8 = 0xa2;
const DENY: u8 = 0xd1;
const FAILED: u8 = 0xd2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_however_they_are_cut() {
        let mut bytes = Vec::new();
        push(&mut bytes, 7, b"{}");
        push(&mut bytes, u64::MAX, b"");
        let (first, second) = (14, 26);
        for cut in 0..=bytes.len() {
            let mut at = 0;
            let mut frames = Vec::new();
            while let Some(frame) = next(&bytes[..cut], &mut at, 2).unwrap() {
                frames.push((frame.id, frame.body));
            }
            let whole = usize::from(cut >= first) + usize::from(cut >= second);
            let all = [(7, b"{}".to_vec()), (u64::MAX, Vec::new())];
            assert_eq!(frames, all[..whole], "{cut}");
            assert_eq!(at, [0, first, second][whole]);
        }
        next(&bytes, &mut 0, 1).unwrap_err();
    }

    #[test]
    fn decisions_survive_and_others_are_none() {
        let limits = |max_tx_bytes, opaque| Decision::Allow(Limits { max_tx_bytes, opaque });
        let denied = |reason, message: Option<&str>| {
            Decision::Deny(Denial { reason, message: message.map(str::to_owned) })
        };
        for decision in [
            limits(None, Opaque::Refused),
            limits(Some(0), Opaque::Allowed),
            limits(Some(u64::MAX), Opaque::Refused),
            denied(DenyReason::Rule, None),
            denied(DenyReason::Rule, Some("")),
            denied(DenyReason::RuleFailed, Some("why")),
        ] {
            assert_eq!(decode(&encode(&decision)), Some(decision));
        }
        for body in [&b""[..], b"\0", b"\xa1\0", b"\xa2123456789", b"\xd1", b"true"] {
            assert_eq!(decode(body), None, "{body:?}");
        }
    }
}
