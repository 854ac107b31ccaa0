//! What a replica asks of its driver.

use bytes::Bytes;
use raft_core::{
    AnswerError, ClusterId, Envelope, Event, FetchJob, Index, LogId, MemberId, NodeId, Outcome,
    PersistJob, ProposalId, Rejected, RoleName, StartError, Term,
};

use crate::node::formation::{FormationError, FormationMessage, Founders};
use crate::node::machine::{Halt, Image};
use crate::wire::{SnapshotFile, SnapshotHead, Transfer};

/// One thing for the driver to do. `O` is the state machine's output, `W` and `R` are the tickets.
#[derive(Debug)]
#[must_use = "an action that is dropped is an order that is not carried out"]
pub enum Action<O, W, R> {
    /// Send this to the node it is for. It may be lost.
    Send(Envelope),
    /// Send this to a node. It may be lost.
    SendFormation {
        /// To whom.
        to: NodeId,
        /// What.
        message: FormationMessage,
    },
    /// Write this to the log, whole or not at all; answer with [`Replica::persisted`](super::Replica::persisted).
    Persist(PersistJob),
    /// Read these from the log; answer with [`Replica::fetched`](super::Replica::fetched).
    Fetch(FetchJob),
    /// Something about snapshots.
    Snapshot(SnapshotAction),
    /// The log is no longer needed up to this entry, and including it.
    CutLog {
        /// The last that may go.
        up_to: Index,
    },
    /// Where the other nodes are has changed; this is all of them, and may hold this node too.
    Peers(Founders),
    /// The ticket's command is applied here.
    Written {
        /// Whose command it was.
        ticket: W,
        /// Where it stands in the log.
        at: LogId,
        /// What the state machine answered.
        output: O,
    },
    /// What became of a change of the membership.
    Changed {
        /// Its number, as [`Replica::change_membership`](super::Replica::change_membership) returned it.
        id: ProposalId,
        /// The entry of the final membership; or nobody can say.
        outcome: Outcome,
    },
    /// The ticket's command was not applied, or nobody can say.
    WriteFailed {
        /// Whose command it was.
        ticket: W,
        /// Why.
        why: WriteFailure,
    },
    /// The state machine, as it is now, answers this ticket's question. It may be asked
    /// later too: a newer state answers it as well.
    ReadReady(R),
    /// The ticket's question cannot be answered.
    ReadFailed {
        /// Whose question it was.
        ticket: R,
        /// Why.
        why: ReadFailure,
    },
    /// Something for the log of the process.
    Notice(Notice),
    /// The node must stop, now, without acknowledging anything more. The last action.
    Fatal(Fatal),
}

/// One thing to do about snapshots.
#[derive(Debug)]
#[must_use = "an action that is dropped is an order that is not carried out"]
pub enum SnapshotAction {
    /// Do this on a thread of its own.
    Do(SnapshotJob),
    /// Read this snapshot, which is marked in the log, into an [empty](crate::node::StateMachine::empty) state machine, on a thread too; answer
    /// with [`Replica::snapshot_restored`](super::Replica::snapshot_restored). A node that cannot must stop.
    Restore {
        /// Which.
        file: SnapshotFile,
    },
    /// Send this to a node, pieces of files on a connection that holds up nothing else. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Transfer,
    },
    /// The transfer to this node is over.
    Sent {
        /// To whom it was.
        to: NodeId,
    },
}

