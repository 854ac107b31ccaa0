//! The safety properties of the whole cluster, seen from outside: over all nodes, all lives and all disks.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{
    AppendResult, Entry, Envelope, Index, LogId, MemberId, Membership, Message, NodeId, Outcome,
    Payload, RoleName, Snapshot, Term,
};

use super::Node;

/// What must never change once it was seen.
#[derive(Default)]
pub struct Checker {
    /// I1: who led each term.
    leaders: BTreeMap<Term, u64>,
    /// I13: whom each node voted for, in each term, over all its lives.
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// I5, I6: what is committed at each index.
    committed: BTreeMap<Index, Entry>,
    /// I8: term, commit and applied of each node in this life.
    seen: BTreeMap<u64, (Term, Index, Index)>,
    /// What each node was after its last step.
    roles: BTreeMap<u64, RoleName>,
    /// I4: which leaderships were checked to hold everything committed before them.
    complete: BTreeMap<Term, ()>,
    /// I14: what was committed anywhere when a read came in.
    reads: BTreeMap<(u64, u64), Index>,
    /// S-M14: proposals that are open, by node and number, and the places that were told since the last look.
    open: BTreeSet<(u64, u64)>,
    told: Vec<LogId>,
    /// What each node's membership was after its last step.
    memberships: BTreeMap<u64, Membership>,
    /// I11: the newest committed membership.
    configuration: Option<Membership>,
    pub elections: u64,
    pub commits: u64,
    /// How many snapshots were taken, and installed.
    pub taken: u64,
    pub installed: u64,
    /// How many memberships were committed, and how many campaigns were begun for a transfer.
    pub changes: u64,
    pub handed_over: u64,
}

impl Checker {
    /// A node's life has ended: its term and commit index may be behind when it returns, its votes may not.
    pub fn forget(&mut self, id: u64) {
        self.seen.remove(&id);
        self.roles.remove(&id);
        self.memberships.remove(&id);
        self.reads.retain(|&(node, _), _| node != id);
        self.open.retain(|&(node, _)| node != id);
    }

    /// I12, I13: what leaves is on disk.
    pub fn check_send(&mut self, node: &Node, envelope: &Envelope) {
        let state = node.disk.hard_state;
        assert!(
            state.term >= envelope.term,
            "n{}: term {} leaves, {} is on disk",
            node.id,
            envelope.term,
            state.term
        );
        let vote = match &envelope.message {
            Message::VoteResponse { granted: true, .. } => Some(envelope.to),
            Message::VoteRequest { .. } => Some(node.member()),
            _ => None,
        };
        if let Some(vote) = vote {
            assert!(
                state.term > envelope.term || state.voted_for == Some(vote),
                "n{}: a vote leaves that is not on disk",
                node.id
            );
            let voter = (node.member(), envelope.term);
            let before = *self.votes.entry(voter).or_insert(vote);
            assert_eq!(
                before, vote,
                "n{} votes twice in term {}",
                node.id, envelope.term
            );
        }
        if let Message::VoteRequest { transfer: true, .. } = envelope.message {
            self.handed_over += 1;
        }
        let matched = match envelope.message {
            Message::AppendResponse {
                result: AppendResult::Matched(index) | AppendResult::Full(index),
                ..
            } => Some(index),
            Message::HeartbeatResponse { matched, .. } => Some(matched),
            _ => None,
        };
        if let Some(matched) = matched {
            let on_disk = node.disk.last();
            assert!(
                matched.0 <= on_disk,
                "n{}: {matched} is acknowledged, {on_disk} is on disk",
                node.id
            );
        }
    }

