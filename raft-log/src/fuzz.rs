//! What must hold of every parser, whatever bytes it is given. The fuzz targets in `raft-log/fuzz` call these, and so do
//! the tests, with the corpus and with random bytes. A violation is a panic.
//!
//! A checksum stops nearly everything that a fuzzer makes up. So most of these put the checksums right first, as the first
//! byte of the input says: what then comes through is nonsense that verifies, which a recovery has to survive too.

use std::ops::ControlFlow;
use std::path::Path;

use crate::files::{FileHandle, Files};
use crate::format::{
    COVERED, Checkpoint, Fields, HEADER_BYTES, NUMBER_MAX, RECORD_HEADER_BYTES, RecordHeader,
    SEGMENT_MAGIC, SegmentHeader, VERSION, aligned, identity_crc, record_seed, seal_block,
};
use crate::inspect::{InspectError, Inspection};
use crate::sim_disk::SimDisk;
use crate::superblock::{COPY_BYTES, COPY_DISTANCE, Facts, MAGIC, SUPERBLOCK, Superblock};
use crate::{Batch, Log, Options, Record, Recovery, peek_identity_with};

/// Blocks get magic, version and checksum.
pub const SEAL_BLOCKS: u8 = 1;
/// Segments get the number of their name, their length and the superblock's identity.
pub const SEAL_FACTS: u8 = 2;
/// Records get their checksums.
pub const SEAL_RECORDS: u8 = 4;
/// Records get the chain value of the one before.
pub const SEAL_CHAIN: u8 = 8;
/// All of it.
pub const SEAL_ALL: u8 = 15;

/// The size of a segment in an image, unless it has more content.
pub const SEGMENT_BYTES: usize = 4096;

/// A copy of the superblock: decoding never panics, and what decodes is encoded as the same again.
pub fn superblock(bytes: &[u8]) {
    let _ = Facts::decode(bytes);
    let block = sealed_block(bytes, MAGIC);
    if let Ok(facts) = Facts::decode(&block) {
        assert_eq!(Facts::decode(&facts.encode()).as_ref(), Ok(&facts));
    }
}

/// The header of a segment: as [`superblock`].
pub fn segment_header(bytes: &[u8]) {
    let _ = SegmentHeader::decode(bytes);
    let block = sealed_block(bytes, SEGMENT_MAGIC);
    if let Ok(header) = SegmentHeader::decode(&block) {
        assert_eq!(
            SegmentHeader::decode(&header.encode()).as_ref(),
            Ok(&header)
        );
    }
}

/// The header of a record: its length is what is stated, and its span neither wraps nor ends before its body.
pub fn record(bytes: &[u8]) {
    let seed = Fields(bytes).u32(0).unwrap_or(0);
    let _ = RecordHeader::decode(bytes, seed);
    let mut block = bytes.to_vec();
    seal_record(&mut block, seed);
    if let Some(header) = RecordHeader::decode(&block, seed) {
        assert!(header.span() >= RECORD_HEADER_BYTES as u64 + u64::from(header.length));
    }
}

/// The body of a checkpoint: as [`superblock`].
pub fn checkpoint(bytes: &[u8]) {
    if let Some(checkpoint) = Checkpoint::decode(bytes) {
        let encoded = checkpoint.encode();
        assert_eq!(encoded.len(), bytes.len());
        assert_eq!(Checkpoint::decode(&encoded).as_ref(), Some(&checkpoint));
    }
}

/// A snapshot's file: reading it comes to an end without a panic, whatever stands in it. The first byte says whether the
/// header gets its checksum.
///
/// # Panics
/// When a file verifies that is not the snapshot it says.
pub fn snapshot(bytes: &[u8]) {
    let Some((mode, content)) = bytes.split_first() else {
        return;
    };
    let mut content = content.to_vec();
    if mode & SEAL_BLOCKS != 0
        && let Some(block) = content.get_mut(..COPY_BYTES)
    {
        seal_block(block);
    }
    let disk = SimDisk::new();
    let path = dir().join("file");
    let write = || -> std::io::Result<()> {
        disk.create_dir(dir())?;
        disk.create(&path)?.write_all_at(&content, 0)
    };
    write().unwrap_or_else(|error| unreachable!("nothing is planned to fail: {error}"));
    if let Ok(id) = crate::snapshot::verify_file(&disk, &path) {
        assert_eq!(id.bytes, content.len() as u64);
    }
}

