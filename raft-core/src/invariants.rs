//! The safety properties (paper fig. 3, thesis fig. 3.2), as far as one node can see them, checked around every input, in release
//! too. A broken one is a bug of this crate, and nothing it would do next could be trusted: it panics.

use crate::message::{AppendResult, Envelope, Message};
use crate::mutants::asserts;
use crate::raft::Raft;
use crate::role::Role;
use crate::types::{Index, LogId, MemberId, Term};

/// What the state was before an input.
#[derive(PartialEq, Eq)]
pub(crate) struct Before {
    term: Term,
    voted_for: Option<MemberId>,
    commit: Index,
    applied: Index,
    base: LogId,
    last: LogId,
    membership_at: LogId,
    /// How many peers a leader knew; none, when it did not lead.
    peers: Option<usize>,
}

impl Before {
    pub(crate) fn of(raft: &Raft) -> Self {
        Self {
            term: raft.term,
            voted_for: raft.voted_for,
            commit: raft.commit,
            applied: raft.apply.applied,
            base: raft.log.base(),
            last: raft.log.last(),
            membership_at: raft.memberships.current_at(),
            peers: match &raft.role {
                Role::Leader(leadership) => Some(leadership.peers.len()),
                _ => None,
            },
        }
    }
}

/// Checks one input's step. Everything here costs O(1) in the log, and O(peers).
pub(crate) fn check(before: &Before, raft: &Raft) {
    if !asserts() {
        return;
    }
    let last = raft.log.last();
    assert!(
        raft.term >= before.term,
        "the term fell from {} to {}",
        before.term,
        raft.term
    );
    assert!(
        raft.commit >= before.commit,
        "the commit index fell from {} to {}",
        before.commit,
        raft.commit
    );
    assert!(
        raft.apply.applied >= before.applied,
        "the applied index fell"
    );
    assert!(
        last.term <= raft.term,
        "the log holds {last}, beyond term {}",
        raft.term
    );
    assert!(
        raft.apply.applied <= raft.apply.handed,
        "more was applied than handed out"
    );
    assert!(
        raft.apply.handed <= raft.commit,
        "{} was handed out, only {} is committed",
        raft.apply.handed,
        raft.commit
    );
    assert!(
        raft.commit <= last.index,
        "{} is committed in a log that ends at {last}",
        raft.commit
    );
    assert!(
        raft.verified <= last.index,
        "{} is verified in a log that ends at {last}",
        raft.verified
    );
    check_snapshots(raft);
    if raft.term == before.term {
        let kept = before.voted_for.is_none() || raft.voted_for == before.voted_for;
        assert!(
            kept,
            "two votes in term {}: {:?} and {:?}",
            raft.term, before.voted_for, raft.voted_for
        );
    }
    check_membership(before, raft);
    check_role(before, raft);
}

/// Cut, snapshot, commit, in this order: nothing is gone that no durable snapshot stands in for.
fn check_snapshots(raft: &Raft) {
    let base = raft.log.base().index;
    let covered = raft
        .snapshots
        .durable
        .as_ref()
        .map_or(Index::ZERO, |snapshot| snapshot.last.index);
    assert!(
        base <= covered || raft.durable_index() < base,
        "the log begins behind {base}, the snapshot ends at {covered}"
    );
    assert!(
        covered <= raft.commit,
        "a snapshot ends at {covered}, only {} is committed",
        raft.commit
    );
    assert!(
        raft.apply.handed >= base || raft.snapshots.replaces_state(),
        "the state machine is behind the log"
    );
}

