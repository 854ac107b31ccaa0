//! A cluster that begins with a state, as one does that is restored from a backup.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use raft_core::{
    Boot, ClusterId, Config, Effect, Envelope, Identity, Incarnation, JobId, LogId, MemberId,
    Membership, NodeId, Payload, PersistJob, Raft, Recovered, RoleName, Snapshot, StartError, Term,
};

/// Where the state ends that the cluster begins with.
const BEGINNING: LogId = LogId::new(1_000_120, 1);

fn member(node: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(node),
    }
}

fn identity(node: u64) -> Identity {
    Identity {
        cluster: ClusterId([1; 16]),
        member: member(node),
        boot: Boot(1),
    }
}

fn config() -> Config {
    Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(1)
    }
}

fn voters(nodes: &[u64]) -> Membership {
    Membership::of_voters(nodes.iter().map(|&node| (member(node), Bytes::new()))).unwrap()
}

fn beginning(nodes: &[u64]) -> Snapshot {
    Snapshot {
        last: BEGINNING,
        membership: voters(nodes),
        membership_at: BEGINNING,
    }
}

fn founder(node: u64, nodes: &[u64]) -> Raft {
    Raft::bootstrap_from(config(), identity(node), beginning(nodes)).unwrap()
}

/// What the core does next: the jobs for its disk, and what it sends.
fn drain(raft: &mut Raft) -> (Vec<PersistJob>, Vec<Envelope>) {
    let (mut jobs, mut sent) = (Vec::new(), Vec::new());
    while let Some(effect) = raft.next_effect() {
        match effect {
            Effect::Persist(job) => jobs.push(job),
            Effect::Send(envelope) => sent.push(envelope),
            Effect::Apply(job) => {
                let last = job.entries.iter().last().unwrap().id.index;
                raft.applied(last).unwrap();
            }
            _ => {}
        }
    }
    (jobs, sent)
}

#[test]
fn the_first_job_marks_the_state_and_nothing_is_said_before_it_is_durable() {
    let mut raft = founder(1, &[1, 2, 3]);
    let (jobs, sent) = drain(&mut raft);
    assert_eq!((jobs.len(), sent.len()), (1, 0));
    assert_eq!(jobs[0].snapshot, Some(beginning(&[1, 2, 3])));
    assert_eq!(jobs[0].hard_state.unwrap().term, Term(1));
    assert!(jobs[0].entries.iter().next().is_none());
    for _ in 0..100 {
        raft.tick(1);
        assert!(drain(&mut raft).1.is_empty());
    }
    raft.persisted(jobs[0].id).unwrap();
    for _ in 0..100 {
        raft.tick(1);
        if !drain(&mut raft).1.is_empty() {
            return;
        }
    }
    panic!("it never asks for votes");
}

#[test]
fn a_cluster_of_one_leads_and_goes_on_behind_the_state() {
    let mut raft = founder(1, &[1]);
    for _ in 0..100 {
        raft.tick(1);
        let (jobs, _) = drain(&mut raft);
        for job in jobs {
            raft.persisted(job.id).unwrap();
        }
        drain(&mut raft);
    }
    assert_eq!(raft.status().role, RoleName::Leader);
    assert_eq!(raft.status().first, BEGINNING.index.next());
    raft.propose(vec![Bytes::from_static(b"a")]).unwrap();
    let (jobs, _) = drain(&mut raft);
    let entry = jobs[0].entries.iter().next().unwrap();
    assert!(matches!(entry.payload, Payload::Command(_)));
    assert!(entry.id.index > BEGINNING.index);
    assert_eq!(raft.snapshot_at(BEGINNING.index), Some(beginning(&[1])));
}

#[test]
fn what_the_first_job_leaves_on_the_disk_can_be_recovered_from() {
    let mut raft = founder(2, &[1, 2, 3]);
    let (jobs, _) = drain(&mut raft);
    assert_eq!(jobs[0].id, JobId(1));
    let recovered = Raft::recover(
        config(),
        Recovered {
            identity: Identity {
                boot: Boot(2),
                ..identity(2)
            },
            hard_state: jobs[0].hard_state.unwrap(),
            base: BEGINNING,
            snapshot: jobs[0].snapshot.clone(),
            runs: vec![],
            last: BEGINNING.index,
            memberships: vec![],
            applied: BEGINNING.index,
        },
    );
    let recovered = recovered.unwrap();
    assert_eq!(recovered.commit(), BEGINNING.index);
    assert_eq!(recovered.status().membership, voters(&[1, 2, 3]));
}

#[test]
fn what_cannot_begin_a_cluster_is_refused() {
    let start = |snapshot| Raft::bootstrap_from(config(), identity(1), snapshot).map(drop);
    let earlier = Snapshot {
        membership_at: LogId::new(3, 1),
        ..beginning(&[1])
    };
    assert_eq!(start(earlier), Err(StartError::BadSnapshot(BEGINNING)));
    let nowhere = LogId::new(0, 0);
    let empty = Snapshot {
        last: nowhere,
        membership_at: nowhere,
        ..beginning(&[1])
    };
    assert_eq!(start(empty), Err(StartError::BadSnapshot(nowhere)));
    let stranger = start(beginning(&[2, 3]));
    assert_eq!(stranger, Err(StartError::NotAMember(member(1))));
}
