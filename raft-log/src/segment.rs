//! One segment file: made ready with written zeros, opened with checks, walked record by record through a fixed window.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Damage, Failure, OpenError};
use crate::files::{FileHandle, Files};
use crate::format::{
    BadBlock, CHECKPOINT_FIXED_BYTES, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader,
    SegmentHeader, VERSION, identity_crc, record_seed, terminator_end,
};
use crate::mutants::{Mutant, mutant};
use crate::options::METADATA_BYTES_MAX;
use crate::superblock::read_full;

const SUFFIX: &str = ".seg";
/// How many zeros go out in one write while a segment is made ready.
const ZERO_BYTES: usize = 1024 * 1024;
/// How many go out between two syncs: not many, so that the sync of a batch that runs meanwhile waits behind a short queue.
const ZERO_SYNC_BYTES: u32 = 8 * 1024 * 1024;
/// The window through which segments are read: all the memory that a scan takes.
const WINDOW_BYTES: usize = 64 * 1024;
const WINDOW_BYTES_MIN: usize = 8 * 1024;

/// How many zeros are passed in one step.
const ZEROS: [u8; 4096] = [0; 4096];

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// The number in a segment's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// An open segment.
pub(crate) struct Segment<F: Files> {
    pub(crate) file: F::Handle,
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) salt: u32,
}

/// What all segments of a log have in common.
#[derive(Clone)]
pub(crate) struct Recipe<F: Files> {
    pub(crate) files: F,
    pub(crate) dir: PathBuf,
    pub(crate) identity: Arc<[u8]>,
    pub(crate) epoch: u64,
    pub(crate) payload_max: u32,
}

impl<F: Files> Recipe<F> {
    /// Makes a segment of `size` bytes, in a new file: zeros, then the header, durable together with its name. `stop` ends it
    /// early.
    pub(crate) fn make(
        &self,
        number: u64,
        size: u32,
        stop: &AtomicBool,
    ) -> Result<Segment<F>, Failure> {
        let header = self.header(number, size, false);
        self.finish(header, |path, header| self.fill(path, header, stop))
    }

    /// Makes a segment of `size` bytes of a file that has this size, under the number `spare`, and is not in use.
    ///
    /// Old bytes stay where they are; none of them verifies under the new header, for no number is used twice in one boot. The
    /// header counts for nothing before the superblock names the segment, so a crash anywhere in here leaves a spare.
    pub(crate) fn recycle(
        &self,
        number: u64,
        size: u32,
        spare: u64,
    ) -> Result<Segment<F>, Failure> {
        let header = self.header(number, size, true);
        let from = self.dir.join(segment_name(spare));
        self.finish(header, |path, header| {
            if spare != number {
                self.files.rename(&from, path)?;
            }
            let file = self.files.open(path)?;
            // As behind every write, zeros follow: where the checkpoint will stand there is none before it.
            let mut head = header.encode();
            head.resize(terminator_end(HEADER_BYTES, header.size) as usize, 0);
            file.write_all_at(&head, 0)?;
            file.sync_all()?;
            self.sync_name()?;
            Ok(file)
        })
    }

    fn header(&self, number: u64, size: u32, recycled: bool) -> SegmentHeader {
        SegmentHeader {
            number,
            epoch: self.epoch,
            size,
            payload_max: self.payload_max,
            identity_crc: identity_crc(&self.identity),
            recycled,
        }
    }

    fn finish(
        &self,
        header: SegmentHeader,
        prepare: impl FnOnce(&Path, &SegmentHeader) -> io::Result<F::Handle>,
    ) -> Result<Segment<F>, Failure> {
        let path = self.dir.join(segment_name(header.number));
        match prepare(&path, &header) {
            Ok(file) => Ok(Segment {
                file,
                path,
                salt: header.salt(),
                header,
            }),
            Err(source) => {
                // A half-made file only takes room; if it cannot be removed either, the next opening does it.
                let _ = self.files.remove(&path);
                Err(Failure::new("make the segment ready", &path, source))
            }
        }
    }

