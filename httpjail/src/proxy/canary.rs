//! The jail's own first connections: by them its init proves, before the command runs, that what
//! goes out arrives here. They ask for nothing, so there is no record of them.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
};

use super::Flow;

/// The connections that are still to come, and the answer by which init knows this proxy.
#[derive(Clone, Debug, Default)]
pub struct Canary {
    targets: Vec<SocketAddr>,
    word: Vec<u8>,
}

impl Canary {
    /// One connection to each of `targets` is to be answered with `word`.
    #[must_use]
    pub fn new(targets: &[SocketAddr], word: &[u8]) -> Self {
        Self { targets: targets.to_owned(), word: word.to_owned() }
    }

    /// Whether this is one of them. Each comes once, before the command: the next connection to
    /// the same address is the command's, and judged.
    pub(super) fn takes(&mut self, flow: &Flow) -> bool {
        let at = self.targets.iter().position(|target| *target == flow.original);
        at.map(|at| self.targets.swap_remove(at)).is_some()
    }

    /// Answers one of them. The few bytes fit into the empty buffer of a new connection.
    pub(super) fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.write_all(&self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Aim;

    #[test]
    fn takes_each_connection_once_and_no_other() {
        let target = |text: &str| text.parse::<SocketAddr>().unwrap();
        let flow = |text| Flow { original: target(text), aim: Aim::Elsewhere, process: None };
        let mut canary = Canary::new(&[target("192.0.2.1:443"), target("[2001:db8::1]:443")], b"w");
        assert!(!canary.takes(&flow("192.0.2.1:80")));
        assert!(canary.takes(&flow("192.0.2.1:443")));
        assert!(!canary.takes(&flow("192.0.2.1:443")), "the command's");
        assert!(canary.takes(&flow("[2001:db8::1]:443")));
        assert!(!Canary::default().takes(&flow("192.0.2.1:443")));
    }
}
