//! What the stub promises for any datagram.

use std::cell::RefCell;

use super::{Names, reply};

/// What every resolver takes over UDP (RFC 1035, 4.2.1).
const MOST: usize = 512;
const ID: std::ops::Range<usize> = 0..2;
const FLAGS: usize = 2;
const IS_REPLY: u8 = 0x80;
/// Table entries after which a fresh one is used, so that a long run stays small.
const FEW: usize = 1000;

thread_local! {
    static NAMES: RefCell<(Names, usize)> = RefCell::new((Names::new(), 0));
}

/// Holds `datagram` to get the same reply each time, which is one to it and to nobody replies, or
/// none.
pub fn dns_message(datagram: &[u8]) {
    NAMES.with_borrow_mut(|(names, asked)| {
        if *asked == FEW {
            (*names, *asked) = (Names::new(), 0);
        }
        *asked += 1;
        let Some(first) = reply(datagram, names) else {
            let is_query = datagram.len() >= 12 && datagram[FLAGS] & IS_REPLY == 0;
            assert!(!is_query, "a query has no reply");
            return;
        };
        assert_eq!(reply(datagram, names).as_ref(), Some(&first), "two replies differ");
        assert!(first.len() <= MOST, "a reply of {} bytes", first.len());
        assert_eq!(first.get(ID), datagram.get(ID), "the id differs");
        assert!(first[FLAGS] & IS_REPLY != 0, "a reply that is none");
        assert_eq!(reply(&first, names), None, "a reply to a reply");
    });
}
