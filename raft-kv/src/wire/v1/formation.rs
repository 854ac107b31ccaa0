//! What the nodes of a cluster that is not formed yet tell each other.

use bytes::{BufMut, Bytes};
use raft_core::{ClusterId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::membership::encode_membership;
use super::pack::{List, append, unpack};
use super::seed::{put_seed, read_seed};
use crate::wire::buffer::Reader;
use crate::wire::{ADDRESS_BYTES_MAX, DecodeError, Formation, MEMBERS_MAX, decode_membership};

const WHAT: &str = "formation message";

const HELLO: u8 = 1;
const FORMED: u8 = 2;
/// A hello with a seed in front.
const SEEDED: u8 = 3;

#[derive(Serialize, Deserialize)]
struct HelloV1<'a> {
    node: u64,
    incarnation: u64,
    advertise: &'a str,
    #[serde(borrow)]
    founding: List<(u64, &'a str), MEMBERS_MAX>,
    known: List<(u64, u64, &'a str), MEMBERS_MAX>,
}

pub(crate) fn encode_formation(formation: &Formation) -> Bytes {
    let mut out = Vec::with_capacity(256);
    out.put_u8(VERSION);
    match formation {
        Formation::Hello {
            node,
            incarnation,
            advertise,
            founding,
            known,
            seed,
        } => {
            out.put_u8(if seed.is_some() { SEEDED } else { HELLO });
            out.put_u16_le(0);
            if let Some(seed) = seed {
                put_seed(&mut out, seed);
            }
            let hello = HelloV1 {
                node: node.0,
                incarnation: incarnation.0,
                advertise,
                founding: List(founding.iter().map(|(n, a)| (n.0, a.as_str())).collect()),
                known: List(
                    known
                        .iter()
                        .map(|(n, i, a)| (n.0, i.0, a.as_str()))
                        .collect(),
                ),
            };
            append(out, &hello).into()
        }
        Formation::Formed {
            cluster,
            membership,
            current,
        } => {
            out.put_u8(FORMED);
            out.put_u16_le(0);
            out.put_slice(&cluster.0);
            for membership in [membership, current] {
                let bytes = encode_membership(membership);
                let length =
                    u32::try_from(bytes.len()).expect("Membership bounds its length below 2^17");
                out.put_u32_le(length);
                out.put_slice(&bytes);
            }
            out.into()
        }
    }
}

pub(crate) fn decode_formation(body: Bytes) -> Result<Formation, DecodeError> {
    let mut reader = Reader::new(WHAT, body);
    reader.u8()?;
    let kind = reader.u8()?;
    reader.reserved(2)?;
    match kind {
        HELLO | SEEDED => {
            let seeded = kind == SEEDED;
            let seed = seeded.then(|| read_seed(&mut reader)).transpose()?;
            let body = reader.rest_taken();
            let hello: HelloV1<'_> = unpack(WHAT, &body)?;
            Ok(Formation::Hello {
                node: NodeId(hello.node),
                incarnation: Incarnation(hello.incarnation),
                advertise: address(hello.advertise)?,
                founding: hello
                    .founding
                    .0
                    .into_iter()
                    .map(|(node, text)| Ok((NodeId(node), address(text)?)))
                    .collect::<Result<_, DecodeError>>()?,
                known: hello
                    .known
                    .0
                    .into_iter()
                    .map(|(node, life, text)| Ok((NodeId(node), Incarnation(life), address(text)?)))
                    .collect::<Result<_, DecodeError>>()?,
                seed,
            })
        }
        FORMED => {
            let cluster = ClusterId(reader.cluster()?);
            let membership = decode_membership(reader.take_u32()?)?;
            let current = decode_membership(reader.take_u32()?)?;
            reader.finish()?;
            Ok(Formation::Formed {
                cluster,
                membership,
                current,
            })
        }
        kind => Err(DecodeError::UnknownKind { what: WHAT, kind }),
    }
}

pub(super) fn address(text: &str) -> Result<String, DecodeError> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(DecodeError::TooMany {
            what: "bytes of an address",
            count: text.len() as u64,
            max: ADDRESS_BYTES_MAX as u64,
        });
    }
    Ok(text.to_owned())
}
