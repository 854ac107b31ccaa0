//! The bytes of segments: header, record header, checkpoint. `docs/log-format.md` has the tables; golden tests hold both
//! to them. Nothing here touches a file.
//!
//! All numbers are little-endian. Decoding trusts nothing: what does not verify is `None`.

use crate::position::Position;
use crate::snapshot::SnapshotId;
use crate::snapshot::format::{MARK_BYTES, decode_mark, encode_mark};

/// The newest version of segments and superblock that this build writes and reads.
pub(crate) const VERSION: u32 = 1;
/// The first record of a segment stands here: the header has a sector of its own.
pub(crate) const HEADER_BYTES: u32 = 512;
pub(crate) const RECORD_HEADER_BYTES: usize = 48;
pub(crate) const CHECKPOINT_FIXED_BYTES: usize = 80;
pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"RLOG-SEG";
const FLAG_END: u8 = 1;
pub(crate) const PAGE_BYTES: u64 = 4096;
/// No index, boot number, segment number or sequence is higher: they count up from 1. What states a higher one was never
/// written by a log, and does not verify; so the next number can always be computed.
pub(crate) const NUMBER_MAX: u64 = u64::MAX >> 1;
const TERMINATOR_BYTES_MIN: u64 = 512;

/// `len` rounded up to the alignment of records.
pub(crate) fn aligned(len: u64) -> u64 {
    len.next_multiple_of(8)
}

/// What a record with `payload` bytes occupies.
pub(crate) fn record_bytes(payload: usize) -> u64 {
    aligned(RECORD_HEADER_BYTES as u64 + payload as u64)
}

/// Up to where a write that ends at `end` goes on with zeros, in a segment of `size` bytes: to the end of a page, and over one
/// sector at least.
///
/// So in a recycled file what stands right behind the log is no leftover; and the kernel, which is given whole pages there, does
/// not read one to change its half.
pub(crate) fn terminator_end(end: u32, size: u32) -> u32 {
    let zeros = (u64::from(end) + TERMINATOR_BYTES_MIN).next_multiple_of(PAGE_BYTES);
    // Not more than `size`, so it fits.
    zeros.min(size.into()) as u32
}

/// Reads fixed-width fields; `None` past the end.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(len)?)
    }
    pub(crate) fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }
    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }
    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }
}

/// The CRC of a 512-byte block whose own CRC stands at bytes 12..16. That place, the magic and the version never move, so
/// that an unknown version can be told from damage.
pub(crate) fn block_crc(block: &[u8]) -> Option<u32> {
    Some(crc32c::crc32c_append(
        crc32c::crc32c(block.get(..12)?),
        block.get(16..512)?,
    ))
}

/// What the first sector of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// The boot in which the file was made: two files that ever had one number differ in it.
    pub(crate) epoch: u64,
    pub(crate) size: u32,
    pub(crate) payload_max: u32,
    pub(crate) identity_crc: u32,
    /// Whether the file was another segment before: then old bytes stand where this one has not written yet, else zeros.
    pub(crate) recycled: bool,
}

/// Why a header block is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadBlock {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_BYTES as usize);
        block.extend_from_slice(SEGMENT_MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.number.to_le_bytes());
        block.extend_from_slice(&self.epoch.to_le_bytes());
        block.extend_from_slice(&self.size.to_le_bytes());
        block.extend_from_slice(&self.payload_max.to_le_bytes());
        block.extend_from_slice(&self.identity_crc.to_le_bytes());
        block.push(self.recycled.into());
        block.resize(HEADER_BYTES as usize, 0);
        seal_block(&mut block);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<SegmentHeader, BadBlock> {
        let fields = checked_block(block, SEGMENT_MAGIC, VERSION)?;
        let number = |at| fields.u64(at).filter(|&number| number <= NUMBER_MAX);
        let decode = || {
            Some(SegmentHeader {
                number: number(16)?,
                epoch: number(24)?,
                size: fields.u32(32)?,
                payload_max: fields.u32(36)?,
                identity_crc: fields.u32(40)?,
                recycled: match fields.u8(44)? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
            })
        };
        decode().ok_or(BadBlock::Damaged)
    }

    /// The value that starts every CRC in this segment.
    pub(crate) fn salt(&self) -> u32 {
        let crc = crc32c::crc32c_append(self.identity_crc, &self.number.to_le_bytes());
        crc32c::crc32c_append(crc, &self.epoch.to_le_bytes())
    }
}

