//! The shape of the lines: traces themselves change with every change of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::write;
use crate::sim::{Faults, Setup, run_kv};

/// A run of three nodes in which processes and machines fail and links are cut.
static LINES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut setup = Setup::draw(7);
    setup.nodes = 3;
    setup.horizon = Duration::from_secs(15);
    setup.faults = "kill,power,partition,loss,duplicate,rot,wipe"
        .parse::<Faults>()
        .unwrap();
    let report = run_kv(&setup, true);
    assert_eq!(report.violation, None);
    let mut out = Vec::new();
    write(&report.records, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
});

fn names(value: &Value) -> Vec<&str> {
    let fields = value.as_object().unwrap();
    fields.keys().map(String::as_str).collect()
}

fn event(line: &Value) -> &str {
    line["event"].as_str().unwrap()
}

/// The fields of its own that an event has, in alphabetical order.
fn own_fields(event: &str) -> Vec<&'static str> {
    match event {
        "started" => vec!["boot", "log"],
        "refused" => vec!["why"],
        "ended" => vec!["how"],
        "sent" => vec!["message"],
        "received" => vec!["message", "sent_in"],
        "ordered" => vec!["cut", "entries", "hard_state", "job", "snapshot"],
        "installed" => vec!["last"],
        "durable" => vec!["entries", "job", "writes"],
        "role" => vec!["role", "term"],
        "committed" | "applied" => vec!["first", "index", "writes"],
        "fault" => vec!["text"],
        "asked" => vec!["client", "operation", "what"],
        "tried" => vec!["client", "operation", "to", "write"],
        "answered" => vec!["client", "operation", "outcome", "what"],
        other => panic!("no such event: {other}"),
    }
}

/// The same of a message.
fn message_fields(kind: &str) -> Vec<&'static str> {
    match kind {
        "pre_vote_request" => vec!["last"],
        "vote_request" => vec!["last", "transfer"],
        "pre_vote_response" | "vote_response" => vec!["granted"],
        "append_request" => vec!["commit", "entries", "prev"],
        "heartbeat_request" => vec!["commit"],
        "heartbeat_response" => vec!["full", "matched"],
        "read_response" => vec!["index"],
        "snapshot_request" => vec!["snapshot"],
        "not_a_member" => vec!["at"],
        "read_request" | "timeout_now" => vec![],
        other => panic!("no such message: {other}"),
    }
}

#[test]
fn every_line_has_every_field_of_its_event() {
    let mut seen = BTreeSet::new();
    for line in &*LINES {
        let event = event(line);
        seen.insert(event);
        let mut expected = vec!["event", "node", "step", "time_ns"];
        if !line["node"].is_null() {
            expected.push("state");
        }
        expected.extend(own_fields(event));
        expected.sort_unstable();
        assert_eq!(names(line), expected, "{line}");
    }
    for event in [
        "started",
        "ended",
        "sent",
        "received",
        "ordered",
        "durable",
        "role",
        "committed",
        "applied",
        "fault",
        "asked",
        "tried",
        "answered",
    ] {
        assert!(seen.contains(event), "{event} never came");
    }
}

#[test]
fn every_message_has_every_field_of_its_kind() {
    let mut seen = BTreeSet::new();
    for line in LINES.iter().filter(|line| !line["message"].is_null()) {
        let message = &line["message"];
        let kind = message["kind"].as_str().unwrap();
        seen.insert(kind);
        let mut expected = vec!["cluster", "from", "kind", "request", "term", "to"];
        if kind == "append_response" {
            expected.extend(match message["result"].as_str().unwrap() {
                "conflict" => vec!["hint", "prev", "result"],
                _ => vec!["matched", "result"],
            });
        } else {
            expected.extend(message_fields(kind));
        }
        expected.sort_unstable();
        assert_eq!(names(message), expected, "{line}");
        assert_eq!(names(&message["from"]), ["boot", "incarnation", "node"]);
        assert_eq!(names(&message["to"]), ["incarnation", "node"]);
        assert_eq!(names(&message["request"]), ["boot", "number"]);
        for entry in message["entries"].as_array().into_iter().flatten() {
            let own: &[&str] = match entry["kind"].as_str().unwrap() {
                "noop" => &["index", "kind", "term"],
                "membership" => &["index", "kind", "membership", "term"],
                _ => &[
                    "bytes",
                    "index",
                    "keys",
                    "kind",
                    "operation",
                    "term",
                    "write",
                ],
            };
            assert_eq!(names(entry), own, "{entry}");
        }
    }
    for kind in [
        "vote_request",
        "vote_response",
        "append_request",
        "append_response",
    ] {
        assert!(seen.contains(kind), "{kind} never came");
    }
}

