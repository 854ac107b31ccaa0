//! A value of every kind that has an encoding, and the bytes that it must have for ever.

mod clients;
mod coordination;
mod envelopes;
mod stored;

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

fn command(operation: Operation) -> Command {
    Command {
        session: 5,
        sequence: 300,
        first_outstanding: 2,
        principal: "me".into(),
        operation,
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

const ID: RequestId = RequestId {
    boot: Boot(3),
    number: 9,
};

/// All of them.
pub(crate) fn samples() -> Vec<Sample> {
    [
        envelopes::votes(),
        envelopes::appends(),
        envelopes::heartbeats(),
        envelopes::fullness_and_reads(),
        clients::commands(),
        clients::requests(),
        clients::admin(),
        clients::command_replies(),
        clients::refusals(),
        clients::other_replies(),
        clients::no_room(),
        stored::stored(),
        stored::backups(),
        stored::transfers(),
        coordination::commands(),
        coordination::replies(),
        coordination::refusals(),
        coordination::questions(),
        coordination::watches(),
    ]
    .concat()
}
