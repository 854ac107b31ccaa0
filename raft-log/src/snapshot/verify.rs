//! Verifies a snapshot unit by unit (header, blocks, footer), in order: the one place that decides what is whole.

use std::io;
use std::path::{Path, PathBuf};

use super::SnapshotId;
use super::error::{SnapshotDamage, SnapshotReadError};
use super::format::{
    FOOTER_BYTES, Footer, HEADER_BYTES, Header, Layout, SNAPSHOT_VERSION, split_block,
};
use crate::error::Failure;
use crate::files::{FileHandle, Files};
use crate::format::BadBlock;
use crate::superblock::read_full;

/// How far the units of a file are verified.
#[derive(Debug)]
pub(crate) struct Verifier {
    path: PathBuf,
    id: SnapshotId,
    layout: Layout,
    offset: u64,
    /// The CRC of the header and of all payload so far.
    crc: u32,
}

impl Verifier {
    /// For a file of this length, which must be that of the snapshot.
    pub(crate) fn new(
        path: &Path,
        file_bytes: u64,
        id: SnapshotId,
    ) -> Result<Verifier, SnapshotReadError> {
        if id.bytes != file_bytes {
            let what = SnapshotDamage::Length {
                expected: id.bytes,
                found: file_bytes,
            };
            let offset = id.bytes.min(file_bytes);
            return Err(SnapshotReadError::corrupt(path, offset, what));
        }
        Ok(Verifier {
            path: path.to_path_buf(),
            id,
            layout: layout(path, file_bytes)?,
            offset: 0,
            crc: 0,
        })
    }

    /// Where the next unit begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes that are not verified yet.
    pub(crate) fn rest(&self) -> u64 {
        self.id.bytes - self.offset
    }

    /// The length of the next unit; 0 if all are verified.
    pub(crate) fn unit_bytes(&self) -> usize {
        self.layout.unit_bytes(self.offset)
    }

    /// Verifies the next unit, given whole. Answers how many of its first bytes are payload; after an error nothing has
    /// changed.
    pub(crate) fn take(&mut self, unit: &[u8]) -> Result<usize, SnapshotReadError> {
        let payload = if self.offset == 0 {
            self.check_header(unit)?;
            self.crc = crc32c::crc32c(unit);
            0
        } else if self.offset < self.layout.footer() {
            let block = split_block(unit).map(|(payload, crc)| {
                let found = crc32c::crc32c_append(self.crc, payload);
                (payload.len(), crc, found)
            });
            match block {
                Some((payload, crc, found)) if crc == found => {
                    self.crc = crc;
                    payload
                }
                _ => return Err(self.corrupt(SnapshotDamage::Block)),
            }
        } else {
            let (footer, checksum) = Footer::encode(self.layout.payload_bytes(), self.crc);
            if unit != footer {
                return Err(self.corrupt(SnapshotDamage::Footer));
            }
            if checksum != self.id.checksum {
                return Err(self.corrupt(SnapshotDamage::Another { expected: self.id }));
            }
            0
        };
        self.offset += unit.len() as u64;
        Ok(payload)
    }

    fn check_header(&self, unit: &[u8]) -> Result<(), SnapshotReadError> {
        let header = read_header(&self.path, unit)?;
        if (header.index, header.term) != (self.id.index, self.id.term) {
            let what = SnapshotDamage::Another { expected: self.id };
            return Err(SnapshotReadError::corrupt(&self.path, 0, what));
        }
        Ok(())
    }

    fn corrupt(&self, what: SnapshotDamage) -> SnapshotReadError {
        SnapshotReadError::corrupt(&self.path, self.offset, what)
    }
}

fn layout(path: &Path, file_bytes: u64) -> Result<Layout, SnapshotReadError> {
    let found = file_bytes;
    let impossible = SnapshotDamage::LengthImpossible { found };
    Layout::of_file(file_bytes)
        .ok_or_else(|| SnapshotReadError::corrupt(path, file_bytes, impossible))
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<Header, SnapshotReadError> {
    Header::decode(bytes).map_err(|bad| match bad {
        BadBlock::Damaged => SnapshotReadError::corrupt(path, 0, SnapshotDamage::Header),
        BadBlock::Version(found) => SnapshotReadError::UnknownVersion {
            file: path.to_path_buf(),
            found,
            known: SNAPSHOT_VERSION,
        },
    })
}

fn open<F: Files>(files: &F, path: &Path) -> Result<F::Handle, SnapshotReadError> {
    match files.open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SnapshotReadError::Missing {
            file: path.to_path_buf(),
        }),
        result => Ok(result.map_err(|source| Failure::new("read the snapshot", path, source))?),
    }
}

/// Which snapshot a file says that it is, by its length, header and footer. Nothing but the header is verified: the
/// checksum covers the payload.
pub(crate) fn identify<F: Files>(files: &F, path: &Path) -> Result<SnapshotId, SnapshotReadError> {
    glance(&open(files, path)?, path)
}

fn glance<H: FileHandle>(file: &H, path: &Path) -> Result<SnapshotId, SnapshotReadError> {
    let failed = |source| Failure::new("read the snapshot", path, source);
    let bytes = file.len().map_err(failed)?;
    let layout = layout(path, bytes)?;
    let (mut header, mut footer) = ([0; HEADER_BYTES], [0; FOOTER_BYTES]);
    read_full(file, &mut header, 0).map_err(failed)?;
    let Header { index, term } = read_header(path, &header)?;
    read_full(file, &mut footer, layout.footer()).map_err(failed)?;
    match Footer::decode(&footer) {
        Some(footer) if footer.payload_bytes == layout.payload_bytes() => Ok(SnapshotId {
            index,
            term,
            bytes,
            checksum: footer.checksum,
        }),
        _ => Err(SnapshotReadError::corrupt(
            path,
            layout.footer(),
            SnapshotDamage::Footer,
        )),
    }
}

/// Opens the file of a snapshot, which must have the length, the header and the footer of this one: a cheap test, that finds
/// a file that is gone, cut, of another version, or another snapshot's. [`Verifier::take`] finds everything else.
pub(crate) fn open_glancing<F: Files>(
    files: &F,
    path: &Path,
    id: &SnapshotId,
) -> Result<(F::Handle, Verifier), SnapshotReadError> {
    let file = open(files, path)?;
    let length = file.len();
    let length = length.map_err(|source| Failure::new("read the snapshot", path, source))?;
    let verifier = Verifier::new(path, length, *id)?;
    let found = glance(&file, path)?;
    if found == *id {
        return Ok((file, verifier));
    }
    let same_place = (found.index, found.term) == (id.index, id.term);
    let offset = if same_place {
        verifier.layout.footer()
    } else {
        0
    };
    let what = SnapshotDamage::Another { expected: *id };
    Err(SnapshotReadError::corrupt(path, offset, what))
}
