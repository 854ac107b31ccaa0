//! What a client may ask of the store and what it answers: plain data, without encodings (those are in `wire`) and
//! without behaviour (that is in `store`, `node` and `client`).

mod coordination;
mod reply;
mod shown;
mod status;

use bytes::Bytes;

pub use coordination::{
    Answer, Change, Claim, Event, Field, LeaseInfo, LockInfo, Question, Relation, RevisionError,
    Step, StepReply, TTL_MS_MAX, TTL_MS_MIN, Token, Transaction, Watch, WatchReply, Watched,
};
pub use reply::{
    BackupPiece, CommandReply, Header, LeaderHint, Refusal, Reply, RequestError, Response,
};
pub(crate) use shown::Hidden;
pub use status::{MemberStatus, NodeStatus};

/// The default largest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// The default largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The store's version counter: raised by one exactly when a command changes at least one key.
pub type Revision = u64;
/// A session's number: the log index of the entry that registered it. 0 is none.
pub type SessionId = u64;
/// A lease's number: the log index of the entry that granted it. 0 is none.
pub type LeaseId = u64;

/// A command: what a client wants written, and what the log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The session it belongs to; 0 only for [`Operation::RegisterSession`], and for what leaders propose by themselves.
    pub session: SessionId,
    /// Its number within the session, from 1. A retry has the number of the first try, and is applied once (thesis §6.3).
    pub sequence: u64,
    /// The session's client has the answers of all commands below this number: they may be forgotten.
    pub first_outstanding: u64,
    /// On whose behalf; empty until there is access control. The server checks that it is the connection's own.
    pub principal: Bytes,
    /// What to do.
    pub operation: Operation,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Open a session; the answer is [`CommandReply::Registered`].
    RegisterSession,
    /// Close the command's session.
    EndSession,
    /// Set a key, if every condition holds.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease it lives by; 0 for none. A lease that does not exist is refused.
        lease: LeaseId,
        /// Whether to answer with what stood there before.
        want_previous: bool,
        /// What must hold.
        conditions: Vec<Condition>,
    },
    /// Delete keys, if every condition holds.
    Delete {
        /// Which.
        keys: KeyRange,
        /// Whether to answer with what stood there before.
        want_previous: bool,
        /// What must hold.
        conditions: Vec<Condition>,
    },
    /// Let leaders write what this version of the cluster can (a rolling upgrade). Never lowers it. No client's: a leader proposes it
    /// by itself, since only it knows whether every member can follow.
    SetClusterVersion {
        /// Which.
        version: u16,
        /// The release of the leader: what to start where an older one stops here.
        release: String,
    },
    /// Write a value behind the one that stands there.
    #[cfg(raft_kv_next)]
    Append {
        /// Where.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Do several things at once, depending on conditions.
    Transaction(Transaction),
    /// Make a lease; the answer is [`CommandReply::Granted`].
    Grant {
        /// For how long it lives unless it is kept alive, in milliseconds.
        ttl_ms: u64,
    },
    /// End a lease, with the keys and claims that live by it.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// End leases that were not kept alive. Only a leader proposes it: its clock says when, and apply reads none.
    Expire {
        /// Which; those that have ended already are passed over.
        leases: Vec<LeaseId>,
    },
    /// Make a claim on a lock. A lease has at most one on each: asking again changes its value, and keeps its place.
    Claim {
        /// The lock's name.
        lock: Bytes,
        /// The lease that the claim lives by.
        lease: LeaseId,
        /// What its owner wants others to know.
        value: Bytes,
        /// Whether to queue behind the holder; if not, nothing happens when there is one.
        queue: bool,
    },
    /// Take a claim back. It need not hold the lock.
    Release {
        /// The lock's name.
        lock: Bytes,
        /// The claim's.
        token: Token,
    },
    /// Forget what was so before this revision.
    Compact {
        /// The oldest revision that can be read from then on.
        revision: Revision,
    },
}

