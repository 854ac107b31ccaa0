//! A disk in memory that fails as disks do, and the same way for the same seed. For tests; behind the feature `sim`.
//!
//! # The model
//!
//! For each file it keeps two images: what a reader sees now (the page cache), and what is durable. Between them stands the
//! list of *pending* changes in their order: writes, changes of length, names made, renamed and removed. A sync moves the
//! changes of one file (or the names of one directory) to the durable image. A power loss ([`SimDisk::restart`]) moves any
//! subset of them there, and the rest is gone. A write may be torn by it, at sectors of 512 bytes or at any byte, and what
//! did not arrive of it reads as what stood there before, or as zeros.
//!
//! It is harsher than Linux: a length is durable only after [`FileHandle::sync_all`], and a name only after
//! [`Files::sync_dir`], whatever was synced else; a later change may survive an earlier one of the same file. Two things it
//! takes for granted: bytes beside those of a write do not change, and a sector that is written anew with the very bytes it
//! has keeps them.
//!
//! # What can go wrong
//!
//! | What | How |
//! |---|---|
//! | Power loss, between operations or in one | [`SimDisk::restart`], [`Fault::PowerLoss`] |
//! | End of the process alone | [`SimDisk::kill`] |
//! | EIO and ENOSPC, at any operation | [`Fault::Io`], [`Fault::NoSpace`], [`SimDisk::fail_read`], [`SimDisk::set_capacity`] |
//! | A failed sync drops pages, and the next one succeeds | [`Fault::Io`]; the page cache shows them until [`SimDisk::evict`] |
//! | A sync or a write that says "done" and is not | [`Fault::Lie`], [`SimDisk::lie_from`], [`SimDisk::set_lying`] |
//! | A write or read at the wrong place | [`SimDisk::misdirect_write`], [`SimDisk::misdirect_read`] |
//! | Rot, loss and exchange of files | [`SimDisk::rot`], [`SimDisk::lose`] |
//! | An operation that does not come back for now | [`SimDisk::hold`], for tests with threads |
//! | A slow disk | [`SimDisk::set_latency`], [`Fault::Slow`], in virtual time |
//!
//! Operations that change something are numbered from 1, for the faults to name; [`SimDisk::operations`] says how many there
//! were. All others (reading, listing, opening, asking for a length, locking) are numbered apart, as reads.
//!
//! # A crash sweep
//!
//! Run a workload again and again, losing the power at each operation, and look at what each way to lose it leaves:
//!
//! ```
//! use raft_log::sim_disk::{Fault, SimDisk};
//! use raft_log::{FileHandle, Files};
//! use std::path::Path;
//!
//! // Writes two sectors, then says so. One sync stands between the two.
//! fn workload(disk: &SimDisk) -> std::io::Result<()> {
//!     disk.create_dir(Path::new("/d"))?;
//!     let file = disk.create(Path::new("/d/f"))?;
//!     file.write_all_at(&[7; 1024], 0)?;
//!     file.sync_all()?;
//!     disk.sync_dir(Path::new("/d"))?;
//!     file.write_all_at(b"done", 2048)
//! }
//!
//! for operation in 1.. {
//!     let disk = SimDisk::new();
//!     disk.fail(operation, Fault::PowerLoss);
//!     if workload(&disk).is_ok() {
//!         break; // There is no such operation.
//!     }
//!     for keep in disk.power_losses(8, operation) {
//!         let disk = disk.fork();
//!         disk.restart(keep);
//!         let bytes = disk.content(Path::new("/d/f")).unwrap_or_default();
//!         if bytes.ends_with(b"done") {
//!             assert_eq!(bytes[..1024], [7; 1024], "operation {operation}, {keep:?}");
//!         }
//!     }
//! }
//! ```

mod files;
mod hold;
mod image;
mod power;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(doc)]
use crate::files::{FileHandle, Files};

pub use files::{SimFile, SimLock};
pub use hold::Hold;
pub use power::{Change, Fate, Keep, Tear};
use state::{Misdirection, Planned, ReadFault, State};

/// The unit in which a write reaches the disk wholly or not at all, if it is not torn at a byte.
pub const SECTOR_BYTES: usize = 512;

