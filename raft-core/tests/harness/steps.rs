//! Changes of the membership as scripts write them.

use bytes::Bytes;
use raft_core::{Incarnation, MemberId, NodeId, Seat, Step};

use super::member;

/// A member: `4`, or `4/9` under incarnation 9.
fn parse_member(text: &str) -> Option<MemberId> {
    let (node, incarnation) = match text.split_once('/') {
        Some((node, incarnation)) => (node, Some(incarnation)),
        None => (text, None),
    };
    let mut id = member(node.parse().ok()?);
    if let Some(incarnation) = incarnation {
        id.incarnation = Incarnation(incarnation.parse().ok()?);
    }
    Some(id)
}

fn add(member: MemberId, seat: Seat) -> Step {
    Step::Add {
        member,
        context: Bytes::new(),
        seat,
        priority: 0,
    }
}

/// `voter=4`, `learner=4`, `promotable=4` take in; `remove=4`; `vote=4`, `demote=4`, `promote=4` give another seat; `context=4:text`,
/// `priority=4:2`.
pub fn parse_step(key: &str, value: &str) -> Option<Step> {
    let (name, rest) = value.split_once(':').unwrap_or((value, ""));
    let id = parse_member(name)?;
    Some(match key {
        "voter" => add(id, Seat::Voter),
        "learner" => add(id, Seat::Learner),
        "promotable" => add(id, Seat::Promotable),
        "remove" => Step::Remove(id),
        "vote" => Step::Seat(id, Seat::Voter),
        "demote" => Step::Seat(id, Seat::Learner),
        "promote" => Step::Seat(id, Seat::Promotable),
        "context" => Step::Context(id, Bytes::copy_from_slice(rest.as_bytes())),
        "priority" => Step::Priority(id, rest.parse().ok()?),
        _ => return None,
    })
}

/// A list of nodes, as scripts write it.
pub fn list(nodes: impl IntoIterator<Item = NodeId>) -> String {
    let nodes: Vec<String> = nodes.into_iter().map(|node| node.to_string()).collect();
    nodes.join(",")
}