    /// A snapshot says what it holds: its last entry, and the membership in force there (S-G15, S-G23).
    pub fn check_snapshot(
        id: u64,
        snapshot: &Snapshot,
        content: &[Entry],
        base: Option<&Membership>,
    ) {
        let last = content.last().map(|entry| entry.id);
        assert_eq!(
            last,
            Some(snapshot.last),
            "n{id}: a snapshot of another state"
        );
        let newest = content.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.id, membership)),
            _ => None,
        });
        let newest = newest.or(base.map(|base| (LogId::ZERO, base)));
        assert_eq!(newest, Some((snapshot.membership_at, &snapshot.membership)));
    }

    /// I5: every node applies the same.
    pub fn check_apply(&mut self, id: u64, entries: &[Entry]) {
        for entry in entries {
            let committed = self.committed.get(&entry.id.index);
            assert!(
                committed.is_none_or(|committed| committed == entry),
                "n{id} applies {} where {committed:?} is committed",
                entry.id
            );
        }
    }

    /// A proposal was taken.
    pub fn note_proposal(&mut self, id: u64, number: u64) {
        self.open.insert((id, number));
    }

    /// S-M14: each proposal ends once. (What is told to be committed is looked at after the step.)
    pub fn check_outcome(&mut self, id: u64, number: u64, outcome: Outcome) {
        let open = self.open.remove(&(id, number));
        assert!(open, "n{id}: proposal {number} ends, and is not open");
        if let Outcome::Committed(at) = outcome {
            self.told.push(at);
        }
    }

    pub fn note_read(&mut self, id: u64, read: u64) {
        let committed = self
            .committed
            .last_key_value()
            .map_or(Index::ZERO, |(&index, _)| index);
        self.reads.insert((id, read), committed);
    }

    /// I14: a read sees all that was committed when it came in.
    pub fn check_read(&mut self, id: u64, read: u64, applied: Index) {
        if let Some(committed) = self.reads.remove(&(id, read)) {
            assert!(
                applied >= committed,
                "n{id}: read {read} is stale: {applied} is applied, {committed} was committed"
            );
        }
    }

    /// After each step of a node.
    pub fn check_node(&mut self, id: u64, nodes: &BTreeMap<u64, Node>) {
        let node = &nodes[&id];
        let Some(raft) = &node.raft else { return };
        let status = raft.status();
        let before = self
            .seen
            .insert(id, (status.term, status.commit, status.applied));
        let (term, commit, applied) = before.unwrap_or_default();
        assert!(
            status.term >= term && status.commit >= commit && status.applied >= applied,
            "n{id} went back"
        );
        assert!(
            status.applied <= status.commit && status.commit <= status.last.index,
            "n{id}: applied, commit, last out of order"
        );
        // S-A6: whoever leads was a candidate, and a leader becomes a follower before it is anything else. (Several inputs may
        // have gone in since the last look, but none that campaigns: that takes a tick.)
        let was = self.roles.insert(id, status.role);
        if was == Some(RoleName::Leader) {
            let campaigns = matches!(status.role, RoleName::PreCandidate | RoleName::Candidate);
            assert!(!campaigns, "n{id} led, and campaigns");
        }
        if status.role == RoleName::Leader {
            self.check_leader(node, nodes, status.term, status.commit, commit);
        }
        self.note_committed(node, status.commit);
        for at in std::mem::take(&mut self.told) {
            let there = self.committed.get(&at.index).map(|entry| entry.id);
            assert_eq!(there, Some(at), "n{id} tells an outcome that is not so");
        }
        let open = self.open.iter().any(|&(node, _)| node == id);
        assert!(
            !open || status.role == RoleName::Leader,
            "n{id} does not lead, and owes outcomes"
        );
        self.memberships.insert(id, status.membership);
    }

    fn check_leader(
        &mut self,
        node: &Node,
        nodes: &BTreeMap<u64, Node>,
        term: Term,
        commit: Index,
        before: Index,
    ) {
        let leader = *self.leaders.entry(term).or_insert_with(|| {
            self.elections += 1;
            node.id
        });
        assert_eq!(leader, node.id, "two leaders in term {term}");
        let status = node.raft.as_ref().unwrap().status();
        // I7: what a leader commits is on a majority of its voters' disks, of both halves when joint. In one step it may commit under one
        // membership and go on to the next.
        let mut deciding: Vec<Membership> = self
            .memberships
            .get(&node.id)
            .cloned()
            .into_iter()
            .collect();
        if commit > before {
            let entries = (before.0 + 1..=commit.0).map(|index| entry_at(node, index));
            deciding.extend(entries.filter_map(|entry| match entry.payload {
                Payload::Membership(membership) => Some(membership),
                _ => None,
            }));
        }
        deciding.push(status.membership.clone());
        for index in before.0 + 1..=commit.0 {
            if self.committed.contains_key(&Index(index)) {
                continue;
            }
            let entry = entry_at(node, index);
            let holds = |member: MemberId| {
                let holder = nodes.get(&member.node.0);
                holder.is_some_and(|n| n.member() == member && n.disk.holds(entry.id))
            };
            assert!(
                deciding.iter().any(|membership| decides(membership, holds)),
                "n{}: {} is committed without a majority of the disks, under {deciding:?}",
                node.id,
                entry.id,
            );
        }
        // I4: a new leader has all that was committed before.
        if self.complete.insert(term, ()).is_none() {
            for entry in self.committed.values().filter(|entry| entry.id.term < term) {
                assert!(
                    has(node, entry.id, status.last),
                    "n{} leads term {term} without {}",
                    node.id,
                    entry.id
                );
            }
        }
        // I9.
        for peer in &status.peers {
            assert!(
                peer.matched < peer.next,
                "n{}: match and next of {}",
                node.id,
                peer.member
            );
        }
    }

    /// I6: what is committed stays so.
    fn note_committed(&mut self, node: &Node, commit: Index) {
        let known = self
            .committed
            .last_key_value()
            .map_or(0, |(index, _)| index.0);
        for index in known + 1..=commit.0 {
            self.commits += 1;
            let entry = entry_at(node, index);
            self.changes += u64::from(matches!(entry.payload, Payload::Membership(_)));
            if let Payload::Membership(next) = &entry.payload
                && let Some(before) = self.configuration.replace(next.clone())
            {
                check_neighbours(&before, next);
            }
            self.committed.insert(Index(index), entry);
        }
    }

    /// I11: the membership in force is the newest in the log, whatever was appended, cut, and read back.
    pub fn check_memberships(nodes: &BTreeMap<u64, Node>) {
        for node in nodes.values() {
            let Some(raft) = &node.raft else { continue };
            let mut disk = node.disk.clone();
            node.jobs.iter().for_each(|job| disk.write(job));
            let newest = disk
                .log
                .iter()
                .rev()
                .find_map(|entry| match &entry.payload {
                    Payload::Membership(membership) => Some((entry.id, membership)),
                    _ => None,
                });
            let snapshot = disk.snapshot.as_ref();
            let covered = snapshot.map(|snapshot| (snapshot.membership_at, &snapshot.membership));
            let status = raft.status();
            match newest.or(covered) {
                Some((at, membership)) => {
                    assert_eq!(status.membership_at, at, "n{}", node.id);
                    assert_eq!(&status.membership, membership, "n{}", node.id);
                }
                None => assert_eq!(status.membership_at, LogId::ZERO, "n{}", node.id),
            }
        }
    }

    /// What is committed, as far as any node has known it.
    pub fn committed(&self) -> impl Iterator<Item = &Entry> {
        self.committed.values()
    }

    /// I3, over the disks: equal ids mean equal prefixes.
    pub fn check_log_matching(nodes: &BTreeMap<u64, Node>) {
        let disks: Vec<_> = nodes.values().map(|node| &node.disk).collect();
        for (i, a) in disks.iter().enumerate() {
            for b in &disks[..i] {
                let both = |at: &u64| a.entry(*at).zip(b.entry(*at));
                let same = |at: &u64| both(at).is_some_and(|(a, b)| a.id == b.id);
                let agree = (1..=a.last().min(b.last())).rev().find(same);
                for at in 1..=agree.unwrap_or(0) {
                    let differ = both(&at).is_some_and(|(a, b)| a != b);
                    assert!(!differ, "two logs agree at {agree:?} and differ at {at}");
                }
            }
        }
    }
}

