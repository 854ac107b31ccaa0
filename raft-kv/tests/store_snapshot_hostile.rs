//! Bytes from anyone: reading a snapshot never panics, never takes more memory than a multiple of what is there, and what it
//! accepts is what it would write.
//!
//! One test alone in its process, so that nothing else allocates while it measures.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says so by panicking"
)]

mod damage;
mod store_machine;

use damage::{apply, damage};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use raft_kv::api::*;
use raft_kv::store::{Store, StoreSnapshotError};
use store_machine::clients::settings;
use store_machine::{Machine, command, put, put_if};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A kept reply takes 9 bytes at least, and stands in a list that may have room for as many again, while it was twice that.
const BYTES_FOR_A_BYTE: usize = 64;

/// What is read at once, what is allocated for a length that was only claimed, and what the test harness itself may allocate
/// meanwhile in its own thread.
const OTHER_BYTES: usize = (64 + 64 + 16) << 10;

fn number() -> impl Strategy<Value = (u64, usize)> {
    let extreme = prop_oneof![
        Just(u64::MAX),
        Just(0),
        Just(1 << 24),
        Just((1 << 24) + 1),
        0..20_u64,
        any::<u64>()
    ];
    (extreme, prop::sample::select(vec![4, 8]))
}

/// Some keys, and sessions with replies of all sizes.
fn sample() -> Vec<u8> {
    let mut machine = Machine::new(settings());
    let sessions = [machine.register(), machine.register(), machine.register()];
    for (round, session) in (0..6).flat_map(|round| sessions.map(|session| (round, session))) {
        let key = format!("key/{}", session * 7 + round % 3);
        let operation = match round {
            4 => Operation::Delete {
                keys: KeyRange::Key(key.into()),
                want_previous: true,
                conditions: vec![],
            },
            5 => put_if(
                &key,
                "",
                vec![Condition::Absent {
                    key: "key/7".into(),
                }],
            ),
            _ => put(&key, &"v".repeat(session as usize * 40)),
        };
        machine.apply(&command(session, round + 1, 1, operation));
    }
    let mut bytes = Vec::new();
    machine.store.write_to(&mut bytes).unwrap();
    bytes
}

/// Reads the bytes, and counts the memory that it takes at most.
fn measure(bytes: &[u8]) -> Result<Store, StoreSnapshotError> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = Store::read_from(&mut &*bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let allowed = OTHER_BYTES + BYTES_FOR_A_BYTE * bytes.len();
    assert!(
        taken <= allowed,
        "{taken} bytes of memory for {}",
        bytes.len()
    );
    if let Ok(store) = &result {
        let mut again = Vec::new();
        store.write_to(&mut again).unwrap();
        assert_eq!(again, bytes);
    }
    result
}

#[test]
fn bytes_from_anyone_do_no_harm() {
    let sample = sample();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 5000,
        failure_persistence: None,
        ..Default::default()
    });
    let damages = prop::collection::vec(damage(number()), 0..4);
    let damaged = damages.prop_map(|damages| {
        let mut bytes = sample.clone();
        damages.iter().for_each(|damage| apply(damage, &mut bytes));
        bytes
    });
    let arbitrary = prop::collection::vec(any::<u8>(), 0..400);
    // Behind a head that lets one of its parts follow, of any number: leases, keys, claims, revisions, sessions.
    let behind =
        (prop::collection::vec(any::<u8>(), 0..400), 0..5_usize).prop_map(|(rest, part)| {
            let mut head = [1 << 60, 1 << 60, 0, 0, 0, 0];
            match part {
                0 => head[2] = 100_000,
                1 => head[3] = u64::MAX,
                2 => head[4] = 100_000,
                3 => head[1] = 0,
                _ => head[5] = 3,
            }
            let head = head.map(u64::to_le_bytes).concat();
            [&sample[..96], &head, &rest].concat()
        });
    let bytes = prop_oneof![3 => damaged, 1 => arbitrary, 1 => behind];
    runner
        .run(&bytes, |bytes| {
            let _ = measure(&bytes);
            Ok(())
        })
        .unwrap();
    // Replies are the smallest items: as many as there is room for.
    let mut many = sample[..96].to_vec();
    many[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let session = [9, 9, 0, 0, 0, 1, 1, 1, 1, 0, 0, u64::MAX]
        .map(u64::to_le_bytes)
        .concat();
    many.extend(session);
    for sequence in 1..100_000_u64 {
        many.extend(sequence.to_le_bytes());
        many.push(2);
    }
    let error = measure(&many).expect_err("more are to come");
    assert!(
        matches!(error, StoreSnapshotError::Truncated { place } if place.offset == many.len() as u64),
        "{error}"
    );
}
