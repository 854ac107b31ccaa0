//! How a node begins: what a disk may hold, what follows from it, and which settings cannot work.

use raft_core::{
    Boot, ClusterId, Config, ConfigError, Effect, HardState, Identity, Index, LogId, Raft,
    RecoverError, Recovered, RoleName, Snapshot, SnapshotPolicy, StartError, Term,
};

use crate::harness::{member, membership};
use crate::{command, config, recovered};

fn log(disk: &mut Recovered, runs: &[(u64, u64)], last: u64) {
    disk.runs = runs.iter().map(|&(i, t)| (Index(i), Term(t))).collect();
    disk.last = Index(last);
    disk.memberships = vec![(LogId::new(1, 1), membership(1..=3))];
    disk.hard_state = HardState {
        term: Term(runs.last().map_or(1, |run| run.1)),
        ..HardState::default()
    };
}

/// S-F10: the stored commit index is a hint. What was applied is committed, however old the hint is.
#[test]
fn what_was_applied_is_committed() {
    for (hint, applied, commit) in [(7, 10, 10), (10, 7, 10), (0, 0, 0), (12, 12, 12)] {
        let raft = recovered(|disk| {
            log(disk, &[(1, 1), (4, 2)], 12);
            disk.hard_state.commit = Index(hint);
            disk.applied = Index(applied);
        });
        let status = raft.unwrap().status();
        assert_eq!((status.commit.0, status.applied.0), (commit, applied));
    }
}

/// S-F6: a node that is recovered has nothing to write and nothing to send; it asks for what was committed and not applied, once.
#[test]
fn a_recovered_node_only_applies() {
    let mut raft = recovered(|disk| {
        log(disk, &[(1, 1)], 2);
        disk.hard_state.commit = Index(1);
        disk.hard_state.voted_for = Some(crate::harness::member(2));
    })
    .unwrap();
    let effect = raft.next_effect();
    assert!(
        matches!(&effect, Some(Effect::FetchLog(job)) if (job.from, job.to) == (Index(1), Index(1))),
        "{effect:?}"
    );
    assert_eq!(raft.next_effect(), None);
    let status = raft.status();
    assert_eq!((status.role, status.term), (RoleName::Follower, Term(1)));
    assert_eq!(status.voted_for, Some(crate::harness::member(2)));
}

/// F-S1: what no core ever wrote is refused, and says why; nothing is guessed.
#[test]
fn a_disk_that_cannot_be() {
    type Spoil = fn(&mut Recovered);
    let spoils: [(Spoil, RecoverError); 9] = [
        (
            |disk| disk.identity.cluster = ClusterId::UNKNOWN,
            RecoverError::NoCluster,
        ),
        (
            |disk| disk.runs.clear(),
            RecoverError::BadRuns {
                at: Index(12),
                before: Index(0),
            },
        ),
        (
            |disk| disk.hard_state.term = Term(1),
            RecoverError::TermBehindLog {
                stored: Term(1),
                last: LogId::new(12, 2),
            },
        ),
        (
            |disk| disk.hard_state.commit = Index(13),
            RecoverError::BeyondLog {
                index: Index(13),
                last: LogId::new(12, 2),
            },
        ),
        (
            |disk| disk.applied = Index(13),
            RecoverError::BeyondLog {
                index: Index(13),
                last: LogId::new(12, 2),
            },
        ),
        // The log's front is gone, and no snapshot stands in for it.
        (
            |disk| {
                disk.base = LogId::new(3, 1);
                disk.runs = vec![(Index(4), Term(2))];
                disk.memberships.clear();
            },
            RecoverError::BadSnapshot(LogId::ZERO),
        ),
        // A snapshot does, and was not loaded.
        (
            |disk| {
                disk.base = LogId::new(3, 1);
                disk.runs = vec![(Index(4), Term(2))];
                let (membership_at, membership) = disk.memberships.remove(0);
                disk.snapshot = Some(Snapshot {
                    last: disk.base,
                    membership,
                    membership_at,
                });
            },
            RecoverError::AppliedBehindLog {
                applied: Index(0),
                base: LogId::new(3, 1),
            },
        ),
        (
            |disk| disk.memberships[0].0 = LogId::new(1, 2),
            RecoverError::BadMembership(LogId::new(1, 2)),
        ),
        (|disk| disk.memberships.clear(), RecoverError::NoMembership),
    ];
    for (spoil, why) in spoils {
        let raft = recovered(|disk| {
            log(disk, &[(1, 1), (4, 2)], 12);
            spoil(disk);
        });
        assert_eq!(raft.err(), Some(why));
    }
}

