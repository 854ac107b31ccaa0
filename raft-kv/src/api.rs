//! What a client may ask of the store and what it answers: plain data, without encodings (those are in `wire`) and
//! without behaviour (that is in `store`, `node` and `client`).

use std::fmt;

use bytes::Bytes;

/// The default largest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// The default largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The store's version counter: raised by one exactly when a command changes at least one key.
pub type Revision = u64;
/// A session's number: the log index of the entry that registered it. 0 is none.
pub type SessionId = u64;
/// A lease's number. 0 is none.
pub type LeaseId = u64;

/// A command: what a client wants written, and what the log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The session it belongs to; 0 only for [`Operation::RegisterSession`] and [`Operation::SetClusterVersion`].
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
        /// What stands at the key of the first condition that did not hold.
        current: Option<KeyValue>,
        /// The store's revision.
        revision: Revision,
    },
    /// The cluster's version is now this.
    ClusterVersion(u16),
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
    /// To [`Request::Write`].
    Command(CommandReply),
    /// To [`Request::Read`].
    Query(QueryReply),
    /// To [`Request::Status`].
    Status(NodeStatus),
    /// To [`Request::Admin`].
    Admin(AdminReply),
    /// To [`Request::Backup`].
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
}

/// Where the leader is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderHint {
    /// Its node id.
    pub node: u64,
    /// Its address.
    pub address: String,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// Its data directory's incarnation.
    pub incarnation: u64,
    /// How often it was started.
    pub boot: u64,
    /// leader, follower, learner, candidate, or forming.
    pub role: String,
    /// Who leads, as far as it knows.
    pub leader: Option<LeaderHint>,
    /// The current term.
    pub term: u64,
    /// The commit index.
    pub commit: u64,
    /// The applied index.
    pub applied: u64,
    /// The first index of its log.
    pub first: u64,
    /// The last index of its log.
    pub last: u64,
    /// Bytes that its log takes on disk.
    pub disk_bytes: u64,
    /// How many keys its store holds.
    pub keys: u64,
    /// Hashes of its whole state after some of the last entries, by their index, ascending; the last is of the state as it is. Members
    /// that have applied the same have the same.
    pub hashes: Vec<(u64, u64)>,
    /// How many syncs of the log since its start.
    pub syncs: u64,
    /// The release that it runs.
    pub version: String,
    /// The version of the cluster that is in force.
    pub cluster_version: u16,
    /// The newest version of the cluster that it follows.
    pub follows: u16,
    /// From a leader: what keeps the version in force below the newest that it follows, in words; empty: nothing.
    pub held_back: String,
    /// What is wrong with it, in words; empty: nothing.
    pub error: String,
    /// The members, as its membership has them.
    pub members: Vec<MemberStatus>,
}

/// What a node knows of a member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its address.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is a learner that becomes a voter once it has caught up.
    pub promotes: bool,
    /// From a leader: up to where its log is known to match; 0 elsewhere.
    pub matched: u64,
    /// From a leader: milliseconds since it last answered; none elsewhere, or when it never did.
    pub silent_ms: Option<u64>,
}

/// Bytes that are not shown: values do not belong in logs.
struct Hidden<'a>(&'a Bytes);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl fmt::Debug for Operation {
    /// Shows keys, but of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegisterSession => f.write_str("RegisterSession"),
            Self::EndSession => f.write_str("EndSession"),
            Self::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value", &Hidden(value))
                .field("lease", lease)
                .field("want_previous", want_previous)
                .field("conditions", conditions)
                .finish(),
            Self::Delete {
                keys,
                want_previous,
                conditions,
            } => f
                .debug_struct("Delete")
                .field("keys", keys)
                .field("want_previous", want_previous)
                .field("conditions", conditions)
                .finish(),
            #[cfg(raft_kv_next)]
            Self::Append { key, value } => f
                .debug_struct("Append")
                .field("key", key)
                .field("value", &Hidden(value))
                .finish(),
            Self::SetClusterVersion { version, release } => f
                .debug_struct("SetClusterVersion")
                .field("version", version)
                .field("release", release)
                .finish(),
        }
    }
}

impl fmt::Debug for Condition {
    /// Shows keys, but of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { key } => f.debug_struct("Absent").field("key", key).finish(),
            Self::ModRevision { key, revision } => f
                .debug_struct("ModRevision")
                .field("key", key)
                .field("revision", revision)
                .finish(),
            Self::Value { key, value } => f
                .debug_struct("Value")
                .field("key", key)
                .field("value", &Hidden(value))
                .finish(),
        }
    }
}

impl fmt::Debug for KeyValue {
    /// Shows the key, but of the value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.key)
            .field("value", &Hidden(&self.value))
            .field("create_revision", &self.create_revision)
            .field("mod_revision", &self.mod_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}
