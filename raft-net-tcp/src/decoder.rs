//! Bytes to frames.
//!
//! Guards: nothing is allocated because of a *claimed* length. A body larger than a read buffer gets an allocation of
//! its own, which grows with what has arrived: never more than twice of that, or [`READ_BYTES_MAX`].

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::CloseReason;
use crate::frame::{Frame, HEADER_BYTES, Header, KIND_MAX};
use crate::handshake::{HELLO_BYTES_MAX, PREAMBLE, Stranger};
use crate::mutants::{Mutant, mutant};

/// The read buffer of an idle connection.
const READ_BYTES_MIN: usize = 4 * 1024;

/// The read buffer of a busy connection, and the first allocation for a large body.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A body from this size on is not left in the read buffer, where it would keep others from being released.
const LARGE_BODY_BYTES: usize = 16 * 1024;

pub(crate) struct Decoder {
    buffer: BytesMut,
    /// Grows while reads fill it, so that one read yields many frames, and 10 000 idle connections stay cheap.
    read_bytes: usize,
    preamble_seen: bool,
    header: Option<Header>,
    /// The part of a large body that has arrived.
    large: Option<BytesMut>,
    body_bytes_max: u32,
}

impl Decoder {
    pub(crate) fn new(body_bytes_max: u32) -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            preamble_seen: false,
            header: None,
            large: None,
            body_bytes_max,
        }
    }

    pub(crate) fn set_body_bytes_max(&mut self, max: u32) {
        self.body_bytes_max = max;
    }

    /// Where the next bytes belong. Never without room.
    pub(crate) fn read_buffer(&mut self) -> Limit<&mut BytesMut> {
        if let (Some(header), Some(body)) = (&self.header, &mut self.large) {
            let missing = (header.body_bytes as usize).saturating_sub(body.len());
            if body.capacity() == body.len() {
                let capacity = body.len() + missing.min(body.len().max(READ_BYTES_MAX));
                let mut grown = BytesMut::with_capacity(capacity);
                grown.extend_from_slice(body);
                *body = grown;
            }
            let room = missing.min(body.capacity() - body.len());
            return body.limit(room);
        }
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 4 {
            self.buffer.reserve(self.read_bytes);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        (&mut self.buffer).limit(room)
    }

    /// `bytes` were put where [`Decoder::read_buffer`] said.
    pub(crate) fn filled(&mut self, bytes: usize) {
        if self.large.is_none() {
            if bytes >= self.read_bytes {
                self.read_bytes = (self.read_bytes * 4).min(READ_BYTES_MAX);
            } else if bytes < self.read_bytes / 16 {
                self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
            }
        }
    }

    /// The next whole frame, if it has arrived.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, CloseReason> {
        if !self.preamble_seen && !self.strip_preamble()? {
            return Ok(None);
        }
        let header = match self.header {
            Some(header) => header,
            None => match self.next_header()? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let Some(body) = self.next_body(header.body_bytes as usize) else {
            return Ok(None);
        };
        if crc32c::crc32c(&body) != header.body_crc && !mutant(Mutant::DeliversDamaged) {
            return Err(CloseReason::BodyChecksum {
                kind: header.kind,
                body_bytes: header.body_bytes,
            });
        }
        self.header = None;
        Ok(Some(Frame {
            kind: header.kind,
            request_id: header.request_id,
            body,
        }))
    }

    /// What to call it that the stream ends here.
    pub(crate) fn at_end(&self) -> CloseReason {
        let have = self.buffer.len() + self.large.as_ref().map_or(0, BytesMut::len);
        match self.header {
            Some(header) => CloseReason::Truncated {
                have: (HEADER_BYTES + have) as u64,
                need: HEADER_BYTES as u64 + u64::from(header.body_bytes),
            },
            None if have > 0 => CloseReason::Truncated {
                have: have as u64,
                need: HEADER_BYTES as u64,
            },
            None => CloseReason::Ended,
        }
    }

    /// A stranger is known by the first byte that differs: one that sends little is not waited for.
    fn strip_preamble(&mut self) -> Result<bool, CloseReason> {
        let seen = self.buffer.len().min(PREAMBLE.len());
        let start = self.buffer.get(..seen).unwrap_or_default();
        if !PREAMBLE.starts_with(start) {
            return Err(CloseReason::NotOurProtocol(Stranger::guess(start)));
        }
        if seen < PREAMBLE.len() {
            return Ok(false);
        }
        self.buffer.advance(PREAMBLE.len());
        self.preamble_seen = true;
        Ok(true)
    }

    fn next_header(&mut self) -> Result<Option<Header>, CloseReason> {
        let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(bytes).ok_or(CloseReason::HeaderChecksum)?;
        let max = if header.kind > KIND_MAX {
            HELLO_BYTES_MAX
        } else {
            self.body_bytes_max
        };
        if header.body_bytes > max {
            return Err(CloseReason::FrameTooLarge {
                kind: header.kind,
                body_bytes: header.body_bytes,
                max,
            });
        }
        self.buffer.advance(HEADER_BYTES);
        self.header = Some(header);
        Ok(Some(header))
    }

    fn next_body(&mut self, body_bytes: usize) -> Option<Bytes> {
        if let Some(body) = &mut self.large {
            return (body.len() == body_bytes)
                .then(|| std::mem::take(body).freeze())
                .inspect(|_| self.large = None);
        }
        if self.buffer.len() >= body_bytes {
            return Some(self.buffer.split_to(body_bytes).freeze());
        }
        if body_bytes >= LARGE_BODY_BYTES {
            let arrived = self.buffer.split();
            let mut body =
                BytesMut::with_capacity(body_bytes.min(arrived.len().max(READ_BYTES_MAX)));
            body.extend_from_slice(&arrived);
            self.large = Some(body);
        }
        None
    }
}
