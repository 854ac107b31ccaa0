//! Sessions: a command counts once, however often it is tried (S-L14).

use crate::store_machine::{Machine, command, put, put_if, raise};
use raft_kv::api::*;
use raft_kv::store::Settings;

const TOO_MANY: CommandReply = CommandReply::Refused(Refusal::TooManyOutstanding);

#[test]
fn a_retry_gets_the_first_answer_and_is_not_applied() {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    let exists = Condition::Value {
        key: "a".into(),
        value: "1".into(),
    };
    let mut first = Vec::new();
    let operations = [
        put("a", "1"),
        // Its first answer says that the condition holds; a retry would find that it does not.
        put_if("a", "2", vec![exists.clone()]),
        put_if("a", "3", vec![exists]),
        Operation::Delete {
            keys: KeyRange::Prefix("a".into()),
            want_previous: true,
            conditions: vec![],
        },
        Operation::Put {
            key: "a".into(),
            value: "".into(),
            lease: 9,
            want_previous: false,
            conditions: vec![],
        },
        raise(1),
    ];
    for (sequence, operation) in (1..).zip(&operations) {
        first.push(machine.apply(&command(session, sequence, 1, operation.clone())));
    }
    assert!(matches!(first[2], CommandReply::ConditionFailed { .. }));
    assert!(matches!(
        first[4],
        CommandReply::Refused(Refusal::NoSuchLease)
    ));
    let revision = machine.store.revision();
    for round in 0..2 {
        for (at, operation) in operations.iter().enumerate().rev() {
            let sequence = at as u64 + 1;
            let again = machine.apply(&command(session, sequence, 1, operation.clone()));
            assert_eq!(again, first[at], "sequence {sequence}, round {round}");
        }
    }
    assert_eq!(
        (machine.store.revision(), machine.store.key_count()),
        (revision, 0)
    );
}

#[test]
fn what_the_client_has_the_answer_of_is_forgotten() {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    for sequence in 1..=5 {
        machine.apply(&command(session, sequence, 1, put("a", "x")));
    }
    let kept = machine.store.kept_reply_bytes();
    assert!(kept > 0);
    machine.apply(&command(session, 6, 4, put("a", "x")));
    assert!(machine.store.kept_reply_bytes() < kept);
    let revision = machine.store.revision();
    for (sequence, forgotten) in [(1, true), (3, true), (4, false), (5, false), (6, false)] {
        let reply = machine.apply(&command(session, sequence, 1, put("a", "x")));
        assert_eq!(
            reply == CommandReply::Forgotten,
            forgotten,
            "sequence {sequence}"
        );
    }
    // An older claim takes nothing back.
    let reply = machine.apply(&command(session, 3, 1, put("a", "x")));
    assert_eq!(reply, CommandReply::Forgotten);
    assert_eq!(machine.store.revision(), revision);
}

#[test]
fn commands_of_a_session_may_arrive_in_any_order() {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    for (sequence, revision) in [(3, 1), (1, 2), (7, 3), (2, 4)] {
        let reply = machine.apply(&command(session, sequence, 1, put("k", "v")));
        assert!(matches!(reply, CommandReply::Put { revision: found, .. } if found == revision));
    }
    for (sequence, revision) in [(2, 4), (1, 2), (3, 1), (7, 3)] {
        let reply = machine.apply(&command(session, sequence, 1, put("k", "v")));
        assert!(matches!(reply, CommandReply::Put { revision: found, .. } if found == revision));
    }
}

