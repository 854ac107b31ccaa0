//! Histories written by hand, a line an operation, good and bad: what linearizable means, by example.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

use crate::linearizability_harness::brute_force;
use crate::linearizability_harness::models::{Cas, Counter, Lock, Machine, Of, Register};
use crate::linearizability_harness::store::{only_key, store_history};
use raft_kv::sim::linearizability::{Verdict, check, check_by_key, kv};

const ENOUGH: u64 = 100_000;

fn verdict<M: Machine>(text: &str) -> Verdict {
    let history = M::history(text);
    let verdict = check(&Of(M::default()), &history, ENOUGH);
    assert_eq!(
        verdict.is_linearizable(),
        brute_force(&Of(M::default()), &history),
        "{text}"
    );
    verdict
}

fn good<M: Machine>(text: &str) {
    assert_eq!(verdict::<M>(text), Verdict::Linearizable, "{text}");
}

fn bad<M: Machine>(text: &str) {
    assert!(
        matches!(verdict::<M>(text), Verdict::NotLinearizable(_)),
        "{text}"
    );
}

fn store_verdict(text: &str) -> Verdict {
    kv::check(&store_history(text), ENOUGH)
}

/// What the keys by themselves say; none where something is about more than one.
fn by_key(text: &str) -> Option<Verdict> {
    let history = store_history(text);
    let single = history
        .operations()
        .all(|operation| only_key(&operation.input).is_some());
    single.then(|| check_by_key(&kv::KeyModel::default(), &history, only_key, ENOUGH))
}

/// In every way.
fn good_store(text: &str) {
    assert_eq!(store_verdict(text), Verdict::Linearizable, "{text}");
    let whole = check(&kv::StoreModel::default(), &store_history(text), ENOUGH);
    assert_eq!(whole, Verdict::Linearizable, "{text}");
    let by_key = by_key(text).unwrap_or(Verdict::Linearizable);
    assert_eq!(by_key, Verdict::Linearizable, "{text}");
}

/// A single key tells.
fn bad_key(text: &str) {
    bad_store(text);
    assert!(
        matches!(by_key(text), Some(Verdict::NotLinearizable(_))),
        "{text}"
    );
}

fn bad_store(text: &str) {
    assert!(
        matches!(store_verdict(text), Verdict::NotLinearizable(_)),
        "{text}"
    );
    let whole = check(&kv::StoreModel::default(), &store_history(text), ENOUGH);
    assert!(matches!(whole, Verdict::NotLinearizable(_)), "{text}");
}

#[test]
fn nothing_at_all_is_good() {
    good::<Register>("");
    good_store("");
}

#[test]
fn one_after_the_other() {
    good::<Register>(
        "A write 1 -> ok  [0..1]
         A read -> 1      [2..3]
         B read -> 1      [4..5]",
    );
    bad::<Register>(
        "A write 1 -> ok  [0..1]
         A read -> 0      [2..3]",
    );
}

#[test]
fn a_value_from_nowhere() {
    bad::<Register>("A read -> 7      [0..1]");
    bad::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 7      [2..3]",
    );
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    good::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 0      [2..4]",
    );
    good::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 1      [2..4]",
    );
}

#[test]
fn what_one_reader_has_seen_the_next_must_see() {
    good::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 0      [1..3]
         C read -> 1      [4..6]",
    );
    bad::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 1      [1..3]
         C read -> 0      [4..6]",
    );
    // While they overlap, it may be the other way round.
    good::<Register>(
        "A write 1 -> ok  [0..9]
         B read -> 1      [1..4]
         C read -> 0      [3..6]",
    );
}

#[test]
fn an_answer_and_a_question_at_the_same_time_overlap() {
    good::<Register>(
        "A write 1 -> ok  [0..3]
         B read -> 0      [3..5]",
    );
    bad::<Register>(
        "A write 1 -> ok  [0..3]
         B read -> 0      [4..5]",
    );
}

