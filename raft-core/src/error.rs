//! What can be refused, an enum an operation.

use core::fmt;

use crate::config::ConfigError;
use crate::membership::MembershipError;
use crate::types::{ClusterId, Incarnation, Index, JobId, LogId, MemberId, NodeId, Term};

/// Why a new node was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot work.
    Config(ConfigError),
    /// The first membership cannot work.
    Membership(MembershipError),
    /// The first membership does not hold this node.
    NotAMember(MemberId),
    /// The identity names no cluster ([`ClusterId::UNKNOWN`](crate::ClusterId::UNKNOWN)).
    NoCluster,
    /// The snapshot that a cluster is to begin with ends here, and its membership did not stand there; or it cannot be one at all.
    BadSnapshot(LogId),
}

/// Why a node was not recovered: what the driver read is not what a core ever wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoverError {
    /// The settings cannot work.
    Config(ConfigError),
    /// The term runs leave a gap, fall, or do not fit the log's bounds.
    BadRuns {
        /// Where the first run begins that does not fit; the log's last index, when a run is missing.
        at: Index,
        /// Where the run before it begins; when it is the first, what the log begins behind.
        before: Index,
    },
    /// The log holds an entry of a later term than the hard state knows.
    TermBehindLog {
        /// The stored term.
        stored: Term,
        /// The log's last entry.
        last: LogId,
    },
    /// The commit index, or the applied one, is beyond the log.
    BeyondLog {
        /// The index.
        index: Index,
        /// The log's last entry.
        last: LogId,
    },
    /// The snapshot ends in front of the log or behind it, or with another term than the log has there; or the log does not begin
    /// at 1, and there is no snapshot for what is missing.
    BadSnapshot(LogId),
    /// The state machine has applied less than what the log no longer holds.
    AppliedBehindLog {
        /// What it has applied.
        applied: Index,
        /// What the log begins behind.
        base: LogId,
    },
    /// A membership is given for an entry that the log does not have.
    BadMembership(LogId),
    /// Neither the log nor its base holds a membership.
    NoMembership,
    /// The identity names no cluster ([`ClusterId::UNKNOWN`](crate::ClusterId::UNKNOWN)).
    NoCluster,
}

/// Why an envelope was not used. A peer can cause every one of these. Nothing that it says counts then, its term neither: the node is as it
/// was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejected {
    /// It is of this cluster, or of none.
    OtherCluster(ClusterId),
    /// It is for this node.
    OtherNode(NodeId),
    /// It is for this node in this incarnation: another life of its data directory.
    OtherIncarnation(Incarnation),
    /// It claims to come from this node.
    FromSelf,
    /// Its fields contradict each other: entries that are not contiguous, a term that falls, a number out of range.
    Malformed,
    /// The sender claims to lead the term that another node leads.
    TwoLeadersSameTerm(Term),
    /// It acknowledges an entry that this leader never had.
    AckBeyondLog(Index),
    /// It would overwrite an entry that is committed.
    CommittedConflict(Index),
    /// The sender's life is over: a later boot of the same member was heard.
    StaleBoot,
}

/// Why a proposal was surely not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// Too many bytes wait to be committed; try again soon.
    Busy,
    /// This node's disk is full, and another may lead soon that has room; or those of so many voters are that nothing can be committed until one
    /// has room again.
    Full,
    /// The batch is empty, has a command over [`Config::command_bytes_max`](crate::Config::command_bytes_max), or several that weigh more
    /// together than [`Config::uncommitted_bytes_max`](crate::Config::uncommitted_bytes_max): propose those in parts.
    BadBatch,
    /// This leader is handing over; try again soon, of whoever leads then.
    Transferring,
}

/// Why a change of the membership was surely not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// So many voters would be replaced by new incarnations at once that the others are no majority: nothing could be committed any more.
    /// Replace one after the other.
    ReplacesMajority,
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// This leader is handing over; try again soon, of whoever leads then.
    Transferring,
    /// This leader has not committed an entry of its term yet; try again soon.
    NotReady,
    /// The newest membership is joint or not committed: one change at a time.
    UnderWay {
        /// Its entry.
        at: LogId,
    },
    /// The caller saw another membership than the one in force.
    Stale {
        /// The entry of the one in force.
        actual: LogId,
    },
    /// All is as the change would make it.
    NoChange,
    /// The node's number belongs to this member; remove it in the same change to give the number to another.
    NodeTaken(MemberId),
    /// There is no such member to change.
    UnknownMember(MemberId),
    /// This node is to vote, and is not known to have the membership in force: take it in as a learner first.
    NotCaughtUp(MemberId),
    /// It would give this leader's own number to another incarnation, though its disk is there.
    ReplacesLeader,
    /// What it leads to cannot be: no voter, too many members, a context that is too long.
    Membership(MembershipError),
}

/// Why a transfer of the lead was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// The target is this node.
    LeadsAlready,
    /// The target is no member.
    UnknownNode(NodeId),
    /// The target has no vote, or is about to lose it.
    NotAVoter(NodeId),
    /// No other voter has answered within an election timeout.
    NoTarget,
    /// A transfer to another node is under way.
    UnderWay {
        /// Its target.
        to: MemberId,
    },
}

/// Why a read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// Too many reads wait; try again soon.
    Busy,
}

/// Why a driver's answer was refused: the driver is broken, and must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// A job of this number was never handed out, or a later one was answered already.
    UnknownJob(JobId),
    /// A snapshot was answered as taken or installed that was not asked for.
    UnknownSnapshot(LogId),
    /// An index was answered as applied that was not handed out, or that is behind an earlier answer.
    UnknownApply(Index),
}

