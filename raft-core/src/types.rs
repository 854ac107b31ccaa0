//! The numbers and names of Raft, each as a type of its own, so that a term is never taken for an index.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The value before the first one.
            pub const ZERO: Self = Self(0);

            /// The next value.
            ///
            /// # Panics
            /// At 2^64 − 1, which no run reaches by counting; what comes from outside is checked before.
            #[must_use]
            pub const fn next(self) -> Self {
                assert!(self.0 != u64::MAX, "a counter of Raft has run out");
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A node's number, chosen by whoever runs the cluster. It survives the loss of a disk; see [`MemberId`].
    NodeId
);
number!(
    /// Drawn at random when a data directory is made, and kept in it: a node that lost its disk returns under another
    /// incarnation, and so as another member.
    Incarnation
);
number!(
    /// Raised and made durable at every start of a node. An answer to a former life names an older boot, and counts
    /// for nothing.
    Boot
);
number!(
    /// A term: time as Raft counts it (paper §5.1). At most one leader in each.
    Term
);
number!(
    /// A position in the log, from 1; 0 is the place before the first entry.
    Index
);
number!(
    /// The number of a [`PersistJob`](crate::PersistJob); 0 is before the first.
    JobId
);

impl Index {
    /// The index before this one; that before 0 is 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// This index moved on by `count`, stopping at the largest.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// What a cluster is told apart by: a hash of its first membership, say. The driver chooses it, the same on every node; the core only
/// compares.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// Not known yet. No node starts with it: it would take no envelope.
    pub const UNKNOWN: Self = Self([0; 16]);
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member: a node in one incarnation. Votes and acknowledgements count for the pair, never for the node's number
/// alone, so that a node whose disk was wiped cannot speak for what it has forgotten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// The node's number.
    pub node: NodeId,
    /// The life of its data directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}#{:x}", self.node, self.incarnation.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who this node is, from its data directory and this start of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The member it is.
    pub member: MemberId,
    /// This start: higher than that of every start before, and durable before the core is made.
    pub boot: Boot,
}

/// The index and the term of an entry, printed `index@term`. Ordered by term first, as "up to date" is (paper §5.4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct LogId {
    /// Where it stands.
    pub index: Index,
    /// The term of the leader that created it.
    pub term: Term,
}

impl LogId {
    /// The place before the first entry.
    pub const ZERO: Self = Self {
        index: Index::ZERO,
        term: Term::ZERO,
    };

    /// An id of its parts.
    #[must_use]
    pub const fn new(index: u64, term: u64) -> Self {
        Self {
            index: Index(index),
            term: Term(term),
        }
    }
}

impl PartialOrd for LogId {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogId {
    /// The later term wins; within a term, the longer log (paper §5.4.1).
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.term, self.index).cmp(&(other.term, other.index))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What must survive a crash besides the log (paper fig. 2), and a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<MemberId>,
    /// What it knew to be committed when this was written. Only a hint, never ahead of the entries written with it: it lets a
    /// restarted node apply at once what it knew.
    pub commit: Index,
}