#[test]
fn every_state_is_whole_and_steps_rise_by_one() {
    let expected = [
        "applied",
        "commit",
        "durable",
        "last",
        "membership",
        "role",
        "term",
        "vote",
    ];
    let mut time = 0;
    for (number, line) in LINES.iter().enumerate() {
        assert_eq!(line["step"].as_u64(), Some(number as u64 + 1));
        assert!(line["time_ns"].as_u64().unwrap() >= time);
        time = line["time_ns"].as_u64().unwrap();
        if let Some(state) = line.get("state").filter(|state| !state.is_null()) {
            assert_eq!(names(state), expected);
            let membership = &state["membership"];
            assert_eq!(names(membership), ["learners", "outgoing", "voters"]);
        }
    }
}

#[test]
fn what_is_received_names_the_step_in_which_it_was_sent() {
    let mut arrived = 0;
    for line in LINES.iter().filter(|line| event(line) == "received") {
        let sent_in = line["sent_in"].as_u64().unwrap();
        let sent = &LINES[usize::try_from(sent_in).unwrap() - 1];
        assert_eq!(event(sent), "sent");
        assert_eq!(sent["message"], line["message"]);
        assert_eq!(sent["node"], line["message"]["from"]["node"]);
        arrived += 1;
    }
    assert!(arrived > 100);
}

#[test]
fn a_write_can_be_followed_from_the_client_to_every_node_that_applies_it() {
    // Every write that a client got an answer to, by operation and by id.
    let mut ids = BTreeMap::new();
    let mut answered = BTreeSet::new();
    for line in &*LINES {
        let operation = line["operation"].as_u64();
        match event(line) {
            "tried" if !line["write"].is_null() && operation.is_some() => {
                ids.insert(operation, line["write"].clone());
            }
            "answered" if line["outcome"] == "answered" => {
                answered.insert(operation);
            }
            _ => {}
        }
    }
    ids.retain(|operation, _| answered.contains(operation));
    assert!(ids.len() > 20, "{} writes", ids.len());
    for id in ids.values() {
        follow(id);
    }
}

/// The id stands in each kind of line that a write passes, in the order in which it passes them.
fn follow(id: &Value) {
    let holds = |list: &Value| list.as_array().is_some_and(|list| list.contains(id));
    let carries = |list: &Value| {
        let entries = list.as_array().into_iter().flatten();
        entries.into_iter().any(|entry| entry["write"] == *id)
    };
    let first = |what: &str, node: &Value| {
        let found = LINES.iter().position(|line| {
            event(line) == what
                && (node.is_null() || line["node"] == *node)
                && (line["write"] == *id
                    || holds(&line["writes"])
                    || carries(&line["entries"])
                    || carries(&line["message"]["entries"]))
        });
        found.unwrap_or_else(|| panic!("{id} is not in any {what} of {node}"))
    };
    let anywhere = &Value::Null;
    let tried = first("tried", anywhere);
    let ordered = first("ordered", anywhere);
    let sent = first("sent", anywhere);
    let received = first("received", anywhere);
    let committed = first("committed", anywhere);
    // A leader sends what it has ordered before it is durable, and may do so first.
    assert!(tried < ordered && tried < sent && sent < received && received < committed);
    // At the node that committed it first, and there in order.
    let node = &LINES[committed]["node"];
    let durable = first("durable", node);
    let applied = first("applied", node);
    assert!(first("ordered", node) < durable && durable < applied && committed < applied);
}