/// What goes wrong with an operation that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The machine loses its power: the operation and all later ones fail until [`SimDisk::restart`]. A write (and a change
    /// of names) is pending by then, a sync has done nothing.
    PowerLoss,
    /// An I/O error (EIO). A write has written its first half. A sync of a file has dropped what it should have made
    /// durable: it stays visible until [`SimDisk::evict`], never becomes durable, and the next sync succeeds. A sync of a
    /// directory leaves its names pending; a change of names is not done.
    Io,
    /// No space (ENOSPC). A write has written its first half; a sync, and a change of names, is as with [`Fault::Io`].
    NoSpace,
    /// It says "done" and is not. A sync leaves all pending. A write, or a change of names, is visible and never becomes
    /// durable.
    Lie,
    /// It works, but takes so much longer, in virtual time: see [`SimDisk::elapsed`].
    Slow(Duration),
}

/// The kinds of operations, for [`SimDisk::hold`] and [`SimDisk::set_latency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// All that changes nothing: [`FileHandle::read_at`], [`FileHandle::len`], [`Files::open`], [`Files::list`],
    /// [`Files::lock`].
    Read,
    /// [`FileHandle::write_all_at`].
    Write,
    /// [`FileHandle::sync_data`].
    SyncData,
    /// [`FileHandle::sync_all`].
    SyncAll,
    /// [`Files::sync_dir`].
    SyncDir,
    /// [`Files::create_dir`] of a directory that was not there.
    CreateDir,
    /// [`Files::create`].
    Create,
    /// [`Files::rename`].
    Rename,
    /// [`Files::remove`].
    Remove,
}

