//! What a node can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use raft_core::{Config, ConfigError, NodeId, SnapshotPolicy};

use super::formation::{Founders, FoundersError, check_founders};

/// The largest command, in bytes: the log takes records of 2 MiB and a little more.
pub const COMMAND_BYTES_MAX: usize = 2 << 20;

/// How many bytes of entries the core puts into one append, though always at least one entry. Up to 4 MiB stay within what the
/// wire lets an append carry (see [`ENTRIES_MAX`](crate::wire::ENTRIES_MAX)).
const BATCH_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(BATCH_BYTES_MAX <= 4 << 20);

/// How long a tick of the core is.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node's number; at least 1.
    pub id: u64,
    /// Where it listens, as `host:port`.
    pub listen: String,
    /// Where it keeps its log. Made when it is not there; belongs to this node alone.
    pub data_dir: PathBuf,
    /// The first members, this node included, and where the others reach each. Used only while the data directory is new,
    /// and may be empty later.
    pub cluster: BTreeMap<u64, String>,
    /// Founds nothing, and waits for a leader to take it in, whatever cluster that leads. Used only while the data directory is new; not
    /// together with `cluster`.
    pub join: bool,
    /// T: a follower that hears nothing campaigns after a time drawn from [T, 2T). Default 1 s; whole ticks of 10 ms.
    pub election_timeout: Duration,
    /// How often a leader speaks when it has nothing to say. Default 100 ms; at most a third of the election timeout.
    pub heartbeat: Duration,
    /// Where to dial some nodes instead of where the membership says they are; for tests that put something in between.
    pub dial_override: BTreeMap<u64, String>,
    /// After how many entries the state is written to a snapshot, and the log in front of it goes; at least 1. Default 100,000. One is
    /// taken too when the entries since the last have [`snapshot_bytes`](Self::snapshot_bytes).
    pub snapshot_every: u64,
    /// After how many bytes of entries the state is written to a snapshot. Default 64 MiB; at least 1.
    pub snapshot_bytes: usize,
    /// How many entries stay in the log in front of the snapshot, for followers that are a little behind; of a quarter of
    /// [`snapshot_bytes`](Self::snapshot_bytes) at most. Default 5,000.
    pub snapshot_tail: u64,
    /// The size of the log's files, in bytes. Default 16 MiB: two stand on the disk, written with zeros, from the start.
    pub segment_bytes: u64,
}

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeConfigError {
    /// Node 0.
    #[error("a node's id is at least 1")]
    BadId,
    /// Nothing says who belongs to the cluster.
    #[error(
        "the data directory is new, so the cluster's first members must be listed: --cluster 1=HOST:PORT,…; or, with --join, the node \
         waits until a cluster takes it in"
    )]
    NoCluster,
    /// It cannot both found a cluster and be taken into one.
    #[error(
        "--cluster founds a cluster, and --join waits for one to take the node in; give only one of them"
    )]
    FoundAndJoin,
    /// The cluster's list cannot work.
    #[error(transparent)]
    Cluster(#[from] FoundersError),
    /// A time is no multiple of a tick, or too long.
    #[error("{field} is {given:?}; it must be a multiple of 10ms, at least 10ms and at most 1h")]
    Time {
        /// Which.
        field: &'static str,
        /// As given.
        given: Duration,
    },
    /// The core does not take them.
    #[error("{0}")]
    Core(ConfigError),
    /// The two times do not go together.
    #[error(
        "the election timeout of {election_timeout:?} is under 3 heartbeats of {heartbeat:?}: one lost message would depose \
         a leader; raise the election timeout or shorten the heartbeat"
    )]
    ElectionTooShort {
        /// As given.
        election_timeout: Duration,
        /// As given.
        heartbeat: Duration,
    },
    /// Snapshots after nothing.
    #[error(
        "a snapshot after every 0 entries, or 0 bytes of them, cannot be; give at least 1, and in earnest some thousands"
    )]
    NoSnapshots,
    /// The log's files cannot be so large.
    #[error(transparent)]
    Segments(#[from] raft_log::OptionsError),
    /// An address without a port, say.
    #[error("{0:?} is no address; write host:port")]
    Address(String),
}

