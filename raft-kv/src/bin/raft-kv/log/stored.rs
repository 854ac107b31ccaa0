//! What a node keeps in its log, as fields: entries and metadata. Values are never shown.

use bytes::Bytes;
use raft_core::{HardState, MemberId, Membership, Payload};
use raft_kv::api::{Command, KeyRange, Operation};
use raft_kv::{base64, wire};
use serde_json::{Value, json};

use super::line::Line;

/// The first byte of a node's identity is its version, which is never a printable one.
const VERSIONS: u8 = b' ';

/// Whether an identity is no node's: neither of this release, nor of a newer one.
pub(crate) fn is_foreign(identity: &[u8]) -> bool {
    let decoded = wire::decode_identity(Bytes::copy_from_slice(identity));
    match decoded {
        Ok(_) => false,
        Err(wire::DecodeError::UnknownVersion { version, .. }) => {
            version == 0 || version >= VERSIONS
        }
        Err(_) => true,
    }
}

/// An identity that is not a node's, for people: as text in quotes if it is printable, else as hex.
pub(crate) fn foreign(identity: &[u8]) -> String {
    match std::str::from_utf8(identity) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => {
            let digits = identity.iter().map(|byte| format!("{byte:02x}"));
            format!("0x{}", digits.collect::<String>())
        }
    }
}

/// Term, vote and what was known to be committed.
pub(crate) fn hard_state(line: &mut Line, state: &HardState) {
    line.add("current_term", json!(state.term.0));
    line.add("voted_for", json!(state.voted_for.map(member)));
    line.add("commit", json!(state.commit.0));
}

/// The metadata that a node writes.
pub(crate) fn metadata(line: &mut Line, blob: &[u8]) {
    match wire::decode_metadata(Bytes::copy_from_slice(blob)) {
        Ok(metadata) => {
            line.add("cluster", json!(metadata.cluster.to_string()));
            hard_state(line, &metadata.hard_state);
        }
        Err(error) => line.add("problem", json!(error.to_string())),
    }
}

/// An entry: a command with its keys, a membership with its members, or a no-op.
pub(crate) fn entry(line: &mut Line, kind: u8, payload: &[u8]) {
    let decoded = wire::decode_payload(kind, Bytes::copy_from_slice(payload));
    let decoded = decoded.and_then(|payload| match payload {
        Payload::Noop => {
            line.add("entry", json!("noop"));
            Ok(())
        }
        Payload::Membership(membership) => {
            line.add("entry", json!("membership"));
            members(line, &membership);
            Ok(())
        }
        Payload::Command(bytes) => {
            line.add("entry", json!("command"));
            wire::decode_command(bytes).map(|decoded| command(line, &decoded))
        }
    });
    if let Err(error) = decoded {
        line.add("problem", json!(error.to_string()));
    }
}

fn member(member: MemberId) -> Value {
    json!({ "node": member.node.0, "incarnation": format!("{:x}", member.incarnation.0) })
}

fn members(line: &mut Line, membership: &Membership) {
    let members: Vec<Value> = membership
        .members()
        .map(|(id, context)| {
            let mut value = member(id);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("address".into(), text(context));
                fields.insert("voter".into(), json!(membership.is_voter(id)));
            }
            value
        })
        .collect();
    line.add("members", json!(members));
}

fn command(line: &mut Line, command: &Command) {
    let (operation, keys) = match &command.operation {
        Operation::RegisterSession => ("register_session", None),
        Operation::EndSession => ("end_session", None),
        Operation::Put { key, .. } => ("put", Some(json!({ "key": text(key) }))),
        Operation::Delete { keys, .. } => ("delete", Some(range(keys))),
        Operation::SetClusterVersion { version, release } => (
            "set_cluster_version",
            Some(json!({ "cluster_version": version, "release": release })),
        ),
        _ => ("unknown", None),
    };
    line.add("operation", json!(operation));
    if let Some(keys) = keys {
        line.add("keys", keys);
    }
    line.add("session", json!(command.session));
    line.add("sequence", json!(command.sequence));
}

fn range(keys: &KeyRange) -> Value {
    match keys {
        KeyRange::Key(key) => json!({ "key": text(key) }),
        KeyRange::Prefix(prefix) => json!({ "prefix": text(prefix) }),
        KeyRange::Range(from, to) => {
            json!({ "from": text(from), "to": to.as_ref().map(|to| text(to)) })
        }
    }
}

/// A string where it is UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::encode(bytes) }),
    }
}
