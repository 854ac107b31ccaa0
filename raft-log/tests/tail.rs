//! The newest batches stay in memory, within a bound: what is read from there is what the files say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::path::Path;

use proptest::prelude::*;
use raft_log::sim_disk::SimDisk;
use raft_log::{Batch, Log, Options, OsFiles, OwnedRecord, ReadError, Reader, Record};

const TAIL_BYTES: usize = 16 * 1024;

fn options(tail_bytes: usize) -> Options {
    Options {
        segment_bytes: 4096,
        background: false,
        tail_bytes,
        ..Options::new("tail")
    }
}

/// One part of a batch, relative to what there is.
#[derive(Clone, Debug)]
enum Part {
    /// Cuts so many of the newest entries.
    Truncate(u64),
    Append(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Part>),
    /// Purges so many of the oldest entries.
    Purge(u64),
    /// Reads from so many before the end, with such a budget.
    Read(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let part = prop_oneof![
        1 => (0u64..8).prop_map(Part::Truncate),
        5 => (0usize..700).prop_map(Part::Append),
    ];
    prop_oneof![
        4 => prop::collection::vec(part, 0..6).prop_map(Step::Commit),
        1 => (0u64..12).prop_map(Step::Purge),
        6 => (0u64..30, 0usize..3000).prop_map(|(back, bytes)| Step::Read(back, bytes)),
    ]
}

/// The log, as a vector that begins with entry 1.
#[derive(Default)]
struct Model {
    entries: Vec<Vec<u8>>,
    purged: u64,
    written: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// What is to be done to a log for these parts; the terms stay 1, the payloads never repeat.
    fn batch(&mut self, parts: &[Part]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut ops = Vec::new();
        for part in parts {
            match *part {
                Part::Truncate(count) => {
                    let keep = self.last().saturating_sub(count).max(self.purged);
                    self.entries.truncate(keep as usize);
                    ops.push((keep + 1, None));
                }
                Part::Append(bytes) => {
                    self.written += 1;
                    let mut payload = self.written.to_le_bytes().to_vec();
                    payload.resize(8 + bytes, self.written as u8);
                    self.entries.push(payload.clone());
                    ops.push((self.last(), Some(payload)));
                }
            }
        }
        ops
    }

    /// Checks that these are entries from `from` on, at least one, and no more than the budget has room for. (A read of files
    /// may end early where the log was often cut.)
    fn check(&self, from: u64, bytes: usize, found: &[OwnedRecord]) -> Result<(), TestCaseError> {
        let mut left = bytes;
        let expected = self.entries[from as usize - 1..].iter().enumerate();
        let expected = expected.take_while(|(nth, payload)| {
            let fits = *nth == 0 || payload.len() <= left;
            left = left.saturating_sub(payload.len());
            fits
        });
        let expected: Vec<(u64, &[u8])> = expected
            .map(|(nth, payload)| (from + nth as u64, payload.as_slice()))
            .collect();
        let found: Vec<(u64, &[u8])> = found
            .iter()
            .map(|record| (record.index, &record.payload[..]))
            .collect();
        prop_assert!(
            !found.is_empty() && expected.starts_with(&found),
            "found {found:?} instead of {expected:?}"
        );
        Ok(())
    }
}

fn commit<F: raft_log::Files>(log: &mut Log<F>, ops: &[(u64, Option<Vec<u8>>)]) {
    let mut batch = Batch::new();
    for (index, payload) in ops {
        let (index, term, kind) = (*index, 1, 3);
        match payload {
            Some(payload) => batch.append(Record {
                index,
                term,
                kind,
                payload,
            }),
            None => batch.truncate_from(index),
        };
    }
    log.commit(&batch).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Whatever is written, cut and purged across many segments: a read answers what was written, from memory or not.
    #[test]
    fn like_a_vector(steps in prop::collection::vec(step(), 1..60), tail_bytes in 0usize..6000) {
        let (mut log, _) = Log::open_with(SimDisk::new(), Path::new("/log"), options(tail_bytes)).unwrap();
        let reader = log.reader();
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Commit(parts) => commit(&mut log, &model.batch(parts)),
                Step::Purge(count) => {
                    let up_to = (model.purged + count).min(model.last());
                    log.purge(up_to).unwrap();
                    model.purged = up_to;
                }
                Step::Read(back, bytes) => {
                    let from = model.last().saturating_sub(*back).max(model.purged + 1);
                    match reader.read(from, *bytes) {
                        Ok(found) => model.check(from, *bytes, &found)?,
                        Err(error) => prop_assert!(from > model.last(), "entry {from}: {error}"),
                    }
                }
            }
        }
    }
}

/// How many of the newest entries are read although every record in the files is ruined.
fn in_memory(dir: &Path, reader: &Reader, last: u64) -> u64 {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let len = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0xff; len as usize]).unwrap();
        }
    }
    let readable = |&index: &u64| match reader.read(index, 1) {
        Ok(records) => records[0].index == index && records[0].payload == payload(index),
        Err(ReadError::Corrupt { .. }) => false,
        Err(error) => panic!("entry {index}: {error}"),
    };
    (1..=last).rev().take_while(readable).count() as u64
}

fn payload(index: u64) -> Vec<u8> {
    let mut payload = index.to_le_bytes().to_vec();
    payload.resize(100, 7);
    payload
}

fn write(log: &mut Log<OsFiles>, count: u64, entries: u64) {
    while log.last_index() < count {
        let next = log.last_index() + 1;
        let ops = (next..next + entries).map(|index| (index, Some(payload(index))));
        commit(log, &ops.collect::<Vec<_>>());
    }
}

/// The newest entries come from memory, by single ones and in batches, and they occupy no more than was allowed.
#[test]
fn bounded() {
    for entries in [1, 20] {
        let temporary = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(temporary.path().join("log"), options(TAIL_BYTES)).unwrap();
        write(&mut log, 1000, entries);
        let reader = log.reader();
        let found = in_memory(&temporary.path().join("log"), &reader, log.last_index());
        // A record occupies 152 bytes.
        let most = TAIL_BYTES as u64 / 152;
        assert!(
            (most / 3..=most).contains(&found),
            "{entries} a batch: {found} entries are in memory, and {most} fit"
        );
    }
}

/// Nothing is kept if nothing may be.
#[test]
fn switched_off() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let (mut log, _) = Log::open(&dir, options(0)).unwrap();
    write(&mut log, 100, 1);
    assert_eq!(in_memory(&dir, &log.reader(), 100), 0);
}

/// A batch that is too large to be kept leaves no gap behind: what is older goes too.
#[test]
fn too_large_to_be_kept() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let (mut log, _) = Log::open(&dir, options(TAIL_BYTES)).unwrap();
    write(&mut log, 10, 1);
    let large = vec![1; 2 * TAIL_BYTES];
    commit(&mut log, &[(11, Some(large.clone()))]);
    write(&mut log, 20, 1);
    let reader = log.reader();
    let found = reader.read(5, 4 * TAIL_BYTES).unwrap();
    let indexes: Vec<u64> = found.iter().map(|record| record.index).collect();
    assert_eq!(indexes, (5..=20).collect::<Vec<_>>());
    assert!(found[6].payload == large);
    assert_eq!(in_memory(&dir, &reader, 20), 9);
}
