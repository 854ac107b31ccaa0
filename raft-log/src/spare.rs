//! Segment files without a segment, kept to become the next one: purged ones, and what an earlier process made ready.
//!
//! Invariant: the file of a spare has the size that new segments have, nobody has it open, and whatever number stands in its name
//! is not in use. So writing over it can harm no one.

use std::collections::VecDeque;

use crate::files::Files;
use crate::segment::Recipe;
use crate::superblock::Facts;

/// How many purged files are kept. A file is used for each that is filled, so this is for the time between purges: two keep a log
/// that is purged every segment or two from ever writing zeros again, and cost little beside the segments in use.
pub(crate) const SPARES_MAX: usize = 2;

/// The numbers in the names of the files that are kept.
#[derive(Debug, Default)]
pub(crate) struct Spares(VecDeque<u64>);

impl Spares {
    /// Keeps one more, if there is room for it.
    pub(crate) fn keep(&mut self, number: u64) -> bool {
        let room = self.0.len() < SPARES_MAX;
        if room {
            self.0.push_back(number);
        }
        room
    }

    /// Keeps a file that has the name of the next segment already. It does not count among the purged.
    pub(crate) fn keep_next(&mut self, number: u64) {
        self.0.push_front(number);
    }

    /// The file that becomes segment `number`. One that has this name already comes first: it would be in the way.
    pub(crate) fn take(&mut self, number: u64) -> Option<u64> {
        let nth = self.0.iter().position(|&spare| spare == number);
        let taken = self.0.remove(nth.unwrap_or(0));
        assert!(
            self.0.iter().all(|&spare| spare < number),
            "a spare has the name of a segment that was purged"
        );
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them; none is left.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = u64> {
        std::mem::take(&mut self.0).into_iter()
    }
}

/// Chooses among the files that an opening found beside the segments in use; `numbers` are those in all names, ascending. The
/// others, to be removed, are the second answer.
///
/// What is kept was filled to its size by some life before this boot: its header says so, for that is written last.
pub(crate) fn choose<F: Files>(
    recipe: &Recipe<F>,
    numbers: &[u64],
    facts: &Facts,
    size: u32,
) -> (Spares, Vec<u64>) {
    let in_use = facts.segment_first..=facts.segment_last;
    let next = facts.segment_last.saturating_add(1);
    let mut spares = Spares::default();
    let mut removed = Vec::new();
    // From the highest down, so that the one made ready is kept, and then those purged last.
    for &number in numbers.iter().rev() {
        if in_use.contains(&number) {
            continue;
        }
        let fits = number <= next && is_whole(recipe, number, size);
        // The one made ready does not count among the purged.
        if fits && number == next {
            spares.keep_next(number);
        } else if !fits || spares.0.iter().filter(|&&spare| spare < next).count() >= SPARES_MAX {
            removed.push(number);
        } else {
            spares.0.push_back(number);
        }
    }
    removed.reverse();
    (spares, removed)
}

/// Whether the file is a segment of this log, as long as it says and as new ones are, and from an earlier boot. Its name may
/// say another number than its header: a crash came between the renaming and the new header. One that cannot be read is not,
/// whatever the reason: nothing of the log is in it.
fn is_whole<F: Files>(recipe: &Recipe<F>, number: u64, size: u32) -> bool {
    recipe
        .open_any(number)
        .is_ok_and(|segment| segment.header.size == size && segment.header.epoch < recipe.epoch)
}
