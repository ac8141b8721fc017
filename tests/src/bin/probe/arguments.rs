//! The command line of an act: `WORD… [--option value]…`.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// How long the probe waits for an answer before it reports that none came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Words and options of an act.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<String>,
    options: HashMap<String, String>,
}

impl Arguments {
    pub(crate) fn new(line: impl Iterator<Item = String>) -> Self {
        let mut this = Self { words: Vec::new(), options: HashMap::new() };
        let mut line = line;
        while let Some(word) = line.next() {
            match word.strip_prefix("--") {
                Some(option) => {
                    let value = line.next().expect("every option has a value");
                    this.options.insert(option.to_owned(), value);
                }
                None => this.words.push(word),
            }
        }
        this
    }

    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).expect("the act has all its words")
    }

    /// The first word, ADDRESS:PORT or NAME:PORT; a link-local one may name its interface's number.
    pub(crate) fn address(&self) -> SocketAddr {
        let mut found = self.word(0).to_socket_addrs().expect("the first word is ADDRESS:PORT");
        found.next().expect("a name that stands for an address")
    }

    /// What is sent, and looked for on the wire.
    pub(crate) fn mark(&self) -> &[u8] {
        self.option("mark").unwrap_or("mark").as_bytes()
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.option(name).map(|value| value.parse().expect("the option is a number"))
    }
}