    fn fill(
        &self,
        path: &Path,
        header: &SegmentHeader,
        stop: &AtomicBool,
    ) -> io::Result<F::Handle> {
        let file = self.files.create(path)?;
        let zeros = vec![0; ZERO_BYTES.min(header.size as usize)];
        let mut offset = 0;
        while offset < header.size {
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the log was closed"));
            }
            let bytes = zeros
                .get(..(header.size - offset) as usize)
                .unwrap_or(&zeros);
            file.write_all_at(bytes, u64::from(offset))?;
            offset += bytes.len() as u32;
            if offset < header.size && offset.is_multiple_of(ZERO_SYNC_BYTES) {
                file.sync_data()?;
            }
        }
        // Only a file that was filled ever has a header: so an opening knows one that it can use.
        file.sync_all()?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        self.sync_name()?;
        Ok(file)
    }

    /// A segment's new name is durable.
    #[track_caller]
    fn sync_name(&self) -> io::Result<()> {
        if mutant(Mutant::SkipsDirectorySync) {
            return Ok(());
        }
        self.files.sync_dir(&self.dir)
    }

    /// Gives a segment's file the name of another segment, durably.
    pub(crate) fn rename(&self, from: u64, to: u64) -> Result<(), Failure> {
        let [from, to] = [from, to].map(|number| self.dir.join(segment_name(number)));
        self.files
            .rename(&from, &to)
            .and_then(|()| self.files.sync_dir(&self.dir))
            .map_err(|source| Failure::new("rename the segment", &from, source))
    }

    /// Removes segments by number; one that is gone already is no error.
    pub(crate) fn remove(&self, numbers: impl IntoIterator<Item = u64>) -> Result<(), Failure> {
        let mut any = false;
        for number in numbers {
            let path = self.dir.join(segment_name(number));
            match self.files.remove(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => {
                    result.map_err(|source| Failure::new("remove the segment", &path, source))?;
                }
            }
            any = true;
        }
        if any {
            self.files
                .sync_dir(&self.dir)
                .map_err(|source| Failure::new("sync the directory", &self.dir, source))?;
        }
        Ok(())
    }

    /// Opens a segment that must be there and whole.
    pub(crate) fn open(&self, number: u64) -> Result<Segment<F>, OpenError> {
        let segment = self.open_any(number)?;
        if segment.header.number != number {
            let damage = Damage::SegmentForeign;
            return Err(OpenError::corrupt(&segment.path, 0, None, damage));
        }
        Ok(segment)
    }

    /// Opens a segment that is known already: one with another header is damaged.
    pub(crate) fn open_as(&self, header: &SegmentHeader) -> Result<Segment<F>, OpenError> {
        let segment = self.open(header.number)?;
        if segment.header != *header {
            let damage = Damage::SegmentForeign;
            return Err(OpenError::corrupt(&segment.path, 0, None, damage));
        }
        Ok(segment)
    }

    /// Opens a file that has the name of segment `number`, and is one of this log and whole, whatever number it has itself.
    pub(crate) fn open_any(&self, number: u64) -> Result<Segment<F>, OpenError> {
        let path = self.dir.join(segment_name(number));
        let failed = |source| Failure::new("read the segment", &path, source);
        let file = match self.files.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::corrupt(&path, 0, None, Damage::SegmentMissing));
            }
            result => result.map_err(failed)?,
        };
        let mut block = vec![0; HEADER_BYTES as usize];
        let filled = read_full(&file, &mut block, 0).map_err(failed)?;
        let header = match SegmentHeader::decode(block.get(..filled).unwrap_or_default()) {
            Ok(header) => header,
            Err(BadBlock::Damaged) => {
                return Err(OpenError::corrupt(&path, 0, None, Damage::SegmentHeader));
            }
            Err(BadBlock::Version(found)) => {
                return Err(OpenError::UnknownVersion {
                    file: path,
                    found,
                    known: VERSION,
                });
            }
        };
        if header.identity_crc != identity_crc(&self.identity) {
            return Err(OpenError::corrupt(&path, 0, None, Damage::SegmentForeign));
        }
        let (expected, found) = (u64::from(header.size), file.len().map_err(failed)?);
        if expected != found {
            let damage = Damage::SegmentLength { expected, found };
            return Err(OpenError::corrupt(&path, expected.min(found), None, damage));
        }
        Ok(Segment {
            file,
            path,
            salt: header.salt(),
            header,
        })
    }
}

impl<F: Files> Segment<F> {
    pub(crate) fn window(&self) -> Window<'_, F> {
        self.window_of(WINDOW_BYTES)
    }

    /// A window that reads about so many bytes at once, for who needs little.
    pub(crate) fn window_of(&self, bytes: usize) -> Window<'_, F> {
        Window {
            segment: self,
            buf: Vec::new(),
            start: 0,
            at_once: bytes.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES),
        }
    }
}

/// A few bytes of a segment.
#[derive(Default)]
pub(crate) struct Step {
    /// How many; none at the end of the segment.
    pub(crate) bytes: u32,
    /// How many of them are not zero.
    pub(crate) nonzero: u32,
    /// One past the last of those.
    pub(crate) nonzero_end: u32,
}