/// What must hold of one key for a command to do anything.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// There is no such key.
    Absent {
        /// The key.
        key: Bytes,
    },
    /// The key was last changed at this revision; 0 says that there is no such key.
    ModRevision {
        /// The key.
        key: Bytes,
        /// The revision.
        revision: Revision,
    },
    /// The key has this value.
    Value {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Any other comparison.
    Compare {
        /// The key.
        key: Bytes,
        /// How what stands there must relate to the field.
        relation: Relation,
        /// To what.
        field: Field,
    },
    /// The lock is held by the claim with this token: whoever held it before writes no more.
    Holds {
        /// The lock's name.
        lock: Bytes,
        /// The claim's.
        token: Token,
    },
}

/// Keys, in byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyRange {
    /// One key.
    Key(Bytes),
    /// Every key that begins so; empty: all.
    Prefix(Bytes),
    /// From the first up to, but without, the second; none: to the end.
    Range(Bytes, Option<Bytes>),
}

/// A key and all that is kept with it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty where only keys were asked for.
    pub value: Bytes,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// How often it was written since it was created: 1 at creation.
    pub version: u64,
    /// The lease it lives by; 0 for none.
    pub lease: LeaseId,
}

/// A question that changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Which keys.
    pub keys: KeyRange,
    /// At most so many; 0: as many as fit the reply limit.
    pub limit: u64,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// From the last key to the first.
    pub reverse: bool,
    /// As it was right after this revision; 0: as it is.
    pub revision: Revision,
}

/// What a query answers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct QueryReply {
    /// The keys found.
    pub kvs: Vec<KeyValue>,
    /// How many keys there are in the range, whatever the limit.
    pub count: u64,
    /// Whether some were left out for a limit.
    pub more: bool,
}

/// A request as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Request {
    /// Write through the log.
    Write(Command),
    /// Ask.
    Read {
        /// What.
        query: Query,
        /// Answer from this node's own state at once, however old, instead of linearizably through the leader.
        stale: bool,
        /// Answer only once this index is applied here; 0: no such wish.
        min_applied: u64,
    },
    /// What this node knows of itself and, when it leads, of the others.
    Status,
    /// Change who belongs to the cluster, or who leads it.
    Admin(Admin),
    /// A piece of a backup of the whole state, as a snapshot's file: the next one, or the one before once more.
    Backup {
        /// Which backup; 0: a new one, of the state as it is now, linearizably through the leader.
        id: u64,
        /// Where the piece begins.
        offset: u64,
    },
    /// Ask about leases and locks, linearizably.
    Ask(Question),
    /// Be told what changes. The answer is no single one: [`Reply::Watch`] comes again and again, until the watch ends with an error or by
    /// [`Request::Unwatch`], or the connection ends.
    Watch(Watch),
    /// End the watch that was begun on this connection with this request's number. It is answered with [`Reply::Watch`] of
    /// [`WatchReply::Ended`], under the watch's number, behind which nothing follows.
    Unwatch {
        /// The number of the frame that began it.
        request: u64,
    },
}

/// What an operator asks of the leader. One change at a time; asking again for what is so already changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Admin {
    /// Take the node in that answers at this address: it must run, with this id, and belong to no other cluster. It becomes a learner;
    /// one that is to vote is made a voter by the leader once it has caught up. A member of the same id whose disk is gone gives way to it.
    AddMember {
        /// Its id.
        id: u64,
        /// Where the others reach it.
        address: String,
        /// Whether it is to vote.
        voter: bool,
    },
    /// Make a learner a voter, as soon as it has caught up.
    PromoteMember {
        /// Its id.
        id: u64,
    },
    /// The others reach this member at another address from now on.
    UpdateMember {
        /// Its id.
        id: u64,
        /// The address.
        address: String,
    },
    /// Take a member out.
    RemoveMember {
        /// Its id.
        id: u64,
        /// Even if fewer than a majority of the voters that are left answer now.
        force: bool,
    },
    /// Hand over the lead.
    MoveLead {
        /// To this node; 0: to the one that is best fit.
        to: u64,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AdminReply {
    /// These are the members now.
    Members {
        /// Whether anything had to be changed.
        changed: bool,
        /// All of them.
        members: Vec<MemberStatus>,
    },
    /// The leader hands over to this node, and takes no writes meanwhile; whether that node leads then, its status says.
    Moving {
        /// To whom.
        to: u64,
    },
}
