//! Why a node did not start, and why it ended.

use super::config::NodeConfigError;
use super::disk::DirectoryError;
use super::replica::{Fatal, ReplicaError};

/// Why a node was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] NodeConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What the directory holds cannot be started from.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The address cannot be listened on.
    #[error("{0}; stop what uses the address, or choose another with --listen")]
    Listen(#[from] raft_net_tcp::BindError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Why a node ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exit {
    /// It was told to, and its log is closed cleanly.
    #[error("stopped")]
    Stopped,
    /// The log failed. Nothing was acknowledged since.
    #[error(
        "the log cannot be relied on, so this node stopped; mend the disk and start it again: {0}"
    )]
    Log(String),
    /// The snapshot that its log goes on from cannot be read back.
    #[error(
        "the snapshot that the log goes on from cannot be read, so this node stopped; mend the disk, or take the node in anew: {0}"
    )]
    Snapshot(String),
    /// It cannot go on.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}
