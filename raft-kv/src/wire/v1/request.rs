//! What a client asks.

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::command::encode_command_chunks;
use super::keys::QueryV1;
use super::pack::{append, unpack};
use crate::api::Request;
use crate::wire::buffer::Reader;
use crate::wire::{DecodeError, Incoming, decode_command};

const WHAT: &str = "request";

const WRITE: u8 = 1;
const READ: u8 = 2;
const STATUS: u8 = 3;

#[derive(Serialize, Deserialize)]
struct ReadV1<'a> {
    #[serde(borrow)]
    query: QueryV1<'a>,
    stale: bool,
    min_applied: u64,
}

pub(crate) fn encode_request(request: &Request) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(128);
    out.put_u8(VERSION);
    out.put_u8(match request {
        Request::Write(_) => WRITE,
        Request::Read { .. } => READ,
        Request::Status => STATUS,
    });
    out.put_u16_le(0);
    match request {
        Request::Write(command) => encode_command_chunks(out, command),
        Request::Read {
            query,
            stale,
            min_applied,
        } => {
            let read = ReadV1 {
                query: query.into(),
                stale: *stale,
                min_applied: *min_applied,
            };
            vec![append(out, &read).into()]
        }
        Request::Status => vec![out.into()],
    }
}

pub(crate) fn decode_request(body: Bytes) -> Result<Incoming, DecodeError> {
    let mut reader = Reader::new(WHAT, body);
    reader.u8()?;
    let kind = reader.u8()?;
    reader.reserved(2)?;
    match kind {
        WRITE => {
            let payload = reader.rest_taken();
            let command = decode_command(payload.clone())?;
            Ok(Incoming::Write { payload, command })
        }
        READ => {
            let body = reader.rest_taken();
            let read: ReadV1<'_> = unpack(WHAT, &body)?;
            Ok(Incoming::Read {
                query: read.query.share(&body),
                stale: read.stale,
                min_applied: read.min_applied,
            })
        }
        STATUS => {
            reader.finish()?;
            Ok(Incoming::Status)
        }
        kind => Err(DecodeError::UnknownKind { what: WHAT, kind }),
    }
}
