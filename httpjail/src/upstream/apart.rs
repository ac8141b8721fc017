//! Work that blocks, on threads of its own.
//!
//! Not on tokio's, whose pool panics when the system gives it no thread: the jail shares the bound on
//! processes with its proxy, and can take them all.

use std::{io, sync::Arc, thread};

use tokio::sync::{Semaphore, oneshot};

/// How many threads of one kind may be at work. One that a caller has given up counts until it ends.
///
/// Many, as a lookup to which nobody answers takes its time, and must not hold up the others.
const AT_ONCE: usize = 256;

/// Where work is done that blocks.
#[derive(Debug)]
pub(super) struct Apart {
    places: Arc<Semaphore>,
}

impl Apart {
    /// A place for work, with no thread yet.
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Does `job` on a thread of its own, when there is a place for it.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (done, result) = oneshot::channel();
        let work = move || {
            // Whoever waited may have given up.
            let _ = done.send(job());
            drop(place);
        };
        thread::Builder::new().name("upstream".to_owned()).spawn(work)?;
        result.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn block_on<T>(job: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(job)
    }

    #[test]
    fn work_is_done_on_another_thread() {
        let here = thread::current().id();
        let there = block_on(Apart::new().run(move || thread::current().id())).unwrap();
        assert_ne!(there, here);
    }

    #[test]
    fn work_that_panics_is_an_error() {
        assert!(block_on(Apart::new().run(|| panic!("as it may"))).is_err());
    }

    #[test]
    fn no_more_than_so_many_are_at_work() {
        let apart = Apart::new();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        block_on(async {
            let mut waiting: Vec<_> = (0..=AT_ONCE)
                .map(|_| {
                    let ended = Arc::clone(&ended);
                    Box::pin(apart.run(move || {
                        let _ = ended.lock().unwrap().recv();
                    }))
                })
                .collect();
            for one in &mut waiting {
                assert!(
                    std::future::poll_fn(|task| std::task::Poll::Ready(one.as_mut().poll(task)))
                        .await
                        .is_pending()
                );
            }
            assert_eq!(apart.places.available_permits(), 0);
            drop(end);
            for one in waiting {
                one.await.unwrap();
            }
        });
    }
}
