//! What others carry for us: raft-log metadata with every batch that changes it, and an identity in the superblock; raft-net-tcp, in
//! its handshake, what a node runs.

use bytes::{BufMut, Bytes};
use raft_core::{ClusterId, HardState, Incarnation, Index, MemberId, NodeId, Term};

use super::VERSION;
use crate::release::{self, Release};
use crate::wire::buffer::Reader;
use crate::wire::{DecodeError, DirectoryIdentity, Metadata};

pub(crate) fn encode_metadata(metadata: &Metadata) -> Bytes {
    let Metadata {
        cluster,
        hard_state,
    } = metadata;
    let vote = hard_state.voted_for;
    let mut out = Vec::with_capacity(52);
    out.put_u8(VERSION);
    out.put_u8(u8::from(vote.is_some()));
    out.put_u16_le(0);
    out.put_slice(&cluster.0);
    out.put_u64_le(hard_state.term.0);
    out.put_u64_le(hard_state.commit.0);
    out.put_u64_le(vote.map_or(0, |member| member.node.0));
    out.put_u64_le(vote.map_or(0, |member| member.incarnation.0));
    out.into()
}

pub(crate) fn decode_metadata(bytes: Bytes) -> Result<Metadata, DecodeError> {
    let mut reader = Reader::new("metadata", bytes);
    reader.u8()?;
    let voted = reader.bool()?;
    reader.reserved(2)?;
    let cluster = ClusterId(reader.cluster()?);
    let term = Term(reader.u64()?);
    let commit = Index(reader.u64()?);
    let vote = MemberId {
        node: NodeId(reader.u64()?),
        incarnation: Incarnation(reader.u64()?),
    };
    if !voted && (vote.node.0, vote.incarnation.0) != (0, 0) {
        return Err(reader.malformed("it names a vote that it says was not given"));
    }
    reader.finish()?;
    let hard_state = HardState {
        term,
        voted_for: voted.then_some(vote),
        commit,
    };
    Ok(Metadata {
        cluster,
        hard_state,
    })
}

pub(crate) fn encode_identity(identity: &DirectoryIdentity) -> Bytes {
    let mut out = Vec::with_capacity(20);
    out.put_u8(VERSION);
    out.put_u8(u8::from(identity.restored));
    out.put_slice(&[0; 2]);
    out.put_u64_le(identity.node.0);
    out.put_u64_le(identity.incarnation.0);
    out.into()
}

pub(crate) fn decode_identity(bytes: Bytes) -> Result<DirectoryIdentity, DecodeError> {
    let mut reader = Reader::new("directory identity", bytes);
    reader.u8()?;
    let restored = reader.bool()?;
    reader.reserved(2)?;
    let identity = DirectoryIdentity {
        node: NodeId(reader.u64()?),
        incarnation: Incarnation(reader.u64()?),
        restored,
    };
    reader.finish()?;
    Ok(identity)
}

pub(crate) fn encode_release(release: &Release) -> Bytes {
    let name = release::clip(&release.name);
    let mut out = Vec::with_capacity(4 + name.len());
    out.put_u8(VERSION);
    out.put_u16_le(release.follows);
    // At most 64.
    out.put_u8(u8::try_from(name.len()).unwrap_or(0));
    out.put_slice(name.as_bytes());
    out.into()
}

pub(crate) fn decode_release(bytes: Bytes) -> Result<Release, DecodeError> {
    let mut reader = Reader::new("release", bytes);
    reader.u8()?;
    let follows = reader.u16()?;
    let length = usize::from(reader.u8()?);
    let name = reader.take(length)?;
    // A stranger's text goes into our log: no control characters.
    let name = String::from_utf8_lossy(&name);
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    Ok(Release {
        name: release::clip(&name).to_owned(),
        follows,
    })
}
