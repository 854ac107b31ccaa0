//! What a majority is: the only place that counts one. In a joint configuration a decision needs a majority of each half
//! (paper §6).

use crate::membership::Membership;
use crate::mutants::{Mutant, mutant};
use crate::types::NodeId;

/// How a vote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// A quorum has said yes.
    Won,
    /// A quorum can no longer say yes.
    Lost,
    /// Neither yet.
    Open,
}

/// How many of so many are more than half of them.
pub(crate) fn majority(of: usize) -> usize {
    of / 2 + usize::from(!mutant(Mutant::HalfIsAMajority))
}

/// The highest value that a quorum has reached: the commit index when asked of match indexes, the latest confirmed round when
/// asked of rounds.
pub(crate) fn reached(membership: &Membership, value: impl Fn(NodeId) -> u64) -> u64 {
    if mutant(Mutant::CountsLearners) {
        return reached_with_learners(membership, value);
    }
    // Of the old half, voters whose place was taken have reached nothing.
    let half = |voters: &[NodeId], replaced: usize| {
        // Mostly there are three.
        if let (&[a, b, c], 0) = (voters, replaced) {
            return of_three([value(a), value(b), value(c)]);
        }
        // On the stack: this runs at every acknowledgement. Most clusters are small, and the large array has to be cleared.
        let (mut few, mut many);
        let count = voters.len() + replaced;
        let values: &mut [u64] = if count <= 8 {
            few = [0; 8];
            few.get_mut(..count)?
        } else {
            many = [0; Membership::MEMBERS_MAX];
            many.get_mut(..count)?
        };
        for (slot, &node) in values.iter_mut().zip(voters) {
            *slot = value(node);
        }
        values.sort_unstable();
        // The value that this many have reached, in ascending order.
        let at = values.len().checked_sub(majority(values.len()))?;
        values.get(at).copied()
    };
    let new = half(membership.voters(), 0).unwrap_or(0);
    if !membership.is_joint() || mutant(Mutant::NewHalfDecides) {
        return new;
    }
    let old = half(membership.outgoing(), membership.replaced().len());
    if mutant(Mutant::OldHalfDecides) {
        return old.unwrap_or(new);
    }
    old.map_or(new, |old| old.min(new))
}

/// The value that as many members as are a majority of the voters have reached, whether they vote or not.
fn reached_with_learners(membership: &Membership, value: impl Fn(NodeId) -> u64) -> u64 {
    let members = membership.members().map(|(id, _)| value(id.node));
    let mut values: alloc::vec::Vec<u64> = members.collect();
    values.sort_unstable();
    let at = values
        .len()
        .saturating_sub(majority(membership.voters().len()));
    values.get(at).copied().unwrap_or(0)
}

/// The value that a majority of three have reached.
fn of_three([a, b, c]: [u64; 3]) -> Option<u64> {
    let (low, high) = (a.min(b), a.max(b));
    let ascending = [low.min(c), high.min(low.max(c)), high.max(c)];
    ascending.get(3 - majority(3)).copied()
}

