//! Reading durable records, while the log is written.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::OwnedRecord;
use crate::error::{Damage, Failure, OpenError, ReadError};
use crate::files::{Files, OsFiles};
use crate::format::RecordType;
use crate::index::{POINT_BYTES, Point};
use crate::open_files::Known;
use crate::segment::Window;
use crate::shared::{Counters, Shared};
use crate::snapshot::SnapshotId;
use crate::tail::Kept;

/// How many stretches one read visits.
const STRETCHES_MAX: usize = 1024;

/// Reads records, from any thread, as often as wanted.
///
/// A read sees exactly the durable log as it was at one moment between its call and its return: a record is visible from
/// the moment its batch is durable until it is truncated or purged, never before. A read waits for no write and no sync,
/// and no write waits for a read.
///
/// It works on after the log is closed or poisoned, and sees the log as it was then. A later opening may purge records and
/// use their files anew: then they are [`ReadError::Purged`] here too. Bytes of that later log are never handed out.
pub struct Reader<F: Files = OsFiles> {
    shared: Arc<Shared<F>>,
}

impl<F: Files> Clone for Reader<F> {
    fn clone(&self) -> Self {
        Reader {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<F: Files> std::fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("dir", &self.shared.dir)
            .finish_non_exhaustive()
    }
}

/// Where a read finds its entries.
enum Places {
    Tail(Vec<Kept>),
    Files(Vec<Stretch>),
}

/// Whether the log moved on while a read was looking, so that it has to look again.
enum Moved {
    No,
    Yes,
}

/// Entries that stand one behind another in one segment.
struct Stretch {
    segment: Arc<Known>,
    offset: u32,
    /// The index of the first entry at `offset`, and one past the last that belongs here.
    entries: Range<u64>,
}

/// A record whose payload is still a range of the common buffer.
struct Found {
    index: u64,
    term: u64,
    kind: u8,
    payload: Range<usize>,
}

impl<F: Files> Reader<F> {
    pub(crate) fn new(shared: Arc<Shared<F>>) -> Self {
        Reader { shared }
    }

    /// The log's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The first index there is; one more than [`Reader::last_index`] if the log is empty.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.shared.view().index.first()
    }

