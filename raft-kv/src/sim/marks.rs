//! What runs must reach, lest they prove nothing: marks are counted where something rare happens, and a batch of runs in which one was
//! never hit has not tested it.

use std::collections::BTreeMap;

/// How often each mark was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<Mark, u64>);

/// Something that must happen in some run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// A node came to lead.
    Election,
    /// A leader lost its lead while it had writes open.
    LeaderDeposed,
    /// A follower cut entries that conflicted.
    LogCut,
    /// A node was told that it lacks what comes before an append.
    Conflict,
    /// The power went while a write was under way, and some of it was on the disk.
    CrashInWrite,
    /// The power went while nothing was being written.
    CrashAtRest,
    /// A log was opened whose end was torn.
    TornTail,
    /// A write or a sync failed, and the node ended.
    DiskFailed,
    /// The disk was full, and later was not.
    DiskFull,
    /// Several jobs became durable by one write.
    GroupCommit,
    /// A log began a new file.
    SegmentChanged,
    /// A node fetched entries that it no longer had in memory.
    LogFetched,
    /// A client's write was tried again and answered as the first time.
    Retried,
    /// A client does not know what became of a write.
    Unknown,
    /// A node refused a write as busy.
    Busy,
    /// A connection was closed because nothing was heard.
    Silence,
    /// A node refused who does not belong to its cluster.
    HandshakeRefused,
    /// A node closed a connection on which nothing was said that it could read.
    NotUnderstood,
    /// A connection was closed because a frame did not verify.
    FrameDamaged,
    /// A message of an earlier term was heard.
    OldTerm,
    /// A node started from a damaged directory and refused.
    DamageRefused,
    /// A node with a new directory under its old id was kept out.
    WipedKeptOut,
    /// A node stood still for longer than the election timeout.
    LongPause,
    /// A leader stepped down because its disk hung.
    StalledLeader,
    /// A change of the membership was committed.
    MembershipChanged,
    /// A membership was joint.
    Joint,
    /// A node learnt that it was removed.
    Removed,
    /// A node was taken into the cluster with an empty disk.
    Joined,
    /// A leader began to hand over.
    Transfer,
    /// A wiped node was taken in as new.
    Replaced,
    /// A snapshot was taken.
    SnapshotTaken,
    /// A log marked a snapshot.
    SnapshotMarked,
    /// A snapshot that was received took the place of a state.
    SnapshotInstalled,
    /// A transfer that one leader began was gone on with by the next.
    TransferResumed,
    /// A node started from a snapshot.
    SnapshotRestored,
    /// A log let go of what a snapshot stands in for.
    LogPurged,
    /// The power went while a snapshot was being written, read or received.
    CrashInSnapshot,
    /// Another cluster version came into force at a node.
    VersionRaised,
    /// A command was carried out that only the newer version has.
    NewerCommand,
    /// A node that was started with an older release stopped at what that does not follow.
    TooOldStopped,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::Election,
        Self::LeaderDeposed,
        Self::LogCut,
        Self::Conflict,
        Self::CrashInWrite,
        Self::CrashAtRest,
        Self::TornTail,
        Self::DiskFailed,
        Self::DiskFull,
        Self::GroupCommit,
        Self::SegmentChanged,
        Self::LogFetched,
        Self::Retried,
        Self::Unknown,
        Self::Busy,
        Self::Silence,
        Self::HandshakeRefused,
        Self::NotUnderstood,
        Self::FrameDamaged,
        Self::OldTerm,
        Self::DamageRefused,
        Self::WipedKeptOut,
        Self::LongPause,
        Self::StalledLeader,
        Self::MembershipChanged,
        Self::Joint,
        Self::Removed,
        Self::Joined,
        Self::Transfer,
        Self::Replaced,
        Self::SnapshotTaken,
        Self::SnapshotMarked,
        Self::SnapshotInstalled,
        Self::TransferResumed,
        Self::SnapshotRestored,
        Self::LogPurged,
        Self::CrashInSnapshot,
        Self::VersionRaised,
        Self::NewerCommand,
        Self::TooOldStopped,
    ];
}

impl Marks {
    pub(super) fn hit(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// How often it was hit.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    /// Those that were never hit.
    pub fn missing(&self) -> impl Iterator<Item = Mark> {
        Mark::ALL.into_iter().filter(|mark| self.count(*mark) == 0)
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (&mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }
}
