//! What an operator asks for.

use alloc::vec::Vec;

use crate::change::Seat;
use crate::membership::Membership;
use crate::progress::{Mode, Progress};
use crate::raft::Raft;
use crate::role::{Role, RoleName};
use crate::types::{Identity, Index, LogId, MemberId, NodeId, Term};

/// A picture of one node's core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Its role.
    pub role: RoleName,
    /// Its current term.
    pub term: Term,
    /// Whom it voted for in it.
    pub voted_for: Option<MemberId>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The first entry of its log: what lies in front of it, only the snapshot has.
    pub first: Index,
    /// Its last entry.
    pub last: LogId,
    /// Where its newest durable snapshot ends; [`LogId::ZERO`] when it has none.
    pub snapshot: LogId,
    /// Where the snapshot ends that its driver is taking, if it is.
    pub taking: Option<LogId>,
    /// Where the snapshot ends that its state machine is being replaced with, if it is.
    pub installing: Option<LogId>,
    /// Up to where its log is durable.
    pub durable: Index,
    /// Up to where it knows the log to be committed.
    pub commit: Index,
    /// Up to where its state machine has answered.
    pub applied: Index,
    /// The membership in force.
    pub membership: Membership,
    /// What this node is in it; none when it is no member, or was told that a committed membership does not hold it
    /// ([`Event::Removed`](crate::Event::Removed)).
    pub seat: Option<Seat>,
    /// The entry that the membership stands in.
    pub membership_at: LogId,
    /// Whether it is known to be committed. One change at a time: while it is not, or is joint, none is taken.
    pub membership_committed: bool,
    /// On a leader that hands over, to whom.
    pub transfer_to: Option<NodeId>,
    /// How many bytes of entries are kept in memory.
    pub tail_bytes: usize,
    /// Whether its disk has no room for commands, as its driver said.
    pub full: bool,
    /// How many jobs were handed to the disk and not answered.
    pub jobs: usize,
    /// How many envelopes wait for the disk.
    pub withheld: usize,
    /// How many proposals it has taken whose outcome is open.
    pub open_proposals: usize,
    /// How many bytes these weigh, of [`Config::uncommitted_bytes_max`](crate::Config::uncommitted_bytes_max).
    pub open_bytes: usize,
    /// How many reads it has taken that are not answered; on a leader, those that other members wait for too.
    pub open_reads: usize,
    /// On a leader, what it knows of every other member, and of former members that are still to learn that they are none; empty
    /// elsewhere.
    pub peers: Vec<PeerStatus>,
}

/// How a peer is being sent entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One append at a time, to find where the logs agree.
    Probe,
    /// Append after append, up to the window.
    Replicate,
    /// It is sent the snapshot that ends at this index, and no entries meanwhile. How far it has come, its transfer knows.
    Snapshot(Index),
}

impl PeerState {
    /// As an operator reads it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Replicate => "replicate",
            Self::Snapshot(_) => "snapshot",
        }
    }
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub member: MemberId,
    /// Up to where its log is known to be the leader's, durably.
    pub matched: Index,
    /// The next entry to send it.
    pub next: Index,
    /// How it is being sent entries.
    pub state: PeerState,
    /// How many appends are on their way to it unanswered, of [`Config::inflight_appends_max`](crate::Config::inflight_appends_max).
    pub inflight_appends: usize,
    /// How many bytes of entries these hold, of [`Config::inflight_bytes_max`](crate::Config::inflight_bytes_max).
    pub inflight_bytes: usize,
    /// Whether it said last that its disk has no room for commands.
    pub full: bool,
    /// Ticks since it last answered in this term; none when it never has.
    pub silent_ticks: Option<u64>,
}

impl Raft {
    fn seat(&self) -> Option<Seat> {
        let (me, membership) = (self.me(), self.membership());
        if !self.may_belong() || !membership.contains(me) {
            return None;
        }
        let promote = membership
            .member(me.node)
            .is_some_and(|member| member.promote);
        Some(match membership.is_voter(me) {
            true => Seat::Voter,
            false if promote => Seat::Promotable,
            false => Seat::Learner,
        })
    }

    /// A picture of this node.
    #[must_use]
    pub fn status(&self) -> Status {
        let last = self.log.last();
        let leadership = match &self.role {
            Role::Leader(leadership) => Some(leadership),
            _ => None,
        };
        Status {
            identity: self.identity,
            role: self.role_name(),
            term: self.term,
            voted_for: self.voted_for,
            leader: self.leader_node(),
            first: self.log.base().index.next(),
            last,
            snapshot: self
                .snapshots
                .durable
                .as_ref()
                .map_or(LogId::ZERO, |snapshot| snapshot.last),
            taking: self.snapshots.taking(),
            installing: self.snapshots.installing(),
            durable: self.journal.durable_index(last.index),
            commit: self.commit,
            applied: self.apply.applied,
            membership: self.membership().clone(),
            seat: self.seat(),
            membership_at: self.memberships.current_at(),
            membership_committed: self.memberships.current_at().index <= self.commit,
            transfer_to: leadership
                .and_then(|leadership| leadership.transfer)
                .map(|transfer| transfer.to.node),
            tail_bytes: self.log.tail_bytes(),
            full: self.full,
            jobs: self.journal.under_way(),
            withheld: self.outbox.held_count(),
            open_proposals: leadership.map_or(0, |leadership| leadership.open.len()),
            open_bytes: leadership.map_or(0, |leadership| leadership.open_bytes),
            open_reads: self.forwarded.count()
                + leadership.map_or(0, |leadership| leadership.reads.count()),
            peers: leadership.map_or_else(Vec::new, |leadership| {
                let peers = leadership.peers.values();
                peers.map(|peer| peer_status(peer, self.now)).collect()
            }),
        }
    }
}

fn peer_status(peer: &Progress, now: u64) -> PeerStatus {
    let (inflight_appends, inflight_bytes) = peer.in_flight();
    PeerStatus {
        member: peer.member,
        matched: peer.matched,
        next: peer.next,
        state: match peer.mode {
            Mode::Probe(_) => PeerState::Probe,
            Mode::Stream => PeerState::Replicate,
            Mode::Snapshot { last, .. } => PeerState::Snapshot(last),
        },
        inflight_appends,
        inflight_bytes,
        full: peer.full,
        silent_ticks: peer.heard.then(|| now.saturating_sub(peer.heard_at)),
    }
}
