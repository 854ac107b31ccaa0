//! The two images of a file, and how a write gets into them.

use std::sync::Arc;

use super::SECTOR_BYTES;

/// A file: what a reader sees, and what is durable. Forks share the bytes until one of them writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    /// The durable length; bytes beyond it are durable too, but not part of the file after a power loss.
    pub(super) durable_len: u64,
}

impl Inode {
    /// What is durable is all there is.
    pub(super) fn forget_pending(&mut self) {
        // Bytes that are not durable read as zeros; bytes beyond the durable length are gone.
        if self.durable.len() as u64 != self.durable_len {
            Arc::make_mut(&mut self.durable).resize(self.durable_len as usize, 0);
        }
        self.live = Arc::clone(&self.durable);
    }

    /// A reader sees what is durable; what is pending must be put on top.
    pub(super) fn forget_clean(&mut self) {
        self.live = Arc::clone(&self.durable);
        if self.live.len() as u64 != self.durable_len {
            Arc::make_mut(&mut self.live).resize(self.durable_len as usize, 0);
        }
    }

    /// What a reader sees is durable.
    pub(super) fn make_durable(&mut self) {
        self.durable = Arc::clone(&self.live);
        self.durable_len = self.live.len() as u64;
    }
}

/// Puts bytes into an image, which grows if it must.
pub(super) fn overwrite(image: &mut Arc<Vec<u8>>, bytes: &[u8], offset: u64) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    let image = Arc::make_mut(image);
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
}

/// The parts of a write that are within one sector each, with their places.
pub(super) fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = (SECTOR_BYTES - at as usize % SECTOR_BYTES).min(rest.len());
        let (sector, behind) = rest.split_at(len);
        let place = at;
        rest = behind;
        at += len as u64;
        Some((place, sector))
    })
}

/// How many sectors a write touches.
pub(super) fn sector_count(offset: u64, bytes: usize) -> usize {
    (offset as usize % SECTOR_BYTES + bytes).div_ceil(SECTOR_BYTES)
}
