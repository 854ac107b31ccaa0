//! The bytes of a snapshot file, and of its mark in the log. `docs/snapshot-format.md` has the tables; golden tests hold
//! both to them. Nothing here touches a file.
//!
//! Decoding trusts nothing, and no length is stated that the length of the file does not give already.

use super::{SnapshotId, is_place};
use crate::format::{BadBlock, Fields, checked_block, seal_block};

/// The newest version of snapshot files that this build writes and reads.
pub(crate) const SNAPSHOT_VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 512;
/// A block on the disk: payload and the CRC behind it. All but the last are full.
pub(crate) const BLOCK_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;
pub(crate) const BLOCK_PAYLOAD_BYTES: usize = BLOCK_BYTES - CRC_BYTES;
pub(crate) const FOOTER_BYTES: usize = 20;
/// What a mark in the log says beyond index and term.
pub(crate) const MARK_BYTES: usize = 12;
const MAGIC: &[u8; 8] = b"RLOG-SNP";
const FOOTER_MAGIC: &[u8; 8] = b"RLOG-END";

/// The first 512 bytes: what the snapshot stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

impl Header {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_BYTES);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.index.to_le_bytes());
        block.extend_from_slice(&self.term.to_le_bytes());
        block.resize(HEADER_BYTES, 0);
        seal_block(&mut block);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Header, BadBlock> {
        let fields = checked_block(block, MAGIC, SNAPSHOT_VERSION)?;
        let decode = || {
            // One payload has one encoding, so what is not used is zero.
            if fields.0.get(32..)?.iter().any(|&byte| byte != 0) {
                return None;
            }
            let (index, term) = (fields.u64(16)?, fields.u64(24)?);
            is_place(index, term).then_some(Header { index, term })
        };
        decode().ok_or(BadBlock::Damaged)
    }
}

/// The last 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) payload_bytes: u64,
    /// The CRC of header, payload, and the footer up to here: it pins the whole file.
    pub(crate) checksum: u32,
}

impl Footer {
    /// `crc` is that of header and payload.
    pub(crate) fn encode(payload_bytes: u64, crc: u32) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        bytes.extend_from_slice(FOOTER_MAGIC);
        bytes.extend_from_slice(&payload_bytes.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc, &bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// What it says, unverified: its CRC covers the whole payload.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Footer> {
        let fields = Fields(bytes);
        if bytes.len() != FOOTER_BYTES || fields.bytes(0, 8)? != FOOTER_MAGIC {
            return None;
        }
        Some(Footer {
            payload_bytes: fields.u64(8)?,
            checksum: fields.u32(16)?,
        })
    }
}

/// Where everything is in a file of a certain length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    file_bytes: u64,
}

impl Layout {
    /// `None` if no snapshot has this length.
    pub(crate) fn of_file(file_bytes: u64) -> Option<Layout> {
        let blocks = file_bytes.checked_sub((HEADER_BYTES + FOOTER_BYTES) as u64)?;
        let last = blocks % BLOCK_BYTES as u64;
        (last == 0 || last > CRC_BYTES as u64).then_some(Layout { file_bytes })
    }

    pub(crate) fn payload_bytes(self) -> u64 {
        let blocks = self.footer() - HEADER_BYTES as u64;
        blocks - blocks.div_ceil(BLOCK_BYTES as u64) * CRC_BYTES as u64
    }

    /// Where the footer stands.
    pub(crate) fn footer(self) -> u64 {
        self.file_bytes - FOOTER_BYTES as u64
    }

    /// The length of the unit (header, block or footer) that begins at `offset`; 0 at the end of the file.
    pub(crate) fn unit_bytes(self, offset: u64) -> usize {
        let footer = self.footer();
        if offset == 0 {
            HEADER_BYTES
        } else if offset < footer {
            (footer - offset).min(BLOCK_BYTES as u64) as usize
        } else {
            (self.file_bytes - offset) as usize
        }
    }
}

/// Payload and CRC of a block.
pub(crate) fn split_block(block: &[u8]) -> Option<(&[u8], u32)> {
    let (payload, crc) = block.split_last_chunk::<CRC_BYTES>()?;
    Some((payload, u32::from_le_bytes(*crc)))
}