/// The voters of each half, incarnation included.
fn halves(membership: &Membership) -> Vec<Vec<MemberId>> {
    let id = |node: &NodeId| MemberId {
        node: *node,
        incarnation: membership.member(*node).unwrap().incarnation,
    };
    let mut halves = vec![membership.voters().iter().map(id).collect()];
    if membership.is_joint() {
        let old = membership.outgoing().iter().map(id);
        let mut old: Vec<MemberId> = old.chain(membership.replaced().iter().copied()).collect();
        old.sort_unstable();
        halves.push(old);
    }
    halves
}

fn decides(membership: &Membership, holds: impl Fn(MemberId) -> bool) -> bool {
    halves(membership)
        .iter()
        .all(|half| 2 * half.iter().filter(|&&id| holds(id)).count() > half.len())
}

/// I11: majorities of neighbouring memberships meet.
fn check_neighbours(before: &Membership, next: &Membership) {
    let (a, b) = (halves(before), halves(next));
    let good = match (a.as_slice(), b.as_slice()) {
        ([old], [new]) => old == new,
        ([old], [_, outgoing]) => old == outgoing,
        ([new, _], [left]) => new == left,
        _ => false,
    };
    assert!(good, "from {before:?} to {next:?}");
}

/// An entry of a node's log, be it on disk or on its way there.
fn entry_at(node: &Node, index: u64) -> Entry {
    let mut disk = node.disk.clone();
    node.jobs.iter().for_each(|job| disk.write(job));
    disk.entry(index)
        .cloned()
        .unwrap_or_else(|| panic!("n{} committed {index}, and does not have it", node.id))
}

fn has(node: &Node, id: LogId, last: LogId) -> bool {
    // The no-op of the new term may not be in a job yet; everything before it is.
    id.index <= last.index && entry_at(node, id.index.0).id == id
}
