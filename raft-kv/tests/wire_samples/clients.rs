//! What clients ask, and what they are answered.

use super::*;

fn conditions() -> Vec<Condition> {
    vec![
        Condition::Absent { key: "a".into() },
        Condition::ModRevision {
            key: "b".into(),
            revision: 9,
        },
        Condition::Value {
            key: "c".into(),
            value: "old".into(),
        },
    ]
}

fn put() -> Operation {
    Operation::Put {
        key: "key".into(),
        value: "value".into(),
        lease: 4,
        want_previous: true,
        conditions: conditions(),
    }
}

fn hint() -> LeaderHint {
    LeaderHint {
        node: 2,
        address: "b:2".into(),
    }
}

fn status() -> NodeStatus {
    NodeStatus {
        id: 1,
        incarnation: 2,
        boot: 3,
        role: "leader".into(),
        leader: Some(hint()),
        term: 4,
        commit: 5,
        applied: 6,
        first: 7,
        last: 8,
        disk_bytes: 300,
        keys: 10,
        hashes: vec![(7, 300), (8, 301)],
        syncs: 11,
        version: "0.1".into(),
        cluster_version: 1,
        follows: 2,
        held_back: "node 3 runs release 0.1.0, which follows up to version 1".into(),
        error: "e".into(),
        members: vec![MemberStatus {
            id: 2,
            incarnation: 34,
            address: "b:2".into(),
            voter: true,
            promotes: false,
            matched: 8,
            silent_ms: Some(20),
        }],
    }
}

pub(super) fn commands() -> Vec<Sample> {
    let delete = |keys| {
        Value::Command(command(Operation::Delete {
            keys,
            want_previous: false,
            conditions: vec![],
        }))
    };
    let plain = |operation| Value::Command(command(operation));
    let range = |to: Option<&'static str>| KeyRange::Range("a".into(), to.map(Into::into));
    vec![
        (
            "register session",
            plain(Operation::RegisterSession),
            "01 00 0100 08000000 05ac0202026d6500",
        ),
        (
            "end session",
            plain(Operation::EndSession),
            "01 00 0100 08000000 05ac0202026d6501",
        ),
        (
            "put",
            plain(put()),
            "01 01 0100 1d000000 05ac0202026d6502036b657904010300016101016209020163036f6c64 \
                76616c7565",
        ),
        (
            "delete a key",
            delete(KeyRange::Key("k".into())),
            "01 00 0100 0d000000 05ac0202026d650300016b0000",
        ),
        (
            "delete a prefix",
            delete(KeyRange::Prefix("p".into())),
            "01 00 0100 0d000000 05ac0202026d65030101700000",
        ),
        (
            "delete a range",
            delete(range(Some("b"))),
            "01 00 0100 10000000 05ac0202026d65030201610101620000",
        ),
        (
            "delete to the end",
            delete(range(None)),
            "01 00 0100 0e000000 05ac0202026d6503020161000000",
        ),
        (
            "set cluster version",
            plain(Operation::SetClusterVersion {
                version: 513,
                release: "1.2.0".into(),
            }),
            "01 00 0100 10000000 05ac0202026d65048104 05312e322e30",
        ),
    ]
}

pub(super) fn requests() -> Vec<Sample> {
    let read = Request::Read {
        query: Query {
            keys: KeyRange::Prefix("p".into()),
            limit: 300,
            keys_only: true,
            count_only: false,
            reverse: true,
            revision: 0,
        },
        stale: true,
        min_applied: 8,
    };
    vec![
        (
            "write",
            Value::request(&Request::Write(command(put()))),
            "01 01 0000 01 01 0100 1d000000 \
                05ac0202026d6502036b657904010300016101016209020163036f6c64 76616c7565",
        ),
        (
            "read",
            Value::request(&read),
            "01020000010170ac02010001000108",
        ),
        ("status", Value::request(&Request::Status), "01 03 0000"),
    ]
}

