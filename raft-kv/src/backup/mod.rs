//! Backups: a cluster's whole state in one file, which a new cluster can begin with.
//!
//! A backup is a snapshot as nodes have them (`docs/snapshot-format.md`, `docs/store-snapshot.md`), in a file of its own. A client asks a
//! running cluster for one ([`Client::backup`](crate::client::Client::backup)); [`recover()`] makes one of a stopped node's directory;
//! [`restore()`] makes of it the directories that a new cluster begins with.
//!
//! Guards: a file has its name only when all of it is durable and was read back and verified; and nothing that is damaged is restored.

mod draft;
mod error;
mod recover;
mod restore;

use std::io::BufReader;
use std::path::Path;

use raft_core::{ClusterId, LogId};
use raft_log::{OsFiles, SnapshotReader};

use crate::node::snapshot::work;
use crate::store::Store;
use crate::wire::{self, SnapshotFile, SnapshotHead};

pub use draft::{Draft, DraftError};
pub use error::BackupError;
pub use recover::{Candidate, RecoverError, Recovered, recover};
#[cfg(test)]
pub(crate) use restore::restore_with;
pub use restore::{REVISION_JUMP, RestoreError, RestoreOptions, Restored, restore};

/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A backup that was read to its end: every checksum verifies, the state decodes, and its hash is the one that was written.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The cluster, and what the backup stands for.
    pub head: SnapshotHead,
    /// Which file it is: equal ones are the same bytes.
    pub file: SnapshotFile,
    /// The state.
    pub store: Store,
}

/// What a backup holds, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The cluster.
    pub cluster: ClusterId,
    /// The last entry that the state has applied.
    pub last: LogId,
    /// The state's revision.
    pub revision: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How long the file is.
    pub bytes: u64,
    /// The CRC-32C that pins the file.
    pub checksum: u32,
    /// The hash of the state, as `raft-cli check` compares it.
    pub state_hash: u64,
}

impl Backup {
    /// Reads a backup and verifies all of it. The whole state is in memory then.
    ///
    /// # Errors
    /// As [`BackupError`] lists them.
    pub fn read(path: &Path) -> Result<Self, BackupError> {
        let reader = SnapshotReader::open_file(&OsFiles, path)
            .map_err(|error| BackupError::of_file(path, error))?;
        let file = work::file(reader.id());
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let head = wire::read_snapshot_head(&mut reader)
            .map_err(|error| BackupError::of_read(path, error))?;
        let foreign = |detail| BackupError::Foreign {
            file: path.to_path_buf(),
            detail,
        };
        if head.snapshot.last != file.last {
            return Err(foreign("it says of itself that it ends at another entry"));
        }
        if wire::cluster_id(&head.founding) != head.cluster {
            return Err(foreign("its first membership is another cluster's"));
        }
        let store =
            Store::read_from(&mut reader).map_err(|error| BackupError::of_state(path, error))?;
        if store.applied() != file.last.index {
            return Err(foreign("its state is of another entry"));
        }
        Ok(Self { head, file, store })
    }

    /// The backup in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            cluster: self.head.cluster,
            last: self.file.last,
            revision: self.store.revision(),
            keys: self.store.key_count() as u64,
            bytes: self.file.bytes,
            checksum: self.file.checksum,
            state_hash: self.store.state_hash(),
        }
    }
}