/// A directory, as [`image`] makes it of the input. Listing it comes to an end; `verify` and an opening agree; what opens
/// can be read, goes on, and opens again as it was.
pub fn directory(bytes: &[u8]) {
    let disk = image(bytes);
    inspect(&disk);
    let verified = Inspection::open_with(disk.clone(), dir())
        .map(|inspection| inspection.verify().map(|verified| verified.recovery));
    let verified = match verified {
        Err(InspectError::Missing { .. } | InspectError::Empty { .. }) => return,
        Err(InspectError::Open(error)) => Err(error.to_string()),
        Ok(verdict) => verdict.map_err(|error| error.to_string()),
    };
    let opened = open(&disk);
    match (&verified, opened) {
        (Ok(found), Ok((log, recovery))) => {
            assert_eq!(found, &recovery);
            // A log that has come to the end of its numbers does not go on: nothing that counts by ones ever gets there.
            let sequence = Superblock::open(&disk, dir()).map_or(0, |found| found.facts.sequence);
            let highest = recovery.boot.max(recovery.last_index).max(sequence);
            if highest > NUMBER_MAX / 2 {
                return;
            }
            goes_on(&disk, log, &recovery);
        }
        (Err(one), Err(two)) => assert_eq!(one, &two),
        (_, Err(error)) => panic!("verify found it sound, and it does not open: {error}"),
        (Err(error), _) => panic!("verify found damage, and it opens: {error}"),
    }
}

/// A directory of one segment with a sound superblock: [`directory`] with less to guess.
pub fn segment(bytes: &[u8]) {
    let Some((mode, content)) = bytes.split_first() else {
        return;
    };
    let facts = Facts {
        sequence: 3,
        boot: 1,
        segment_first: 1,
        segment_last: 1,
        ..Facts::default()
    };
    let mut input = vec![*mode];
    for (tag, content) in [(COPY_TAGS[0], facts.encode().as_slice()), (1, content)] {
        push_part(&mut input, tag, content);
    }
    directory(&input);
}

/// Lists all that a directory holds. A place is listed once, whatever stands there: so the list is no longer than the bytes.
pub fn inspect(disk: &SimDisk) {
    let Ok(inspection) = Inspection::open_with(disk.clone(), dir()) else {
        return;
    };
    let bytes: usize = disk.files().iter().map(|file| length(disk, file)).sum();
    let mut items = 0;
    let flow = inspection.dump(|_| {
        items += 1;
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(flow, Ok(ControlFlow::Continue(()))), "{flow:?}");
    assert!(items <= bytes / 8 + 8, "{items} items of {bytes} bytes");
}

/// Everything is read only: for a test that counts what is allocated meanwhile.
pub fn verify(disk: &SimDisk) {
    if let Ok(inspection) = Inspection::open_with(disk.clone(), dir()) {
        let _ = inspection.verify();
    }
}

/// Where an image's files are.
#[must_use]
pub fn dir() -> &'static Path {
    Path::new("/log")
}

/// The parts of an image that are copies of the superblock; other parts are the segments of these numbers.
pub const COPY_TAGS: [u8; 2] = [0, 255];

/// Appends a part to an image: its tag, its length in two bytes, its content (at most 65535 bytes).
pub fn push_part(image: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let content = content.get(..usize::from(u16::MAX)).unwrap_or(content);
    image.push(tag);
    image.extend_from_slice(&(content.len() as u16).to_le_bytes());
    image.extend_from_slice(content);
}

/// A disk with the files that the input describes: what to put right (see [`SEAL_BLOCKS`]), then parts as [`push_part`]
/// makes them. Zeros fill the superblock up to its size, and segments up to [`SEGMENT_BYTES`].
///
/// # Panics
/// Never: the simulated disk has room.
#[must_use]
pub fn image(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    let (mode, mut rest) = bytes
        .split_first()
        .map_or((0, bytes), |(&mode, rest)| (mode, rest));
    let mut superblock: Option<Vec<u8>> = None;
    let mut segments: Vec<(u8, Vec<u8>)> = Vec::new();
    while let Some((&[tag, low, high], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (content, next) = behind.split_at(len);
        rest = next;
        if let Some(copy) = COPY_TAGS.iter().position(|&copy| copy == tag) {
            let at = copy * COPY_DISTANCE as usize;
            let block = match mode & SEAL_BLOCKS {
                0 => content.to_vec(),
                _ => sealed_block(content, MAGIC),
            };
            let file = superblock.get_or_insert_with(|| vec![0; 2 * COPY_DISTANCE as usize]);
            let place = file.iter_mut().skip(at);
            place.zip(block).for_each(|(to, from)| *to = from);
        } else {
            let mut content = content.to_vec();
            content.resize(len.max(SEGMENT_BYTES), 0);
            segments.push((tag, content));
        }
    }
    let identity = superblock
        .as_ref()
        .and_then(|file| Facts::decode(file.get(..COPY_BYTES)?).ok())
        .map_or(0, |facts| identity_crc(&facts.identity));
    segments.sort_by_key(|(tag, _)| *tag);
    let mut chain = 0;
    for (number, content) in &mut segments {
        seal_segment(content, mode, u64::from(*number), identity, &mut chain);
    }
    let files = superblock
        .into_iter()
        .map(|file| (SUPERBLOCK.to_owned(), file));
    let segments = segments
        .into_iter()
        .map(|(number, content)| (crate::segment::segment_name(number.into()), content));
    let write = || -> std::io::Result<()> {
        disk.create_dir(dir())?;
        for (name, content) in files.chain(segments) {
            let file = disk.create(&dir().join(name))?;
            file.write_all_at(&content, 0)?;
            file.sync_all()?;
        }
        disk.sync_dir(dir())
    };
    write().unwrap_or_else(|error| unreachable!("nothing is planned to fail: {error}"));
    disk
}

fn length(disk: &SimDisk, file: &Path) -> usize {
    disk.open_read(file)
        .and_then(|file| file.len())
        .map_or(0, |len| len as usize)
}

fn options(identity: Vec<u8>) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES as u64,
        background: false,
        ..Options::new(identity)
    }
}

