//! What nodes say to each other.

use core::fmt;

use crate::entries::Entries;
use crate::snapshot::Snapshot;
use crate::types::{Boot, ClusterId, Index, LogId, MemberId, Term};

/// Who sent an envelope: a member in one of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The member.
    pub member: MemberId,
    /// Its life.
    pub boot: Boot,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.member, self.boot)
    }
}

/// What a request is known by. An answer repeats it, so that an answer to a former life, an earlier campaign or an earlier
/// round counts for nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The asker's life.
    pub boot: Boot,
    /// Counted within it.
    pub number: u64,
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot, self.number)
    }
}

/// A message with its sender, its addressee and its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: Sender,
    /// The addressee, incarnation included.
    pub to: MemberId,
    /// The sender's current term: durable at the sender before the envelope was let go.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// Would you vote for me in the term after the envelope's? Changes nothing at the asked (thesis §9.6). A learner that hears no
    /// leader asks too, only to be told if it was removed ([`Message::NotAMember`]).
    PreVoteRequest {
        /// Which campaign asks.
        id: RequestId,
        /// The asker's last entry.
        last: LogId,
    },
    /// The answer to a [`Message::PreVoteRequest`].
    PreVoteResponse {
        /// The campaign it answers.
        id: RequestId,
        /// Yes or no.
        granted: bool,
    },
    /// Vote for me in the envelope's term (paper §5.2).
    VoteRequest {
        /// Which campaign asks.
        id: RequestId,
        /// The asker's last entry.
        last: LogId,
        /// The leader wants the asker to lead: not to be refused for that leader's sake (thesis §3.10, §4.2.3).
        transfer: bool,
    },
    /// The answer to a [`Message::VoteRequest`].
    VoteResponse {
        /// The campaign it answers.
        id: RequestId,
        /// Yes or no.
        granted: bool,
    },
    /// Entries to append, or with none a probe (paper §5.3).
    AppendRequest {
        /// Which of the leader's appends this is.
        id: RequestId,
        /// The entry right before the first of these.
        prev: LogId,
        /// Contiguous, terms never falling.
        entries: Entries,
        /// The leader's commit index.
        commit: Index,
    },
    /// A snapshot is there, for the log up to its end (paper §7). It travels with the snapshot's file: hand it to the core only once
    /// the file is whole, checked and durable. If no [`PersistJob`](crate::PersistJob) marks the snapshot by the time the effects
    /// are drained, it was not needed, and the file may go.
    SnapshotRequest {
        /// The transfer.
        id: RequestId,
        /// What it covers.
        snapshot: Snapshot,
    },
    /// The answer to an [`Message::AppendRequest`] or a [`Message::SnapshotRequest`].
    AppendResponse {
        /// What it answers.
        id: RequestId,
        /// What came of it.
        result: AppendResult,
    },
    /// From which index on may this node answer the reads that it has? For the leader of the envelope's term (thesis §6.4).
    ReadRequest {
        /// This attempt; each has its own.
        id: RequestId,
    },
    /// The answer to a [`Message::ReadRequest`].
    ReadResponse {
        /// The attempt it answers.
        id: RequestId,
        /// What was committed when the request came in, a quorum having said since that the answerer leads; none when it does not
        /// lead, or cannot take more reads.
        index: Option<Index>,
    },
    /// A committed membership leaves you out: the answer, in whatever term, to a member of old that asks for a vote or a pre-vote.
    NotAMember {
        /// What it answers.
        id: RequestId,
        /// The membership's entry.
        at: LogId,
    },
    /// I lead still; and, for reads, do you think so too? (paper §5.2, thesis §6.4)
    HeartbeatRequest {
        /// The round: every heartbeat of one round has the same id.
        id: RequestId,
        /// The leader's commit index.
        commit: Index,
    },
    /// The answer to a [`Message::HeartbeatRequest`].
    HeartbeatResponse {
        /// The round it answers.
        id: RequestId,
        /// Up to where the follower's log is durable and known to be the leader's.
        matched: Index,
        /// Whether the follower's disk has no room for commands.
        full: bool,
    },
    /// Campaign now: you have everything, and are to lead (thesis §3.10). It has no answer.
    TimeoutNow {
        /// Counted with the leader's other requests: it counts only until a later one of them is heard.
        id: RequestId,
    },
}

/// What came of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The follower's log is the leader's up to here, durably.
    Matched(Index),
    /// The same, and the follower's disk has no room for commands: what was sent behind this was turned away.
    Full(Index),
    /// The follower does not have `prev`.
    Conflict {
        /// The index of the `prev` that was refused.
        prev: Index,
        /// The follower's largest entry that may agree: none at or below `prev` has both a higher index and a term that the
        /// leader's log could have there (paper §5.3, last paragraphs).
        hint: LogId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has more than 128 bytes is moved by a call instead of a few instructions, and often has to wait for its own stores. An
    /// envelope is moved five times on its way from node to node.
    #[test]
    fn an_envelope_is_small() {
        assert!(size_of::<Envelope>() <= 128);
    }
}
