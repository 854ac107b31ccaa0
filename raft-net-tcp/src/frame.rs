//! What travels: [`Frame`] and [`Body`], and the fixed header in front of each body.
//!
//! Guards: a header is believed only after its own checksum, so a damaged length is never waited for, nor allocated.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};

/// Bytes of the header in front of every body.
pub const HEADER_BYTES: usize = 24;

/// The highest kind that a caller may use; those above belong to this crate.
pub const KIND_MAX: u8 = 0xEF;

/// The first frame each way.
pub(crate) const KIND_HELLO: u8 = 0xF0;
/// The last frame: why the connection ends.
pub(crate) const KIND_CLOSE: u8 = 0xF1;
/// Says only that the sender lives.
pub(crate) const KIND_PING: u8 = 0xF2;

/// A frame as it was received.
///
/// The body is a slice of the buffer that the socket was read into: nothing was copied, and it keeps that buffer
/// (at most 64 KiB for a small body, exactly itself for a large one) alive. Copy what is small and kept for long.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is: the caller's own numbering, at most [`KIND_MAX`].
    pub kind: u8,
    /// Chosen by who asks, repeated by who answers.
    pub request_id: u64,
    /// Opaque to this crate.
    pub body: Bytes,
}

impl fmt::Debug for Frame {
    // Bodies may be secret and long: never in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind)
            .field("request_id", &self.request_id)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// A body to be sent: one chunk or several, none of which needs to be copied together.
///
/// ```
/// use bytes::Bytes;
/// use raft_net_tcp::Body;
///
/// let payload = Bytes::from(vec![7; 100_000]);
/// let body = Body::from([Bytes::from_static(b"header"), payload]);
/// assert_eq!(body.len(), 100_006);
/// ```
#[derive(Clone, Default)]
pub struct Body(Chunks);

#[derive(Clone)]
enum Chunks {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::One(Bytes::new())
    }
}

impl Body {
    /// The chunks, in order.
    pub fn chunks(&self) -> &[Bytes] {
        match &self.0 {
            Chunks::One(chunk) => std::slice::from_ref(chunk),
            Chunks::Many(chunks) => chunks,
        }
    }

    /// Bytes in all chunks together.
    pub fn len(&self) -> usize {
        self.chunks().iter().map(Bytes::len).sum()
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.chunks().iter().all(Bytes::is_empty)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Body({} bytes in {} chunks)",
            self.len(),
            self.chunks().len()
        )
    }
}

impl From<Bytes> for Body {
    fn from(chunk: Bytes) -> Self {
        Body(Chunks::One(chunk))
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(chunks: Vec<Bytes>) -> Self {
        Body(Chunks::Many(chunks))
    }
}

impl<const N: usize> From<[Bytes; N]> for Body {
    fn from(chunks: [Bytes; N]) -> Self {
        Body(Chunks::Many(chunks.into()))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body::from(Bytes::from(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body::from(Bytes::from(text))
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Body::from(Bytes::from_static(bytes))
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Self {
        Body::from(Bytes::from_static(bytes))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Body::from(Bytes::from_static(text.as_bytes()))
    }
}

/// The header in front of a body. All numbers are little-endian; `docs/wire-frames.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_bytes: u32,
    pub(crate) kind: u8,
    pub(crate) request_id: u64,
    pub(crate) body_crc: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let (checked, crc) = out.split_at_mut(HEADER_BYTES - 4);
        let mut fields = &mut *checked;
        fields.put_u32_le(self.body_bytes);
        fields.put_u8(self.kind);
        fields.put_slice(&[0; 3]);
        fields.put_u64_le(self.request_id);
        fields.put_u32_le(self.body_crc);
        crc.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
        out
    }

    /// `None` if the checksum does not hold, or reserved bytes are set.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let (checked, mut crc) = bytes.split_at(HEADER_BYTES - 4);
        if crc32c::crc32c(checked) != crc.get_u32_le() {
            return None;
        }
        let mut fields = checked;
        let body_bytes = fields.get_u32_le();
        let kind = fields.get_u8();
        let reserved = fields.get_uint_le(3);
        let request_id = fields.get_u64_le();
        let body_crc = fields.get_u32_le();
        (reserved == 0).then_some(Header {
            body_bytes,
            kind,
            request_id,
            body_crc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header() {
        let header = Header {
            body_bytes: 0x0102,
            kind: 7,
            request_id: 0x1122_3344_5566_7788,
            body_crc: crc32c::crc32c(b"123456789"),
        };
        let bytes = header.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "02010000070000008877665544332211839206e395fcde4d");
        assert_eq!(Header::decode(&bytes), Some(header));
    }

    #[test]
    fn debug_shows_no_body() {
        let frame = Frame {
            kind: 1,
            request_id: 2,
            body: Bytes::from_static(b"secret"),
        };
        assert_eq!(
            format!("{frame:?}"),
            "Frame { kind: 1, request_id: 2, body_bytes: 6 }"
        );
        assert_eq!(
            format!("{:?}", Body::from("secret")),
            "Body(6 bytes in 1 chunks)"
        );
    }
}
