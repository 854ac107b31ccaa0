//! What nodes say of themselves and of each other.

use super::LeaderHint;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeStatus {
    /// Its id.
    pub id: u64,
    /// Its data directory's incarnation.
    pub incarnation: u64,
    /// How often it was started.
    pub boot: u64,
    /// leader, follower, learner, candidate, or forming.
    pub role: String,
    /// Who leads, as far as it knows.
    pub leader: Option<LeaderHint>,
    /// The current term.
    pub term: u64,
    /// The commit index.
    pub commit: u64,
    /// The applied index.
    pub applied: u64,
    /// The first index of its log.
    pub first: u64,
    /// The last index of its log.
    pub last: u64,
    /// Bytes that its log takes on disk.
    pub disk_bytes: u64,
    /// How many keys its store holds.
    pub keys: u64,
    /// Hashes of its whole state after some of the last entries, by their index, ascending; the last is of the state as it is. Members
    /// that have applied the same have the same.
    pub hashes: Vec<(u64, u64)>,
    /// How many syncs of the log since its start.
    pub syncs: u64,
    /// The release that it runs.
    pub version: String,
    /// The version of the cluster that is in force.
    pub cluster_version: u16,
    /// The newest version of the cluster that it follows.
    pub follows: u16,
    /// From a leader: what keeps the version in force below the newest that it follows, in words; empty: nothing.
    pub held_back: String,
    /// What is wrong with it, in words; empty: nothing.
    pub error: String,
    /// The members, as its membership has them.
    pub members: Vec<MemberStatus>,
}

/// What a node knows of a member.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its address.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is a learner that becomes a voter once it has caught up.
    pub promotes: bool,
    /// From a leader: up to where its log is known to match; 0 elsewhere.
    pub matched: u64,
    /// From a leader: milliseconds since it last answered; none elsewhere, or when it never did.
    pub silent_ms: Option<u64>,
}
