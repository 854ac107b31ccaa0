//! What a run is made of: drawn from its seed, or given.

use std::time::Duration;

use super::agenda::Time;
use super::faults::{Fault, Faults, Occurrence};
use super::random::{Purpose, between, stream};

/// A run. The same setup makes the same run, to the last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes found the cluster.
    pub nodes: usize,
    /// How many more there are, for the operator to take in.
    pub spares: usize,
    /// How many clients.
    pub clients: usize,
    /// What may go wrong.
    pub faults: Faults,
    /// If given, only these faults come, of those that come at moments; what is always there (losses and the like) is left to `faults`.
    pub only: Option<Vec<Occurrence>>,
    /// How long faults come and clients ask, in virtual time. Then all that is broken is mended, and everything must be well soon.
    pub horizon: Time,
    /// The nodes' settings.
    pub tuning: Tuning,
}

/// Settings of all nodes: small enough that every limit is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often a leader speaks.
    pub heartbeat: Duration,
    /// As [`NodeConfig::election_timeout`](crate::node::NodeConfig::election_timeout).
    pub election_timeout: Duration,
    /// The size of the log's files.
    pub segment_bytes: u64,
    /// How many bytes of entries one append carries.
    pub batch_bytes_max: usize,
    /// How many appends may be on their way to a follower.
    pub inflight_appends_max: usize,
    /// How many bytes of durable entries stay in memory.
    pub tail_bytes_max: usize,
    /// How many writes may be open at a node.
    pub writes_max: usize,
    /// After how many entries a snapshot is taken, and how many stay in the log in front of it.
    pub snapshot: (u64, u64),
    /// How many bytes of a snapshot's file travel in one piece, and how many pieces may be under way.
    pub pieces: (usize, u64),
    /// How long a message takes at least and at most.
    pub latency: (Duration, Duration),
    /// How long a write to the disk takes at least and at most.
    pub write: (Duration, Duration),
}

impl Setup {
    /// What this seed stands for: 1, 3 or 5 nodes, a mix of faults, and limits that are met.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = stream(seed, Purpose::Setup, 0);
        let nodes = match rng.u8(0..8) {
            0 => 1,
            1 | 2 => 5,
            _ => 3,
        };
        let faults = Faults::draw(seed);
        let spares = stream(seed, Purpose::Setup, 2).usize(0..=2);
        Self {
            seed,
            nodes,
            spares: if faults.has(Fault::Membership) {
                spares
            } else {
                0
            },
            clients: rng.usize(3..=6),
            faults,
            only: None,
            horizon: Duration::from_secs(60),
            tuning: Tuning::draw(seed),
        }
    }
}

impl Setup {
    /// How many machines there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.nodes + self.spares
    }
}

impl Tuning {
    fn draw(seed: u64) -> Self {
        let ms = Duration::from_millis;
        let micros = Duration::from_micros;
        let mut rng = stream(seed, Purpose::Setup, 1);
        let heartbeat = ms(10 * rng.u64(5..=10));
        let timeout = u32::from(rng.u8(5..=10));
        let near = between(&mut rng, micros(50), ms(2));
        let fast = between(&mut rng, micros(50), ms(1));
        Self {
            heartbeat,
            election_timeout: heartbeat * timeout,
            segment_bytes: if rng.bool() { 8 << 10 } else { 64 << 10 },
            batch_bytes_max: if rng.bool() { 1 << 20 } else { 300 },
            inflight_appends_max: rng.usize(1..=64),
            tail_bytes_max: if rng.bool() { 16 << 20 } else { 2000 },
            writes_max: if rng.u8(0..4) == 0 { 4 } else { 1 << 16 },
            snapshot: {
                let mut rng = stream(seed, Purpose::Setup, 3);
                let every = match rng.u8(0..4) {
                    0 => 1_000_000,
                    1 => rng.u64(200..400),
                    _ => rng.u64(10..60),
                };
                (every, rng.u64(0..20))
            },
            pieces: {
                let mut rng = stream(seed, Purpose::Setup, 4);
                (rng.usize(100..4000), rng.u64(1..6))
            },
            latency: (near, near * u32::from(rng.u8(2..=10))),
            write: (fast, fast * u32::from(rng.u8(2..=10))),
        }
    }
}
