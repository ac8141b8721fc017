//! A network namespace, held by a thread that lives in it.
//!
//! A socket belongs to the namespace of the thread that made it, and a process to that of the
//! thread that started it: so the thread makes sockets and starts processes for others, and the
//! test's own thread never leaves the host's namespace.

use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::sys::{self, Mounts};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace; it ends with this value, once no socket and no process holds it.
#[derive(Debug)]
pub(crate) struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
    link: String,
}

impl Namespace {
    /// Makes an empty namespace, all links down.
    pub(crate) fn new(name: &str, mounts: Mounts) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let entered = enter(mounts);
            let failed = entered.is_err();
            if ready.send(entered).is_err() || failed {
                return;
            }
            inbox.into_iter().for_each(|job| job());
        });
        let thread = thread.expect("a thread can be started");
        let entered = started.recv().expect("the namespace's thread reports");
        let (tid, link) = entered.expect("a network namespace can be made (the tests need root)");
        Self { jobs: Some(jobs), thread: Some(thread), tid, link }
    }

    /// Does a job on the namespace's thread.
    pub(crate) fn run<T, F>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let job = Box::new(move || drop(sender.send(job())));
        let jobs = self.jobs.as_ref().expect("taken by drop alone");
        jobs.send(job).expect("the namespace's thread lives");
        receiver.recv().expect("the job came to its end")
    }

    /// The thread, by which `ip link … netns` knows the namespace.
    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    /// Processes other than this one that are in the namespace.
    pub(crate) fn foreign_processes(&self) -> Vec<String> {
        let own = std::process::id().to_string();
        let folders = std::fs::read_dir("/proc").expect("/proc is mounted");
        let names = folders.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let pids = names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()) && *name != own);
        pids.filter(|pid| link_of(Path::new("/proc").join(pid)).is_ok_and(|link| link == self.link))
            .collect()
    }

    /// Lets the namespace's mounts show `source` at `target`.
    pub(crate) fn bind(&self, source: &Path, target: &'static str) {
        let source = source.to_owned();
        self.run(move || mount_bind(&source, target)).expect("a file can be bound over another");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // A job's panic has been reported by `run`.
        }
    }
}

fn enter(mounts: Mounts) -> io::Result<(i32, String)> {
    sys::unshare_namespaces(mounts)?;
    if matches!(mounts, Mounts::Private) {
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    }
    let link = link_of("/proc/thread-self".into())?;
    Ok((rustix::thread::gettid().as_raw_nonzero().get(), link))
}

fn link_of(process: std::path::PathBuf) -> io::Result<String> {
    Ok(std::fs::read_link(process.join("ns/net"))?.to_string_lossy().into_owned())
}
