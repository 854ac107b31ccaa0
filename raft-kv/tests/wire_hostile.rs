//! Bytes from anyone: no decoder panics, none takes more memory than a multiple of what it was given, and what one accepts
//! it means.
//!
//! One test alone in its process, so that nothing else allocates while it measures.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says so by panicking"
)]

mod damage;
mod wire_samples;

use bytes::Bytes;
use damage::{apply, damage};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::sample::Index;
use wire_samples::{Value, join, samples};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// A byte of a packed list may stand for an element that takes as many bytes as its type in memory, twice: as it was
/// unpacked, and as it is handed on.
const BYTES_FOR_A_BYTE: usize = 32;

/// What the test harness itself may allocate meanwhile in its own thread.
const OTHER_BYTES: usize = 16 << 10;

fn number() -> impl Strategy<Value = (u64, usize)> {
    let extreme = prop_oneof![
        Just(u32::MAX),
        Just(0x7fff_ffff),
        Just(1 << 17),
        Just((1 << 17) + 1),
        any::<u32>()
    ];
    extreme.prop_map(|number| (number.into(), 4))
}

/// Decodes, checks what it took and what came of it, and says whether anything did.
fn decode(alike: &Value, bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let length = bytes.len();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = alike.decode_alike(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(
        taken <= OTHER_BYTES + BYTES_FOR_A_BYTE * length,
        "{taken} bytes were allocated to decode {length}"
    );
    let Ok(value) = decoded else {
        return false;
    };
    // postcard accepts a number in more than one form, so the bytes may differ; the meaning may not.
    let again = value
        .decode_alike(join(&value.encode()))
        .expect("what was encoded decodes");
    // The payload of a write is the client's own bytes, in whatever form it chose.
    match (again, value) {
        (
            Value::Request(raft_kv::wire::Incoming::Write { command: again, .. }),
            Value::Request(raft_kv::wire::Incoming::Write { command, .. }),
        ) => assert_eq!(again, command),
        (again, value) => assert_eq!(again, value),
    }
    true
}

/// The worst that is known: lists whose elements are as short as they can be, and counts that lie. Each with the sample that
/// it is alike, and whether it decodes.
fn crafted() -> Vec<(usize, Vec<u8>, bool)> {
    let samples = samples();
    let at = |name| {
        samples
            .iter()
            .position(|(found, ..)| *found == name)
            .expect("a sample")
    };
    let bytes = |name| join(&samples[at(name)].1.encode()).to_vec();
    let mut all = Vec::new();
    for count in [1 << 17, (1 << 17) + 1, u32::MAX] {
        let mut append = bytes("append request");
        append[108..112].copy_from_slice(&count.to_le_bytes());
        all.push((at("append request"), append, false));
    }
    // 100,000 no-ops in 21 bytes each.
    let mut noops = bytes("append request")[..108].to_vec();
    noops.extend(100_000_u32.to_le_bytes());
    for _ in 0..100_000 {
        noops.extend([0; 16]);
        noops.extend([1, 0, 0, 0, 0]);
    }
    all.push((at("append request"), noops, true));
    // As many key-values as a response may have, and one more, each of six bytes.
    for count in [1 << 18, (1 << 18) + 1_u32] {
        let mut reply = bytes("query reply")[..52].to_vec();
        let head_bytes = 1 + 3 + 6 * count + 2;
        reply.extend(head_bytes.to_le_bytes());
        reply.push(1);
        reply.extend([
            (count & 0x7f) as u8 | 0x80,
            (count >> 7) as u8 | 0x80,
            (count >> 14) as u8,
        ]);
        reply.resize(reply.len() + 6 * count as usize, 0);
        reply.extend([0, 0]);
        all.push((at("query reply"), reply, count == 1 << 18));
    }
    // A list that claims 2^63 elements.
    let mut hello = bytes("hello")[..11].to_vec();
    hello.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]);
    all.push((at("hello"), hello, false));
    all
}

#[test]
fn no_bytes_panic_a_decoder_or_take_memory_beyond_their_length() {
    let samples = samples();
    for (alike, bytes, good) in crafted() {
        let (name, value, _) = &samples[alike];
        assert_eq!(
            decode(value, &bytes),
            good,
            "{name} of {} bytes",
            bytes.len()
        );
    }
    let any_bytes = prop::collection::vec(any::<u8>(), 0..300);
    let damages = prop::collection::vec(damage(number()), 1..4);
    let cases = (any::<Index>(), any_bytes, damages, any::<bool>());
    let config = ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..Default::default()
    };
    proptest!(config, |((sample, mut noise, damages, versioned) in cases)| {
        let value = &sample.get(&samples).1;
        let mut bytes = join(&value.encode()).to_vec();
        for damage in &damages {
            apply(damage, &mut bytes);
        }
        decode(value, &bytes);
        // Without the right version, noise does not come far.
        if versioned && let Some(first) = noise.first_mut() {
            *first = 1;
        }
        decode(value, &noise);
    });
}