/// The payload of a mark in the log; index and term stand in the record's header.
pub(crate) fn encode_mark(id: &SnapshotId) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    let (bytes, checksum) = mark.split_at_mut(8);
    bytes.copy_from_slice(&id.bytes.to_le_bytes());
    checksum.copy_from_slice(&id.checksum.to_le_bytes());
    mark
}

/// The snapshot that a mark names, if there can be one like it.
pub(crate) fn decode_mark(index: u64, term: u64, mark: &[u8]) -> Option<SnapshotId> {
    let fields = Fields(mark);
    let id = SnapshotId {
        index,
        term,
        bytes: fields.u64(0)?,
        checksum: fields.u32(8)?,
    };
    (mark.len() == MARK_BYTES && id.is_possible()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of version 1, as they stand in `docs/snapshot-format.md`. `tests/snapshot.rs` has those of whole files.
    #[test]
    fn golden_header_footer_and_mark() {
        let header = Header { index: 7, term: 3 };
        let bytes = header.encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(hex(&bytes[..32]), GOLDEN_HEADER);
        assert!(bytes[32..].iter().all(|&byte| byte == 0));
        assert_eq!(Header::decode(&bytes), Ok(header));

        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), b"hello");
        let (footer, checksum) = Footer::encode(5, crc);
        assert_eq!(hex(&footer), GOLDEN_FOOTER);
        let decoded = Footer {
            payload_bytes: 5,
            checksum,
        };
        assert_eq!(Footer::decode(&footer), Some(decoded));

        let id = SnapshotId {
            index: 7,
            term: 3,
            bytes: 541,
            checksum,
        };
        assert_eq!(hex(&encode_mark(&id)), GOLDEN_MARK);
        assert_eq!(decode_mark(7, 3, &encode_mark(&id)), Some(id));
    }

    const GOLDEN_HEADER: &str = "524c4f472d534e5001000000b110034807000000000000000300000000000000";
    const GOLDEN_FOOTER: &str = "524c4f472d454e4405000000000000001a7e09f3";
    const GOLDEN_MARK: &str = "1d020000000000001a7e09f3";

    #[test]
    fn what_cannot_be_is_not_decoded() {
        let whole = Header { index: 7, term: 3 }.encode();
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), Err(BadBlock::Damaged), "bit {bit}");
        }
        for (at, value) in [(8, 2), (16, 0), (24, 0), (32, 1), (511, 1)] {
            let mut sealed = whole.clone();
            sealed[at] = value;
            seal_block(&mut sealed);
            let bad = if at == 8 {
                BadBlock::Version(2)
            } else {
                BadBlock::Damaged
            };
            assert_eq!(Header::decode(&sealed), Err(bad), "byte {at}");
        }
        for len in 0..FOOTER_BYTES {
            assert_eq!(Footer::decode(&Footer::encode(5, 0).0[..len]), None);
        }
        for mark in [&[0; MARK_BYTES][..], &[2, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(decode_mark(7, 3, mark), None, "{mark:?}");
        }
        let mark = encode_mark(&SnapshotId {
            index: 7,
            term: 3,
            bytes: 532,
            checksum: 1,
        });
        assert!(decode_mark(7, 3, &mark).is_some());
        assert_eq!(decode_mark(0, 3, &mark), None);
        assert_eq!(decode_mark(7, 0, &mark), None);
    }

    /// Units follow one another without a gap, and their payload adds up, whatever the length.
    #[test]
    fn units_fill_the_file() {
        for file_bytes in 0..4 * BLOCK_BYTES as u64 {
            let Some(layout) = Layout::of_file(file_bytes) else {
                let blocks = file_bytes.checked_sub(532).map(|blocks| blocks % 4096);
                assert!(matches!(blocks, None | Some(1..=4)), "{file_bytes}");
                continue;
            };
            let (mut offset, mut payload) = (0, 0);
            while layout.unit_bytes(offset) > 0 {
                let unit = layout.unit_bytes(offset) as u64;
                if offset > 0 && offset < layout.footer() {
                    payload += unit - 4;
                }
                offset += unit;
            }
            assert_eq!((offset, payload), (file_bytes, layout.payload_bytes()));
        }
    }
}