pub(crate) fn identity_crc(identity: &[u8]) -> u32 {
    // An identity has at most 256 bytes, so its length fits.
    crc32c::crc32c_append(
        crc32c::crc32c(&(identity.len() as u32).to_le_bytes()),
        identity,
    )
}

/// Writes the CRC of a 512-byte block into its place.
pub(crate) fn seal_block(block: &mut [u8]) {
    if let Some(crc) = block_crc(block)
        && let Some(place) = block.get_mut(12..16)
    {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Verifies magic, CRC and version of a 512-byte block; `known` is the version that this build reads.
pub(crate) fn checked_block<'a>(
    block: &'a [u8],
    magic: &[u8; 8],
    known: u32,
) -> Result<Fields<'a>, BadBlock> {
    let fields = Fields(block);
    let crc = block_crc(block).ok_or(BadBlock::Damaged)?;
    if fields.bytes(0, 8) != Some(magic.as_slice()) || fields.u32(12) != Some(crc) {
        return Err(BadBlock::Damaged);
    }
    match fields.u32(8) {
        Some(version) if version == known => Ok(fields),
        Some(other) => Err(BadBlock::Version(other)),
        None => Err(BadBlock::Damaged),
    }
}

/// The kind of a snapshot's mark that leaves the log as it is, for it holds the record the snapshot ends with.
pub(crate) const MARK_KEEPS: u8 = 0;
/// The kind of one that drops all the log: it goes on behind the snapshot.
pub(crate) const MARK_DROPS: u8 = 1;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordType {
    Entry = 1,
    Metadata = 2,
    /// `index` is the first one cut.
    Truncate = 3,
    Checkpoint = 4,
    /// `index` is the boot number.
    Boot = 5,
    /// `index` and `term` are those of the last entry purged.
    Purge = 6,
    /// `index` and `term` are those of the last entry that the snapshot stands for; `kind` is [`MARK_KEEPS`] or
    /// [`MARK_DROPS`].
    Snapshot = 7,
}

impl RecordType {
    fn decode(byte: u8) -> Option<RecordType> {
        Some(match byte {
            1 => RecordType::Entry,
            2 => RecordType::Metadata,
            3 => RecordType::Truncate,
            4 => RecordType::Checkpoint,
            5 => RecordType::Boot,
            6 => RecordType::Purge,
            7 => RecordType::Snapshot,
            _ => return None,
        })
    }
}

/// The 48 bytes before a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) crc: u32,
    /// Continues `crc`, so that it holds for this body under this header only.
    pub(crate) body_crc: u32,
    pub(crate) length: u32,
    /// The CRC of the record before this one.
    pub(crate) chain: u32,
    pub(crate) record_type: RecordType,
    pub(crate) kind: u8,
    pub(crate) end: bool,
    pub(crate) watermark: Position,
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// The start value of the CRCs of a record at `offset` of a segment with this salt. No CRC of the two is needed to tell any two
/// places of a segment apart, or one place in two lives of it: a CRC differs whenever its start value does.
pub(crate) fn record_seed(salt: u32, offset: u32) -> u32 {
    salt ^ offset
}

/// What `header_crc` covers: all of the header behind the two CRCs. Eight bytes a step, from an eighth byte on.
pub(crate) const COVERED: std::ops::Range<usize> = 8..RECORD_HEADER_BYTES;

