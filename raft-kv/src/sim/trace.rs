//! What happened, one record for every step that changed something; and a hash over all of it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use raft_core::{Entries, Envelope, HardState, Index, LogId, Membership, RoleName, Term};

use super::agenda::Time;

/// How many records are kept for the report of a failure.
const KEPT: usize = 10_000;

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeState {
    /// Its role.
    pub role: RoleName,
    /// What it has voted, and in which term it is.
    pub hard_state: HardState,
    /// The end of its log.
    pub last: LogId,
    /// Up to where that is durable.
    pub durable: Index,
    /// Up to where it knows the log to be committed.
    pub commit: Index,
    /// Up to where it has applied.
    pub applied: Index,
    /// Its membership.
    pub membership: Membership,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A node's process has started, for the boot with this number.
    Started {
        /// The boot.
        boot: u64,
        /// What its disk holds of the log: the first entry of each term, and the last entry.
        log: Vec<LogId>,
    },
    /// A node's process did not start.
    Refused {
        /// Why.
        why: String,
    },
    /// A node's process has ended.
    Ended {
        /// How.
        how: String,
    },
    /// A node sends.
    Sent(Envelope),
    /// A node takes what another has sent.
    Received(Envelope),
    /// A node orders a write.
    Ordered {
        /// The job.
        job: u64,
        /// The term and vote in it.
        hard_state: Option<HardState>,
        /// Where the snapshot ends that is marked.
        snapshot: Option<LogId>,
        /// From where the log is cut.
        cut: Option<Index>,
        /// What is appended.
        entries: Entries,
    },
    /// Jobs up to this one are on the disk.
    Durable {
        /// The job.
        job: u64,
    },
    /// A node has another role, or is in another term.
    Role {
        /// The role.
        role: RoleName,
        /// The term.
        term: Term,
    },
    /// A node knows more to be committed.
    Committed {
        /// Up to here.
        index: Index,
    },
    /// A node has applied.
    Applied {
        /// Up to here.
        index: Index,
    },
    /// A snapshot has taken the place of a node's state.
    Installed {
        /// Where it ends.
        last: LogId,
    },
    /// A fault comes or goes.
    Fault(String),
    /// A client wants something.
    Asked {
        /// Which.
        client: usize,
        /// The operation, counted over all clients.
        operation: usize,
        /// What it wants.
        what: String,
    },
    /// A client sends a request to a node; once more, if the answer did not come.
    Tried {
        /// Which.
        client: usize,
        /// The operation; none: the client's own affair, as the opening of a session is.
        operation: Option<usize>,
        /// The node, if the connection still leads to one.
        to: Option<u64>,
        /// A write's session and its number in it.
        write: Option<(u64, u64)>,
    },
    /// A client's operation has ended.
    Answered {
        /// Which.
        client: usize,
        /// The operation.
        operation: usize,
        /// How.
        outcome: Outcome,
        /// The operation and its answer.
        what: String,
    },
}

/// How a client's operation ended, as far as the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was carried out, and answered.
    Answered,
    /// It was surely not carried out.
    NotApplied,
    /// It may have been carried out, or may yet be.
    Unknown,
}

/// A record of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub step: u64,
    /// When.
    pub at: Time,
    /// At which node; none: at no node.
    pub node: Option<u64>,
    /// What.
    pub what: Happening,
    /// How the node stood after it. Only in a trace that is kept whole.
    pub state: Option<NodeState>,
}

/// Takes records.
pub(super) struct Trace {
    steps: u64,
    hasher: DefaultHasher,
    kept: VecDeque<Record>,
    /// Whether all are kept, with the nodes' states.
    pub(super) whole: bool,
}

impl Trace {
    pub(super) fn new(whole: bool) -> Self {
        Self {
            steps: 0,
            hasher: DefaultHasher::new(),
            kept: VecDeque::new(),
            whole,
        }
    }

    pub(super) fn add(
        &mut self,
        at: Time,
        node: Option<u64>,
        what: Happening,
        state: Option<NodeState>,
    ) {
        self.steps += 1;
        (self.steps, at, node, &what).hash(&mut self.hasher);
        if !self.whole && self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Record {
            step: self.steps,
            at,
            node,
            what,
            state,
        });
    }

    /// Of all that was added.
    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.kept).into()
    }
}