/// The simulated disk. Clones are the same disk; [`SimDisk::fork`] makes another.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung whenever something changes that a held operation, or who waits for one, looks at.
    bell: Condvar,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        SimDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A deep copy (made cheaply: images are copied when they are written): what happens to one does not happen to the other.
    /// Open handles, and holds, belong to the old one.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        SimDisk::of(self.state().clone())
    }

    fn of(mut state: State) -> SimDisk {
        state.holds.clear();
        state.recording = None;
        SimDisk {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                bell: Condvar::new(),
            }),
        }
    }

    /// Begins to keep a fork of the disk at each operation that changes something, as a power loss in that operation would
    /// meet it; [`SimDisk::recorded`] has them. So one run serves a sweep that needs to know nothing but the disk.
    pub fn record(&self) {
        self.state().recording = Some(Vec::new());
    }

    /// Ends the recording; the forks, one for each operation since [`SimDisk::record`], for [`SimDisk::restart`].
    #[must_use]
    pub fn recorded(&self) -> Vec<SimDisk> {
        let states = self.state().recording.take().unwrap_or_default();
        states.into_iter().map(SimDisk::of).collect()
    }

    /// How many operations that change something were tried so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The newest operation that changes something, and its file or directory (by the name it was opened with).
    #[must_use]
    pub fn last_operation(&self) -> Option<(Operation, PathBuf)> {
        let last = self.state().last_operation.clone();
        last.map(|(operation, path)| (operation, path.to_path_buf()))
    }

    /// How many reads were tried so far: all operations that change nothing.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many changes are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// Makes the operation with this number fail. Several may be planned, one for each operation.
    pub fn fail(&self, operation: u64, fault: Fault) {
        let planned = Planned::Fault(fault);
        self.state().faults.insert(operation, planned);
    }

    /// Forgets all faults that were planned: from now on the disk is a good one, unless it is full or lies.
    pub fn forgive(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.faults_on.clear();
        state.read_faults.clear();
    }

    /// Makes the next operation of this kind on `file` fail, whichever number it will have; for a sync of a directory, the file is
    /// the directory. Not for reads.
    pub fn fail_next(&self, operation: Operation, file: &Path, fault: Fault) {
        let next = (operation, file.to_path_buf(), fault);
        self.state().faults_on.push(next);
    }

    /// Makes the read with this number fail with an I/O error.
    pub fn fail_read(&self, read: u64) {
        self.state().read_faults.insert(read, ReadFault::Io);
    }

    /// Makes the operation with this number, if it is a write, land at byte `offset` of `file` (any file, also its own):
    /// durably, at once, and within that file's length. It answers "done", and its right place shows the bytes until
    /// [`SimDisk::evict`] or a power loss.
    pub fn misdirect_write(&self, operation: u64, file: &Path, offset: u64) {
        let file = file.to_path_buf();
        let planned = Planned::Elsewhere(Misdirection { file, offset });
        self.state().faults.insert(operation, planned);
    }

    /// Makes the read with this number, if it is one of bytes, answer what stands at byte `offset` of `file`.
    pub fn misdirect_read(&self, read: u64, file: &Path, offset: u64) {
        let file = file.to_path_buf();
        let planned = ReadFault::Elsewhere(Misdirection { file, offset });
        self.state().read_faults.insert(read, planned);
    }

    /// Limits the bytes of all files together; `None` lifts the limit. Only what makes a file longer can meet it, and then
    /// half of the write is done all the same.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// With `true`, all syncs of files and directories from now on answer "done" and do nothing: a disk that lies. With
    /// `false` it is honest again, and the next sync makes durable what is pending.
    pub fn set_lying(&self, lying: bool) {
        self.state().lying_from = lying.then_some(0);
    }

    /// [`SimDisk::set_lying`] from the operation with this number on.
    pub fn lie_from(&self, operation: u64) {
        self.state().lying_from = Some(operation);
    }

    /// Lets every operation of this kind take so long, in virtual time: none waits for it.
    pub fn set_latency(&self, operation: Operation, latency: Duration) {
        self.state().latencies.insert(operation, latency);
    }

    /// How long all operations so far took, in virtual time: a simulation asks before and after a call, and lets its result
    /// be known so much later.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.state().elapsed
    }

    /// Lets every operation of this kind, from now on and of whatever thread, stand still before it begins, until the
    /// [`Hold`] is dropped; only those of one file or directory, if one is given (by the name it was opened with). Meanwhile
    /// all others go on. A held operation whose machine is restarted fails.
    ///
    /// In a test with a single thread that would never end; use [`SimDisk::set_latency`] there.
    #[must_use]
    pub fn hold(&self, operation: Operation, file: Option<&Path>) -> Hold {
        Hold::new(self.clone(), operation, file)
    }

    /// The power goes and comes back: the pending changes that `keep` names are durable, the others gone. All handles and
    /// locks are dead, and planned faults forgotten (latencies, the capacity and a lying disk stay).
    pub fn restart(&self, keep: Keep) {
        self.restart_with(keep.fates());
    }

    /// [`SimDisk::restart`] with a fate for every single pending change, which are given in their order with their numbers
    /// from 0.
    pub fn restart_with(&self, fate: impl FnMut(usize, &Change) -> Fate) {
        self.state().restart(fate);
        self.shared.bell.notify_all();
    }

    /// All pending changes in their order, as [`SimDisk::restart_with`] gets them.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.state().changes()
    }

    /// The ways to lose the power now that a sweep should try: with nothing, with all, with every prefix of the pending
    /// changes, with each single one missing, and with each write torn at sectors and at bytes, the rest reading as before and
    /// as zeros; and `seeds` subsets by coin, other ones for another `salt`.
    #[must_use]
    pub fn power_losses(&self, seeds: u64, salt: u64) -> Vec<Keep> {
        power::power_losses(&self.changes(), seeds, salt)
    }

    /// The process ends, the machine goes on: nothing is lost. Handles and locks are dead, and planned faults forgotten.
    pub fn kill(&self) {
        self.state().kill();
        self.shared.bell.notify_all();
    }

    /// The page cache lets go of all that is clean: a reader sees what is durable, with the pending changes on top. So what a
    /// failed sync dropped, or a disk lied about writing, is gone from sight.
    pub fn evict(&self) {
        self.state().evict();
    }

    /// All files there are now.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().files()
    }

    /// What a reader sees in a file; `None` if there is no such file. Counts as no operation.
    #[must_use]
    pub fn content(&self, file: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.inode_of(file)?;
        Some(state.live(inode).to_vec())
    }

    /// A hash of all names and bytes that a reader sees: two disks that look the same have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.state().fingerprint()
    }

    /// Changes a file's bytes behind everyone's back: rot, or another file's bytes. The result is durable, and what was
    /// pending of the file is no more. Nothing happens if there is no such file.
    pub fn rot(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.state().rot(file, change);
    }

    /// Removes a file behind everyone's back, durably.
    pub fn lose(&self, file: &Path) {
        self.state().lose(file);
    }
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn io_error() -> io::Error {
    io::Error::other("simulated I/O error")
}

fn power_loss() -> io::Error {
    io::Error::other("power loss")
}
