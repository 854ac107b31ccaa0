//! Reads what is there, and tells a torn tail from damage. Changes nothing on the disk.
//!
//! The rule: walk the chain of records from the first segment on, and stop at the first that does not verify. If anything
//! anywhere (the superblock, a record before or *behind* that place) says that more than the complete batches before it was
//! durable, this is damage, and an error. Otherwise it is the tail of a write that was never acknowledged, and is cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ahead::ReadAhead;
use crate::error::{Damage, Failure, OpenError};
use crate::files::Files;
use crate::format::{
    Checkpoint, Content, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordType,
    SegmentHeader, terminator_end,
};
use crate::index::{Index, Staged};
use crate::mutants::{Mutant, mutant};
use crate::open_files::Known;
use crate::position::Position;
use crate::segment::{Recipe, Segment, Window};
use crate::superblock::Facts;

/// A torn tail that was cut at opening: a write that was under way when the process or the machine went down. None of it
/// was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The segment's file.
    pub file: std::path::PathBuf,
    /// The byte from which on it was cut.
    pub offset: u64,
    /// How many bytes, up to the last one that is known to be of that write. In a segment that was made with zeros this is the
    /// last one that is not zero. In a recycled one, where old bytes stand, it is the end of the last whole record; or the last
    /// one that is not zero of those that every write clears behind its end (512 to 4607), if that is further.
    pub bytes: u64,
    /// How many whole records were among them.
    pub records: u64,
}

/// What the disk holds.
pub(crate) struct Recovered<F: Files> {
    pub(crate) index: Index,
    pub(crate) metadata: Option<Vec<u8>>,
    /// The newest boot number in the log itself.
    pub(crate) boot: u64,
    pub(crate) segments: BTreeMap<u64, Arc<Known>>,
    /// The last of them, in which the log ends.
    pub(crate) active: Option<Arc<Segment<F>>>,
    /// The end of the last complete batch.
    pub(crate) end: Position,
    /// The CRC of the last record before it.
    pub(crate) chain: u32,
    /// What is known to be durable of it.
    pub(crate) durable: Position,
    pub(crate) cut: Option<Cut>,
}

impl<F: Files> Recovered<F> {
    /// Whether the log ends where the superblock says, and nothing stands behind it.
    pub(crate) fn is_clean(&self, watermark: Position) -> bool {
        self.end == watermark && self.cut.is_none()
    }

    /// Before anything was read.
    pub(crate) fn empty() -> Self {
        Recovered {
            index: Index::default(),
            metadata: None,
            boot: 0,
            segments: BTreeMap::new(),
            active: None,
            end: Position::default(),
            chain: 0,
            durable: Position::default(),
            cut: None,
        }
    }
}

struct Scan<F: Files> {
    state: Recovered<F>,
    staged: Staged,
    staged_metadata: Option<Vec<u8>>,
    /// The base that the newest checkpoint or purge record states; the index must come to agree with it.
    base: (u64, u64),
    /// The records of the batch that is not complete.
    open_records: u64,
}

/// What stands behind the last record that verifies.
struct Tail {
    /// The highest watermark in records that verify by themselves.
    watermark: Position,
    records: u64,
    /// One past the last byte that is known to be of an unfinished write; where the scan stopped, if there is none.
    torn_end: u32,
}

/// Walks all segments in use. There is at least one.
pub(crate) fn recover<F: Files>(
    recipe: &Recipe<F>,
    facts: &Facts,
    ahead: Option<&ReadAhead>,
) -> Result<Recovered<F>, OpenError> {
    let mut scan = Scan {
        staged: Staged::new(&Index::default(), true),
        staged_metadata: None,
        base: (0, 0),
        open_records: 0,
        state: Recovered {
            durable: facts.watermark,
            ..Recovered::empty()
        },
    };
    for number in facts.segment_first..=facts.segment_last {
        if let Some(ahead) = ahead
            && number < facts.segment_last
        {
            ahead.reached(number);
        }
        let segment = Arc::new(recipe.open(number)?);
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let mut window = segment.window();
        scan.checkpoint(&segment, &mut window, number == facts.segment_first)?;
        let stopped = scan.walk(&segment, &mut window)?;
        if number == facts.segment_last {
            let end = scan.state.end.offset;
            let tail = inspect_tail(&mut window, end, stopped, &segment.header).map_err(failed)?;
            scan.judge_tail(&segment, stopped, &tail)?;
        }
        scan.state.segments.insert(number, Known::of(&segment));
        scan.state.active = Some(segment);
    }
    let mut state = scan.state;
    check_base(recipe, facts, state.index.base, scan.base)?;
    state.index.base = scan.base;
    Ok(state)
}

