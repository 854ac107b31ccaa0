//! Who is told what changes: a synchronous machine between the store's history and the watchers of this node.
//!
//! A watcher is *level* while it was told everything up to the newest revision: changes are handed to it as they come. One that begins at an
//! older revision, or whose messages are not taken as fast as they are made, is *behind*: it reads the history from where it stands,
//! piece by piece and as fast as it takes them, until it is level. So there is never more under way for a watcher than a bound; and one
//! that is too slow is told, when the history has passed it, that its revision is compacted.
//!
//! Guards: every watcher is told every change that it watches, from the revision it asked for, once, in order, all of a revision together;
//! or is told that it cannot be.

mod index;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::api::{Change, KeyRange, Revision, RevisionError, Watch, WatchReply, Watched};
use crate::store::Store;
use index::Index;
use messages::messages;

/// How many watchers a node has at most.
pub(crate) const WATCHERS_MAX: usize = 50_000;
/// How many bytes of changes may be under way to a watcher; though one revision always may.
const UNDER_WAY_BYTES_MAX: u64 = 1 << 20;
/// How many bytes of the history a watcher that is behind is handed at once.
const PIECE_BYTES: u64 = 128 << 10;
/// How many changes are looked at in one go, lest the node's loop be held up.
const LOOKED_MAX: usize = 20_000;
/// How often a watcher that nothing is told is told how far it has come, in milliseconds.
const PROGRESS_EVERY_MS: u64 = 10_000;

/// What a watcher is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// This. So many bytes of it are under way until [`Watches::taken`] says otherwise.
    Reply(WatchReply, u64),
    /// That its watch has ended.
    Failed(RevisionError),
}

#[derive(Debug)]
struct Watcher {
    watch: Watch,
    /// The first revision that it was not told of. A level watcher's may be yet to come.
    next: Revision,
    level: bool,
    under_way: u64,
    /// Whether it was told something since the last look at progress.
    busy: bool,
}

/// All watchers of a node, by whatever the caller tells them apart with.
#[derive(Debug)]
pub(crate) struct Watches<K> {
    watchers: BTreeMap<K, Watcher>,
    /// The level ones, by what they watch.
    index: Index<K>,
    /// Those that are behind and may be handed something.
    ready: BTreeSet<K>,
    /// Level watchers were told everything up to here.
    seen: Revision,
    progress_at_ms: u64,
}

impl<K> Default for Watches<K> {
    fn default() -> Self {
        Self {
            watchers: BTreeMap::new(),
            index: Index::default(),
            ready: BTreeSet::new(),
            seen: 0,
            progress_at_ms: 0,
        }
    }
}

impl<K: Ord + Copy> Watches<K> {
    /// How many watchers there are.
    pub(crate) fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Begins a watch. Says whether there was room for one more.
    #[must_use]
    pub(crate) fn begin(&mut self, who: K, watch: Watch, store: &Store) -> bool {
        if self.len() >= WATCHERS_MAX {
            return false;
        }
        self.end(who);
        let next = match watch.from {
            0 => store.revision() + 1,
            from => from,
        };
        // Copies of its own: the names are slices of the frame that they came in, and a watch may live for days.
        let copy = |name: &Bytes| Bytes::copy_from_slice(name);
        let watched = match &watch.watched {
            Watched::Keys(KeyRange::Key(key)) => Watched::Keys(KeyRange::Key(copy(key))),
            Watched::Keys(KeyRange::Prefix(prefix)) => {
                Watched::Keys(KeyRange::Prefix(copy(prefix)))
            }
            Watched::Keys(KeyRange::Range(from, to)) => {
                Watched::Keys(KeyRange::Range(copy(from), to.as_ref().map(copy)))
            }
            Watched::Lock(lock) => Watched::Lock(copy(lock)),
        };
        let watcher = Watcher {
            watch: Watch { watched, ..watch },
            next,
            level: false,
            under_way: 0,
            busy: true,
        };
        self.watchers.insert(who, watcher);
        self.ready.insert(who);
        true
    }

    /// Ends a watch, if there is one.
    pub(crate) fn end(&mut self, who: K) -> bool {
        let Some(watcher) = self.watchers.remove(&who) else {
            return false;
        };
        self.index.remove(who, &watcher.watch.watched);
        self.ready.remove(&who);
        true
    }

    /// Ends the watches from one to before another.
    pub(crate) fn end_all(&mut self, from: K, to: K) {
        let all: Vec<K> = self.watchers.range(from..to).map(|(&who, _)| who).collect();
        for who in all {
            self.end(who);
        }
    }

    /// So many bytes that were under way to a watcher have been taken.
    pub(crate) fn taken(&mut self, who: K, bytes: u64) {
        if let Some(watcher) = self.watchers.get_mut(&who) {
            watcher.under_way = watcher.under_way.saturating_sub(bytes);
            if !watcher.level && watcher.under_way <= UNDER_WAY_BYTES_MAX / 2 {
                self.ready.insert(who);
            }
        }
    }

