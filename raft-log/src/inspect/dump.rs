//! Lists what stands in the directory, in the order of the places, whatever its state.
//!
//! It judges little: a record's checksum and chain, and whether its batch is complete. What follows from that for the whole
//! is recovery's to say. Its memory is two windows and the payload of one record.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::item::{
    CheckpointFacts, Content, Gap, Item, RecordItem, SegmentFacts, SegmentItem, SnapshotItem,
    Standing, SuperblockFacts, SuperblockItem, Unreadable,
};
use super::{Inspection, ReadOnly};
use crate::error::Failure;
use crate::files::{FileHandle, Files};
use crate::format::{
    BadBlock, Checkpoint, HEADER_BYTES, MARK_DROPS, RecordHeader, RecordType, SegmentHeader,
    identity_crc,
};
use crate::position::Position;
use crate::segment::{Segment, Window, segment_name, segment_number};
use crate::snapshot::format::decode_mark;
use crate::snapshot::{self, SnapshotReadError};
use crate::superblock::{COPY_DISTANCE, Facts, SUPERBLOCK, read_full};

impl<F: Files> Inspection<F> {
    /// Hands every item to `each`, in the order of the places, until it breaks off. Memory does not grow with the log.
    ///
    /// # Errors
    /// The operating system refused to list or to read. That content does not verify is no error but an item.
    pub fn dump<B>(
        &self,
        mut each: impl FnMut(Item<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Failure> {
        let mut dump = Dump {
            files: &self.files,
            dir: &self.dir,
            facts: None,
            each: &mut each,
        };
        match dump.all() {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(Stop::Break(value)) => Ok(ControlFlow::Break(value)),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }
}

/// Why a dump ends early.
enum Stop<B> {
    Break(B),
    Failed(Failure),
}

impl<B> From<Failure> for Stop<B> {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

struct Dump<'a, F: Files, E> {
    files: &'a ReadOnly<F>,
    dir: &'a Path,
    /// What the superblock says, if it verifies.
    facts: Option<Facts>,
    each: &'a mut E,
}

impl<F: Files, B, E: FnMut(Item<'_>) -> ControlFlow<B>> Dump<'_, F, E> {
    fn give(&mut self, item: Item<'_>) -> Result<(), Stop<B>> {
        match (self.each)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(value) => Err(Stop::Break(value)),
        }
    }

    fn all(&mut self) -> Result<(), Stop<B>> {
        self.superblock()?;
        let names = self
            .files
            .list(self.dir)
            .map_err(|source| Failure::new("list the directory", self.dir, source))?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect();
        numbers.sort_unstable();
        let in_use = self.facts.as_ref();
        let (mut expected, last) =
            in_use.map_or((1, 0), |facts| (facts.segment_first, facts.segment_last));
        for number in numbers {
            let before = number.min(last.saturating_add(1));
            if expected < before {
                self.give(Item::Missing(expected..=before - 1))?;
            }
            expected = expected.max(number.saturating_add(1));
            self.segment(number)?;
        }
        if expected <= last {
            self.give(Item::Missing(expected..=last))?;
        }
        let mut snapshots: Vec<String> = names
            .into_iter()
            .filter(|name| snapshot::is_name(name))
            .collect();
        snapshots.sort_unstable();
        for name in snapshots {
            self.snapshot(&name)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, name: &str) -> Result<(), Stop<B>> {
        let path = self.dir.join(name);
        let length = self.files.open_read(&path).and_then(|file| file.len());
        let length = length.map_err(|source| Failure::new("read the snapshot", &path, source))?;
        let content = match snapshot::verify_file(self.files, &path) {
            Ok(id) => Ok(id),
            Err(SnapshotReadError::Io(failure)) => return Err(failure.into()),
            // Nothing is wrong with it, and nobody needs to fetch it.
            Err(_) if snapshot::is_temporary(name) => {
                Err("never finished; the next opening removes it".into())
            }
            Err(error) => Err(error.to_string()),
        };
        self.give(Item::Snapshot(SnapshotItem {
            file: path,
            length,
            content,
        }))
    }

    fn superblock(&mut self) -> Result<(), Stop<B>> {
        let path = self.dir.join(SUPERBLOCK);
        let failed = |source| Failure::new("read the superblock", &path, source);
        let mut copies = Vec::new();
        for offset in [0, COPY_DISTANCE] {
            let block = read_block(self.files, &path, offset).map_err(failed)?;
            let decoded = block.and_then(|block| Facts::decode(&block).map_err(unreadable));
            copies.push((offset, decoded));
        }
        let newest = copies
            .iter()
            .filter_map(|(_, copy)| copy.as_ref().ok())
            .max_by_key(|facts| facts.sequence)
            .cloned();
        for (offset, copy) in copies {
            let counts = copy.is_ok() && copy.as_ref().ok() == newest.as_ref();
            self.give(Item::Superblock(SuperblockItem {
                file: path.clone(),
                offset,
                content: copy.map(|facts| SuperblockFacts {
                    sequence: facts.sequence,
                    boot: facts.boot,
                    segments: facts.segment_first..=facts.segment_last,
                    watermark: facts.watermark,
                    identity: facts.identity,
                }),
                counts,
            }))?;
        }
        self.facts = newest;
        Ok(())
    }

    fn segment(&mut self, number: u64) -> Result<(), Stop<B>> {
        let path = self.dir.join(segment_name(number));
        let failed = |source| Failure::new("read the segment", &path, source);
        let file = self.files.open_read(&path).map_err(failed)?;
        let length = file.len().map_err(failed)?;
        let block = read_block(self.files, &path, 0).map_err(failed)?;
        let header = block.and_then(|block| SegmentHeader::decode(&block).map_err(unreadable));
        let facts = self.facts.as_ref();
        let belongs = header.as_ref().is_ok_and(|header| {
            let ours =
                facts.is_none_or(|facts| header.identity_crc == identity_crc(&facts.identity));
            header.number == number && ours
        });
        let in_use =
            facts.map(|facts| (facts.segment_first..=facts.segment_last).contains(&number));
        self.give(Item::Segment(SegmentItem {
            file: path.clone(),
            number,
            length,
            content: header.clone().map(|header| SegmentFacts {
                number: header.number,
                epoch: header.epoch,
                size: header.size,
                payload_max: header.payload_max,
                recycled: header.recycled,
            }),
            in_use,
            belongs,
        }))?;
        let Ok(header) = header else {
            return Ok(());
        };
        let segment = Segment {
            file,
            path,
            salt: header.salt(),
            header,
        };
        self.records(&segment)
    }

    /// Follows the chain, then looks for what verifies behind its end.
    fn records(&mut self, segment: &Segment<ReadOnly<F>>) -> Result<(), Stop<B>> {
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let mut cursor = Cursor {
            window: segment.window(),
            payload: Vec::new(),
        };
        let mut ahead = segment.window();
        let mut offset = HEADER_BYTES;
        // What the first record of the file continues stands in another.
        let mut chain = None;
        // Where the batch ends, and whether with an end mark.
        let mut batch = (HEADER_BYTES, true);
        while let Some(header) = cursor.record(offset).map_err(failed)? {
            if chain.is_some_and(|chain| chain != header.chain) {
                break;
            }
            if offset == batch.0 {
                batch = batch_end(&mut ahead, offset, &header).map_err(failed)?;
            }
            let standing = if batch.1 {
                Standing::Complete
            } else {
                Standing::Unfinished
            };
            self.give(cursor.item(segment, offset, &header, standing))?;
            chain = Some(header.crc);
            offset += header.span() as u32;
        }
        self.behind(segment, &mut cursor, offset)
    }

    fn behind(
        &mut self,
        segment: &Segment<ReadOnly<F>>,
        cursor: &mut Cursor<'_, ReadOnly<F>>,
        mut offset: u32,
    ) -> Result<(), Stop<B>> {
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let mut gap = OpenGap::at(offset);
        loop {
            let step = cursor.window.step(offset).map_err(failed)?;
            if step.bytes == 0 {
                return self.gap(segment, &gap, offset);
            }
            if step.nonzero == 0 {
                offset += step.bytes;
            } else if let Some(header) = cursor.record(offset).map_err(failed)? {
                self.gap(segment, &gap, offset)?;
                self.give(cursor.item(segment, offset, &header, Standing::Stray))?;
                offset += header.span() as u32;
                gap = OpenGap::at(offset);
            } else {
                if offset - gap.zeros >= ZEROS_APART {
                    self.gap(segment, &gap, offset)?;
                    gap = OpenGap::at(offset);
                }
                offset += step.bytes;
                gap.zeros = offset;
                gap.nonzero += u64::from(step.nonzero);
            }
        }
    }

    /// Gives a gap that ends at `end`: what is not zero, and the zeros behind it.
    fn gap(
        &mut self,
        segment: &Segment<ReadOnly<F>>,
        gap: &OpenGap,
        end: u32,
    ) -> Result<(), Stop<B>> {
        let parts = [(gap.start, gap.zeros, gap.nonzero), (gap.zeros, end, 0)];
        for (start, end, nonzero) in parts.into_iter().filter(|part| part.0 < part.1) {
            self.give(Item::Gap(Gap {
                file: segment.path.clone(),
                position: Position {
                    segment: segment.header.number,
                    offset: start,
                },
                bytes: u64::from(end - start),
                nonzero,
            }))?;
        }
        Ok(())
    }
}

/// So many zeros in a row are a gap of their own; fewer belong to what is not zero around them.
const ZEROS_APART: u32 = 512;

/// Bytes that are no record, as far as they were seen.
struct OpenGap {
    start: u32,
    /// Where the zeros begin that stand at its end.
    zeros: u32,
    nonzero: u64,
}

impl OpenGap {
    fn at(start: u32) -> Self {
        OpenGap {
            start,
            zeros: start,
            nonzero: 0,
        }
    }
}

/// The place one past the batch that begins with this record, and whether it has an end mark. What is no batch ends nowhere.
fn batch_end<F: Files>(
    window: &mut Window<'_, F>,
    offset: u32,
    first: &RecordHeader,
) -> io::Result<(u32, bool)> {
    let mut header = first.clone();
    let mut next = offset + header.span() as u32;
    while !header.end {
        let Some(follower) = window.record(next)? else {
            return Ok((u32::MAX, false));
        };
        if follower.chain != header.crc {
            return Ok((u32::MAX, false));
        }
        next += follower.span() as u32;
        header = follower;
    }
    Ok((next, true))
}

/// Reads one record after the other, with its payload.
struct Cursor<'a, F: Files> {
    window: Window<'a, F>,
    payload: Vec<u8>,
}

impl<F: Files> Cursor<'_, F> {
    /// The header of the record at `offset`, if all of it verifies; then its payload is at hand.
    fn record(&mut self, offset: u32) -> io::Result<Option<RecordHeader>> {
        let Some(header) = self.window.header(offset)? else {
            return Ok(None);
        };
        self.payload.clear();
        let verifies = self.window.read_body(offset, &header, &mut self.payload)?;
        Ok(verifies.then_some(header))
    }

    fn item(
        &self,
        segment: &Segment<F>,
        offset: u32,
        header: &RecordHeader,
        standing: Standing,
    ) -> Item<'_> {
        let RecordHeader {
            index, term, kind, ..
        } = *header;
        let payload = self.payload.as_slice();
        let content = match header.record_type {
            RecordType::Entry => Content::Entry {
                index,
                term,
                kind,
                payload,
            },
            RecordType::Metadata => Content::Metadata(payload),
            RecordType::Truncate => Content::Truncate { from: index },
            RecordType::Checkpoint => Content::Checkpoint(Checkpoint::decode(payload).map(
                |checkpoint| CheckpointFacts {
                    purged: checkpoint.base,
                    last: checkpoint.last,
                    snapshot: checkpoint.snapshot,
                    boot: checkpoint.boot,
                    metadata: checkpoint.metadata,
                },
            )),
            RecordType::Boot => Content::Boot { boot: index },
            RecordType::Purge => Content::Purge { index, term },
            RecordType::Snapshot => Content::Snapshot {
                snapshot: decode_mark(index, term, payload),
                drops: kind == MARK_DROPS,
            },
        };
        Item::Record(RecordItem {
            file: segment.path.clone(),
            position: Position {
                segment: segment.header.number,
                offset,
            },
            length: header.length,
            watermark: header.watermark,
            end: header.end,
            standing,
            content,
        })
    }
}

/// The block of 512 bytes at a place; shorter where the file ends.
fn read_block<F: Files>(
    files: &F,
    path: &Path,
    offset: u64,
) -> io::Result<Result<Vec<u8>, Unreadable>> {
    let file = match files.open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(Unreadable::Missing));
        }
        result => result?,
    };
    let mut block = vec![0; HEADER_BYTES as usize];
    let filled = read_full(&file, &mut block, offset)?;
    block.truncate(filled);
    Ok(Ok(block))
}

fn unreadable(bad: BadBlock) -> Unreadable {
    match bad {
        BadBlock::Damaged => Unreadable::Damaged,
        BadBlock::Version(version) => Unreadable::Version(version),
    }
}