#[test]
fn two_writes_at_once_are_seen_in_one_order() {
    good::<Register>(
        "A write 1 -> ok  [0..5]
         B write 2 -> ok  [0..5]
         C read -> 2      [6..7]
         D read -> 2      [8..9]",
    );
    bad::<Register>(
        "A write 1 -> ok  [0..5]
         B write 2 -> ok  [0..5]
         C read -> 2      [6..7]
         D read -> 1      [8..9]",
    );
}

#[test]
fn an_unknown_write_may_come_late_or_never() {
    good::<Register>(
        "A write 1        [0..?]
         B read -> 0      [5..6]
         B read -> 0      [7..8]",
    );
    good::<Register>(
        "A write 1        [0..?]
         B read -> 0      [5..6]
         B write 2 -> ok  [7..8]
         B read -> 1      [9..10]",
    );
}

#[test]
fn an_unknown_write_comes_once() {
    bad::<Register>(
        "A write 1        [0..?]
         B read -> 1      [5..6]
         B write 2 -> ok  [7..8]
         B read -> 1      [9..10]",
    );
}

#[test]
fn an_unknown_write_does_not_come_before_it_is_asked() {
    bad::<Register>(
        "B read -> 1      [0..1]
         A write 1        [2..?]",
    );
}

#[test]
fn two_unknown_writes_that_are_alike_may_both_come() {
    good::<Register>(
        "A write 1        [0..?]
         B write 1        [0..?]
         C read -> 1      [1..2]
         C write 2 -> ok  [3..4]
         C read -> 1      [5..6]",
    );
    // The second is asked only after it would be needed.
    bad::<Register>(
        "A write 1        [0..?]
         C read -> 1      [1..2]
         C write 2 -> ok  [3..4]
         C read -> 1      [5..6]
         B write 1        [7..?]",
    );
}

#[test]
fn one_of_two_swaps_from_the_same_value_succeeds() {
    good::<Cas>(
        "A cas 0 1 -> ok  [0..5]
         B cas 0 2 -> no  [0..5]
         C read -> 1      [6..7]",
    );
    bad::<Cas>(
        "A cas 0 1 -> ok  [0..5]
         B cas 0 2 -> ok  [0..5]",
    );
    bad::<Cas>("A cas 0 1 -> no  [0..5]");
}

#[test]
fn a_refused_swap_shows_that_an_unknown_one_happened() {
    good::<Cas>(
        "A cas 0 1        [0..?]
         B cas 0 2 -> no  [1..2]
         C read -> 1      [3..4]",
    );
    bad::<Cas>(
        "A cas 0 1        [0..?]
         B cas 0 2 -> no  [1..2]
         C read -> 0      [3..4]",
    );
}

#[test]
fn swaps_make_a_chain() {
    good::<Cas>(
        "A cas 2 3 -> ok  [0..9]
         B cas 1 2 -> ok  [0..9]
         C cas 0 1 -> ok  [0..9]
         D read -> 3      [10..11]",
    );
    bad::<Cas>(
        "A cas 2 3 -> ok  [0..4]
         B cas 1 2 -> ok  [5..9]
         C cas 0 1 -> ok  [0..9]",
    );
}

#[test]
fn every_addition_counts_once() {
    good::<Counter>(
        "A add 1 -> 2     [0..5]
         B add 1 -> 1     [0..5]",
    );
    bad::<Counter>(
        "A add 1 -> 1     [0..5]
         B add 1 -> 1     [0..5]",
    );
    bad::<Counter>(
        "A add 1 -> 2     [0..1]
         B add 1 -> 1     [2..5]",
    );
}

#[test]
fn unknown_additions_are_counted_if_they_are_needed() {
    good::<Counter>(
        "A add 1          [0..?]
         B add 1          [0..?]
         C add 0 -> 1     [3..4]
         C add 0 -> 2     [5..6]",
    );
    bad::<Counter>(
        "A add 1          [0..?]
         B add 1          [0..?]
         C add 0 -> 3     [3..4]",
    );
    bad::<Counter>(
        "A add 1          [0..?]
         C add 0 -> 1     [3..4]
         C add 0 -> 0     [5..6]",
    );
}

