//! The state that a restored cluster begins with: which it is, as founders tell each other, and what stands in front of it in its file.

use bytes::{BufMut, Bytes};
use raft_core::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::envelope::read_log_id;
use super::formation::address;
use super::pack::{List, append, unpack};
use super::transfer::{begin_head, end_head};
use crate::wire::buffer::Reader;
use crate::wire::{DecodeError, MEMBERS_MAX, Seed, SeedHead, SnapshotFile};

const WHAT: &str = "head of a seed";

#[derive(Serialize, Deserialize)]
struct FoundersV1<'a>(#[serde(borrow)] List<(u64, &'a str), MEMBERS_MAX>);

pub(super) fn put_seed(out: &mut Vec<u8>, seed: &Seed) {
    put_file(out, &seed.source);
    put_file(out, &seed.file);
}

pub(super) fn read_seed(reader: &mut Reader) -> Result<Seed, DecodeError> {
    Ok(Seed {
        source: read_file(reader)?,
        file: read_file(reader)?,
    })
}

fn put_file(out: &mut Vec<u8>, file: &SnapshotFile) {
    out.put_u64_le(file.last.index.0);
    out.put_u64_le(file.last.term.0);
    out.put_u64_le(file.bytes);
    out.put_u32_le(file.checksum);
}

fn read_file(reader: &mut Reader) -> Result<SnapshotFile, DecodeError> {
    Ok(SnapshotFile {
        last: read_log_id(reader)?,
        bytes: reader.u64()?,
        checksum: reader.u32()?,
    })
}

pub(crate) fn encode_seed_head(head: &SeedHead) -> Bytes {
    let mut out = begin_head();
    out.put_slice(&head.source_cluster.0);
    put_file(&mut out, &head.source);
    let founders = head.founders.iter().map(|(n, a)| (n.0, a.as_str()));
    end_head(append(out, &FoundersV1(List(founders.collect()))))
}

pub(crate) fn decode_seed_head(rest: Bytes) -> Result<SeedHead, DecodeError> {
    let mut reader = Reader::new(WHAT, rest);
    let source_cluster = ClusterId(reader.cluster()?);
    let source = read_file(&mut reader)?;
    let rest = reader.rest_taken();
    let founders: FoundersV1<'_> = unpack(WHAT, &rest)?;
    let founders = founders.0.0.into_iter();
    Ok(SeedHead {
        source_cluster,
        source,
        founders: founders
            .map(|(node, text)| Ok((NodeId(node), address(text)?)))
            .collect::<Result<_, DecodeError>>()?,
    })
}
