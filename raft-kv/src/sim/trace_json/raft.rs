//! The words of Raft as JSON: ids, entries, memberships, messages, and how a node stands.

use raft_core::{
    AppendResult, Entry, Envelope, HardState, Index, LogId, MemberId, Membership, Message, NodeId,
    Payload, RequestId, Sender, Snapshot, Term,
};

use super::field::Field;
use crate::api::{KeyRange, Operation};
use crate::sim::trace::NodeState;
use crate::wire;

impl From<Index> for Field {
    fn from(index: Index) -> Self {
        Self::Number(index.0)
    }
}

impl From<Term> for Field {
    fn from(term: Term) -> Self {
        Self::Number(term.0)
    }
}

impl From<LogId> for Field {
    fn from(id: LogId) -> Self {
        [("index", id.index.into()), ("term", id.term.into())].into()
    }
}

/// Incarnations are drawn from all 64 bits, more than a JSON reader may keep of a number: they are text.
fn incarnation(id: MemberId) -> Field {
    Field::Text(format!("{:x}", id.incarnation.0))
}

impl From<MemberId> for Field {
    fn from(id: MemberId) -> Self {
        [("node", id.node.0.into()), ("incarnation", incarnation(id))].into()
    }
}

impl From<Sender> for Field {
    fn from(sender: Sender) -> Self {
        [
            ("node", sender.member.node.0.into()),
            ("incarnation", incarnation(sender.member)),
            ("boot", sender.boot.0.into()),
        ]
        .into()
    }
}

impl From<RequestId> for Field {
    fn from(id: RequestId) -> Self {
        [("boot", id.boot.0.into()), ("number", id.number.into())].into()
    }
}

impl From<HardState> for Field {
    fn from(hard: HardState) -> Self {
        [
            ("term", hard.term.into()),
            ("vote", hard.voted_for.into()),
            ("commit", hard.commit.into()),
        ]
        .into()
    }
}

impl From<&Membership> for Field {
    fn from(membership: &Membership) -> Self {
        let now = |node: &NodeId| {
            let incarnation = membership.member(*node).map(|member| member.incarnation);
            MemberId {
                node: *node,
                incarnation: incarnation.unwrap_or_default(),
            }
        };
        // Under a joint membership an id may already be another member's.
        let before = |node: &NodeId| {
            let mut replaced = membership.replaced().iter();
            replaced
                .find(|id| id.node == *node)
                .copied()
                .unwrap_or_else(|| now(node))
        };
        [
            ("voters", Self::list(membership.voters().iter().map(now))),
            (
                "outgoing",
                Self::list(membership.outgoing().iter().map(before)),
            ),
            (
                "learners",
                Self::list(membership.learners().map(|node| now(&node))),
            ),
        ]
        .into()
    }
}

impl From<&NodeState> for Field {
    fn from(state: &NodeState) -> Self {
        [
            ("role", state.role.as_str().into()),
            ("term", state.hard_state.term.into()),
            ("vote", state.hard_state.voted_for.into()),
            ("last", state.last.into()),
            ("durable", state.durable.into()),
            ("commit", state.commit.into()),
            ("applied", state.applied.into()),
            ("membership", (&state.membership).into()),
        ]
        .into()
    }
}

/// What a client's write is known by from the client to where it is applied: its session, and its number in it.
pub(super) fn write_id(write: Option<(u64, u64)>) -> Field {
    write
        .map(|(session, sequence)| format!("{session}.{sequence}"))
        .into()
}

/// The session and number of the write that an entry holds.
pub(super) fn write_in(entry: &Entry) -> Option<(u64, u64)> {
    let Payload::Command(bytes) = &entry.payload else {
        return None;
    };
    let command = wire::decode_command(bytes.clone()).ok()?;
    (command.session > 0).then_some((command.session, command.sequence))
}

impl From<&Entry> for Field {
    fn from(entry: &Entry) -> Self {
        let mut fields = vec![
            ("index", entry.id.index.into()),
            ("term", entry.id.term.into()),
        ];
        match &entry.payload {
            Payload::Noop => fields.push(("kind", "noop".into())),
            Payload::Membership(membership) => {
                fields.push(("kind", "membership".into()));
                fields.push(("membership", membership.into()));
            }
            Payload::Command(bytes) => {
                fields.push(("kind", "command".into()));
                fields.push(("bytes", bytes.len().into()));
                fields.push(("write", write_id(write_in(entry))));
                // Another state machine's commands are bytes, and no more.
                if let Ok(command) = wire::decode_command(bytes.clone()) {
                    let (operation, keys) = in_words(&command.operation);
                    fields.push(("operation", operation.into()));
                    fields.push(("keys", keys.into()));
                }
            }
        }
        Self::Object(fields)
    }
}