#[test]
fn a_lock_is_held_by_one() {
    good::<Lock>(
        "A take -> 1      [0..1]
         B take -> held   [2..3]
         A free 1 -> ok   [4..5]
         B take -> 2      [6..7]",
    );
    bad::<Lock>(
        "A take -> 1      [0..1]
         B take -> 2      [2..3]",
    );
    // The lock may be freed before the answer says so.
    good::<Lock>(
        "A take -> 1      [0..1]
         A free 1 -> ok   [2..9]
         B take -> 2      [3..4]",
    );
}

#[test]
fn tokens_rise() {
    bad::<Lock>(
        "A take -> 2      [0..1]
         A free 2 -> ok   [2..3]
         B take -> 1      [4..5]",
    );
    bad::<Lock>(
        "A take -> 1      [0..1]
         A free 1 -> ok   [2..3]
         B take -> 1      [4..5]",
    );
}

#[test]
fn an_old_token_frees_nothing() {
    bad::<Lock>(
        "A take -> 1      [0..1]
         A free 1 -> ok   [2..3]
         B take -> 2      [4..5]
         A free 1 -> ok   [6..7]",
    );
    // Somebody whose answer was lost has taken and freed it between.
    good::<Lock>(
        "A take           [0..?]
         A free 1         [2..?]
         B take -> 2      [4..5]",
    );
    bad::<Lock>(
        "A take           [0..?]
         B take -> 2      [4..5]
         A free 1         [6..?]",
    );
}

#[test]
fn a_store_tells_created_modified_and_version() {
    good_store(
        "A put x 1 -> @1                    [0..1]
         A put y 1 -> @2                    [2..3]
         A put x 2 -> @3                    [4..5]
         B get x -> x=2(1,3,v2) @3          [6..7]",
    );
    for wrong in [
        "x=2(1,3,v1)",
        "x=2(3,3,v2)",
        "x=2(1,2,v2)",
        "x=1(1,3,v2)",
        "absent",
    ] {
        bad_store(&format!(
            "A put x 1 -> @1                    [0..1]
             A put y 1 -> @2                    [2..3]
             A put x 2 -> @3                    [4..5]
             B get x -> {wrong} @3              [6..7]"
        ));
    }
}

#[test]
fn a_deleted_key_begins_anew() {
    good_store(
        "A put x 1 -> @1                    [0..1]
         A delete x -> 1 @2                 [2..3]
         A delete x -> 0 @2                 [4..5]
         A put x 2 -> @3                    [6..7]
         B get x -> x=2(3,3,v1)             [8..9]",
    );
    bad_store(
        "A put x 1 -> @1                    [0..1]
         A delete x -> 1 @2                 [2..3]
         A put x 2 -> @3                    [6..7]
         B get x -> x=2(1,3,v2)             [8..9]",
    );
}

#[test]
fn a_store_read_is_not_stale() {
    bad_store(
        "A put x 1 -> @1                    [0..1]
         A put x 2 -> @2                    [2..3]
         B get x -> x=1(1,1,v1) @1          [4..5]",
    );
    // Nor is one of another key, which only its revision tells.
    bad_store(
        "A put x 1 -> @1                    [0..1]
         B get y -> absent @0               [4..5]",
    );
    good_store(
        "A put x 1 -> @1                    [0..3]
         B get y -> absent @0               [2..5]",
    );
}

#[test]
fn an_unknown_put_that_was_seen_has_a_revision() {
    good_store(
        "A put x 1 -> @1                    [0..1]
         B put x 2                          [2..?]
         C get x -> x=2(1,2,v2) @2          [3..4]
         C put x 3 -> @3                    [5..6]
         C get x -> x=3(1,3,v3) @3          [7..8]",
    );
    // It is not applied a second time.
    bad_store(
        "A put x 1 -> @1                    [0..1]
         B put x 2                          [2..?]
         C get x -> x=2(1,2,v2) @2          [3..4]
         C put x 3 -> @3                    [5..6]
         C get x -> x=2(1,4,v4) @4          [7..8]",
    );
}

