//! What can be set.

use core::fmt;

/// The core's settings. [`Config::new`] gives safe ones; [`Config::validate`] is called by every constructor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// T, in ticks: a follower that hears nothing campaigns after a time drawn from [T, 2T); a leader that hears from no
    /// majority for T steps down. Default 100 (1 s of 10 ms ticks). Too short: needless elections; too long: slow failover.
    pub election_timeout_ticks: u32,
    /// How often a leader speaks when it has nothing to say, in ticks. Default 10. At most a third of the election timeout.
    pub heartbeat_ticks: u32,
    /// What the drawing of timeouts starts from; mixed with node id and boot, so that one value may serve all nodes.
    pub seed: u64,
    /// How many bytes of entries one append or one apply job carries, though always at least one entry. Default 1 MiB.
    pub batch_bytes_max: usize,
    /// How many appends may be on their way to a follower unanswered. Default 64.
    pub inflight_appends_max: usize,
    /// How many bytes of entries may be on their way to a follower unanswered. Default 8 MiB.
    pub inflight_bytes_max: usize,
    /// How many bytes of entries, applied or not, are handed out to apply before an answer. Default 8 MiB.
    pub apply_bytes_max: usize,
    /// How many bytes of proposals may wait to be committed; beyond it [`ProposeError::Busy`](crate::ProposeError::Busy).
    /// Default 64 MiB.
    pub uncommitted_bytes_max: usize,
    /// The largest command that may be proposed, in bytes. Default 2 MiB. What carries envelopes, and the
    /// log, must take one such entry.
    pub command_bytes_max: usize,
    /// How many bytes of durable, applied entries stay in memory for followers; of durable ones that are still to be applied, up to
    /// twice as many. Entries that came together are given back together, so late by up to an append. Default 16 MiB.
    pub tail_bytes_max: usize,
    /// How many reads may wait; beyond it [`ReadError::Busy`](crate::ReadError::Busy). Default 65,536.
    pub reads_max: usize,
    /// How long the disk may answer nothing while a write is under way before a leader steps down, in ticks. Default 200 (2 s).
    pub disk_stall_ticks: u32,
    /// When to take snapshots. None, the default: never; the log only grows, and a driver that does not know how to make one is not
    /// asked to.
    pub snapshots: Option<SnapshotPolicy>,
}

/// When snapshots are taken, and how much of the log stays behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotPolicy {
    /// After how many entries since the last one. Too few: the state machine is written again and again; too many: a long log on
    /// disk, and long restarts.
    pub entries_max: u64,
    /// After how many bytes of entries since the last one, whichever comes first: few large entries fill a disk too.
    pub bytes_max: usize,
    /// How many entries in front of the newest snapshot stay in the log, for followers that are a little behind: sending
    /// entries costs less than sending a snapshot.
    pub tail_entries: u64,
    /// How many bytes of entries stay there at most, however few entries these are. What was applied before this start is not
    /// counted, and does not stay.
    pub tail_bytes: usize,
}

impl SnapshotPolicy {
    /// 100,000 entries or 256 MiB, and a tail of 10,000 entries or 64 MiB, whichever is less.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries_max: 100_000,
            bytes_max: 256 << 20,
            tail_entries: 10_000,
            tail_bytes: 64 << 20,
        }
    }
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field that must be at least 1 is 0; its name.
    Zero(&'static str),
    /// The election timeout is under three heartbeats: one lost message would depose a leader.
    ElectionTooShort {
        /// What was given, in ticks.
        election_timeout_ticks: u32,
        /// What was given, in ticks.
        heartbeat_ticks: u32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(field) => write!(f, "{field} must be at least 1"),
            Self::ElectionTooShort {
                election_timeout_ticks,
                heartbeat_ticks,
            } => write!(
                f,
                "an election timeout of {election_timeout_ticks} ticks is under 3 heartbeats of {heartbeat_ticks} ticks; \
                 raise the election timeout or shorten the heartbeat"
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Safe settings, for ticks of about 10 ms.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            election_timeout_ticks: 100,
            heartbeat_ticks: 10,
            seed,
            batch_bytes_max: 1 << 20,
            inflight_appends_max: 64,
            inflight_bytes_max: 8 << 20,
            apply_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            command_bytes_max: 2 << 20,
            tail_bytes_max: 16 << 20,
            reads_max: 1 << 16,
            disk_stall_ticks: 200,
            snapshots: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (value, name) in [
            (
                self.election_timeout_ticks as usize,
                "election_timeout_ticks",
            ),
            (self.heartbeat_ticks as usize, "heartbeat_ticks"),
            (self.batch_bytes_max, "batch_bytes_max"),
            (self.inflight_appends_max, "inflight_appends_max"),
            (self.inflight_bytes_max, "inflight_bytes_max"),
            (self.apply_bytes_max, "apply_bytes_max"),
            (self.uncommitted_bytes_max, "uncommitted_bytes_max"),
            (self.command_bytes_max, "command_bytes_max"),
            (self.tail_bytes_max, "tail_bytes_max"),
            (self.reads_max, "reads_max"),
            (self.disk_stall_ticks as usize, "disk_stall_ticks"),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if let Some(policy) = &self.snapshots {
            if policy.entries_max == 0 {
                return Err(ConfigError::Zero("snapshots.entries_max"));
            }
            if policy.bytes_max == 0 {
                return Err(ConfigError::Zero("snapshots.bytes_max"));
            }
        }
        if u64::from(self.election_timeout_ticks) < 3 * u64::from(self.heartbeat_ticks) {
            return Err(ConfigError::ElectionTooShort {
                election_timeout_ticks: self.election_timeout_ticks,
                heartbeat_ticks: self.heartbeat_ticks,
            });
        }
        Ok(())
    }
}
