//! The bytes of a snapshot file, as a stream: the one place that lays them out, whatever they are written to.

use std::io;

use super::error::SnapshotWriteError;
use super::format::{BLOCK_PAYLOAD_BYTES, FOOTER_BYTES, Footer, HEADER_BYTES, Header};
use super::{SnapshotId, is_place};

/// How far a file is laid out. Where its bytes go says the `push` of each call, at most a block at once.
#[derive(Debug)]
pub(super) struct Encoding {
    header: Header,
    /// The CRC of the header and all payload so far.
    crc: u32,
    payload_bytes: u64,
    file_bytes: u64,
    /// How much payload is in the block that is not full yet.
    block_bytes: usize,
}

impl Encoding {
    /// Begins with the header.
    pub(super) fn begin<E>(
        index: u64,
        term: u64,
        push: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let header = Header { index, term };
        let bytes = header.encode();
        push(&bytes)?;
        Ok(Encoding {
            header,
            crc: crc32c::crc32c(&bytes),
            payload_bytes: 0,
            file_bytes: HEADER_BYTES as u64,
            block_bytes: 0,
        })
    }

    /// Goes on with payload.
    pub(super) fn append<E>(
        &mut self,
        mut payload: &[u8],
        mut push: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !payload.is_empty() {
            let len = payload.len().min(BLOCK_PAYLOAD_BYTES - self.block_bytes);
            let (part, rest) = payload.split_at(len);
            self.crc = crc32c::crc32c_append(self.crc, part);
            push(part)?;
            self.payload_bytes += len as u64;
            self.file_bytes += len as u64;
            self.block_bytes += len;
            if self.block_bytes == BLOCK_PAYLOAD_BYTES {
                self.close_block(&mut push)?;
            }
            payload = rest;
        }
        Ok(())
    }

    /// Ends with the footer: which snapshot it is.
    pub(super) fn finish<E>(
        mut self,
        mut push: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<SnapshotId, E> {
        if self.block_bytes > 0 {
            self.close_block(&mut push)?;
        }
        let (footer, checksum) = Footer::encode(self.payload_bytes, self.crc);
        push(&footer)?;
        Ok(SnapshotId {
            index: self.header.index,
            term: self.header.term,
            bytes: self.file_bytes + FOOTER_BYTES as u64,
            checksum,
        })
    }

    /// Puts the CRC behind a block.
    fn close_block<E>(&mut self, push: impl FnOnce(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let crc = self.crc.to_le_bytes();
        push(&crc)?;
        self.file_bytes += crc.len() as u64;
        self.block_bytes = 0;
        Ok(())
    }
}

/// Takes the payload of a snapshot, as [`io::Write`], and gives the bytes of its file to another writer: for a file that no log marks, such as
/// a backup. They are the bytes that [`SnapshotWriter`](super::SnapshotWriter) puts into a log's directory.
///
/// Its writes are small ones, of a block at most: give it a buffered writer. `flush` flushes that. Making the file durable is the
/// caller's part. [`SnapshotReader::open_file`](super::SnapshotReader::open_file) reads it back.
#[derive(Debug)]
pub struct SnapshotEncoder<W: io::Write> {
    encoding: Encoding,
    out: W,
}

impl<W: io::Write> SnapshotEncoder<W> {
    /// Begins a snapshot that stands for all records up to `index`, whose term is `term`.
    ///
    /// # Errors
    /// What the writer says; [`io::ErrorKind::Other`] with [`SnapshotWriteError::Invalid`] for a place that no snapshot can have.
    pub fn new(index: u64, term: u64, mut out: W) -> io::Result<Self> {
        if !is_place(index, term) {
            return Err(SnapshotWriteError::Invalid { index, term }.into());
        }
        let encoding = Encoding::begin(index, term, |bytes| out.write_all(bytes))?;
        Ok(SnapshotEncoder { encoding, out })
    }

    /// Ends the payload, and gives back the writer, which has all of the file then.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(self) -> io::Result<(SnapshotId, W)> {
        let SnapshotEncoder { encoding, mut out } = self;
        let id = encoding.finish(|bytes| out.write_all(bytes))?;
        Ok((id, out))
    }
}

impl<W: io::Write> io::Write for SnapshotEncoder<W> {
    fn write(&mut self, payload: &[u8]) -> io::Result<usize> {
        let out = &mut self.out;
        self.encoding
            .append(payload, |bytes| out.write_all(bytes))?;
        Ok(payload.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
