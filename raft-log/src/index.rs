//! Where the records are, in bounded memory: runs of equal terms, and one point for every [`POINT_BYTES`] of log; in a log of more
//! than [`POINTS_MAX`] of them, the older it is the fewer.
//!
//! Changes are staged first and applied when the batch that makes them is durable (or, in recovery, complete): so memory
//! never runs ahead of the disk.

use std::collections::VecDeque;

use crate::error::InvalidBatch;
use crate::format::{Content, MARK_DROPS, MARK_KEEPS, NUMBER_MAX, RecordType};
use crate::snapshot::SnapshotId;
use crate::snapshot::format::decode_mark;

/// The distance of points within a segment: what a read may have to skip before its first record.
pub(crate) const POINT_BYTES: u32 = 16 * 1024;

/// How many points there are room for, from the first one on: 1.5 MiB, 1 GiB of log. When they are used up, every second one
/// goes that can.
const POINTS_MAX: usize = 64 * 1024;

/// The entries from `index` to the next point's stand one behind another from here on, other records between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// Whether they directly follow the entries of the point before, which could then do for these too.
    pub(crate) joins: bool,
}

/// The state of the log's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// Index and term of the entry before the first. The term is 0 if it is not known yet (in recovery only).
    pub(crate) base: (u64, u64),
    pub(crate) last: u64,
    /// The newest snapshot that is marked: neither base nor last is ever on the wrong side of it.
    pub(crate) snapshot: Option<SnapshotId>,
    /// First index and term of each run of equal terms.
    pub(crate) runs: VecDeque<(u64, u64)>,
    pub(crate) points: VecDeque<Point>,
    /// Entries whose kind is not 0: filled in recovery, and only there.
    pub(crate) marked: Vec<(u64, u8)>,
    /// Set between a truncation and the next entry: what stands behind the newest entry on the disk is not its successor,
    /// so the next one needs a point.
    pub(crate) broken: bool,
}

impl Index {
    pub(crate) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    /// The term of an entry, the one before the first included.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        if index < self.base.0 || index > self.last {
            return None;
        }
        let run = self.runs.partition_point(|&(first, _)| first <= index);
        Some(self.runs.get(run.checked_sub(1)?)?.1)
    }

    /// The position in `points` of the one that covers an index.
    pub(crate) fn point_of(&self, index: u64) -> Option<usize> {
        self.points
            .partition_point(|point| point.index <= index)
            .checked_sub(1)
    }

    pub(crate) fn apply(&mut self, staged: Staged, segment: u64, start: u32) {
        if staged.keep_to < self.last {
            let keep = staged.keep_to;
            self.runs
                .truncate(self.runs.partition_point(|&(first, _)| first <= keep));
            self.points
                .truncate(self.points.partition_point(|point| point.index <= keep));
            self.marked
                .truncate(self.marked.partition_point(|&(index, _)| index <= keep));
        }
        if staged.drops_log() || staged.base.0 != self.base.0 || self.base.1 == 0 {
            self.base = staged.base;
        }
        self.last = staged.last;
        self.snapshot = staged.snapshot;
        self.broken = staged.broken;
        self.runs.extend(staged.runs);
        self.marked.extend(staged.marked);
        for (nth, mut point) in staged.points.into_iter().enumerate() {
            point.segment = segment;
            point.offset += start;
            let back = self.points.back().filter(|last| last.segment == segment);
            if nth == 0
                && staged.continues
                && let Some(last) = back
            {
                if point.offset - last.offset < POINT_BYTES {
                    continue;
                }
                point.joins = true;
            }
            self.make_room_for_a_point();
            self.points.push_back(point);
        }
        if let Some(base) = staged.purge {
            self.purge(base);
        }
    }

    /// All room is taken at once, so that the memory does not depend on how long the log is. (Only a log of very many segments, or
    /// one that was truncated very often, needs more.)
    fn make_room_for_a_point(&mut self) {
        if self.points.capacity() == 0 {
            self.points.reserve_exact(POINTS_MAX);
        }
        if self.points.len() == self.points.capacity() {
            let mut kept = false;
            self.points.retain(|point| {
                kept = !(point.joins && kept);
                kept
            });
        }
    }

    fn purge(&mut self, base: (u64, u64)) {
        if base.0 < self.base.0 {
            return;
        }
        self.base = base;
        let term = self
            .runs
            .iter()
            .take_while(|&&(first, _)| first <= base.0 + 1)
            .last()
            .map(|run| run.1);
        self.runs.retain(|&(first, _)| first > base.0 + 1);
        if let Some(term) = term
            && base.0 < self.last
        {
            self.runs.push_front((base.0 + 1, term));
        }
        self.marked.retain(|&(index, _)| index > base.0);
        if base.0 >= self.last {
            self.points.clear();
        }
        // The first point stays while it covers the first index, though it begins below.
        while self
            .points
            .get(1)
            .is_some_and(|next| next.index <= base.0 + 1)
        {
            self.points.pop_front();
        }
    }
}

