//! The connections that one worker has, so that the next goes to the worker with the fewest, and
//! so that all can be cut from another thread.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The open connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Load(Mutex<Streams>);

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    open: HashMap<u64, TcpStream>,
}

/// One connection among a worker's; dropped, it counts no more.
#[derive(Debug)]
pub(super) struct Share {
    load: Arc<Load>,
    number: u64,
}

impl Load {
    /// How many connections the worker has.
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Adds a connection.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left for the hold on it.
    pub(super) fn add(self: &Arc<Self>, stream: &TcpStream) -> io::Result<Share> {
        let hold = stream.try_clone()?;
        let mut streams = self.lock();
        let number = streams.next;
        streams.next += 1;
        streams.open.insert(number, hold);
        Ok(Share { load: Arc::clone(self), number })
    }

    /// Ends every connection in both directions, whatever its worker is at.
    pub(super) fn cut(&self) {
        for stream in self.lock().open.values() {
            // Only a connection that has ended already can't be cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A panic elsewhere leaves the connections as they were: each comes and goes at once.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let hold = self.load.lock().open.remove(&self.number);
        drop(hold);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn counts_what_is_open() {
        let load = Arc::new(Load::default());
        let (_client, server) = pair();
        let first = load.add(&server).unwrap();
        let second = load.add(&server).unwrap();
        assert_eq!(load.count(), 2);
        drop(first);
        assert_eq!(load.count(), 1);
        drop(second);
        assert_eq!(load.count(), 0);
    }

    #[test]
    fn cuts_what_is_open() {
        let load = Arc::new(Load::default());
        let (mut client, server) = pair();
        let _share = load.add(&server).unwrap();
        load.cut();
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    }
}
