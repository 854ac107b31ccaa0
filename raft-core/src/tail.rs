//! The newest entries of the log, in memory: contiguous, and bounded by what [`Tail::trim`] is told.
//!
//! They are kept in pieces that are shared, so that an append to each peer, the job for the disk and the one to apply are made of the
//! same memory. What a node appends entry by entry becomes one piece when it is asked for first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use crate::entries::Entries;
use crate::entry::Entry;
use crate::types::Index;

/// What a node appends itself is closed to a piece of at most so many bytes, or one entry: what is trimmed is given back to the
/// allocator piece by piece, and so is late by at most this. As large as an append is by default, so that those are made of one piece each.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// So many of the newest pieces are looked at one by one.
const NEAR: usize = 8;

/// Entries that came together, at least one.
#[derive(Clone)]
struct Piece {
    first: Index,
    entries: Entries,
    bytes: usize,
}

/// The entries.
#[derive(Clone, Default)]
pub(crate) struct Tail {
    pieces: VecDeque<Piece>,
    /// Behind the pieces: what is to be the next one.
    open: Vec<Entry>,
    open_bytes: usize,
    /// Of all together, as flow control counts them.
    bytes: usize,
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::len_bytes).sum()
}

impl Piece {
    /// How many of its entries lie before `index`.
    fn before(&self, index: Index) -> usize {
        let count = usize::try_from(index.0.saturating_sub(self.first.0));
        count.map_or(self.entries.count(), |count| {
            count.min(self.entries.count())
        })
    }

    /// The index behind its last entry.
    fn end(&self) -> Index {
        Index(self.first.0 + self.entries.count() as u64)
    }

    /// Whether it begins at `from`, and no part of it lies behind `to` or beyond `bytes_max`.
    #[inline]
    fn fits(&self, from: Index, to: Index, bytes_max: usize) -> bool {
        self.first == from && self.end().0 <= to.0 + 1 && self.bytes <= bytes_max
    }

    /// Lets go of its first `count` entries; how many bytes they were.
    fn skip(&mut self, count: usize) -> usize {
        let gone = bytes_of(self.entries.get(..count).unwrap_or_default());
        self.first = Index(self.first.0 + count as u64);
        self.entries = core::mem::take(&mut self.entries).skip(count);
        self.bytes -= gone;
        gone
    }
}

impl Tail {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds an entry right behind the last.
    pub(crate) fn push(&mut self, entry: Entry) {
        let bytes = entry.len_bytes();
        if self.open_bytes + bytes > PIECE_BYTES_MAX {
            self.close();
        }
        self.bytes += bytes;
        self.open_bytes += bytes;
        self.open.push(entry);
    }

    /// Adds entries right behind the last, as a piece of its own.
    pub(crate) fn extend(&mut self, entries: Entries) {
        self.close();
        let Some(first) = entries.first() else {
            return;
        };
        let (first, bytes) = (first.id.index, bytes_of(&entries));
        self.bytes += bytes;
        self.pieces.push_back(Piece {
            first,
            entries,
            bytes,
        });
    }

