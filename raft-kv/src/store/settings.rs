//! What apply may depend on besides the command and the state: the same on every node of a cluster.

/// Limits that apply judges by. They are part of the replicated state, not of a node's configuration: replicas with
/// different ones would drift apart, so [`Settings::default`] is what every node uses, and a release that wants others
/// raises the cluster version to bring them in. They are part of [`Store::state_hash`](super::Store::state_hash).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster version that a new cluster has. Default 1.
    pub cluster_version: u16,
    /// How many sessions there may be; beyond it the least recently used one, by log index, ends. Default 10,000.
    pub sessions_max: usize,
    /// How far a command's sequence may be ahead of the oldest that its session's client has no answer of: so many replies a
    /// session keeps at most. Default 1024.
    pub outstanding_max: u64,
    /// How many bytes of replies one session keeps; a reply beyond it is answered once, and to a retry with
    /// [`CommandReply::Forgotten`](crate::api::CommandReply::Forgotten). Default 2 MiB, so that one of the largest value fits.
    pub session_reply_bytes_max: u64,
    /// How many bytes of replies all sessions keep together; beyond it sessions end that keep more than their fair share (this
    /// limit divided by `sessions_max`), the least recently used first. The session in use does not end, so that one
    /// session's replies may come on top. Default 256 MiB.
    pub reply_bytes_max: u64,
    /// How many bytes of key-values one command's reply carries: what it deleted, what a transaction found; though always at least
    /// one. Default 1 MiB.
    pub deleted_bytes_max: u64,
    /// How many leases there may be. Default 100,000.
    pub leases_max: usize,
    /// How many claims there may be on all locks together. Default 100,000.
    pub claims_max: usize,
    /// How many claims there may be on one lock. Default 10,000.
    pub queue_max: usize,
    /// For how many revisions their changes are kept, so that they can be watched and older ones read. Default 50,000.
    pub history_revisions_max: u64,
    /// How many bytes what was overwritten and deleted in them may take, in memory and about so many in a snapshot; those of the newest
    /// revision come on top. Default 16 MiB.
    pub history_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_version: 1,
            sessions_max: 10_000,
            outstanding_max: 1024,
            session_reply_bytes_max: 2 << 20,
            reply_bytes_max: 256 << 20,
            deleted_bytes_max: 1 << 20,
            leases_max: 100_000,
            claims_max: 100_000,
            queue_max: 10_000,
            history_revisions_max: 50_000,
            history_bytes_max: 16 << 20,
        }
    }
}

impl Settings {
    /// The settings as words of the state hash.
    pub(super) fn words(&self) -> [u64; 11] {
        let Self {
            cluster_version,
            sessions_max,
            outstanding_max,
            session_reply_bytes_max,
            reply_bytes_max,
            deleted_bytes_max,
            leases_max,
            claims_max,
            queue_max,
            history_revisions_max,
            history_bytes_max,
        } = *self;
        [
            cluster_version.into(),
            sessions_max as u64,
            outstanding_max,
            session_reply_bytes_max,
            reply_bytes_max,
            deleted_bytes_max,
            leases_max as u64,
            claims_max as u64,
            queue_max as u64,
            history_revisions_max,
            history_bytes_max,
        ]
    }
}
