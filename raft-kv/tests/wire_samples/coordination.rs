//! Transactions, leases, locks and watches.

use raft_kv::api::*;
use raft_kv::wire::Incoming;

use super::{Sample, Value, command, key_value, reply, respond};

fn transaction() -> Transaction {
    let compare = |key: &'static str, relation, field| Condition::Compare {
        key: key.into(),
        relation,
        field,
    };
    Transaction {
        conditions: vec![
            compare("a", Relation::Equal, Field::Value("v".into())),
            compare("b", Relation::NotEqual, Field::CreateRevision(300)),
            compare("c", Relation::Less, Field::ModRevision(4)),
            compare("d", Relation::Greater, Field::Version(5)),
            compare("e", Relation::Equal, Field::Lease(6)),
            Condition::Holds {
                lock: "l".into(),
                token: 300,
            },
        ],
        then: vec![
            Step::Put {
                key: "k".into(),
                value: "value".into(),
                lease: 7,
                want_previous: true,
            },
            Step::Delete {
                keys: KeyRange::Prefix("p".into()),
                want_previous: false,
            },
        ],
        otherwise: vec![Step::Get(Query {
            keys: KeyRange::Key("k".into()),
            limit: 1,
            keys_only: false,
            count_only: false,
            reverse: false,
            revision: 0,
        })],
    }
}

fn claim() -> Claim {
    Claim {
        token: 300,
        lease: 7,
        value: "me".into(),
    }
}

pub(super) fn commands() -> Vec<Sample> {
    let sample = |name, operation, golden| (name, Value::Command(command(operation)), golden);
    vec![
        sample(
            "transaction",
            Operation::Transaction(transaction()),
            "010001004900000005ac0202026d650506030161000001760301620101ac0203016302020403016403030503 \
                016500040604016cac020200016b0576616c756507010101017000010200016b0100000000",
        ),
        sample(
            "grant",
            Operation::Grant { ttl_ms: 10_000 },
            "010001000a00000005ac0202026d6506904e",
        ),
        sample(
            "revoke",
            Operation::Revoke { lease: 300 },
            "010001000a00000005ac0202026d6507ac02",
        ),
        sample(
            "expire",
            Operation::Expire {
                leases: vec![1, 300],
            },
            "010001000c00000005ac0202026d65080201ac02",
        ),
        sample(
            "claim",
            Operation::Claim {
                lock: "l".into(),
                lease: 7,
                value: "me".into(),
                queue: true,
            },
            "010001000f00000005ac0202026d6509016c07026d6501",
        ),
        sample(
            "release",
            Operation::Release {
                lock: "l".into(),
                token: 300,
            },
            "010001000c00000005ac0202026d650a016cac02",
        ),
        sample(
            "compact",
            Operation::Compact { revision: 300 },
            "010001000a00000005ac0202026d650bac02",
        ),
    ]
}