impl RecordHeader {
    /// Decodes what verifies by itself; the body is not looked at.
    pub(crate) fn decode(bytes: &[u8], seed: u32) -> Option<RecordHeader> {
        let fields = Fields(bytes);
        // The cheap tests first: recovery tries every eighth byte behind a damage.
        RecordType::decode(fields.u8(16)?)?;
        let flags = fields.u8(18)?;
        let crc = fields.u32(0)?;
        if flags & !FLAG_END != 0
            || fields.u8(19)? != 0
            || crc32c::crc32c_append(seed, bytes.get(COVERED)?) != crc
            || fields.u64(32)? > NUMBER_MAX
        {
            return None;
        }
        RecordHeader::fields(fields)
    }

    /// Decodes what is known to be a header.
    pub(crate) fn fields(fields: Fields<'_>) -> Option<RecordHeader> {
        Some(RecordHeader {
            crc: fields.u32(0)?,
            body_crc: fields.u32(4)?,
            length: fields.u32(8)?,
            chain: fields.u32(12)?,
            record_type: RecordType::decode(fields.u8(16)?)?,
            kind: fields.u8(17)?,
            end: fields.u8(18)? & FLAG_END != 0,
            watermark: Position {
                offset: fields.u32(20)?,
                segment: fields.u64(24)?,
            },
            index: fields.u64(32)?,
            term: fields.u64(40)?,
        })
    }

    /// Bytes from this record to the next.
    pub(crate) fn span(&self) -> u64 {
        record_bytes(self.length as usize)
    }
}

/// What a record says, before it has a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub(crate) record_type: RecordType,
    pub(crate) kind: u8,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) payload: &'a [u8],
}

impl Content<'_> {
    pub(crate) fn plain(record_type: RecordType, index: u64, term: u64) -> Self {
        Content {
            record_type,
            kind: 0,
            index,
            term,
            payload: &[],
        }
    }
}

/// Lays records one behind another into a buffer that goes to one place of one segment in one write.
pub(crate) struct Encoder<'a> {
    pub(crate) buf: &'a mut Vec<u8>,
    pub(crate) salt: u32,
    /// The place of the buffer's first byte.
    pub(crate) start: Position,
    /// The watermark all these records carry: all before it is durable when they are written.
    pub(crate) watermark: Position,
    pub(crate) chain: u32,
}

impl Encoder<'_> {
    /// Appends one record. `last` sets the mark that makes the batch count.
    pub(crate) fn push(&mut self, content: &Content<'_>, last: bool) {
        let at = self.buf.len();
        // Whoever calls has checked that the batch fits into a segment, whose offsets are 32 bits wide.
        let seed = record_seed(self.salt, self.start.offset + at as u32);
        let flags = if last { FLAG_END } else { 0 };
        let what = u32::from_le_bytes([content.record_type as u8, content.kind, flags, 0]);
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        // Whole words: the CRC reads them so, and a processor waits for a word that was written in parts.
        let words = [
            pair(content.payload.len() as u32, self.chain),
            pair(what, self.watermark.offset),
            self.watermark.segment,
            content.index,
            content.term,
        ];
        let mut header = [0u8; RECORD_HEADER_BYTES];
        let (crcs, covered) = header.split_at_mut(COVERED.start);
        for (place, word) in covered.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.chain = crc32c::crc32c_append(seed, covered);
        let body_crc = crc32c::crc32c_append(self.chain, content.payload);
        crcs.copy_from_slice(&pair(self.chain, body_crc).to_le_bytes());
        self.buf.extend_from_slice(&header);
        self.buf.extend_from_slice(content.payload);
        let end = aligned(self.buf.len() as u64) as usize;
        if end > self.buf.len() {
            self.buf.resize(end, 0);
        }
    }
}

