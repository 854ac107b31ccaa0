//! What a client asks.

use bytes::{BufMut, Bytes};
use serde::{Deserialize, Serialize};

use super::VERSION;
use super::coordination::{QuestionV1, WatchV1};
use super::keys::QueryV1;
use super::pack::{append, unpack};
use crate::api::{Admin, Request};
use crate::wire::buffer::Reader;
use crate::wire::{DecodeError, Incoming, decode_command, encode_command_chunks};

const WHAT: &str = "request";

const WRITE: u8 = 1;
const READ: u8 = 2;
const STATUS: u8 = 3;
const ADMIN: u8 = 4;
const BACKUP: u8 = 5;
const ASK: u8 = 6;
const WATCH: u8 = 7;
const UNWATCH: u8 = 8;

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
        Request::Admin(_) => ADMIN,
        Request::Backup { .. } => BACKUP,
        Request::Ask(_) => ASK,
        Request::Watch(_) => WATCH,
        Request::Unwatch { .. } => UNWATCH,
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
        Request::Admin(admin) => vec![append(out, &AdminV1::from(admin)).into()],
        Request::Backup { id, offset } => {
            out.put_u64_le(*id);
            out.put_u64_le(*offset);
            vec![out.into()]
        }
        Request::Ask(question) => vec![append(out, &QuestionV1::from(question)).into()],
        Request::Watch(watch) => vec![append(out, &WatchV1::from(watch)).into()],
        Request::Unwatch { request } => vec![append(out, request).into()],
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
        ADMIN => {
            let body = reader.rest_taken();
            let admin: AdminV1<'_> = unpack(WHAT, &body)?;
            Ok(Incoming::Admin(admin.into()))
        }
        BACKUP => {
            let (id, offset) = (reader.u64()?, reader.u64()?);
            reader.finish()?;
            Ok(Incoming::Backup { id, offset })
        }
        ASK => {
            let body = reader.rest_taken();
            let question: QuestionV1<'_> = unpack(WHAT, &body)?;
            Ok(Incoming::Ask(question.share(&body)))
        }
        WATCH => {
            let body = reader.rest_taken();
            let watch: WatchV1<'_> = unpack(WHAT, &body)?;
            Ok(Incoming::Watch(watch.share(&body)))
        }
        UNWATCH => {
            let body = reader.rest_taken();
            let request = unpack(WHAT, &body)?;
            Ok(Incoming::Unwatch { request })
        }
        kind => Err(DecodeError::UnknownKind { what: WHAT, kind }),
    }
}

#[derive(Serialize, Deserialize)]
enum AdminV1<'a> {
    AddMember {
        id: u64,
        address: &'a str,
        voter: bool,
    },
    PromoteMember {
        id: u64,
    },
    UpdateMember {
        id: u64,
        address: &'a str,
    },
    RemoveMember {
        id: u64,
        force: bool,
    },
    MoveLead {
        to: u64,
    },
}

impl<'a> From<&'a Admin> for AdminV1<'a> {
    fn from(admin: &'a Admin) -> Self {
        match admin {
            Admin::AddMember { id, address, voter } => Self::AddMember {
                id: *id,
                address,
                voter: *voter,
            },
            Admin::PromoteMember { id } => Self::PromoteMember { id: *id },
            Admin::UpdateMember { id, address } => Self::UpdateMember { id: *id, address },
            Admin::RemoveMember { id, force } => Self::RemoveMember {
                id: *id,
                force: *force,
            },
            Admin::MoveLead { to } => Self::MoveLead { to: *to },
        }
    }
}

impl From<AdminV1<'_>> for Admin {
    fn from(admin: AdminV1<'_>) -> Self {
        match admin {
            AdminV1::AddMember { id, address, voter } => Self::AddMember {
                id,
                address: address.to_owned(),
                voter,
            },
            AdminV1::PromoteMember { id } => Self::PromoteMember { id },
            AdminV1::UpdateMember { id, address } => Self::UpdateMember {
                id,
                address: address.to_owned(),
            },
            AdminV1::RemoveMember { id, force } => Self::RemoveMember { id, force },
            AdminV1::MoveLead { to } => Self::MoveLead { to },
        }
    }
}
