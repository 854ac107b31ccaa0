//! How all that travels and all that is stored is laid out in bytes. The tables are in `docs/wire.md`.
//!
//! A message is written in the version that goes with the protocol of its connection, the newest that both sides speak: the
//! `encode_…` functions that take a `protocol` are the place where one is chosen. A command, which stays in the log, is written in the
//! oldest version that has it.
//!
//! Every encoding begins with its version, and each version has a module of its own ([`DecodeError::UnknownVersion`] for one
//! that this release lacks). What is received may come from anyone: no decoder panics, none allocates more than a small
//! multiple of what it was given, and none ignores bytes that are left over. Byte strings come out as slices of the body that
//! they came in, without a copy; who keeps them for long copies them, lest they keep the whole frame.

mod buffer;
mod error;
#[cfg(raft_kv_next)]
mod next;
mod v1;

use bytes::Bytes;
use raft_core::{
    ClusterId, Envelope, HardState, Incarnation, LogId, Membership, NodeId, Payload, Snapshot, Term,
};
use sha2::{Digest, Sha256};

use crate::api::{Admin, Command, Query, Question, Request, Response, Watch};
use crate::release::Release;

pub use crate::release::{PROTOCOL_MAX, PROTOCOL_MIN};
pub use error::DecodeError;

/// The kinds of the frames that carry what is encoded here.
pub mod kind {
    /// A [`raft_core::Envelope`], one way, between members.
    pub const ENVELOPE: u8 = 1;
    /// A [`Formation`](super::Formation) message, one way, between members to be.
    pub const FORMATION: u8 = 2;
    /// A [`Transfer`](super::Transfer) of a snapshot, one way, between members.
    pub const TRANSFER: u8 = 3;
    /// A client's [`Request`](crate::api::Request).
    pub const REQUEST: u8 = 16;
    /// The [`Response`](crate::api::Response) to it.
    pub const RESPONSE: u8 = 17;
}

/// How many entries one append may carry. The core's `batch_bytes_max` counts at least 32 bytes for each: up to 4 MiB of it
/// stay below this.
pub const ENTRIES_MAX: usize = 1 << 17;
/// How many members a list may have.
pub const MEMBERS_MAX: usize = Membership::MEMBERS_MAX;
/// How long an address may be, in bytes.
pub const ADDRESS_BYTES_MAX: usize = Membership::CONTEXT_BYTES_MAX;
/// How long a text for people may be, in bytes; a longer one is cut when it is encoded.
pub const TEXT_BYTES_MAX: usize = 4096;
/// How many key-values one response may carry.
pub const KEY_VALUES_MAX: usize = 1 << 18;
/// How many conditions, steps or leases a command may carry as far as its decoder is concerned; the door allows fewer.
pub const LIST_MAX: usize = 1024;

/// How long the head of a snapshot may be behind its first eight bytes: two memberships as large as they can be, and their places.
pub const SNAPSHOT_HEAD_BYTES_MAX: usize = 1 << 18;

/// What raft-log keeps as metadata, beside the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The cluster: not known when the data directory is made, so it stands here and not in its identity.
    pub cluster: ClusterId,
    /// Raft's hard state.
    pub hard_state: HardState,
}

/// Whose data directory it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryIdentity {
    /// The node.
    pub node: NodeId,
    /// The directory's life, drawn when it was made.
    pub incarnation: Incarnation,
    /// Whether it was made to restore a backup into: then the cluster that it founds begins with that backup's state, or there is none.
    pub restored: bool,
}

/// What nodes tell each other until their cluster is formed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Formation {
    /// I am waiting for a cluster to form.
    Hello {
        /// The sender.
        node: NodeId,
        /// Its data directory's life.
        incarnation: Incarnation,
        /// Where others reach it.
        advertise: String,
        /// The list of first members that it was started with.
        founding: Vec<(NodeId, String)>,
        /// Whom of them it has heard of, and in which life.
        known: Vec<(NodeId, Incarnation, String)>,
        /// The state that the cluster is to begin with; none: an empty one.
        seed: Option<Seed>,
    },
    /// The cluster is formed.
    Formed {
        /// Its identity.
        cluster: ClusterId,
        /// Its first membership: entry 1@1.
        membership: Membership,
        /// The membership in force at the sender.
        current: Membership,
    },
}