    /// What is to be told now, and whether there is more to do at once. `now_ms` is a time that only rises.
    pub(crate) fn poll(&mut self, store: &Store, now_ms: u64) -> (Vec<(K, Told)>, bool) {
        let mut told = Vec::new();
        if self.watchers.is_empty() {
            self.seen = store.revision();
            return (told, false);
        }
        let mut looked = LOOKED_MAX;
        self.tell_level(store, &mut looked, &mut told);
        self.tell_behind(store, &mut looked, &mut told);
        if now_ms >= self.progress_at_ms {
            self.progress_at_ms = now_ms + PROGRESS_EVERY_MS;
            self.tell_progress(&mut told);
        }
        let more = self.seen < store.revision() || !self.ready.is_empty();
        (told, more)
    }

    /// Hands new changes to those who are level.
    fn tell_level(&mut self, store: &Store, looked: &mut usize, told: &mut Vec<(K, Told)>) {
        if self.index.is_empty() {
            self.seen = store.revision();
            return;
        }
        let Ok((changes, next)) = store.all_changes(self.seen + 1, PIECE_BYTES, *looked) else {
            // A snapshot has taken the state further than the history reaches back.
            return self.all_fall_behind(store);
        };
        let mut shares: BTreeMap<K, Vec<Change>> = BTreeMap::new();
        for change in &changes {
            *looked = looked.saturating_sub(change.events.len());
            for event in &change.events {
                self.index.concerned(event, |who| {
                    let share = shares.entry(who).or_default();
                    match share.last_mut() {
                        Some(last) if last.revision == change.revision => {
                            last.events.push(event.clone());
                        }
                        _ => share.push(Change {
                            revision: change.revision,
                            events: vec![event.clone()],
                        }),
                    }
                });
            }
        }
        self.seen = next - 1;
        for (who, mut share) in shares {
            let Some(watcher) = self.watchers.get_mut(&who) else {
                continue;
            };
            share.retain(|change| change.revision >= watcher.next);
            let Some(first) = share.first() else { continue };
            if watcher.under_way > UNDER_WAY_BYTES_MAX {
                // Its messages are not taken: it goes on from the history when they are.
                watcher.next = first.revision;
                watcher.level = false;
                self.index.remove(who, &watcher.watch.watched);
                continue;
            }
            watcher.next = next;
            watcher.tell(who, share, told);
        }
    }

    /// Hands pieces of the history to those who are behind.
    fn tell_behind(&mut self, store: &Store, looked: &mut usize, told: &mut Vec<(K, Told)>) {
        while *looked > 0
            && let Some(who) = self.ready.pop_first()
        {
            let Some(watcher) = self.watchers.get_mut(&who) else {
                continue;
            };
            let watched = &watcher.watch.watched;
            // Level means: nothing behind what the level ones were told.
            if watcher.next > self.seen {
                watcher.level = true;
                self.index.insert(who, watched);
                continue;
            }
            let piece = store.changes(watcher.next, watched, PIECE_BYTES, *looked);
            match piece {
                Err(why) => {
                    self.end(who);
                    told.push((who, Told::Failed(why)));
                }
                Ok((changes, next)) => {
                    let cost = store.count_changes(watcher.next, next);
                    *looked = looked.saturating_sub(cost.max(1));
                    // What level watchers were not told yet, they are told together with it.
                    let (changes, next) = up_to(changes, next, self.seen);
                    watcher.next = next;
                    watcher.tell(who, changes, told);
                    if watcher.under_way <= UNDER_WAY_BYTES_MAX {
                        self.ready.insert(who);
                    }
                }
            }
        }
    }

    fn tell_progress(&mut self, told: &mut Vec<(K, Told)>) {
        for (&who, watcher) in &mut self.watchers {
            if watcher.level
                && !watcher.busy
                && watcher.under_way == 0
                && watcher.next <= self.seen + 1
            {
                let revision = self.seen;
                told.push((who, Told::Reply(WatchReply::Progress { revision }, 0)));
            }
            watcher.busy = false;
        }
    }

    fn all_fall_behind(&mut self, store: &Store) {
        for (&who, watcher) in &mut self.watchers {
            if watcher.level {
                watcher.level = false;
                watcher.next = watcher.next.max(self.seen + 1);
                self.ready.insert(who);
            }
        }
        self.index = Index::default();
        self.seen = store.revision();
    }
}

impl Watcher {
    fn tell<K: Copy>(&mut self, who: K, changes: Vec<Change>, told: &mut Vec<(K, Told)>) {
        for (reply, bytes) in messages(changes, self.watch.want_previous) {
            self.under_way += bytes;
            self.busy = true;
            told.push((who, Told::Reply(reply, bytes)));
        }
    }
}

/// The changes up to a revision, and from where to go on behind them.
fn up_to(mut changes: Vec<Change>, next: Revision, last: Revision) -> (Vec<Change>, Revision) {
    changes.retain(|change| change.revision <= last);
    (changes, next.min(last + 1))
}
