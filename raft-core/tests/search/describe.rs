//! What happened, in words.

use std::fmt::Write as _;

use raft_core::{AppendResult, Entry, Envelope, Message, Payload};

use crate::world::{Action, Bounds, State, World};

pub fn action(world: &World, state: &State, action: Action) -> String {
    match action {
        Action::Deliver { message, stays } => {
            let again = if stays { ", and may again" } else { "" };
            format!("{} arrives{again}", envelope(world.message(message)))
        }
        Action::Lose { message } => format!("{} is lost", envelope(world.message(message))),
        Action::Hear(at, term) => format!("n{} hears of term {term} in an answer", at + 1),
        Action::Silence(at) => format!("n{} hears nothing", at + 1),
        Action::Persist(at) => format!("n{}: its oldest job becomes durable", at + 1),
        Action::Restart(at, kept) => format!(
            "n{} crashes, {kept} of {} jobs having reached its disk, and restarts",
            at + 1,
            world.facts(state, at).jobs
        ),
        Action::Timeout(at) => format!("n{} hears nothing, and asks for pre-votes", at + 1),
        Action::Campaign(at, mask) => {
            let asked = (0..32).filter(|n| mask & (1 << n) != 0);
            let asked: Vec<String> = asked.map(|n| format!("n{}", n + 1)).collect();
            format!(
                "n{} and {} hear nothing, and n{} campaigns with their pre-votes",
                at + 1,
                asked.join(" and "),
                at + 1
            )
        }
        Action::Heartbeat(at) => format!("n{} sends heartbeats", at + 1),
        Action::Propose(at) => format!("n{} takes a proposal", at + 1),
        Action::Read(at) => format!("n{} takes a read", at + 1),
        Action::Change(at) => format!("n{} is asked for a change of the membership", at + 1),
        Action::Wipe(at) => format!("n{} loses its disk, and returns empty", at + 1),
    }
}

/// The nodes: role and term, the log, `|` where the disk ends, and the commit index.
pub fn state(world: &World, state: &State) -> String {
    let mut line = String::from("     ");
    for at in 0..world.nodes() {
        let facts = world.facts(state, at);
        let terms = |marks: &[(u64, u64)]| {
            let terms: Vec<String> = marks.iter().map(|mark| mark.0.to_string()).collect();
            terms.join(",")
        };
        let durable = (facts.log.iter().zip(&facts.disk)).take_while(|(a, b)| a == b);
        let (disk, rest) = facts.log.split_at(durable.count());
        let _ = write!(
            line,
            " n{} {} t{} [{}|{}] commit {};",
            at + 1,
            facts.status.role.as_str(),
            facts.status.term,
            terms(disk),
            terms(rest),
            facts.status.commit
        );
    }
    line
}

/// The bounds of a search.
pub fn bounds(bounds: &Bounds) -> String {
    let mut text = format!(
        "at most {} terms, {} messages under way, {} crashes, {} messages repeated; any message lost",
        bounds.terms, bounds.messages, bounds.crashes, bounds.repeats
    );
    if bounds.entries < usize::MAX {
        let _ = write!(text, "; nobody appends to {} entries", bounds.entries);
    }
    if bounds.changes_max > 0 {
        let _ = write!(text, "; {} change of the membership", bounds.changes_max);
    }
    text
}

fn envelope(envelope: &Envelope) -> String {
    let message = match &envelope.message {
        Message::PreVoteRequest { last, .. } => format!("pre-vote request, last {last}"),
        Message::PreVoteResponse { granted, .. } => format!("pre-vote answer, {}", yes(*granted)),
        Message::VoteRequest { last, .. } => format!("vote request, last {last}"),
        Message::VoteResponse { granted, .. } => format!("vote answer, {}", yes(*granted)),
        Message::AppendRequest {
            prev,
            entries,
            commit,
            ..
        } => format!("append behind {prev}: [{}], commit {commit}", ids(entries)),
        Message::AppendResponse { result, .. } => match result {
            AppendResult::Matched(index) => format!("append answer, matched {index}"),
            AppendResult::Full(index) => format!("append answer, matched {index}, full"),
            AppendResult::Conflict { prev, hint } => {
                format!("append answer, no {prev}, hint {hint}")
            }
        },
        Message::HeartbeatRequest { commit, .. } => format!("heartbeat, commit {commit}"),
        Message::HeartbeatResponse { matched, .. } => {
            format!("heartbeat answer, matched {matched}")
        }
        other => format!("{other:?}"),
    };
    let from = envelope.from.member.node;
    format!(
        "n{from}@{} -> n{}: {message}",
        envelope.term, envelope.to.node
    )
}

fn ids(entries: &[Entry]) -> String {
    let one = |entry: &Entry| match &entry.payload {
        Payload::Membership(membership) => format!(
            "{} voters {:?} of {:?}",
            entry.id,
            membership.voters(),
            membership.outgoing()
        ),
        _ => entry.id.to_string(),
    };
    let all: Vec<String> = entries.iter().map(one).collect();
    all.join(" ")
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}
