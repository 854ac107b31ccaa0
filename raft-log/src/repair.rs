//! Makes the disk agree with what recovery decided: the log ends where it ends, and all of it is durable.

use std::io;

use crate::error::Failure;
use crate::files::{FileHandle, Files};
use crate::format::HEADER_BYTES;
use crate::position::Position;
use crate::recovery::Recovered;
use crate::segment::Segment;
use crate::superblock::read_full;

/// How many bytes are read, and written back or zeroed, at once.
const REPAIR_BYTES: usize = 64 * 1024;

/// Writes once more what is not known to be durable, and clears what stands behind the end, unless the log was closed cleanly
/// at `watermark`.
///
/// The former since an earlier process may have failed to sync it: then it is in the page cache, and clean, and a sync alone
/// would do nothing. The latter so that nothing of a write that was cut is ever met again.
pub(crate) fn repair_tail<F: Files>(
    recovered: &Recovered<F>,
    watermark: Position,
) -> Result<(), Failure> {
    let Some(segment) = &recovered.active else {
        return Ok(());
    };
    let end = u64::from(recovered.end.offset);
    let from = match recovered.durable {
        Position {
            segment: number,
            offset,
        } if number == segment.header.number => u64::from(offset),
        _ => u64::from(HEADER_BYTES),
    };
    let repair = || -> io::Result<()> {
        write_again(segment, from, end)?;
        if !recovered.is_clean(watermark) {
            clear(segment, end)?;
        }
        segment.file.sync_data()
    };
    repair().map_err(|source| Failure::new("repair the end of the segment", &segment.path, source))
}

fn write_again<F: Files>(segment: &Segment<F>, from: u64, to: u64) -> io::Result<()> {
    let mut buf = vec![0; REPAIR_BYTES];
    let mut offset = from;
    while offset < to {
        let len = buf.len().min((to - offset) as usize);
        let part = buf.get_mut(..len).unwrap_or_default();
        if read_full(&segment.file, part, offset)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        segment.file.write_all_at(part, offset)?;
        offset += len as u64;
    }
    Ok(())
}

/// Zeroes what is not zero from `from` to the end of the segment.
fn clear<F: Files>(segment: &Segment<F>, from: u64) -> io::Result<()> {
    let mut buf = vec![0; REPAIR_BYTES];
    let zeros = vec![0; REPAIR_BYTES];
    let size = u64::from(segment.header.size);
    let mut offset = from;
    while offset < size {
        // Pieces end at multiples of their length, so that whole pages are written.
        let len = buf.len() as u64 - offset % buf.len() as u64;
        let len = len.min(size - offset) as usize;
        let (part, zeros) = (
            buf.get_mut(..len).unwrap_or_default(),
            zeros.get(..len).unwrap_or_default(),
        );
        if read_full(&segment.file, part, offset)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if *part != *zeros {
            segment.file.write_all_at(zeros, offset)?;
        }
        offset += len as u64;
    }
    Ok(())
}
