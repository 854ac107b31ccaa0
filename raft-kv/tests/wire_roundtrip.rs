//! What is encoded comes out again, whatever it is; and payloads are not copied on the way.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use raft_core::{
    AppendResult, Boot, ClusterId, Entry, Envelope, HardState, Incarnation, Index, LogId, Member,
    MemberId, Membership, MembershipParts, Message, NodeId, Payload, RequestId, Sender, Snapshot,
    Term,
};
use raft_kv::api::*;
use raft_kv::wire::{self, Formation, Incoming, Metadata, Seed, SnapshotFile};

fn join(chunks: &[Bytes]) -> Bytes {
    chunks.concat().into()
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 1000..1100)]
        .prop_map(Bytes::from)
}

fn member() -> impl Strategy<Value = MemberId> {
    any::<(u64, u64)>().prop_map(|(node, incarnation)| MemberId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    })
}

fn log_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64)>().prop_map(|(index, term)| LogId::new(index, term))
}

fn membership() -> impl Strategy<Value = Membership> {
    let member = (
        any::<u64>(),
        vec(any::<u8>(), 0..50),
        0_u8..3,
        any::<bool>(),
    );
    let members = prop::collection::btree_map(1_u64.., member, 1..10);
    (members, any::<[u64; 4]>()).prop_map(|(members, [voters, outgoing, demoted, replaced])| {
        let nodes: Vec<NodeId> = members.keys().map(|&node| NodeId(node)).collect();
        let pick = |mask: u64| {
            nodes
                .iter()
                .enumerate()
                .filter(move |(at, _)| mask >> at & 1 == 1)
                .map(|(_, n)| *n)
        };
        // At least one voter, whatever the mask.
        let first = nodes.first().copied().filter(|_| voters & 1 == 0);
        let members =
            members
                .into_iter()
                .map(|(node, (incarnation, context, priority, promote))| {
                    let mut member = Member::new(Incarnation(incarnation), context.into());
                    (member.priority, member.promote) = (priority, promote);
                    (NodeId(node), member)
                });
        let mut parts = MembershipParts {
            members: members.collect(),
            voters: pick(voters).chain(first).collect(),
            outgoing: pick(outgoing).collect(),
            ..MembershipParts::default()
        };
        for (node, member) in &mut parts.members {
            member.promote &= !parts.voters.contains(node);
            if pick(replaced).any(|n| n == *node) && !parts.outgoing.contains(node) {
                let incarnation = Incarnation(member.incarnation.0 ^ 1);
                let node = *node;
                parts.replaced.push(MemberId { node, incarnation });
            }
        }
        parts.demoted = pick(demoted & outgoing & !voters & !1).collect();
        Membership::from_parts(parts).expect("it is a membership")
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        6 => bytes().prop_map(Payload::Command),
        1 => Just(Payload::Noop),
        1 => membership().prop_map(Payload::Membership),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let id = any::<(u64, u64)>().prop_map(|(boot, number)| RequestId {
        boot: Boot(boot),
        number,
    });
    let entries = vec(
        (log_id(), payload()).prop_map(|(id, payload)| Entry { id, payload }),
        0..12,
    );
    let append = (log_id(), entries, any::<u64>());
    let snapshot =
        (log_id(), log_id(), membership()).prop_map(|(last, membership_at, membership)| Snapshot {
            last,
            membership,
            membership_at,
        });
    (id, log_id(), any::<u64>(), any::<bool>(), append, snapshot).prop_flat_map(
        |(id, last, number, granted, (prev, entries, commit), snapshot)| {
            let index = Index(number);
            let conflict = AppendResult::Conflict {
                prev: index,
                hint: last,
            };
            prop_oneof![
                Just(Message::PreVoteRequest { id, last }),
                Just(Message::PreVoteResponse { id, granted }),
                Just(Message::VoteRequest {
                    id,
                    last,
                    transfer: granted
                }),
                Just(Message::TimeoutNow { id }),
                Just(Message::NotAMember { id, at: last }),
                Just(Message::VoteResponse { id, granted }),
                Just(Message::AppendRequest {
                    id,
                    prev,
                    entries: entries.into(),
                    commit: Index(commit)
                }),
                Just(Message::AppendResponse {
                    id,
                    result: AppendResult::Matched(index)
                }),
                Just(Message::AppendResponse {
                    id,
                    result: conflict
                }),
                Just(Message::SnapshotRequest { id, snapshot }),
                Just(Message::ReadRequest { id }),
                Just(Message::ReadResponse {
                    id,
                    index: granted.then_some(index)
                }),
                Just(Message::HeartbeatRequest { id, commit: index }),
                Just(Message::HeartbeatResponse {
                    id,
                    matched: index,
                    full: granted
                }),
                Just(Message::AppendResponse {
                    id,
                    result: AppendResult::Full(index)
                }),
            ]
        },
    )
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        bytes().prop_map(KeyRange::Key),
        bytes().prop_map(KeyRange::Prefix),
        (bytes(), prop::option::of(bytes())).prop_map(|(from, to)| KeyRange::Range(from, to)),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        bytes().prop_map(|key| Condition::Absent { key }),
        (bytes(), any::<u64>())
            .prop_map(|(key, revision)| Condition::ModRevision { key, revision }),
        (bytes(), bytes()).prop_map(|(key, value)| Condition::Value { key, value }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let put = (
        bytes(),
        bytes(),
        any::<u64>(),
        any::<bool>(),
        vec(condition(), 0..4),
    )
        .prop_map(
            |(key, value, lease, want_previous, conditions)| Operation::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            },
        );
    let delete = (key_range(), any::<bool>(), vec(condition(), 0..4)).prop_map(
        |(keys, want_previous, conditions)| Operation::Delete {
            keys,
            want_previous,
            conditions,
        },
    );
    prop_oneof![
        1 => Just(Operation::RegisterSession),
        1 => Just(Operation::EndSession),
        4 => put,
        4 => delete,
        1 => (any::<u16>(), "[a-z0-9.-]{0,64}").prop_map(|(version, release)| Operation::SetClusterVersion { version, release }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    (
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        bytes(),
        operation(),
    )
        .prop_map(
            |(session, sequence, first_outstanding, principal, operation)| Command {
                session,
                sequence,
                first_outstanding,
                principal,
                operation,
            },
        )
}

fn query() -> impl Strategy<Value = Query> {
    (
        key_range(),
        any::<u64>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(keys, limit, keys_only, count_only, reverse)| Query {
            keys,
            limit,
            keys_only,
            count_only,
            reverse,
            revision: 0,
        })
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    (
        bytes(),
        bytes(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
    )
        .prop_map(
            |(key, value, create_revision, mod_revision, version, lease)| KeyValue {
                key,
                value,
                create_revision,
                mod_revision,
                version,
                lease,
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    let one = || prop::option::of(key_value());
    let many = || vec(key_value(), 0..6);
    let command = prop_oneof![
        (any::<u64>(), one())
            .prop_map(|(revision, previous)| CommandReply::Put { revision, previous }),
        (any::<u64>(), any::<u64>(), many()).prop_map(|(count, revision, previous)| {
            CommandReply::Deleted {
                count,
                revision,
                previous,
            }
        }),
        (one(), any::<u64>())
            .prop_map(|(current, revision)| CommandReply::ConditionFailed { current, revision }),
    ];
    prop_oneof![
        command.prop_map(Reply::Command),
        (many(), any::<u64>(), any::<bool>())
            .prop_map(|(kvs, count, more)| Reply::Query(QueryReply { kvs, count, more })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn envelopes(
        cluster in any::<[u8; 16]>(),
        from in member(),
        to in member(),
        (boot, term) in any::<(u64, u64)>(),
        message in message(),
    ) {
        let from = Sender { member: from, boot: Boot(boot) };
        let envelope =
            Envelope { cluster: ClusterId(cluster), from, to, term: Term(term), message };
        let decoded = wire::decode_envelope(join(&wire::encode_envelope(&envelope, wire::PROTOCOL_MAX)));
        prop_assert_eq!(decoded, Ok(envelope));
    }

    #[test]
    fn payloads(payload in payload()) {
        let (kind, bytes) = wire::encode_payload(&payload);
        prop_assert_eq!(wire::decode_payload(kind, bytes), Ok(payload));
    }

    #[test]
    fn commands(command in command()) {
        prop_assert_eq!(wire::decode_command(wire::encode_command(&command)), Ok(command));
    }

    #[test]
    fn writes_carry_the_command_as_the_log_holds_it(command in command()) {
        let request = join(&wire::encode_request(&Request::Write(command.clone()), wire::PROTOCOL_MAX));
        let payload = wire::encode_command(&command);
        prop_assert_eq!(wire::decode_request(request), Ok(Incoming::Write { payload, command }));
    }

    #[test]
    fn reads(query in query(), stale in any::<bool>(), min_applied in any::<u64>()) {
        let request = Request::Read { query: query.clone(), stale, min_applied };
        let decoded = wire::decode_request(join(&wire::encode_request(&request, wire::PROTOCOL_MAX)));
        prop_assert_eq!(decoded, Ok(Incoming::Read { query, stale, min_applied }));
    }

    #[test]
    fn responses(
        cluster in any::<[u8; 16]>(),
        (node, revision, applied, term) in any::<(u64, u64, u64, u64)>(),
        reply in reply(),
    ) {
        let header = Header { cluster, node, revision, applied, term };
        let response = Response { header, body: Ok(reply) };
        let decoded = wire::decode_response(join(&wire::encode_response(&response, wire::PROTOCOL_MAX)));
        prop_assert_eq!(decoded, Ok(response));
    }

    #[test]
    fn errors(text in ".{0,60}", node in any::<u64>(), kind in 0..6) {
        let error = match kind {
            0 => RequestError::Invalid(text),
            1 => RequestError::NotFormed(text),
            2 => RequestError::TooLarge { what: text, bytes: node, max: 7 },
            3 => RequestError::NotLeader { leader: Some(LeaderHint { node, address: text }) },
            4 => RequestError::Full,
            _ => RequestError::Busy,
        };
        let response = Response { header: Header::default(), body: Err(error) };
        let decoded = wire::decode_response(join(&wire::encode_response(&response, wire::PROTOCOL_MAX)));
        prop_assert_eq!(decoded, Ok(response));
    }

    #[test]
    fn formation(
        node in any::<u64>(),
        incarnation in any::<u64>(),
        advertise in ".{0,60}",
        founding in vec((any::<u64>().prop_map(NodeId), ".{0,20}"), 0..8),
        lives in vec(any::<u64>(), 8),
        membership in membership(),
        current in membership(),
    ) {
        let known = founding
            .iter()
            .zip(lives)
            .map(|((node, address), life)| (*node, Incarnation(life), address.clone()))
            .collect();
        let hello = Formation::Hello {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            advertise,
            founding,
            known,
            seed: (node % 2 == 0).then(|| Seed {
                source: SnapshotFile {
                    last: LogId::new(node, incarnation),
                    bytes: incarnation,
                    checksum: 7,
                },
                file: SnapshotFile {
                    last: LogId::new(incarnation, 1),
                    bytes: node,
                    checksum: 8,
                },
            }),
        };
        prop_assert_eq!(wire::decode_formation(wire::encode_formation(&hello, wire::PROTOCOL_MAX)), Ok(hello));
        let cluster = wire::cluster_id(&membership);
        let formed = Formation::Formed { cluster, membership, current };
        prop_assert_eq!(wire::decode_formation(wire::encode_formation(&formed, wire::PROTOCOL_MAX)), Ok(formed));
    }

    #[test]
    fn metadata(
        cluster in any::<[u8; 16]>(),
        term in any::<u64>(),
        voted_for in prop::option::of(member()),
        commit in any::<u64>(),
    ) {
        let hard_state = HardState { term: Term(term), voted_for, commit: Index(commit) };
        let metadata = Metadata { cluster: ClusterId(cluster), hard_state };
        prop_assert_eq!(wire::decode_metadata(wire::encode_metadata(&metadata)), Ok(metadata));
    }
}

/// Whether the inner bytes are the very memory of the outer ones, or part of it.
fn shares(inner: &Bytes, outer: &Bytes) -> bool {
    outer.as_ptr_range().contains(&inner.as_ptr())
}

fn put(value: &Bytes) -> Command {
    Command {
        session: 1,
        sequence: 1,
        first_outstanding: 1,
        principal: Bytes::new(),
        operation: Operation::Put {
            key: "key".into(),
            value: value.clone(),
            lease: 0,
            want_previous: false,
            conditions: vec![],
        },
    }
}

#[test]
fn large_payloads_are_shared_on_the_way_out_and_small_ones_gathered() {
    let large = Bytes::from(vec![7; 1024]);
    let small = Bytes::from(vec![8; 1023]);
    let entry = |payload: &Bytes| Entry {
        id: LogId::new(1, 1),
        payload: Payload::Command(payload.clone()),
    };
    let member = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    };
    let chunks = wire::encode_envelope(
        &Envelope {
            cluster: ClusterId::UNKNOWN,
            from: Sender {
                member,
                boot: Boot(1),
            },
            to: member,
            term: Term(1),
            message: Message::AppendRequest {
                id: RequestId {
                    boot: Boot(1),
                    number: 1,
                },
                prev: LogId::ZERO,
                entries: vec![entry(&small), entry(&small), entry(&large), entry(&small)].into(),
                commit: Index(0),
            },
        },
        wire::PROTOCOL_MAX,
    );
    assert_eq!(
        chunks.len(),
        3,
        "header with two small ones, the large one, the last small one"
    );
    assert!(shares(&chunks[1], &large));

    let request = wire::encode_request(&Request::Write(put(&large)), wire::PROTOCOL_MAX);
    assert!(shares(&request[1], &large));
    assert_eq!(
        wire::encode_request(&Request::Write(put(&small)), wire::PROTOCOL_MAX).len(),
        1
    );
}

#[test]
fn payloads_are_slices_of_the_frame_on_the_way_in() {
    let value = Bytes::from(vec![7; 100]);
    let frame = join(&wire::encode_request(
        &Request::Write(put(&value)),
        wire::PROTOCOL_MAX,
    ));
    let Ok(Incoming::Write { payload, command }) = wire::decode_request(frame.clone()) else {
        panic!("it is a write");
    };
    let Operation::Put { key, value, .. } = command.operation else {
        panic!("it is a put");
    };
    assert!(
        [&payload, &key, &value]
            .into_iter()
            .all(|part| shares(part, &frame))
    );

    // What is kept for long is copied instead.
    let member = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    };
    let membership = Membership::of_voters([(member, "address".into())]).unwrap();
    let (kind, bytes) = wire::encode_payload(&Payload::Membership(membership));
    let Ok(Payload::Membership(membership)) = wire::decode_payload(kind, bytes.clone()) else {
        panic!("it is a membership");
    };
    let (_, context) = membership.members().next().unwrap();
    assert!(!shares(context, &bytes));
}

#[test]
fn a_membership_that_contradicts_itself_is_refused() {
    let member = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    };
    let membership = Membership::of_voters([(member, Bytes::new())]).unwrap();
    let (_, good) = wire::encode_payload(&Payload::Membership(membership));
    for (at, byte, why) in [
        (1, 65, "65 members"),
        (1, 0x81, "a tail that is missing"),
        (2, 2, "a voter that is no member"),
        (20, 2, "one voter more than there are"),
        (20, 0, "no voter"),
    ] {
        let mut bad = good.to_vec();
        bad[at] = byte;
        assert!(wire::decode_payload(2, bad.into()).is_err(), "{why}");
    }
}

#[test]
fn a_membership_has_one_encoding() {
    let id = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    };
    let membership = Membership::of_voters([(id, Bytes::new())]).unwrap();
    let (_, plain) = wire::encode_payload(&Payload::Membership(membership));
    let more = |tail: &[u8]| {
        let mut bytes = [&plain[..], tail].concat();
        bytes[1] |= 0x80;
        wire::decode_payload(2, bytes.into())
    };
    assert!(more(&[]).is_err(), "a tail that is missing");
    assert!(more(&[0, 0, 0]).is_err(), "a tail that says nothing");
    let note = |node: u8, priority: u8| [1, node, 0, 0, 0, 0, 0, 0, 0, priority, 0, 0, 0];
    assert!(more(&note(1, 5)).is_ok());
    assert!(more(&note(1, 0)).is_err(), "a note that says nothing");
    assert!(more(&note(2, 5)).is_err(), "a note of nobody");
    assert!(
        more(&[0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err(),
        "the demotion of one that stays a voter"
    );
}

#[test]
fn a_text_for_people_is_cut_between_characters() {
    let body = Err(RequestError::Invalid("é".repeat(wire::TEXT_BYTES_MAX)));
    let response = Response {
        header: Header::default(),
        body,
    };
    let decoded =
        wire::decode_response(join(&wire::encode_response(&response, wire::PROTOCOL_MAX))).unwrap();
    let Err(RequestError::Invalid(text)) = decoded.body else {
        panic!("it is an error");
    };
    assert_eq!(text, "é".repeat(wire::TEXT_BYTES_MAX / 2));
}

#[test]
fn what_a_command_needs_is_legible_whatever_the_rest() {
    let header = wire::command_header(&Bytes::from_static(&[9, 0xff, 2, 1])).unwrap();
    assert_eq!((header.format, header.cluster_version), (9, 0x0102));
    assert!(wire::command_header(&Bytes::from_static(&[9, 0xff, 2])).is_err());
}