/// What the first checkpoint takes as purged, and truncations and purges have changed, must be what the newest checkpoint or
/// purge record states.
fn check_base<F: Files>(
    recipe: &Recipe<F>,
    facts: &Facts,
    found: (u64, u64),
    stated: (u64, u64),
) -> Result<(), OpenError> {
    let file = recipe
        .dir
        .join(crate::segment::segment_name(facts.segment_first));
    let (from, to) = (stated.0 + 1, found.0);
    if found.0 != stated.0 {
        let damage = Damage::EntriesMissing { from, to };
        return Err(OpenError::corrupt(&file, 0, Some(from), damage));
    }
    // A term of 0 is one that a truncation has left unknown.
    if found.1 != stated.1 && found.1 != 0 {
        let offset = HEADER_BYTES.into();
        return Err(OpenError::corrupt(
            &file,
            offset,
            Some(from),
            Damage::Checkpoint,
        ));
    }
    Ok(())
}

impl<F: Files> Scan<F> {
    /// Takes in the head of a segment. For the first one it is the starting state, for the others it must agree.
    fn checkpoint(
        &mut self,
        segment: &Segment<F>,
        window: &mut Window<'_, F>,
        first: bool,
    ) -> Result<(), OpenError> {
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let next = self.state.index.last + 1;
        let Some((header, checkpoint)) = read_checkpoint(window).map_err(failed)? else {
            return Err(OpenError::corrupt(
                &segment.path,
                HEADER_BYTES.into(),
                Some(next),
                Damage::Checkpoint,
            ));
        };
        if first {
            self.state.index.base = checkpoint.last;
            self.state.index.last = checkpoint.last.0;
            self.state.index.snapshot = checkpoint.snapshot;
            self.state.metadata = checkpoint.metadata;
            self.state.boot = checkpoint.boot;
            self.base = checkpoint.base;
        } else if header.watermark > self.state.end {
            // This segment was begun when more of the one before was durable than verifies now.
            let damage = Damage::Record {
                durable: header.watermark,
            };
            let file = self
                .state
                .segments
                .get(&self.state.end.segment)
                .map_or(&segment.path, |before| &before.path);
            return Err(OpenError::corrupt(
                file,
                self.state.end.offset.into(),
                Some(next),
                damage,
            ));
        } else if header.watermark != self.state.end
            || header.chain != self.state.chain
            || checkpoint.last.0 != self.state.index.last
            || checkpoint.base != self.base
            || checkpoint.snapshot != self.state.index.snapshot
            || checkpoint.metadata != self.state.metadata
        {
            return Err(OpenError::corrupt(
                &segment.path,
                HEADER_BYTES.into(),
                Some(next),
                Damage::Checkpoint,
            ));
        }
        self.state.durable = self.state.durable.max(header.watermark);
        self.state.chain = header.crc;
        self.state.end = Position {
            segment: segment.header.number,
            offset: HEADER_BYTES + header.span() as u32,
        };
        Ok(())
    }

    /// Follows the chain to the first record that is not part of it; returns its offset.
    fn walk(&mut self, segment: &Segment<F>, window: &mut Window<'_, F>) -> Result<u32, OpenError> {
        let failed = |source| Failure::new("read the segment", &segment.path, source);
        let mut offset = self.state.end.offset;
        let mut chain = self.state.chain;
        self.restage();
        while let Some(header) = window.record(offset).map_err(failed)? {
            if header.chain != chain && !mutant(Mutant::ReadsBehindDamage) {
                break;
            }
            self.record(&header, offset, segment, window)?;
            chain = header.crc;
            self.open_records += 1;
            offset += header.span() as u32;
            self.state.durable = self.state.durable.max(header.watermark);
            if header.end || mutant(Mutant::AcceptsHalfBatches) {
                let end = Position {
                    segment: segment.header.number,
                    offset,
                };
                self.complete_batch(end, chain);
            }
            if mutant(Mutant::ReadsBehindDamage) {
                offset = next_record(window, offset).map_err(failed)?;
            }
        }
        Ok(offset)
    }

    fn record(
        &mut self,
        header: &RecordHeader,
        offset: u32,
        segment: &Segment<F>,
        window: &mut Window<'_, F>,
    ) -> Result<(), OpenError> {
        let RecordHeader {
            record_type,
            kind,
            index,
            term,
            ..
        } = *header;
        let mut body = Vec::new();
        if matches!(record_type, RecordType::Metadata | RecordType::Snapshot) {
            let failed = |source| Failure::new("read the segment", &segment.path, source);
            window
                .read_body(offset, header, &mut body)
                .map_err(failed)?;
        }
        let content = Content {
            record_type,
            kind,
            index,
            term,
            payload: &body,
        };
        let next = Some(self.staged.last() + 1);
        let disorder = || OpenError::corrupt(&segment.path, offset.into(), next, Damage::Order);
        let staged = self.staged.record(&self.state.index, &content, offset);
        staged.map_err(|_| disorder())?;
        match record_type {
            RecordType::Checkpoint => return Err(disorder()),
            // Equal it is if the boot's own record was the first in a new segment, whose checkpoint names it too.
            RecordType::Boot if index < self.state.boot => return Err(disorder()),
            RecordType::Boot => self.state.boot = index,
            RecordType::Metadata => self.staged_metadata = Some(body),
            RecordType::Purge => self.base = (index, term),
            RecordType::Entry | RecordType::Truncate | RecordType::Snapshot => {}
        }
        Ok(())
    }

