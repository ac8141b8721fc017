//! The parent cgroup: it carries the programs for all jails below it, and lives on when a
//! supervisor is killed.
//!
//! It sits below the caller's own cgroup, so there is one for each caller's cgroup. A keeper of
//! the same name at the hierarchy's root carries the same programs: through it they are found
//! and shared, and attaching what is attached elsewhere costs 14 µs instead of a millisecond.
//! For a caller in the root cgroup keeper and parent are one.

use std::{
    fmt::Write as _,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::{
    bpf::{
        attach::{self, HOOKS},
        maps::Maps,
        object::{self, OBJECT, ObjectError},
    },
    cgroup::{self, CgroupDir, Hierarchy},
    legacy,
};

/// Every parent's name begins with this; the rest is a hash of the object.
const PREFIX: &str = "httpjail-";
/// Held while a parent is looked at or made.
const LOCK: &str = "/run/httpjail/.lock";
/// Hexadecimal digits of the object's hash in a parent's name.
const HASH_DIGITS: usize = 12;

/// Why the kernel side could not be put up. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The cgroup hierarchy can't be used.
    #[error("use the cgroup hierarchy")]
    Cgroup(#[from] io::Error),
    /// A cgroup can't be made.
    #[error("make the cgroup {}", path.display())]
    Make {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The programs can't be loaded.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A program can't be attached.
    #[error("attach the eBPF program {program} to {}", path.display())]
    Attach {
        /// The program.
        program: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What is attached isn't what was attached, and jails live from it.
    #[error("trust {}: other programs are attached than httpjail left there", path.display())]
    Changed {
        /// The cgroup.
        path: PathBuf,
    },
    /// The caller is in a jail.
    #[error("start a jail inside a jail, which is not supported")]
    Nested,
}

/// The parent cgroup of this caller's jails, checked.
#[derive(Debug)]
pub(crate) struct Parent {
    dir: CgroupDir,
    level: u32,
    maps: Maps,
    record: Record,
}

impl Parent {
    /// Finds the caller's parent and checks what is attached to it, or makes it.
    ///
    /// # Errors
    ///
    /// The step that failed; nothing half-made is used by a later call.
    pub(crate) fn ensure(hierarchy: &Hierarchy) -> Result<Self, KernelError> {
        Self::ensure_in(hierarchy, &hierarchy.own())
    }

    /// The same for the keeper at the root of the hierarchy, below which container engines can put
    /// cgroups of theirs: they give out controllers all the way down, which a cgroup with processes
    /// of the caller's on the way would forbid.
    ///
    /// # Errors
    ///
    /// As [`Parent::ensure`].
    pub(crate) fn keeper(hierarchy: &Hierarchy) -> Result<Self, KernelError> {
        Self::ensure_in(hierarchy, hierarchy.root())
    }

    fn ensure_in(hierarchy: &Hierarchy, place: &Path) -> Result<Self, KernelError> {
        let own = hierarchy.own();
        let parts = own.strip_prefix(hierarchy.root()).unwrap_or(&own).components();
        if parts.into_iter().any(|part| is_parent_name(&part.as_os_str().to_string_lossy())) {
            return Err(KernelError::Nested);
        }
        let name = name();
        let _lock = lock()?;
        let keeper_path = hierarchy.root().join(&name);
        let record_path = record_path(hierarchy, &name)?;
        let record = match checked(&keeper_path, Record::read(&record_path))? {
            Some(record) => record,
            None => build(&keeper_path, &record_path)?,
        };
        let path = place.join(&name);
        if path != keeper_path && checked(&path, Some(record.clone()))?.is_none() {
            share(&path, &record)?;
        }
        let dir = CgroupDir::open(&path)?;
        let level = hierarchy.level(&path);
        Ok(Self { dir, level, maps: Maps::open(&record.maps)?, record })
    }

    /// Attaches the programs to a cgroup elsewhere, which was made by somebody else and goes with them:
    /// a jail that can't stand below a parent.
    ///
    /// # Errors
    ///
    /// When one can't be attached.
    pub(crate) fn guard(&self, dir: &CgroupDir) -> Result<(), KernelError> {
        attach_all(dir, &self.record)
    }

    /// The cgroup.
    pub(crate) fn dir(&self) -> &CgroupDir {
        &self.dir
    }

    /// Its depth in the hierarchy; the root's is 0.
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// The programs' maps.
    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }
}

/// All parents of all builds below the visible root.
pub(crate) fn all(hierarchy: &Hierarchy) -> Vec<PathBuf> {
    cgroup::find_below(hierarchy.root(), &is_parent_name)
}

/// Whether a cgroup has the name of a parent, of whichever build.
fn is_parent_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|hash| {
        hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The maps of the programs on the parent of a jail's cgroup, whichever build made it; of a jail that
/// stands elsewhere, those of this build.
pub(crate) fn maps_around(hierarchy: &Hierarchy, jail: &Path) -> Option<Maps> {
    let around = jail.parent()?.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let own = name();
    let name = if is_parent_name(around) { around } else { &own };
    Maps::open(&Record::read(&record_path(hierarchy, name).ok()?)?.maps).ok()
}

/// Removes a parent (its programs go with it) and what is noted of it.
///
/// # Errors
///
/// When a jail still lives below it.
pub(crate) fn remove(hierarchy: &Hierarchy, path: &Path) -> io::Result<()> {
    let _lock = lock()?;
    CgroupDir::open(path)?.remove()?;
    legacy::remove(hierarchy, path);
    if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
        let _ = fs::remove_file(record_path(hierarchy, name)?);
    }
    Ok(())
}

/// What was attached when the parent was made: the programs' ids and tags, in the order of
/// [`HOOKS`], and the ids of their maps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    programs: Vec<(u32, [u8; 8])>,
    maps: Vec<u32>,
}

impl Record {
    fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    /// Lines of `program ID TAG` and `map ID`.
    fn parse(text: &str) -> Option<Self> {
        let mut record = Self { programs: Vec::new(), maps: Vec::new() };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["program", id, tag] => {
                    let tag = u64::from_str_radix(tag, 16).ok()?.to_be_bytes();
                    record.programs.push((id.parse().ok()?, tag));
                }
                ["map", id] => record.maps.push(id.parse().ok()?),
                _ => return None,
            }
        }
        (record.programs.len() == HOOKS.len()).then_some(record)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (id, tag) in &self.programs {
            let _ = writeln!(text, "program {id} {:016x}", u64::from_be_bytes(*tag));
        }
        for id in &self.maps {
            let _ = writeln!(text, "map {id}");
        }
        text
    }
}

