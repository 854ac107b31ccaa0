//! Clusters whose messages take their time, and nodes whose disks do: what must still work, and stay bounded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::VecDeque;

use crate::harness::Cluster;
use bytes::Bytes;
use raft_core::{
    Config, Effect, Entry, Envelope, JobId, LogId, Message, Payload, ProposeError, Raft, Recovered,
    RoleName,
};

/// A cluster in which every message takes `delay` ticks.
struct SlowNetwork {
    cluster: Cluster,
    now: u64,
    delay: u64,
    on_its_way: VecDeque<(u64, Envelope)>,
    appends: u64,
}

impl SlowNetwork {
    fn new(cluster: Cluster, delay: u64) -> Self {
        Self {
            cluster,
            now: 0,
            delay,
            on_its_way: VecDeque::new(),
            appends: 0,
        }
    }

    fn steps(&mut self, count: u64) {
        (0..count).for_each(|_| self.step());
    }

    fn step(&mut self) {
        self.now += 1;
        self.collect();
        while self
            .on_its_way
            .front()
            .is_some_and(|(at, _)| *at <= self.now)
        {
            let (_, envelope) = self.on_its_way.pop_front().unwrap();
            self.cluster.deliver(envelope);
            self.collect();
        }
        for id in self.cluster.ids() {
            if self.cluster.is_up(id) {
                self.cluster.tick(id, 1);
                self.collect();
            }
        }
        self.cluster.take_trace();
    }

    fn collect(&mut self) {
        while let Some(envelope) = self.cluster.net.pop_front() {
            self.appends += u64::from(
                matches!(&envelope.message, Message::AppendRequest { entries, .. } if !entries.is_empty()),
            );
            self.on_its_way.push_back((self.now + self.delay, envelope));
        }
    }

    fn leader(&self) -> u64 {
        self.cluster.leader().expect("someone leads")
    }
}

/// n3 was down while the others went on, and comes back under a leader that knows nothing of it; all is quiet. The round trip is
/// shorter and longer than a heartbeat interval. (F-P17: a conflict's answer must count, whichever copy of the probe it answers.)
#[test]
fn a_follower_is_repaired_whatever_the_round_trip() {
    for delay in [1, 4, 5, 6, 8, 10, 15] {
        // The defaults: T is 100 ticks, a heartbeat 10.
        let mut network = SlowNetwork::new(Cluster::founded(Config::new(7), 3), delay);
        network.cluster.crash(3, 9);
        while network.cluster.leader().is_none() {
            network.step();
            assert!(network.now < 5000, "no leader");
        }
        network.steps(100);
        let leader = network.leader();
        for i in 0..20 {
            network
                .cluster
                .propose(leader, &[&format!("v{i}")])
                .unwrap();
            network.steps(5);
        }
        network.steps(100);
        network.cluster.crash(leader, 0);
        network.cluster.start(leader);
        network.steps(600);
        network.cluster.start(3);
        network.steps(3000);
        let last = network.cluster.nodes[&network.leader()].disk.log.len();
        let has = network.cluster.nodes[&3].disk.log.len();
        assert_eq!(
            has, last,
            "with {delay} ticks one way, n3 has {has} of {last} entries after 30 s of quiet"
        );
    }
}

/// A long way is no loss: what is under way is not sent again and again.
#[test]
fn a_long_way_is_no_loss() {
    for delay in [4, 8, 16, 20] {
        let mut network = SlowNetwork::new(Cluster::founded(Config::new(7), 3), delay);
        while network.cluster.leader().is_none() {
            network.step();
        }
        network.steps(300);
        let leader = network.leader();
        let before = network.appends;
        for i in 0..100 {
            network
                .cluster
                .propose(leader, &[&format!("v{i}")])
                .unwrap();
            network.steps(2);
        }
        network.steps(200);
        let sent = network.appends - before;
        assert!(
            sent <= 220,
            "with {delay} ticks one way, 100 entries for 2 followers took {sent} appends"
        );
    }
}

fn leader_of_one(config: Config) -> Raft {
    let mut cluster = Cluster::founded(config, 1);
    while cluster.leader().is_none() {
        cluster.tick(1, 1);
    }
    cluster.node(1).raft.take().unwrap()
}

fn jobs(raft: &mut Raft) -> Vec<JobId> {
    let mut jobs = Vec::new();
    while let Some(effect) = raft.next_effect() {
        match effect {
            Effect::Persist(job) => jobs.push(job.id),
            Effect::Apply(job) => raft.applied(job.entries.last().unwrap().id.index).unwrap(),
            _ => {}
        }
    }
    jobs
}

