//! Snapshots of the store: what was written comes back as it was, and nothing else comes back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says so by panicking"
)]

use std::io::{self, Read, Write};

use crate::store_machine::clients::{Clients, Step, operation, settings, step};
use crate::store_machine::{Machine, command, put, put_if, raise};
use bytes::Bytes;
use proptest::prelude::*;
use raft_core::LogId;
use raft_kv::api::*;
use raft_kv::store::{STORE_SNAPSHOT_ITEM_BYTES_MAX, Settings, Store, StoreSnapshotError};

fn write(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.write_to(&mut bytes).unwrap();
    bytes
}

fn read(mut bytes: &[u8]) -> Result<Store, StoreSnapshotError> {
    Store::read_from(&mut bytes)
}

/// Why these bytes are refused.
fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("they are refused").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn delete(key: &str) -> Operation {
    Operation::Delete {
        keys: KeyRange::Key(key.to_owned().into()),
        want_previous: true,
        conditions: vec![],
    }
}

/// Everything that two stores say of themselves.
fn assert_same(one: &Store, other: &Store) {
    assert_eq!(one.state_hash(), other.state_hash());
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_eq!(one.kept_reply_bytes(), other.kept_reply_bytes());
    assert_eq!(one.cluster_version(), other.cluster_version());
    assert_eq!(write(one), write(other));
    for keys in [
        KeyRange::Prefix(Bytes::new()),
        KeyRange::Prefix("a".into()),
        KeyRange::Key("b".into()),
        KeyRange::Range("ab".into(), Some("c".into())),
    ] {
        for reverse in [false, true] {
            let query = Query {
                keys: keys.clone(),
                limit: 0,
                keys_only: false,
                count_only: false,
                reverse,
                revision: 0,
            };
            let ask = |store: &Store| store.query(&query, usize::MAX);
            assert_eq!(ask(one), ask(other));
        }
    }
}

