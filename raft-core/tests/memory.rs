//! What the core keeps does not grow with the log: terms as runs, and a bounded tail of payloads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use raft_core::*;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn me() -> MemberId {
    MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    }
}

fn config() -> Config {
    Config {
        tail_bytes_max: 1 << 16,
        ..Config::new(1)
    }
}

/// A node alone in its cluster, with so many entries in its log, all applied, in two terms.
fn recovered(entries: u64) -> Raft {
    let membership = Membership::of_voters([(me(), Bytes::new())]).unwrap();
    let identity = Identity {
        cluster: ClusterId([1; 16]),
        member: me(),
        boot: Boot(2),
    };
    let disk = Recovered {
        identity,
        hard_state: HardState {
            term: Term(2),
            voted_for: None,
            commit: Index(entries),
        },
        base: LogId::ZERO,
        snapshot: None,
        runs: vec![(Index(1), Term(1)), (Index(entries / 2), Term(2))],
        last: Index(entries),
        memberships: vec![(Raft::FOUNDING, membership)],
        applied: Index(entries),
    };
    Raft::recover(config(), disk).unwrap()
}

/// Carries out everything at once, keeping nothing.
fn drain(raft: &mut Raft) {
    while let Some(effect) = raft.next_effect() {
        match effect {
            Effect::Persist(job) => raft.persisted(job.id).unwrap(),
            Effect::Apply(job) => raft.applied(job.entries.last().unwrap().id.index).unwrap(),
            _ => {}
        }
    }
}

/// Proposes batches until the log has so many entries; what the allocator has given out then.
fn grow(raft: &mut Raft, entries: u64) -> usize {
    while raft.status().last.index.0 < entries {
        raft.propose(vec![Bytes::from(vec![7; 64]); 500]).unwrap();
        drain(raft);
    }
    ALLOCATOR.current_usage()
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn memory_does_not_grow_with_the_log() {
    let before = ALLOCATOR.current_usage();
    let small = recovered(10_000);
    let small_bytes = ALLOCATOR.current_usage() - before;
    let before = ALLOCATOR.current_usage();
    let large = recovered(10_000_000);
    let large_bytes = ALLOCATOR.current_usage() - before;
    println!("10,000 entries: {small_bytes} bytes; 10,000,000 entries: {large_bytes} bytes");
    assert_eq!(
        small_bytes, large_bytes,
        "a recovered log costs by its terms"
    );
    drop((small, large));

    let mut raft = recovered(4);
    while raft.status().role != RoleName::Leader {
        raft.tick(1);
        drain(&mut raft);
    }
    let early = grow(&mut raft, 10_000);
    let late = grow(&mut raft, 300_000);
    println!("after 10,000 proposals: {early} bytes; after 300,000: {late} bytes");
    assert!(
        late <= early + (1 << 14),
        "memory grows with the log: {early} bytes, then {late}"
    );
}