/// A node that does not know its cluster would take no envelope, and so does not start.
#[test]
fn no_node_starts_without_a_cluster() {
    let identity = Identity {
        cluster: ClusterId::UNKNOWN,
        member: member(1),
        boot: Boot(1),
    };
    let founded = Raft::bootstrap(config(), identity, membership(1..=3));
    assert_eq!(founded.err(), Some(StartError::NoCluster));
    let joined = Raft::join(config(), identity);
    assert_eq!(joined.err(), Some(StartError::NoCluster));
}

/// S-J6, F-P21: settings that cannot work are refused before anything begins: an election timeout under three heartbeats, and every limit
/// of nothing.
#[test]
fn settings_that_cannot_work() {
    type Spoil = fn(&mut Config);
    let zeros: [Spoil; 13] = [
        |c| c.election_timeout_ticks = 0,
        |c| c.heartbeat_ticks = 0,
        |c| c.batch_bytes_max = 0,
        |c| c.inflight_appends_max = 0,
        |c| c.inflight_bytes_max = 0,
        |c| c.apply_bytes_max = 0,
        |c| c.uncommitted_bytes_max = 0,
        |c| c.command_bytes_max = 0,
        |c| c.tail_bytes_max = 0,
        |c| c.reads_max = 0,
        |c| c.disk_stall_ticks = 0,
        |c| {
            c.snapshots = Some(SnapshotPolicy {
                entries_max: 0,
                ..SnapshotPolicy::new()
            });
        },
        |c| {
            c.snapshots = Some(SnapshotPolicy {
                bytes_max: 0,
                ..SnapshotPolicy::new()
            });
        },
    ];
    for spoil in zeros {
        let mut config = Config::new(1);
        assert_eq!(config.validate(), Ok(()));
        spoil(&mut config);
        assert!(matches!(config.validate(), Err(ConfigError::Zero(_))));
    }
    for (election_timeout_ticks, heartbeat_ticks, good) in [
        (30, 10, true),
        (29, 10, false),
        (10, 10, false),
        (3, 1, true),
        (2, 1, false),
    ] {
        let config = Config {
            election_timeout_ticks,
            heartbeat_ticks,
            ..Config::new(1)
        };
        assert_eq!(
            config.validate().is_ok(),
            good,
            "{election_timeout_ticks}/{heartbeat_ticks}"
        );
    }
}

/// S-F17: one voter whose state machine is slow. Jobs follow each other without waiting, up to the window of bytes; an answer lets more
/// follow; and no entry is ever handed out twice.
#[test]
fn applying_is_bounded_and_never_repeats() {
    let mut config = config();
    config.batch_bytes_max = 1;
    config.apply_bytes_max = 3 * (1 + raft_core::Entry::OVERHEAD_BYTES);
    let identity = raft_core::Identity {
        cluster: crate::harness::CLUSTER,
        member: crate::harness::member(1),
        boot: raft_core::Boot(1),
    };
    let mut raft = raft_core::Raft::bootstrap(config, identity, membership([1])).unwrap();
    let mut handed: Vec<Index> = Vec::new();
    let drain = |raft: &mut raft_core::Raft, handed: &mut Vec<Index>| {
        while let Some(effect) = raft.next_effect() {
            match effect {
                Effect::Persist(job) => raft.persisted(job.id).unwrap(),
                Effect::Apply(job) => handed.extend(job.entries.iter().map(|e| e.id.index)),
                _ => {}
            }
        }
    };
    while raft.status().role != RoleName::Leader {
        raft.tick(1);
        drain(&mut raft, &mut handed);
    }
    raft.applied(*handed.last().unwrap()).unwrap();
    drain(&mut raft, &mut handed);
    let before = handed.len();
    raft.propose(vec![command("x"); 10]).unwrap();
    drain(&mut raft, &mut handed);
    assert_eq!(handed.len() - before, 3, "as many as the window takes");
    while handed.len() < before + 10 {
        let had = handed.len();
        raft.applied(*handed.last().unwrap()).unwrap();
        drain(&mut raft, &mut handed);
        assert!(handed.len() > had && handed.len() - had <= 3);
    }
    let all: Vec<Index> = (1..=handed.len() as u64).map(Index).collect();
    assert_eq!(handed, all);
    assert!(raft.applied(Index(99)).is_err());
}
