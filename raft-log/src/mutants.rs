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
    /// A batch of nothing but metadata (a term, a vote) is not synced.
    SkipsMetadataSync,
    /// The name of a new segment is not synced.
    SkipsDirectorySync,
    /// The superblock is not synced, neither with the boot number nor with the segments in use.
    SkipsSuperblockSync,
    /// A sync that failed is tried again. The system has dropped what it could not write, and says "done".
    RetriesFailedSync,
    /// Recovery takes the whole records of a batch whose end is missing.
    AcceptsHalfBatches,
    /// Recovery passes over a record that does not verify, and goes on behind it.
    ReadsBehindDamage,
    /// Recovery trusts a record whose header verifies.
    SkipsBodyChecksum,
    /// Recovery takes all damage for a torn tail, whatever says that more was durable.
    IgnoresWatermarks,
    /// A batch says of itself that it is durable.
    ClaimsTooMuchDurable,
    /// An opening has the number of the one before.
    SkipsBoot,
    /// A snapshot is not synced before it gets its name.
    SkipsSnapshotSync,
    /// The name of a snapshot is not synced.
    SkipsSnapshotName,
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