/// What a batch will change.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    base: (u64, u64),
    last: u64,
    last_term: u64,
    /// Entries of the index up to here survive the batch.
    keep_to: u64,
    /// Whether the first new entry directly follows the newest one of the index on the disk.
    continues: bool,
    runs: Vec<(u64, u64)>,
    points: Vec<Point>,
    marked: Vec<(u64, u8)>,
    /// As [`Index::broken`].
    broken: bool,
    snapshot: Option<SnapshotId>,
    /// The offsets of the marks that drop the log.
    drops: Vec<u32>,
    purge: Option<(u64, u64)>,
    /// Recovery alone: cutting below the base is no mistake, since those entries may be purged by a later record.
    relaxed: bool,
}

impl Staged {
    pub(crate) fn new(index: &Index, relaxed: bool) -> Staged {
        Staged {
            base: index.base,
            last: index.last,
            last_term: index.term(index.last).unwrap_or(0),
            keep_to: index.last,
            continues: !index.broken,
            runs: Vec::new(),
            points: Vec::new(),
            marked: Vec::new(),
            broken: index.broken,
            snapshot: index.snapshot,
            drops: Vec::new(),
            purge: None,
            relaxed,
        }
    }

    /// Takes in one record that stands at `offset` bytes (from wherever the caller counts).
    pub(crate) fn record(
        &mut self,
        index: &Index,
        content: &Content<'_>,
        offset: u32,
    ) -> Result<(), InvalidBatch> {
        match content.record_type {
            RecordType::Entry => self.append(content, offset),
            RecordType::Truncate => self.truncate(index, content.index),
            RecordType::Purge => self.stage_purge((content.index, content.term)),
            RecordType::Snapshot => self.mark(index, content, offset),
            RecordType::Metadata | RecordType::Checkpoint | RecordType::Boot => Ok(()),
        }?;
        // The next opening would take it for garbage, and cut it.
        if content.index > NUMBER_MAX {
            return Err(InvalidBatch::IndexTooHigh {
                index: content.index,
                max: NUMBER_MAX,
            });
        }
        Ok(())
    }

    /// The entries up to here that were in the log before the batch survive it.
    pub(crate) fn keep_to(&self) -> u64 {
        self.keep_to
    }

    /// Lets the new last index be seen before the batch is applied.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Index and term of the entry before the first.
    pub(crate) fn base(&self) -> (u64, u64) {
        self.base
    }

    /// Whether a mark drops all that is in the log.
    pub(crate) fn drops_log(&self) -> bool {
        !self.drops.is_empty()
    }

    /// Whether the mark that stands at `offset` drops what is before it.
    pub(crate) fn drops_at(&self, offset: u32) -> bool {
        self.drops.contains(&offset)
    }