    /// Makes a piece of what came entry by entry.
    #[inline]
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.close_open();
        }
    }

    #[inline(never)]
    fn close_open(&mut self) {
        let Some(first) = self.open.first().map(|first| first.id.index) else {
            return;
        };
        let alone = self.open.pop_if(|last| last.id.index == first);
        let entries = match alone {
            Some(entry) => Entries::one(entry),
            None => self.open.drain(..).collect(),
        };
        self.pieces.push_back(Piece {
            first,
            entries,
            bytes: core::mem::take(&mut self.open_bytes),
        });
    }

    /// The piece that holds `index`, if it is in memory.
    fn position(&self, index: Index) -> Option<usize> {
        // Mostly it is the newest, or one of those.
        let count = self.pieces.len();
        for at in (count.saturating_sub(NEAR)..count).rev() {
            let piece = self.pieces.get(at)?;
            if piece.first <= index {
                return (index < piece.end()).then_some(at);
            }
        }
        (self.pieces.partition_point(|piece| piece.first <= index)).checked_sub(1)
    }

    /// Entries from `from` up to `to`, as many as fit in `bytes_max` but at least one, and how many bytes they are; none when they
    /// are not in memory, or `from` is beyond `to`. What lies in one piece is not copied.
    #[inline]
    pub(crate) fn slice(
        &mut self,
        from: Index,
        to: Index,
        bytes_max: usize,
    ) -> Option<(Entries, usize)> {
        self.close();
        // Mostly it is the newest piece.
        let newest = self.pieces.back()?;
        if newest.fits(from, to, bytes_max) {
            return Some((newest.entries.clone(), newest.bytes));
        }
        self.slice_older(from, to, bytes_max)
    }

    #[inline(never)]
    fn slice_older(&self, from: Index, to: Index, bytes_max: usize) -> Option<(Entries, usize)> {
        // Or the one before: what a follower is told to be committed came one append earlier.
        let before = self.pieces.get(self.pieces.len().wrapping_sub(2));
        if let Some(before) = before.filter(|piece| piece.end() > to)
            && before.fits(from, to, bytes_max)
        {
            return Some((before.entries.clone(), before.bytes));
        }
        let made;
        let piece = match self.whole(from, to, bytes_max) {
            Some(piece) => piece,
            None => {
                made = self.put_together(from, to, bytes_max)?;
                &made
            }
        };
        Some((piece.entries.clone(), piece.bytes))
    }

    /// The piece that is all of what [`Tail::slice`] is asked for, if it is one of those before the newest, which was tried already.
    #[inline(never)]
    fn whole(&self, from: Index, to: Index, bytes_max: usize) -> Option<&Piece> {
        let at = self.position(from)?;
        let piece = self.pieces.get(at)?;
        if !piece.fits(from, to, bytes_max) {
            return None;
        }
        if piece.end() > to {
            return Some(piece);
        }
        let next = self.pieces.get(at + 1)?.entries.first()?;
        (piece.bytes + next.len_bytes() > bytes_max).then_some(piece)
    }

    /// What [`Tail::slice`] gives that is not one whole piece.
    #[inline(never)]
    fn put_together(&self, from: Index, to: Index, bytes_max: usize) -> Option<Piece> {
        let at = self.position(from).filter(|_| from <= to)?;
        let piece = self.pieces.get(at)?;
        let mut bytes = 0;
        let mut fit = |entry: &&Entry| {
            let sum = bytes + entry.len_bytes();
            let fits = entry.id.index <= to && (sum <= bytes_max || entry.id.index == from);
            bytes = if fits { sum } else { bytes };
            fits
        };
        let skip = piece.before(from);
        let count = piece.entries.iter().skip(skip).take_while(&mut fit).count();
        let part = piece.entries.clone().skip(skip).take(count);
        if skip + count < piece.entries.len() {
            return Some(Piece {
                first: from,
                entries: part,
                bytes,
            });
        }
        let behind = self.pieces.range(at + 1..).flat_map(|piece| &piece.entries);
        let mut behind = behind.take_while(&mut fit).cloned().peekable();
        let entries = match behind.peek() {
            None => part,
            Some(_) => part
                .into_iter()
                .chain(behind)
                .collect::<Vec<Entry>>()
                .into(),
        };
        Some(Piece {
            first: from,
            entries,
            bytes,
        })
    }

    /// The entry at `index`, if it is in memory.
    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        if let Some(at) = self.position(index) {
            let piece = self.pieces.get(at)?;
            return piece.entries.get(piece.before(index));
        }
        let nth = index.0.checked_sub(self.open.first()?.id.index.0)?;
        self.open.get(usize::try_from(nth).ok()?)
    }

    /// Lets go of `from` and all behind it.
    pub(crate) fn truncate(&mut self, from: Index) {
        self.close();
        while self.pieces.back().is_some_and(|piece| piece.first >= from) {
            self.bytes -= self.pieces.pop_back().map_or(0, |piece| piece.bytes);
        }
        if let Some(piece) = self.pieces.back_mut() {
            let kept = piece.before(from);
            let gone = bytes_of(piece.entries.get(kept..).unwrap_or_default());
            piece.entries = core::mem::take(&mut piece.entries).take(kept);
            piece.bytes -= gone;
            self.bytes -= gone;
        }
    }

    /// Lets go of everything up to `up_to`.
    pub(crate) fn cut_front(&mut self, up_to: Index) {
        self.trim(up_to, 0);
    }

    /// Lets go of the oldest entries, none above `up_to`, until the rest fits in `bytes_max`.
    pub(crate) fn trim(&mut self, up_to: Index, bytes_max: usize) {
        if self.bytes <= bytes_max {
            return;
        }
        self.close();
        while self.bytes > bytes_max
            && let Some(oldest) = self.pieces.front_mut()
            && oldest.first <= up_to
        {
            let none_stays = self.bytes - oldest.bytes >= bytes_max || oldest.entries.count() == 1;
            if none_stays && oldest.end() <= up_to.next() {
                self.bytes -= oldest.bytes;
                self.pieces.pop_front();
                continue;
            }
            let mut excess = self.bytes - bytes_max;
            let going = oldest.entries.iter().take_while(|entry| {
                let goes = excess > 0 && entry.id.index <= up_to;
                excess = excess.saturating_sub(entry.len_bytes());
                goes
            });
            let count = going.count();
            self.bytes -= oldest.skip(count);
            if !oldest.entries.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        (self.pieces.iter().flat_map(|piece| &piece.entries)).chain(&self.open)
    }
}

