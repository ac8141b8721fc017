//! What a ClientHello holds beyond what rustls tells of it.

/// The extension by which a hello hides its true server name (RFC 9849), or pretends to.
pub(super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;
/// More than rustls takes.
const LONGEST: usize = 0xffff;

/// Whether the hello at the start of `records` has an extension of this `kind`; `None` where that
/// can't be told: the hello is cut off, or malformed.
pub(super) fn has_extension(records: &[u8], kind: u16) -> Option<bool> {
    let message = first_message(records)?;
    let mut rest = message.as_slice();
    let [CLIENT_HELLO] = take(&mut rest, 1)? else { return None };
    let mut body = sized(&mut rest, 3)?;
    // Version and random, then session, cipher suites and compression methods.
    take(&mut body, 2 + 32)?;
    sized(&mut body, 1)?;
    sized(&mut body, 2)?;
    sized(&mut body, 1)?;
    if body.is_empty() {
        return Some(false);
    }
    let mut extensions = sized(&mut body, 2)?;
    let mut found = false;
    while !extensions.is_empty() {
        let this = number(take(&mut extensions, 2)?);
        sized(&mut extensions, 2)?;
        found |= this == usize::from(kind);
    }
    body.is_empty().then_some(found)
}

/// The first handshake message with its header, put together from its records.
fn first_message(mut records: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if let Some(header) = message.get(1..4) {
            let whole = 4 + number(header);
            if whole > LONGEST {
                return None;
            }
            if message.len() >= whole {
                message.truncate(whole);
                return Some(message);
            }
        }
        let [HANDSHAKE, _, _] = take(&mut records, 3)? else { return None };
        let fragment = sized(&mut records, 2)?;
        if fragment.is_empty() {
            return None;
        }
        message.extend_from_slice(fragment);
    }
}

/// What follows a length of so many bytes.
fn sized<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = number(take(bytes, width)?);
    take(bytes, length)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len().to_be_bytes();
        [&length[length.len() - width..], bytes].concat()
    }

    fn message(kinds: &[u16]) -> Vec<u8> {
        let extensions: Vec<u8> = kinds
            .iter()
            .flat_map(|kind| [kind.to_be_bytes().to_vec(), sized(2, b"content")].concat())
            .collect();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &sized(1, &[9; 32]),
            &sized(2, &[0x13, 1]),
            &sized(1, &[0]),
            &sized(2, &extensions),
        ]
        .concat();
        [vec![CLIENT_HELLO], sized(3, &body)].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|piece| [vec![22, 3, 1], sized(2, piece)].concat()).collect()
    }

    const KINDS: [u16; 3] = [0, 0xfe0d, 43];

    #[test]
    fn finds_an_extension_however_the_hello_is_cut() {
        let message = message(&KINDS);
        for size in [1, 3, 50, message.len()] {
            let mut hello = records(&message, size);
            // Early data.
            hello.extend([23, 3, 3, 0, 1, 9]);
            for kind in KINDS {
                assert_eq!(has_extension(&hello, kind), Some(true), "{size}");
            }
            assert_eq!(has_extension(&hello, 44), Some(false), "{size}");
        }
    }

    #[test]
    fn of_a_part_nothing_is_told() {
        let hello = records(&message(&KINDS), 40);
        for end in 0..hello.len() {
            assert_eq!(has_extension(&hello[..end], ENCRYPTED_CLIENT_HELLO), None, "{end}");
        }
    }

    #[test]
    fn of_what_is_malformed_nothing_is_told() {
        let whole = message(&KINDS);
        let in_one = |message: &[u8]| records(message, message.len());
        let mut short = whole.clone();
        short[3] -= 1;
        let mut server = whole.clone();
        server[0] = 2;
        let mut huge = whole.clone();
        huge[1] = 1;
        for hello in [
            in_one(&short),
            in_one(&server),
            in_one(&huge),
            vec![22, 3, 1, 0, 0],
            vec![23, 3, 1, 0, 1, 1],
        ] {
            assert_eq!(has_extension(&hello, 0), None, "{}", hello.escape_ascii());
        }
    }

    #[test]
    fn hellos_of_old_have_no_extensions() {
        let body = [&[3, 1][..], &[7; 32], &[0], &sized(2, &[0, 0x2f]), &[1, 0]].concat();
        let message = [vec![CLIENT_HELLO], sized(3, &body)].concat();
        assert_eq!(has_extension(&records(&message, 100), 0), Some(false));
    }
}
