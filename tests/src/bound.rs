//! Bounds of memory and processes, by whichever version of cgroups has the controller: on a hybrid
//! hierarchy the first, elsewhere the second.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::DEADLINE;
use crate::cgroup::{self, Cgroup};

static BOUNDS: AtomicU32 = AtomicU32::new(0);

/// A cgroup whose processes together may have so much and no more; it goes with this handle.
#[derive(Debug)]
pub struct Bound {
    place: Place,
}

#[derive(Debug)]
enum Place {
    First(PathBuf),
    Second(Cgroup),
}

impl Bound {
    /// Bounds memory, without a way out by swapping.
    ///
    /// # Panics
    /// When no hierarchy has the controller.
    #[must_use]
    pub fn memory(bytes: u64) -> Self {
        let this = Self::new("memory");
        this.set_memory(bytes);
        this
    }

    /// Bounds the number of processes and threads.
    ///
    /// # Panics
    /// When no hierarchy has the controller.
    #[must_use]
    pub fn processes(number: u64) -> Self {
        let this = Self::new("pids");
        fs::write(this.path().join("pids.max"), number.to_string()).expect("the bound can be set");
        this
    }

    fn new(controller: &str) -> Self {
        let number = BOUNDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("lab-bound-{}-{number}", std::process::id());
        let Some(own) = first_version(controller) else {
            return Self { place: Place::Second(Cgroup::with_controller(&name, controller)) };
        };
        let path = own.join(name);
        fs::create_dir(&path).expect("a cgroup can be made (the tests need root)");
        Self { place: Place::First(path) }
    }

    fn set_memory(&self, bytes: u64) {
        let (limit, swap, swappable) = match self.place {
            Place::First(_) => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes),
            Place::Second(_) => ("memory.max", "memory.swap.max", 0),
        };
        fs::write(self.path().join(limit), bytes.to_string()).expect("the bound can be set");
        // Kernels without swap lack the file.
        let swap = self.path().join(swap);
        if swap.exists() {
            fs::write(swap, swappable.to_string()).expect("the bound can be set");
        }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::First(path) => path,
            Place::Second(cgroup) => cgroup.path(),
        }
    }

    /// Whether it is of the second version, where a process is in one cgroup alone.
    #[must_use]
    pub fn is_the_only_cgroup(&self) -> bool {
        matches!(self.place, Place::Second(_))
    }

    /// Takes a process in. What it has already isn't counted.
    ///
    /// # Panics
    /// When it can't be moved.
    pub fn take_in(&self, pid: u32) {
        fs::write(self.path().join("cgroup.procs"), pid.to_string()).expect("it can be moved");
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let Place::First(path) = &self.place else { return };
        let deadline = Instant::now() + DEADLINE;
        // Nothing tells when the last process is gone.
        while let Err(error) = fs::remove_dir(path) {
            let waits = error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline;
            assert!(waits || std::thread::panicking(), "{} is left: {error}", path.display());
            if !waits {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// This process's cgroup in the hierarchy of version 1 that has the controller, if one does.
fn first_version(controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|one| one == controller);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mount = mounts
        .lines()
        .find(|line| line.contains(" - cgroup ") && line.rsplit(' ').next().is_some_and(has))?;
    let mount = Path::new(mount.split(' ').nth(4)?);
    let cgroups = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    let own = cgroups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        has(controllers).then_some(path)
    })?;
    let own = mount.join(own.trim_start_matches('/'));
    // In a container the path may be that of the host.
    Some(if own.is_dir() { own } else { mount.to_owned() })
}

impl Cgroup {
    /// Makes a cgroup that has a controller: below the root, as others may not have both processes
    /// and children with controllers. systemd has enabled it there; else it stays enabled, as other
    /// tests may use it.
    fn with_controller(name: &str, controller: &str) -> Self {
        let root = cgroup::mount();
        let enabled = root.join("cgroup.subtree_control");
        let list = fs::read_to_string(&enabled).expect("the root has controllers");
        if !list.split_whitespace().any(|one| one == controller) {
            fs::write(&enabled, format!("+{controller}")).expect("a hierarchy has the controller");
        }
        Self::at(root.join(name))
    }
}
