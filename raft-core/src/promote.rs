//! Learners that are to become voters: when they have caught up (thesis §4.2.1).
//!
//! Replication to such a learner is measured in rounds. A round begins with the leader's last entry at the time, and ends when the
//! learner has that entry. A round that took less than an election timeout shows a learner which, as a voter, would keep nobody
//! waiting for longer than an election would. That a learner is to be promoted stands in the membership; the rounds begin anew
//! with every leader.

use crate::membership::{Membership, MembershipParts};
use crate::mutants::{Mutant, mutant};
use crate::raft::Raft;
use crate::role::Role;
use crate::types::Index;

/// How far a learner has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CatchUp {
    /// Where this round ends, and when it began.
    target: Index,
    began_at: u64,
    /// Whether the last round was short enough.
    caught_up: bool,
}

impl CatchUp {
    /// The first round, of a leader whose log ends at `last`.
    pub(crate) const fn begin(last: Index, now: u64) -> Self {
        Self {
            target: last,
            began_at: now,
            caught_up: false,
        }
    }

    /// Every time that was.
    pub(crate) fn each_past(&mut self, past: &dyn Fn(&mut u64)) {
        past(&mut self.began_at);
    }

    /// The learner has the leader's log up to `matched`.
    fn note(&mut self, matched: Index, last: Index, now: u64, timeout: u64) {
        let took = now - self.began_at;
        if matched >= self.target {
            *self = Self {
                target: last,
                began_at: now,
                caught_up: took < timeout,
            };
        } else if took >= timeout {
            self.caught_up = false;
        }
    }
}

impl Raft {
    /// Makes voters of the learners that are to be promoted and have caught up: all of them in one change.
    pub(crate) fn promote_learners(&mut self) {
        if !matches!(&self.role, Role::Leader(leadership) if !leadership.catching_up.is_empty()) {
            return;
        }
        self.note_catching_up();
    }

    // Apart, for this is rare, and the drain of the effects is not.
    #[inline(never)]
    fn note_catching_up(&mut self) {
        let (now, last, commit) = (self.now, self.log.last().index, self.commit);
        let timeout = u64::from(self.config.election_timeout_ticks);
        let settled = self.memberships.current_at().index <= commit;
        let membership = self.memberships.current();
        let Role::Leader(leadership) = &mut self.role else {
            return;
        };
        for (node, catch_up) in &mut leadership.catching_up {
            if let Some(peer) = leadership.peers.get(node).filter(|peer| peer.heard) {
                catch_up.note(peer.matched, last, now, timeout);
            }
        }
        let may_change = settled
            && !membership.is_joint()
            && commit >= leadership.term_start
            && leadership.transfer.is_none();
        let alive = |node| {
            (leadership.peers.get(node))
                .is_some_and(|peer| peer.heard && now - peer.heard_at < timeout)
        };
        let ready = |node| {
            let caught_up =
                |catch_up: &CatchUp| catch_up.caught_up || mutant(Mutant::PromotesTooEarly);
            leadership.catching_up.get(node).is_some_and(caught_up)
                && (alive(node) || mutant(Mutant::PromotesTooEarly))
        };
        if !may_change || !leadership.catching_up.keys().any(ready) {
            return;
        }
        let mut parts = MembershipParts {
            voters: membership.voters().to_vec(),
            ..MembershipParts::default()
        };
        for (node, member) in membership.seats().iter() {
            let mut member = member.clone();
            if ready(node) {
                member.promote = false;
                parts.voters.push(*node);
            }
            parts.members.push((*node, member));
        }
        let next = Membership::from_parts(parts).and_then(|target| membership.toward(target));
        self.append_membership(next.expect("a membership with more voters is a membership"));
    }
}
