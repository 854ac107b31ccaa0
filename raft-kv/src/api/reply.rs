//! What clients are answered.

use bytes::Bytes;

use super::{
    AdminReply, Answer, Claim, KeyValue, LeaseId, NodeStatus, QueryReply, Revision, RevisionError,
    SessionId, StepReply, Token, WatchReply,
};

/// What a command answers once it is applied: the same on every replica, and to every retry.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CommandReply {
    /// The session is open.
    Registered {
        /// Its number.
        session: SessionId,
    },
    /// The session is closed.
    Ended,
    /// The key was set.
    Put {
        /// The revision of the change.
        revision: Revision,
        /// What stood there before, when asked for.
        previous: Option<KeyValue>,
    },
    /// Keys were deleted, or there were none.
    Deleted {
        /// How many.
        count: u64,
        /// The store's revision after it.
        revision: Revision,
        /// What stood there before, when asked for; cut at the reply limit.
        previous: Vec<KeyValue>,
    },
    /// A condition did not hold, and nothing was changed.
    ConditionFailed {
        /// What stands at the key of the first condition that did not hold; nothing, if it was about a lock.
        current: Option<KeyValue>,
        /// The store's revision.
        revision: Revision,
    },
    /// The cluster's version is now this.
    ClusterVersion(u16),
    /// The transaction was carried out.
    Transaction {
        /// Whether all its conditions held.
        succeeded: bool,
        /// The store's revision after it.
        revision: Revision,
        /// What its steps answer, one each.
        steps: Vec<StepReply>,
    },
    /// The lease is granted.
    Granted {
        /// Its number.
        lease: LeaseId,
    },
    /// The leases have ended.
    Revoked {
        /// How many keys and claims went with them.
        count: u64,
        /// The store's revision after it.
        revision: Revision,
    },
    /// The claim stands.
    Claimed {
        /// Its token.
        token: Token,
        /// How many claims stand before it: with 0 it holds the lock.
        ahead: u64,
        /// The store's revision after it.
        revision: Revision,
    },
    /// The lock is held by another, and no claim was made.
    Taken {
        /// By whom.
        holder: Claim,
        /// The store's revision.
        revision: Revision,
    },
    /// The claim is taken back.
    Released {
        /// Whether it still stood.
        stood: bool,
        /// The store's revision after it.
        revision: Revision,
    },
    /// The history is compacted.
    Compacted {
        /// The oldest revision that can be read now.
        oldest: Revision,
    },
    /// The session has ended or never was: this command was not applied *now*. Whether an earlier try was is not known.
    SessionExpired,
    /// The command was answered before, and the answer is not kept any more: the client said that it has it, or it was too
    /// large to be kept for a retry. Nothing was carried out again.
    Forgotten,
    /// The command cannot be carried out by this state, and changed nothing.
    Refused(Refusal),
}

/// Why an applied command changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such lease.
    NoSuchLease,
    /// The command's sequence is too far ahead of the oldest that its client has no answer of. It is refused for good: no
    /// retry of it will ever be applied.
    TooManyOutstanding,
    /// There are as many leases as there may be.
    TooManyLeases,
    /// There are as many claims on the lock, or on all locks, as there may be.
    TooManyClaims,
    /// The revision is yet to come.
    FutureRevision,
}

/// A node's answer to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Where the answer comes from.
    pub header: Header,
    /// The answer.
    pub body: Result<Reply, RequestError>,
}

/// Stands in every response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The cluster; all zero while it is not formed.
    pub cluster: [u8; 16],
    /// The answering node.
    pub node: u64,
    /// The store's revision there.
    pub revision: Revision,
    /// The last applied index there.
    pub applied: u64,
    /// The term there.
    pub term: u64,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::Write`](super::Request::Write).
    Command(CommandReply),
    /// To [`Request::Read`](super::Request::Read).
    Query(QueryReply),
    /// To [`Request::Status`](super::Request::Status).
    Status(NodeStatus),
    /// To [`Request::Admin`](super::Request::Admin).
    Admin(AdminReply),
    /// To [`Request::Ask`](super::Request::Ask).
    Answer(Answer),
    /// To [`Request::Watch`](super::Request::Watch).
    Watch(WatchReply),
    /// To [`Request::Backup`](super::Request::Backup).
    Backup(BackupPiece),
}

/// A piece of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupPiece {
    /// Which backup; never 0.
    pub id: u64,
    /// Where in the file the piece begins.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether the file ends with it.
    pub end: bool,
}

/// Why a request was not answered.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// This node does not lead: surely not applied.
    #[error("this node does not lead{}", .leader.as_ref().map(|l| format!("; node {} at {} does", l.node, l.address)).unwrap_or_default())]
    NotLeader {
        /// Who does.
        leader: Option<LeaderHint>,
    },
    /// Too much is under way here: surely not applied; try again soon.
    #[error("the node is busy; try again soon")]
    Busy,
    /// The disks of this node, or of too many others, are full: surely not applied; try again when there is room.
    #[error(
        "the disk is full, there or on a majority of the members: no writes are taken until there is room (see `raft-cli status`)"
    )]
    Full,
    /// The cluster is not formed yet: surely not applied.
    #[error("the cluster is not formed yet: {0}")]
    NotFormed(String),
    /// The node lost the lead, or is stopping, while this was under way: it may be applied yet, or never.
    #[error("the leader changed while the request was under way; it may or may not be applied")]
    Unknown,
    /// The read was not answered in time for a change of leader; ask again.
    #[error("the read could not be confirmed; ask again")]
    ReadFailed,
    /// The request breaks a rule that no retry will mend: surely not applied.
    #[error("{0}")]
    Invalid(String),
    /// The key, the value or the whole is over its limit: surely not applied.
    #[error("{what} is {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Of what.
        what: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        max: u64,
    },
    /// The revision cannot be read or watched.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// There is no such lease, or it is about to end: it must not be relied on any more.
    #[error("there is no such lease any more")]
    NoSuchLease,
}

/// Where the leader is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderHint {
    /// Its node id.
    pub node: u64,
    /// Its address.
    pub address: String,
}
