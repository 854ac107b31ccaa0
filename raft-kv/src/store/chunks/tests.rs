//! The map against a plain one.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&(number as u16).to_be_bytes())
}

fn entry<V>(key: Bytes, value: V) -> Arc<Entry<V>> {
    Arc::new(Entry { key, value })
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Whether the chunks are as they must be.
fn check<V>(map: &Chunks<V>) {
    assert!(map.chunks.keys().next().is_none_or(Bytes::is_empty));
    let starts = map.chunks.keys().skip(1).map(Some).chain([None]);
    for ((start, counted), next) in map.chunks.iter().zip(starts) {
        assert_eq!(counted.len, counted.chunk.len());
        assert!(counted.len <= CHUNK_KEYS_MAX);
        assert!(counted.len > 0 || start.is_empty());
        let keys: Vec<&Bytes> = counted.chunk.iter().map(|entry| &entry.key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        for (at, key) in keys.into_iter().enumerate() {
            assert!(start <= key && next.is_none_or(|next| key < next));
            assert_eq!(counted.chunk.find(key), Ok(at));
        }
    }
    let lengths: Vec<usize> = map.chunks.values().map(|counted| counted.len).collect();
    assert_eq!(map.len(), lengths.iter().sum::<usize>());
    assert!(
        lengths
            .windows(2)
            .all(|pair| pair[0] + pair[1] > JOINED_KEYS_MAX),
        "small neighbours: {lengths:?}"
    );
}

fn same<'a, V: PartialEq + 'a>(
    found: impl Iterator<Item = &'a Entry<V>>,
    expected: impl Iterator<Item = (&'a Bytes, &'a V)>,
) -> bool {
    found.map(|entry| (&entry.key, &entry.value)).eq(expected)
}

#[test]
fn it_holds_what_a_plain_map_holds_and_counts_what_walking_gives() {
    let mut plain = BTreeMap::new();
    let mut map = Chunks::default();
    let mut random = Random(1);
    for round in 0..60 {
        let picture = (map.clone(), plain.clone());
        for value in 0..1000 {
            let key = key(random.next());
            if plain.insert(key.clone(), value).is_none() {
                assert!(map.replace(&key, |_| unreachable!()).is_none());
                map.insert(entry(key, value));
            } else {
                map.replace(&key, |old| entry(old.key.clone(), value))
                    .unwrap();
            }
        }
        // Now and then a stretch of any length goes, and single keys.
        let (from, to) = (key(random.next()), key(random.next()));
        if from < to && round % 3 == 0 {
            let mut gone = Vec::new();
            map.extract(&from, Some(&to), |entry| {
                gone.push((entry.key.clone(), entry.value));
            });
            let expected = plain.extract_if(from..to, |_, _| true);
            assert!(expected.eq(gone));
        }
        for _ in 0..300 {
            let from = key(random.next());
            let to = Bytes::from([&from[..], &[0]].concat());
            map.extract(&from, Some(&to), |_| {});
            plain.remove(&from);
        }
        check(&map);
        for _ in 0..50 {
            let (from, to) = (key(random.next()), key(random.next()));
            assert_eq!(map.get(&from).map(|entry| &entry.value), plain.get(&from));
            if from <= to {
                let expected = || plain.range(from.clone()..to.clone());
                assert_eq!(map.count(&from, Some(&to)), expected().count());
                let range = || map.range(from.clone(), Some(to.clone()));
                assert!(same(range(), expected()));
                assert!(same(range().rev(), expected().rev()));
            }
            assert_eq!(map.count(&from, None), plain.range(from..).count());
        }
        assert!(same(map.iter(), plain.iter()));
        // The picture is of the time when it was taken.
        check(&picture.0);
        assert!(same(picture.0.iter(), picture.1.iter()));
    }
    assert!(map.chunks.len() > 10 && map.len() > 10_000);
}

#[test]
fn keys_of_all_lengths_and_beginnings_are_found() {
    let mut random = Random(7);
    let mut draw = || -> Bytes {
        // Few different bytes, so that keys share long beginnings, begin each other, and end with zeros.
        let beginning =
            ["", "a", "long beginning/", "long beginnings/"][random.next() as usize % 4];
        let tail = random.next() as usize % 12;
        let tail: Vec<u8> = (0..tail)
            .map(|_| [0, 0, 1, 255][random.next() as usize % 4])
            .collect();
        [beginning.as_bytes(), &tail].concat().into()
    };
    let mut plain = BTreeMap::new();
    let mut map = Chunks::default();
    for round in 0..30_000 {
        let key = draw();
        match plain.remove(&key) {
            Some(()) if round % 2 == 0 => {
                let to = Bytes::from([&key[..], &[0]].concat());
                let mut count = 0;
                map.extract(&key, Some(&to), |_| count += 1);
                assert_eq!(count, 1);
            }
            before => {
                assert_eq!(map.get(&key).is_some(), before.is_some());
                if before.is_none() {
                    map.insert(entry(key.clone(), ()));
                }
                plain.insert(key, ());
            }
        }
        let key = draw();
        let range = (Bound::Included(&key), Bound::Unbounded);
        assert_eq!(map.get(&key).is_some(), plain.contains_key(&key));
        if round % 100 == 0 {
            assert_eq!(
                map.count(&key, None),
                plain.range::<Bytes, _>(range).count()
            );
        }
        if round % 1000 == 0 {
            check(&map);
            assert!(same(map.iter(), plain.iter()));
        }
    }
    check(&map);
    assert!(map.chunks.len() > 10);
}

#[test]
fn memory_does_not_degenerate() {
    // Ascending keys fill their chunks.
    let mut map = Chunks::default();
    (0..60_000).for_each(|number| map.insert(entry(key(number), ())));
    check(&map);
    assert_eq!(map.chunks.len(), 60_000_usize.div_ceil(CHUNK_KEYS_MAX));
    // Of many, few stay.
    for number in (0..60_000).filter(|number| number % 100 != 0) {
        map.extract(&key(number), Some(&key(number + 1)), |_| {});
    }
    check(&map);
    assert_eq!(map.len(), 600);
    assert!(map.chunks.len() <= 2 * 600 / JOINED_KEYS_MAX + 1);
    map.extract(b"", None, |_| {});
    check(&map);
    assert_eq!((map.len(), map.chunks.len()), (0, 1));
    map.insert(entry(key(7), ()));
    assert_eq!(map.count(b"", None), 1);
}

#[test]
fn a_clone_shares_all_but_what_is_written() {
    let mut map = Chunks::default();
    (0..10_000).for_each(|number| map.insert(entry(key(number), number)));
    let picture = map.clone();
    map.replace(&key(5000), |old| entry(old.key.clone(), 0))
        .unwrap();
    let shared = |a: &Counted<u64>, b: &Counted<u64>| Arc::ptr_eq(&a.chunk, &b.chunk);
    let both = || map.chunks.values().zip(picture.chunks.values());
    assert_eq!(both().filter(|(a, b)| !shared(a, b)).count(), 1);
    let entries = map.iter().zip(picture.iter());
    assert_eq!(entries.filter(|(a, b)| !std::ptr::eq(*a, *b)).count(), 1);
}
