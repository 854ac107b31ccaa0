//! What the core asks of its driver.

use crate::entries::Entries;
use crate::message::Envelope;
use crate::role::RoleName;
use crate::snapshot::Snapshot;
use crate::types::{Boot, HardState, Index, JobId, LogId, MemberId, NodeId, Term};

/// A proposal's name. Ids of one batch are consecutive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId {
    /// The life of the node that took it.
    pub boot: Boot,
    /// Counted within it.
    pub number: u64,
}

/// The names of a batch of proposals: `first`, and the `count - 1` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProposalIds {
    /// The first one's.
    pub first: ProposalId,
    /// How many.
    pub count: u64,
}

impl ProposalIds {
    /// Each of them, in the order of the batch.
    pub fn iter(&self) -> impl Iterator<Item = ProposalId> + use<> {
        let first = self.first;
        (0..self.count).map(move |i| ProposalId {
            boot: first.boot,
            number: first.number + i,
        })
    }
}

/// A read's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId {
    /// The life of the node that took it.
    pub boot: Boot,
    /// Counted within it.
    pub number: u64,
}

/// One thing for the driver to do. Those that name a job or an id want an answer that names it.
///
/// All of them are listed to the compiler: a driver that matches each by name learns of a new one when it is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "an effect that is dropped is an order that is not carried out"]
pub enum Effect {
    /// Send this. It is always safe to send now, in any order, twice, or to lose. The addressee need not be in this node's membership:
    /// see [the front page](crate#what-the-driver-promises).
    Send(Envelope),
    /// Write this, whole or not at all; answer with [`Raft::persisted`](crate::Raft::persisted).
    Persist(PersistJob),
    /// Apply these to the state machine, in order; answer with [`Raft::applied`](crate::Raft::applied).
    Apply(ApplyJob),
    /// Read these from the log; answer with [`Raft::fetched`](crate::Raft::fetched).
    FetchLog(FetchJob),
    /// Take a snapshot of the state machine as it is after the [`Effect::Apply`] before this, and before the next; when it is
    /// durable, or cannot be made, answer with [`Raft::snapshot_taken`](crate::Raft::snapshot_taken). Applying may go on meanwhile.
    /// Asked for only if [`Config::snapshots`](crate::Config::snapshots) is set.
    TakeSnapshot(Snapshot),
    /// Bring the newest snapshot, which this [`Message::SnapshotRequest`](crate::Message::SnapshotRequest) describes, to the
    /// envelope's addressee, and this envelope once it is there whole. Open its file at once: a later job may mark a newer
    /// snapshot, and take this one's place. When that is done, or has failed, answer with
    /// [`Raft::snapshot_sent`](crate::Raft::snapshot_sent). Others are served meanwhile.
    SendSnapshot(Envelope),
    /// Replace the state machine with this snapshot, which was received, is durable, and is marked in the log. It comes in the
    /// order of [`Effect::Apply`]: nothing is applied until it is answered with
    /// [`Raft::snapshot_installed`](crate::Raft::snapshot_installed). Open its file at once, as with [`Effect::SendSnapshot`].
    InstallSnapshot(Snapshot),
    /// The log is no longer needed up to this entry, and including it: a durable snapshot stands in for it. Drop it when
    /// convenient, or only some of it; nothing waits for that.
    CutLog {
        /// The last entry that may go. If it is the last that went, it is [`Recovered::base`](crate::Recovered::base) from then on.
        up_to: LogId,
    },
    /// The state machine, as it is now, answers this read linearizably (thesis §6.4).
    ReadReady(ReadId),
    /// This read must be asked again, of whoever leads now.
    ReadFailed(ReadId),
    /// What became of a proposal. Exactly one for each, and before the [`Effect::Apply`] that holds it.
    Outcome(ProposalId, Outcome),
    /// Something worth telling a person. Nothing needs to be done.
    Event(Event),
}

