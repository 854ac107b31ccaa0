//! Which items of a dump are shown: all, or the entries of a range with what cut, purged or replaced any of them, and
//! whatever does not verify.

use std::path::Path;

use raft_log::inspect::{Content, Gap, Item, Standing};

use super::items::{self, Owner};
use super::line::Line;
use super::stored;
use crate::{EXIT_USAGE, Failure};

/// What was asked for, and what has to be remembered of the items before to judge the next.
pub(crate) struct Chosen {
    from: Option<u64>,
    to: Option<u64>,
    owner: Owner,
    segment: Segment,
}

/// What is known of the segment that is being listed.
#[derive(Default)]
struct Segment {
    /// Whether it counts, as far as the superblock says.
    counts: bool,
    /// Whether bytes behind its end may be those of an earlier life of the file.
    recycled: bool,
    /// The first gap behind the last record. Whether it is a hole, only a record behind it tells.
    hole: Option<Gap>,
}

impl Chosen {
    pub(crate) fn new(from: Option<u64>, to: Option<u64>) -> Result<Self, Failure> {
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Failure::new(
                EXIT_USAGE,
                format!("--from {from} is higher than --to {to}: no entry is in this range"),
            ));
        }
        Ok(Self {
            from,
            to,
            owner: Owner::Node,
            segment: Segment::default(),
        })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// What is shown of an item, in this order: maybe a hole before it, and itself.
    pub(crate) fn lines(&mut self, item: &Item<'_>) -> Vec<Line> {
        // The superblock comes first.
        if let Item::Superblock(copy) = item
            && let Ok(facts) = &copy.content
            && copy.counts
            && stored::is_foreign(&facts.identity)
        {
            self.owner = Owner::Other;
            return vec![items::line(item, self.owner)];
        }
        if self.is_all() {
            return vec![items::line(item, self.owner)];
        }
        let mut lines = Vec::new();
        let shown = match item {
            Item::Record(record) => {
                let hole = self.segment.hole.take();
                if record.standing == Standing::Stray && self.segment.counts {
                    lines.extend(hole.map(|gap| items::line(&Item::Gap(gap), self.owner)));
                }
                self.is_wanted(&record.content)
            }
            Item::Gap(gap) => self.segment.take_gap(gap),
            Item::Superblock(copy) => copy.content.is_err(),
            Item::Segment(head) => {
                let counts = head.in_use != Some(false);
                let facts = head.content.as_ref().ok();
                self.segment = Segment {
                    counts,
                    recycled: facts.is_some_and(|facts| facts.recycled),
                    hole: None,
                };
                let whole = facts.is_some_and(|facts| u64::from(facts.size) == head.length);
                counts && !(head.belongs && whole)
            }
            // One that was never finished is left over from a crash, and goes with the next opening.
            Item::Snapshot(snapshot) => snapshot.content.is_err() && !is_temporary(&snapshot.file),
            _ => true,
        };
        if shown {
            lines.push(items::line(item, self.owner));
        }
        lines
    }

    fn is_wanted(&self, content: &Content<'_>) -> bool {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        match content {
            Content::Entry { index, .. } => (from..=to).contains(index),
            // What becomes of the entries of the range is told as well: without it, one that was replaced stands there twice.
            Content::Truncate { from: cut } => *cut <= to,
            Content::Purge { index, .. } => *index >= from,
            Content::Snapshot {
                snapshot: Some(id),
                drops,
            } => *drops || id.index >= from,
            Content::Checkpoint(None) | Content::Snapshot { snapshot: None, .. } => true,
            _ => false,
        }
    }
}

impl Segment {
    /// Whether a gap is shown at once: torn or damaged bytes are, where nothing else can stand.
    fn take_gap(&mut self, gap: &Gap) -> bool {
        let shown = self.counts && !self.recycled && gap.nonzero > 0;
        if !shown && self.hole.is_none() {
            self.hole = Some(gap.clone());
        }
        shown
    }
}

fn is_temporary(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "tmp")
}
