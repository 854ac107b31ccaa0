//! The open files of segments that are read: a bounded number, however many segments there are. The lock is never held across IO.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::OpenError;
use crate::files::Files;
use crate::format::SegmentHeader;
use crate::segment::{Recipe, Segment};
use crate::superblock::Superblock;

/// How many segments stay open for readers. One file each, far below what a process may open by default (1024), and enough for
/// readers in many places at once: opening one anew costs little beside reading from it.
pub(crate) const OPEN_MAX: usize = 64;

/// A segment in use, whether its file is open or not. Whoever reads in it holds this until the end, and only then lets go of the
/// file: so a purge knows whether the file may be written over.
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
}

impl Known {
    pub(crate) fn of<F: Files>(segment: &Segment<F>) -> Arc<Known> {
        Arc::new(Known {
            path: segment.path.clone(),
            header: segment.header.clone(),
        })
    }
}

pub(crate) struct OpenFiles<F: Files> {
    recipe: Recipe<F>,
    open: Mutex<Open<F>>,
}

struct Open<F: Files> {
    /// Segments below are purged: their files are not kept open, for that would keep their room.
    first: u64,
    /// The one used last at the end.
    segments: VecDeque<Arc<Segment<F>>>,
}

impl<F: Files> OpenFiles<F> {
    pub(crate) fn new(recipe: Recipe<F>) -> Self {
        let open = Open {
            first: 0,
            segments: VecDeque::new(),
        };
        OpenFiles {
            recipe,
            open: Mutex::new(open),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open<F>> {
        // Nothing panics under the lock, and the list is whole between any two statements.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open segment.
    pub(crate) fn get(&self, known: &Known) -> Result<Arc<Segment<F>>, OpenError> {
        {
            let mut open = self.open();
            let is_it = |segment: &Arc<Segment<F>>| segment.header == known.header;
            if let Some(at) = open.segments.iter().position(is_it)
                && let Some(segment) = open.segments.remove(at)
            {
                open.segments.push_back(Arc::clone(&segment));
                return Ok(segment);
            }
        }
        let opened = match self.recipe.open_as(&known.header) {
            // This process has too many files open: those kept here are the first that it can do without.
            Err(OpenError::Io(failure)) if failure.is_passing() => {
                drop(std::mem::take(&mut self.open().segments));
                self.recipe.open_as(&known.header)
            }
            opened => opened,
        };
        let segment = Arc::new(opened?);
        self.keep(Arc::clone(&segment));
        Ok(segment)
    }

    /// Keeps a segment open, and closes the one that was not used for longest, if there are too many.
    pub(crate) fn keep(&self, segment: Arc<Segment<F>>) {
        let closed = {
            let mut open = self.open();
            if segment.header.number >= open.first {
                open.segments.push_back(segment);
            }
            let too_many = open.segments.len() > OPEN_MAX;
            too_many.then(|| open.segments.pop_front())
        };
        drop(closed);
    }

    /// Closes the segments below `first`, which are purged.
    pub(crate) fn close_below(&self, first: u64) {
        let mut closed = VecDeque::new();
        {
            let mut open = self.open();
            open.first = open.first.max(first);
            let all = std::mem::take(&mut open.segments);
            for segment in all {
                let list = match segment.header.number < first {
                    true => &mut closed,
                    false => &mut open.segments,
                };
                list.push_back(segment);
            }
        }
        drop(closed);
    }

    /// Whether the log has purged this segment by now: so says the superblock, before a file of a purged segment is touched. It is a
    /// later opening that did so, if the log that this is of still counts the segment as in use.
    pub(crate) fn is_purged(&self, known: &Known) -> Result<bool, OpenError> {
        let superblock = Superblock::open(&self.recipe.files, &self.recipe.dir)?;
        Ok(superblock.facts.segment_first > known.header.number)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::sim_disk::SimDisk;

    fn recipe(epoch: u64) -> Recipe<SimDisk> {
        Recipe {
            files: SimDisk::new(),
            dir: Path::new("/log").to_path_buf(),
            identity: b"test".as_slice().into(),
            epoch,
            payload_max: 100,
        }
    }

    fn make(recipe: &Recipe<SimDisk>, number: u64) -> Arc<Known> {
        let made = recipe.make(number, 4096, &AtomicBool::new(false));
        Known::of(&made.expect("there is room"))
    }

    /// A reader may still be about to open what is purged meanwhile; that it did must not keep the room.
    #[test]
    fn what_is_purged_is_not_kept_open() {
        let recipe = recipe(1);
        recipe.files.create_dir(&recipe.dir).expect("a new disk");
        let segments: Vec<_> = (1..=3).map(|number| make(&recipe, number)).collect();
        let files = OpenFiles::new(recipe);
        files.close_below(3);
        for known in &segments {
            files.get(known).expect("all of them are there");
        }
        let open = files.open();
        let kept: Vec<u64> = open
            .segments
            .iter()
            .map(|open| open.header.number)
            .collect();
        assert_eq!(kept, [3]);
    }

    /// Under the name of a segment stands one of the same number, of another life of the log: its records verify, and are not
    /// those that are wanted.
    #[test]
    fn a_namesake_is_not_taken_for_the_segment() {
        let mut recipe = recipe(1);
        recipe.files.create_dir(&recipe.dir).expect("a new disk");
        let known = make(&recipe, 1);
        let files = OpenFiles::new(recipe.clone());
        recipe.epoch = 2;
        make(&recipe, 1);
        assert!(matches!(files.get(&known), Err(OpenError::Corrupt { .. })));
    }
}