#[test]
fn an_unknown_put_that_nobody_saw_is_still_counted() {
    good_store(
        "A put x 1 -> @1                    [0..1]
         B put x 2                          [2..?]
         C put x 3 -> @3                    [5..6]
         C get x -> x=3(1,3,v3) @3          [7..8]",
    );
    bad_store(
        "A put x 1 -> @1                    [0..1]
         C put x 3 -> @3                    [5..6]
         C get x -> x=3(1,3,v3) @3          [7..8]",
    );
    bad_store(
        "A put x 1 -> @1                    [0..1]
         C put x 3 -> @3                    [5..6]
         C get x -> x=3(1,3,v3) @3          [7..8]
         B put x 2                          [9..?]",
    );
}

#[test]
fn a_write_that_was_applied_twice() {
    bad_store(
        "A put x 1 -> @1                    [0..1]
         B put y 1 -> @3                    [2..3]",
    );
    bad_store(
        "A put x 1 -> @1                    [0..1]
         B get x -> x=1(1,2,v2)             [2..3]",
    );
}

#[test]
fn conditions_of_the_store() {
    good_store(
        "A put x 1 if !x -> @1              [0..9]
         B put x 2 if !x -> no @1 x=1(1,1,v1) [0..9]
         B put x 2 if x@1 -> @2             [10..11]
         C put x 3 if x=1 -> no @2 x=2(1,2,v2) [12..13]
         C delete x if x=2 -> 1 @3          [14..15]
         C delete x if x@0 -> 0 @3          [16..17]",
    );
    bad_store(
        "A put x 1 if !x -> @1              [0..9]
         B put x 2 if !x -> @2              [0..9]",
    );
    // It did hold.
    bad_store(
        "A put x 1 -> @1                    [0..1]
         B put x 2 if x=1 -> no @1 x=1(1,1,v1) [2..3]",
    );
}

#[test]
fn a_condition_on_a_revision_that_nobody_knows() {
    good_store(
        "A put x 1                          [0..?]
         B put x 2 if x@1 -> @2             [2..3]
         B get x -> x=2(1,2,v2) @2          [4..5]",
    );
    bad_store(
        "A put x 1                          [0..?]
         B put x 2 if x@2 -> @3             [2..3]",
    );
}

#[test]
fn a_condition_that_held_tells_the_revision() {
    let with = |seen: &str| {
        format!(
            "A put y 1 -> @1                    [0..1]
             A put y 2 -> @2                    [2..3]
             A put x 1                          [4..?]
             A put y 3 -> @4                    [5..6]
             B put x 2 if x@3 -> @5             [7..8]
             B get x -> x=2({seen},5,v2) @5     [9..10]"
        )
    };
    good_store(&with("3"));
    bad_key(&with("4"));
}

#[test]
fn what_is_there_was_written_before() {
    let with = |revision: u64| {
        format!(
            "A put x 1                          [0..?]
             B put y 1                          [0..?]
             B count x -> 1 @1                  [1..2]
             B get x -> x=1({revision},{revision},v1) @2 [3..4]"
        )
    };
    good_store(&with(1));
    bad_key(&with(2));
}

#[test]
fn a_lost_update() {
    bad_store(
        "A get x -> absent @0               [0..1]
         B get x -> absent @0               [0..1]
         A put x 1 if !x -> @1              [2..3]
         B put x 2 if !x -> @1              [2..3]",
    );
}

#[test]
fn a_range_is_one_moment() {
    good_store(
        "A put k1 1 -> @1                   [0..9]
         A put k2 1 -> @2                   [0..9]
         B get k* -> k1=1(1,1,v1) @1        [1..2]
         B get k* -> k1=1(1,1,v1) k2=1(2,2,v1) @2 [3..4]
         B delete k* -> 2 @3                [10..11]",
    );
    // It has the second and not the first.
    bad_store(
        "A put k1 1 -> @1                   [0..9]
         A put k2 1 -> @2                   [0..9]
         B get k* -> k2=1(2,2,v1)           [1..2]",
    );
    // One revision for all that is deleted.
    bad_store(
        "A put k1 1 -> @1                   [0..1]
         A put k2 1 -> @2                   [2..3]
         B delete k* -> 2 @4                [4..5]",
    );
}