    fn complete_batch(&mut self, end: Position, chain: u32) {
        let fresh = Staged::new(&Index::default(), true);
        let staged = std::mem::replace(&mut self.staged, fresh);
        if staged.drops_log() {
            self.base = staged.base();
        }
        self.state.index.apply(staged, end.segment, 0);
        if let Some(metadata) = self.staged_metadata.take() {
            self.state.metadata = Some(metadata);
        }
        self.state.end = end;
        self.state.chain = chain;
        self.restage();
    }

    fn restage(&mut self) {
        self.staged = Staged::new(&self.state.index, true);
        self.staged_metadata = None;
        self.open_records = 0;
    }

    fn judge_tail(
        &mut self,
        segment: &Segment<F>,
        stopped: u32,
        tail: &Tail,
    ) -> Result<(), OpenError> {
        let end = self.state.end;
        let durable = self.state.durable.max(tail.watermark);
        if durable > end && !mutant(Mutant::IgnoresWatermarks) {
            let next = Some(self.state.index.last + 1);
            return Err(OpenError::corrupt(
                &segment.path,
                stopped.into(),
                next,
                Damage::Record { durable },
            ));
        }
        self.state.durable = durable;
        if tail.torn_end > end.offset {
            self.state.cut = Some(Cut {
                file: segment.path.clone(),
                offset: end.offset.into(),
                bytes: (tail.torn_end - end.offset).into(),
                records: tail.records + self.open_records,
            });
        }
        Ok(())
    }
}

/// The bug [`Mutant::ReadsBehindDamage`]: the next record that verifies, at `from` or behind it.
fn next_record<F: Files>(window: &mut Window<'_, F>, from: u32) -> std::io::Result<u32> {
    let mut offset = from;
    while window.record(offset)?.is_none() {
        match window.step(offset)?.bytes {
            0 => return Ok(from),
            bytes => offset += bytes,
        }
    }
    Ok(offset)
}

/// The record at the head of a segment, if it is the checkpoint that must stand there.
pub(crate) fn read_checkpoint<F: Files>(
    window: &mut Window<'_, F>,
) -> std::io::Result<Option<(RecordHeader, Checkpoint)>> {
    let Some(header) = window.header(HEADER_BYTES)? else {
        return Ok(None);
    };
    if header.record_type != RecordType::Checkpoint || !header.end {
        return Ok(None);
    }
    let mut body = Vec::new();
    if !window.read_body(HEADER_BYTES, &header, &mut body)? {
        return Ok(None);
    }
    Ok(Checkpoint::decode(&body).map(|checkpoint| (header, checkpoint)))
}

/// Looks for records that verify by themselves behind the end of the chain, and for bytes that should be zero.
///
/// Behind `end`, all bytes of a segment made with zeros are zero, and of a recycled one those that the last write has cleared:
/// any other is of a write that was under way. Further behind, a recycled file holds what it held as another segment; none of
/// that verifies, for number and epoch of the segment start every CRC.
fn inspect_tail<F: Files>(
    window: &mut Window<'_, F>,
    end: u32,
    stopped: u32,
    header: &SegmentHeader,
) -> std::io::Result<Tail> {
    let size = header.size;
    let zeros_to = if header.recycled {
        terminator_end(end, size)
    } else {
        size
    };
    let mut tail = Tail {
        watermark: Position::default(),
        records: 0,
        torn_end: stopped,
    };
    let mut offset = stopped;
    while offset < size {
        let step = window.step(offset)?;
        if step.bytes == 0 {
            break;
        }
        if step.nonzero == 0 {
            offset += step.bytes;
            continue;
        }
        if offset < zeros_to {
            tail.torn_end = tail.torn_end.max(offset + step.nonzero_end);
        }
        match window.record(offset)? {
            Some(header) => {
                tail.watermark = tail.watermark.max(header.watermark);
                tail.records += 1;
                let end = offset + RECORD_HEADER_BYTES as u32 + header.length;
                tail.torn_end = tail.torn_end.max(end);
                offset += header.span() as u32;
            }
            None => offset += step.bytes,
        }
    }
    Ok(tail)
}
