//! What reads hostile bytes, as targets for them: each takes any bytes and panics where a promise
//! about them is broken. Only tests and the fuzzer have them; their seeds are below `tests/fuzz`.

pub use crate::dns::fuzz::dns_message;
pub use crate::policy::fuzz::{authority, request_pattern};
pub use crate::proxy::fuzz::{client_hello, http2_frames, request, sniff};
pub use crate::rules::fuzz::rule_result;
pub use crate::upstream::fuzz::{answer, proxy_answer};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 10] = [
        ("answer", answer),
        ("authority", authority),
        ("client_hello", client_hello),
        ("dns_message", dns_message),
        ("http2_frames", http2_frames),
        ("proxy_answer", proxy_answer),
        ("request", request),
        ("request_pattern", request_pattern),
        ("rule_result", rule_result),
        ("sniff", sniff),
    ];

    /// What bytes are replaced by: ends of texts, lines, labels and numbers.
    const ODD: [u8; 15] =
        [0, b'\t', b'\n', b'\r', b' ', b'"', b'%', b'*', b'.', b'/', b'0', b':', b'[', 0x7f, 0xff];

    /// Also what was once found to break a promise, for it is a seed since.
    #[test]
    fn promises_hold_for_the_seeds_and_what_is_next_to_them() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has seeds");
            for seed in seeds {
                eprintln!("{name}: {}", seed.escape_ascii());
                neighbours(&seed).for_each(|bytes| target(&bytes));
            }
        }
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
        let files = fs::read_dir(folder.join(target)).unwrap();
        files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// The seed, each of its beginnings, and it with any one byte left out, doubled or odd.
    fn neighbours(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let beginnings = (0..=seed.len()).map(|end| seed[..end].to_vec());
        let changed = (0..seed.len()).flat_map(move |at| {
            let (before, rest) = seed.split_at(at);
            let replaced = ODD.map(|odd| [before, &[odd], &rest[1..]].concat());
            let less = [before, &rest[1..]].concat();
            let more = [before, &rest[..1], rest].concat();
            replaced.into_iter().chain([less, more])
        });
        beginnings.chain(changed)
    }
}