/// A disk that is slow and moves on is not one that hangs: no leader is lost to a backlog (F-O10).
#[test]
fn a_slow_disk_that_moves_is_no_stall() {
    let mut raft = leader_of_one(Config::new(3));
    let mut under_way = VecDeque::new();
    for tick in 0..2000u64 {
        if tick % 10 == 0 {
            raft.propose(vec![Bytes::from_static(b"x")])
                .expect("it leads");
        }
        // Each answer takes longer than the one before: up to 650 ticks, when 200 without any answer would be a stall.
        under_way.extend(
            jobs(&mut raft)
                .into_iter()
                .map(|job| (tick + 150 + tick / 4, job)),
        );
        while under_way.front().is_some_and(|&(at, _)| at <= tick) {
            raft.persisted(under_way.pop_front().unwrap().1).unwrap();
        }
        raft.tick(1);
        assert_eq!(
            raft.status().role,
            RoleName::Leader,
            "the lead was lost at tick {tick}"
        );
    }
    while let Some((_, job)) = under_way.pop_front() {
        raft.persisted(job).unwrap();
    }
    // And one that hangs is found out.
    raft.propose(vec![Bytes::from_static(b"x")]).unwrap();
    jobs(&mut raft);
    (0..300).for_each(|_| raft.tick(1));
    assert_eq!(raft.status().role, RoleName::Follower);
}

#[test]
fn the_first_batch_is_bounded_too() {
    let config = Config {
        uncommitted_bytes_max: 1000,
        ..Config::new(3)
    };
    let mut raft = leader_of_one(config);
    assert_eq!(
        raft.propose(vec![Bytes::from(vec![0; 500]); 3]),
        Err(ProposeError::BadBatch),
        "busy would mean that it fits another time"
    );
    raft.propose(vec![Bytes::from(vec![0; 5000])])
        .expect("one alone is always taken");
}

/// A follower whose disk stands still is asked again and again; what it would answer does not pile up.
#[test]
fn what_is_withheld_is_bounded() {
    let mut cluster = Cluster::founded(Config::new(7), 3);
    let mut rounds = 0;
    while cluster.leader().is_none() {
        cluster.ids().into_iter().for_each(|id| cluster.tick(id, 1));
        cluster.settle();
        rounds += 1;
        assert!(rounds < 1000, "no leader");
    }
    let leader = cluster.leader().unwrap();
    let follower = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    cluster.node(follower).hold = true;
    for i in 0..6000 {
        cluster.propose(leader, &[&format!("v{i}")]).unwrap();
        cluster.settle();
        cluster.take_trace();
    }
    let withheld = cluster.raft(follower).status().withheld;
    assert!((1..=4096).contains(&withheld), "{withheld} envelopes wait");
    cluster.save(follower, usize::MAX);
    cluster.settle();
}

/// A restarted node replays a long log while new entries come in: they do not pile up in memory (F-O8). Its state machine is slow:
/// it never answers here.
#[test]
fn the_tail_is_bounded_while_a_node_replays() {
    let config = Config {
        tail_bytes_max: 1 << 16,
        apply_bytes_max: 1 << 10,
        ..Config::new(7)
    };
    let disk = Recovered {
        identity: raft_core::Identity {
            cluster: crate::harness::CLUSTER,
            member: crate::harness::member(1),
            boot: raft_core::Boot(2),
        },
        hard_state: raft_core::HardState {
            term: raft_core::Term(1),
            voted_for: None,
            commit: raft_core::Index(100),
        },
        base: LogId::ZERO,
        snapshot: Some(raft_core::Snapshot {
            last: LogId::ZERO,
            membership: crate::harness::membership(1..=3),
            membership_at: LogId::ZERO,
        }),
        runs: vec![(raft_core::Index(1), raft_core::Term(1))],
        last: raft_core::Index(100),
        memberships: Vec::new(),
        applied: raft_core::Index::ZERO,
    };
    let mut raft = Raft::recover(config, disk).unwrap();
    let payload = Payload::Command(Bytes::from(vec![0; 1000]));
    let held_back = |raft: &Raft| raft.status().tail_bytes;
    for index in 101..2000u64 {
        let envelope = Envelope {
            cluster: crate::harness::CLUSTER,
            from: raft_core::Sender {
                member: crate::harness::member(2),
                boot: raft_core::Boot(1),
            },
            to: crate::harness::member(1),
            term: raft_core::Term(1),
            message: Message::AppendRequest {
                id: raft_core::RequestId {
                    boot: raft_core::Boot(1),
                    number: index,
                },
                prev: LogId::new(index - 1, 1),
                entries: vec![Entry {
                    id: LogId::new(index, 1),
                    payload: payload.clone(),
                }]
                .into(),
                commit: raft_core::Index(index),
            },
        };
        raft.receive(envelope).unwrap();
        while let Some(effect) = raft.next_effect() {
            if let Effect::Persist(job) = effect {
                raft.persisted(job.id).unwrap();
            }
        }
        assert!(
            held_back(&raft) <= (1 << 17) + 2000,
            "{} bytes are kept in memory",
            held_back(&raft)
        );
    }
}
