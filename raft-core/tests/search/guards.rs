//! Guards of the protocol, each with a search that passes while it is there and breaks something when it is taken out. Where that is
//! to be seen is a matter of a few nodes and terms, but not always from an empty log; so most begin where it gets interesting.

use raft_core::mutants::Mutant;

use crate::scenarios::{self, Scenario};

/// A guard, by the bug that it prevents.
pub struct Guard {
    pub without: Mutant,
    /// Bugs that are there with the guard as well, since it matters only with them.
    pub besides: &'static [Mutant],
    pub search: fn() -> Scenario,
}

pub const GUARDS: [Guard; 13] = [
    guard(Mutant::CommitsOlderTerms, scenarios::figure_8),
    guard(Mutant::VotesTwice, scenarios::elections),
    guard(Mutant::VotesForShortLogs, scenarios::replication),
    guard(Mutant::VotesBeforeDurable, scenarios::elections),
    guard(Mutant::AcknowledgesBeforeDurable, scenarios::replication),
    guard(Mutant::CountsItselfBeforeDurable, scenarios::replication),
    guard(Mutant::HalfIsAMajority, scenarios::replication),
    guard(Mutant::CutsWithoutConflict, scenarios::late_appends),
    guard(Mutant::CommitsUnverified, scenarios::diverged),
    guard(Mutant::PreVoteRaisesTerms, scenarios::pre_votes),
    guard(Mutant::ReadsBeforeNoop, scenarios::reads),
    Guard {
        without: Mutant::ChangesBeforeOwnTerm,
        besides: &[Mutant::SkipsJoint],
        search: scenarios::changes,
    },
    guard(Mutant::IgnoresIncarnations, scenarios::wiped),
];

const fn guard(without: Mutant, search: fn() -> Scenario) -> Guard {
    Guard {
        without,
        besides: &[],
        search,
    }
}