/// What must become durable, as one unit: all of it, or nothing. Applied in the order of the fields.
///
/// Neighbouring jobs may be merged into one write. A job's number covers all jobs before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersistJob {
    /// Its number, one higher than the last job's.
    pub id: JobId,
    /// The hard state to store, when it has changed.
    pub hard_state: Option<HardState>,
    /// Mark this snapshot, whose file is durable: a recovery starts from it, and not from an older one. If the log holds the entry
    /// that it ends with, all entries stay; else all of them go, and the log begins behind it.
    pub snapshot: Option<Snapshot>,
    /// Cut the log: this index and all after it go.
    pub truncate_from: Option<Index>,
    /// Append these; the first stands right behind what is left.
    pub entries: Entries,
}

/// Entries that are committed, and durable here: contiguous, each handed out once in a life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApplyJob {
    /// What to apply; no-ops and memberships included, so that the state machine's applied index has no gaps.
    pub entries: Entries,
}

/// A part of the log that the core no longer holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FetchJob {
    /// Its number.
    pub id: FetchId,
    /// The first entry wanted.
    pub from: Index,
    /// The last entry wanted; fewer, but at least one, may be given.
    pub to: Index,
    /// Stop after about so many bytes of payload, though never before the first entry.
    pub bytes_max: usize,
}

/// The number of a [`FetchJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It stands in the log here, for good.
    Committed(LogId),
    /// This node led no longer before it knew. It may be committed yet, or never.
    Unknown,
}

/// Something worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// This node's role, term or known leader has changed.
    RoleChanged {
        /// The term.
        term: Term,
        /// What it is now.
        role: RoleName,
        /// Who leads, as far as it knows.
        leader: Option<NodeId>,
    },
    /// A leader heard from no majority for an election timeout, and stepped down (thesis §6.2).
    QuorumLost {
        /// The term that it led.
        term: Term,
    },
    /// A leader whose disk is full stepped down, so that a voter that has room can lead.
    StorageFull {
        /// The term that it led.
        term: Term,
    },
    /// The oldest write has been under way for too long; a leader steps down, so that one with a working disk can lead.
    DiskStalled {
        /// The oldest job that is not durable.
        job: JobId,
    },
    /// A node returned under an incarnation that the membership does not know: it lost its disk, or has another's. It does not
    /// count.
    PeerLostLog {
        /// The member that stands in the membership.
        member: MemberId,
        /// Who spoke in its place.
        now: MemberId,
    },
    /// A peer contradicted the protocol; nothing it said was used.
    PeerBroken {
        /// The peer.
        member: MemberId,
        /// How.
        why: crate::error::Rejected,
    },
    /// More time passed at once than two heartbeat intervals: the process stood still. The rest is not counted towards an election.
    Paused {
        /// How many ticks came at once.
        elapsed_ticks: u32,
    },
    /// A new membership is committed. Also when a joint one is left, and when a learner that caught up has become a voter: nobody
    /// proposed those, and so no [`Outcome`] tells of them.
    MembershipCommitted {
        /// Its entry.
        at: LogId,
    },
    /// A committed membership does not hold this node any more. It campaigns no longer; what it has on disk stays, and it goes on serving
    /// whoever asks. Its process may be stopped at any time; if it led, better after the [`Event::RoleChanged`] that follows, for it
    /// hands over first. Told once in a life. Mostly its own log says so: then, after a restart, it is a [`RoleName::Learner`] that
    /// [`Raft::membership`](crate::Raft::membership) does not hold. If other members said so, and its log lacks that entry, it asks again
    /// after a restart.
    Removed {
        /// The membership's entry.
        at: LogId,
    },
    /// This leader hands over, and takes no proposals meanwhile.
    TransferStarted {
        /// To whom.
        to: MemberId,
    },
    /// A transfer came to nothing.
    TransferAborted {
        /// To whom it was.
        to: MemberId,
        /// Why.
        why: AbortReason,
    },
}

/// Why a transfer of the lead came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AbortReason {
    /// The target did not take over within an election timeout; proposals are taken again.
    TimedOut,
    /// This node led no longer before the target was told.
    SteppedDown,
}
