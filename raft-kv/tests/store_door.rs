//! What is refused before it is proposed.

use crate::store_machine::{bytes, command, put, put_if, raise};
use bytes::Bytes;
use raft_kv::api::*;
use raft_kv::store::{CONDITIONS_MAX, Limits, validate_command, validate_query};

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

#[test]
fn the_door_lets_in_what_keeps_to_the_rules() {
    let limits = Limits {
        key_bytes_max: 4,
        value_bytes_max: 6,
    };
    let check = |operation| validate_command(&command(1, 2, 1, operation), &limits);
    let absent = |key| Condition::Absent { key: bytes(key) };
    let is = |value| Condition::Value {
        key: bytes("k"),
        value: bytes(value),
    };
    for good in [
        put("k", ""),
        put("1234", "123456"),
        put_if("k", "", vec![absent("k"); CONDITIONS_MAX]),
        put_if("k", "", vec![is("123456")]),
        delete(prefix(b"")),
        delete(range("", None)),
        Operation::EndSession,
    ] {
        assert_eq!(check(good.clone()), Ok(()), "{good:?}");
    }
    for invalid in [
        put("", "v"),
        put_if("k", "", vec![absent("")]),
        put_if("k", "", vec![absent("k"); CONDITIONS_MAX + 1]),
        delete(KeyRange::Key(Bytes::new())),
        // The leader's alone.
        raise(0),
        raise(1),
        raise(2),
        Operation::RegisterSession,
    ] {
        let error = check(invalid.clone());
        assert!(
            matches!(error, Err(RequestError::Invalid(_))),
            "{invalid:?}: {error:?}"
        );
    }
    for too_large in [
        put("12345", ""),
        put("k", "1234567"),
        put_if("k", "", vec![absent("12345")]),
        put_if("k", "", vec![is("1234567")]),
        delete(KeyRange::Key(bytes("12345"))),
        delete(prefix(b"12345")),
        delete(range("12345", None)),
        delete(range("", Some("12345"))),
    ] {
        let error = check(too_large.clone());
        assert!(
            matches!(error, Err(RequestError::TooLarge { .. })),
            "{too_large:?}: {error:?}"
        );
    }
    assert!(validate_query(&query(prefix(b"1234"), 0), &limits).is_ok());
    assert!(validate_query(&query(prefix(b"12345"), 0), &limits).is_err());
}

#[test]
fn the_door_lets_in_only_what_a_session_can_say() {
    let limits = Limits::default();
    for (session, sequence, first_outstanding, operation, good) in [
        (1, 1, 1, put("k", ""), true),
        (1, 9, 3, put("k", ""), true),
        (0, 1, 1, put("k", ""), false),
        (1, 0, 0, put("k", ""), false),
        (1, 5, 0, put("k", ""), false),
        (1, 5, 6, put("k", ""), false),
        (0, 0, 0, Operation::RegisterSession, true),
        (0, 0, 0, Operation::EndSession, false),
        (0, 0, 0, raise(1), false),
    ] {
        let command = command(session, sequence, first_outstanding, operation);
        assert_eq!(
            validate_command(&command, &limits).is_ok(),
            good,
            "{command:?}"
        );
    }
    let mut for_another = command(1, 1, 1, put("k", ""));
    for_another.principal = bytes("root");
    assert!(validate_command(&for_another, &limits).is_err());
}
