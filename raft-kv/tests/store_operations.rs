//! What commands and queries do to the keys, and what the store cannot apply.

use crate::store_machine::{Client, Machine, bytes, command, put, put_if, raise};
use bytes::Bytes;
use raft_core::{Index, LogId};
use raft_kv::api::*;
use raft_kv::store::{ApplyError, Settings, Store};
use raft_kv::wire;

impl Client {
    fn with(keys: &[(&str, &str)]) -> Self {
        let mut client = Self::new(Settings::default());
        for (key, value) in keys {
            client.run(put(key, value));
        }
        client
    }

    fn query(&self, keys: KeyRange, limit: u64) -> QueryReply {
        self.machine
            .store
            .query(&query(keys, limit), usize::MAX)
            .unwrap()
    }
}

fn query(keys: KeyRange, limit: u64) -> Query {
    Query {
        keys,
        limit,
        keys_only: false,
        count_only: false,
        reverse: false,
        revision: 0,
    }
}

fn delete(keys: KeyRange) -> Operation {
    Operation::Delete {
        keys,
        want_previous: true,
        conditions: vec![],
    }
}

fn range(from: &str, to: Option<&str>) -> KeyRange {
    KeyRange::Range(bytes(from), to.map(bytes))
}

fn prefix(prefix: &[u8]) -> KeyRange {
    KeyRange::Prefix(Bytes::copy_from_slice(prefix))
}

fn names(kvs: &[KeyValue]) -> String {
    let names: Vec<_> = kvs
        .iter()
        .map(|kv| String::from_utf8_lossy(&kv.key))
        .collect();
    names.join(" ")
}

fn key_value(key: &str, value: &str, create: u64, modified: u64, version: u64) -> KeyValue {
    KeyValue {
        key: bytes(key),
        value: bytes(value),
        create_revision: create,
        mod_revision: modified,
        version,
        lease: 0,
    }
}

#[test]
fn a_key_remembers_when_it_was_created_and_changed() {
    let mut client = Client::new(Settings::default());
    assert_eq!(
        client.run(put("a", "1")),
        CommandReply::Put {
            revision: 1,
            previous: None
        }
    );
    assert_eq!(
        client.run(put("b", "1")),
        CommandReply::Put {
            revision: 2,
            previous: None
        }
    );
    let before = key_value("a", "1", 1, 1, 1);
    let reply = CommandReply::Put {
        revision: 3,
        previous: Some(before),
    };
    assert_eq!(client.run(put("a", "2")), reply);
    let now = key_value("a", "2", 1, 3, 2);
    assert_eq!(
        client.query(KeyRange::Key(bytes("a")), 0).kvs.as_slice(),
        std::slice::from_ref(&now)
    );

    let reply = CommandReply::Deleted {
        count: 1,
        revision: 4,
        previous: vec![now],
    };
    assert_eq!(client.run(delete(KeyRange::Key(bytes("a")))), reply);
    client.run(put("a", "3"));
    // Created anew: it begins from the start.
    let anew = key_value("a", "3", 5, 5, 1);
    assert_eq!(client.query(KeyRange::Key(bytes("a")), 0).kvs, [anew]);
    assert_eq!(client.machine.store.key_count(), 2);
}

#[test]
fn the_revision_counts_the_commands_that_changed_something() {
    let mut client = Client::with(&[("a", ""), ("b", ""), ("c", "")]);
    for (operation, revision) in [
        (delete(KeyRange::Key(bytes("x"))), 3),
        (
            put_if("a", "", vec![Condition::Absent { key: bytes("a") }]),
            3,
        ),
        // A write of the same value is a write.
        (put("a", ""), 4),
        // Several keys, one command, one revision.
        (delete(prefix(b"")), 5),
        (delete(prefix(b"")), 5),
    ] {
        client.run(operation);
        assert_eq!(client.machine.store.revision(), revision);
    }
    let applied = client.machine.store.applied();
    client.machine.store.note_applied(applied.next());
    assert_eq!(client.machine.store.revision(), 5);
    assert_eq!(client.machine.store.applied(), applied.next());
}