/// By what is in it, however it is divided.
impl PartialEq for Tail {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Tail {}

impl Hash for Tail {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use crate::types::LogId;
    use alloc::vec;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// An entry of 1 to 3 bytes.
    fn entry(index: u64) -> Entry {
        let bytes = Bytes::from(vec![index as u8; 1 + index as usize % 3]);
        Entry {
            id: LogId::new(index, 1),
            payload: Payload::Command(bytes),
        }
    }

    /// What is in one piece is handed out as it is, and what is not is put together.
    #[test]
    fn a_piece_is_shared() {
        let mut tail = Tail::default();
        (1..=3).for_each(|index| tail.push(entry(index)));
        let (piece, _) = tail.slice(Index(1), Index(3), usize::MAX).unwrap();
        let (again, _) = tail.slice(Index(1), Index(9), usize::MAX).unwrap();
        let (part, _) = tail.slice(Index(2), Index(3), usize::MAX).unwrap();
        assert_eq!(piece.as_ptr(), again.as_ptr());
        assert_eq!(piece.get(1..).unwrap().as_ptr(), part.as_ptr());
        tail.push(entry(4));
        let (all, _) = tail.slice(Index(1), Index(4), usize::MAX).unwrap();
        assert_eq!(all.len(), 4);
        assert_ne!(all.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn a_piece_is_closed_when_it_is_large() {
        let mut tail = Tail::default();
        let large = |index| Entry {
            id: LogId::new(index, 1),
            payload: Payload::Command(Bytes::from(vec![0; PIECE_BYTES_MAX / 2])),
        };
        (1..=3).for_each(|index| tail.push(large(index)));
        assert_eq!(tail.pieces.len(), 2);
        let (first, bytes) = tail.slice(Index(1), Index(3), PIECE_BYTES_MAX).unwrap();
        assert_eq!((first.len(), bytes), (1, PIECE_BYTES_MAX / 2 + 32));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Extend(usize),
        Truncate(u64),
        CutFront(u64),
        Trim(u64, usize),
        Slice(u64, u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            4 => (0usize..20).prop_map(Step::Extend),
            1 => (1u64..60).prop_map(Step::Truncate),
            1 => (0u64..60).prop_map(Step::CutFront),
            2 => (0u64..60, 0usize..2000).prop_map(|(up_to, bytes)| Step::Trim(up_to, bytes)),
            6 => (0u64..60, 0u64..60, 0usize..1000).prop_map(|(from, to, bytes)| Step::Slice(from, to, bytes)),
        ]
    }

    proptest! {
        /// Against a plain list, however the entries came in.
        #[test]
        fn as_a_plain_list(steps in prop::collection::vec(step(), 0..60)) {
            let mut tail = Tail::default();
            let mut list: Vec<Entry> = Vec::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Push => {
                        list.push(entry(next));
                        tail.push(entry(next));
                        next += 1;
                    }
                    Step::Extend(count) => {
                        let more: Vec<Entry> = (next..).take(count).map(entry).collect();
                        list.extend(more.iter().cloned());
                        tail.extend(more.into());
                        next += count as u64;
                    }
                    Step::Truncate(from) => {
                        // What was let go in front cannot be truncated: the log would have a gap.
                        let from = from.max(list.first().map_or(next, |first| first.id.index.0));
                        list.retain(|entry| entry.id.index.0 < from);
                        tail.truncate(Index(from));
                        next = next.min(from);
                    }
                    Step::CutFront(up_to) => {
                        list.retain(|entry| entry.id.index.0 > up_to);
                        tail.cut_front(Index(up_to));
                    }
                    Step::Trim(up_to, bytes_max) => {
                        while bytes_of(&list) > bytes_max && list.first().is_some_and(|first| first.id.index.0 <= up_to) {
                            list.remove(0);
                        }
                        tail.trim(Index(up_to), bytes_max);
                    }
                    Step::Slice(from, to, bytes_max) => {
                        let mut bytes = 0;
                        let expected: Vec<Entry> = list.iter().skip_while(|entry| entry.id.index.0 < from)
                            .take_while(|entry| {
                                bytes += entry.len_bytes();
                                entry.id.index.0 <= to && (bytes <= bytes_max || entry.id.index.0 == from)
                            })
                            .cloned().collect();
                        let held = list.first().is_some_and(|first| first.id.index.0 <= from);
                        let expected = (held && !expected.is_empty()).then(|| {
                            let bytes = bytes_of(&expected);
                            (Entries::from(expected), bytes)
                        });
                        prop_assert_eq!(tail.slice(Index(from), Index(to), bytes_max), expected);
                    }
                }
                prop_assert!(tail.iter().eq(&list));
                prop_assert_eq!(tail.bytes(), bytes_of(&list));
                for index in 0..next + 2 {
                    let expected = list.iter().find(|entry| entry.id.index.0 == index);
                    prop_assert_eq!(tail.get(Index(index)), expected);
                }
            }
        }
    }
}