#[test]
fn a_condition_on_another_key() {
    good_store(
        "A put x 1 -> @1                    [0..1]
         B put y 1 if x=1 -> @2             [0..9]
         C delete x -> 1 @3                 [4..5]",
    );
    bad_store(
        "A put x 1 -> @1                    [0..1]
         C delete x -> 1 @2                 [4..5]
         B put y 1 if x=1 -> @3             [6..9]",
    );
}

#[test]
fn an_ended_session_says_nothing_of_an_earlier_try() {
    for seen in ["x=1(1,1,v1) @1", "absent @0"] {
        let text = format!(
            "A put x 1 -> expired               [0..5]
             B get x -> {seen}                  [7..8]"
        );
        assert_eq!(store_verdict(&text), Verdict::Linearizable);
    }
}

#[test]
fn a_forgotten_answer_says_that_it_was_applied() {
    good_store(
        "A put x 1 -> forgotten             [0..5]
         B get x -> x=1(1,1,v1) @1          [7..8]",
    );
    bad_store(
        "A put x 1 -> forgotten             [0..5]
         B get x -> absent @0               [7..8]",
    );
    good_store(
        "A put x 1                          [0..?]
         A put x 2 if x@1 -> forgotten      [0..5]
         B get x -> x=1(1,1,v1) @1          [7..8]",
    );
}

#[test]
fn a_violation_says_what_does_not_fit() {
    let Verdict::NotLinearizable(violation) = store_verdict(
        "A put x 1 -> @1                    [0..1]
         B get x -> x=1(1,1,v1)             [2..3]
         B put x 2                          [4..?]
         C get x -> x=1(1,2,v2)             [5..6]",
    ) else {
        panic!("good");
    };
    let text = violation.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert!(
        lines[0].starts_with("not linearizable: at most 2 of 3 answered operations"),
        "{text}"
    );
    assert_eq!(lines[1], "in this order:");
    assert!(lines.contains(&"none of these fits:"), "{text}");
    assert!(
        lines.last().unwrap().contains("get x -> x=1(1,2,v2)"),
        "{text}"
    );
    assert!(lines.last().unwrap().contains("[5..6]"), "{text}");
    let revisions = store_verdict(
        "A put x 1 -> @2                    [0..1]
         B put y 1 -> @1                    [2..3]",
    );
    assert!(
        revisions
            .to_string()
            .contains("asked after the first was answered"),
        "{revisions}"
    );
}

#[test]
fn what_takes_too_long_is_inconclusive() {
    let text = "A write 1 -> ok  [0..5]
                B write 2 -> ok  [0..5]
                C write 3 -> ok  [0..5]
                D read -> 1      [6..7]";
    let history = Register::history(text);
    let steps = |budget| check(&Of(Register), &history, budget);
    assert_eq!(steps(0), Verdict::Inconclusive { steps: 0 });
    assert_eq!(steps(3), Verdict::Inconclusive { steps: 3 });
    assert_eq!(steps(100), Verdict::Linearizable);
    // A bad one, too.
    let bad = Register::history(&text.replace("read -> 1", "read -> 4"));
    assert!(matches!(
        check(&Of(Register), &bad, 5),
        Verdict::Inconclusive { steps: 5 }
    ));
    assert!(matches!(
        check(&Of(Register), &bad, 100),
        Verdict::NotLinearizable(_)
    ));
}

#[test]
fn a_bad_key_is_found_when_another_takes_too_long() {
    let mut text = "A put y 1 -> @1 [0..1]\n".to_owned();
    for writer in 0..9 {
        text += &format!("A put x {writer} -> @{} [0..99]\n", writer + 2);
    }
    text += "A get x -> x=9(2,10,v9) [100..101]\n";
    let long = store_history(&text);
    assert!(matches!(kv::check(&long, 5), Verdict::Inconclusive { .. }));
    text += "A get y -> y=2(1,1,v1) [2..3]\n";
    assert!(matches!(
        kv::check(&store_history(&text), 5),
        Verdict::NotLinearizable(_)
    ));
}