fn open(disk: &SimDisk) -> Result<(Log<SimDisk>, Recovery), String> {
    let identity = peek_identity_with(disk, dir()).map_err(|error| error.to_string())?;
    Log::open_with(disk.clone(), dir(), options(identity.unwrap_or_default()))
        .map_err(|error| error.to_string())
}

/// What opens can be read and written, and opens again with what was in it.
fn goes_on(disk: &SimDisk, mut log: Log<SimDisk>, recovery: &Recovery) {
    let read_all = |log: &Log<SimDisk>| {
        let (reader, mut next) = (log.reader(), log.first_index());
        let mut read = Vec::new();
        while next <= log.last_index() {
            let records = reader.read(next, 4096);
            let records =
                records.unwrap_or_else(|error| panic!("opened and not readable: {error}"));
            next += records.len() as u64;
            read.extend(records);
        }
        read
    };
    let mut before = read_all(&log);
    let term = before
        .last()
        .map_or(recovery.term_before, |record| record.term);
    let record = Record {
        index: log.last_index().saturating_add(1),
        term: term.max(1),
        kind: 1,
        payload: b"one more",
    };
    // Where there is no next index there is nothing to add.
    if log.commit(Batch::new().append(record)).is_ok() {
        before.extend(log.reader().read(record.index, 0).unwrap_or_default());
    }
    let metadata = log.metadata().map(<[u8]>::to_vec);
    drop(log);
    let (log, again) = open(disk).unwrap_or_else(|error| panic!("it opened once: {error}"));
    assert!(again.boot > recovery.boot && again.cut.is_none());
    assert_eq!(log.metadata().map(<[u8]>::to_vec), metadata);
    assert_eq!(read_all(&log), before);
}

fn sealed_block(bytes: &[u8], magic: &[u8; 8]) -> Vec<u8> {
    let mut block = bytes.to_vec();
    block.resize(COPY_BYTES, 0);
    seal(&mut block, magic);
    block
}

fn seal(block: &mut [u8], magic: &[u8; 8]) {
    put(block, 0, magic);
    put(block, 8, &VERSION.to_le_bytes());
    seal_block(block);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Puts right what `mode` says; the chain goes on from segment to segment.
fn seal_segment(content: &mut [u8], mode: u8, number: u64, identity: u32, chain: &mut u32) {
    if mode & SEAL_FACTS != 0 {
        put(content, 16, &number.to_le_bytes());
        put(content, 32, &(content.len() as u32).to_le_bytes());
        put(content, 40, &identity.to_le_bytes());
    }
    if mode & SEAL_BLOCKS != 0 {
        seal(content, SEGMENT_MAGIC);
    }
    let block = content.get(..COPY_BYTES).unwrap_or_default();
    let Ok(header) = SegmentHeader::decode(block) else {
        return;
    };
    let mut offset = HEADER_BYTES as usize;
    while mode & SEAL_RECORDS != 0
        && let Some(record) = content.get_mut(offset..)
        && record.get(16).is_some_and(|&kind| kind != 0)
    {
        if mode & SEAL_CHAIN != 0 {
            put(record, 12, &chain.to_le_bytes());
        }
        let seed = record_seed(header.salt(), offset as u32);
        let Some((crc, span)) = seal_record(record, seed) else {
            break;
        };
        *chain = crc;
        offset += span;
    }
}

/// Gives a record the checksums that fit; its own and how far the next is. The header's alone if its body is not there.
fn seal_record(bytes: &mut [u8], seed: u32) -> Option<(u32, usize)> {
    let length = Fields(bytes).u32(8)? as usize;
    let crc = crc32c::crc32c_append(seed, bytes.get(COVERED)?);
    put(bytes, 0, &crc.to_le_bytes());
    let end = RECORD_HEADER_BYTES.checked_add(length)?;
    let body_crc = crc32c::crc32c_append(crc, bytes.get(RECORD_HEADER_BYTES..end)?);
    put(bytes, 4, &body_crc.to_le_bytes());
    Some((crc, aligned(end as u64) as usize))
}