#[test]
fn conditions() {
    let absent = |key| Condition::Absent { key: bytes(key) };
    let at = |key, revision| Condition::ModRevision {
        key: bytes(key),
        revision,
    };
    let is = |key, value| Condition::Value {
        key: bytes(key),
        value: bytes(value),
    };
    // Before each: a=1 at revision 1, b=2 at revision 2. With the key whose state a failure must show.
    for (conditions, failed) in [
        (vec![], None),
        (vec![absent("x")], None),
        (vec![absent("a")], Some("a")),
        (vec![at("a", 1)], None),
        (vec![at("a", 2)], Some("a")),
        (vec![at("a", 0)], Some("a")),
        (vec![at("x", 0)], None),
        (vec![at("x", 1)], Some("x")),
        (vec![is("a", "1")], None),
        (vec![is("a", "2")], Some("a")),
        (vec![is("x", "")], Some("x")),
        (vec![is("a", "1"), at("b", 2), absent("x")], None),
        (vec![is("a", "1"), at("b", 1), absent("a")], Some("b")),
    ] {
        for operation in [
            put_if("k", "v", conditions.clone()),
            Operation::Delete {
                keys: KeyRange::Key(bytes("a")),
                want_previous: false,
                conditions: conditions.clone(),
            },
        ] {
            let mut client = Client::with(&[("a", "1"), ("b", "2")]);
            let reply = client.run(operation);
            let Some(failed) = failed else {
                assert_eq!(client.machine.store.revision(), 3, "{conditions:?}");
                continue;
            };
            let current = client.query(KeyRange::Key(bytes(failed)), 0).kvs.pop();
            assert_eq!(
                reply,
                CommandReply::ConditionFailed {
                    current,
                    revision: 2
                }
            );
            assert_eq!(client.machine.store.revision(), 2, "{conditions:?}");
            assert_eq!(client.machine.store.key_count(), 2, "{conditions:?}");
        }
    }
}

#[test]
fn a_lease_that_does_not_exist_is_refused() {
    let mut client = Client::new(Settings::default());
    let leased = |conditions| Operation::Put {
        key: bytes("a"),
        value: Bytes::new(),
        lease: 7,
        want_previous: false,
        conditions,
    };
    let refused = CommandReply::Refused(Refusal::NoSuchLease);
    assert_eq!(client.run(leased(vec![])), refused);
    assert_eq!(client.machine.store.revision(), 0);
    // Where nothing is to be done, the lease is not looked at.
    let failed = CommandReply::ConditionFailed {
        current: None,
        revision: 0,
    };
    let missing = Condition::Value {
        key: bytes("a"),
        value: Bytes::new(),
    };
    assert_eq!(client.run(leased(vec![missing])), failed);
}

#[test]
fn ranges_hold_the_keys_that_they_say() {
    let keys = ["a", "a\u{1}", "ab", "b", "ba", "c"];
    let all: Vec<_> = keys.iter().map(|&key| (key, "")).collect();
    for (range, expected) in [
        (KeyRange::Key(bytes("a")), "a"),
        (KeyRange::Key(bytes("x")), ""),
        (prefix(b""), "a a\u{1} ab b ba c"),
        (prefix(b"a"), "a a\u{1} ab"),
        (prefix(b"ab"), "ab"),
        (prefix(b"x"), ""),
        (prefix(b"\xff\xff"), ""),
        (range("", None), "a a\u{1} ab b ba c"),
        (range("ab", None), "ab b ba c"),
        (range("ab", Some("ba")), "ab b"),
        (range("aa", Some("b")), "ab"),
        (range("b", Some("b")), ""),
        (range("c", Some("a")), ""),
        (range("", Some("")), ""),
    ] {
        let mut client = Client::with(&all);
        let found = client.query(range.clone(), 0);
        assert_eq!(names(&found.kvs), expected, "{range:?}");
        let count = found.kvs.len();
        assert_eq!(
            (found.count, found.more),
            (count as u64, false),
            "{range:?}"
        );
        // Deletion sees the same keys as a query does.
        let reply = client.run(delete(range.clone()));
        let revision = 6 + u64::from(count > 0);
        let expected = CommandReply::Deleted {
            count: count as u64,
            revision,
            previous: found.kvs,
        };
        assert_eq!(reply, expected, "{range:?}");
        assert_eq!(
            client.machine.store.key_count(),
            keys.len() - count,
            "{range:?}"
        );
    }
}

