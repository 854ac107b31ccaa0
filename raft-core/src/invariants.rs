//! The safety properties (paper fig. 3, thesis fig. 3.2), as far as one node can see them, checked around every input, in release
//! too. A broken one is a bug of this crate, and nothing it would do next could be trusted: it panics.
//!
//! An input that can change only some of what is looked at is checked for that; with debug assertions on, for everything all the same.

use crate::message::{AppendResult, Envelope, Message};
use crate::mutants::asserts;
use crate::raft::Raft;
use crate::role::{Leadership, Role};
use crate::types::{Index, LogId, MemberId, Term};

/// What the state was when it was checked last: before the input that is checked now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checked {
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

impl Checked {
    pub(crate) fn of(raft: &Raft) -> Self {
        Self {
            term: raft.term,
            voted_for: raft.voted_for,
            commit: raft.commit,
            applied: raft.apply.applied,
            base: raft.log.base(),
            last: raft.log.last(),
            membership_at: raft.memberships.current_at(),
            peers: peers(raft),
        }
    }
}

fn peers(raft: &Raft) -> Option<usize> {
    match &raft.role {
        Role::Leader(leadership) => Some(leadership.peers.len()),
        _ => None,
    }
}

/// Checks the step from what was checked last. Everything here costs O(1) in the log, and in the peers unless there are others.
pub(crate) fn check(raft: &mut Raft) {
    if asserts() {
        check_step(&raft.checked, raft);
    }
    // Field by field: this is done around every input, and mostly few of them have changed.
    if raft.checked.voted_for != raft.voted_for {
        raft.checked.voted_for = raft.voted_for;
    }
    raft.checked.term = raft.term;
    raft.checked.commit = raft.commit;
    raft.checked.applied = raft.apply.applied;
    raft.checked.base = raft.log.base();
    raft.checked.last = raft.log.last();
    raft.checked.membership_at = raft.memberships.current_at();
    raft.checked.peers = peers(raft);
}

/// Checks that the state machine has applied no more than it was handed, and goes on. That is all that its answer changes.
pub(crate) fn check_applied(raft: &mut Raft) {
    if asserts() {
        check_apply(&raft.checked, raft);
        debug_check(raft);
    }
    raft.checked.applied = raft.apply.applied;
}

/// Checks that the log of a leader was only appended to, in its term. That is all that a proposal changes of what is checked.
pub(crate) fn check_proposed(raft: &mut Raft) {
    let last = raft.log.last();
    if asserts() {
        check_append_only(&raft.checked, raft);
        assert!(
            last.term <= raft.term,
            "the log holds {last}, beyond term {}",
            raft.term
        );
        debug_check(raft);
    }
    raft.checked.last = last;
}

/// Checks what the making of effects may have changed since the last input, after which all was checked that it may have changed. Mostly it has handed out entries, and
/// no more: it touches neither what is durable nor who is followed, and if it goes as far as to change who leads, the term, the log or
/// the membership, then all is checked.
pub(crate) fn check_made(raft: &mut Raft) {
    if !is_as_checked(raft) {
        check(raft);
    } else if asserts() {
        check_handed(raft);
        debug_check(raft);
    }
}

/// Checks what the answer to a job may have changed: what is durable. If it lets anything go on from there, a lead or a commit, say,
/// or the log is cut, then all is checked.
pub(crate) fn check_persisted(raft: &mut Raft) {
    if !is_as_checked(raft) {
        check(raft);
    } else if asserts() {
        check_snapshots(raft);
        if matches!(raft.role, Role::Leader(_)) {
            check_leader_state(raft);
        }
        debug_check(raft);
    }
}

/// Whether this node leads as it did, and term, log, membership and commit index are what they were when they were checked last.
#[inline(always)]
fn is_as_checked(raft: &Raft) -> bool {
    let before = &raft.checked;
    raft.log.last() == before.last
        && raft.memberships.current_at() == before.membership_at
        && (raft.term, raft.commit) == (before.term, before.commit)
        && raft.log.base() == before.base
        && peers(raft) == before.peers
}

/// Where only a part was checked: a build with debug assertions, as that of the tests and of a part of the simulator's runs, holds that the
/// rest is as good. The search, and the simulator's long runs, are built without.
fn debug_check(raft: &Raft) {
    if cfg!(debug_assertions) {
        check_step(&raft.checked, raft);
    }
}

fn check_apply(before: &Checked, raft: &Raft) {
    assert!(
        raft.apply.applied >= before.applied,
        "the applied index fell"
    );
    assert!(
        raft.apply.applied <= raft.apply.handed,
        "more was applied than handed out"
    );
}