/// A snapshot's file: equal ones are the same bytes, whichever node has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotFile {
    /// The last entry that it covers.
    pub last: LogId,
    /// How long the file is.
    pub bytes: u64,
    /// The CRC-32C that pins all of it.
    pub checksum: u32,
}

/// The state that a restored cluster begins with. Equal ones are the same bytes, on whichever founder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed {
    /// The backup that it was made of.
    pub source: SnapshotFile,
    /// The file that holds it. It ends where the new cluster's log begins: as far behind the backup's end as the revision was raised.
    pub file: SnapshotFile,
}

/// What stands in front of the state in the file of a [`Seed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedHead {
    /// The cluster that the backup is of.
    pub source_cluster: ClusterId,
    /// The backup.
    pub source: SnapshotFile,
    /// Who is to found the new cluster, and where each is reached.
    pub founders: Vec<(NodeId, String)>,
}

/// What stands in front of the state in a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotHead {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its first membership: the log's first entry, which the snapshot stands in for.
    pub founding: Membership,
    /// What the snapshot stands for, as Raft knows it.
    pub snapshot: Snapshot,
}

/// What two nodes tell each other while one is sent a snapshot's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// From a leader: this file is for you.
    Offer {
        /// Which.
        file: SnapshotFile,
        /// The leader's term.
        term: Term,
        /// Up to where pieces of it were sent before this offer.
        sent: u64,
    },
    /// To the leader, in answer to an offer: all before this is here.
    Ready {
        /// Of which file.
        file: SnapshotFile,
        /// Where to go on.
        from: u64,
        /// As the offer said it.
        sent: u64,
    },
    /// A piece of it.
    Chunk {
        /// Of which.
        file: SnapshotFile,
        /// Where in the file it stands.
        offset: u64,
        /// Its bytes, at least one.
        bytes: Bytes,
    },
    /// To the leader: a piece is missing; send from here on.
    Want {
        /// Which.
        file: SnapshotFile,
        /// From where.
        from: u64,
    },
    /// To the leader: so much is written here; all of it means that the file is durable, with its name.
    Have {
        /// Of which.
        file: SnapshotFile,
        /// How much.
        received: u64,
    },
    /// To the leader: it cannot be taken now.
    Refused {
        /// Which.
        file: SnapshotFile,
    },
}

impl Transfer {
    /// Whether it brings the file, and so goes on a connection of its own, lest a file hold up a
    /// heartbeat.
    pub(crate) fn is_bulk(&self) -> bool {
        matches!(self, Self::Offer { .. } | Self::Chunk { .. })
    }
}

/// A client's request as a server has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Write through the log.
    Write {
        /// What to propose, as the client encoded it: a slice of the frame.
        payload: Bytes,
        /// What it says.
        command: Command,
    },
    /// Ask.
    Read {
        /// What.
        query: Query,
        /// Answer from this node's own state at once.
        stale: bool,
        /// Answer only once this index is applied here; 0: no such wish.
        min_applied: u64,
    },
    /// What this node knows of itself.
    Status,
    /// Change who belongs to the cluster, or who leads it.
    Admin(Admin),
    /// A piece of a backup.
    Backup {
        /// Which backup; 0: a new one.
        id: u64,
        /// Where the piece begins.
        offset: u64,
    },
    /// Ask about leases and locks.
    Ask(Question),
    /// Be told what changes.
    Watch(Watch),
    /// End a watch.
    Unwatch {
        /// The number of the frame that began it.
        request: u64,
    },
}

/// What stands in front of every command, whatever its version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandHeader {
    /// The version of its format.
    pub format: u8,
    /// The least cluster version in which it may be applied.
    pub cluster_version: u16,
}

/// The newest version of the format of commands that this release reads.
pub const COMMAND_FORMAT_MAX: u8 = if cfg!(raft_kv_next) { 2 } else { v1::VERSION };

/// The version of these bytes, which must be the only one there is of this encoding.
fn version(what: &'static str, bytes: &[u8]) -> Result<(), DecodeError> {
    match bytes.first() {
        None => Err(DecodeError::Truncated { what }),
        Some(&v1::VERSION) => Ok(()),
        Some(&version) => Err(DecodeError::UnknownVersion {
            what,
            version,
            newest: v1::VERSION,
        }),
    }
}

