//! A run of entries that many hold at once: the log, the append to each peer, the job for the disk and the one to apply.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, Range};

use crate::entry::Entry;

/// Entries, shared: they are made once, and a clone of them, or of a part of them, copies none and allocates nothing.
///
/// It is a slice wherever one is wanted. Going through it by value clones each entry, which copies no payload.
#[derive(Clone)]
pub struct Entries {
    all: Option<Arc<[Entry]>>,
    /// The part of `all` that this is.
    range: Range<usize>,
}

impl Entries {
    /// None.
    pub const NONE: Self = Self {
        all: None,
        range: 0..0,
    };

    /// Without the first `count`.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        self.range.start = self.range.end.min(self.range.start.saturating_add(count));
        self
    }

    /// The first `count`, or all, if there are fewer.
    #[must_use]
    pub fn take(mut self, count: usize) -> Self {
        self.range.end = self.range.end.min(self.range.start.saturating_add(count));
        self
    }

    fn of(all: Arc<[Entry]>) -> Self {
        let range = 0..all.len();
        Self {
            all: (!all.is_empty()).then_some(all),
            range,
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        match &self.all {
            Some(all) => all.get(self.range.clone()).unwrap_or_default(),
            None => &[],
        }
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        Self::of(entries.into())
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self::of(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Entries {
    type Item = Entry;
    type IntoIter = EntriesIntoIter;

    fn into_iter(self) -> EntriesIntoIter {
        EntriesIntoIter(self)
    }
}

/// What goes through [`Entries`] by value.
#[derive(Clone, Debug)]
pub struct EntriesIntoIter(Entries);

impl Iterator for EntriesIntoIter {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.0.first().cloned();
        self.0.range.start += usize::from(entry.is_some());
        entry
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for EntriesIntoIter {}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl core::hash::Hash for Entries {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