/// How a vote stands, given who has answered what.
pub(crate) fn tally(membership: &Membership, answer: impl Fn(NodeId) -> Option<bool>) -> Tally {
    // Of the old half, voters whose place was taken never answer.
    let half = |voters: &[NodeId], replaced: usize| {
        let all = voters.len() + replaced;
        let needed = majority(all);
        let yes = voters
            .iter()
            .filter(|&&node| answer(node) == Some(true))
            .count();
        let no = voters
            .iter()
            .filter(|&&node| answer(node) == Some(false))
            .count();
        if yes >= needed {
            Tally::Won
        } else if all - no < needed {
            Tally::Lost
        } else {
            Tally::Open
        }
    };
    let new = half(membership.voters(), 0);
    if !membership.is_joint() || mutant(Mutant::NewHalfDecides) {
        return new;
    }
    let old = half(membership.outgoing(), membership.replaced().len());
    if mutant(Mutant::OldHalfDecides) {
        return old;
    }
    match (new, old) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        _ => Tally::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Member, MembershipParts};
    use crate::types::{Incarnation, MemberId};
    use alloc::vec;
    use alloc::vec::Vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// `replaced` are voters of the old half whose numbers belong to new learners.
    fn membership(voters: &[u64], outgoing: &[u64], replaced: &[u64]) -> Membership {
        let mut all: Vec<u64> = [voters, outgoing, replaced].concat();
        all.sort_unstable();
        all.dedup();
        let member = |n: &u64| (NodeId(*n), Member::new(Incarnation(*n), Bytes::new()));
        let old = |n: &u64| MemberId {
            node: NodeId(*n),
            incarnation: Incarnation(100 + n),
        };
        Membership::from_parts(MembershipParts {
            members: all.iter().map(member).collect(),
            voters: voters.iter().copied().map(NodeId).collect(),
            outgoing: outgoing.iter().copied().map(NodeId).collect(),
            demoted: Vec::new(),
            replaced: replaced.iter().map(old).collect(),
        })
        .unwrap()
    }

    /// S-C10, S-B49: joint decisions need both halves.
    #[test]
    fn joint_halves() {
        let joint = membership(&[1, 2, 3], &[4, 5], &[]);
        let acked = |values: [u64; 5]| reached(&joint, |node| values[node.0 as usize - 1]);
        assert_eq!(acked([100, 101, 99, 100, 100]), 100);
        assert_eq!(
            acked([100, 101, 99, 0, 100]),
            0,
            "one half has acknowledged nothing"
        );
        assert_eq!(acked([100, 101, 99, 50, 70]), 50);

        let joint = membership(&[1, 2], &[3, 4], &[]);
        let votes = |answers: [Option<bool>; 4]| tally(&joint, |node| answers[node.0 as usize - 1]);
        let (y, n, o) = (Some(true), Some(false), None);
        assert_eq!(votes([y, y, y, y]), Tally::Won);
        assert_eq!(votes([y, y, y, n]), Tally::Lost);
        assert_eq!(votes([y, y, o, o]), Tally::Open);
        assert_eq!(votes([y, n, o, o]), Tally::Lost);
    }

    proptest! {
        /// F-P6: against the definition, counted dumbly.
        #[test]
        fn as_counted_by_hand(
            values in prop::collection::vec(0u64..6, 7),
            answers in prop::collection::vec(prop::option::of(any::<bool>()), 7),
            voters in prop::sample::subsequence(vec![1u64, 2, 3, 4, 5, 6, 7], 1..=7),
            outgoing in prop::sample::subsequence(vec![1u64, 2, 3, 4, 5, 6, 7], 0..=7),
            gone in prop::sample::subsequence(vec![1u64, 2, 3, 4, 5, 6, 7], 0..=3),
        ) {
            let gone: Vec<u64> = gone.into_iter().filter(|n| !outgoing.contains(n)).collect();
            let config = membership(&voters, &outgoing, &gone);
            // Whoever is gone counts as an eighth node, which has reached nothing and says nothing.
            let old: Vec<u64> = outgoing.iter().copied().chain(gone.iter().map(|_| 8)).collect();
            let halves: Vec<&Vec<u64>> = [&voters, &old].into_iter().filter(|h| !h.is_empty()).collect();
            let of = |n: u64| n as usize - 1;
            let (mut values, mut answers) = (values, answers);
            values.push(0);
            answers.push(None);

            let is_reached = |v: u64| halves.iter().all(|half| 2 * half.iter().filter(|&&n| values[of(n)] >= v).count() > half.len());
            let best = (0..6).rev().find(|&v| is_reached(v)).unwrap_or(0);
            prop_assert_eq!(reached(&config, |node| values[of(node.0)]), best);

            let won = |open_counts: bool| halves.iter().all(|half| {
                2 * half.iter().filter(|&&n| answers[of(n)].unwrap_or(open_counts)).count() > half.len()
            });
            let expected = if won(false) { Tally::Won } else if won(true) { Tally::Open } else { Tally::Lost };
            prop_assert_eq!(tally(&config, |node| answers[of(node.0)]), expected);
        }
    }
}
