//! The seed in a restored directory: the state that the cluster begins with, until that cluster is formed.
//!
//! `raft-kv restore` makes the directory, whose identity says that it is a restored one, and then puts the seed into it, whole or not at
//! all. Guards: a restored directory never founds a cluster without its seed; and the seed stays until the log has marked the
//! snapshot that was made of it.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use raft_core::{Incarnation, LogId, NodeId, Raft};
use raft_log::{FileHandle, Files, Options, SnapshotEncoder, SnapshotReader, peek_identity_with};

use super::disk::{self, DirectoryError};
use super::formation::Founders;
use super::machine::{Image, StateMachine};
use super::snapshot::work;
use crate::wire::{self, Seed, SeedHead};

/// The seed's file. The log takes no notice of it.
const NAME: &str = "restore.seed";
/// While it is being written.
const UNFINISHED_NAME: &str = "restore.seed.part";
/// How much of it is gathered before it is written, or read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A seed that was read, and whose state a state machine holds.
pub(crate) struct Planted {
    pub(crate) seed: Seed,
    pub(crate) founders: Founders,
}

/// Makes a restored directory for node `id`: the state of `image`, after `last`, is what the cluster begins with. When this returns, all of it is
/// durable; a crash before leaves a directory that no node starts with.
///
/// # Errors
/// [`DirectoryError::NotNew`] for one that holds anything; what the disk says.
pub(crate) fn plant<F: Files>(
    files: &F,
    dir: &Path,
    (id, incarnation): (u64, Incarnation),
    options: Options,
    (head, index): (&SeedHead, u64),
    image: Image,
) -> Result<Seed, DirectoryError> {
    let known = peek_identity_with(files, dir).map_err(|source| DirectoryError::Open {
        dir: dir.to_path_buf(),
        source,
    })?;
    if known.is_some() {
        return Err(DirectoryError::NotNew {
            dir: dir.to_path_buf(),
        });
    }
    let identity = wire::DirectoryIdentity {
        node: NodeId(id),
        incarnation,
        restored: true,
    };
    // The log is held open, and so locked, until the seed is in its place.
    let directory = disk::open_as(files.clone(), dir, &identity, options)?;
    let last = LogId {
        index: raft_core::Index(index),
        term: Raft::FOUNDING.term,
    };
    let failed = |source| DirectoryError::Seed {
        dir: dir.to_path_buf(),
        source,
    };
    let file = write(files, dir, (head, last), image).map_err(failed)?;
    directory
        .log
        .close()
        .map_err(|error| failed(io::Error::other(error)))?;
    Ok(Seed {
        source: head.source,
        file,
    })
}

fn write<F: Files>(
    files: &F,
    dir: &Path,
    (head, last): (&SeedHead, LogId),
    image: Image,
) -> io::Result<wire::SnapshotFile> {
    let path = dir.join(UNFINISHED_NAME);
    let out = Appending {
        file: files.create(&path)?,
        offset: 0,
    };
    let out = io::BufWriter::with_capacity(BUFFER_BYTES, out);
    let encoder = SnapshotEncoder::new(last.index.0, last.term.0, out)?;
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, encoder);
    out.write_all(&wire::encode_seed_head(head))?;
    image.write_to(&mut out)?;
    let encoder = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    let (id, out) = encoder.finish()?;
    let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.file.sync_all()?;
    files.rename(&path, &dir.join(NAME))?;
    files.sync_dir(dir)?;
    Ok(work::file(id))
}

/// Reads the seed of a restored directory that belongs to no cluster yet into a state machine that has applied nothing. All of the file is
/// verified then.
///
/// # Errors
/// [`DirectoryError::Unfinished`] when there is none; [`DirectoryError::Seed`] when it cannot be read.
pub(crate) fn load<F: Files, S: StateMachine>(
    files: &F,
    dir: &Path,
    machine: &mut S,
) -> Result<Planted, DirectoryError> {
    let path = dir.join(NAME);
    let reader = match SnapshotReader::open_file(files, &path) {
        Ok(reader) => reader,
        Err(raft_log::SnapshotReadError::Missing { .. }) => {
            return Err(DirectoryError::Unfinished {
                dir: dir.to_path_buf(),
            });
        }
        Err(error) => return Err(unreadable(dir, io::Error::other(error))),
    };
    read(reader, machine).map_err(|source| unreadable(dir, source))
}

fn read<F: Files, S: StateMachine>(
    reader: SnapshotReader<F>,
    machine: &mut S,
) -> io::Result<Planted> {
    let file = work::file(reader.id());
    let mut reader = io::BufReader::with_capacity(BUFFER_BYTES, reader);
    let SeedHead {
        source_cluster: _,
        source,
        founders,
    } = wire::read_seed_head(&mut reader)?;
    machine.restore(file.last, &mut reader)?;
    let left = io::copy(&mut reader.take(1), &mut io::sink())?;
    if left > 0 || file.last.index <= source.last.index || file.last.term != Raft::FOUNDING.term {
        let what = "it does not hold what it says that it holds";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Planted {
        seed: Seed { source, file },
        founders: founders.into_iter().collect(),
    })
}

fn unreadable(dir: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Seed {
        dir: dir.to_path_buf(),
        source,
    }
}

/// Where the seed of a directory stands, if it holds one.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Removes the seed: the log has the snapshot that was made of it. One that is left goes with a later start.
pub(crate) fn remove<F: Files>(files: &F, dir: &Path) {
    match files.remove(&path(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path(dir).display(), %error, "the seed of the restored cluster is of no use any more, and cannot be removed");
        }
        _ => {}
    }
}

/// Writes behind what was written.
struct Appending<H: FileHandle> {
    file: H,
    offset: u64,
}

impl<H: FileHandle> Write for Appending<H> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
