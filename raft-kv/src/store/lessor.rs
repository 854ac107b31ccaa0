//! When leases end: by the leader's clock, which is no part of the replicated state.
//!
//! A leader that has applied the first entry of its term gives every lease its full time, since it does not know how much of it was used up;
//! from then on it lets leases live longer when they are kept alive, and proposes that those end that were not. Whoever does not lead
//! keeps no times at all.
//!
//! Guards: nobody is told that a lease was kept alive once its end is proposed.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::Term;

use super::leases::Leases;
use crate::api::LeaseId;

/// How many leases one command ends.
const EXPIRED_MAX: usize = 256;
/// After so many milliseconds the end of a lease that did not come about is proposed again.
const AGAIN_MS: u64 = 1_000;

/// The times of all leases, while this node leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Lessor {
    /// The term in which this node leads.
    leading: Option<Term>,
    /// This machine's own time, in milliseconds.
    now: u64,
    ends: BTreeMap<LeaseId, End>,
    /// The same, by time.
    by_time: BTreeSet<(u64, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    at: u64,
    /// Whether it is proposed: then `at` says when to propose it again.
    proposed: bool,
}

impl Lessor {
    /// Time has passed, and this node leads in this term, if it does. Gives the leases whose end is to be proposed.
    pub(super) fn tick(
        &mut self,
        leading: Option<Term>,
        elapsed_ms: u32,
        leases: &Leases,
    ) -> Vec<Vec<LeaseId>> {
        self.now += u64::from(elapsed_ms);
        if self.leading != leading {
            self.leading = leading;
            self.ends.clear();
            self.by_time.clear();
            if leading.is_some() {
                for (lease, found) in leases.iter() {
                    self.set(lease, found.ttl_ms, false);
                }
            }
        }
        let mut due = Vec::new();
        while let Some(&(at, lease)) = self.by_time.first()
            && at <= self.now
        {
            self.set(lease, AGAIN_MS, true);
            due.push(lease);
        }
        due.chunks(EXPIRED_MAX).map(<[LeaseId]>::to_vec).collect()
    }

    /// A lease was granted.
    pub(super) fn granted(&mut self, lease: LeaseId, ttl_ms: u64) {
        if self.leading.is_some() {
            self.set(lease, ttl_ms, false);
        }
    }

    /// A lease has ended.
    pub(super) fn ended(&mut self, lease: LeaseId) {
        if let Some(end) = self.ends.remove(&lease) {
            self.by_time.remove(&(end.at, lease));
        }
    }

    /// Lets a lease live for its whole time again. Says whether it does.
    pub(super) fn keep_alive(&mut self, lease: LeaseId, ttl_ms: u64) -> bool {
        let lives = self.ends.get(&lease).is_some_and(|end| !end.proposed);
        if lives {
            self.set(lease, ttl_ms, false);
        }
        lives
    }

    /// The term in which this node leads and knows all times.
    pub(super) fn leading(&self) -> Option<Term> {
        self.leading
    }

    /// How long a lease lives yet, in milliseconds, if it is known here.
    pub(super) fn remaining_ms(&self, lease: LeaseId) -> Option<u64> {
        let end = self.ends.get(&lease)?;
        Some(match end.proposed {
            true => 0,
            false => end.at.saturating_sub(self.now),
        })
    }

    fn set(&mut self, lease: LeaseId, in_ms: u64, proposed: bool) {
        let at = self.now.saturating_add(in_ms);
        if let Some(before) = self.ends.insert(lease, End { at, proposed }) {
            self.by_time.remove(&(before.at, lease));
        }
        self.by_time.insert((at, lease));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(all: &[(LeaseId, u64)]) -> Leases {
        let mut leases = Leases::default();
        all.iter()
            .for_each(|&(lease, ttl_ms)| leases.grant(lease, ttl_ms));
        leases
    }

    #[test]
    fn a_new_leader_gives_every_lease_its_full_time() {
        let leases = leases(&[(1, 1000), (2, 3000)]);
        let mut lessor = Lessor::default();
        assert!(lessor.tick(None, 5000, &leases).is_empty());
        assert!(lessor.tick(Some(Term(3)), 0, &leases).is_empty());
        assert_eq!(lessor.remaining_ms(1), Some(1000));
        assert!(lessor.tick(Some(Term(3)), 999, &leases).is_empty());
        assert_eq!(lessor.tick(Some(Term(3)), 1, &leases), [[1]]);
        // It led in another term in between, and did not notice: who knows what others promised.
        assert!(lessor.tick(Some(Term(5)), 2500, &leases).is_empty());
        assert_eq!(lessor.remaining_ms(2), Some(3000));
    }

    #[test]
    fn a_lease_that_is_kept_alive_lives_and_one_whose_end_is_proposed_does_not() {
        let leases = leases(&[(1, 1000), (2, 1000)]);
        let mut lessor = Lessor::default();
        lessor.tick(Some(Term(1)), 0, &leases);
        lessor.tick(Some(Term(1)), 600, &leases);
        assert!(lessor.keep_alive(1, 1000));
        assert!(!lessor.keep_alive(7, 1000));
        assert_eq!(lessor.tick(Some(Term(1)), 400, &leases), [[2]]);
        assert!(!lessor.keep_alive(2, 1000));
        assert_eq!(lessor.remaining_ms(2), Some(0));
        assert_eq!(lessor.remaining_ms(1), Some(600));
    }

    #[test]
    fn an_end_that_does_not_come_about_is_proposed_again() {
        let leases = leases(&[(1, 1000)]);
        let mut lessor = Lessor::default();
        lessor.tick(Some(Term(1)), 0, &leases);
        assert_eq!(lessor.tick(Some(Term(1)), 1000, &leases), [[1]]);
        assert!(lessor.tick(Some(Term(1)), 999, &leases).is_empty());
        assert_eq!(lessor.tick(Some(Term(1)), 1, &leases), [[1]]);
        lessor.ended(1);
        assert!(lessor.tick(Some(Term(1)), 9999, &leases).is_empty());
    }

    #[test]
    fn whoever_does_not_lead_keeps_no_times() {
        let leases = leases(&[(1, 1000)]);
        let mut lessor = Lessor::default();
        lessor.tick(Some(Term(1)), 0, &leases);
        assert!(lessor.tick(None, 9999, &leases).is_empty());
        assert_eq!(lessor.remaining_ms(1), None);
        assert!(!lessor.keep_alive(1, 1000));
        lessor.granted(2, 1000);
        assert_eq!(lessor.remaining_ms(2), None);
    }

    #[test]
    fn many_that_end_at_once_are_ended_by_several_commands() {
        let all: Vec<_> = (1..=600).map(|lease| (lease, 1000)).collect();
        let leases = leases(&all);
        let mut lessor = Lessor::default();
        lessor.tick(Some(Term(1)), 0, &leases);
        let due = lessor.tick(Some(Term(1)), 1000, &leases);
        assert_eq!(due.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);
    }
}
