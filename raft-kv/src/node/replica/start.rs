//! How a replica begins: with an empty directory, or with what its disk holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft_core::{
    Boot, ClusterId, Config, ConfigError, HardState, Identity, Index, LogId, MemberId, Membership,
    Raft, RecoverError, Recovered, RoleName, Snapshot, Term,
};

use super::{
    Action, Member, Phase, Reads, Replica, Snapshots, Standing, Upgrade, Writes, introduce,
};
use crate::node::StateMachine;
use crate::node::config::TICK;
use crate::node::formation::{Formation, Founders, FoundersError};
use crate::wire::{Seed, SnapshotFile};

/// A replica's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// The core's.
    pub core: Config,
    /// How many writes may have no answer; beyond it they are refused as busy.
    pub writes_max: usize,
    /// How many reads may have no answer; beyond it they are refused as busy.
    pub reads_max: usize,
    /// How long a read waits for the index that it wants applied, in ticks.
    pub read_wait_ticks: u32,
    /// How many bytes of a snapshot's file are sent in one piece.
    pub snapshot_piece_bytes: usize,
    /// How many bytes of it may be on their way to a follower that has not said that it has them.
    pub snapshot_window_bytes: u64,
    /// How many bytes of it are sent to a follower in a tick, on average: what a follower misses must not take all of the disks and of the
    /// network from those who write.
    pub snapshot_bytes_per_tick: u64,
}

impl ReplicaConfig {
    /// Safe settings around the core's: 65,536 writes and as many reads, two election timeouts of waiting, and snapshots in pieces of
    /// 256 KiB, of which eight are under way, at 32 MiB a second.
    #[must_use]
    pub const fn new(core: Config) -> Self {
        let read_wait_ticks = core.election_timeout_ticks.saturating_mul(2);
        Self {
            core,
            writes_max: 1 << 16,
            reads_max: 1 << 16,
            read_wait_ticks,
            snapshot_piece_bytes: 256 << 10,
            snapshot_window_bytes: 2 << 20,
            snapshot_bytes_per_tick: (32 << 20) * TICK.as_millis() as u64 / 1000,
        }
    }
}

/// Who starts, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The node in its directory's incarnation.
    pub member: MemberId,
    /// This start's number.
    pub boot: Boot,
    /// How the node comes into a cluster. Used only while the directory belongs to none.
    pub origin: Origin,
    /// What the directory holds; none when it belongs to no cluster yet.
    pub disk: Option<FormedDisk>,
}

/// How a node with a new directory comes into a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It founds one, with these.
    Found(Founders),
    /// It founds one, with these, which begins with the state of a backup; the state machine that the replica starts with holds it.
    Restore {
        /// The founders.
        founders: Founders,
        /// The state.
        seed: Seed,
    },
    /// It waits for a leader to take it in, which it belongs to from then on.
    Join,
}

/// What the directory of a formed node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormedDisk {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's first membership; none before a node that joined was sent it.
    pub founding: Option<Membership>,
    /// The newest snapshot, if there is one. The state machine that a replica starts with holds its state.
    pub snapshot: Option<(SnapshotFile, Snapshot)>,
    /// The entry right in front of the log's first.
    pub base: LogId,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The log's runs of equal terms.
    pub runs: Vec<(Index, Term)>,
    /// The log's last index.
    pub last: Index,
    /// Every membership in the log, ascending.
    pub memberships: Vec<(LogId, Membership)>,
}

/// Why a replica was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The settings cannot work.
    #[error("the settings cannot work: {0}")]
    Config(#[from] ConfigError),
    /// The list of founders cannot work.
    #[error(transparent)]
    Founders(#[from] FoundersError),
    /// The disk holds another cluster's first membership than it says.
    #[error(
        "the data directory says that it belongs to cluster {stored}, but its first membership is that of {found}"
    )]
    OtherCluster {
        /// As the metadata says.
        stored: ClusterId,
        /// By the first membership.
        found: ClusterId,
    },
    /// What the disk holds is not what a core ever wrote.
    #[error("what the data directory holds does not add up: {0}")]
    Recover(#[from] RecoverError),
}

