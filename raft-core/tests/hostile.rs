//! No sequence of inputs makes the core panic: not envelopes made up of anything, in any order, in any role, nor a driver that answers late,
//! in parts, wrongly, or dies and comes back (F-P20, F-N4, S-K6). And the same inputs always give the same effects (S-M15). What a run does
//! and checks stands in `attack/mod.rs`, which the fuzzer shares.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use crate::attack::{CLUSTER, Fetched, Input, Mark, member, run};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use raft_core::*;

/// Mostly small numbers, so that they meet; now and then a huge one.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0u64..8, 1 => Just(u64::MAX), 1 => Just(1 << 62), 1 => Just((1 << 62) - 1)]
}

fn log_id() -> impl Strategy<Value = LogId> {
    (number(), number()).prop_map(|(index, term)| LogId::new(index, term))
}

/// A membership of so many voters; of none, as no honest peer has it.
fn members(voters: u64) -> Membership {
    let voters = (1..=voters).map(|node| (member(node, node), Bytes::new()));
    Membership::of_voters(voters).unwrap_or_else(|_| crate::attack::of_nobody())
}

fn payload() -> impl Strategy<Value = Payload> {
    let members =
        Membership::of_voters([(member(1, 1), Bytes::new()), (member(2, 2), Bytes::new())])
            .expect("two voters");
    let without_n1 = Membership::of_voters([2, 3].map(|node| (member(node, node), Bytes::new())))
        .expect("two voters");
    let learner = MembershipParts {
        members: vec![
            (NodeId(1), Member::new(Incarnation(1), Bytes::new())),
            (
                NodeId(2),
                Member {
                    promote: true,
                    ..Member::new(Incarnation(2), Bytes::new())
                },
            ),
        ],
        voters: vec![NodeId(1)],
        ..MembershipParts::default()
    };
    let joint = MembershipParts {
        outgoing: vec![NodeId(1), NodeId(2)],
        replaced: vec![member(3, 3)],
        members: [1, 2, 3]
            .map(|n| (NodeId(n), Member::new(Incarnation(n % 3), Bytes::new())))
            .into(),
        voters: vec![NodeId(2), NodeId(3)],
        demoted: vec![NodeId(1)],
    };
    let made = |parts| Membership::from_parts(parts).expect("a membership");
    prop_oneof![
        2 => Just(Payload::Noop),
        2 => Just(Payload::Command(Bytes::from_static(b"x"))),
        1 => Just(Payload::Membership(members)),
        1 => Just(Payload::Membership(without_n1)),
        1 => Just(Payload::Membership(made(learner))),
        1 => Just(Payload::Membership(made(joint)))
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let id = (0u64..6, 0u64..4).prop_map(|(node, incarnation)| member(node, incarnation));
    let seat = prop_oneof![
        Just(Seat::Voter),
        Just(Seat::Learner),
        Just(Seat::Promotable)
    ];
    (id, seat, 0u8..7).prop_map(|(id, seat, kind)| match kind {
        0 => Step::Remove(id),
        1 => Step::Seat(id, seat),
        2 => Step::Context(id, Bytes::from(vec![0; 1023 + id.node.0 as usize])),
        3 => Step::Priority(id, 5),
        _ => Step::Add {
            member: id,
            context: Bytes::new(),
            seat,
            priority: 0,
        },
    })
}

fn entries() -> impl Strategy<Value = (LogId, Vec<Entry>)> {
    let honest = (
        0u64..6,
        prop::collection::vec((0u64..2, payload()), 0..5),
        0u64..5,
    )
        .prop_map(|(index, steps, term)| {
            let term = if index == 0 { 0 } else { term.max(1) };
            let prev = LogId::new(index, term);
            let mut at = LogId::new(index, term);
            let entries = steps.into_iter().map(|(up, payload)| {
                at = LogId::new(at.index.0 + 1, (at.term.0 + up).max(1));
                Entry { id: at, payload }
            });
            let entries = entries.collect();
            (prev, entries)
        });
    let any_entry = (log_id(), payload()).prop_map(|(id, payload)| Entry { id, payload });
    prop_oneof![4 => honest, 1 => (log_id(), prop::collection::vec(any_entry, 0..4))]
}

fn message() -> impl Strategy<Value = Message> {
    let id = (prop_oneof![4 => Just(1u64), 1 => number()], 0u64..40)
        .prop_map(|(boot, number)| RequestId {
            boot: Boot(boot),
            number,
        })
        .boxed();
    let result = prop_oneof![
        number().prop_map(|index| AppendResult::Matched(Index(index))),
        number().prop_map(|index| AppendResult::Full(Index(index))),
        (number(), log_id()).prop_map(|(prev, hint)| AppendResult::Conflict {
            prev: Index(prev),
            hint
        }),
    ];
    prop_oneof![
        1 => (id.clone(), log_id()).prop_map(|(id, last)| Message::PreVoteRequest { id, last }),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, granted)| Message::PreVoteResponse { id, granted }),
        1 => (id.clone(), log_id(), any::<bool>())
            .prop_map(|(id, last, transfer)| Message::VoteRequest { id, last, transfer }),
        1 => id.clone().prop_map(|id| Message::TimeoutNow { id }),
        1 => (id.clone(), log_id()).prop_map(|(id, at)| Message::NotAMember { id, at }),
        1 => (id.clone(), any::<bool>()).prop_map(|(id, granted)| Message::VoteResponse { id, granted }),
        4 => (id.clone(), entries(), number())
            .prop_map(|(id, (prev, entries), commit)| Message::AppendRequest { id, prev, entries: entries.into(), commit: Index(commit) }),
        1 => id.clone().prop_map(|id| Message::ReadRequest { id }),
        1 => (id.clone(), prop::option::of(number()))
            .prop_map(|(id, index)| Message::ReadResponse { id, index: index.map(Index) }),
        2 => (id.clone(), log_id(), log_id(), 0u64..4).prop_map(|(id, last, membership_at, voters)| Message::SnapshotRequest {
            id,
            snapshot: Snapshot { last, membership: members(voters), membership_at },
        }),
        2 => (id.clone(), result).prop_map(|(id, result)| Message::AppendResponse { id, result }),
        1 => (id.clone(), number()).prop_map(|(id, commit)| Message::HeartbeatRequest { id, commit: Index(commit) }),
        1 => (id, number(), any::<bool>()).prop_map(|(id, matched, full)| Message::HeartbeatResponse {
            id,
            matched: Index(matched),
            full,
        }),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let from = prop_oneof![4 => Just((2, 2)), 4 => Just((3, 3)), 1 => Just((3, 9)), 1 => Just((1, 1)), 1 => Just((8, 8))];
    (from, number(), number(), message()).prop_map(|((node, incarnation), boot, term, message)| {
        Envelope {
            cluster: CLUSTER,
            from: Sender {
                member: member(node, incarnation),
                boot: Boot(boot),
            },
            to: member(1, 1),
            term: Term(term),
            message,
        }
    })
}