#[test]
fn a_prefix_ends_where_its_last_byte_cannot_be_raised() {
    let mut client = Client::new(Settings::default());
    let keys: [&[u8]; 5] = [
        b"\xfe",
        b"\xfe\xff",
        b"\xfe\xff\x01",
        b"\xff",
        b"\xff\xff\x01",
    ];
    for key in keys {
        let key = Bytes::from_static(key);
        client.run(Operation::Put {
            key,
            value: Bytes::new(),
            lease: 0,
            want_previous: false,
            conditions: vec![],
        });
    }
    for (start, count) in [
        (&b"\xfe\xff"[..], 2),
        (b"\xfe", 3),
        (b"\xff", 2),
        (b"\xff\xff", 1),
        (b"", 5),
    ] {
        assert_eq!(client.query(prefix(start), 0).count, count, "{start:?}");
    }
}

#[test]
fn a_query_gives_what_it_is_asked_for() {
    let client = Client::with(&[("a", "1"), ("b", "22"), ("c", "333")]);
    let all = query(prefix(b""), 0);
    let ask = |query: &Query, bytes_max| {
        let reply = client.machine.store.query(query, bytes_max).unwrap();
        (names(&reply.kvs), reply.count, reply.more)
    };
    let said = |names: &str, count, more| (names.to_owned(), count, more);
    assert_eq!(ask(&all, usize::MAX), said("a b c", 3, false));
    assert_eq!(
        ask(
            &Query {
                limit: 2,
                ..all.clone()
            },
            usize::MAX
        ),
        said("a b", 3, true)
    );
    assert_eq!(
        ask(
            &Query {
                limit: 3,
                ..all.clone()
            },
            usize::MAX
        ),
        said("a b c", 3, false)
    );
    assert_eq!(
        ask(
            &Query {
                limit: u64::MAX,
                ..all.clone()
            },
            1000
        ),
        said("a b c", 3, false)
    );
    let reverse = Query {
        reverse: true,
        revision: 0,
        ..all.clone()
    };
    assert_eq!(ask(&reverse, usize::MAX), said("c b a", 3, false));
    assert_eq!(
        ask(
            &Query {
                limit: 1,
                ..reverse
            },
            usize::MAX
        ),
        said("c", 3, true)
    );
    let count_only = Query {
        count_only: true,
        ..all.clone()
    };
    assert_eq!(ask(&count_only, usize::MAX), said("", 3, false));
    // 48 bytes are counted for a key-value beside its key and value.
    assert_eq!(ask(&all, 50 + 51 + 52), said("a b c", 3, false));
    assert_eq!(ask(&all, 50 + 51 + 51), said("a b", 3, true));
    assert_eq!(ask(&all, 0), said("a", 3, true));
    let keys_only = Query {
        keys_only: true,
        ..all
    };
    assert_eq!(ask(&keys_only, 3 * 49), said("a b c", 3, false));
    let reply = client.machine.store.query(&keys_only, usize::MAX).unwrap();
    assert!(
        reply
            .kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.version == 1)
    );
}

#[test]
fn what_a_deletion_gives_back_is_cut_at_the_limit() {
    let settings = Settings {
        deleted_bytes_max: 100,
        ..Settings::default()
    };
    let mut client = Client::new(settings);
    // 59, 150, 50 and 50 bytes: what comes behind the first that does not fit is left out too.
    for (key, bytes) in [("a", 10), ("b", 101), ("c", 1), ("d", 1)] {
        client.run(put(key, &"x".repeat(bytes)));
    }
    for (from, count, given_back) in [("c", 2, "c d"), ("a", 2, "a")] {
        let CommandReply::Deleted {
            count: found,
            previous,
            ..
        } = client.run(delete(range(from, None)))
        else {
            panic!("it is a deletion");
        };
        assert_eq!((found, names(&previous).as_str()), (count, given_back));
    }
    // At least one, however large.
    client.run(put("b", &"x".repeat(101)));
    let reply = client.run(delete(prefix(b"b")));
    assert!(matches!(reply, CommandReply::Deleted { previous, .. } if previous.len() == 1));
}