/// What a step does to a machine; the same on every machine in the same state.
fn take(step: &Step, command: Option<&Command>, machine: &mut Machine) -> Option<CommandReply> {
    match (step, command) {
        (_, Some(command)) => Some(machine.apply(command)),
        (Step::Register, None) => Some(CommandReply::Registered {
            session: machine.register(),
        }),
        _ => {
            machine.pass();
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// A store that was read goes on as the one that was written; and a picture stays as it was when it was taken.
    #[test]
    fn what_comes_back_is_what_was_written(
        steps in prop::collection::vec(step(), 1..120),
        cut in any::<prop::sample::Index>(),
        operations in prop::collection::vec(operation(), 20),
        session_reply_bytes_max in prop_oneof![0..3000_u64, Just(2 << 20)],
        reply_bytes_max in prop_oneof![0..3000_u64, Just(256 << 20)],
    ) {
        let settings = Settings { session_reply_bytes_max, reply_bytes_max, ..settings() };
        let mut machine = Machine::new(settings);
        let mut clients = Clients::default();
        let mut sent = Vec::new();
        let cut = cut.index(steps.len());
        let mut copies: Option<(Store, Vec<u8>, Machine)> = None;
        for (at, step) in steps.iter().enumerate() {
            if at == cut {
                let picture = machine.store.clone();
                let bytes = write(&picture);
                let copy = Machine::from(read(&bytes).unwrap());
                assert_same(&picture, &copy.store);
                copies = Some((picture, bytes, copy));
            }
            let command = clients.command(step, &operations);
            let reply = take(step, command.as_ref(), &mut machine);
            if let Some(CommandReply::Registered { session }) = reply {
                clients.sessions.push((session, 1));
            }
            if let Some((_, _, copy)) = &mut copies {
                prop_assert_eq!(take(step, command.as_ref(), copy), reply);
                prop_assert_eq!(copy.store.state_hash(), machine.store.state_hash());
            }
            sent.extend(command);
        }
        let (picture, bytes, mut copy) = copies.unwrap();
        prop_assert_eq!(write(&picture), bytes);
        // All that was ever sent is sent once more.
        for command in sent {
            prop_assert_eq!(machine.apply(&command), copy.apply(&command));
        }
        assert_same(&machine.store, &copy.store);
    }
}

/// Leads to the same state by different ways: over many keys that are gone at the end, or over a single one.
fn by_way_of(many: bool) -> Store {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    let mut sequence = 0;
    let mut run = |operation| {
        sequence += 1;
        let reply = machine.apply(&command(session, sequence, sequence, operation));
        assert!(!matches!(reply, CommandReply::Deleted { count: 0, .. }));
    };
    let remove = |key: String| Operation::Delete {
        keys: KeyRange::Key(key.into()),
        want_previous: false,
        conditions: vec![],
    };
    // Among those that stay, behind each of them.
    let between = |number| format!("{:04}/between", if many { number } else { 700 });
    for number in 0..1501 {
        run(put(&between(number), "x"));
    }
    for number in 0..1500 {
        // In no order at all.
        run(put(&format!("{:04}", number * 367 % 1500), "y"));
    }
    // Either changes keys as often.
    for number in 0..1501 {
        let again = !many && number % 2 == 1;
        run(if again {
            put(&between(number), "x")
        } else {
            remove(between(number))
        });
    }
    // What stood where before is part of the state, as long as it is kept.
    let revision = 1501 + 1500 + 1501;
    run(Operation::Compact { revision });
    machine.store
}

#[test]
fn equal_states_have_equal_bytes_whatever_led_to_them() {
    let many = by_way_of(true);
    assert_eq!(many.key_count(), 1500);
    assert_same(&many, &by_way_of(false));
    // With full chunks, as one that is read in order has them.
    assert_same(&many, &read(&write(&many)).unwrap());
}

/// Two sessions, keys, and all kinds of kept replies.
fn small() -> Store {
    let settings = Settings {
        outstanding_max: 8,
        session_reply_bytes_max: 1500,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let (one, two) = (machine.register(), machine.register());
    let mut sequence = 0;
    let mut run = |session, operation| {
        sequence += 1;
        machine.apply(&command(session, sequence, 2, operation))
    };
    run(one, put("gone", "1"));
    run(one, put("k", "one"));
    run(one, put("k", "two"));
    run(
        one,
        put_if("k", "", vec![Condition::Absent { key: "k".into() }]),
    );
    run(one, delete("gone"));
    run(one, raise(1));
    let leased = Operation::Put {
        key: "k".into(),
        value: "".into(),
        lease: 7,
        want_previous: false,
        conditions: vec![],
    };
    run(one, leased);
    run(one, put("l", &"x".repeat(400)));
    // Its answer is too large to be kept.
    let reply = run(one, put("l", ""));
    assert!(matches!(
        reply,
        CommandReply::Put {
            previous: Some(_),
            ..
        }
    ));
    for sequence in [12, 20] {
        machine.apply(&command(two, sequence, 3, put("k", "")));
    }
    machine.pass();
    machine.store
}

/// Read by another implementation of `docs/store-snapshot.md`, which found the same state hash: head, two keys, six revisions, the one
/// session with its eight replies, the other one, state hash.
const GOLDEN: &str = "
    010000000100010010270000000000000800000000000000dc0500000000000000000010000000000000100000000000a086010000000000a08601
    0000000000102700000000000050c300000000000000000001000000000e0000000000000006000000000000000000000000000000000000000000
    0000020000000000000000000000000000000200000000000000010000000300000002000000000000000300000000000000020000000000000000
    000000000000006b74776f010000000000000005000000000000000600000000000000020000000000000000000000000000006c01000000000000
    0001000104000000676f6e650100000000000000010000000000000001000000000000000000000000000000010000003101000000000000000100
    01010000006b0200000000000000020000000000000001000000000000000000000000000000030000006f6e650100000000000000010202010000
    006b010000000000000001020004000000676f6e650100000000000000010001010000006c05000000000000000500000000000000010000000000
    0000000000000000000090010000787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    7878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
    780100000000000000010202010000006c01000000000000000b000000000000000200000000000000000000000000000000000000000000000800
    0000000000000200000000000000030200000000000000000000000000000003000000000000000303000000000000000100000000000000010000
    000300000002000000000000000200000000000000010000000000000000000000000000006b6f6e65040000000000000005030000000000000001
    00000000000000010000000300000002000000000000000300000000000000020000000000000000000000000000006b74776f0500000000000000
    0401000000000000000400000000000000010000000000000004000000010000000100000000000000010000000000000001000000000000000000
    000000000000676f6e6531060000000000000006010007000000000000000908000000000000000305000000000000000000000000000000090000
    00000000000802000000000000000d0000000000000003000000000000000c0000000000000014000000000000000000000000000000f598d45c04
    7b92c3
";

#[test]
fn the_bytes_are_these_for_ever() {
    let golden = GOLDEN.replace(char::is_whitespace, "");
    let store = small();
    let bytes = write(&store);
    assert_eq!(hex(&bytes), golden);
    assert_same(&store, &read(&bytes).unwrap());
}

#[test]
fn every_beginning_is_refused_and_every_continuation() {
    let bytes = write(&small());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).expect_err("a part");
        assert!(
            matches!(error, StoreSnapshotError::Truncated { place } if place.offset <= length as u64),
            "{length}: {error}"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = read(&longer).expect_err("more");
    assert!(matches!(error, StoreSnapshotError::Remainder { .. }));
}

#[test]
fn every_damaged_byte_is_refused() {
    let bytes = write(&small());
    for at in 0..bytes.len() {
        for damage in (0..8).map(|bit| 1 << bit).chain([0xff, 0x0f, 3]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= damage;
            assert!(read(&damaged).is_err(), "byte {at} ^ {damage}");
        }
    }
}

/// The bytes with a number in some place.
fn with(bytes: &[u8], at: usize, number: u64) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at..at + 8].copy_from_slice(&number.to_le_bytes());
    changed
}

/// Where the keys and the sessions of [`small`] begin.
fn parts(bytes: &[u8]) -> (usize, usize) {
    let first_session = [1_u64.to_le_bytes(), 11_u64.to_le_bytes()].concat();
    let found = bytes.windows(16).position(|found| found == first_session);
    (144, found.expect("it was last used by entry 11"))
}

#[test]
fn what_no_store_can_be_is_refused_for_its_reason() {
    let store = small();
    let bytes = write(&store);
    // One key of 1 and 3 bytes, and one of 1 and none.
    let (keys, sessions) = parts(&bytes);
    for (at, number, reason) in [
        (0, 0, "head, byte 1: there is no such version"),
        (88, u64::MAX, "no log has such an index"),
        (96, u64::MAX, "no log leads to such a revision"),
        (104, 7, "the oldest revision is behind the newest"),
        (112, 1 << 20, "more leases than the settings allow"),
        (128, 1 << 20, "more claims than the settings allow"),
        (136, 10_001, "more sessions than the settings allow"),
        (
            keys,
            u64::MAX,
            "key 1, byte 148: 4294967295 bytes are over the limit of 16777216",
        ),
        (keys + 32, 5, "it lives by a lease that is not there"),
        (keys + 8, 0, "it was changed before it was created"),
        (keys + 8, 4, "it was changed before it was created"),
        (keys + 16, 1 << 20, "it was changed after the last change"),
        (
            keys + 24,
            0,
            "it was written more often than there were revisions, or never",
        ),
        (
            keys + 24,
            9,
            "it was written more often than there were revisions, or never",
        ),
        (sessions, 0, "the sessions do not ascend"),
        (
            sessions,
            99,
            "it was last used before it began, or after the last entry",
        ),
        (
            sessions + 8,
            99,
            "it was last used before it began, or after the last entry",
        ),
        (sessions + 16, 0, "commands are numbered from 1"),
        (
            sessions + 16,
            3,
            "a reply that the client has, or that is too far ahead",
        ),
        (sessions + 24, 5, "what was refused is no range, or is over"),
        (
            sessions + 48,
            10,
            "a reply that the client has, or that is too far ahead",
        ),
        (24, 0, "it keeps more than the settings allow"),
        (
            bytes.len() - 8,
            0,
            "its state hash is 0000000000000000, and what was read has",
        ),
    ] {
        let error = refusal(&with(&bytes, at, number));
        assert!(error.contains(reason), "{at}: {error}");
        assert!(error.starts_with("snapshot of the store"), "{error}");
    }
}

#[test]
fn nothing_stands_in_a_snapshot_twice() {
    let store = small();
    let bytes = write(&store);
    let (keys, sessions) = parts(&bytes);
    let swapped = [
        &bytes[..keys],
        &bytes[keys + 44..keys + 85],
        &bytes[keys..keys + 44],
        &bytes[keys + 85..],
    ]
    .concat();
    assert!(refusal(&swapped).contains("key 2, byte 229: the keys do not ascend"));
    let second = bytes.len() - 8 - 48;
    let used = store.applied().0 - 1;
    assert_eq!(bytes[second + 8..second + 16], used.to_le_bytes());
    let twice = with(&bytes, sessions + 8, used);
    assert!(refusal(&twice).contains("two were last used by the same entry"));
    let same = with(&bytes, second, 1);
    assert!(refusal(&same).contains("session 2"));
}

#[test]
fn what_is_newer_says_so() {
    let bytes = write(&small());
    for version in [2, 255] {
        let mut newer = bytes.clone();
        newer[0] = version;
        let error = read(&newer).expect_err("newer");
        assert!(
            matches!(error, StoreSnapshotError::UnknownVersion { version: found, .. } if found == version)
        );
        assert!(error.to_string().contains("start raft-kv"));
    }
    let mut named = bytes.clone();
    (named[1], named[4]) = (5, 2);
    named.splice(8..8, *b"9.8.7");
    for version in [1, 2] {
        named[0] = version;
        let error = read(&named).expect_err("newer").to_string();
        assert!(error.contains("start raft-kv 9.8.7 or later"), "{error}");
    }
    let mut newer = bytes;
    newer[4] = 2;
    let error = read(&newer).expect_err("newer");
    assert!(matches!(
        error,
        StoreSnapshotError::ClusterVersionTooNew { version: 2, .. }
    ));
    assert!(error.to_string().contains("start raft-kv"));
}

/// Hands out a byte at a time, and fails at the end.
struct Slow<'a>(&'a [u8], Option<io::ErrorKind>);

