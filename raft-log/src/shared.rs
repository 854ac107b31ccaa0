//! What the log and its readers share: the index of what is durable, the segments in use, and open files. The lock is never held across IO.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::files::Files;
use crate::index::Index;
use crate::open_files::{Known, OpenFiles};
use crate::tail::Tail;

pub(crate) struct View {
    pub(crate) index: Index,
    pub(crate) segments: BTreeMap<u64, Arc<Known>>,
    pub(crate) tail: Tail,
}

pub(crate) struct Shared<F: Files> {
    pub(crate) dir: PathBuf,
    pub(crate) files: OpenFiles<F>,
    pub(crate) tally: Tally,
    view: RwLock<View>,
}

impl<F: Files> Shared<F> {
    pub(crate) fn new(files: OpenFiles<F>, dir: PathBuf, view: View) -> Self {
        Shared {
            dir,
            files,
            tally: Tally::default(),
            view: RwLock::new(view),
        }
    }

    /// A panic under the lock is possible only in our own assertions about the index, between whole updates.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) commits: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) rotations: AtomicU64,
}

impl Tally {
    pub(crate) fn counters(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            commits: load(&self.commits),
            records: load(&self.records),
            bytes: load(&self.bytes),
            syncs: load(&self.syncs),
            rotations: load(&self.rotations),
        }
    }
}

/// Figures since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Batches made durable.
    pub commits: u64,
    /// Records appended by them.
    pub records: u64,
    /// Bytes written by them, headers included.
    pub bytes: u64,
    /// Syncs of segments and superblock by the writing side; those that make segments ready are not counted.
    pub syncs: u64,
    /// Switches to another segment.
    pub rotations: u64,
}