#[test]
fn the_store_keeps_no_slice_of_what_it_was_given() {
    let payload = wire::encode_command(&command(1, 1, 1, put("key", "value")));
    let mut store = Store::new(Settings::default());
    store
        .apply(
            LogId::new(1, 1),
            &command(0, 0, 0, Operation::RegisterSession),
        )
        .unwrap();
    store.apply_payload(LogId::new(2, 1), &payload).unwrap();
    assert!(
        payload.is_unique(),
        "something still refers to the received bytes"
    );
}

#[test]
fn what_this_release_cannot_apply_stops_it_and_changes_nothing() {
    let mut store = Store::new(Settings::default());
    store.note_applied(Index(1));
    let before = store.state_hash();
    let at = LogId::new(2, 1);
    let good = wire::encode_command(&command(0, 0, 0, Operation::RegisterSession));
    let changed = |place: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[place] = byte;
        Bytes::from(bytes)
    };
    let set_version = raise(2);
    for (payload, expected) in [
        (changed(0, 2), ApplyError::UnknownFormat { at, format: 2 }),
        // A later format may need a later cluster version too: which release is needed counts first.
        (
            changed(0, 255),
            ApplyError::UnknownFormat { at, format: 255 },
        ),
        (
            changed(2, 2),
            ApplyError::ClusterVersionNotInForce {
                at,
                needed: 2,
                in_force: 1,
            },
        ),
        (
            wire::encode_command(&command(0, 0, 0, set_version)),
            ApplyError::ClusterVersionTooNew {
                at,
                version: 2,
                release: "9.8.7".into(),
                follows: 1,
            },
        ),
    ] {
        assert_eq!(store.apply_payload(at, &payload), Err(expected));
        assert_eq!((store.applied(), store.state_hash()), (Index(1), before));
    }
    for payload in [changed(1, 2), changed(4, 0), good.slice(..3), Bytes::new()] {
        let error = store
            .apply_payload(at, &payload)
            .expect_err("it is damaged");
        assert!(matches!(error, ApplyError::Damaged { .. }), "{error}");
        assert_eq!((store.applied(), store.state_hash()), (Index(1), before));
    }
    // And it goes on from there with what it can apply.
    assert!(store.apply_payload(at, &good).is_ok());
}

#[test]
fn the_cluster_version_is_never_lowered() {
    let mut machine = Machine::new(Settings::default());
    let reply = machine.apply(&command(0, 0, 0, raise(0)));
    assert_eq!(reply, CommandReply::ClusterVersion(1));
    assert_eq!(machine.store.cluster_version(), 1);
}

#[test]
#[should_panic(expected = "entry 3 was to be applied behind entry 1")]
fn a_gap_in_what_is_applied_is_a_broken_node() {
    let mut store = Store::new(Settings::default());
    store.note_applied(Index(1));
    store.note_applied(Index(3));
}

#[test]
fn debug_output_shows_no_value() {
    let secret = "s3cret";
    let mut client = Client::with(&[("k", secret)]);
    let is = Condition::Value {
        key: bytes("k"),
        value: bytes(secret),
    };
    let command = command(1, 1, 1, put_if("k", secret, vec![is]));
    let reply = client.run(put("k", "other"));
    let found = client.query(prefix(b""), 0);
    let shown = format!("{command:?} {reply:?} {found:?} {:?}", client.machine.store);
    assert!(
        shown.contains("[6 bytes]") && !shown.contains(secret),
        "{shown}"
    );
    assert!(!shown.contains("115, 51"), "not as numbers either: {shown}");
}