#[inline]
fn check_step(before: &Checked, raft: &Raft) {
    let (base, last) = (raft.log.base(), raft.log.last());
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
    check_apply(before, raft);
    assert!(
        last.term <= raft.term,
        "the log holds {last}, beyond term {}",
        raft.term
    );
    check_handed(raft);
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
    if raft.voted_for != before.voted_for && raft.term == before.term {
        assert!(
            before.voted_for.is_none(),
            "two votes in term {}: {:?} and {:?}",
            raft.term,
            before.voted_for,
            raft.voted_for
        );
    }
    let same_log = base == before.base && last == before.last;
    let same_membership = raft.memberships.current_at() == before.membership_at;
    if !same_log || !same_membership {
        check_membership(raft);
    }
    match &raft.role {
        Role::Leader(leadership) => check_leader(before, raft, leadership, same_log),
        Role::Follower => assert!(raft.leader != Some(raft.me()), "only a leader leads"),
        Role::PreCandidate(_) | Role::Candidate(_) => check_campaign(raft),
    }
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
}

/// Only what is committed is handed out; and what a snapshot stands in for is not needed any more.
#[inline(always)]
fn check_handed(raft: &Raft) {
    assert!(
        raft.apply.handed <= raft.commit,
        "{} was handed out, only {} is committed",
        raft.apply.handed,
        raft.commit
    );
    assert!(
        raft.apply.applied <= raft.apply.handed,
        "{} was applied, and only {} is handed out",
        raft.apply.applied,
        raft.apply.handed
    );
    assert!(
        raft.apply.handed >= raft.log.base().index || raft.snapshots.replaces_state(),
        "the state machine is behind the log"
    );
}

/// Leader Append-Only.
#[inline(always)]
fn check_append_only(before: &Checked, raft: &Raft) {
    assert!(
        raft.log.contains(before.last),
        "a leader overwrote {} of its own log",
        before.last
    );
}

/// The membership in force is the newest in the log (thesis §4.1).
#[inline(never)]
fn check_membership(raft: &Raft) {
    let at = raft.memberships.current_at();
    assert!(
        at.index <= raft.log.base().index || raft.log.contains(at),
        "the membership in force stands in {at}, which the log does not hold"
    );
}

/// Only who votes in a membership that may count campaigns.
#[inline(never)]
fn check_campaign(raft: &Raft) {
    assert!(raft.may_campaign(), "a node without a vote campaigns");
    match &raft.role {
        Role::Candidate(_) => assert!(
            raft.voted_for == Some(raft.me()),
            "a candidate voted for itself"
        ),
        _ => assert!(raft.leader != Some(raft.me()), "only a leader leads"),
    }
}

/// What holds only of a leader.
#[inline(never)]
fn check_leader(before: &Checked, raft: &Raft, leadership: &Leadership, same_log: bool) {
    let me = raft.me();
    assert!(raft.voted_for == Some(me), "a leader voted for itself");
    check_leader_state(raft);
    assert!(raft.leader == Some(me), "a leader knows who leads");
    if before.peers.is_some() && before.term == raft.term && !same_log {
        check_append_only(before, raft);
    }
    let at = raft.memberships.current_at();
    // One membership at a time is open, but for those that were when it began to lead.
    let uncommitted = raft.memberships.uncommitted(raft.commit);
    assert!(
        uncommitted <= 1 || raft.commit < leadership.term_start,
        "a leader has {uncommitted} memberships that are not committed"
    );
    // Beyond that each peer is checked where it changes: the log of a leader only grows.
    if before.peers != Some(leadership.peers.len()) || at != before.membership_at {
        check_peers(raft, leadership);
    }
    if let Some(transfer) = leadership.transfer {
        let to = transfer.to.node;
        assert!(
            to != me.node && raft.membership().voters().contains(&to),
            "the lead goes to one that has no vote"
        );
    }
}

#[inline(always)]
fn check_leader_state(raft: &Raft) {
    assert!(
        raft.durable_state == (raft.term, raft.voted_for),
        "a leader's term and vote are durable"
    );
}

#[inline(never)]
fn check_peers(raft: &Raft, leadership: &Leadership) {
    let (me, last) = (raft.me().node, raft.log.last());
    let known = |(id, _): (MemberId, _)| {
        id.node == me || (leadership.peers.get(&id.node)).is_some_and(|p| p.member == id)
    };
    assert!(
        raft.membership().members().all(known),
        "a leader knows nothing of a member"
    );
    for peer in leadership.peers.values() {
        peer.check(last.index);
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