    /// A record as it goes to `offset` of the batch: a mark says what it does to the log.
    pub(crate) fn as_written<'a>(&self, content: &Content<'a>, offset: usize) -> Content<'a> {
        let mut content = *content;
        if content.record_type == RecordType::Snapshot {
            content.kind = match self.drops_at(offset as u32) {
                true => MARK_DROPS,
                false => MARK_KEEPS,
            };
        }
        content
    }

    fn append(&mut self, content: &Content<'_>, offset: u32) -> Result<(), InvalidBatch> {
        let Content {
            index, term, kind, ..
        } = *content;
        if Some(index) != self.last.checked_add(1) {
            return Err(InvalidBatch::Gap {
                last: self.last,
                found: index,
            });
        }
        if term < self.last_term || term == 0 {
            return Err(InvalidBatch::Term {
                index,
                last: self.last_term,
                found: term,
            });
        }
        if term != self.last_term || self.last == self.base.0 {
            self.runs.push((index, term));
        }
        let far = self
            .points
            .last()
            .is_none_or(|point| offset - point.offset >= POINT_BYTES);
        if far || self.broken {
            self.points.push(Point {
                index,
                segment: 0,
                offset,
                joins: !self.broken && !self.points.is_empty(),
            });
            self.broken = false;
        }
        if kind != 0 && self.relaxed {
            self.marked.push((index, kind));
        }
        self.last = index;
        self.last_term = term;
        Ok(())
    }

    fn truncate(&mut self, index: &Index, from: u64) -> Result<(), InvalidBatch> {
        let lowest = if self.relaxed { 0 } else { self.base.0 };
        let lowest = lowest.max(self.snapshot.map_or(0, |id| id.index)) + 1;
        let highest = self.last.saturating_add(1);
        if !(lowest..=highest).contains(&from) {
            return Err(InvalidBatch::Range {
                index: from,
                first: lowest,
                last: highest,
            });
        }
        if from == highest {
            return Ok(());
        }
        let keep = from - 1;
        if keep < self.base.0 {
            self.base = (keep, 0);
        }
        self.runs.retain(|&(first, _)| first <= keep);
        self.points.retain(|point| point.index <= keep);
        self.marked.retain(|&(marked, _)| marked <= keep);
        if keep < self.keep_to {
            self.keep_to = keep;
        }
        if self.points.is_empty() {
            self.continues = false;
        }
        self.last = keep;
        self.last_term = match self.runs.last() {
            Some(&(_, term)) => term,
            None if keep == self.base.0 => self.base.1,
            // Entries of this batch without a run of their own are in the last run that it left of the index.
            None => index.term(keep.min(self.keep_to)).unwrap_or(0),
        };
        self.broken = true;
        Ok(())
    }

    fn stage_purge(&mut self, base: (u64, u64)) -> Result<(), InvalidBatch> {
        if base.0 > self.last {
            return Err(InvalidBatch::PurgeRange {
                index: base.0,
                first: self.base.0,
                last: self.last,
            });
        }
        if let Some(snapshot) = self.snapshot
            && base.0 > snapshot.index
        {
            return Err(InvalidBatch::PurgeBeyondSnapshot {
                index: base.0,
                snapshot: snapshot.index,
            });
        }
        self.purge = Some(base);
        Ok(())
    }

    /// Takes in a mark. When it is written, its kind says whether it may drop the records, and the log decides whether it does; in
    /// recovery the mark says so, for the records that decided it may be gone by now.
    fn mark(
        &mut self,
        index: &Index,
        content: &Content<'_>,
        offset: u32,
    ) -> Result<(), InvalidBatch> {
        let (at, term) = (content.index, content.term);
        let id = decode_mark(at, term, content.payload)
            .ok_or(InvalidBatch::SnapshotForeign { index: at })?;
        let floor = match self.snapshot {
            Some(newest) if at == newest.index && id != newest => {
                return Err(InvalidBatch::SnapshotDiffers { index: at });
            }
            Some(newest) => (newest.index, newest.term),
            None if self.relaxed => (0, 0),
            None => self.base,
        };
        if at < floor.0 {
            return Err(InvalidBatch::SnapshotOld {
                index: at,
                newest: floor.0,
            });
        }
        if term < floor.1 || (at == floor.0 && term != floor.1) {
            return Err(InvalidBatch::SnapshotTerm {
                index: at,
                term,
                newest: floor,
            });
        }
        let holds = self.holds(index, at, term);
        let drops = if self.relaxed {
            match (content.kind, holds) {
                (MARK_KEEPS, Some(true) | None) => false,
                (MARK_DROPS, Some(false) | None) => true,
                _ => return Err(InvalidBatch::SnapshotForeign { index: at }),
            }
        } else if holds == Some(true) {
            false
        } else if content.kind == MARK_DROPS {
            true
        } else {
            return Err(InvalidBatch::SnapshotNotHeld {
                index: at,
                term,
                last: (self.last, self.last_term),
            });
        };
        if drops {
            self.drop_all((at, term));
            self.drops.push(offset);
        }
        self.snapshot = Some(id);
        Ok(())
    }

    /// Whether there is a record with this index and term (the one before the first counts); `None` if that is not known any
    /// more.
    fn holds(&self, index: &Index, at: u64, term: u64) -> Option<bool> {
        if at > self.last {
            return Some(false);
        }
        let run = self.runs.iter().rev().find(|&&(first, _)| first <= at);
        let found = match run {
            _ if at <= self.base.0 => (at == self.base.0).then_some(self.base.1),
            Some(&(_, term)) => Some(term),
            // As in `truncate`.
            None => index.term(at.min(self.keep_to)),
        };
        found.filter(|&found| found != 0).map(|found| found == term)
    }

    fn drop_all(&mut self, base: (u64, u64)) {
        self.base = base;
        (self.last, self.last_term) = base;
        self.keep_to = 0;
        self.continues = false;
        self.runs.clear();
        self.points.clear();
        self.marked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more entries than points, with truncations and switches of segments between: whatever goes, the point that covers an
    /// entry stands in its segment, before it, and nothing cut lies between the two.
    #[test]
    fn points_are_bounded_and_cover_every_entry() {
        let mut index = Index::default();
        // Of each entry its place, and a number that changes with every truncation.
        let mut entries: Vec<(u64, u32, u32)> = Vec::new();
        let (mut segment, mut offset, mut breaks) = (1, 512, 0);
        for nth in 0..5 * POINTS_MAX as u32 {
            if offset > 1 << 29 {
                (segment, offset) = (segment + 1, 512);
            }
            let mut staged = Staged::new(&index, false);
            if nth % 100 == 99 {
                let from = entries.len() as u64 - 3;
                let cut = Content::plain(RecordType::Truncate, from, 0);
                staged.record(&index, &cut, 0).unwrap();
                entries.truncate(from as usize - 1);
                breaks += 1;
            }
            for at in [0, 40_000] {
                let entry = Content::plain(RecordType::Entry, entries.len() as u64 + 1, 1);
                staged.record(&index, &entry, at).unwrap();
                entries.push((segment, offset + at, breaks));
            }
            index.apply(staged, segment, offset);
            offset += 80_000;
        }
        assert!(entries.len() > 8 * POINTS_MAX);
        assert_eq!(index.points.capacity(), POINTS_MAX);
        assert!(index.points.len() > POINTS_MAX / 2);
        for (entry, nth) in entries.iter().zip(1..) {
            let point = index.points[index.point_of(nth).unwrap()];
            let first = entries[point.index as usize - 1];
            assert_eq!((point.segment, point.offset), (first.0, first.1));
            assert_eq!((first.0, first.2), (entry.0, entry.2), "{nth}: {point:?}");
        }
    }
}
