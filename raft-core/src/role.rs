//! What a node is at the moment, and what it keeps only while it is that.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use crate::change::OpenChange;
use crate::few::Few;
use crate::progress::Progress;
use crate::promote::CatchUp;
use crate::read_index::Reads;
use crate::transfer::Transfer;
use crate::types::{Index, JobId, NodeId};

/// A role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// As a follower, but has no vote.
    Learner,
    /// Asks whether it would win, before it disturbs anyone (thesis §9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl RoleName {
    /// As an operator reads it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

/// The role with its own data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Follower,
    PreCandidate(Campaign),
    Candidate(Campaign),
    Leader(Box<Leadership>),
}

/// A round of asking for votes, or for pre-votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Campaign {
    /// What its requests and their answers are known by.
    pub(crate) number: u64,
    /// Who has said what.
    pub(crate) answers: BTreeMap<NodeId, bool>,
    /// The job that holds the candidate's vote for itself; it counts once that is durable. None: nothing to wait for.
    pub(crate) own_vote_job: Option<JobId>,
}

/// What a leader keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leadership {
    /// Every other member's progress, and that of former members who are still to learn that they are none.
    pub(crate) peers: Few<NodeId, Progress>,
    /// The index of the no-op that began the term: once it is committed, everything before it is (paper §5.4.2, §8).
    pub(crate) term_start: Index,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: u64,
    /// Proposals whose outcome is open, in log order.
    pub(crate) open: VecDeque<OpenProposal>,
    /// What they weigh together.
    pub(crate) open_bytes: usize,
    pub(crate) reads: Reads,
    /// The change of the membership whose outcome is open.
    pub(crate) change: Option<OpenChange>,
    /// The last request made before this leader knew the newest membership to be committed; none while it does not.
    pub(crate) settled_at: Option<u64>,
    /// The learners that are to become voters.
    pub(crate) catching_up: BTreeMap<NodeId, CatchUp>,
    /// The transfer under way.
    pub(crate) transfer: Option<Transfer>,
}

/// A proposal that was appended and is not known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenProposal {
    pub(crate) number: u64,
    pub(crate) index: Index,
    pub(crate) bytes: usize,
}
