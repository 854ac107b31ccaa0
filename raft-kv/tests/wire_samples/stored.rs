//! What is kept on a disk, and what brings it to another.

use super::*;

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

pub(super) fn transfers() -> Vec<Sample> {
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
pub(super) fn backups() -> Vec<Sample> {
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

pub(super) fn stored() -> Vec<Sample> {
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
