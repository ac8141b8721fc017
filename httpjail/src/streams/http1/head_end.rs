//! Where a head ends.

/// How many bytes are looked at together.
const LANES: usize = 16;

/// Where the first empty line ends, which no parser may see elsewhere; the first `looked_at` bytes
/// hold none.
pub(crate) fn head_end(bytes: &[u8], looked_at: usize) -> Option<usize> {
    let mut at = looked_at.saturating_sub(2);
    loop {
        at += newline(bytes.get(at..)?)? + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

/// The first LF. Written so that the compiler looks at many bytes at once.
fn newline(bytes: &[u8]) -> Option<usize> {
    let (lanes, rest) = bytes.as_chunks::<LANES>();
    let has_newline = |lane: &[u8; LANES]| {
        lane.iter().fold(0, |found, byte| found | u8::from(*byte == b'\n')) != 0
    };
    let skipped = lanes.iter().position(has_newline);
    let (from, bytes) = match skipped {
        Some(lane) => (lane * LANES, lanes.get(lane)?.as_slice()),
        None => (bytes.len() - rest.len(), rest),
    };
    bytes.iter().position(|byte| *byte == b'\n').map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_empty_line_ends_it_wherever_it_stands() {
        for end in ["\n\n", "\n\r\n"] {
            for length in 0..100 {
                let text = format!("{}{end}x\n\n", "y".repeat(length));
                assert_eq!(head_end(text.as_bytes(), 0), Some(length + end.len()));
                for looked_at in 0..length + end.len() {
                    assert_eq!(head_end(text.as_bytes(), looked_at), Some(length + end.len()));
                }
            }
        }
    }

    #[test]
    fn others_are_none() {
        for text in ["", "\n", "\r\n", "x\r\n", "x\n\r", "x\ny\n", "x\r\r\n", "x\n\ry\n"] {
            assert_eq!(head_end(text.as_bytes(), 0), None, "{text:?}");
        }
    }
}
