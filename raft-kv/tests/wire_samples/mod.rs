//! A value of every kind that has an encoding, and the bytes that it must have for ever.

mod coordination;

use bytes::Bytes;
use raft_core::{
    AppendResult, Boot, ClusterId, Entry, Envelope, HardState, Incarnation, Index, LogId, Member,
    MemberId, Membership, MembershipParts, Message, NodeId, Payload, RequestId, Sender, Snapshot,
    Term,
};
use raft_kv::api::*;
use raft_kv::wire::{
    self, DecodeError, DirectoryIdentity, Formation, Incoming, Metadata, Seed, SeedHead,
    SnapshotFile, SnapshotHead, Transfer,
};

/// Whatever can be encoded.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Envelope(Envelope),
    Membership(Payload),
    Command(Command),
    Request(Incoming),
    Response(Response),
    Formation(Formation),
    Metadata(Metadata),
    Identity(DirectoryIdentity),
    Transfer(Transfer),
    SnapshotHead(SnapshotHead),
    SeedHead(SeedHead),
}

impl Value {
    pub(crate) fn request(request: &Request) -> Self {
        Self::Request(match request.clone() {
            Request::Write(command) => Incoming::Write {
                payload: wire::encode_command(&command),
                command,
            },
            Request::Read {
                query,
                stale,
                min_applied,
            } => Incoming::Read {
                query,
                stale,
                min_applied,
            },
            Request::Ask(question) => Incoming::Ask(question),
            Request::Watch(watch) => Incoming::Watch(watch),
            Request::Unwatch { request } => Incoming::Unwatch { request },
            Request::Admin(admin) => Incoming::Admin(admin),
            Request::Status => Incoming::Status,
            other => unreachable!("{other:?}"),
        })
    }

    pub(crate) fn encode(&self) -> Vec<Bytes> {
        match self {
            Self::Envelope(envelope) => wire::encode_envelope(envelope, wire::PROTOCOL_MAX),
            Self::Membership(payload) => vec![wire::encode_payload(payload).1],
            Self::Command(command) => vec![wire::encode_command(command)],
            Self::Request(Incoming::Write { command, .. }) => {
                wire::encode_request(&Request::Write(command.clone()), wire::PROTOCOL_MAX)
            }
            Self::Request(Incoming::Read {
                query,
                stale,
                min_applied,
            }) => wire::encode_request(
                &Request::Read {
                    query: query.clone(),
                    stale: *stale,
                    min_applied: *min_applied,
                },
                wire::PROTOCOL_MAX,
            ),
            Self::Request(Incoming::Status) => {
                wire::encode_request(&Request::Status, wire::PROTOCOL_MAX)
            }
            Self::Request(Incoming::Admin(admin)) => {
                wire::encode_request(&Request::Admin(admin.clone()), wire::PROTOCOL_MAX)
            }
            Self::Request(Incoming::Backup { id, offset }) => {
                let (id, offset) = (*id, *offset);
                wire::encode_request(&Request::Backup { id, offset }, wire::PROTOCOL_MAX)
            }
            Self::Response(response) => wire::encode_response(response, wire::PROTOCOL_MAX),
            Self::Formation(formation) => {
                vec![wire::encode_formation(formation, wire::PROTOCOL_MAX)]
            }
            Self::Request(Incoming::Ask(question)) => {
                wire::encode_request(&Request::Ask(question.clone()), wire::PROTOCOL_MAX)
            }
            Self::Request(Incoming::Watch(watch)) => {
                wire::encode_request(&Request::Watch(watch.clone()), wire::PROTOCOL_MAX)
            }
            Self::Request(Incoming::Unwatch { request }) => {
                wire::encode_request(&Request::Unwatch { request: *request }, wire::PROTOCOL_MAX)
            }
            Self::Metadata(metadata) => vec![wire::encode_metadata(metadata)],
            Self::Identity(identity) => vec![wire::encode_identity(identity)],
            Self::Transfer(transfer) => wire::encode_transfer(transfer, wire::PROTOCOL_MAX),
            Self::SnapshotHead(head) => vec![wire::encode_snapshot_head(head)],
            Self::SeedHead(head) => vec![wire::encode_seed_head(head)],
        }
    }