/// An envelope as a frame's body, in chunks: the payloads of entries of 1 KiB and more are shared, not copied.
///
/// # Panics
/// When an append has more than [`ENTRIES_MAX`] entries: the core's `batch_bytes_max` was set too large.
#[must_use]
pub fn encode_envelope(envelope: &Envelope, protocol: u16) -> Vec<Bytes> {
    #[cfg(raft_kv_next)]
    if protocol >= 2 {
        return next::encode_envelope(envelope);
    }
    let _ = protocol;
    v1::encode_envelope(envelope)
}

/// The envelope that a frame's body holds. Payloads of entries are slices of it.
///
/// # Errors
/// Whatever is wrong with the bytes. That the fields of the message make sense together is for the core to judge.
pub fn decode_envelope(body: Bytes) -> Result<Envelope, DecodeError> {
    #[cfg(raft_kv_next)]
    if body.first() == Some(&next::VERSION) {
        return next::decode_envelope(body);
    }
    version("envelope", &body)?;
    v1::decode_envelope(body)
}

/// An entry's payload as it stands in the log: a record's kind (0 command, 1 no-op, 2 membership) and bytes. A command's
/// are its own, untouched.
#[must_use]
pub fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    v1::encode_payload(payload)
}

/// The payload that a record of the log holds. A command's bytes are not looked into.
///
/// # Errors
/// An unknown kind, a no-op with content, or a membership that does not decode.
pub fn decode_payload(kind: u8, bytes: Bytes) -> Result<Payload, DecodeError> {
    match kind {
        v1::PAYLOAD_COMMAND => Ok(Payload::Command(bytes)),
        v1::PAYLOAD_NOOP if bytes.is_empty() => Ok(Payload::Noop),
        v1::PAYLOAD_NOOP => Err(DecodeError::Remainder {
            what: "no-op",
            bytes: bytes.len(),
        }),
        v1::PAYLOAD_MEMBERSHIP => Ok(Payload::Membership(decode_membership(bytes)?)),
        kind => Err(DecodeError::UnknownKind {
            what: "payload of an entry",
            kind,
        }),
    }
}

fn decode_membership(bytes: Bytes) -> Result<Membership, DecodeError> {
    version("membership", &bytes)?;
    v1::decode_membership(bytes)
}

/// What a cluster with this first membership is called: the same on every node, for ever. The first 16 bytes of the SHA-256
/// of the membership's encoding in version 1, behind a text that keeps it apart from other hashes.
#[must_use]
pub fn cluster_id(founding: &Membership) -> ClusterId {
    let hash = Sha256::new()
        .chain_update(b"raft-kv cluster identity 1\n")
        .chain_update(v1::encode_membership(founding))
        .finalize();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    ClusterId(id)
}

/// A command as the log holds it.
#[must_use]
pub fn encode_command(command: &Command) -> Bytes {
    #[cfg(raft_kv_next)]
    if next::has(command) {
        return next::encode_command(command);
    }
    v1::encode_command(command)
}

/// What stands in front of a command: to be looked at before the rest, which may be beyond this release.
///
/// # Errors
/// [`DecodeError::Truncated`].
pub fn command_header(bytes: &Bytes) -> Result<CommandHeader, DecodeError> {
    v1::command_header(bytes)
}

/// The command that an entry of the log holds. Its byte strings are slices of it.
///
/// # Errors
/// Whatever is wrong with the bytes. Whether the command keeps to the limits of keys and values is for
/// [`validate_command`](crate::store::validate_command) to judge.
pub fn decode_command(bytes: Bytes) -> Result<Command, DecodeError> {
    #[cfg(raft_kv_next)]
    if bytes.first() == Some(&next::VERSION) {
        return next::decode_command(bytes);
    }
    version("command", &bytes)?;
    v1::decode_command(bytes)
}

/// A command behind what stands in `out` already; a large value as a chunk of its own.
fn encode_command_chunks(out: Vec<u8>, command: &Command) -> Vec<Bytes> {
    #[cfg(raft_kv_next)]
    if next::has(command) {
        return vec![out.into(), next::encode_command(command)];
    }
    v1::encode_command_chunks(out, command)
}

/// A request as a frame's body, in chunks: a put's value of 1 KiB and more is shared, not copied.
#[must_use]
pub fn encode_request(request: &Request, protocol: u16) -> Vec<Bytes> {
    let _ = protocol;
    v1::encode_request(request)
}

/// The request that a frame's body holds. Its byte strings are slices of it.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_request(body: Bytes) -> Result<Incoming, DecodeError> {
    version("request", &body)?;
    v1::decode_request(body)
}

