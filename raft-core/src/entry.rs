//! An entry of the log.

use bytes::Bytes;
use core::fmt;

use crate::membership::Membership;
use crate::types::LogId;

/// What an entry holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: what a new leader appends first, to commit what came before it (paper §8, thesis §6.4).
    Noop,
    /// A command for the state machine, opaque to Raft.
    Command(Bytes),
    /// A membership, in force from the moment it is appended (thesis §4.1).
    Membership(Membership),
}

impl Payload {
    /// Its length in bytes as flow control counts it; a membership counts its contexts.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Noop => 0,
            Self::Command(bytes) => bytes.len(),
            Self::Membership(membership) => membership.len_bytes(),
        }
    }
}

impl fmt::Debug for Payload {
    /// Never shows a command's content: values do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noop => f.write_str("noop"),
            Self::Command(bytes) => write!(f, "command[{}]", bytes.len()),
            Self::Membership(membership) => membership.fmt(f),
        }
    }
}

/// One entry of the log. Cloning it copies no payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its place and term.
    pub id: LogId,
    /// What it holds.
    pub payload: Payload,
}

impl Entry {
    /// What flow control counts for an entry beyond its payload: about what its header takes on the wire and in memory.
    pub const OVERHEAD_BYTES: usize = 32;

    /// Its size as flow control counts it, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.payload.len_bytes() + Self::OVERHEAD_BYTES
    }
}
