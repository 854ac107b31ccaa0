//! The memberships that the log holds: which is in force, which may be, and which is committed.
//!
//! Guards: a membership is in force from its append on, and no longer than its entry stands (thesis §4.1).

use alloc::vec::Vec;

use crate::membership::Membership;
use crate::mutants::{Mutant, mutant};
use crate::types::{Index, LogId, MemberId};

/// The memberships that the log holds: what was in force at the last entry handed out to apply, and those after it, the last
/// of which is in force. One takes
/// effect as soon as it is appended, and is undone when its entry is cut (thesis §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MembershipLog {
    entries: Vec<(LogId, Membership)>,
    /// The last of them: what every input asks for. On a node that has heard of none, an empty one.
    current: (LogId, Membership),
}

impl MembershipLog {
    pub(crate) fn new(entries: Vec<(LogId, Membership)>) -> Self {
        let mut log = Self {
            entries,
            current: (LogId::ZERO, Membership::none()),
        };
        log.note_current();
        log
    }

    /// What they end with may have changed.
    fn note_current(&mut self) {
        self.current = match self.entries.last() {
            Some(last) => last.clone(),
            None => (LogId::ZERO, Membership::none()),
        };
    }

    /// The membership in force.
    pub(crate) fn current(&self) -> &Membership {
        &self.current.1
    }

    /// Whether this very member votes in a membership that may be in force: the newest known to be committed, or one after it. A node
    /// that an uncommitted membership leaves out may be needed still, for that one to be committed at all (thesis §4.2.2).
    pub(crate) fn may_campaign(&self, id: MemberId, commit: Index) -> bool {
        self.may_be_in_force(commit)
            .any(|(_, membership)| membership.is_voter(id))
    }

    /// Whether a membership that may be in force holds this very member.
    pub(crate) fn may_hold(&self, id: MemberId, commit: Index) -> bool {
        self.may_be_in_force(commit)
            .any(|(_, membership)| membership.contains(id))
    }

    /// The entry of the newest membership that is known to be committed, when neither it nor one after it holds this very member.
    pub(crate) fn left_out_at(&self, id: MemberId, commit: Index) -> Option<LogId> {
        let &(at, _) = self.in_force_at(commit)?;
        (!self.may_hold(id, commit)).then_some(at)
    }

    /// The newest membership that is known to be committed, and those after it.
    fn may_be_in_force(&self, commit: Index) -> impl Iterator<Item = &(LogId, Membership)> {
        let committed = self.entries.partition_point(|(at, _)| at.index <= commit);
        self.entries.iter().skip(committed.saturating_sub(1))
    }

    /// How many memberships lie beyond `commit`.
    pub(crate) fn uncommitted(&self, commit: Index) -> usize {
        if self.current.0.index <= commit {
            return 0;
        }
        // They ascend.
        let beyond = |&&(at, _): &&(LogId, Membership)| at.index > commit;
        self.entries.iter().rev().take_while(beyond).count()
    }

    /// The entry that it stands in.
    pub(crate) fn current_at(&self) -> LogId {
        self.current.0
    }

    pub(crate) fn append(&mut self, at: LogId, membership: Membership) {
        assert!(
            at.index > self.current_at().index
                || self.entries.is_empty()
                || mutant(Mutant::KeepsCutMemberships),
            "a membership at {at} came out of order"
        );
        self.entries.push((at, membership));
        if self.entries.len() == 1 || !mutant(Mutant::AdoptsAtCommit) {
            self.note_current();
        }
    }

    /// The log was cut at `from`.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.entries.retain(|&(at, _)| at.index < from);
        if !mutant(Mutant::KeepsCutMemberships) {
            self.note_current();
        }
    }

    /// The log begins anew with this membership, which a snapshot brought.
    pub(crate) fn reset(&mut self, at: LogId, membership: Membership) {
        let keeps = mutant(Mutant::KeepsMembershipOnReset) && !self.entries.is_empty();
        let membership = if keeps {
            self.current.1.clone()
        } else {
            membership
        };
        self.entries.clear();
        self.entries.push((at, membership));
        self.note_current();
    }

    /// What was in force at `index`, and the entry it stands in.
    pub(crate) fn in_force_at(&self, index: Index) -> Option<&(LogId, Membership)> {
        self.entries.iter().rev().find(|(at, _)| at.index <= index)
    }

    /// Whether it holds more than one, so that some may be forgotten.
    #[inline]
    pub(crate) fn holds_older(&self) -> bool {
        self.entries.len() > 1
    }

    /// Nobody asks any more what was in force before `index`, which is committed.
    pub(crate) fn forget_before(&mut self, index: Index) {
        if self.entries.len() < 2 {
            return;
        }
        let older = self
            .entries
            .iter()
            .take_while(|(at, _)| at.index <= index)
            .count();
        if older > 1 {
            self.entries.drain(..older - 1);
        }
    }

    /// Everything up to `commit` is committed now, `before` being the commit index until now: those that became committed by this.
    pub(crate) fn commit(&mut self, before: Index, commit: Index) -> Vec<LogId> {
        if mutant(Mutant::AdoptsAtCommit) {
            if let Some(now) = self.in_force_at(commit).cloned() {
                self.current = now;
            }
        } else if self.current.0.index <= before {
            return Vec::new();
        }
        self.entries
            .iter()
            .map(|&(at, _)| at)
            .filter(|at| at.index > before && at.index <= commit)
            .collect()
    }
}
