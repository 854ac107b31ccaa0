//! Snapshots: files beside the segments that stand in for the records up to an index.
//!
//! One is made as a stream under a temporary name, synced, renamed, and its name synced; then the log marks it. Before the
//! mark it does not count, and only a [`FinishedSnapshot`] can be marked, so that no mark ever names what is not durable.
//! `docs/snapshot-format.md` has the bytes and the rules.

mod draft;
mod encode;
mod error;
pub(crate) mod format;
mod read;
mod recover;
mod registry;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::files::{Files, OsFiles};
use crate::format::NUMBER_MAX;
use format::{Layout, MARK_BYTES, encode_mark};
pub(crate) use recover::{examine, open, remove, verify, verify_file};
pub(crate) use registry::Registry;

pub use encode::SnapshotEncoder;
pub use error::{SnapshotDamage, SnapshotReadError, SnapshotReceiveError, SnapshotWriteError};
pub use read::SnapshotReader;
pub use write::{SnapshotReceiver, SnapshotWriter};

const SUFFIX: &str = ".snap";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Which snapshot: equal ids are the same file, byte for byte, whichever node has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotId {
    /// The last index it stands for; at least 1 and below 2⁶³ - 1.
    pub index: u64,
    /// The term of that record; at least 1.
    pub term: u64,
    /// The length of the file.
    pub bytes: u64,
    /// The CRC-32C that pins the whole file: of its header, its payload and its footer.
    pub checksum: u32,
}

impl SnapshotId {
    /// Whether a snapshot can be like this.
    pub(crate) fn is_possible(&self) -> bool {
        is_place(self.index, self.term) && Layout::of_file(self.bytes).is_some()
    }
}

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SnapshotId {
            index,
            term,
            bytes,
            checksum,
        } = self;
        write!(
            f,
            "snapshot {index}@{term} of {bytes} bytes with checksum {checksum:08x}"
        )
    }
}

/// Makes and reads the snapshots of a log, from any thread; see [`Log::snapshots`](crate::Log::snapshots).
pub struct Snapshots<F: Files = OsFiles> {
    files: F,
    dir: PathBuf,
    lock: Weak<F::Lock>,
    registry: Arc<Registry>,
}

impl<F: Files> Snapshots<F> {
    pub(crate) fn new(
        files: F,
        dir: PathBuf,
        lock: &Arc<F::Lock>,
        registry: Arc<Registry>,
    ) -> Self {
        Snapshots {
            files,
            dir,
            lock: Arc::downgrade(lock),
            registry,
        }
    }

    fn path_of(&self, id: &SnapshotId) -> PathBuf {
        self.dir.join(snapshot_name(id.index, id.term))
    }
}

impl<F: Files> Clone for Snapshots<F> {
    fn clone(&self) -> Self {
        Snapshots {
            files: self.files.clone(),
            dir: self.dir.clone(),
            lock: Weak::clone(&self.lock),
            registry: Arc::clone(&self.registry),
        }
    }
}

impl<F: Files> std::fmt::Debug for Snapshots<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// A snapshot that is durable, with its name: what [`Batch::snapshot`](crate::Batch::snapshot) wants to see. There is no
/// way to it but the `finish` of [`SnapshotWriter`] and [`SnapshotReceiver`].
#[derive(Clone, Debug)]
pub struct FinishedSnapshot(Arc<Finished>);

#[derive(Debug)]
struct Finished {
    id: SnapshotId,
    mark: [u8; MARK_BYTES],
    registry: Arc<Registry>,
}

impl FinishedSnapshot {
    fn new(id: SnapshotId, registry: &Arc<Registry>) -> Self {
        FinishedSnapshot(Arc::new(Finished {
            id,
            mark: encode_mark(&id),
            registry: Arc::clone(registry),
        }))
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.0.id
    }

    /// What its mark says beyond index and term.
    pub(crate) fn mark(&self) -> &[u8] {
        &self.0.mark
    }

    /// Whether it was finished in this opening of this log.
    pub(crate) fn is_of(&self, registry: &Arc<Registry>) -> bool {
        Arc::ptr_eq(&self.0.registry, registry)
    }
}

/// Equal ones are the same file of the same opening of a log.
impl PartialEq for FinishedSnapshot {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.is_of(&other.0.registry)
    }
}

impl Eq for FinishedSnapshot {}

/// Whether a snapshot can stand for this record; the log must be able to go on behind it.
fn is_place(index: u64, term: u64) -> bool {
    (1..NUMBER_MAX).contains(&index) && term > 0
}

fn snapshot_name(index: u64, term: u64) -> String {
    format!("{index:020}-{term:020}{SUFFIX}")
}

fn temporary_name(index: u64, term: u64, nth: u64) -> String {
    format!("{}.{nth}{TEMPORARY_SUFFIX}", snapshot_name(index, term))
}

/// Index and term in a snapshot's name.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |digits: &str| {
        let canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        canonical.then(|| digits.parse().ok()).flatten()
    };
    Some((number(index)?, number(term)?))
}

/// Whether this is the name of a snapshot, finished or not.
pub(crate) fn is_name(name: &str) -> bool {
    parse_name(name).is_some() || is_temporary(name)
}

/// Whether this is the name of a snapshot that was being written.
pub(crate) fn is_temporary(name: &str) -> bool {
    let parts = name
        .strip_suffix(TEMPORARY_SUFFIX)
        .and_then(|rest| rest.rsplit_once('.'));
    parts.is_some_and(|(snapshot, nth)| {
        parse_name(snapshot).is_some()
            && !nth.is_empty()
            && nth.bytes().all(|byte| byte.is_ascii_digit())
    })
}