pub(super) fn admin() -> Vec<Sample> {
    let ask = |name, admin, golden| (name, Value::Request(Incoming::Admin(admin)), golden);
    let address = "b:2".to_owned();
    vec![
        ask(
            "admin add",
            Admin::AddMember {
                id: 300,
                address: address.clone(),
                voter: true,
            },
            "01 04 0000 00 ac02 03623a32 01",
        ),
        ask(
            "admin promote",
            Admin::PromoteMember { id: 2 },
            "01 04 0000 01 02",
        ),
        ask(
            "admin update",
            Admin::UpdateMember { id: 2, address },
            "01 04 0000 02 02 03623a32",
        ),
        ask(
            "admin remove",
            Admin::RemoveMember { id: 2, force: true },
            "01 04 0000 03 02 01",
        ),
        ask("admin move", Admin::MoveLead { to: 3 }, "01 04 0000 04 03"),
        (
            "members",
            respond(Ok(Reply::Admin(AdminReply::Members {
                changed: true,
                members: status().members,
            }))),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                04000000000000000e000000040101022203623a320100080114",
        ),
        (
            "moving",
            respond(Ok(Reply::Admin(AdminReply::Moving { to: 3 }))),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000020000000503",
        ),
    ]
}

pub(super) fn command_replies() -> Vec<Sample> {
    let kv = || key_value("k", "old");
    vec![
        (
            "registered",
            reply(CommandReply::Registered { session: 300 }),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 04000000 0000ac02",
        ),
        (
            "ended",
            reply(CommandReply::Ended),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0001",
        ),
        (
            "put reply",
            reply(CommandReply::Put {
                revision: 9,
                previous: Some(kv()),
            }),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 0c000000 00020901016b0302ac020400 6f6c64",
        ),
        (
            "first put reply",
            reply(CommandReply::Put {
                revision: 9,
                previous: None,
            }),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 04000000 00020900",
        ),
        (
            "deleted",
            reply(CommandReply::Deleted {
                count: 2,
                revision: 9,
                previous: vec![kv(), key_value("l", "more")],
            }),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 15000000 \
                0003020902016b0302ac020400016c0402ac020400 6f6c646d6f7265",
        ),
        (
            "condition failed",
            reply(CommandReply::ConditionFailed {
                current: Some(kv()),
                revision: 9,
            }),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 0c000000 000401016b0302ac02040009 6f6c64",
        ),
        (
            "cluster version",
            reply(CommandReply::ClusterVersion(2)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 03000000 000502",
        ),
    ]
}

pub(super) fn refusals() -> Vec<Sample> {
    vec![
        (
            "session expired",
            reply(CommandReply::SessionExpired),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0006",
        ),
        (
            "forgotten",
            reply(CommandReply::Forgotten),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0007",
        ),
        (
            "refused: no such lease",
            reply(CommandReply::Refused(Refusal::NoSuchLease)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 03000000 000800",
        ),
        (
            "refused: too many outstanding",
            reply(CommandReply::Refused(Refusal::TooManyOutstanding)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 03000000 000801",
        ),
    ]
}

pub(super) fn other_replies() -> Vec<Sample> {
    let found = QueryReply {
        kvs: vec![key_value("a", "one"), key_value("b", "")],
        count: 3,
        more: true,
    };
    let too_large = RequestError::TooLarge {
        what: "the key".into(),
        bytes: 5000,
        max: 4096,
    };
    vec![
        (
            "query reply",
            respond(Ok(Reply::Query(found))),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 14000000 010201610302ac02040001620002ac0204000301 \
                6f6e65",
        ),
        (
            "status reply",
            respond(Ok(Reply::Status(status()))),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                04000000000000006e00000002010203066c6561646572010203623a320405060708ac020a0207ac0208ad02 \
                0b03302e310102386e6f646520332072756e732072656c6561736520302e312e302c20776869636820666f6c \
                6c6f777320757020746f2076657273696f6e2031016501022203623a320100080114",
        ),
        (
            "not leader",
            respond(Err(RequestError::NotLeader {
                leader: Some(hint()),
            })),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 08000000 0300010203623a32",
        ),
        (
            "no leader",
            respond(Err(RequestError::NotLeader { leader: None })),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 03000000 030000",
        ),
        (
            "busy",
            respond(Err(RequestError::Busy)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0301",
        ),
        (
            "not formed",
            respond(Err(RequestError::NotFormed("why".into()))),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 06000000 030203776879",
        ),
        (
            "unknown",
            respond(Err(RequestError::Unknown)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0303",
        ),
        (
            "read failed",
            respond(Err(RequestError::ReadFailed)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 02000000 0304",
        ),
        (
            "invalid",
            respond(Err(RequestError::Invalid("why".into()))),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 06000000 030503776879",
        ),
        (
            "too large",
            respond(Err(too_large)),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 0e000000 030607746865206b657988278020",
        ),
    ]
}

pub(super) fn no_room() -> Vec<Sample> {
    vec![(
        "disk full",
        respond(Err(RequestError::Full)),
        "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
            0300000000000000 0400000000000000 02000000 0307",
    )]
}
