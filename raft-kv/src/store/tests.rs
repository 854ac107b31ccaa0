//! What is kept up to date step by step is what a reckoning from scratch gives; and the hash tells states apart.

use proptest::prelude::*;

use super::*;
use crate::api::KeyRange;

fn command(session: u64, sequence: u64, first: u64, operation: Operation) -> Command {
    Command {
        session,
        sequence,
        first_outstanding: first,
        principal: Bytes::new(),
        operation,
    }
}

fn put(key: u8, value_bytes: usize) -> Operation {
    Operation::Put {
        key: Bytes::copy_from_slice(&[key]),
        value: vec![key; value_bytes].into(),
        lease: 0,
        want_previous: true,
        conditions: vec![],
    }
}

fn delete(key: u8) -> Operation {
    Operation::Delete {
        keys: KeyRange::Prefix(Bytes::copy_from_slice(&[key])),
        want_previous: true,
        conditions: vec![],
    }
}

/// Applies commands as entries from 1 on.
fn run(settings: Settings, commands: &[Command]) -> Store {
    let mut store = Store::new(settings);
    for command in commands {
        let at = LogId {
            index: store.applied.next(),
            ..LogId::ZERO
        };
        store.apply(at, command).unwrap();
    }
    store
}

fn check(store: &Store) {
    let (hash, reply_bytes) = store.sessions.anew(&store.settings);
    assert_eq!(store.sessions.hash(), hash);
    assert_eq!(store.sessions.reply_bytes(), reply_bytes);
    assert_eq!(store.keys.hash(), store.keys.hash_anew());
    assert_eq!(store.leases.hash(), store.leases.hash_anew());
    assert_eq!(store.locks.hash(), store.locks.hash_anew());
    let history = &store.history;
    assert_eq!((history.hash(), history.bytes()), history.anew());
    assert_eq!(history.newest(), store.revision);
    // A lease knows exactly what lives by it.
    for (id, lease) in store.leases.iter() {
        let keys = store.keys.iter().filter(|entry| entry.value.lease == id);
        assert!(keys.map(|entry| &entry.key).eq(&lease.keys));
        let claims = store.locks.iter().filter(|(_, claim)| claim.lease == id);
        let claims = claims.map(|(lock, claim)| (lock, claim.token));
        assert!(claims.eq(lease.claims.iter().map(|(lock, &token)| (lock, token))));
    }
    let all = store.keys.iter().map(|entry| entry.value.lease);
    let claims = store.locks.iter().map(|(_, claim)| claim.lease);
    for lease in all.chain(claims) {
        assert!(lease == 0 || store.leases.get(lease).is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_kept_step_by_step_is_what_a_reckoning_gives(
        steps in prop::collection::vec((0..40_u8, 1..12_u64, 1..8_u64, 0..4_u8, 0..900_usize), 1..80),
    ) {
        let settings = Settings {
            sessions_max: 4,
            outstanding_max: 5,
            session_reply_bytes_max: 2000,
            reply_bytes_max: 3000,
            history_revisions_max: 12,
            history_bytes_max: 4000,
            ..Settings::default()
        };
        let mut store = Store::new(settings);
        let mut sessions = vec![0];
        let mut leases = vec![];
        for (kind, sequence, first, key, value_bytes) in steps {
            let at = LogId { index: store.applied.next(), ..LogId::ZERO };
            let session = sessions[sessions.len() - 1 - usize::from(kind) % sessions.len().min(5)];
            let operation = match kind {
                0..5 => Operation::RegisterSession,
                5 => Operation::EndSession,
                6..12 => delete(key),
                12..14 => Operation::Grant { ttl_ms: 5000 },
                14..20 => Operation::Put {
                    key: Bytes::copy_from_slice(&[key]),
                    value: vec![key; value_bytes].into(),
                    lease: leases.get(usize::from(kind) % leases.len().max(1)).copied().unwrap_or(0),
                    want_previous: false,
                    conditions: vec![],
                },
                20..25 => Operation::Claim {
                    lock: Bytes::copy_from_slice(&[key]),
                    lease: leases.get(usize::from(kind) % leases.len().max(1)).copied().unwrap_or(0),
                    value: Bytes::copy_from_slice(&[key]),
                    queue: true,
                },
                25..27 => Operation::Revoke {
                    lease: leases.get(usize::from(kind) % leases.len().max(1)).copied().unwrap_or(0),
                },
                27..29 => Operation::Compact { revision: store.revision.saturating_sub(2).max(1) },
                _ => put(key, value_bytes),
            };
            let reply = store.apply(at, &command(session, sequence, first, operation)).unwrap();
            match reply {
                CommandReply::Registered { session } => sessions.push(session),
                CommandReply::Granted { lease } => leases.push(lease),
                _ => {}
            }
            check(&store);
        }
        let mut bytes = Vec::new();
        store.write_to(&mut bytes).unwrap();
        let restored = Store::read_from(&mut &bytes[..]).unwrap();
        check(&restored);
        prop_assert_eq!(restored.state_hash(), store.state_hash());
    }

    #[test]
    fn an_item_hash_sees_every_byte_and_where_it_stands(
        bytes in prop::collection::vec(any::<u8>(), 1..70),
        at in any::<prop::sample::Index>(),
        other in 1..=255_u8,
    ) {
        let hash = |bytes: &[u8]| ItemHash::new(Kind::Key).bytes(bytes).finish();
        let mut changed = bytes.clone();
        *at.get_mut(&mut changed) ^= other;
        prop_assert_ne!(hash(&bytes), hash(&changed));
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_ne!(hash(&bytes), hash(&longer));
        let (left, right) = bytes.split_at(at.index(bytes.len()));
        let split = ItemHash::new(Kind::Key).bytes(left).bytes(right).finish();
        prop_assert_ne!(hash(&bytes), split);
    }
}

#[test]
fn every_part_of_the_state_is_in_its_hash() {
    let base = || {
        vec![
            command(0, 0, 0, Operation::RegisterSession),
            command(1, 1, 1, put(7, 3)),
            command(1, 2, 1, put(8, 3)),
        ]
    };
    let changed = |change: &dyn Fn(&mut Vec<Command>)| {
        let mut commands = base();
        change(&mut commands);
        run(Settings::default(), &commands).state_hash()
    };
    let mut hashes = vec![
        changed(&|_| {}),
        changed(&|commands| commands[2].operation = put(9, 3)),
        changed(&|commands| commands[2].operation = put(8, 4)),
        // The same keys, but not the same session.
        changed(&|commands| commands[2].sequence = 3),
        changed(&|commands| commands[2].first_outstanding = 2),
        changed(&|commands| commands.push(command(1, 2, 1, put(8, 3)))),
        changed(&|commands| commands.push(command(1, 2000, 1, put(8, 3)))),
        changed(&|commands| commands.push(command(1, 2001, 1, put(8, 3)))),
        changed(&|commands| commands.push(command(0, 0, 0, Operation::RegisterSession))),
        changed(&|commands| commands.push(command(99, 1, 1, put(1, 1)))),
        changed(&|commands| commands.swap(1, 2)),
        changed(&|commands| commands.truncate(2)),
        Store::new(Settings::default()).state_hash(),
    ];
    let settings = Settings {
        sessions_max: 3,
        ..Settings::default()
    };
    hashes.push(run(settings, &base()).state_hash());
    let mut raised = run(Settings::default(), &base());
    raised.cluster_version = 2;
    hashes.push(raised.state_hash());
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(
        hashes.len(),
        count,
        "two states that differ have the same hash"
    );
}

#[test]
fn the_hash_is_of_the_state_and_not_of_the_way_to_it() {
    let register = || command(0, 0, 0, Operation::RegisterSession);
    let one = run(
        Settings::default(),
        &[
            register(),
            command(1, 1, 1, put(1, 500)),
            command(1, 2, 1, put(2, 500)),
            command(1, 3, 3, delete(9)),
        ],
    );
    // Others in between, whose answers are forgotten in the end.
    let other = run(
        Settings::default(),
        &[
            register(),
            command(1, 2, 1, put(1, 500)),
            command(1, 1, 1, put(2, 500)),
            command(1, 3, 3, delete(9)),
        ],
    );
    assert_eq!(one.state_hash(), other.state_hash());
}

#[test]
fn the_hash_is_the_same_on_every_platform() {
    let store = run(
        Settings::default(),
        &[
            command(0, 0, 0, Operation::RegisterSession),
            command(1, 1, 1, put(1, 40)),
            command(1, 2, 1, delete(1)),
            command(1, 3, 1, put(2, 20)),
        ],
    );
    assert_eq!(store.state_hash(), 8_313_222_907_032_916_645);
}

/// As after a rolling upgrade: the newer release goes on from the snapshot, and the older one says what to start.
#[test]
fn a_raised_store_comes_back_with_the_release_that_raised_it() {
    let mut store = Store::following(Settings::default(), 2);
    let raise = Operation::SetClusterVersion {
        version: 2,
        release: "9.8.7".into(),
    };
    store
        .apply(LogId::new(1, 1), &command(0, 0, 0, raise))
        .unwrap();
    assert_eq!(store.cluster_version(), 2);
    let mut bytes = Vec::new();
    store.write_to(&mut bytes).unwrap();
    let back = Store::read_following(&mut bytes.as_slice(), 2).unwrap();
    assert_eq!(back.state_hash(), store.state_hash());
    assert_eq!((back.cluster_version(), back.follows()), (2, 2));
    let refused = Store::read_from(&mut bytes.as_slice()).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("start raft-kv 9.8.7 or later"), "{said}");
}
