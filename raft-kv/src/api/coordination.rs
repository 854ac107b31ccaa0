//! What a coordination service offers besides keys: transactions, leases, locks, and the history that watches read.

use std::fmt;

use bytes::Bytes;

use super::{Condition, Hidden, KeyRange, KeyValue, LeaseId, Query, QueryReply, Revision};

/// The shortest time to live that a lease may be granted, in milliseconds.
pub const TTL_MS_MIN: u64 = 1_000;
/// The longest, in milliseconds: about a year.
pub const TTL_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// A fencing token: the revision at which a claim on a lock was made. Of two claims on a lock the later one has the higher token, so a
/// resource that remembers the highest token that it has seen can turn away whoever held the lock before.
pub type Token = Revision;

/// Conditions, and what to do when all of them hold, or when one does not. All of it happens at once, at one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    /// What must hold; none: it does.
    pub conditions: Vec<Condition>,
    /// The steps when all conditions hold, one after the other: each sees what those before it did.
    pub then: Vec<Step>,
    /// The steps when one does not.
    pub otherwise: Vec<Step>,
}

/// A step of a transaction.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Set a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease it lives by; 0 for none. If there is no such lease, the whole transaction is refused.
        lease: LeaseId,
        /// Whether to answer with what stood there before.
        want_previous: bool,
    },
    /// Delete keys.
    Delete {
        /// Which.
        keys: KeyRange,
        /// Whether to answer with what stood there before.
        want_previous: bool,
    },
    /// Ask, of the state as it is at this step. The query's revision must be 0.
    Get(Query),
}

/// What a step answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StepReply {
    /// The key was set.
    Put {
        /// What stood there before, when asked for.
        previous: Option<KeyValue>,
    },
    /// Keys were deleted, or there were none.
    Deleted {
        /// How many.
        count: u64,
        /// What stood there before, when asked for; cut at the reply limit.
        previous: Vec<KeyValue>,
    },
    /// What was found; cut at the reply limit.
    Got(QueryReply),
}

/// What of a key is compared.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The value, byte by byte. A key that is not there has none: it is unequal to every value, and neither less nor greater.
    Value(Bytes),
    /// The revision that created it; 0 when it is not there.
    CreateRevision(Revision),
    /// The revision that last changed it; 0 when it is not there.
    ModRevision(Revision),
    /// How often it was written since it was created; 0 when it is not there.
    Version(u64),
    /// The lease it lives by; 0 for none, and when it is not there.
    Lease(LeaseId),
}

/// How what stands there must relate to what is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// It is the same.
    Equal,
    /// It is not the same.
    NotEqual,
    /// It is less.
    Less,
    /// It is greater.
    Greater,
}

/// A lease: keys and claims on locks live as long as it is kept alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseInfo {
    /// Its number.
    pub lease: LeaseId,
    /// For how long it is granted, and kept alive each time, in milliseconds.
    pub ttl_ms: u64,
    /// For how long it lives yet, in milliseconds, as far as the answering node knows: only the leader does, and 0 says that the lease
    /// is about to expire.
    pub remaining_ms: Option<u64>,
    /// The keys that live by it, ascending.
    pub keys: Vec<Bytes>,
    /// The claims that live by it, ascending by lock.
    pub claims: Vec<(Bytes, Token)>,
}

/// A place in a lock's queue.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// The revision at which it was made.
    pub token: Token,
    /// The lease it lives by.
    pub lease: LeaseId,
    /// What its owner wants others to know: of an election the candidate's value.
    pub value: Bytes,
}

/// A lock's queue.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LockInfo {
    /// The claims, by token: the first holds the lock.
    pub claims: Vec<Claim>,
    /// Whether there are more, left out for a limit.
    pub more: bool,
}

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Watched {
    /// Keys.
    Keys(KeyRange),
    /// A lock's queue.
    Lock(Bytes),
}