/// A sliding view of a segment. Never holds more than [`WINDOW_BYTES`].
pub(crate) struct Window<'a, F: Files> {
    segment: &'a Segment<F>,
    buf: Vec<u8>,
    start: u32,
    /// How much is read at once, unless more is asked for.
    at_once: usize,
}

impl<F: Files> Window<'_, F> {
    fn size(&self) -> u32 {
        self.segment.header.size
    }

    /// The bytes at `offset`: at least one and at most `len`, or none at the end of the segment.
    pub(crate) fn some_bytes(&mut self, offset: u32, len: usize) -> io::Result<&[u8]> {
        let len = len
            .min(self.size().saturating_sub(offset) as usize)
            .min(WINDOW_BYTES);
        let inside = |window: &Self| {
            let at = offset.checked_sub(window.start)? as usize;
            (at < window.buf.len()).then_some(at)
        };
        let at = match inside(self) {
            Some(at) if at + len <= self.buf.len() => at,
            _ => {
                self.fill(offset, len.max(self.at_once))?;
                0
            }
        };
        Ok(self
            .buf
            .get(at..(at + len).min(self.buf.len()))
            .unwrap_or_default())
    }

    /// What stands at `offset` if it is no record: many zeros, or a word.
    pub(crate) fn step(&mut self, offset: u32) -> io::Result<Step> {
        let bytes = self.some_bytes(offset, ZEROS.len())?;
        // The untouched rest of a segment is zeros: pass them by large pieces.
        if bytes == ZEROS {
            return Ok(Step {
                bytes: ZEROS.len() as u32,
                ..Step::default()
            });
        }
        let word = bytes.get(..8).unwrap_or(bytes);
        let last = word.iter().rposition(|&byte| byte != 0);
        Ok(Step {
            bytes: word.len() as u32,
            nonzero: word.iter().filter(|&&byte| byte != 0).count() as u32,
            nonzero_end: last.map_or(0, |at| at as u32 + 1),
        })
    }

    fn fill(&mut self, offset: u32, len: usize) -> io::Result<()> {
        let len = len.min(self.size().saturating_sub(offset) as usize);
        self.buf.resize(len, 0);
        self.start = offset;
        let filled = read_full(&self.segment.file, &mut self.buf, u64::from(offset));
        // After a failed read the content is unknown: forget it.
        self.buf.truncate(*filled.as_ref().unwrap_or(&0));
        filled.map(|_| ())
    }

    /// The header of the record at `offset`, if it verifies and its body would fit.
    pub(crate) fn header(&mut self, offset: u32) -> io::Result<Option<RecordHeader>> {
        let seed = record_seed(self.segment.salt, offset);
        let Some(header) =
            RecordHeader::decode(self.some_bytes(offset, RECORD_HEADER_BYTES)?, seed)
        else {
            return Ok(None);
        };
        let max = (self.segment.header.payload_max as usize)
            .max(METADATA_BYTES_MAX + CHECKPOINT_FIXED_BYTES);
        let fits = header.length as usize <= max
            && u64::from(offset) + header.span() <= u64::from(self.size());
        Ok(fits.then_some(header))
    }

    /// The header of the record at `offset`, if header and body verify.
    pub(crate) fn record(&mut self, offset: u32) -> io::Result<Option<RecordHeader>> {
        let Some(header) = self.header(offset)? else {
            return Ok(None);
        };
        let mut crc = header.crc;
        self.body(offset, &header, |bytes| {
            crc = crc32c::crc32c_append(crc, bytes);
        })?;
        let good = crc == header.body_crc || mutant(Mutant::SkipsBodyChecksum);
        Ok(good.then_some(header))
    }

    /// Appends the body of the record at `offset` to `out`; whether it verifies.
    pub(crate) fn read_body(
        &mut self,
        offset: u32,
        header: &RecordHeader,
        out: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut crc = header.crc;
        self.body(offset, header, |bytes| {
            crc = crc32c::crc32c_append(crc, bytes);
            out.extend_from_slice(bytes);
        })?;
        Ok(crc == header.body_crc)
    }

    fn body(
        &mut self,
        offset: u32,
        header: &RecordHeader,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut at = offset + RECORD_HEADER_BYTES as u32;
        let end = at + header.length;
        while at < end {
            let bytes = self.some_bytes(at, (end - at) as usize)?;
            if bytes.is_empty() {
                // The file is shorter than it was when it was opened; the CRC will not match.
                break;
            }
            each(bytes);
            at += bytes.len() as u32;
        }
        Ok(())
    }
}
