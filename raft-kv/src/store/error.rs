//! Why an entry could not be applied.

use raft_core::LogId;

use crate::release::RELEASE;
use crate::wire::{COMMAND_FORMAT_MAX, DecodeError};

/// Why an entry could not be applied. It is committed, and other nodes may apply it: a node that skipped it would drift
/// apart from them, so it must stop. The state is what it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The command is in a format of a later release.
    #[error(
        "entry {at}: its command has format {format}, and this release reads up to {COMMAND_FORMAT_MAX}; start a newer raft-kv"
    )]
    UnknownFormat {
        /// The entry.
        at: LogId,
        /// The command's format.
        format: u8,
    },
    /// The command asks for more than the cluster version in force: a leader should never have appended it.
    #[error(
        "entry {at}: its command needs cluster version {needed}, and {in_force} is in force; a member runs a release that \
         does not belong into this cluster"
    )]
    ClusterVersionNotInForce {
        /// The entry.
        at: LogId,
        /// What the command needs.
        needed: u16,
        /// What is in force.
        in_force: u16,
    },
    /// The cluster moves on to a version that this release cannot follow.
    #[error(
        "entry {at}: the cluster moves on to version {version}, and this release, {RELEASE}, follows up to {follows}; start \
         raft-kv {release} or later on this data directory"
    )]
    ClusterVersionTooNew {
        /// The entry.
        at: LogId,
        /// The version.
        version: u16,
        /// The release of the leader that raised it.
        release: String,
        /// The newest version that this store follows.
        follows: u16,
    },
    /// The command does not decode, though its format is known: the log was damaged before its checksums were made.
    #[error("entry {at}: {error}")]
    Damaged {
        /// The entry.
        at: LogId,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// The numbers of a restored cluster would leave the range that a log can have, or meet those of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a revision jump of {jump} is not possible: it has to be at least 1, and no index or revision may reach 2^63 - 1"
)]
pub struct JumpTooFar {
    /// The jump.
    pub jump: u64,
}