impl Read for Slow<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.split_off_first() {
            Some(&byte) => {
                to[0] = byte;
                Ok(1)
            }
            None => self.1.map_or(Ok(0), |kind| Err(kind.into())),
        }
    }
}

/// Takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn readers_and_writers_may_be_slow_or_fail() {
    let store = small();
    let bytes = write(&store);
    assert_same(&Store::read_from(&mut Slow(&bytes, None)).unwrap(), &store);
    for length in [0, 100, bytes.len()] {
        let mut failing = Slow(&bytes[..length], Some(io::ErrorKind::TimedOut));
        let error = Store::read_from(&mut failing).expect_err("fails");
        assert!(
            matches!(&error, StoreSnapshotError::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut),
            "{error}"
        );
    }
    for length in 0..bytes.len() {
        let error = store.write_to(&mut Full(length)).expect_err("is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    store.write_to(&mut Full(bytes.len())).unwrap();
}

#[test]
fn values_of_any_length_come_back_and_too_large_ones_are_not_written() {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    let lengths = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        STORE_SNAPSHOT_ITEM_BYTES_MAX,
    ];
    for (sequence, length) in (1..).zip(lengths) {
        let set = put(&length.to_string(), &"v".repeat(length));
        machine.apply(&command(session, sequence, sequence, set));
    }
    let bytes = write(&machine.store);
    let back = read(&bytes).unwrap();
    assert_eq!(back.state_hash(), machine.store.state_hash());
    assert_eq!(write(&back), bytes);
    let at = LogId::new(machine.store.applied().0 + 1, 1);
    let set = put("k", &"v".repeat(STORE_SNAPSHOT_ITEM_BYTES_MAX + 1));
    let mut store = machine.store;
    store.apply(at, &command(session, 99, 99, set)).unwrap();
    let error = store.write_to(&mut io::sink()).expect_err("too large");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
