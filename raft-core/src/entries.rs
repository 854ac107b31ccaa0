//! A run of entries that many hold at once: the log, the append to each peer, the job for the disk and the one to apply.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use crate::entry::Entry;

/// Entries, shared: they are made once, and a clone of them, or of a part of them, copies none and allocates nothing.
///
/// It is a slice wherever one is wanted. Going through it by value clones each entry, which copies no payload.
//
// As small as it can be, for the sake of the envelopes.
#[derive(Clone)]
pub struct Entries {
    all: Option<Arc<Memory>>,
    /// The part of `all` that this is.
    part: Part,
}

/// Where a part begins and ends. In one number, so that entries are two words on a machine of 64 bits, which are handed on in registers: three fields are
/// written to memory, and what is read back at once, in larger pieces, waits for that.
#[derive(Clone, Copy)]
struct Part(u64);

impl Part {
    const NONE: Self = Self::new(0, 0);

    const fn new(start: u32, end: u32) -> Self {
        Self((end as u64) << 32 | start as u64)
    }

    const fn start(self) -> u32 {
        self.0 as u32
    }

    const fn end(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Where entries lie. Mostly one comes alone, and then lies beside its count.
enum Memory {
    One(Entry),
    Many(Box<[Entry]>),
}

impl Memory {
    fn entries(&self) -> &[Entry] {
        match self {
            Self::One(entry) => core::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

impl Entries {
    /// None.
    pub const NONE: Self = Self {
        all: None,
        part: Part::NONE,
    };

    /// Without the first `count`.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (start, end) = (self.part.start(), self.part.end());
        self.part = Part::new(end.min(start.saturating_add(count)), end);
        self
    }

    /// The first `count`, or all, if there are fewer.
    #[must_use]
    pub fn take(mut self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (start, end) = (self.part.start(), self.part.end());
        self.part = Part::new(start, end.min(start.saturating_add(count)));
        self
    }

    /// Just this one.
    pub(crate) fn one(entry: Entry) -> Self {
        Self {
            all: Some(Arc::new(Memory::One(entry))),
            part: Part::new(0, 1),
        }
    }

    /// How many they are.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.part.end().saturating_sub(self.part.start()) as usize
    }

    fn of(mut entries: Vec<Entry>) -> Self {
        if entries.len() <= 1 {
            return entries.pop().map_or(Self::NONE, Self::one);
        }
        // So many would be more than 200 GB.
        let end = u32::try_from(entries.len()).expect("fewer than 2^32 entries");
        Self {
            all: Some(Arc::new(Memory::Many(entries.into_boxed_slice()))),
            part: Part::new(0, end),
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    #[inline]
    fn deref(&self) -> &[Entry] {
        let part = self.part.start() as usize..self.part.end() as usize;
        match &self.all {
            Some(all) => all.entries().get(part).unwrap_or_default(),
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
        Self::of(entries)
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
        let entry = self.0.first().cloned()?;
        let part = self.0.part;
        self.0.part = Part::new(part.start() + 1, part.end());
        Some(entry)
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
