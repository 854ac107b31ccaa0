//! What the core keeps does not grow with the log: terms as runs, and a bounded tail of payloads.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use allocation_counter::measure;
use bytes::Bytes;
use raft_core::*;

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

/// Proposes batches until the log has so many entries; by how many bytes what this thread keeps grows with that.
fn grow(raft: &mut Raft, entries: u64) -> i64 {
    let kept = measure(|| {
        while raft.status().last.index.0 < entries {
            raft.propose(vec![Bytes::from(vec![7; 64]); 500]).unwrap();
            drain(raft);
        }
    });
    kept.bytes_current
}

/// What is counted is this thread's: the test harness has others.
#[test]
fn memory_does_not_grow_with_the_log() {
    let (mut small, mut large) = (None, None);
    let small_bytes = measure(|| small = Some(recovered(10_000))).bytes_current;
    let large_bytes = measure(|| large = Some(recovered(10_000_000))).bytes_current;
    println!("10,000 entries: {small_bytes} bytes; 10,000,000 entries: {large_bytes} bytes");
    assert!(small_bytes > 0);
    assert_eq!(
        small_bytes, large_bytes,
        "a recovered log costs by its terms"
    );
    drop((small, large));

    let mut raft = recovered(4);
    while raft.role() != RoleName::Leader {
        raft.tick(1);
        drain(&mut raft);
    }
    let early = grow(&mut raft, 10_000);
    let late = grow(&mut raft, 300_000);
    println!("10,000 proposals: {early} bytes are kept; 290,000 more: {late} bytes");
    assert!(early > 1 << 14, "the tail is kept");
    assert!(
        late <= 1 << 14,
        "memory grows with the log: by {late} bytes"
    );
}