/// A response as a frame's body, in chunks: values of 1 KiB and more are shared, not copied.
#[must_use]
pub fn encode_response(response: &Response, protocol: u16) -> Vec<Bytes> {
    let _ = protocol;
    v1::encode_response(response)
}

/// The response that a frame's body holds. Its byte strings are slices of it.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_response(body: Bytes) -> Result<Response, DecodeError> {
    version("response", &body)?;
    v1::decode_response(body)
}

/// A formation message as a frame's body.
#[must_use]
pub fn encode_formation(formation: &Formation, protocol: u16) -> Bytes {
    let _ = protocol;
    v1::encode_formation(formation)
}

/// The formation message that a frame's body holds.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_formation(body: Bytes) -> Result<Formation, DecodeError> {
    version("formation message", &body)?;
    v1::decode_formation(body)
}

/// A transfer message as a frame's body, in chunks: a piece of a file is shared, not copied.
#[must_use]
pub fn encode_transfer(transfer: &Transfer, protocol: u16) -> Vec<Bytes> {
    let _ = protocol;
    v1::encode_transfer(transfer)
}

/// The transfer message that a frame's body holds.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_transfer(body: Bytes) -> Result<Transfer, DecodeError> {
    version("transfer message", &body)?;
    v1::decode_transfer(body)
}

/// What stands in front of the state in a snapshot.
#[must_use]
pub fn encode_snapshot_head(head: &SnapshotHead) -> Bytes {
    v1::encode_snapshot_head(head)
}

/// Reads the head of a snapshot, and nothing behind it.
///
/// # Errors
/// What the reader says; [`std::io::ErrorKind::InvalidData`] with a [`DecodeError`] for what is wrong with the bytes.
pub fn read_snapshot_head(from: &mut dyn std::io::Read) -> std::io::Result<SnapshotHead> {
    let what = "head of a snapshot";
    let rest = read_head(what, from)?;
    v1::decode_snapshot_head(rest).map_err(invalid)
}

/// What stands in front of the state in a seed's file.
#[must_use]
pub fn encode_seed_head(head: &SeedHead) -> Bytes {
    v1::encode_seed_head(head)
}

/// Reads the head of a seed's file, and nothing behind it.
///
/// # Errors
/// As [`read_snapshot_head`].
pub fn read_seed_head(from: &mut dyn std::io::Read) -> std::io::Result<SeedHead> {
    let rest = read_head("head of a seed", from)?;
    v1::decode_seed_head(rest).map_err(invalid)
}

fn invalid(error: DecodeError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}

/// What stands behind the first eight bytes of a head: its version, and its length.
fn read_head(what: &'static str, from: &mut dyn std::io::Read) -> std::io::Result<Bytes> {
    use std::io::Read;

    let mut first = [0; 8];
    from.read_exact(&mut first)?;
    version(what, &first).map_err(invalid)?;
    let length = v1::head_length(what, first).map_err(invalid)?;
    // No room is made for what is not there.
    let mut rest = Vec::new();
    from.take(length as u64).read_to_end(&mut rest)?;
    if rest.len() < length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(rest.into())
}

/// The log's metadata as raft-log keeps it: always 52 bytes.
#[must_use]
pub fn encode_metadata(metadata: &Metadata) -> Bytes {
    v1::encode_metadata(metadata)
}

/// The metadata that raft-log kept.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_metadata(bytes: Bytes) -> Result<Metadata, DecodeError> {
    version("metadata", &bytes)?;
    v1::decode_metadata(bytes)
}

/// A data directory's identity as raft-log keeps it: always 20 bytes.
#[must_use]
pub fn encode_identity(identity: &DirectoryIdentity) -> Bytes {
    v1::encode_identity(identity)
}

/// The identity that raft-log kept.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_identity(bytes: Bytes) -> Result<DirectoryIdentity, DecodeError> {
    version("directory identity", &bytes)?;
    v1::decode_identity(bytes)
}

/// What a node runs, as the application's part of the handshake.
#[must_use]
pub fn encode_release(release: &Release) -> Bytes {
    v1::encode_release(release)
}

/// What the other side of a connection runs. Whoever wrote it may be newer by any number of versions: each begins with the fields of
/// version 1, and what follows them is ignored, as it is in the handshake around it.
///
/// # Errors
/// Whatever is wrong with the bytes.
pub fn decode_release(bytes: Bytes) -> Result<Release, DecodeError> {
    v1::decode_release(bytes)
}