    /// The bytes, decoded as what this value is.
    pub(crate) fn decode_alike(&self, bytes: Bytes) -> Result<Self, DecodeError> {
        Ok(match self {
            Self::Envelope(_) => Self::Envelope(wire::decode_envelope(bytes)?),
            Self::Membership(_) => Self::Membership(wire::decode_payload(2, bytes)?),
            Self::Command(_) => Self::Command(wire::decode_command(bytes)?),
            Self::Request(_) => Self::Request(wire::decode_request(bytes)?),
            Self::Response(_) => Self::Response(wire::decode_response(bytes)?),
            Self::Formation(_) => Self::Formation(wire::decode_formation(bytes)?),
            Self::Metadata(_) => Self::Metadata(wire::decode_metadata(bytes)?),
            Self::Identity(_) => Self::Identity(wire::decode_identity(bytes)?),
            Self::Transfer(_) => Self::Transfer(wire::decode_transfer(bytes)?),
            Self::SnapshotHead(_) => {
                Self::SnapshotHead(read_head(&bytes, &|from| wire::read_snapshot_head(from))?)
            }
            Self::SeedHead(_) => {
                Self::SeedHead(read_head(&bytes, &|from| wire::read_seed_head(from))?)
            }
        })
    }
}

/// A head and nothing behind it.
fn read_head<T>(
    mut bytes: &[u8],
    read: &dyn Fn(&mut dyn std::io::Read) -> std::io::Result<T>,
) -> Result<T, DecodeError> {
    let what = "head";
    let head = read(&mut bytes).map_err(|error| {
        let wrong = error.downcast::<DecodeError>();
        wrong.unwrap_or(DecodeError::Truncated { what })
    })?;
    match bytes.len() {
        0 => Ok(head),
        bytes => Err(DecodeError::Remainder { what, bytes }),
    }
}

/// All chunks in one.
pub(crate) fn join(chunks: &[Bytes]) -> Bytes {
    chunks.concat().into()
}

/// A name, a value, and its bytes in hexadecimal; blanks are for the reader.
pub(crate) type Sample = (&'static str, Value, &'static str);

fn member(node: u64, incarnation: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn membership() -> Membership {
    Membership::from_parts(MembershipParts {
        members: vec![
            (NodeId(1), Member::new(Incarnation(0x11), "a:1".into())),
            (NodeId(2), Member::new(Incarnation(0x22), "b:2".into())),
            (NodeId(3), Member::new(Incarnation(0x33), Bytes::new())),
        ],
        voters: vec![NodeId(1), NodeId(2)],
        outgoing: vec![NodeId(1)],
        ..MembershipParts::default()
    })
    .expect("it is a membership")
}

/// With everything that a membership may have.
fn full_membership() -> Membership {
    let mut voter = Member::new(Incarnation(0x11), Bytes::new());
    voter.priority = 7;
    let mut learner = Member::new(Incarnation(0x33), Bytes::new());
    learner.promote = true;
    Membership::from_parts(MembershipParts {
        members: vec![
            (NodeId(1), voter),
            (NodeId(2), Member::new(Incarnation(0x22), Bytes::new())),
            (NodeId(3), learner),
        ],
        voters: vec![NodeId(1)],
        outgoing: vec![NodeId(1), NodeId(2)],
        demoted: vec![NodeId(2)],
        replaced: vec![member(3, 0x99)],
    })
    .expect("it is a membership")
}

fn envelope(message: Message) -> Value {
    Value::Envelope(Envelope {
        cluster: ClusterId(*b"cluster-identity"),
        from: Sender {
            member: member(1, 0x11),
            boot: Boot(3),
        },
        to: member(2, 0x22),
        term: Term(7),
        message,
    })
}

fn command(operation: Operation) -> Command {
    Command {
        session: 5,
        sequence: 300,
        first_outstanding: 2,
        principal: "me".into(),
        operation,
    }
}

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

fn key_value(key: &'static str, value: &'static str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: 2,
        mod_revision: 300,
        version: 4,
        lease: 0,
    }
}

fn respond(body: Result<Reply, RequestError>) -> Value {
    let header = Header {
        cluster: *b"cluster-identity",
        node: 1,
        revision: 2,
        applied: 3,
        term: 4,
    };
    Value::Response(Response { header, body })
}

