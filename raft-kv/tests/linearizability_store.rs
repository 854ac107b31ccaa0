//! Long histories of the real store with many clients and lost answers: good ones are found good, and those of a store with a
//! bug are found bad, both soon.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

use std::cell::RefCell;
use std::time::Instant;

use crate::linearizability_harness::store::{Asks, RealStore};
use crate::linearizability_harness::{Plan, Random, run_clients};
use raft_kv::sim::linearizability::Verdict;
use raft_kv::sim::linearizability::kv::{self, History, Input, Output};

/// For a history of some hundred operations.
const BUDGET: u64 = 200_000;

/// What is wrong with a store.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Bug {
    None,
    /// Now and then a read comes from a state that is some time old.
    StaleRead,
    /// Now and then a write is acknowledged and lost.
    LostWrite,
    /// Now and then a write is applied twice.
    AppliedTwice,
    /// Now and then what was read is what another key holds.
    WrongKey,
}

/// What clients saw of a store, and how often the bug has shown.
fn run(random: &mut Random, plan: &Plan, asks: Asks, bug: Bug) -> (History, u64) {
    let store = RefCell::new(RealStore::new());
    let asks = RefCell::new(asks);
    let mut old: Vec<RealStore> = Vec::new();
    let mut shown = 0;
    let mut chance = Random(random.below(u64::MAX));
    let ask = |random: &mut Random| asks.borrow_mut().any(random, store.borrow().revision());
    let apply = |input: &Input, answered: bool| {
        let mut store = store.borrow_mut();
        old.push(store.clone());
        // What nobody hears of, or nobody asks after, shows nothing.
        let strikes =
            answered && asks.borrow().next + 60 < plan.operations as u64 && chance.percent(3);
        let write = matches!(input, Input::Write(_));
        match bug {
            Bug::StaleRead if strikes && !write => {
                let at = old.len().saturating_sub(150);
                // Old enough to be before any overlapping write.
                if old[at].revision() + 50 < store.revision() {
                    shown += 1;
                    return old[at].apply(input);
                }
            }
            Bug::LostWrite if strikes && write => {
                let mut lost = store.clone();
                let output = lost.apply(input);
                shown += u64::from(lost.revision() > store.revision());
                return output;
            }
            Bug::AppliedTwice if strikes && write => {
                let output = store.apply(input);
                let once = store.revision();
                store.apply(input);
                shown += u64::from(store.revision() > once);
                return output;
            }
            Bug::WrongKey if strikes && !write => {
                let mut output = store.apply(input);
                if let Output::Read { reply, .. } = &mut output
                    && let Some(kv) = reply.kvs.first_mut()
                    && !kv.value.is_empty()
                {
                    kv.value = "of another key".into();
                    shown += 1;
                }
                return output;
            }
            _ => {}
        }
        store.apply(input)
    };
    let history = run_clients(random, plan, ask, apply);
    (history, shown)
}

fn asks(keys: u64, ranges_percent: u64, unique_values: bool) -> Asks {
    Asks {
        keys,
        ranges_percent,
        unique_values,
        next: 0,
    }
}

fn plan(operations: usize) -> Plan {
    Plan {
        clients: 8,
        operations,
        unknown_percent: 5,
    }
}

fn each_kind(mut run: impl FnMut(u64, Asks)) {
    for seed in 0..8 {
        for keys in [1, 3, 40] {
            for ranges_percent in [0, 20] {
                for unique_values in [true, false] {
                    run(seed, asks(keys, ranges_percent, unique_values));
                }
            }
        }
    }
}

#[test]
fn what_a_sound_store_answers_is_linearizable() {
    each_kind(|seed, asks| {
        let (history, _) = run(&mut Random(seed), &plan(250), asks, Bug::None);
        let verdict = kv::check(&history, BUDGET);
        assert!(verdict.is_linearizable(), "{seed}: {verdict}");
    });
}

#[test]
fn every_bug_is_found() {
    for bug in [
        Bug::StaleRead,
        Bug::LostWrite,
        Bug::AppliedTwice,
        Bug::WrongKey,
    ] {
        let (mut shown, mut found, mut inconclusive) = (0, 0, 0);
        each_kind(|seed, asks| {
            let (history, times) = run(&mut Random(seed), &plan(400), asks, bug);
            let verdict = kv::check(&history, BUDGET);
            assert!(
                times > 0 || verdict.is_linearizable(),
                "{bug:?} {seed}: {verdict}"
            );
            shown += u64::from(times > 0);
            found += u64::from(times > 0 && matches!(verdict, Verdict::NotLinearizable(_)));
            inconclusive += u64::from(matches!(verdict, Verdict::Inconclusive { .. }));
        });
        println!(
            "{bug:?}: shows in {shown} histories, found in {found}, inconclusive in {inconclusive}"
        );
        // A second application may look like one of another write, whose answer was lost.
        assert!(
            shown > 50 && found * 100 >= shown * 95,
            "{bug:?}: {found} of {shown}"
        );
    }
}

#[test]
fn two_thousand_operations_on_one_key_take_no_time() {
    for unique_values in [true, false] {
        for seed in 0..3 {
            let (history, _) = run(
                &mut Random(seed),
                &plan(2000),
                asks(1, 0, unique_values),
                Bug::None,
            );
            let begun = Instant::now();
            let verdict = kv::check(&history, 1_000_000);
            println!("2,000 operations: {:?}", begun.elapsed());
            assert!(verdict.is_linearizable(), "{verdict}");
        }
    }
}