/// What a write does, and to which keys. Values are not shown.
fn in_words(operation: &Operation) -> (&'static str, Option<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match operation {
        Operation::RegisterSession => ("register_session", None),
        Operation::EndSession => ("end_session", None),
        Operation::Put { key, .. } => ("put", Some(text(key))),
        Operation::Delete { keys, .. } => {
            let keys = match keys {
                KeyRange::Key(key) => text(key),
                KeyRange::Prefix(prefix) => format!("{}*", text(prefix)),
                KeyRange::Range(from, to) => {
                    format!(
                        "{}..{}",
                        text(from),
                        text(to.as_deref().unwrap_or_default())
                    )
                }
            };
            ("delete", Some(keys))
        }
        Operation::SetClusterVersion { version, .. } => {
            ("set_cluster_version", Some(version.to_string()))
        }
        #[cfg(raft_kv_next)]
        Operation::Append { .. } => ("append", None),
        Operation::Transaction(_) => ("transaction", None),
        Operation::Grant { .. } => ("grant", None),
        Operation::Revoke { .. } => ("revoke", None),
        Operation::Expire { .. } => ("expire", None),
        Operation::Claim { lock, .. } => ("claim", Some(text(lock))),
        Operation::Release { lock, .. } => ("release", Some(text(lock))),
        Operation::Compact { .. } => ("compact", None),
    }
}

impl From<&Snapshot> for Field {
    fn from(snapshot: &Snapshot) -> Self {
        [
            ("last", snapshot.last.into()),
            ("membership", (&snapshot.membership).into()),
            ("membership_at", snapshot.membership_at.into()),
        ]
        .into()
    }
}

impl From<&Envelope> for Field {
    fn from(envelope: &Envelope) -> Self {
        let (kind, id, content) = content(&envelope.message);
        let mut fields = vec![
            ("kind", kind.into()),
            ("from", envelope.from.into()),
            ("to", envelope.to.into()),
            ("cluster", envelope.cluster.to_string().into()),
            ("term", envelope.term.into()),
            ("request", id.into()),
        ];
        fields.extend(content);
        Self::Object(fields)
    }
}

/// What kind a message is, what its answer is known by, and the fields of its own.
fn content(message: &Message) -> (&'static str, RequestId, Vec<(&'static str, Field)>) {
    match message {
        Message::PreVoteRequest { id, last } => {
            ("pre_vote_request", *id, vec![("last", (*last).into())])
        }
        Message::PreVoteResponse { id, granted } => (
            "pre_vote_response",
            *id,
            vec![("granted", (*granted).into())],
        ),
        Message::VoteRequest { id, last, transfer } => (
            "vote_request",
            *id,
            vec![("last", (*last).into()), ("transfer", (*transfer).into())],
        ),
        Message::VoteResponse { id, granted } => {
            ("vote_response", *id, vec![("granted", (*granted).into())])
        }
        Message::AppendRequest {
            id,
            prev,
            entries,
            commit,
        } => (
            "append_request",
            *id,
            vec![
                ("prev", (*prev).into()),
                ("entries", Field::list(entries.iter())),
                ("commit", (*commit).into()),
            ],
        ),
        Message::AppendResponse { id, result } => ("append_response", *id, answer(*result)),
        Message::SnapshotRequest { id, snapshot } => {
            ("snapshot_request", *id, vec![("snapshot", snapshot.into())])
        }
        Message::ReadRequest { id } => ("read_request", *id, Vec::new()),
        Message::ReadResponse { id, index } => {
            ("read_response", *id, vec![("index", (*index).into())])
        }
        Message::HeartbeatRequest { id, commit } => {
            ("heartbeat_request", *id, vec![("commit", (*commit).into())])
        }
        Message::HeartbeatResponse { id, matched, full } => (
            "heartbeat_response",
            *id,
            vec![("matched", (*matched).into()), ("full", (*full).into())],
        ),
        Message::TimeoutNow { id } => ("timeout_now", *id, Vec::new()),
        Message::NotAMember { id, at } => ("not_a_member", *id, vec![("at", (*at).into())]),
        // A message of a later release of the core: that it was sent is still worth a line.
        other => unknown(other),
    }
}

/// What a follower answers to an append.
fn answer(result: AppendResult) -> Vec<(&'static str, Field)> {
    match result {
        AppendResult::Matched(matched) => {
            vec![("result", "matched".into()), ("matched", matched.into())]
        }
        AppendResult::Full(matched) => {
            vec![("result", "full".into()), ("matched", matched.into())]
        }
        AppendResult::Conflict { prev, hint } => vec![
            ("result", "conflict".into()),
            ("prev", prev.into()),
            ("hint", hint.into()),
        ],
    }
}

fn unknown(_: &Message) -> (&'static str, RequestId, Vec<(&'static str, Field)>) {
    let id = RequestId {
        boot: raft_core::Boot::ZERO,
        number: 0,
    };
    ("unknown", id, Vec::new())
}
