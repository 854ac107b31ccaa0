//! Known bugs, to be found by tests: as in `raft-core/src/mutants.rs`, compiled in only under `--cfg raft_mutants`, and even then
//! each has to be chosen at run time. In any other build [`mutant`] is the constant `false`.
//!
//! Who has to find them is the simulator of whole clusters (`cargo xtask sim --mutants`).

#[cfg(raft_mutants)]
use std::sync::atomic::{AtomicU32, Ordering};

/// A bug that was made somewhere, or could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "public in the one build that has them")]
pub enum Mutant {
    /// The cluster is founded by those who are there, once they are a majority.
    FoundsWithMajority,
    /// A node with a new data directory takes the place that its old one had.
    TakesWipedForFormer,
    /// The handshake does not compare clusters.
    AdmitsOtherClusters,
    /// The tickets of a batch are taken in the wrong order.
    SwapsTickets,
    /// Whoever waits longest gets the answer to what is applied next, whosever it is.
    AnswersNextApplied,
    /// A node that does not lead answers a linearizable read as it stands.
    AnswersReadsAnywhere,
    /// A leader that is deposed says of its open writes that they were not applied.
    SaysNotAppliedWhenDeposed,
    /// A deletion that deletes nothing raises the revision.
    CountsEmptyDeletes,
    /// A condition on a value always holds.
    SkipsValueConditions,
    /// What is applied depends on chance, as the order of a hash table does.
    ReadsChance,
    /// A put on a key that is there makes it new.
    ForgetsCreateRevision,
    /// A put answers with what it has written where it is asked for what stood there.
    ReturnsNewAsPrevious,
    /// A deletion whose condition does not hold deletes all the same.
    DeletesOnCondition,
    /// A command that was applied is applied again when it comes again.
    AppliesRetries,
    /// A command gets the reply of the next one of its session.
    AnswersWithNextReply,
    /// The replies before a command are forgotten, though the client may lack them.
    TrimsTooMuch,
    /// A new leader begins without sessions, and carries out what comes in those that it does not know.
    DropsSessionsWithLeader,
    /// Clients that register one after the other get the same session.
    MixesSessions,
    /// A snapshot lacks the sessions.
    OmitsSessions,
    /// The state stays as it is where a snapshot should take its place.
    KeepsStateOnInstall,
    /// A node that starts from a snapshot forgets to read it.
    StartsWithoutSnapshot,
    /// The core's request is sent and used before its file is there.
    TrustsSnapshotRequests,
    /// The cluster version is raised once a majority of the members follows the next one.
    RaisesWithMajority,
    /// The door lets a command in that needs a version which is not in force.
    WritesBeforeRaise,
    /// An entry that cannot be applied is passed over.
    SkipsUnknownCommands,
    /// The client sends a write again under a new number.
    RetriesUnderNewNumber,
    /// The client says of every write without an answer that it was not applied.
    TakesUnknownForNotApplied,
    /// The client takes the answer of any node for a linearizable one.
    ReadsFromAnyNode,
}

/// Whether this bug is to show: never, and at no cost.
#[cfg(not(raft_mutants))]
#[inline(always)]
pub(crate) const fn mutant(_: Mutant) -> bool {
    false
}

/// Whether this bug is to show.
#[cfg(raft_mutants)]
pub(crate) fn mutant(mutant: Mutant) -> bool {
    ACTIVE.load(Ordering::Relaxed) & mutant.bit() != 0
}

/// The bugs that are to show, of the whole process.
#[cfg(raft_mutants)]
static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// From now on these bugs show, in everything of this process, and no others.
#[cfg(raft_mutants)]
pub fn activate(mutants: &[Mutant]) {
    let bits = mutants.iter().fold(0, |bits, mutant| bits | mutant.bit());
    ACTIVE.store(bits, Ordering::Relaxed);
}

#[cfg(raft_mutants)]
impl Mutant {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}
