//! A disk in memory that fails as disks do, and the same way for the same seed. For tests; behind the feature `sim`.
//!
//! It keeps two images: what a reader sees now, and what is durable. Between them stands the list of *pending* changes in
//! their order: writes, changes of length, names made, renamed and removed. A sync moves the changes of one file (or of one
//! directory) to the durable image; [`SimDisk::restart`] is a power loss that keeps whichever of them [`Keep`] says, in any
//! combination, and tears writes at sectors of 512 bytes. It is harsher than Linux: a length is durable only after
//! [`FileHandle::sync_all`], and a name only after [`Files::sync_dir`] whatever was synced else.
//!
//! Operations that change something are numbered from 1; [`SimDisk::fail`] makes one of them fail. Reads are numbered by
//! themselves. It does not stall, and does not reorder what one process sees.

mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{FileHandle, Files};
use state::{NameChange, Pending, State};

/// The unit in which a write reaches the disk wholly or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The machine loses its power: the operation and all later ones fail until [`SimDisk::restart`]. A write is pending by
    /// then, a sync has done nothing.
    PowerLoss,
    /// An I/O error (EIO). A write has written its first half. A sync of a file has dropped what it should have made
    /// durable: it stays visible, never becomes durable, and the next sync succeeds. A sync of a directory leaves its
    /// names pending.
    Io,
    /// No space (ENOSPC). A write has written its first half.
    NoSpace,
}

/// Which sectors of a torn write arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tear {
    /// The first half.
    Front,
    /// The second half.
    Back,
    /// Every other one, beginning with the second.
    Alternate,
}

/// Which pending changes survive a power loss. They are numbered from 0 in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// None.
    Nothing,
    /// All.
    All,
    /// The first so many.
    First(usize),
    /// All but this one.
    Without(usize),
    /// All before this one, and parts of this one. What is no write is lost.
    Torn(usize, Tear),
    /// Each change, and each sector of each write, by a coin that this seed throws.
    Some(u64),
}

/// The simulated disk. Clones are the same disk; [`SimDisk::fork`] makes another.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        SimDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A deep copy: what happens to one does not happen to the other. Open handles belong to the old one.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        SimDisk {
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    /// How many operations that change something were tried so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many reads were tried so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many changes are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// Makes the operation with this number fail. Several may be planned.
    pub fn fail(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Makes the read with this number fail with an I/O error.
    pub fn fail_read(&self, read: u64) {
        self.state().read_faults.insert(read);
    }

    /// Limits the bytes of all files together; `None` lifts the limit. Only what makes a file longer can meet it, and then
    /// half of the write is done all the same.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// With `true`, syncs of files and directories answer "done" and do nothing: a disk that lies.
    pub fn set_lying(&self, lying: bool) {
        self.state().lying = lying;
    }

    /// The power goes and comes back: the pending changes that `keep` names are durable, the others gone. All handles and
    /// locks are dead, and planned faults forgotten.
    pub fn restart(&self, keep: Keep) {
        self.state().restart(keep);
    }

    /// The process ends, the machine goes on: nothing is lost. Handles and locks are dead, and planned faults forgotten.
    pub fn kill(&self) {
        self.state().kill();
    }

    fn open_as(&self, file: &Path, read_only: bool) -> io::Result<SimFile> {
        let mut state = self.state();
        state.check_power()?;
        state.read()?;
        let inode = state.inode_of(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(SimFile {
            disk: self.clone(),
            inode,
            life: state.life,
            read_only,
        })
    }

    /// All files there are now.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let paths = |(dir, names): (&PathBuf, &state::Dir)| {
            names
                .live
                .keys()
                .map(|name| dir.join(name))
                .collect::<Vec<_>>()
        };
        state.dirs.iter().flat_map(paths).collect()
    }

    /// Changes a file's bytes behind everyone's back, durably: rot. Nothing happens if there is no such file.
    pub fn rot(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.state().rot(file, change);
    }

    /// Removes a file behind everyone's back, durably.
    pub fn lose(&self, file: &Path) {
        self.state().lose(file);
    }
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    /// The life of the machine it was opened in.
    life: u64,
    /// Opened for reading only.
    read_only: bool,
}

/// A lock on a directory of a [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.dir);
        }
    }
}

impl Files for SimDisk {
    type Handle = SimFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check_power()?;
        state.dirs.entry(dir.to_path_buf()).or_default();
        Ok(())
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<SimLock>> {
        let mut state = self.state();
        state.check_power()?;
        let life = state.life;
        let free = state.locks.insert(dir.to_path_buf());
        Ok(free.then(|| SimLock {
            disk: self.clone(),
            dir: dir.to_path_buf(),
            life,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.check_power()?;
        state.read()?;
        let names = state.dirs.get(dir).ok_or(io::ErrorKind::NotFound)?;
        Ok(names.live.keys().cloned().collect())
    }

    fn create(&self, file: &Path) -> io::Result<SimFile> {
        let mut state = self.state();
        state
            .change(|state| {
                let inode = state.new_inode();
                state.name_change(file, |name| NameChange::Link { name, inode })?;
                Ok(inode)
            })
            .map(|inode| SimFile {
                disk: self.clone(),
                inode,
                life: state.life,
                read_only: false,
            })
    }

    fn open(&self, file: &Path) -> io::Result<SimFile> {
        self.open_as(file, false)
    }

    fn open_read(&self, file: &Path) -> io::Result<SimFile> {
        self.open_as(file, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().change(|state| {
            let inode = state.inode_of(from).ok_or(io::ErrorKind::NotFound)?;
            let from = state::name_of(from)?;
            state.name_change(to, |to| NameChange::Rename { from, to, inode })
        })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.state().change(|state| {
            state.inode_of(file).ok_or(io::ErrorKind::NotFound)?;
            state.name_change(file, |name| NameChange::Unlink { name })
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state()
            .sync(|pending| matches!(pending, Pending::Name { dir: at, .. } if at == dir))
    }
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other(
                "the handle belongs to a former life of the machine",
            ));
        }
        state.check_power()?;
        Ok(state)
    }

    /// What changes something needs a handle that may.
    fn state_to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.read_only {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.state()
    }
}

impl FileHandle for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.read()?;
        Ok(state.live(self.inode).len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.read()?;
        let bytes = state
            .live(self.inode)
            .get(offset as usize..)
            .unwrap_or_default();
        let len = bytes.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state_to_change()?.write(self.inode, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let inode = self.inode;
        self.state_to_change()?
            .sync(|pending| matches!(pending, Pending::Write { inode: of, .. } if *of == inode))
    }

    fn sync_all(&self) -> io::Result<()> {
        let inode = self.inode;
        self.state_to_change()?.sync(|pending| match pending {
            Pending::Write { inode: of, .. } | Pending::Length { inode: of, .. } => *of == inode,
            _ => false,
        })
    }
}