/// What comes of a fetch.
fn fetched() -> impl Strategy<Value = Fetched> {
    prop_oneof![
        4 => Just(Fetched::All),
        1 => Just(Fetched::One),
        1 => Just(Fetched::Nothing),
        1 => entries().prop_map(|(_, entries)| Fetched::Lies(entries)),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let count = || prop_oneof![2 => Just(usize::MAX), 1 => 0usize..3];
    let at = prop_oneof![4 => Just(None), 1 => log_id().prop_map(Some)];
    let steps = prop::collection::vec(step(), 1..3);
    let one = prop_oneof![
        4 => (0u32..20).prop_map(Input::Tick),
        1 => Just(Input::Tick(u32::MAX)),
        4 => envelope().prop_map(Input::Receive),
        6 => (2u64..4, 0u64..6, message())
            .prop_map(|(node, ahead, message)| Input::Hear(node, ahead / 4, message)),
        1 => (0usize..4, 0usize..120).prop_map(|(count, bytes)| Input::Propose(count, bytes)),
        1 => Just(Input::Read),
        2 => (steps, at).prop_map(|(steps, at)| Input::Change(steps, at)),
        1 => prop::option::of(0u64..6).prop_map(Input::Transfer),
        1 => any::<bool>().prop_map(Input::Full),
        4 => count().prop_map(Input::Drain),
        4 => count().prop_map(Input::Persist),
        3 => count().prop_map(Input::Apply),
        2 => fetched().prop_map(Input::Fetched),
        2 => any::<bool>().prop_map(Input::Taken),
        1 => Just(Input::Installed),
        1 => any::<bool>().prop_map(Input::Sent),
        4 => count().prop_map(Input::Agree),
        2 => Just(Input::Refuse),
        1 => number().prop_map(Input::WrongAnswer),
        1 => (0usize..4).prop_map(Input::Restart),
    ];
    prop::collection::vec(one, 0..150)
}

const MARKS: [Mark; 13] = [
    Mark::Led,
    Mark::Committed,
    Mark::Restarted,
    Mark::Cut,
    Mark::Fetched,
    Mark::Took,
    Mark::SentSnapshot,
    Mark::Installed,
    Mark::Answered,
    Mark::Changed,
    Mark::Transfer,
    Mark::Removed,
    Mark::Rejected,
];

/// What was not reached.
fn missing(reached: &BTreeSet<Mark>) -> Vec<Mark> {
    let not_there = |mark: &Mark| !reached.contains(mark);
    MARKS.into_iter().filter(not_there).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_panics_and_all_is_repeatable(inputs in inputs()) {
        prop_assert_eq!(run(&inputs), run(&inputs));
    }

    /// The fuzzer's decoder is total, and its inputs are as harmless.
    #[test]
    fn any_bytes_are_inputs(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let inputs = crate::attack::decode(&bytes);
        prop_assert_eq!(run(&inputs), run(&inputs));
    }
}

/// How a node comes to lead that is answered honestly.
fn elected() -> Vec<Input> {
    let mut inputs = vec![Input::Drain(usize::MAX), Input::Persist(usize::MAX)];
    inputs.extend([3; 6].map(Input::Tick));
    for _ in 0..4 {
        inputs.push(Input::Drain(usize::MAX));
        inputs.push(Input::Persist(usize::MAX));
        inputs.push(Input::Agree(usize::MAX));
    }
    inputs
}

/// How it comes to have a log whose front is gone, and a peer that knows nothing of it.
fn with_a_short_log() -> Vec<Input> {
    let mut inputs = Vec::new();
    for _ in 0..3 {
        inputs.push(Input::Propose(3, 1));
        for _ in 0..3 {
            inputs.extend([
                Input::Drain(usize::MAX),
                Input::Persist(usize::MAX),
                Input::Agree(usize::MAX),
                Input::Fetched(Fetched::All),
                Input::Apply(usize::MAX),
                Input::Taken(true),
            ]);
        }
    }
    let learner = Step::Add {
        member: member(4, 4),
        context: Bytes::new(),
        seat: Seat::Learner,
        priority: 0,
    };
    inputs.extend([
        Input::Change(vec![learner], None),
        Input::Drain(usize::MAX),
        Input::Refuse,
        Input::Refuse,
        Input::Refuse,
    ]);
    inputs
}

/// The generator above is not vacuous: a node that is answered honestly leads, and is then attacked as a leader; and every part of the core
/// is reached by some run.
#[test]
fn leaders_are_attacked_too() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut led_runs = 0;
    let mut reached = BTreeSet::new();
    for number in 0..300 {
        let mut attack = inputs().new_tree(&mut runner).expect("a tree").current();
        let mut inputs = elected();
        if number % 2 == 1 {
            inputs.extend(with_a_short_log());
        }
        inputs.append(&mut attack);
        let marks = run(&inputs).1;
        led_runs += usize::from(marks.contains(&Mark::Led));
        reached.extend(marks);
    }
    assert!(
        led_runs > 250,
        "only {led_runs} of 300 runs had a leader to attack"
    );
    let missing = missing(&reached);
    assert!(missing.is_empty(), "no run came to {missing:?}");
}

/// The fuzzer's corpus: what it found to lead to different places, among them every part of the core.
#[test]
fn the_corpus_of_the_fuzzer() {
    let mut reached = BTreeSet::new();
    let mut files = 0;
    for file in std::fs::read_dir("fuzz/corpus/attack").unwrap() {
        let path = file.unwrap().path();
        let inputs = crate::attack::decode(&std::fs::read(&path).unwrap());
        let result = std::panic::catch_unwind(|| (run(&inputs), run(&inputs)));
        let (first, again) = result.unwrap_or_else(|panic| {
            eprintln!("with {}", path.display());
            std::panic::resume_unwind(panic)
        });
        assert_eq!(first, again, "{}", path.display());
        reached.extend(first.1);
        files += 1;
    }
    assert!(files >= 20, "only {files} files");
    let missing = missing(&reached);
    assert!(
        missing.is_empty(),
        "the corpus does not come to {missing:?}"
    );
}