/// The membership in force is the newest in the log (thesis §4.1), and only who votes in one that may count campaigns or leads.
fn check_membership(before: &Before, raft: &Raft) {
    let at = raft.memberships.current_at();
    let log_is_as_before = (before.base, before.last) == (raft.log.base(), raft.log.last());
    assert!(
        at == before.membership_at && log_is_as_before
            || at.index <= raft.log.base().index
            || raft.log.contains(at),
        "the membership in force stands in {at}, which the log does not hold"
    );
    match &raft.role {
        Role::PreCandidate(_) | Role::Candidate(_) => {
            assert!(raft.may_campaign(), "a node without a vote campaigns");
        }
        Role::Leader(leadership) => {
            let uncommitted = raft.memberships.uncommitted(raft.commit);
            assert!(
                uncommitted <= 1 || raft.commit < leadership.term_start,
                "a leader has {uncommitted} memberships that are not committed"
            );
            let me = raft.me().node;
            let known = |(id, _): (MemberId, _)| {
                id.node == me || (leadership.peers.get(&id.node)).is_some_and(|p| p.member == id)
            };
            let now = (at, Some(leadership.peers.len()));
            assert!(
                now == (before.membership_at, before.peers)
                    || raft.membership().members().all(known),
                "a leader knows nothing of a member"
            );
            assert!(
                leadership.transfer.is_none_or(|transfer| {
                    transfer.to.node != me && raft.membership().voters().contains(&transfer.to.node)
                }),
                "the lead goes to one that has no vote"
            );
        }
        Role::Follower => {}
    }
}

/// What holds only of a leader, a candidate or a follower.
fn check_role(before: &Before, raft: &Raft) {
    let last = raft.log.last();
    match &raft.role {
        Role::Leader(leadership) => {
            assert!(
                raft.voted_for == Some(raft.me()),
                "a leader voted for itself"
            );
            assert!(
                raft.durable_state == (raft.term, raft.voted_for),
                "a leader's term and vote are durable"
            );
            assert!(raft.leader == Some(raft.me()), "a leader knows who leads");
            if before.peers.is_some() && before.term == raft.term {
                // Leader Append-Only.
                assert!(
                    last == before.last || raft.log.contains(before.last),
                    "a leader overwrote {} of its own log",
                    before.last
                );
            }
            for peer in leadership.peers.values() {
                assert!(
                    peer.matched < peer.next,
                    "{}: matched {} and next {}",
                    peer.member,
                    peer.matched,
                    peer.next
                );
                assert!(
                    peer.matched <= last.index,
                    "{} is said to have {} of a log that ends at {last}",
                    peer.member,
                    peer.matched
                );
            }
        }
        Role::Candidate(_) => assert!(
            raft.voted_for == Some(raft.me()),
            "a candidate voted for itself"
        ),
        Role::Follower | Role::PreCandidate(_) => {
            assert!(raft.leader != Some(raft.me()), "only a leader leads");
        }
    }
}

/// Checks, where a leader is about to append a membership, that it may: the one in force is committed, and so is an entry of its
/// own term (thesis §4.1).
pub(crate) fn check_change(raft: &Raft) {
    if !asserts() {
        return;
    }
    let current_at = raft.memberships.current_at();
    assert!(
        current_at.index <= raft.commit,
        "a membership was to follow {current_at}, which is not committed"
    );
    assert!(
        matches!(&raft.role, Role::Leader(leadership) if leadership.term_start <= raft.commit),
        "a membership was to be appended before an entry of the own term is committed"
    );
}

/// Checks, where an envelope is let go, that the disk holds what it says.
pub(crate) fn check_sent(raft: &Raft, envelope: &Envelope) {
    if !asserts() {
        return;
    }
    let (term, vote) = raft.durable_state;
    assert!(
        envelope.term <= term,
        "an envelope of term {} leaves, only {term} is durable",
        envelope.term
    );
    match &envelope.message {
        Message::SnapshotRequest { snapshot, .. } => assert!(
            raft.snapshots.durable.as_ref() == Some(snapshot),
            "a snapshot is sent before it is durable"
        ),
        Message::VoteResponse { granted: true, .. } => {
            assert!(
                (term, vote) == (envelope.term, Some(envelope.to)),
                "a vote leaves before it is durable"
            );
        }
        Message::AppendResponse {
            result: AppendResult::Matched(index) | AppendResult::Full(index),
            ..
        }
        | Message::HeartbeatResponse { matched: index, .. } => {
            assert!(
                *index <= raft.durable_index(),
                "{index} is acknowledged, only {} is durable",
                raft.durable_index()
            );
        }
        _ => {}
    }
}
