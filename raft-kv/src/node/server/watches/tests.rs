//! Whoever watches, beside what the history says.

use raft_core::LogId;

use super::messages::{EVENT_BYTES_MAX, MESSAGE_BYTES_MAX};
use super::*;
use crate::api::{Command, CommandReply, Event, Operation, VALUE_BYTES_MAX};
use crate::store::{Settings, is_in};

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
