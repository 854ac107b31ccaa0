//! Why a snapshot was refused.

use std::{fmt, io};

use super::STORE_SNAPSHOT_VERSION;
use crate::release::RELEASE;

/// Why bytes are not a snapshot of a store that this release can use. Nothing of them was used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreSnapshotError {
    /// The bytes could not be read.
    #[error("snapshot of the store, {place}: {source}")]
    Io {
        /// How far they could be.
        place: StoreSnapshotPlace,
        /// What the reader said.
        source: io::Error,
    },
    /// They are in a format of a later release.
    #[error(
        "snapshot of the store: its format is version {version}, and this release, {RELEASE}, reads up to \
         {STORE_SNAPSHOT_VERSION}; start raft-kv {release} or later on this data directory"
    )]
    UnknownVersion {
        /// The version.
        version: u8,
        /// The release that raised the cluster version last.
        release: String,
    },
    /// The cluster has moved on to a version that this release cannot follow.
    #[error(
        "snapshot of the store: the cluster is at version {version}, and this release, {RELEASE}, follows up to {follows}; \
         start raft-kv {release} or later on this data directory"
    )]
    ClusterVersionTooNew {
        /// The version.
        version: u16,
        /// The release that raised it.
        release: String,
        /// The newest version that this store follows.
        follows: u16,
    },
    /// They end too early.
    #[error("snapshot of the store, {place}: the bytes end too early")]
    Truncated {
        /// Where.
        place: StoreSnapshotPlace,
    },
    /// A length is over its limit; nothing was allocated for it.
    #[error("snapshot of the store, {place}: {bytes} bytes are over the limit of {max}")]
    TooLarge {
        /// Where.
        place: StoreSnapshotPlace,
        /// How long it is said to be, in bytes.
        bytes: u64,
        /// How long it may be.
        max: u64,
    },
    /// A field holds what it cannot hold.
    #[error("snapshot of the store, {place}: {detail}")]
    Malformed {
        /// Where.
        place: StoreSnapshotPlace,
        /// What is wrong.
        detail: &'static str,
    },
    /// Bytes follow behind the end.
    #[error("snapshot of the store, {place}: bytes are left over")]
    Remainder {
        /// Where they begin.
        place: StoreSnapshotPlace,
    },
    /// All can be read, but it is not the state that was written.
    #[error(
        "snapshot of the store: its state hash is {written:016x}, and what was read has {read:016x}"
    )]
    HashDiffers {
        /// The hash that stands at the end.
        written: u64,
        /// The hash of what was read.
        read: u64,
    },
}

/// A place in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSnapshotPlace {
    /// In what: `head`, `key`, `session` or `end`.
    pub part: &'static str,
    /// In which key or session, from 1; 0 where there is but one.
    pub number: u64,
    /// Behind so many bytes.
    pub offset: u64,
}

impl fmt::Display for StoreSnapshotPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            part,
            number,
            offset,
        } = self;
        match number {
            0 => write!(f, "{part}, byte {offset}"),
            _ => write!(f, "{part} {number}, byte {offset}"),
        }
    }
}