pub(super) fn replies() -> Vec<Sample> {
    let steps = vec![
        StepReply::Put {
            previous: Some(key_value("k", "old")),
        },
        StepReply::Deleted {
            count: 2,
            previous: vec![key_value("p", "gone")],
        },
        StepReply::Got(QueryReply {
            kvs: vec![key_value("q", "found")],
            count: 300,
            more: true,
        }),
    ];
    vec![
        (
            "transaction reply",
            reply(CommandReply::Transaction {
                succeeded: true,
                revision: 300,
                steps,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000028000000000901ac02030001016b0302ac02040001020101700402ac0204000201017105 \
                02ac020400ac02016f6c64676f6e65666f756e64",
        ),
        (
            "granted",
            reply(CommandReply::Granted { lease: 300 }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000004000000000aac02",
        ),
        (
            "revoked",
            reply(CommandReply::Revoked {
                count: 2,
                revision: 300,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000005000000000b02ac02",
        ),
        (
            "claimed",
            reply(CommandReply::Claimed {
                token: 300,
                ahead: 1,
                revision: 301,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000007000000000cac0201ad02",
        ),
        (
            "taken",
            reply(CommandReply::Taken {
                holder: claim(),
                revision: 301,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                04000000000000000a000000000dac0207026d65ad02",
        ),
        (
            "released",
            reply(CommandReply::Released {
                stood: true,
                revision: 301,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000005000000000e01ad02",
        ),
        (
            "compacted",
            reply(CommandReply::Compacted { oldest: 300 }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000004000000000fac02",
        ),
    ]
}

pub(super) fn refusals() -> Vec<Sample> {
    let refused = |refusal| reply(CommandReply::Refused(refusal));
    vec![
        (
            "too many leases",
            refused(Refusal::TooManyLeases),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000003000000000802",
        ),
        (
            "too many claims",
            refused(Refusal::TooManyClaims),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000003000000000803",
        ),
        (
            "future",
            refused(Refusal::FutureRevision),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000003000000000804",
        ),
        (
            "revision is compacted",
            respond(Err(RevisionError::Compacted { oldest: 300 }.into())),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000040000000308ac02",
        ),
        (
            "revision is yet to come",
            respond(Err(RevisionError::Future { newest: 300 }.into())),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000040000000309ac02",
        ),
        (
            "no such lease",
            respond(Err(RequestError::NoSuchLease)),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000002000000030a",
        ),
    ]
}

pub(super) fn questions() -> Vec<Sample> {
    let ask = |name, question, golden| (name, Value::Request(Incoming::Ask(question)), golden);
    let answer = |name, answer, golden| (name, respond(Ok(Reply::Answer(answer))), golden);
    vec![
        ask(
            "ask a lease",
            Question::Lease { lease: 300 },
            "0106000000ac02",
        ),
        ask(
            "ask for leases",
            Question::Leases {
                behind: 300,
                limit: 10,
            },
            "0106000001ac020a",
        ),
        ask(
            "ask for a lock",
            Question::Lock {
                lock: "l".into(),
                limit: 10,
            },
            "0106000002016c0a",
        ),
        ask(
            "keep alive",
            Question::KeepAlive { lease: 300 },
            "0106000003ac02",
        ),
        answer(
            "a lease",
            Answer::Lease(Some(LeaseInfo {
                lease: 300,
                ttl_ms: 10_000,
                remaining_ms: Some(500),
                keys: vec!["k".into()],
                claims: vec![("l".into(), 300)],
            })),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000012000000070001ac02904e01f40301016b01016cac02",
        ),
        answer(
            "no lease",
            Answer::Lease(None),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000003000000070000",
        ),
        answer(
            "leases",
            Answer::Leases {
                leases: vec![(1, 10_000), (300, 5)],
                more: true,
            },
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                04000000000000000a00000007010201904eac020501",
        ),
        answer(
            "a lock",
            Answer::Lock(LockInfo {
                claims: vec![claim()],
                more: true,
            }),
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                04000000000000000a000000070201ac0207026d6501",
        ),
        answer(
            "kept alive",
            Answer::KeptAlive { ttl_ms: 10_000 },
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000040000000703904e",
        ),
    ]
}

pub(super) fn watches() -> Vec<Sample> {
    let watch = |name, watched, golden| {
        let watch = Watch {
            watched,
            from: 300,
            want_previous: true,
        };
        (name, Value::Request(Incoming::Watch(watch)), golden)
    };
    let told = |name, reply, golden| (name, respond(Ok(Reply::Watch(reply))), golden);
    let lock = || "l".into();
    let events = vec![
        Event::Put {
            kv: key_value("k", "new"),
            previous: Some(key_value("k", "old")),
        },
        Event::Deleted {
            previous: key_value("p", "gone"),
        },
        Event::Claimed {
            lock: lock(),
            claim: claim(),
        },
        Event::Released {
            lock: lock(),
            claim: claim(),
        },
    ];
    vec![
        watch(
            "watch keys",
            Watched::Keys(KeyRange::Prefix("p".into())),
            "0107000000010170ac0201",
        ),
        watch(
            "watch a lock",
            Watched::Lock(lock()),
            "0107000001016cac0201",
        ),
        (
            "unwatch",
            Value::Request(Incoming::Unwatch { request: 300 }),
            "01080000ac02",
        ),
        told(
            "changes",
            WatchReply::Changes {
                changes: vec![Change {
                    revision: 300,
                    events,
                }],
                unfinished: true,
            },
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                040000000000000034000000080001ac020400016b0302ac02040001016b0302ac0204000101700402ac0204 \
                0002016cac0207026d6503016cac0207026d65016e65776f6c64676f6e65",
        ),
        told(
            "progress",
            WatchReply::Progress { revision: 300 },
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000040000000801ac02",
        ),
        told(
            "watch ended",
            WatchReply::Ended,
            "01000000636c75737465722d6964656e74697479010000000000000002000000000000000300000000000000 \
                0400000000000000020000000802",
        ),
    ]
}