/// What is done about snapshots' files alone. It may wait for the disk.
#[derive(Debug)]
#[must_use = "a job that is dropped is an order that is not carried out"]
pub enum SnapshotJob {
    /// Write a snapshot: its head, and what the image writes behind it. It may take long; answer with
    /// [`Replica::snapshot_taken`](super::Replica::snapshot_taken) when it is durable, or cannot be.
    Take {
        /// What stands in front.
        head: Box<SnapshotHead>,
        /// The state.
        image: Image,
    },
    /// Read a piece of a snapshot's file for a follower; answer with [`Replica::snapshot_read`](super::Replica::snapshot_read). The file
    /// stays open until [`SnapshotJob::Close`]: it may lose its name meanwhile.
    Read {
        /// For whom.
        to: NodeId,
        /// Which.
        file: SnapshotFile,
        /// Where the piece begins.
        offset: u64,
        /// How long it is, unless the file ends before.
        bytes_max: usize,
    },
    /// Read all of a marked snapshot's file and verify it; answer with [`Replica::snapshot_verified`](super::Replica::snapshot_verified).
    Verify {
        /// Which.
        file: SnapshotFile,
    },
    /// Nobody is sent this file any more.
    Close {
        /// Which.
        file: SnapshotFile,
    },
    /// Write the next piece of a file that is received; one at offset 0 begins it, and takes the place of any other. Answer with
    /// [`Replica::snapshot_written`](super::Replica::snapshot_written), or
    /// [`Replica::snapshot_received`](super::Replica::snapshot_received) when it is the last one, or failed.
    Write {
        /// The cluster that it must be of.
        cluster: ClusterId,
        /// Of which file.
        file: SnapshotFile,
        /// The number of the attempt, to be given with the answer.
        run: u64,
        /// Where the piece stands.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// What was received of this file is of no use any more.
    Discard {
        /// Which.
        file: SnapshotFile,
    },
}

/// Why something was surely not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDone {
    /// The cluster is not formed yet; whom this node waits for.
    NotFormed(String),
    /// This node does not lead.
    NotLeader {
        /// Who does, and where it is, as far as this node knows.
        leader: Option<(NodeId, String)>,
    },
    /// Too much is under way.
    Busy,
    /// No disk has room for it, or those of too few voters.
    Full,
    /// The command is over the limit for one.
    TooLarge,
    /// A change of the membership, or a transfer of the lead, cannot be, or not now; why.
    Refused(String),
    /// The read could not be confirmed, or the index it wanted was not applied in time.
    Failed,
    /// The node is stopping.
    Stopping,
}

/// Why a write has no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteFailure {
    /// It was surely not applied, and never will be.
    Not(NotDone),
    /// It may be applied yet, or never.
    Unknown,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFailure(pub NotDone);

impl From<NotDone> for ReadFailure {
    fn from(why: NotDone) -> Self {
        Self(why)
    }
}

/// What stands in every reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The cluster; unknown while it is not formed.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
    /// Its role.
    pub role: RoleName,
    /// Up to where its state machine has applied.
    pub applied: Index,
}

/// Something for the log of the process. Nothing needs to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The core's.
    Core(Event),
    /// A peer's envelope was not used.
    Rejected {
        /// The peer.
        from: MemberId,
        /// Why.
        why: Rejected,
    },
    /// A follower could not be sent a snapshot. It is tried again, a little later each time.
    SnapshotNotSent {
        /// To whom.
        to: MemberId,
        /// Why, in words.
        why: &'static str,
    },
    /// Another version is in force from now on.
    VersionRaised {
        /// Which.
        version: u16,
    },
    /// The cluster is formed, and this disk holds its first membership.
    Formed {
        /// Its id.
        cluster: ClusterId,
    },
    /// A member came with a new data directory and asks to found the cluster anew. It was told that it cannot.
    /// Once for each such directory.
    Wiped {
        /// As the membership knows it.
        member: MemberId,
        /// As it is now.
        now: MemberId,
    },
}

/// Why a node must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// It cannot take part in the cluster that it found.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The first membership cannot be started with.
    #[error("the first membership cannot be started with: {0}")]
    Bootstrap(StartError),
    /// An entry of the log cannot be applied.
    #[error("this node stops before entry {at}, which it cannot apply: {halt}")]
    Apply {
        /// The entry.
        at: LogId,
        /// Why.
        halt: Halt,
    },
    /// The driver answered what was not asked.
    #[error("the driver is broken: {0}")]
    Answer(AnswerError),
    /// A snapshot is to be installed that was never received.
    #[error(
        "the snapshot of {0} is to be installed, and there is none; start the node again, and if it says so again, take it in anew"
    )]
    NoFile(LogId),
    /// The first snapshot of a restored cluster could not be written.
    #[error(
        "the first snapshot of the restored cluster, at {0}, could not be written; the log of this process says why. What is there is as it was: \
         free space, or mend the disk, then start the node again"
    )]
    NoFoundingSnapshot(LogId),
}