/// All that happened at a revision to what is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// What happened, each key or claim once.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A key was set.
    Put {
        /// The key and all that is kept with it.
        kv: KeyValue,
        /// What stood there before, if asked for; left out where both together are more than 1.5 MiB.
        previous: Option<KeyValue>,
    },
    /// A key was deleted, by whom or whatever.
    Deleted {
        /// What stood there before.
        previous: KeyValue,
    },
    /// A claim was made, or its value changed.
    Claimed {
        /// On which lock.
        lock: Bytes,
        /// The claim.
        claim: Claim,
    },
    /// A claim is gone: released, or its lease has ended.
    Released {
        /// Of which lock.
        lock: Bytes,
        /// The claim as it was.
        claim: Claim,
    },
}

/// A question about leases and locks. It is answered by what is applied once a majority has confirmed who leads, as a linearizable read is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Question {
    /// What is known of a lease.
    Lease {
        /// Which.
        lease: LeaseId,
    },
    /// Which leases there are.
    Leases {
        /// Those with higher numbers than this one.
        behind: LeaseId,
        /// At most so many; 0: as many as fit.
        limit: u64,
    },
    /// Who holds a lock, and who waits for it.
    Lock {
        /// Its name.
        lock: Bytes,
        /// At most so many claims; 0: as many as fit.
        limit: u64,
    },
    /// Let a lease live for its time to live again, from now on. Only the leader answers. Whoever is answered may rely on the lease for
    /// that time, reckoned from when it *asked*, less what its clock and the leader's may differ by.
    KeepAlive {
        /// Which.
        lease: LeaseId,
    },
}

/// What a question is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// What is known of the lease; nothing: there is none.
    Lease(Option<LeaseInfo>),
    /// The leases, ascending, each with its time to live in milliseconds.
    Leases {
        /// They.
        leases: Vec<(LeaseId, u64)>,
        /// Whether there are more, left out for a limit.
        more: bool,
    },
    /// The lock's queue.
    Lock(LockInfo),
    /// The lease lives for so long again, in milliseconds.
    KeptAlive {
        /// Its time to live.
        ttl_ms: u64,
    },
}

/// What a client wants to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// About what.
    pub watched: Watched,
    /// Changes at this revision and behind it; 0: those behind the answering node's newest one now. It may be yet to come.
    pub from: Revision,
    /// Whether events say what stood there before.
    pub want_previous: bool,
}

/// What a watcher is told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WatchReply {
    /// What happened, in the order of the revisions, each once.
    Changes {
        /// It.
        changes: Vec<Change>,
        /// Whether the last of these changes is too large for one message, and goes on in the next with the same revision.
        unfinished: bool,
    },
    /// All changes up to this revision were told: whoever goes on later asks from the next one on.
    Progress {
        /// The revision.
        revision: Revision,
    },
    /// The watch has ended, since it was asked to.
    Ended,
}

/// Why a revision cannot be read or watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionError {
    /// What was so at that revision is not kept any more.
    #[error("the revision is compacted: {oldest} is the oldest that can be read")]
    Compacted {
        /// The oldest revision that can be read; changes can be watched from the one behind it.
        oldest: Revision,
    },
    /// The revision is yet to come.
    #[error("the revision is yet to come: {newest} is the newest")]
    Future {
        /// The newest revision.
        newest: Revision,
    },
}

impl fmt::Debug for Step {
    /// Shows keys, but of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put {
                key,
                value,
                lease,
                want_previous,
            } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value", &Hidden(value))
                .field("lease", lease)
                .field("want_previous", want_previous)
                .finish(),
            Self::Delete {
                keys,
                want_previous,
            } => f
                .debug_struct("Delete")
                .field("keys", keys)
                .field("want_previous", want_previous)
                .finish(),
            Self::Get(query) => f.debug_tuple("Get").field(query).finish(),
        }
    }
}

impl fmt::Debug for Field {
    /// Shows of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            Self::Value(value) => return f.debug_tuple("Value").field(&Hidden(value)).finish(),
            Self::CreateRevision(revision) => ("CreateRevision", revision),
            Self::ModRevision(revision) => ("ModRevision", revision),
            Self::Version(version) => ("Version", version),
            Self::Lease(lease) => ("Lease", lease),
        };
        f.debug_tuple(name).field(number).finish()
    }
}

impl fmt::Debug for Claim {
    /// Shows of the value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("token", &self.token)
            .field("lease", &self.lease)
            .field("value", &Hidden(&self.value))
            .finish()
    }
}