    /// The last durable index; one less than [`Reader::first_index`] if the log is empty.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.shared.view().index.last
    }

    /// The term of a record, also of the one before the first; `None` outside the log. Touches no file.
    #[must_use]
    pub fn term(&self, index: u64) -> Option<u64> {
        self.shared.view().index.term(index)
    }

    /// The newest snapshot that is marked.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.shared.view().index.snapshot
    }

    /// Figures since the log was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.tally.counters()
    }

    /// Reads the records from index `from` on: at least one, then more while they fit into `bytes_max` bytes of
    /// payload. (Where the log was often truncated it may stop earlier.)
    ///
    /// Each that comes from a file is verified; the newest come from memory (see
    /// [`Options::tail_bytes`](crate::Options::tail_bytes)), as they were written. The payloads share one buffer of exactly their
    /// size, which lives as long as any of them. To get at the first one, up to 16 KiB of the file before it are skipped (more, the older it is, in a log of more than 1 GiB), so
    /// short reads one after another cost more than few long ones.
    ///
    /// To follow a log as it grows, read only while `from` is not above [`Reader::last_index`], and wait otherwise: the index
    /// behind the last one is an error here, not an empty answer. What wakes a reader is the commit, or the callback of the
    /// [`Writer`](crate::writer::Writer): records are visible before it is told of
    /// [`Completion::Durable`](crate::writer::Completion::Durable).
    ///
    /// # Errors
    /// [`ReadError::Purged`] and [`ReadError::BeyondEnd`] if `from` is outside the log; [`ReadError::Corrupt`] if a record
    /// does not verify any more; [`ReadError::Io`] if the file cannot be read.
    pub fn read(&self, from: u64, bytes_max: usize) -> Result<Vec<OwnedRecord>, ReadError> {
        let mut found = Vec::new();
        let mut payloads = Vec::new();
        // Whatever goes wrong because the log went on meanwhile is looked up again.
        while let Moved::Yes = self.find(from, bytes_max, &mut found, &mut payloads)? {}
        payloads.shrink_to_fit();
        let payloads = Bytes::from(payloads);
        let own = |found: Found| {
            let Found {
                index,
                term,
                kind,
                payload,
            } = found;
            OwnedRecord {
                index,
                term,
                kind,
                payload: payloads.slice(payload),
            }
        };
        Ok(found.into_iter().map(own).collect())
    }

    /// Collects what a read answers, or nothing, if the log moved on from where it stood.
    fn find(
        &self,
        from: u64,
        bytes_max: usize,
        found: &mut Vec<Found>,
        payloads: &mut Vec<u8>,
    ) -> Result<Moved, ReadError> {
        match self.places(from, bytes_max)? {
            Places::Tail(pieces) => {
                let mut next = from;
                for kept in &pieces {
                    if kept.read(&mut next, bytes_max, found, payloads) {
                        break;
                    }
                }
                Ok(Moved::No)
            }
            Places::Files(stretches) => {
                self.read_files(&stretches, from, bytes_max, found, payloads)
            }
        }
    }

    /// Where the records from `from` on stand: taken in one look, so that a truncation meanwhile cannot mix two logs.
    fn places(&self, from: u64, bytes_max: usize) -> Result<Places, ReadError> {
        let view = self.shared.view();
        let (first, last) = (view.index.first(), view.index.last);
        if from < first {
            return Err(ReadError::Purged { index: from, first });
        }
        if from > last {
            return Err(ReadError::BeyondEnd { index: from, last });
        }
        let pieces = view.tail.from(from, bytes_max);
        if !pieces.is_empty() {
            return Ok(Places::Tail(pieces));
        }
        let count = (bytes_max / POINT_BYTES as usize + 2).min(STRETCHES_MAX);
        let points = view
            .index
            .points
            .iter()
            .skip(view.index.point_of(from).unwrap_or(0))
            .take(count + 1);
        let ends = points
            .clone()
            .skip(1)
            .map(|next| next.index)
            .chain(std::iter::once(last + 1));
        let stretch = |(point, end): (&Point, u64)| {
            let segment = Arc::clone(view.segments.get(&point.segment)?);
            Some(Stretch {
                segment,
                offset: point.offset,
                entries: point.index..end,
            })
        };
        let stretches = points.zip(ends).take(count).filter_map(stretch);
        Ok(Places::Files(stretches.collect()))
    }

    /// Reads from one stretch after the other, through one window for all that stand in one segment.
    fn read_files(
        &self,
        stretches: &[Stretch],
        from: u64,
        bytes_max: usize,
        found: &mut Vec<Found>,
        payloads: &mut Vec<u8>,
    ) -> Result<Moved, ReadError> {
        let mut next = from;
        for same in stretches.chunk_by(|one, other| Arc::ptr_eq(&one.segment, &other.segment)) {
            let Some(Stretch { segment, .. }) = same.first() else {
                continue;
            };
            let read = self
                .shared
                .files
                .get(segment)
                .map_err(|error| unreadable(error, from));
            let read = read.and_then(|open| {
                let mut window = open.window_of(bytes_max);
                same.iter().try_fold(false, |done, stretch| {
                    Ok(done || stretch.read(&mut window, &mut next, bytes_max, found, payloads)?)
                })
            });
            match read {
                Ok(false) => {}
                Ok(true) => return Ok(Moved::No),
                // It was purged after those before it were read: they are what there was.
                Err(_) if !found.is_empty() && self.is_purged(segment) => return Ok(Moved::No),
                Err(_) if self.is_purged(segment) => {
                    return self.purged(segment, from).map_or(Ok(Moved::Yes), Err);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Moved::No)
    }

    /// Whether the log has purged the segment by now, this opening or a later one: then what does not verify, or is not there, is no
    /// damage. Without a superblock to tell, it is what it seems.
    fn is_purged(&self, segment: &Known) -> bool {
        self.shared.files.is_purged(segment).unwrap_or(false)
    }

    /// What is to be said of a record in a segment that is purged; nothing, if this log has the record elsewhere by now.
    fn purged(&self, segment: &Known, index: u64) -> Option<ReadError> {
        let view = self.shared.view();
        let (first, number) = (view.index.first(), segment.header.number);
        if index < first {
            return Some(ReadError::Purged { index, first });
        }
        if !view.segments.contains_key(&number) {
            return None;
        }
        // A later opening did it. Where its log begins is not known here; it is not before the next segment.
        let later = view
            .index
            .points
            .iter()
            .find(|point| point.segment > number);
        let first = later.map_or(view.index.last + 1, |point| point.index);
        Some(ReadError::Purged { index, first })
    }
}

/// What it means for a read that a segment does not open.
fn unreadable(error: OpenError, index: u64) -> ReadError {
    match error {
        OpenError::Io(failure) => failure.into(),
        OpenError::Corrupt {
            file,
            what: Damage::SegmentMissing,
            ..
        } => Failure::new("read the segment", &file, io::ErrorKind::NotFound.into()).into(),
        OpenError::Corrupt { file, offset, .. } => ReadError::Corrupt {
            file,
            offset,
            index,
        },
        OpenError::UnknownVersion { file, .. } => ReadError::Corrupt {
            file,
            offset: 0,
            index,
        },
        other => unreachable!("a segment that is opened does not say: {other}"),
    }
}

impl Kept {
    /// Reads on from `next`; whether the budget is used up.
    fn read(
        &self,
        next: &mut u64,
        bytes_max: usize,
        found: &mut Vec<Found>,
        payloads: &mut Vec<u8>,
    ) -> bool {
        while self.entries.contains(next)
            && let Some((header, bytes)) = self.piece.entry(*next)
        {
            let start = payloads.len();
            if !found.is_empty() && start + bytes.len() > bytes_max {
                return true;
            }
            payloads.extend_from_slice(bytes);
            found.push(Found {
                index: *next,
                term: header.term,
                kind: header.kind,
                payload: start..payloads.len(),
            });
            *next += 1;
        }
        false
    }
}

impl Stretch {
    /// Reads on from `next`; whether the budget is used up.
    fn read<F: Files>(
        &self,
        window: &mut Window<'_, F>,
        next: &mut u64,
        bytes_max: usize,
        found: &mut Vec<Found>,
        payloads: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let mut offset = self.offset;
        let mut index = self.entries.start;
        while index < self.entries.end {
            let failed = |source| Failure::new("read the segment", &self.segment.path, source);
            let corrupt = || ReadError::Corrupt {
                file: self.segment.path.clone(),
                offset: offset.into(),
                index: index.max(*next),
            };
            let header = window.header(offset).map_err(failed)?.ok_or_else(corrupt)?;
            if header.record_type == RecordType::Entry {
                if header.index != index {
                    return Err(corrupt());
                }
                if index >= *next {
                    let start = payloads.len();
                    if !found.is_empty() && start + header.length as usize > bytes_max {
                        return Ok(true);
                    }
                    if !window
                        .read_body(offset, &header, payloads)
                        .map_err(failed)?
                    {
                        return Err(corrupt());
                    }
                    let payload = start..payloads.len();
                    found.push(Found {
                        index,
                        term: header.term,
                        kind: header.kind,
                        payload,
                    });
                    *next = index + 1;
                }
                index += 1;
            }
            offset += header.span() as u32;
        }
        Ok(false)
    }
}
