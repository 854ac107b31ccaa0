//! The checker beside one that tries every order, on small histories of any kind: they always agree.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

use std::cell::RefCell;

use crate::linearizability_harness::models::{Cas, Counter, Lock, Machine, Of, Register};
use crate::linearizability_harness::store::{Asks, RealStore, only_key, same_kind, tampered};
use crate::linearizability_harness::{Plan, Random, brute_force, mutated, run_clients};
use raft_kv::sim::linearizability::{History, Verdict, check, check_by_key, kv};

/// More steps than any history of this size takes.
const ENOUGH: u64 = 1_000_000;

fn is_good(verdict: &Verdict) -> bool {
    assert!(
        !matches!(verdict, Verdict::Inconclusive { .. }),
        "{verdict}"
    );
    verdict.is_linearizable()
}

/// How many were good and how many bad.
#[derive(Default, Debug)]
struct Tally {
    good: u64,
    bad: u64,
}

impl Tally {
    fn count(&mut self, good: bool) {
        *(if good { &mut self.good } else { &mut self.bad }) += 1;
    }

    fn assert_both(&self, at_least: u64) {
        assert!(self.good >= at_least && self.bad >= at_least, "{self:?}");
    }
}

/// Operations with any times and any answers that the machine ever gives.
fn any_history<M: Machine>(random: &mut Random) -> History<M::Input, M::Output> {
    let mut history = History::new();
    let mut state = M::State::default();
    for client in 0..1 + random.below(7) {
        let input = M::any(random);
        let invoked = random.below(12);
        let output = M::carry_out(&mut state, &input);
        let id = history.invoke(client, input, invoked);
        if !random.percent(20) {
            history.complete(id, output, invoked + random.below(6));
        }
    }
    history
}

fn small_plan(random: &mut Random) -> Plan {
    Plan {
        clients: 1 + random.below(4) as usize,
        operations: 1 + random.below(7) as usize,
        unknown_percent: 20,
    }
}

fn agrees<M: Machine>(seed: u64) {
    let random = &mut Random(seed);
    let mut tally = Tally::default();
    let compare = |history: &History<M::Input, M::Output>| {
        let expected = brute_force(&Of(M::default()), history);
        let verdict = check(&Of(M::default()), history, ENOUGH);
        assert_eq!(is_good(&verdict), expected, "{history:#?}\n{verdict}");
        expected
    };
    for _ in 0..8000 {
        tally.count(compare(&any_history::<M>(random)));
        let mut state = M::State::default();
        let plan = small_plan(random);
        let good = run_clients(random, &plan, M::any, |input, _| {
            M::carry_out(&mut state, input)
        });
        assert!(compare(&good), "{good:#?}");
        tally.count(compare(&mutated(random, &good, |_, _| true)));
    }
    tally.assert_both(1000);
}

#[test]
fn a_register() {
    agrees::<Register>(1);
}

#[test]
fn a_compare_and_swap() {
    agrees::<Cas>(2);
}

#[test]
fn a_counter() {
    agrees::<Counter>(3);
}

#[test]
fn a_lock() {
    agrees::<Lock>(4);
}

/// What the real store gave, and as it was after something was changed.
fn store_histories(
    seed: u64,
    keys: u64,
    ranges_percent: u64,
    mut each: impl FnMut(&kv::History, bool),
) {
    let random = &mut Random(seed);
    for round in 0..4000 {
        let mut asks = Asks {
            keys: 1 + random.below(keys),
            ranges_percent,
            unique_values: round % 2 == 0,
            next: 0,
        };
        let store = RefCell::new(RealStore::new());
        let plan = small_plan(random);
        let good = run_clients(
            random,
            &plan,
            |random| asks.any(random, store.borrow().revision()),
            |input, _| store.borrow_mut().apply(input),
        );
        each(&good, true);
        let mut bad = tampered(random, &good);
        each(&bad, false);
        for _ in 0..2 {
            bad = mutated(random, &bad, same_kind);
            each(&bad, false);
        }
    }
}

/// With ranges or without: with what answers tell of unanswered writes, and without.
#[test]
fn the_whole_store() {
    for ranges_percent in [0, 50] {
        let mut tally = Tally::default();
        store_histories(5, 2, ranges_percent, |history, untouched| {
            let expected = brute_force(&kv::StoreModel::default(), history);
            assert!(expected || !untouched, "{history:#?}");
            let plain = check(&kv::StoreModel::default(), history, ENOUGH);
            assert_eq!(is_good(&plain), expected, "{history:#?}\n{plain}");
            let verdict = kv::check(history, ENOUGH);
            assert_eq!(is_good(&verdict), expected, "{history:#?}\n{verdict}");
            tally.count(expected);
        });
        tally.assert_both(2000);
    }
}

#[test]
fn one_key() {
    let mut tally = Tally::default();
    store_histories(6, 1, 0, |history, untouched| {
        let expected = brute_force(&kv::KeyModel::default(), history);
        assert!(expected || !untouched, "{history:#?}");
        let verdict = check(&kv::KeyModel::default(), history, ENOUGH);
        assert_eq!(is_good(&verdict), expected, "{history:#?}\n{verdict}");
        tally.count(expected);
    });
    tally.assert_both(2000);
}

/// A key by itself sees less than the whole store, and nothing that is not there.
#[test]
fn key_by_key() {
    let mut tally = Tally::default();
    let mut only_whole = 0;
    store_histories(7, 3, 0, |history, _| {
        let key = only_key;
        let plain = check_by_key(&kv::KeyModel::default(), history, key, ENOUGH);
        let model = kv::KeyModel::new(kv::Evidence::of(history));
        let verdict = check_by_key(&model, history, key, ENOUGH);
        let whole = brute_force(&kv::StoreModel::default(), history);
        assert!(is_good(&verdict) || !whole, "{history:#?}\n{verdict}");
        assert!(
            is_good(&plain) || !is_good(&verdict),
            "{history:#?}\n{plain}"
        );
        only_whole += u64::from(is_good(&verdict) && !whole);
        tally.count(whole);
    });
    println!("{tally:?}; {only_whole} are bad only for the whole store");
    tally.assert_both(2000);
    assert!(only_whole < tally.bad / 2);
}
