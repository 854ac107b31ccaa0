//! The bytes of every encoding, for ever: a stored log, and a member of another release, must still be understood.

use crate::wire_samples::{Value, join, samples};
use raft_core::{Incarnation, MemberId, Membership, NodeId, Payload};
use raft_kv::api::{Command, Operation};
use raft_kv::release::Release;
use raft_kv::wire::{self, DecodeError, Incoming, Transfer};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_encoding_has_its_golden_bytes() {
    for (name, value, golden) in samples() {
        let golden = golden.replace(char::is_whitespace, "");
        assert_eq!(hex(&join(&value.encode())), golden, "{name}");
    }
}

#[test]
fn golden_bytes_decode_to_their_value() {
    for (name, value, golden) in samples() {
        let golden = golden.replace(char::is_whitespace, "");
        let bytes: Vec<u8> = (0..golden.len() / 2)
            .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(
            value.decode_alike(bytes.into()).as_ref(),
            Ok(&value),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_version_is_told_from_damage() {
    for (name, value, _) in samples() {
        for version in [0, 2, 255] {
            let mut bytes = join(&value.encode()).to_vec();
            bytes[0] = version;
            let error = value.decode_alike(bytes.into()).expect_err(name);
            assert!(
                matches!(error, DecodeError::UnknownVersion { version: found, .. } if found == version),
                "{name}: {error}"
            );
        }
    }
}

/// Whether a value's last field is all that is left of the bytes, however many: then neither a cut in it nor more bytes can
/// be noticed here, but by the length and the checksum of the frame or the record around it.
fn has_open_tail(value: &Value) -> bool {
    match value {
        Value::Command(command) | Value::Request(Incoming::Write { command, .. }) => {
            matches!(
                command,
                Command {
                    operation: Operation::Put { .. },
                    ..
                }
            )
        }
        Value::Transfer(transfer) => matches!(transfer, Transfer::Chunk { .. }),
        _ => false,
    }
}

#[test]
fn what_is_cut_or_continued_is_refused() {
    for (name, value, _) in samples() {
        let bytes = join(&value.encode());
        let open = has_open_tail(&value);
        for length in 0..bytes.len() {
            match value.decode_alike(bytes.slice(..length)) {
                Err(_) => {}
                Ok(_) if open && length >= bytes.len() - b"value".len() => {}
                Ok(_) => panic!("{name}: decodes from {length} of its {} bytes", bytes.len()),
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(
            open || value.decode_alike(longer.into()).is_err(),
            "{name}: takes a byte more"
        );
    }
}

#[test]
fn payloads_stand_in_the_log_under_their_kind() {
    let command = Payload::Command("command".into());
    assert_eq!(wire::encode_payload(&command), (0, "command".into()));
    assert_eq!(wire::decode_payload(0, "command".into()), Ok(command));
    assert_eq!(wire::encode_payload(&Payload::Noop), (1, "".into()));
    assert_eq!(wire::decode_payload(1, "".into()), Ok(Payload::Noop));
    assert!(wire::decode_payload(1, "x".into()).is_err());
    assert!(wire::decode_payload(3, "".into()).is_err());
}

#[test]
fn a_cluster_is_named_after_its_first_membership_for_ever() {
    let founding = |incarnation| {
        let id = MemberId {
            node: NodeId(1),
            incarnation: Incarnation(incarnation),
        };
        Membership::of_voters([(id, "a:1".into())]).unwrap()
    };
    let id = wire::cluster_id(&founding(0x11));
    assert_eq!(id.to_string(), "51222b92ebc81b055dfca5d39703b041");
    assert_eq!(id, wire::cluster_id(&founding(0x11)));
    assert_ne!(id, wire::cluster_id(&founding(0x12)));
}

/// Of a handshake, an older release must understand what a newer one says.
#[test]
fn what_a_node_runs_is_read_from_every_later_version() {
    let release = Release {
        name: "1.2.0".into(),
        follows: 513,
    };
    let bytes = wire::encode_release(&release);
    assert_eq!(hex(&bytes), "0101020531 2e322e30".replace(' ', ""));
    let mut later = bytes.to_vec();
    later[0] = 7;
    later.extend_from_slice(b"more");
    for bytes in [bytes, later.into()] {
        assert_eq!(wire::decode_release(bytes), Ok(release.clone()));
    }
    for cut in ["", "01", "010102", "01010205312e"] {
        let bytes: Vec<u8> = (0..cut.len() / 2)
            .map(|at| u8::from_str_radix(&cut[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let error = wire::decode_release(bytes.into());
        assert!(
            matches!(error, Err(DecodeError::Truncated { .. })),
            "{error:?}"
        );
    }
    // What a stranger says goes into our log and to an operator's terminal.
    let loud = Release {
        name: format!("a\x1b[31m{}", "é".repeat(100)),
        follows: 1,
    };
    let read = wire::decode_release(wire::encode_release(&loud)).unwrap();
    assert!(
        read.name.starts_with("a[31m") && read.name.len() <= 64,
        "{read:?}"
    );
}