fn reply(reply: CommandReply) -> Value {
    respond(Ok(Reply::Command(reply)))
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

const ID: RequestId = RequestId {
    boot: Boot(3),
    number: 9,
};

fn votes() -> Vec<Sample> {
    let last = LogId::new(5, 6);
    vec![
        (
            "pre-vote request",
            envelope(Message::PreVoteRequest { id: ID, last }),
            "01 01 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0500000000000000 0600000000000000",
        ),
        (
            "pre-vote response",
            envelope(Message::PreVoteResponse {
                id: ID,
                granted: true,
            }),
            "01 02 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 01",
        ),
        (
            "vote request",
            envelope(Message::VoteRequest {
                id: ID,
                last,
                transfer: true,
            }),
            "01 03 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0500000000000000 0600000000000000 01",
        ),
        (
            "timeout now",
            envelope(Message::TimeoutNow { id: ID }),
            "01 0a 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000",
        ),
        (
            "not a member",
            envelope(Message::NotAMember { id: ID, at: last }),
            "01 0e 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0500000000000000 0600000000000000",
        ),
        (
            "vote response",
            envelope(Message::VoteResponse {
                id: ID,
                granted: false,
            }),
            "01 04 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 00",
        ),
    ]
}

fn appends() -> Vec<Sample> {
    let last = LogId::new(5, 6);
    let entries = vec![
        Entry {
            id: LogId::new(6, 6),
            payload: Payload::Noop,
        },
        Entry {
            id: LogId::new(7, 7),
            payload: Payload::Command("command".into()),
        },
        Entry {
            id: LogId::new(8, 7),
            payload: Payload::Membership(membership()),
        },
    ];
    vec![
        (
            "append request",
            envelope(Message::AppendRequest {
                id: ID,
                prev: last,
                entries: entries.into(),
                commit: Index(4),
            }),
            "01 05 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0500000000000000 0600000000000000 0400000000000000 03000000 \
                0600000000000000 0600000000000000 01 00000000 0700000000000000 0700000000000000 00 \
                07000000 0800000000000000 0700000000000000 02 58000000 636f6d6d616e64 \
                0103010000000000000011000000000000000300613a3102000000000000002200000000000000030062 \
                3a3203000000000000003300000000000000000002010000000000000002000000000000000101000000 \
                00000000",
        ),
        (
            "append response: matched",
            envelope(Message::AppendResponse {
                id: ID,
                result: AppendResult::Matched(Index(8)),
            }),
            "01 06 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 00 0800000000000000",
        ),
        (
            "append response: conflict",
            envelope(Message::AppendResponse {
                id: ID,
                result: AppendResult::Conflict {
                    prev: Index(8),
                    hint: last,
                },
            }),
            "01 06 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 01 0800000000000000 0500000000000000 0600000000000000",
        ),
        (
            "snapshot request",
            envelope(Message::SnapshotRequest {
                id: ID,
                snapshot: Snapshot {
                    last: LogId::new(8, 7),
                    membership: membership(),
                    membership_at: last,
                },
            }),
            "01 09 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0800000000000000 0700000000000000 0500000000000000 0600000000000000 \
                58000000 0103010000000000000011000000000000000300613a3102000000000000002200000000000000030062 \
                3a3203000000000000003300000000000000000002010000000000000002000000000000000101000000 \
                00000000",
        ),
    ]
}

fn heartbeats() -> Vec<Sample> {
    vec![
        (
            "heartbeat request",
            envelope(Message::HeartbeatRequest {
                id: ID,
                commit: Index(4),
            }),
            "01 07 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0400000000000000",
        ),
        (
            "heartbeat response",
            envelope(Message::HeartbeatResponse {
                id: ID,
                matched: Index(4),
                full: false,
            }),
            "01 08 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0400000000000000",
        ),
    ]
}

fn fullness_and_reads() -> Vec<Sample> {
    vec![
        (
            "heartbeat response: full",
            envelope(Message::HeartbeatResponse {
                id: ID,
                matched: Index(4),
                full: true,
            }),
            "01 0d 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 0400000000000000",
        ),
        (
            "append response: full",
            envelope(Message::AppendResponse {
                id: ID,
                result: AppendResult::Full(Index(8)),
            }),
            "01 06 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 02 0800000000000000",
        ),
        (
            "read request",
            envelope(Message::ReadRequest { id: ID }),
            "01 0b 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000",
        ),
        (
            "read response",
            envelope(Message::ReadResponse {
                id: ID,
                index: Some(Index(8)),
            }),
            "01 0c 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 01 0800000000000000",
        ),
        (
            "read response: refused",
            envelope(Message::ReadResponse {
                id: ID,
                index: None,
            }),
            "01 0c 0000 636c75737465722d6964656e74697479 0100000000000000 1100000000000000 \
                0300000000000000 0200000000000000 2200000000000000 0700000000000000 0300000000000000 \
                0900000000000000 00 0000000000000000",
        ),
    ]
}

fn commands() -> Vec<Sample> {
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

fn requests() -> Vec<Sample> {
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

fn admin() -> Vec<Sample> {
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

fn command_replies() -> Vec<Sample> {
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

fn refusals() -> Vec<Sample> {
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

fn other_replies() -> Vec<Sample> {
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

fn no_room() -> Vec<Sample> {
    vec![(
        "disk full",
        respond(Err(RequestError::Full)),
        "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
            0300000000000000 0400000000000000 02000000 0307",
    )]
}

fn transfers() -> Vec<Sample> {
    let file = SnapshotFile {
        last: LogId::new(9, 4),
        bytes: 1000,
        checksum: 0x0102_0304,
    };
    let sample = |name, transfer, golden| (name, Value::Transfer(transfer), golden);
    vec![
        sample(
            "transfer offer",
            Transfer::Offer {
                file,
                term: Term(7),
                sent: 300,
            },
            "01 01 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 0700000000000000 2c01000000000000",
        ),
        sample(
            "transfer ready",
            Transfer::Ready {
                file,
                from: 200,
                sent: 300,
            },
            "01 02 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 c800000000000000 2c01000000000000",
        ),
        sample(
            "transfer chunk",
            Transfer::Chunk {
                file,
                offset: 300,
                bytes: "value".into(),
            },
            "01 03 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 2c01000000000000 0000000000000000 76616c7565",
        ),
        sample(
            "transfer want",
            Transfer::Want { file, from: 300 },
            "01 04 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 2c01000000000000 0000000000000000",
        ),
        sample(
            "transfer have",
            Transfer::Have {
                file,
                received: 1000,
            },
            "01 05 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 e803000000000000 0000000000000000",
        ),
        sample(
            "transfer refused",
            Transfer::Refused { file },
            "01 06 0000 0900000000000000 0400000000000000 e803000000000000 \
                04030201 0000000000000000 0000000000000000",
        ),
        (
            "snapshot head",
            Value::SnapshotHead(SnapshotHead {
                cluster: ClusterId(*b"cluster-identity"),
                founding: membership(),
                snapshot: Snapshot {
                    last: LogId::new(9, 4),
                    membership: Membership::of_voters([(member(1, 0x11), "a:1".into())])
                        .expect("one voter"),
                    membership_at: LogId::new(6, 3),
                },
            }),
            "01000000b1000000636c75737465722d6964656e746974790900000000000000040000000000000006000000 \
                000000000300000000000000580000000103010000000000000011000000000000000300613a310200000000 \
                00000022000000000000000300623a3203000000000000003300000000000000000002010000000000000002 \
                00000000000000010100000000000000210000000101010000000000000011000000000000000300613a3101 \
                010000000000000000",
        ),
    ]
}

fn seed() -> Seed {
    Seed {
        source: SnapshotFile {
            last: LogId::new(120, 3),
            bytes: 512,
            checksum: 0xdead_beef,
        },
        file: SnapshotFile {
            last: LogId::new(200, 1),
            bytes: 513,
            checksum: 0xbaad_f00d,
        },
    }
}

fn hello(seed: Option<Seed>) -> Formation {
    Formation::Hello {
        node: NodeId(1),
        incarnation: Incarnation(300),
        advertise: "a:1".into(),
        founding: vec![(NodeId(1), "a:1".into()), (NodeId(2), "b:2".into())],
        known: vec![(NodeId(2), Incarnation(34), "b:2".into())],
        seed,
    }
}

/// What is only there where a backup was restored, or is made.
fn backups() -> Vec<Sample> {
    let seed = seed();
    let seed_head = SeedHead {
        source_cluster: ClusterId(*b"cluster-identity"),
        source: seed.source,
        founders: vec![(NodeId(1), "a:1".into()), (NodeId(2), "b:2".into())],
    };
    let restored = DirectoryIdentity {
        restored: true,
        node: NodeId(1),
        incarnation: Incarnation(0x11),
    };
    vec![
        (
            "backup",
            Value::Request(Incoming::Backup { id: 7, offset: 512 }),
            "01 05 0000 0700000000000000 0002000000000000",
        ),
        (
            "backup reply",
            respond(Ok(Reply::Backup(BackupPiece {
                id: 7,
                offset: 512,
                bytes: "piece".into(),
                end: true,
            }))),
            "01 000000 636c75737465722d6964656e74697479 0100000000000000 0200000000000000 \
                0300000000000000 0400000000000000 06000000 06 07 8004 01 05 7069656365",
        ),
        (
            "hello of a restored node",
            Value::Formation(hello(Some(seed))),
            "01 03 0000 7800000000000000 0300000000000000 0002000000000000 efbeadde \
                c800000000000000 0100000000000000 0102000000000000 0df0adba \
                01ac0203613a31020103613a310203623a3201022203623a32",
        ),
        (
            "head of a seed",
            Value::SeedHead(seed_head),
            "01 000000 37000000 636c75737465722d6964656e74697479 \
                7800000000000000 0300000000000000 0002000000000000 efbeadde 020103613a310203623a32",
        ),
        (
            "identity of a restored directory",
            Value::Identity(restored),
            "01 010000 0100000000000000 1100000000000000",
        ),
    ]
}

fn stored() -> Vec<Sample> {
    let formed = Formation::Formed {
        cluster: ClusterId(*b"cluster-identity"),
        membership: membership(),
        current: Membership::of_voters([(member(1, 0x11), "a:1".into())]).expect("one voter"),
    };
    let metadata = |voted_for| {
        Value::Metadata(Metadata {
            cluster: ClusterId(*b"cluster-identity"),
            hard_state: HardState {
                term: Term(7),
                voted_for,
                commit: Index(4),
            },
        })
    };
    let identity = DirectoryIdentity {
        node: NodeId(1),
        incarnation: Incarnation(0x11),
        restored: false,
    };
    vec![
        (
            "hello",
            Value::Formation(hello(None)),
            "01 01 0000 01ac0203613a31020103613a310203623a3201022203623a32",
        ),
        (
            "formed",
            Value::Formation(formed),
            "01 02 0000 636c75737465722d6964656e74697479 58000000 \
                0103010000000000000011000000000000000300613a3102000000000000002200000000000000030062 \
                3a3203000000000000003300000000000000000002010000000000000002000000000000000101000000 \
                00000000 21000000 0101010000000000000011000000000000000300613a3101010000000000000000",
        ),
        (
            "membership",
            Value::Membership(Payload::Membership(membership())),
            "01 03 0100000000000000 1100000000000000 0300 613a31 0200000000000000 \
                2200000000000000 0300 623a32 0300000000000000 3300000000000000 0000 02 \
                0100000000000000 0200000000000000 01 0100000000000000",
        ),
        (
            "membership with all there is",
            Value::Membership(Payload::Membership(full_membership())),
            "01 83 0100000000000000 1100000000000000 0000 0200000000000000 2200000000000000 0000 \
                0300000000000000 3300000000000000 0000 01 0100000000000000 \
                02 0100000000000000 0200000000000000 02 0100000000000000 07 00 0300000000000000 00 01 \
                01 0200000000000000 01 0300000000000000 9900000000000000",
        ),
        (
            "metadata",
            metadata(Some(member(2, 0x22))),
            "01 01 0000 636c75737465722d6964656e74697479 0700000000000000 0400000000000000 \
                0200000000000000 2200000000000000",
        ),
        (
            "metadata without a vote",
            metadata(None),
            "01 00 0000 636c75737465722d6964656e74697479 0700000000000000 0400000000000000 \
                0000000000000000 0000000000000000",
        ),
        (
            "directory identity",
            Value::Identity(identity),
            "01 000000 0100000000000000 1100000000000000",
        ),
    ]
}

/// All of them.
pub(crate) fn samples() -> Vec<Sample> {
    [
        votes(),
        appends(),
        heartbeats(),
        fullness_and_reads(),
        commands(),
        requests(),
        admin(),
        command_replies(),
        refusals(),
        other_replies(),
        no_room(),
        stored(),
        backups(),
        transfers(),
        coordination::commands(),
        coordination::replies(),
        coordination::refusals(),
        coordination::questions(),
        coordination::watches(),
    ]
    .concat()
}