const NO_CLUSTER: &str = "the identity names no cluster: every node has to be told which one it belongs to before it starts";

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Membership(error) => error.fmt(f),
            Self::NotAMember(member) => {
                write!(f, "the first membership does not hold this node, {member}")
            }
            Self::NoCluster => f.write_str(NO_CLUSTER),
            Self::BadSnapshot(last) => write!(
                f,
                "no cluster can begin with a snapshot that ends at {last}: its membership has to stand in that very entry"
            ),
        }
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::BadRuns { at, before } => write!(
                f,
                "the log's terms do not add up at index {at}, behind {before}: the first run begins right behind `base`, the last entry \
                 that was cut, and each other one, of a later term, behind the run before"
            ),
            Self::AppliedBehindLog { applied, base } => write!(
                f,
                "the state machine has applied up to {applied}, and the log begins behind {base}: load the snapshot first, and give \
                 its end as `applied`"
            ),
            Self::NoCluster => f.write_str(NO_CLUSTER),
            Self::TermBehindLog { stored, last } => {
                write!(
                    f,
                    "the stored term {stored} is behind the log's last entry {last}"
                )
            }
            Self::BeyondLog { index, last } => {
                write!(f, "index {index} is beyond the log's last entry {last}")
            }
            Self::BadSnapshot(last) => write!(
                f,
                "the snapshot, which ends at {last}, and the log do not go together"
            ),
            Self::BadMembership(at) => write!(
                f,
                "a membership is said to stand at {at}, where the log has none"
            ),
            Self::NoMembership => {
                f.write_str("neither the log nor what it starts from holds a membership")
            }
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster(cluster) => {
                write!(f, "the envelope is of another cluster: {cluster:?}")
            }
            Self::OtherNode(node) => write!(f, "the envelope is for node {node}"),
            Self::OtherIncarnation(incarnation) => write!(
                f,
                "the envelope is for this node's number in another incarnation, {:x}",
                incarnation.0
            ),
            Self::FromSelf => f.write_str("the envelope claims to come from this node"),
            Self::Malformed => {
                f.write_str("the envelope's fields contradict each other, or are out of range")
            }
            Self::TwoLeadersSameTerm(term) => write!(f, "two nodes claim to lead term {term}"),
            Self::AckBeyondLog(index) => {
                write!(f, "an entry that never was is acknowledged: {index}")
            }
            Self::CommittedConflict(index) => {
                write!(f, "entry {index} is committed and would be overwritten")
            }
            Self::StaleBoot => f.write_str("the sender has been restarted since"),
        }
    }
}

fn not_leader(f: &mut fmt::Formatter<'_>, leader: Option<NodeId>) -> fmt::Result {
    match leader {
        Some(node) => write!(f, "this node does not lead; node {node} does"),
        None => f.write_str("this node does not lead, and knows of no leader"),
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => not_leader(f, *leader),
            Self::Busy => f.write_str("too many bytes wait to be committed; try again soon"),
            Self::Transferring => f.write_str(HANDING_OVER),
            Self::Full => f.write_str("the disk is full, here or on too many voters"),
            Self::BadBatch => {
                f.write_str(
                "the batch is empty, has a command over `command_bytes_max`, or several that weigh more together than \
                 `uncommitted_bytes_max`",
            )
            }
        }
    }
}

const HANDING_OVER: &str = "this leader is handing over; try again soon";

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => not_leader(f, *leader),
            Self::ReplacesMajority => f.write_str(
                "too many voters would be replaced at once: those that are left would be no majority of the old ones; replace one \
                 after the other",
            ),
            Self::Transferring => f.write_str(HANDING_OVER),
            Self::NotReady => {
                f.write_str("this leader has committed nothing in its term yet; try again soon")
            }
            Self::UnderWay { at } => {
                write!(
                    f,
                    "the change at {at} is still under way; try again when it is committed"
                )
            }
            Self::Stale { actual } => write!(
                f,
                "the membership has changed: it stands in {actual} now; look at it and try again"
            ),
            Self::NoChange => f.write_str("the membership is as wished already"),
            Self::NodeTaken(member) => write!(
                f,
                "node {} is a member as {member}; remove that one in the same change to replace it",
                member.node
            ),
            Self::UnknownMember(member) => write!(f, "{member} is not a member"),
            Self::NotCaughtUp(member) => write!(
                f,
                "{member} has not caught up, and cannot vote yet; add it as a learner, to be promoted"
            ),
            Self::ReplacesLeader => f.write_str(
                "the leader's own number would go to another incarnation; transfer the lead first",
            ),
            Self::Membership(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => not_leader(f, *leader),
            Self::LeadsAlready => f.write_str("this node leads already"),
            Self::UnknownNode(node) => write!(f, "node {node} is not a member"),
            Self::NotAVoter(node) => write!(f, "node {node} has no vote, or is losing it"),
            Self::NoTarget => f.write_str("no other voter answers"),
            Self::UnderWay { to } => write!(f, "a transfer to {to} is under way"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader } => not_leader(f, *leader),
            Self::Busy => f.write_str("too many reads wait; try again soon"),
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownJob(job) => write!(f, "job {job} was answered, but is not outstanding"),
            Self::UnknownSnapshot(last) => write!(
                f,
                "a snapshot at {last} was answered, but was not asked for"
            ),
            Self::UnknownApply(index) => write!(
                f,
                "index {index} was answered as applied, but was not handed out"
            ),
        }
    }
}

impl core::error::Error for StartError {}
impl core::error::Error for RecoverError {}
impl core::error::Error for Rejected {}
impl core::error::Error for ProposeError {}
impl core::error::Error for ChangeError {}
impl core::error::Error for TransferError {}
impl core::error::Error for ReadError {}
impl core::error::Error for AnswerError {}