impl<S: StateMachine, W, R> Replica<S, W, R> {
    /// A node that begins its life, or goes on with it. `machine` has applied nothing yet, but for the snapshot that the disk holds, or the seed of its origin.
    ///
    /// # Errors
    /// As [`ReplicaError`] lists them.
    pub fn start(config: ReplicaConfig, start: Start, machine: S) -> Result<Self, ReplicaError> {
        config.core.validate()?;
        let Start {
            member,
            boot,
            origin,
            disk,
        } = start;
        let mut identity = Identity {
            cluster: ClusterId::UNKNOWN,
            member,
            boot,
        };
        let mut addresses = BTreeMap::new();
        let mut standing = Standing {
            term: Term::ZERO,
            role: RoleName::Follower,
            leader: None,
        };
        let found = disk.as_ref().and_then(|disk| disk.snapshot.clone());
        let file = found.as_ref().map(|(file, _)| *file);
        let mut applied = file.map_or(Index::ZERO, |file| file.last.index);
        let phase = match disk {
            None => match origin {
                Origin::Found(founders) => {
                    addresses = founders.clone();
                    let every = config.core.heartbeat_ticks;
                    Phase::Forming(Formation::new(member, founders, None, every)?)
                }
                Origin::Restore { founders, seed } => {
                    addresses = founders.clone();
                    applied = seed.file.last.index;
                    let every = config.core.heartbeat_ticks;
                    Phase::Forming(Formation::new(member, founders, Some(seed), every)?)
                }
                Origin::Join => Phase::Joining,
            },
            Some(disk) => {
                identity.cluster = disk.cluster;
                // Those that were removed too: they may not have heard of it.
                let snapshot = disk.snapshot.iter().map(|(_, known)| &known.membership);
                let in_log = disk.memberships.iter().map(|(_, membership)| membership);
                for membership in snapshot.chain(in_log) {
                    addresses.extend(introduce::addresses(membership));
                }
                let member = recover(config.core.clone(), identity, disk)?;
                standing = self::standing(&member.core);
                Phase::Formed(Box::new(member))
            }
        };
        let mut replica = Self {
            config,
            identity,
            phase,
            standing,
            upgrade: Upgrade::new(machine.release()),
            machine,
            applied,
            applied_term: file.map_or(Term::ZERO, |file| file.last.term),
            writes: Writes::new(),
            introduced: BTreeMap::new(),
            introduced_for_ticks: 0,
            introduce_in_ticks: 0,
            changes: BTreeSet::new(),
            reads: Reads::new(),
            snapshots: Snapshots::new(file),
            actions: VecDeque::new(),
            addresses: BTreeMap::new(),
            wiped: BTreeMap::new(),
            refuted: BTreeSet::new(),
            halted: false,
        };
        if !addresses.is_empty() {
            replica.addresses = addresses.clone();
            replica.actions.push_back(Action::Peers(addresses));
        }
        replica.refresh_addresses();
        Ok(replica)
    }
}

fn recover(config: Config, identity: Identity, disk: FormedDisk) -> Result<Member, ReplicaError> {
    let found = disk.founding.as_ref().map(crate::wire::cluster_id);
    if let Some(found) = found
        && found != disk.cluster
    {
        return Err(ReplicaError::OtherCluster {
            stored: disk.cluster,
            found,
        });
    }
    let core = Raft::recover(
        config,
        Recovered {
            identity,
            hard_state: disk.hard_state,
            base: disk.base,
            applied: disk
                .snapshot
                .as_ref()
                .map_or(Index::ZERO, |(file, _)| file.last.index),
            snapshot: disk.snapshot.map(|(_, snapshot)| snapshot),
            runs: disk.runs,
            last: disk.last,
            memberships: disk.memberships,
        },
    )?;
    Ok(Member {
        core,
        founding: disk.founding,
        durable: true,
    })
}

/// How a core stands before it has said anything of it.
pub(super) fn standing(core: &Raft) -> Standing {
    let status = core.status();
    Standing {
        term: status.term,
        role: status.role,
        leader: status.leader,
    }
}