impl NodeConfig {
    /// Node `id` of a cluster, with safe times.
    #[must_use]
    pub fn new(id: u64, data_dir: impl Into<PathBuf>, cluster: BTreeMap<u64, String>) -> Self {
        Self {
            id,
            listen: cluster.get(&id).cloned().unwrap_or_default(),
            data_dir: data_dir.into(),
            cluster,
            join: false,
            election_timeout: Duration::from_secs(1),
            heartbeat: Duration::from_millis(100),
            dial_override: BTreeMap::new(),
            snapshot_every: 100_000,
            snapshot_bytes: 64 << 20,
            snapshot_tail: 5_000,
            segment_bytes: 16 << 20,
        }
    }

    /// The founders, as the formation of the cluster wants them.
    pub(crate) fn founders(&self) -> Founders {
        self.cluster
            .iter()
            .map(|(&node, address)| (NodeId(node), address.clone()))
            .collect()
    }

    /// The core's settings.
    pub(crate) fn core(&self, seed: u64) -> Result<Config, NodeConfigError> {
        let election_timeout_ticks = ticks("the election timeout", self.election_timeout)?;
        let heartbeat_ticks = ticks("the heartbeat", self.heartbeat)?;
        let config = Config {
            election_timeout_ticks,
            heartbeat_ticks,
            command_bytes_max: COMMAND_BYTES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            snapshots: Some(SnapshotPolicy {
                entries_max: self.snapshot_every,
                bytes_max: self.snapshot_bytes,
                tail_entries: self.snapshot_tail,
                tail_bytes: self.snapshot_bytes / 4,
            }),
            ..Config::new(seed)
        };
        config.validate().map_err(|error| match error {
            ConfigError::ElectionTooShort { .. } => NodeConfigError::ElectionTooShort {
                election_timeout: self.election_timeout,
                heartbeat: self.heartbeat,
            },
            other => NodeConfigError::Core(other),
        })?;
        Ok(config)
    }

    /// Checks every setting. Touches no file and no socket.
    ///
    /// # Errors
    /// The first that cannot work.
    pub fn validate(&self) -> Result<(), NodeConfigError> {
        if self.id == 0 {
            return Err(NodeConfigError::BadId);
        }
        let addresses = self
            .cluster
            .values()
            .chain(self.dial_override.values())
            .chain([&self.listen]);
        for address in addresses {
            check_address(address)?;
        }
        if self.join && !self.cluster.is_empty() {
            return Err(NodeConfigError::FoundAndJoin);
        }
        if self.snapshot_every == 0 || self.snapshot_bytes == 0 {
            return Err(NodeConfigError::NoSnapshots);
        }
        raft_log::Options {
            segment_bytes: self.segment_bytes,
            ..raft_log::Options::default()
        }
        .validate()?;
        if !self.cluster.is_empty() {
            check_founders(&self.founders(), NodeId(self.id))?;
        }
        self.core(0).map(drop)
    }
}

/// Whether this reads as `host:port`. Whether there is such a host, only dialling shows.
pub(crate) fn check_address(address: &str) -> Result<(), NodeConfigError> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let visible = host.chars().all(|c| !c.is_control() && !c.is_whitespace());
        !host.is_empty() && visible && port.parse::<u16>().is_ok()
    });
    if good {
        Ok(())
    } else {
        Err(NodeConfigError::Address(address.to_owned()))
    }
}

fn ticks(field: &'static str, given: Duration) -> Result<u32, NodeConfigError> {
    let error = NodeConfigError::Time { field, given };
    let millis = given.as_millis();
    if !millis.is_multiple_of(TICK.as_millis()) || millis == 0 || given > Duration::from_secs(3600)
    {
        return Err(error);
    }
    u32::try_from(millis / TICK.as_millis()).map_err(|_| error)
}
