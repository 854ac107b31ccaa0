//! Who is told what changes: a synchronous machine between the store's history and the watchers of this node.
//!
//! A watcher is *level* while it was told everything up to the newest revision: changes are handed to it as they come. One that begins at an
//! older revision, or whose messages are not taken as fast as they are made, is *behind*: it reads the history from where it stands,
//! piece by piece and as fast as it takes them, until it is level. So there is never more under way for a watcher than a bound; and one
//! that is too slow is told, when the history has passed it, that its revision is compacted.
//!
//! Guards: every watcher is told every change that it watches, from the revision it asked for, once, in order, all of a revision together;
//! or is told that it cannot be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::api::{
    Change, Event, KEY_BYTES_MAX, KeyRange, KeyValue, Revision, RevisionError, VALUE_BYTES_MAX,
    Watch, WatchReply, Watched,
};
use crate::store::{Store, is_in};

/// How many watchers a node has at most.
pub(crate) const WATCHERS_MAX: usize = 50_000;
/// How many bytes of changes may be under way to a watcher; though one revision always may.
const UNDER_WAY_BYTES_MAX: u64 = 1 << 20;
/// How many bytes of the history a watcher that is behind is handed at once.
const PIECE_BYTES: u64 = 128 << 10;
/// How many changes are looked at in one go, lest the node's loop be held up.
const LOOKED_MAX: usize = 20_000;
/// How many bytes of events one message has, though always one event: well below what a client takes as a frame.
const MESSAGE_BYTES_MAX: u64 = 512 << 10;
/// How many bytes an event has with what stood there before; without it where that is more. The largest key and value have less, and the
/// largest frame that a client takes, of 2 MiB, has more: one that it refused would come again and again.
const EVENT_BYTES_MAX: u64 = 3 << 19;
const _: () = assert!((KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64 + 64 <= EVENT_BYTES_MAX);
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

/// Changes as messages of a bounded size.
fn messages(changes: Vec<Change>, want_previous: bool) -> Vec<(WatchReply, u64)> {
    let mut messages = Vec::new();
    let (mut open, mut open_bytes) = (Vec::new(), 0);
    for change in changes {
        let revision = change.revision;
        let mut part: Vec<Event> = Vec::new();
        for event in change.events {
            let mut event = shown(event, want_previous);
            if event_bytes(&event) > EVENT_BYTES_MAX {
                event = shown(event, false);
            }
            let bytes = event_bytes(&event);
            if open_bytes + bytes > MESSAGE_BYTES_MAX && open_bytes > 0 {
                let unfinished = !part.is_empty();
                if unfinished {
                    let events = std::mem::take(&mut part);
                    open.push(Change { revision, events });
                }
                let changes = std::mem::take(&mut open);
                let reply = WatchReply::Changes {
                    changes,
                    unfinished,
                };
                messages.push((reply, std::mem::take(&mut open_bytes)));
            }
            open_bytes += bytes;
            part.push(event);
        }
        open.push(Change {
            revision,
            events: part,
        });
    }
    if !open.is_empty() {
        let reply = WatchReply::Changes {
            changes: open,
            unfinished: false,
        };
        messages.push((reply, open_bytes));
    }
    messages
}

/// An event as a watcher is told it.
fn shown(mut event: Event, want_previous: bool) -> Event {
    if !want_previous {
        match &mut event {
            Event::Put { previous, .. } => *previous = None,
            Event::Deleted { previous } => previous.value = Bytes::new(),
            _ => {}
        }
    }
    event
}

fn event_bytes(event: &Event) -> u64 {
    let kv = |kv: &KeyValue| kv.key.len() + kv.value.len() + 64;
    let bytes = match event {
        Event::Put { kv: now, previous } => kv(now) + previous.as_ref().map_or(0, kv),
        Event::Deleted { previous } => kv(previous),
        Event::Claimed { lock, claim } | Event::Released { lock, claim } => {
            lock.len() + claim.value.len() + 64
        }
    };
    bytes as u64
}

/// Level watchers, by what they watch: an event must not be compared with each of ten thousand.
#[derive(Debug)]
struct Index<K> {
    keys: BTreeMap<Bytes, BTreeSet<K>>,
    prefixes: BTreeMap<Bytes, BTreeSet<K>>,
    /// How many prefixes of each length there are.
    lengths: BTreeMap<usize, usize>,
    ranges: BTreeMap<K, KeyRange>,
    locks: BTreeMap<Bytes, BTreeSet<K>>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            ranges: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Index<K> {
    fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.prefixes.is_empty()
            && self.ranges.is_empty()
            && self.locks.is_empty()
    }

    fn insert(&mut self, who: K, watched: &Watched) {
        match watched {
            Watched::Keys(KeyRange::Key(key)) => add(&mut self.keys, key, who),
            Watched::Keys(KeyRange::Prefix(prefix)) => {
                if !self.prefixes.contains_key(prefix) {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                add(&mut self.prefixes, prefix, who);
            }
            Watched::Keys(range @ KeyRange::Range(..)) => {
                self.ranges.insert(who, range.clone());
            }
            Watched::Lock(lock) => add(&mut self.locks, lock, who),
        }
    }

    fn remove(&mut self, who: K, watched: &Watched) {
        match watched {
            Watched::Keys(KeyRange::Key(key)) => drop(take(&mut self.keys, key, who)),
            Watched::Keys(KeyRange::Prefix(prefix)) => {
                if take(&mut self.prefixes, prefix, who)
                    && let Some(count) = self.lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
            Watched::Keys(KeyRange::Range(..)) => drop(self.ranges.remove(&who)),
            Watched::Lock(lock) => drop(take(&mut self.locks, lock, who)),
        }
    }

    /// Visits everyone whom an event concerns.
    fn concerned(&self, event: &Event, mut each: impl FnMut(K)) {
        let mut all =
            |set: Option<&BTreeSet<K>>| set.into_iter().flatten().for_each(|&who| each(who));
        let key = match event {
            Event::Put { kv, .. } => &kv.key,
            Event::Deleted { previous } => &previous.key,
            Event::Claimed { lock, .. } | Event::Released { lock, .. } => {
                return all(self.locks.get(lock));
            }
        };
        all(self.keys.get(key));
        for length in self.lengths.keys() {
            if let Some(prefix) = key.get(..*length) {
                all(self.prefixes.get(prefix));
            }
        }
        for (&who, range) in &self.ranges {
            if is_in(key, range) {
                each(who);
            }
        }
    }
}

fn add<K: Ord>(sets: &mut BTreeMap<Bytes, BTreeSet<K>>, name: &Bytes, who: K) {
    // A copy of its own: the name is a slice of the frame that it came in.
    match sets.get_mut(name) {
        Some(set) => drop(set.insert(who)),
        None => drop(sets.insert(Bytes::copy_from_slice(name), BTreeSet::from([who]))),
    }
}

/// Takes one out; says whether it was the last under this name.
fn take<K: Ord>(sets: &mut BTreeMap<Bytes, BTreeSet<K>>, name: &Bytes, who: K) -> bool {
    let Some(set) = sets.get_mut(name) else {
        return false;
    };
    set.remove(&who);
    let last = set.is_empty();
    if last {
        sets.remove(name);
    }
    last
}

#[cfg(test)]
mod tests {
    use raft_core::LogId;

    use super::*;
    use crate::api::{Command, CommandReply, Operation};
    use crate::store::Settings;

    /// The same numbers for the same seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    struct World {
        store: Store,
        watches: Watches<u64>,
        sequence: u64,
        now_ms: u64,
    }

    impl World {
        fn new(settings: Settings) -> Self {
            let mut store = Store::new(settings);
            let register = Command {
                session: 0,
                sequence: 0,
                first_outstanding: 0,
                principal: Bytes::new(),
                operation: Operation::RegisterSession,
            };
            store.apply(LogId::new(1, 1), &register).unwrap();
            Self {
                store,
                watches: Watches::default(),
                sequence: 0,
                now_ms: 0,
            }
        }

        fn run(&mut self, operation: Operation) -> CommandReply {
            self.sequence += 1;
            let at = LogId {
                index: self.store.applied().next(),
                ..LogId::new(1, 1)
            };
            let command = Command {
                session: 1,
                sequence: self.sequence,
                first_outstanding: self.sequence,
                principal: Bytes::new(),
                operation,
            };
            self.store.apply(at, &command).unwrap()
        }

        fn put(&mut self, key: &str, value: usize) {
            self.run(Operation::Put {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: vec![b'v'; value].into(),
                lease: 0,
                want_previous: false,
                conditions: vec![],
            });
        }

        fn watch(&mut self, who: u64, watched: Watched, from: Revision) {
            let watch = Watch {
                watched,
                from,
                want_previous: false,
            };
            assert!(self.watches.begin(who, watch, &self.store));
        }

        /// Polls until there is nothing more to do.
        fn poll(&mut self) -> Vec<(u64, Told)> {
            let mut all = Vec::new();
            loop {
                let (told, more) = self.watches.poll(&self.store, self.now_ms);
                all.extend(told);
                if !more {
                    return all;
                }
            }
        }
    }

    fn key(name: &str) -> Watched {
        Watched::Keys(KeyRange::Key(Bytes::copy_from_slice(name.as_bytes())))
    }

    fn prefix(name: &str) -> Watched {
        Watched::Keys(KeyRange::Prefix(Bytes::copy_from_slice(name.as_bytes())))
    }

    fn revisions(told: &[(u64, Told)], of: u64) -> Vec<Revision> {
        let mut revisions = Vec::new();
        for (who, told) in told {
            if let Told::Reply(WatchReply::Changes { changes, .. }, _) = told
                && *who == of
            {
                revisions.extend(changes.iter().map(|change| change.revision));
            }
        }
        revisions
    }

    #[test]
    fn whoever_watches_is_told_what_it_watches_and_nothing_else() {
        let mut world = World::new(Settings::default());
        world.watch(1, key("a"), 0);
        world.watch(2, prefix("a"), 0);
        let range = KeyRange::Range("b".into(), Some("c".into()));
        world.watch(3, Watched::Keys(range), 0);
        world.watch(4, prefix(""), 0);
        world.poll();
        for name in ["a", "ab", "b", "c"] {
            world.put(name, 1);
        }
        let told = world.poll();
        assert_eq!(revisions(&told, 1), [1]);
        assert_eq!(revisions(&told, 2), [1, 2]);
        assert_eq!(revisions(&told, 3), [3]);
        assert_eq!(revisions(&told, 4), [1, 2, 3, 4]);
        assert!(world.watches.end(4));
        world.put("a", 1);
        assert!(revisions(&world.poll(), 4).is_empty());
    }

    #[test]
    fn a_watch_begins_in_the_past_now_or_in_the_future() {
        let mut world = World::new(Settings::default());
        for _ in 0..4 {
            world.put("a", 1);
        }
        world.watch(1, key("a"), 2);
        world.watch(2, key("a"), 0);
        world.watch(3, key("a"), 6);
        let told = world.poll();
        assert_eq!(revisions(&told, 1), [2, 3, 4]);
        for _ in 0..3 {
            world.put("a", 1);
        }
        let told = world.poll();
        assert_eq!(revisions(&told, 1), [5, 6, 7]);
        assert_eq!(revisions(&told, 2), [5, 6, 7]);
        assert_eq!(revisions(&told, 3), [6, 7]);
    }

    #[test]
    fn whoever_is_too_slow_is_told_so_and_nothing_piles_up() {
        let mut world = World::new(Settings {
            history_revisions_max: 10,
            ..Settings::default()
        });
        world.watch(1, key("a"), 0);
        let mut under_way = 0;
        let mut told = Vec::new();
        for _ in 0..100 {
            world.put("a", 100_000);
            told.extend(world.poll());
        }
        for (_, told) in &told {
            let Told::Reply(_, bytes) = told else {
                panic!("{told:?}");
            };
            under_way += bytes;
        }
        assert!(under_way < 2 * UNDER_WAY_BYTES_MAX, "{under_way}");
        // It takes all of it now, and goes on where it stood; but that is gone.
        world.watches.taken(1, under_way);
        let oldest = world.store.oldest_revision();
        let end = RevisionError::Compacted { oldest };
        assert_eq!(world.poll(), [(1, Told::Failed(end))]);
        assert_eq!(world.watches.len(), 0);
    }

    #[test]
    fn a_revision_with_more_than_a_message_holds_is_told_in_parts() {
        let mut world = World::new(Settings::default());
        for number in 0..40 {
            world.put(&format!("k{number:02}"), 50_000);
        }
        world.watch(1, prefix("k"), 0);
        let watch = Watch {
            watched: prefix("k"),
            from: 0,
            want_previous: true,
        };
        assert!(world.watches.begin(2, watch, &world.store));
        world.poll();
        world.run(Operation::Delete {
            keys: KeyRange::Prefix("k".into()),
            want_previous: false,
            conditions: vec![],
        });
        let told = world.poll();
        let parts: Vec<_> = told
            .iter()
            .filter(|(who, _)| *who == 2)
            .map(|(_, told)| match told {
                Told::Reply(
                    WatchReply::Changes {
                        changes,
                        unfinished,
                    },
                    bytes,
                ) => {
                    assert!(*bytes <= MESSAGE_BYTES_MAX);
                    assert!(changes.iter().all(|change| change.revision == 41));
                    let events: usize = changes.iter().map(|change| change.events.len()).sum();
                    (events, *unfinished)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(parts.len() > 3, "{parts:?}");
        assert_eq!(parts.iter().map(|(events, _)| events).sum::<usize>(), 40);
        let (last, before) = parts.split_last().unwrap();
        assert!(before.iter().all(|(_, unfinished)| *unfinished));
        assert!(!last.1);
        // Without the values it is little.
        assert_eq!(revisions(&told, 1), [41]);
    }

    #[test]
    fn whoever_is_behind_a_revision_of_many_changes_waits_for_those_before() {
        let mut world = World::new(Settings::default());
        let keys = LOOKED_MAX / 2 + 1;
        for number in 0..keys {
            world.put(&format!("k{number}"), 1);
        }
        world.run(Operation::Delete {
            keys: KeyRange::Prefix("k".into()),
            want_previous: false,
            conditions: vec![],
        });
        let all = world.store.revision();
        for who in 1..=4 {
            world.watch(who, key("none"), all);
        }
        // Two of them are looked at in one go, and no more; the second is found to be level in the next.
        for behind in [3, 1, 0] {
            world.watches.poll(&world.store, 0);
            assert_eq!(world.watches.ready.len(), behind);
        }
    }

    #[test]
    fn what_no_client_could_take_is_told_without_what_stood_there_before() {
        let mut world = World::new(Settings::default());
        world.put("k", VALUE_BYTES_MAX);
        let watch = Watch {
            watched: key("k"),
            from: 0,
            want_previous: true,
        };
        assert!(world.watches.begin(1, watch, &world.store));
        world.poll();
        world.put("k", VALUE_BYTES_MAX);
        let told = world.poll();
        let [(1, Told::Reply(WatchReply::Changes { changes, .. }, bytes))] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(*bytes <= EVENT_BYTES_MAX);
        let [Event::Put { kv, previous: None }] = &changes[0].events[..] else {
            panic!("{changes:?}");
        };
        assert_eq!((kv.value.len(), kv.version), (VALUE_BYTES_MAX, 2));
    }

    #[test]
    fn whoever_is_told_nothing_hears_how_far_it_has_come() {
        let mut world = World::new(Settings::default());
        world.watch(1, key("a"), 0);
        world.poll();
        world.now_ms += PROGRESS_EVERY_MS;
        world.put("b", 1);
        world.poll();
        world.now_ms += PROGRESS_EVERY_MS;
        let revision = 1;
        let progress = Told::Reply(WatchReply::Progress { revision }, 0);
        assert_eq!(world.poll(), [(1, progress)]);
    }

    /// Whatever is written, watched, ended and taken, in whatever order: everyone is told exactly the changes that the history has, from where
    /// it began, in order and once; unless it is told that they are gone.
    #[test]
    fn everyone_is_told_everything_once() {
        let names = ["a", "ab", "abc", "b", "c"];
        for seed in 1..=200 {
            let mut random = Random(seed);
            let revisions_kept = 5 + random.below(60);
            let mut world = World::new(Settings {
                history_revisions_max: revisions_kept,
                ..Settings::default()
            });
            // Of each watcher: what it watches, where it began, what it was told, and what is under way to it.
            let mut watchers: BTreeMap<u64, (Watched, Revision, Vec<Revision>, Vec<u64>)> =
                BTreeMap::new();
            let mut truth: Vec<(Revision, String)> = Vec::new();
            for step in 0..300 {
                match random.below(10) {
                    0 => {
                        let name = names[random.below(5) as usize];
                        let watched = match random.below(3) {
                            0 => key(name),
                            1 => prefix(name),
                            _ => Watched::Keys(KeyRange::Range(
                                Bytes::copy_from_slice(name.as_bytes()),
                                None,
                            )),
                        };
                        let newest = world.store.revision();
                        let from = newest.saturating_sub(random.below(8)) + random.below(3) + 1;
                        world.watch(step, watched.clone(), from);
                        watchers.insert(step, (watched, from, vec![], vec![]));
                    }
                    1..=6 => {
                        let name = names[random.below(5) as usize];
                        world.put(name, 1 + random.below(150_000) as usize);
                        truth.push((world.store.revision(), name.into()));
                    }
                    _ => {
                        for (&who, (.., under_way)) in &mut watchers {
                            if let Some(bytes) = under_way.pop() {
                                world.watches.taken(who, bytes);
                            }
                        }
                    }
                }
                for (who, told) in world.poll() {
                    let (watched, from, seen, under_way) = watchers.get_mut(&who).unwrap();
                    match told {
                        Told::Reply(WatchReply::Changes { changes, .. }, bytes) => {
                            seen.extend(changes.iter().map(|change| change.revision));
                            under_way.push(bytes);
                        }
                        Told::Reply(..) => {}
                        Told::Failed(RevisionError::Compacted { oldest }) => {
                            let expected = expected(&truth, watched, *from);
                            let next = expected.get(seen.len());
                            // What it was to be told next may be gone.
                            assert!(
                                next.is_none_or(|next| *next <= oldest) || *from <= oldest,
                                "seed {seed}, watcher {who}"
                            );
                            watchers.remove(&who);
                        }
                        Told::Failed(other) => panic!("seed {seed}: {other}"),
                    }
                }
                for (who, (watched, from, seen, under_way)) in &watchers {
                    let expected = expected(&truth, watched, *from);
                    assert!(
                        expected.starts_with(seen),
                        "seed {seed}, watcher {who}: {seen:?} of {expected:?}"
                    );
                    let waits: u64 = under_way.iter().sum();
                    assert!(
                        *seen == expected || waits > UNDER_WAY_BYTES_MAX / 2,
                        "seed {seed}, watcher {who} is kept waiting: {seen:?} of {expected:?}"
                    );
                    assert!(waits <= UNDER_WAY_BYTES_MAX + 2 * PIECE_BYTES + 300_000);
                }
            }
        }
    }

    fn expected(truth: &[(Revision, String)], watched: &Watched, from: Revision) -> Vec<Revision> {
        let Watched::Keys(range) = watched else {
            return vec![];
        };
        let concerned = truth
            .iter()
            .filter(|(revision, name)| *revision >= from && is_in(name.as_bytes(), range));
        concerned.map(|(revision, _)| *revision).collect()
    }
}
