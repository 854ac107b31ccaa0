//! The superblock: who this log is, which boot this is, and which segments must exist.
//!
//! One file, two copies 4096 bytes apart, written in turn and in place: a crash tears at most the copy being written, no
//! room is needed (so a full disk can still be purged), and a rotation costs one sync here. Each copy is one sector.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Damage, Failure, OpenError};
use crate::files::{FileHandle, Files};
use crate::format::{BadBlock, NUMBER_MAX, VERSION, checked_block, seal_block};
use crate::mutants::{Mutant, mutant};
use crate::options::IDENTITY_BYTES_MAX;
use crate::position::Position;

pub(crate) const SUPERBLOCK: &str = "superblock";
/// The superblock while it is made, under a name that does not count.
pub(crate) const SUPERBLOCK_NEW: &str = "superblock.new";
pub(crate) const MAGIC: &[u8; 8] = b"RLOG-SUP";
pub(crate) const COPY_BYTES: usize = 512;
pub(crate) const COPY_DISTANCE: u64 = 4096;

/// What one copy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The higher one of two copies counts.
    pub(crate) sequence: u64,
    pub(crate) boot: u64,
    /// Segments below this are purged.
    pub(crate) segment_first: u64,
    /// Segments above this were never in use; 0 if none was.
    pub(crate) segment_last: u64,
    /// Everything before this is durable; the end of the log, if nothing was written since it was settled or closed.
    pub(crate) watermark: Position,
    pub(crate) identity: Vec<u8>,
}

impl Facts {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(COPY_BYTES);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        for number in [
            self.sequence,
            self.boot,
            self.segment_first,
            self.segment_last,
            self.watermark.segment,
        ] {
            block.extend_from_slice(&number.to_le_bytes());
        }
        block.extend_from_slice(&self.watermark.offset.to_le_bytes());
        block.extend_from_slice(&(self.identity.len() as u32).to_le_bytes());
        block.extend_from_slice(&self.identity);
        block.resize(COPY_BYTES, 0);
        seal_block(&mut block);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Facts, BadBlock> {
        let fields = checked_block(block, MAGIC, VERSION)?;
        let number = |at| fields.u64(at).filter(|&number| number <= NUMBER_MAX);
        let decode = || {
            let identity_bytes = fields.u32(60)? as usize;
            if identity_bytes > IDENTITY_BYTES_MAX {
                return None;
            }
            let (first, last) = (number(32)?, number(40)?);
            let watermark = Position {
                segment: number(48)?,
                offset: fields.u32(56)?,
            };
            // What verifies and cannot be was never written by a log.
            if !(1..=last.max(1)).contains(&first) || watermark.segment > last {
                return None;
            }
            Some(Facts {
                sequence: number(16)?,
                boot: number(24)?,
                segment_first: first,
                segment_last: last,
                watermark,
                identity: fields.bytes(64, identity_bytes)?.to_vec(),
            })
        };
        decode().ok_or(BadBlock::Damaged)
    }
}

/// The open superblock.
pub(crate) struct Superblock<F: Files> {
    file: F::Handle,
    path: PathBuf,
    pub(crate) facts: Facts,
    /// Whether one copy did not verify: then the other may be one write old.
    pub(crate) one_copy: bool,
}

impl<F: Files> Superblock<F> {
    /// Makes the superblock of a new log, durable together with its name.
    pub(crate) fn create(files: &F, dir: &Path, facts: Facts) -> Result<Self, Failure> {
        let temporary = dir.join(SUPERBLOCK_NEW);
        let path = dir.join(SUPERBLOCK);
        let mut bytes = Facts {
            sequence: facts.sequence + 1,
            ..facts.clone()
        }
        .encode();
        bytes.resize(COPY_DISTANCE as usize, 0);
        bytes.extend_from_slice(&facts.encode());
        bytes.resize(2 * COPY_DISTANCE as usize, 0);
        let make = || -> io::Result<F::Handle> {
            let file = files.create(&temporary)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            files.rename(&temporary, &path)?;
            files.sync_dir(dir)?;
            Ok(file)
        };
        let file =
            make().map_err(|source| Failure::new("create the superblock", &temporary, source))?;
        Ok(Superblock {
            file,
            path,
            facts: Facts {
                sequence: facts.sequence + 1,
                ..facts
            },
            one_copy: false,
        })
    }