#[test]
fn nothing_is_applied_in_a_session_that_is_not_open() {
    let mut machine = Machine::new(Settings::default());
    let session = machine.register();
    machine.apply(&command(session, 1, 1, put("a", "1")));
    assert_eq!(
        machine.apply(&command(session, 2, 1, Operation::EndSession)),
        CommandReply::Ended
    );
    assert_eq!(
        (
            machine.store.session_count(),
            machine.store.kept_reply_bytes()
        ),
        (0, 0)
    );
    // None, ended, never registered, and the index of an entry that registered none.
    for session in [0, session, 99, session + 1] {
        for (sequence, operation) in [
            (1, put("a", "1")),
            (3, put("a", "1")),
            (2, Operation::EndSession),
        ] {
            let reply = machine.apply(&command(session, sequence, 1, operation));
            assert_eq!(reply, CommandReply::SessionExpired, "session {session}");
        }
    }
    assert_eq!(machine.store.revision(), 1);
}

#[test]
fn two_sessions_do_not_know_each_other() {
    let mut machine = Machine::new(Settings::default());
    let (one, two) = (machine.register(), machine.register());
    machine.apply(&command(one, 1, 1, put("a", "1")));
    let reply = machine.apply(&command(two, 1, 1, put("a", "2")));
    assert!(matches!(reply, CommandReply::Put { revision: 2, .. }));
    machine.apply(&command(two, 9, 9, put("a", "2")));
    let reply = machine.apply(&command(one, 1, 1, put("a", "1")));
    assert_eq!(
        reply,
        CommandReply::Put {
            revision: 1,
            previous: None
        }
    );
}

