//! A jail's own kernel objects: its cgroup and its entry in the maps.

use std::{fs::File, io, path::Path, time::Duration};

use httpjail_common::{event::RefuseReason, jail::Published};

use super::{
    SessionError,
    reap::JAIL_PREFIX,
    refused::{Refused, since_start},
    run_dir::RunDir,
    servers::Servers,
};
use crate::backend::linux::{self, Endpoints, JailId, Maps, cgroup::CgroupDir, parent::Parent};

/// How long killed processes may take to go.
const DEATH: Duration = Duration::from_secs(10);

/// How long they may take before the network goes first.
const PROMPT: Duration = Duration::from_millis(200);

/// A jail: below the parent, so guarded from its first moment, and without network until it is
/// armed. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Jail {
    dir: CgroupDir,
    id: JailId,
    maps: Maps,
    /// How often init's own acts were refused, as they had to be.
    overlooked: Vec<(RefuseReason, u64)>,
    /// When the command began, since the machine was started: until then all that is refused is init's.
    began: Duration,
    ended: bool,
}

impl Jail {
    /// Makes the cgroup, after it was noted for whoever has to sweep.
    ///
    /// # Errors
    ///
    /// When the note or the cgroup can't be made.
    pub(super) fn make(parent: &Parent, run_dir: &RunDir) -> Result<Self, SessionError> {
        let path = parent.dir().path().join(format!("{JAIL_PREFIX}{}", run_dir.id()));
        run_dir.note_cgroup(&path).map_err(SessionError::RunDir)?;
        let dir = CgroupDir::create(&path).map_err(SessionError::Jail)?;
        Self::of(parent, dir)
    }

    /// Takes a cgroup over that a container engine has made, and that was noted for whoever has to
    /// sweep. It is guarded from here on.
    ///
    /// # Errors
    ///
    /// When it isn't there, or can't be guarded.
    pub(super) fn adopt(parent: &Parent, path: &Path) -> Result<Self, SessionError> {
        let dir = CgroupDir::open(path).map_err(SessionError::Jail)?;
        parent.guard(&dir)?;
        Self::of(parent, dir)
    }

    fn of(parent: &Parent, dir: CgroupDir) -> Result<Self, SessionError> {
        let maps = parent.maps().try_clone().map_err(SessionError::Jail)?;
        if !dir.try_lock().map_err(SessionError::Jail)? {
            return Err(SessionError::Jail(io::ErrorKind::ResourceBusy.into()));
        }
        let id = JailId::of(&dir);
        let began = Duration::MAX;
        Ok(Self { dir, id, maps, overlooked: Vec::new(), began, ended: false })
    }

    /// Its cgroup.
    pub(super) fn dir(&self) -> &CgroupDir {
        &self.dir
    }

    /// Its name in the maps.
    pub(super) fn id(&self) -> JailId {
        self.id
    }

    /// The open file that ends the jail when "1" is written to it, with no privilege asked.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub(super) fn kill_switch(&self) -> Result<File, SessionError> {
        let path = self.dir.path().join("cgroup.kill");
        File::options().write(true).open(path).map_err(SessionError::Jail)
    }

    /// Marks the sockets as those of the jail's proxy and stub.
    ///
    /// # Errors
    ///
    /// When one can't be marked.
    pub(super) fn mark(&self, servers: &Servers) -> io::Result<()> {
        servers.sockets().try_for_each(|socket| self.maps.mark_server(self.id, socket))
    }

    /// Gives the jail its way to the proxy and the stub, and others theirs to what it publishes.
    ///
    /// # Errors
    ///
    /// When the entry can't be written.
    pub(super) fn arm(&self, endpoints: Endpoints, published: Published) -> io::Result<()> {
        self.maps.arm(self.id, endpoints, published)
    }

    /// Says nothing of that many refusals: they were init's.
    pub(super) fn overlook(&mut self, own: [(RefuseReason, usize); 2]) {
        let count = |(reason, count)| (reason, u64::try_from(count).unwrap_or(u64::MAX));
        self.overlooked = own.map(count).to_vec();
    }

    /// Names nobody of what was refused until now: it was init.
    pub(super) fn forget_until_now(&mut self) {
        self.began = since_start();
    }

    /// Kills what is left in it, has the proxy stopped, takes the network away and removes it.
    ///
    /// In this order, both ends of every connection close while packets still pass: else the kernel
    /// would go on sending the last ones for minutes. What can't be killed at once loses the network
    /// before that.
    ///
    /// # Errors
    ///
    /// When processes stay (in an uninterruptible call): the error names them. They have no network.
    pub(super) fn end(mut self, stop_proxy: impl FnOnce(Refused)) -> io::Result<()> {
        if self.dir.kill().and_then(|()| self.dir.wait_empty(PROMPT)).is_ok() {
            let refused = self.maps.refused(self.id).inspect_err(|error| {
                tracing::warn!(%error, "what the kernel side refused can't be told");
            });
            stop_proxy(self.told(refused.unwrap_or_default()));
            return self.take_down().map(drop);
        }
        match self.take_down() {
            Ok(refused) => stop_proxy(refused),
            Err(error) => {
                stop_proxy(Refused::default());
                return Err(error);
            }
        }
        Ok(())
    }

    /// What there is to tell of what was refused.
    fn told(&self, refused: linux::Refused) -> Refused {
        let linux::Refused { counts, mut told } = refused;
        let count = |reason| {
            let own = self.overlooked.iter().find(|(own, _)| *own == reason);
            counts.of(reason).saturating_sub(own.map_or(0, |(_, count)| *count))
        };
        let counts = RefuseReason::ALL.into_iter().map(|reason| (reason, count(reason)));
        told.retain(|(_, note)| Duration::from_nanos(note.first) >= self.began);
        Refused { counts: counts.filter(|(_, count)| *count > 0).collect(), told }
    }

    /// Takes the network away, ends what is left and removes all; what the kernel side refused.
    fn take_down(&mut self) -> io::Result<Refused> {
        self.ended = true;
        // The network first: the proxy may be dead already, and its ports anybody's.
        let disarmed = self.maps.disarm(self.id);
        let emptied = self.dir.kill().and_then(|()| self.dir.wait_empty(DEATH));
        let refused = self.told(disarmed?);
        for (reason, count) in &refused.counts {
            tracing::info!(reason = reason.as_str(), count, "the kernel side refused");
        }
        emptied?;
        self.dir.remove()?;
        Ok(refused)
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.take_down()
        {
            tracing::warn!(%error, "the jail could not be removed; the next run sweeps it");
        }
    }
}
