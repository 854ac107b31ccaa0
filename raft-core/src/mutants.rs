//! Known bugs, to be found by tests. They are compiled in only under `--cfg raft_mutants`, a flag of the compiler and no feature of
//! this crate, so that nothing that depends on it can turn them on; and even then each has to be chosen at run time. In any other
//! build [`mutant`] is the constant `false`.
//!
//! A test that passes proves little before it was seen to fail. Each guard of the protocol asks here whether it is to be left out:
//! `guard || mutant(Mutant::…)`. With the guard the search of the states, or a simulator, must find nothing; without it, something.
//! So that it is they who find it, the assertions of `invariants.rs` can be switched off.

#[cfg(raft_mutants)]
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A bug that was made somewhere, or could be: the guard that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "public in the one build that has them")]
pub enum Mutant {
    /// A leader commits entries of older terms by counting their copies (paper §5.4.2, fig. 8).
    CommitsOlderTerms,
    /// A voter gives its vote to everyone who asks in a term (paper §5.2).
    VotesTwice,
    /// A voter does not look at the candidate's log (paper §5.4.1).
    VotesForShortLogs,
    /// A vote leaves before it is durable (paper fig. 2).
    VotesBeforeDurable,
    /// An acknowledgement leaves before the entries are durable (thesis §10.2.1).
    AcknowledgesBeforeDurable,
    /// A leader counts its own copy before it is durable (thesis §10.2.1).
    CountsItselfBeforeDurable,
    /// Half of the voters are taken for a majority: `>=` where `>` is meant.
    HalfIsAMajority,
    /// Every append cuts what stands behind its entries, whether it conflicts or not (paper §5.3).
    CutsWithoutConflict,
    /// A follower commits whatever its leader has committed, though its own log was not seen to agree up to there (paper §5.3).
    CommitsUnverified,
    /// A voter takes the term that a pre-vote asks about (thesis §9.6).
    PreVoteRaisesTerms,
    /// A leader answers reads before it has committed an entry of its own term (thesis §6.4).
    ReadsBeforeNoop,
    /// The membership is changed before an entry of the own term is committed (the bug of 2015).
    ChangesBeforeOwnTerm,
    /// Voters change without a joint configuration (paper §6). While they change one at a time this is safe, but only just:
    /// it takes [`Mutant::ChangesBeforeOwnTerm`] besides to break it (thesis §4.1).
    SkipsJoint,
    /// A node that comes back with an empty disk, and so as another member, is taken for the one that it was.
    IgnoresIncarnations,
    /// A node that starts again does not know whom it has voted for in its term (paper fig. 2).
    ForgetsVotes,
    /// What was sent to a follower is taken for what it has (paper fig. 2, matchIndex).
    CountsWhatWasSent,
    /// The answer of the disk to one write is taken for that to all of them.
    CountsUnfinishedWrites,
    /// A leader does not ask whether it still leads: neither to answer reads, nor to go on (thesis §6.2, §6.4).
    TrustsItsLead,
    /// Reads are answered before what was committed when they came in is applied (thesis §6.4).
    AnswersReadsBeforeApplied,
    /// A membership is in force only from its commit on, not from its append (thesis §4.1).
    AdoptsAtCommit,
    /// A membership stays in force though its entry is cut (thesis §4.1).
    KeepsCutMemberships,
    /// A joint membership is left before it is committed (paper §6).
    LeavesJointEarly,
    /// In a joint membership the new half decides alone (paper §6).
    NewHalfDecides,
    /// In a joint membership the old half decides alone (paper §6).
    OldHalfDecides,
    /// A change is taken while another is under way (thesis §4.1).
    IgnoresChangeUnderWay,
    /// Who is added to be promoted votes at once, though it has nothing yet (thesis §4.2.1).
    SeatsAtOnce,
    /// A learner is promoted before it has caught up (thesis §4.2.1).
    PromotesTooEarly,
    /// A new leader does not go on with the promotions that the one before had begun.
    ForgetsPromotions,
    /// What a learner has counts as a voter's (thesis §4.2.1).
    CountsLearners,
    /// A snapshot says what is in force when it is taken, and not at its end (paper fig. 13).
    SnapshotsNewestMembership,
    /// The membership stays as it was when a snapshot takes the place of the log (paper fig. 13).
    KeepsMembershipOnReset,
    /// A node that starts again knows the oldest membership that its disk holds, and none after it (thesis §4.1).
    StartsFromOldMembership,
}

/// Whether this bug is to show: never, and at no cost.
#[cfg(not(raft_mutants))]
#[inline(always)]
pub(crate) const fn mutant(_: Mutant) -> bool {
    false
}

/// Whether the core checks itself: always.
#[cfg(not(raft_mutants))]
#[inline(always)]
pub(crate) const fn asserts() -> bool {
    true
}

/// Whether this bug is to show.
#[cfg(raft_mutants)]
pub(crate) fn mutant(mutant: Mutant) -> bool {
    ACTIVE.load(Ordering::Relaxed) & mutant.bit() != 0
}

/// Whether the core checks itself.
#[cfg(raft_mutants)]
pub(crate) fn asserts() -> bool {
    ASSERTS.load(Ordering::Relaxed)
}

/// The bugs that are to show, of the whole process.
#[cfg(raft_mutants)]
static ACTIVE: AtomicU32 = AtomicU32::new(0);

#[cfg(raft_mutants)]
static ASSERTS: AtomicBool = AtomicBool::new(true);

/// From now on these bugs show, in every node of this process, and no others.
#[cfg(raft_mutants)]
pub fn activate(mutants: &[Mutant]) {
    let bits = mutants.iter().fold(0, |bits, mutant| bits | mutant.bit());
    ACTIVE.store(bits, Ordering::Relaxed);
}

/// Whether the core checks itself around every input, as it does unless told otherwise.
#[cfg(raft_mutants)]
pub fn set_assertions(on: bool) {
    ASSERTS.store(on, Ordering::Relaxed);
}

#[cfg(raft_mutants)]
impl Mutant {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}
