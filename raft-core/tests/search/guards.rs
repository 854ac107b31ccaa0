//! Guards of the protocol, each with a search that passes while it is there and breaks something when it is taken out. Where that is
//! to be seen is a matter of a few nodes and terms, but not always from an empty log; so most begin where it gets interesting.

use raft_core::mutants::Mutant;

use crate::scenarios::Scenario;
use crate::staged;

/// A guard, by the bug that it prevents.
pub struct Guard {
    pub without: Mutant,
    /// Bugs that are there with the guard as well, since it matters only with them.
    pub besides: &'static [Mutant],
    pub search: fn() -> Scenario,
}

pub const GUARDS: [Guard; 13] = [
    guard(Mutant::CommitsOlderTerms, staged::figure_8),
    guard(Mutant::VotesTwice, staged::elections),
    guard(Mutant::VotesForShortLogs, staged::replication),
    guard(Mutant::VotesBeforeDurable, staged::elections),
    guard(Mutant::AcknowledgesBeforeDurable, staged::replication),
    guard(Mutant::CountsItselfBeforeDurable, staged::replication),
    guard(Mutant::HalfIsAMajority, staged::replication),
    guard(Mutant::CutsWithoutConflict, staged::late_appends),
    guard(Mutant::CommitsUnverified, staged::diverged),
    guard(Mutant::PreVoteRaisesTerms, staged::pre_votes),
    guard(Mutant::ReadsBeforeNoop, staged::reads),
    Guard {
        without: Mutant::ChangesBeforeOwnTerm,
        besides: &[Mutant::SkipsJoint],
        search: staged::changes,
    },
    guard(Mutant::IgnoresIncarnations, staged::wiped),
];

const fn guard(without: Mutant, search: fn() -> Scenario) -> Guard {
    Guard {
        without,
        besides: &[],
        search,
    }
}
