//! What an operator asks for.

use alloc::vec::Vec;

use crate::membership::Membership;
use crate::role::RoleName;
use crate::types::{Identity, Index, LogId, MemberId, NodeId, Term};

/// A picture of one node's core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Its role.
    pub role: RoleName,
    /// Its current term.
    pub term: Term,
    /// Whom it voted for in it.
    pub voted_for: Option<MemberId>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Its last entry.
    pub last: LogId,
    /// Up to where its log is durable.
    pub durable: Index,
    /// Up to where it knows the log to be committed.
    pub commit: Index,
    /// Up to where its state machine has answered.
    pub applied: Index,
    /// The membership in force.
    pub membership: Membership,
    /// The entry that the membership stands in.
    pub membership_at: LogId,
    /// How many bytes of entries are kept in memory.
    pub tail_bytes: usize,
    /// How many envelopes wait for the disk.
    pub withheld: usize,
    /// On a leader, what it knows of every other member; empty elsewhere.
    pub peers: Vec<PeerStatus>,
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub member: MemberId,
    /// Up to where its log is known to be the leader's, durably.
    pub matched: Index,
    /// The next entry to send it.
    pub next: Index,
    /// Whether the leader streams entries to it, rather than probing for where their logs agree.
    pub streaming: bool,
    /// Ticks since it last answered in this term; none when it never has.
    pub silent_ticks: Option<u64>,
}