#[test]
fn what_is_too_far_ahead_is_refused_for_good() {
    let settings = Settings {
        outstanding_max: 4,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let session = machine.register();
    let mut apply =
        |sequence, first| machine.apply(&command(session, sequence, first, put("k", "v")));
    let done = |reply: CommandReply| matches!(reply, CommandReply::Put { .. });
    for sequence in 1..=4 {
        assert!(done(apply(sequence, 1)));
    }
    assert_eq!(apply(5, 1), TOO_MANY);
    assert_eq!(apply(8, 1), TOO_MANY);
    // There is room again, but the client may have told someone that 5 and 8 were refused; 6, which it left out, may have
    // been refused by an answer that is still under way.
    assert!(done(apply(4, 4)));
    assert_eq!(
        [apply(5, 4), apply(6, 4), apply(7, 4), apply(8, 4)],
        [const { TOO_MANY }; 4]
    );
    // Behind them it goes on.
    assert!(done(apply(9, 9)));
    assert_eq!(apply(8, 9), CommandReply::Forgotten);
    assert!(done(apply(12, 9)));
    assert_eq!(apply(13, 9), TOO_MANY);
    // A claim to have the answer of what is only being sent counts up to that.
    assert!(done(apply(14, u64::MAX)));
    assert!(done(apply(17, 1)));
    assert_eq!(apply(18, 1), TOO_MANY);
    assert_eq!(apply(u64::MAX, 1), TOO_MANY);
    assert_eq!(machine.store.revision(), 8);
}

#[test]
fn the_least_recently_used_session_ends_where_there_are_too_many() {
    let settings = Settings {
        sessions_max: 3,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let sessions = [machine.register(), machine.register(), machine.register()];
    // The first is used last, if only by a retry.
    machine.apply(&command(sessions[0], 1, 1, put("k", "v")));
    machine.apply(&command(sessions[2], 1, 1, put("k", "v")));
    machine.apply(&command(sessions[0], 1, 1, put("k", "v")));
    let fourth = machine.register();
    assert_eq!(machine.store.session_count(), 3);
    for (session, open) in [
        (sessions[0], true),
        (sessions[1], false),
        (sessions[2], true),
        (fourth, true),
    ] {
        let reply = machine.apply(&command(session, 2, 1, put("k", "v")));
        assert_eq!(
            reply != CommandReply::SessionExpired,
            open,
            "session {session}"
        );
    }
    machine.register();
    let reply = machine.apply(&command(sessions[0], 1, 1, put("k", "v")));
    assert_eq!(reply, CommandReply::SessionExpired);
}

#[test]
fn an_answer_that_is_too_large_to_keep_is_given_once() {
    let settings = Settings {
        session_reply_bytes_max: 5000,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let session = machine.register();
    machine.apply(&command(session, 1, 1, put("k", &"a".repeat(3000))));
    // Each answers with the 3000 bytes that stood there before; only one such answer fits.
    for sequence in [2, 3] {
        let reply = machine.apply(&command(session, sequence, 1, put("k", &"b".repeat(3000))));
        let CommandReply::Put {
            previous: Some(previous),
            ..
        } = reply
        else {
            panic!("sequence {sequence}: {reply:?}");
        };
        assert_eq!(
            previous.value.len(),
            3000,
            "the first try is answered in full"
        );
    }
    assert!(machine.store.kept_reply_bytes() < 5000 + 1000);
    let revision = machine.store.revision();
    let reply = machine.apply(&command(session, 2, 1, put("k", "b")));
    assert!(matches!(
        reply,
        CommandReply::Put {
            previous: Some(_),
            ..
        }
    ));
    let reply = machine.apply(&command(session, 3, 1, put("k", "b")));
    assert_eq!(reply, CommandReply::Forgotten);
    assert_eq!(
        machine.store.revision(),
        revision,
        "nothing is applied again"
    );
    // Small answers are kept all the same.
    let first = machine.apply(&command(session, 4, 1, raise(1)));
    assert_eq!(machine.apply(&command(session, 4, 1, raise(1))), first);
}

#[test]
fn what_all_sessions_keep_is_bounded_and_only_heavy_ones_pay() {
    // A fair share is 1000 bytes.
    let settings = Settings {
        sessions_max: 100,
        reply_bytes_max: 100_000,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let register =
        |machine: &mut Machine| -> Vec<SessionId> { (0..40).map(|_| machine.register()).collect() };
    let (light, heavy) = (register(&mut machine), register(&mut machine));
    let set = |machine: &mut Machine, session, sequence, first| {
        machine.apply(&command(
            session,
            sequence,
            first,
            put("k", &"v".repeat(5000)),
        ))
    };
    for &session in &light {
        machine.apply(&command(session, 1, 1, put("k", "")));
    }
    // So that every heavy one is answered with a large value that stood there before.
    machine.apply(&command(light[0], 2, 2, put("k", &"v".repeat(5000))));
    for &session in &heavy {
        set(&mut machine, session, 1, 1);
        assert!(machine.store.kept_reply_bytes() <= 100_000);
    }
    let mut open = |sessions: &[SessionId]| -> Vec<bool> {
        let retry = |&session| set(&mut machine, session, 1, 1) != CommandReply::SessionExpired;
        sessions.iter().map(retry).collect()
    };
    assert_eq!(open(&light), [true; 40]);
    // About 18 of them fit: the last ones.
    let open = open(&heavy);
    let first_open = open.iter().position(|&open| open).unwrap();
    assert!(
        (20..25).contains(&first_open),
        "the first {first_open} were ended"
    );
    assert!(open[first_open..].iter().all(|&open| open));
}

#[test]
fn a_session_that_acknowledges_is_not_heavy_any_more() {
    let settings = Settings {
        sessions_max: 10,
        reply_bytes_max: 20_000,
        ..Settings::default()
    };
    let mut machine = Machine::new(settings);
    let (good, other) = (machine.register(), machine.register());
    let large = || put("k", &"v".repeat(9000));
    machine.apply(&command(good, 1, 1, large()));
    machine.apply(&command(good, 2, 1, large()));
    // It has its answer; what it keeps now is small.
    machine.apply(&command(good, 3, 3, raise(1)));
    for sequence in 1..=3 {
        machine.apply(&command(other, sequence, 1, large()));
    }
    let reply = machine.apply(&command(good, 3, 3, raise(1)));
    assert_eq!(reply, CommandReply::ClusterVersion(1));
    // The other one is over the limit all by itself, and in use: it goes on.
    assert!(machine.store.kept_reply_bytes() > 20_000);
    let reply = machine.apply(&command(other, 1, 1, large()));
    assert!(matches!(reply, CommandReply::Put { .. }));
}