/// The record, if the cgroup exists and carries exactly what the record says. One that carries
/// something else is removed when no jail lives below it.
fn checked(path: &Path, record: Option<Record>) -> Result<Option<Record>, KernelError> {
    let dir = match CgroupDir::open(path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if let Some(record) = record
        && carries(&dir, &record)?
    {
        return Ok(Some(record));
    }
    // Made by a run that died half-way, or changed by somebody: both are made anew.
    // Only when nothing is below it: a jail of another run, however young, keeps it.
    fs::remove_dir(path).map_err(|_| KernelError::Changed { path: path.to_owned() })?;
    Ok(None)
}

fn carries(dir: &CgroupDir, record: &Record) -> io::Result<bool> {
    for (hook, (id, tag)) in HOOKS.iter().zip(&record.programs) {
        match attach::attached(dir.as_fd(), hook)? {
            Some(info) if info.id == *id && info.tag == *tag => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Loads the programs and makes the keeper.
fn build(path: &Path, record_path: &Path) -> Result<Record, KernelError> {
    let loaded = object::load()?;
    let mut record = Record { programs: Vec::new(), maps: Vec::new() };
    for program in &loaded {
        record.programs.push((program.info.id, program.info.tag));
        record.maps.extend(&program.info.maps);
    }
    record.maps.sort_unstable();
    record.maps.dedup();
    share(path, &record)?;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(record_path)?;
    io::Write::write_all(&mut file, record.text().as_bytes())?;
    Ok(record)
}

/// Makes a cgroup and attaches the loaded programs to it.
fn share(path: &Path, record: &Record) -> Result<(), KernelError> {
    let dir = CgroupDir::create(path)
        .map_err(|source| KernelError::Make { path: path.to_owned(), source })?;
    attach_all(&dir, record)
}

fn attach_all(dir: &CgroupDir, record: &Record) -> Result<(), KernelError> {
    for (hook, (id, _)) in HOOKS.iter().zip(&record.programs) {
        attach::attach_by_id(dir.as_fd(), hook, *id).map_err(|source| KernelError::Attach {
            program: hook.program,
            path: dir.path().to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// `httpjail-` and the first digits of the object's SHA-256: another build, another parent.
fn name() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, OBJECT);
    let mut name = PREFIX.to_owned();
    for byte in digest.as_ref().iter().take(HASH_DIGITS / 2) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Where it is noted what a keeper carries. Containers may share `/run` and see other cgroups, with
/// a keeper of the same name at what is the root to them: the root's id tells them apart.
fn record_path(hierarchy: &Hierarchy, name: &str) -> io::Result<PathBuf> {
    let root = CgroupDir::open(hierarchy.root())?.id();
    Ok(Path::new("/run/httpjail").join(format!("{name}-{root:x}.programs")))
}

/// Held while parents are looked at or changed; the kernel lets go when the holder dies.
fn lock() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(LOCK, flags, Mode::from_raw_mode(0o600))?;
    flock(&fd, FlockOperation::LockExclusive)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_file() {
        let programs = (0..HOOKS.len() as u32).map(|n| (n, u64::from(n).to_be_bytes())).collect();
        let record = Record { programs, maps: vec![7, 8] };
        assert_eq!(Record::parse(&record.text()), Some(record));
    }

    #[test]
    fn a_cut_or_foreign_record_is_none() {
        assert_eq!(Record::parse(""), None);
        assert_eq!(Record::parse("program 1 00\n"), None);
        assert_eq!(Record::parse("nonsense\n"), None);
    }

    #[test]
    fn the_name_tells_the_build() {
        assert_eq!(name().len(), PREFIX.len() + HASH_DIGITS);
    }
}
