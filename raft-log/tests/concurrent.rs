//! Readers beside the writer, on real files: whatever a read returns is the log as it was acknowledged at one moment between its
//! call and its return, while segments are begun, cut, purged and used again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use raft_log::{Batch, Log, Options, ReadError, Reader, Record};

const COMMITS: u64 = 2000;

/// The content at one moment: the last index purged, and the terms of the records behind it.
#[derive(Clone, Debug, Default)]
struct State {
    purged: u64,
    terms: Vec<u64>,
}

impl State {
    fn last(&self) -> u64 {
        self.purged + self.terms.len() as u64
    }
}

/// All states there were. A state is here before it can be seen; `acknowledged` says which one surely can be.
#[derive(Default)]
struct History {
    states: RwLock<Vec<Arc<State>>>,
    acknowledged: AtomicU64,
    over: AtomicBool,
}

fn payload(index: u64, term: u64) -> Vec<u8> {
    let len = [40, 3000, 0, 700][index as usize % 4];
    let word = (index << 20 | term).to_le_bytes();
    word.into_iter().cycle().take(len).collect()
}

fn draw(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) % below
}

/// Appends, cuts and purges; every state is told before and after it becomes durable.
fn write(log: &mut Log, history: &History) {
    let mut random = 7;
    let mut state = State::default();
    for nth in 1..=COMMITS {
        let term = 1 + nth / 10;
        let purge = draw(&mut random, 25) == 0;
        let keep = match draw(&mut random, 6) {
            0 => state.terms.len() - (draw(&mut random, 9) as usize).min(state.terms.len()),
            _ => state.terms.len(),
        };
        if purge {
            let count = draw(&mut random, state.terms.len() as u64 + 1);
            state.terms.drain(..count as usize);
            state.purged += count;
        } else {
            state.terms.truncate(keep);
        }
        let from = state.last() + 1;
        if !purge {
            let count = 1 + draw(&mut random, 6) as usize;
            state.terms.resize(state.terms.len() + count, term);
        }
        history
            .states
            .write()
            .unwrap()
            .push(Arc::new(state.clone()));
        if purge {
            log.purge(state.purged).unwrap();
        } else {
            let payloads: Vec<_> = (from..=state.last())
                .map(|index| payload(index, term))
                .collect();
            let vote = nth.to_le_bytes();
            let mut batch = Batch::new();
            batch.metadata(&vote).truncate_from(from);
            for (index, payload) in (from..).zip(&payloads) {
                batch.append(Record {
                    index,
                    term,
                    kind: 0,
                    payload,
                });
            }
            log.commit(&batch).unwrap();
        }
        history.acknowledged.store(nth, Ordering::SeqCst);
    }
}

/// Reads until the writer is done; how many reads gave records.
fn read(reader: &Reader, history: &History, seed: u64) -> u64 {
    let mut random = seed;
    let mut reads = 0;
    while !history.over.load(Ordering::SeqCst) {
        let before = history.acknowledged.load(Ordering::SeqCst) as usize;
        let near = history.states.read().unwrap()[before].clone();
        let from = near.purged + draw(&mut random, near.terms.len() as u64 + 6);
        let budget = [0, 5000, 200_000][draw(&mut random, 3) as usize];
        let result = reader.read(from, budget);
        let states = history.states.read().unwrap()[before..].to_vec();
        let fits: Box<dyn Fn(&State) -> bool> = match &result {
            Ok(records) => {
                reads += 1;
                assert!(!records.is_empty());
                for (record, index) in records.iter().zip(from..) {
                    assert_eq!(record.index, index);
                    assert_eq!(
                        record.payload,
                        payload(index, record.term),
                        "record {index}"
                    );
                }
                let terms: Vec<u64> = records.iter().map(|record| record.term).collect();
                Box::new(move |state| {
                    let start = from.checked_sub(state.purged + 1);
                    start.is_some_and(|start| {
                        state
                            .terms
                            .get(start as usize..start as usize + terms.len())
                            == Some(&terms)
                    })
                })
            }
            Err(ReadError::Purged { .. }) => Box::new(|state| from <= state.purged),
            Err(ReadError::BeyondEnd { .. }) => Box::new(|state| from > state.last()),
            Err(error) => panic!("{error}"),
        };
        assert!(
            states.iter().any(|state| fits(state)),
            "read {from}: {:?} is in none of {states:?}",
            result.map(|records| records
                .iter()
                .map(|record| (record.index, record.term))
                .collect::<Vec<_>>())
        );
    }
    reads
}

#[test]
fn readers_of_files_see_what_was_acknowledged() {
    run(0);
}

#[test]
fn readers_of_files_and_memory_see_what_was_acknowledged() {
    run(64 * 1024);
}

fn run(tail_bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        segment_bytes: 32 * 1024,
        tail_bytes,
        ..Options::new("concurrent")
    };
    let (mut log, _) = Log::open(dir.path(), options.clone()).unwrap();
    let history = History::default();
    history.states.write().unwrap().push(Arc::default());
    let reads: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = [11, 12, 13]
            .map(|seed| {
                let (reader, history) = (log.reader(), &history);
                scope.spawn(move || read(&reader, history, seed))
            })
            .into();
        // The readers end also if the writer fails.
        let written =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(&mut log, &history)));
        history.over.store(true, Ordering::SeqCst);
        written.unwrap();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    let counters = log.counters();
    println!(
        "{reads} reads beside {COMMITS} commits in {} segments",
        counters.rotations + 1
    );
    assert!(counters.rotations > 50 && reads > 100);
    log.close().unwrap();
    let (log, _) = Log::open(dir.path(), options).unwrap();
    let last = history.states.read().unwrap().last().unwrap().clone();
    assert_eq!(
        (log.first_index(), log.last_index()),
        (last.purged + 1, last.last())
    );
}