    /// Reads the newer copy.
    pub(crate) fn open(files: &F, dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(SUPERBLOCK);
        let failed = |source| Failure::new("read the superblock", &path, source);
        let file = files.open(&path).map_err(failed)?;
        let mut newest: Option<Facts> = None;
        let mut bad = 0;
        for copy in 0..2 {
            let mut block = vec![0; COPY_BYTES];
            let filled = read_full(&file, &mut block, copy * COPY_DISTANCE).map_err(failed)?;
            match Facts::decode(block.get(..filled).unwrap_or_default()) {
                Ok(facts)
                    if newest
                        .as_ref()
                        .is_none_or(|other| other.sequence < facts.sequence) =>
                {
                    newest = Some(facts);
                }
                Ok(_) => {}
                Err(BadBlock::Version(found)) => {
                    return Err(OpenError::UnknownVersion {
                        file: path,
                        found,
                        known: VERSION,
                    });
                }
                Err(BadBlock::Damaged) => bad += 1,
            }
        }
        let facts = newest
            .ok_or_else(|| OpenError::corrupt(&path, 0, None, Damage::SuperblockUnreadable))?;
        Ok(Superblock {
            file,
            path,
            facts,
            one_copy: bad > 0,
        })
    }

    /// Replaces the older copy, durably.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut Facts)) -> Result<(), Failure> {
        let mut facts = self.facts.clone();
        change(&mut facts);
        facts.sequence += 1;
        self.put(&facts)?;
        self.facts = facts;
        Ok(())
    }

    /// Writes the newer copy once more, durably. A former process may have failed to sync it: then it is read, and not durable,
    /// and with the next write to the other one, a crash could leave neither.
    pub(crate) fn confirm(&self) -> Result<(), Failure> {
        self.put(&self.facts)
    }

    fn put(&self, facts: &Facts) -> Result<(), Failure> {
        // The sequence decides the place: odd ones first, even ones behind. So the newest copy is never overwritten.
        let offset = if facts.sequence % 2 == 1 {
            0
        } else {
            COPY_DISTANCE
        };
        self.file
            .write_all_at(&facts.encode(), offset)
            .and_then(|()| {
                if mutant(Mutant::SkipsSuperblockSync) {
                    return Ok(());
                }
                self.file.sync_data()
            })
            .map_err(|source| Failure::new("write the superblock", &self.path, source))
    }
}

/// Reads until the buffer is full or the file ends; the number of bytes read.
pub(crate) fn read_full<H: FileHandle>(file: &H, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..)
        && !rest.is_empty()
    {
        match file.read_at(rest, offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-L22: the bytes of version 1, as they stand in `docs/log-format.md`.
    #[test]
    fn golden_superblock() {
        let facts = Facts {
            sequence: 9,
            boot: 4,
            segment_first: 2,
            segment_last: 3,
            watermark: Position {
                segment: 3,
                offset: 1024,
            },
            identity: b"me".to_vec(),
        };
        let block = facts.encode();
        let hex: String = block[..72]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, GOLDEN);
        assert!(block.len() == 512 && block[66..].iter().all(|&byte| byte == 0));
        assert_eq!(Facts::decode(&block), Ok(facts));
    }

    const GOLDEN: &str = "524c4f472d5355500100000017929fb20900000000000000040000000000000002000000000000000300000000000000\
        030000000000000000040000020000006d65000000000000";

    /// What no log ever wrote does not verify, whatever its checksum says.
    #[test]
    fn a_copy_that_contradicts_itself_does_not_verify() {
        let sound = Facts {
            sequence: 9,
            boot: 4,
            segment_first: 2,
            segment_last: 3,
            watermark: Position {
                segment: 3,
                offset: 1024,
            },
            identity: Vec::new(),
        };
        assert_eq!(Facts::decode(&sound.encode()), Ok(sound.clone()));
        let changes: [fn(&mut Facts); 7] = [
            |facts| facts.sequence = u64::MAX,
            |facts| facts.boot = NUMBER_MAX + 1,
            |facts| facts.segment_last = u64::MAX,
            |facts| facts.segment_first = 0,
            |facts| facts.segment_first = 4,
            |facts| facts.segment_last = 0,
            |facts| facts.watermark.segment = 4,
        ];
        for change in changes {
            let mut facts = sound.clone();
            change(&mut facts);
            assert_eq!(
                Facts::decode(&facts.encode()),
                Err(BadBlock::Damaged),
                "{facts:?}"
            );
        }
    }
}
