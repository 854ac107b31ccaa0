//! A conformance suite, for the implementers of [`Files`] and of logs behind a Raft core. Behind the feature `sim`.
//!
//! - [`files::run`] holds an implementation of [`Files`] to its contract, clause by clause; [`files::run_power`] to what must
//!   outlive a power loss, if the implementation can lose power ([`Power`]).
//! - [`log::run`] drives any log that keeps a hard state and entries ([`log::DurableLog`]) through scripted and random
//!   histories, stops it at every step and within every unit, and compares what it recovers with a model. It sees a missing
//!   fsync, a lost vote, a suffix that comes back.
//!
//! Both answer a [`Summary`], or the first [`Violation`]: the clause, the case, what was found.
//!
//! ```
//! use raft_log::conformance::{files, log};
//! use raft_log::sim_disk::SimDisk;
//! use std::path::Path;
//!
//! // The simulated disk is a file system that keeps the contract, also when the power goes.
//! files::run(&SimDisk::new(), Path::new("/scratch"))?;
//! files::run_power(SimDisk::new, Path::new("/scratch"))?;
//!
//! // The log of this crate, on that disk, keeps what it has said to be durable.
//! let summary = log::run(|| log::OnFiles::new(SimDisk::new(), Path::new("/log")))?;
//! assert!(summary.cases > 1000);
//! # Ok::<(), raft_log::conformance::Violation>(())
//! ```

pub mod files;
pub mod log;

use crate::files::Files;
use crate::sim_disk::{Fault, Keep, SimDisk};
use thiserror::Error;

/// What a suite has done, without finding anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many cases were tried.
    pub cases: u64,
}

/// A clause that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the clause does not hold: {clause} (case: {case}; found: {found})")]
#[non_exhaustive]
pub struct Violation {
    /// The clause.
    pub clause: Clause,
    /// What was done.
    pub case: String,
    /// What was found.
    pub found: String,
}

/// The clauses that the suites check. Their texts are their [`Display`](std::fmt::Display).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Clause {
    /// [`Files::create_dir`].
    #[error("create_dir makes a directory and those above it, and it is no error if it exists")]
    CreateDir,
    /// [`Files::list`].
    #[error("list answers all names, and NotFound for a directory that is not there")]
    List,
    /// [`Files::create`].
    #[error("create makes a new empty file for reading and writing")]
    Create,
    /// [`Files::create`] where the name is taken.
    #[error(
        "create makes its file in place of one that has the name, and changes nothing for the handles of the old one"
    )]
    CreateReplaces,
    /// [`Files::open`].
    #[error(
        "open opens what is there for reading and writing, and answers NotFound for what is not"
    )]
    Open,
    /// [`Files::open_read`].
    #[error(
        "open_read opens what is there; a write or sync on its handle is an error and changes nothing"
    )]
    OpenRead,
    /// [`Files::rename`].
    #[error("rename gives a file another name, and replaces what had it")]
    Rename,
    /// [`Files::remove`].
    #[error(
        "remove removes a name, and answers NotFound if there is none; open handles stay usable"
    )]
    Remove,
    /// [`Files::lock`].
    #[error(
        "lock gives a directory to one holder, and answers None to others until that one drops it"
    )]
    Lock,
    /// [`FileHandle::read_at`](crate::FileHandle::read_at).
    #[error(
        "read_at reads at its offset, up to the end of the file, and answers 0 there and behind it"
    )]
    ReadAt,
    /// [`FileHandle::write_all_at`](crate::FileHandle::write_all_at).
    #[error(
        "write_all_at writes all bytes at its offset, and no others; the file grows if it must"
    )]
    WriteAt,
    /// The syncs.
    #[error("a sync of what is there is no error")]
    Sync,
    /// A directory after a power loss.
    #[error("a directory is durable when create_dir returns")]
    DirectoryStays,
    /// [`FileHandle::sync_all`](crate::FileHandle::sync_all) before a power loss.
    #[error("what sync_all has made durable is there after a power loss: bytes and length")]
    SyncAllStays,
    /// [`FileHandle::sync_data`](crate::FileHandle::sync_data) before a power loss.
    #[error(
        "what sync_data has made durable within the durable length is there after a power loss"
    )]
    SyncDataStays,
    /// [`Files::sync_dir`] before a power loss.
    #[error("names that were made, changed or removed before a sync_dir are so after a power loss")]
    SyncDirStays,
    /// [`Files::rename`] before a power loss.
    #[error(
        "a rename that was not synced is done or not after a power loss: the name has the old file or the new one"
    )]
    RenameWhole,

    /// A log opens.
    #[error("a log opens after every end of its process and every power loss")]
    Opens,
    /// A log takes what fits.
    #[error("a unit that continues the log is persisted, if no operation fails")]
    Persists,
    /// Reading.
    #[error("what was persisted can be read")]
    Reads,
    /// The hard state.
    #[error("the hard state (term and vote) that was persisted last is there")]
    HardStateStays,
    /// Entries.
    #[error("entries that were persisted, or shown by a recovery, are there")]
    EntriesStay,
    /// Truncation.
    #[error("entries that a persisted unit has cut do not come back")]
    TruncationStays,
    /// Nothing else.
    #[error("nothing is there that was not written")]
    NothingElse,
    /// Atomicity.
    #[error("a unit that was under way is there as a whole or not at all")]
    UnitsAreWhole,
}

impl Clause {
    pub(crate) fn broken(
        self,
        case: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Violation {
        Violation {
            clause: self,
            case: case.into(),
            found: found.to_string(),
        }
    }
}

/// A file system whose power the suite can switch off.
pub trait Power: Files {
    /// The power goes and comes back: all that was not synced may be gone, and all handles and locks are dead. With `seed` 0 as
    /// much as can be is gone, with 1 as little; others choose something between, the same for the same seed.
    fn lose_power(&self, seed: u64);

    /// The process ends, and the machine goes on: handles and locks are dead, and nothing else is lost.
    fn end_process(&self);

    /// The operation that changes something, as many from now (1 is the next), and all after it are to fail, until
    /// [`Power::lose_power`] or [`Power::end_process`]. It may be done partly, or not at all.
    fn interrupt(&self, operation: u64);
}

impl Power for SimDisk {
    fn lose_power(&self, seed: u64) {
        self.restart(match seed {
            0 => Keep::Nothing,
            1 => Keep::All,
            seed => Keep::Some(seed),
        });
    }

    fn end_process(&self) {
        self.kill();
    }

    fn interrupt(&self, operation: u64) {
        self.fail(self.operations() + operation, Fault::PowerLoss);
    }
}