/// The state at the head of a segment: with it, no earlier segment is needed to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Index and term of the last entry purged; zeros if none.
    pub(crate) base: (u64, u64),
    /// Index and term of the last entry.
    pub(crate) last: (u64, u64),
    /// The newest snapshot that is marked.
    pub(crate) snapshot: Option<SnapshotId>,
    pub(crate) boot: u64,
    pub(crate) metadata: Option<Vec<u8>>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let metadata = self.metadata.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(CHECKPOINT_FIXED_BYTES + metadata.len());
        let (snapshot, mark) = match &self.snapshot {
            Some(id) => ((id.index, id.term), encode_mark(id)),
            None => ((0, 0), [0; MARK_BYTES]),
        };
        for (index, term) in [self.base, self.last, snapshot] {
            bytes.extend_from_slice(&index.to_le_bytes());
            bytes.extend_from_slice(&term.to_le_bytes());
        }
        bytes.extend_from_slice(&mark);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.boot.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.metadata.is_some()).to_le_bytes());
        bytes.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
        bytes.extend_from_slice(metadata);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let fields = Fields(bytes);
        let metadata = bytes.get(CHECKPOINT_FIXED_BYTES..)?;
        if fields.u32(76)? as usize != metadata.len() {
            return None;
        }
        let metadata = match fields.u32(72)? {
            0 if metadata.is_empty() => None,
            1 => Some(metadata.to_vec()),
            _ => return None,
        };
        let number = |at| fields.u64(at).filter(|&number| number <= NUMBER_MAX);
        let pair = |at| Some((number(at)?, fields.u64(at + 8)?));
        let mark = fields.bytes(48, MARK_BYTES)?;
        let snapshot = match pair(32)? {
            (0, 0) if mark.iter().all(|&byte| byte == 0) => None,
            (index, term) => Some(decode_mark(index, term, mark)?),
        };
        let (base, last) = (pair(0)?, pair(16)?);
        // What was purged is the head of what there was: index by index with rising terms, and (0, 0) before all.
        let ordered = base == last || (base.0 < last.0 && base.1 <= last.1);
        if !ordered || [base, last].iter().any(|id| (id.0 == 0) != (id.1 == 0)) {
            return None;
        }
        Some(Checkpoint {
            base,
            last,
            snapshot,
            boot: number(64)?,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 7,
            epoch: 3,
            size: 4096,
            payload_max: 1024,
            identity_crc: identity_crc(b"me"),
            recycled: false,
        }
    }

    /// F-L22: the bytes of version 1, as they stand in `docs/log-format.md`.
    #[test]
    fn golden_segment_header() {
        let block = header().encode();
        assert_eq!(block.len(), 512);
        assert_eq!(hex(&block[..48]), GOLDEN_SEGMENT_HEADER);
        assert!(block[44..].iter().all(|&byte| byte == 0));
        assert_eq!(SegmentHeader::decode(&block), Ok(header()));
        let recycled = SegmentHeader {
            recycled: true,
            ..header()
        };
        let block = recycled.encode();
        assert_eq!(hex(&block[..48]), GOLDEN_RECYCLED_HEADER);
        assert_eq!(SegmentHeader::decode(&block), Ok(recycled));
        let mut strange = block;
        strange[44] = 2;
        seal_block(&mut strange);
        assert_eq!(SegmentHeader::decode(&strange), Err(BadBlock::Damaged));
    }

    #[test]
    fn zeros_go_to_the_end_of_a_page_and_over_a_sector() {
        let ends = [
            (512, 4096),
            (3584, 4096),
            (3592, 8192),
            (4096, 8192),
            (16000, 16384),
            (16384, 16384),
        ];
        for (end, expected) in ends {
            assert_eq!(terminator_end(end, 16384), expected, "{end}");
        }
        assert_eq!(terminator_end(u32::MAX - 7, u32::MAX), u32::MAX);
    }

    const GOLDEN_SEGMENT_HEADER: &str = "524c4f472d53454701000000d38920580700000000000000030000000000000000100000000400002244319800000000";

    const GOLDEN_RECYCLED_HEADER: &str = "524c4f472d534547010000007e7375080700000000000000030000000000000000100000000400002244319801000000";

    #[test]
    fn golden_batch() {
        let header = header();
        let mut buf = Vec::new();
        let start = Position {
            segment: 7,
            offset: 512,
        };
        let mut encoder = Encoder {
            buf: &mut buf,
            salt: header.salt(),
            start,
            watermark: start,
            chain: 0xaabb_ccdd,
        };
        let content = Content {
            record_type: RecordType::Entry,
            kind: 9,
            index: 5,
            term: 2,
            payload: b"hello",
        };
        encoder.push(
            &Content {
                record_type: RecordType::Metadata,
                kind: 0,
                index: 0,
                term: 0,
                payload: b"vote",
            },
            false,
        );
        encoder.push(&content, true);
        assert_eq!(hex(&buf), GOLDEN_BATCH.concat());

        let seed = record_seed(header.salt(), 512);
        let first = RecordHeader::decode(&buf, seed).unwrap();
        assert!(!first.end && first.chain == 0xaabb_ccdd && first.span() == 56);
        let seed = record_seed(header.salt(), 512 + 56);
        let second = RecordHeader::decode(&buf[56..], seed).unwrap();
        assert!(
            second.end
                && second.chain == first.crc
                && (second.index, second.term, second.kind) == (5, 2, 9)
        );
        assert_eq!(second.body_crc, crc32c::crc32c_append(second.crc, b"hello"));
    }

    const GOLDEN_BATCH: [&str; 4] = [
        "1ee464dad4553b4804000000ddccbbaa0200000000020000070000000000000000000000000000000000000000000000",
        "766f746500000000",
        "ca4821af1a96110c050000001ee464da0109010000020000070000000000000005000000000000000200000000000000",
        "68656c6c6f000000",
    ];

    #[test]
    fn golden_checkpoint() {
        let checkpoint = Checkpoint {
            base: (1, 2),
            last: (3, 4),
            snapshot: None,
            boot: 5,
            metadata: Some(b"vote".to_vec()),
        };
        let bytes = checkpoint.encode();
        assert_eq!(hex(&bytes), GOLDEN_CHECKPOINT);
        assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
        for len in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..len]), None);
        }
    }

    const GOLDEN_CHECKPOINT: &str = "01000000000000000200000000000000030000000000000004000000000000000000000000000000\
        0000000000000000000000000000000000000000000000000500000000000000010000000400000\
        0766f7465";

    /// F-L6: a record does not verify anywhere but in its place, under another identity, or in another life of the file.
    #[test]
    fn a_record_verifies_in_its_place_only() {
        let mut buf = Vec::new();
        let start = Position {
            segment: 7,
            offset: 512,
        };
        let salt = header().salt();
        Encoder {
            buf: &mut buf,
            salt,
            start,
            watermark: start,
            chain: 0,
        }
        .push(&Content::plain(RecordType::Boot, 1, 0), true);
        assert!(RecordHeader::decode(&buf, record_seed(salt, 512)).is_some());
        let strangers = [
            record_seed(salt, 520),
            record_seed(
                SegmentHeader {
                    identity_crc: identity_crc(b"you"),
                    ..header()
                }
                .salt(),
                512,
            ),
            record_seed(
                SegmentHeader {
                    number: 8,
                    ..header()
                }
                .salt(),
                512,
            ),
            record_seed(
                SegmentHeader {
                    epoch: 4,
                    ..header()
                }
                .salt(),
                512,
            ),
        ];
        for seed in strangers {
            assert_eq!(RecordHeader::decode(&buf, seed), None);
        }
        for bit in 0..buf.len() * 8 {
            let mut bad = buf.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // The body is empty, so its CRC is the one that it continues.
            let verifies = RecordHeader::decode(&bad, record_seed(salt, 512))
                .is_some_and(|header| header.body_crc == header.crc);
            assert!(!verifies, "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut block = header().encode();
        block[8] = 2;
        assert_eq!(SegmentHeader::decode(&block), Err(BadBlock::Damaged));
        seal_block(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Err(BadBlock::Version(2)));
    }
}
