//! What happens, as the lines of a script.

use std::fmt::Write as _;

use raft_core::{Effect, Entry, Envelope, Event, Membership, Message, Outcome, Payload, Snapshot};

use super::list;

/// An effect as a line of a script.
pub fn describe(id: u64, effect: &Effect) -> String {
    match effect {
        Effect::Send(envelope) => describe_envelope(envelope),
        Effect::Persist(job) => {
            let mut line = format!("n{id} persists #{}", job.id);
            if let Some(state) = job.hard_state {
                let vote = state
                    .voted_for
                    .map_or("none".into(), |vote| format!("n{}", vote.node));
                let _ = write!(
                    line,
                    " term={} vote={vote} commit={}",
                    state.term, state.commit
                );
            }
            if let Some(snapshot) = &job.snapshot {
                let _ = write!(line, " snapshot={}", snapshot.last);
            }
            if let Some(from) = job.truncate_from {
                let _ = write!(line, " cut={from}");
            }
            if !job.entries.is_empty() {
                let _ = write!(line, " entries={}", ids(&job.entries));
            }
            line
        }
        Effect::Apply(job) => format!("n{id} applies {}", ids(&job.entries)),
        Effect::FetchLog(job) => format!("n{id} fetches {}..{}", job.from, job.to),
        Effect::TakeSnapshot(snapshot) => format!("n{id} takes a snapshot: {}", members(snapshot)),
        Effect::SendSnapshot(envelope) => {
            format!("{} (with its file)", describe_envelope(envelope))
        }
        Effect::InstallSnapshot(snapshot) => format!("n{id} installs snapshot {}", snapshot.last),
        Effect::CutLog { up_to } => format!("n{id} lets go of the log up to {}", up_to.index),
        Effect::ReadReady(read) => format!("n{id} answers read {}", read.number),
        Effect::ReadFailed(read) => format!("n{id} fails read {}", read.number),
        Effect::Outcome(proposal, Outcome::Committed(at)) => {
            format!("n{id} proposal {} is committed at {at}", proposal.number)
        }
        Effect::Outcome(proposal, Outcome::Unknown) => {
            format!("n{id} proposal {} is unknown", proposal.number)
        }
        Effect::Event(Event::RoleChanged { term, role, leader }) => {
            let leader = leader.map_or(String::new(), |leader| format!(", led by n{leader}"));
            format!("n{id} is {} in term {term}{leader}", role.as_str())
        }
        Effect::Event(event) => format!("n{id} tells: {event:?}"),
    }
}

pub fn describe_envelope(envelope: &Envelope) -> String {
    let what = match &envelope.message {
        Message::PreVoteRequest { last, .. } => format!("PreVoteRequest last={last}"),
        Message::PreVoteResponse { granted, .. } => format!("PreVoteResponse granted={granted}"),
        Message::VoteRequest { last, transfer, .. } => {
            let transfer = if *transfer { " transfer" } else { "" };
            format!("VoteRequest last={last}{transfer}")
        }
        Message::TimeoutNow { .. } => "TimeoutNow".into(),
        Message::NotAMember { at, .. } => format!("NotAMember at={at}"),
        Message::VoteResponse { granted, .. } => format!("VoteResponse granted={granted}"),
        Message::AppendRequest {
            prev,
            entries,
            commit,
            ..
        } => {
            format!(
                "AppendRequest prev={prev} entries=[{}] commit={commit}",
                ids(entries)
            )
        }
        Message::AppendResponse {
            result: raft_core::AppendResult::Matched(index),
            ..
        } => {
            format!("AppendResponse matched={index}")
        }
        Message::AppendResponse {
            result: raft_core::AppendResult::Full(index),
            ..
        } => {
            format!("AppendResponse matched={index} full")
        }
        Message::AppendResponse {
            result: raft_core::AppendResult::Conflict { prev, hint },
            ..
        } => {
            format!("AppendResponse refused prev={prev} hint={hint}")
        }
        Message::SnapshotRequest { snapshot, .. } => {
            format!("SnapshotRequest {}", members(snapshot))
        }
        Message::HeartbeatRequest { commit, .. } => format!("HeartbeatRequest commit={commit}"),
        Message::ReadRequest { .. } => "ReadRequest".into(),
        Message::ReadResponse { index, .. } => {
            let index = index.map_or("none".into(), |index| index.to_string());
            format!("ReadResponse index={index}")
        }
        Message::HeartbeatResponse { matched, full, .. } => {
            let full = if *full { " full" } else { "" };
            format!("HeartbeatResponse matched={matched}{full}")
        }
        other => format!("{other:?}"),
    };
    format!(
        "n{}@{} -> n{} {what}",
        envelope.from.member.node, envelope.term, envelope.to.node
    )
}

fn members(snapshot: &Snapshot) -> String {
    let voters = snapshot.membership.voters().iter();
    let voters: Vec<String> = voters.map(|node| format!("n{node}")).collect();
    format!(
        "{} membership={}@{}",
        snapshot.last,
        voters.join(","),
        snapshot.membership_at.index
    )
}

fn ids(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| match &entry.payload {
        Payload::Membership(membership) => {
            format!("{}={}", entry.id, describe_membership(membership))
        }
        _ => entry.id.to_string(),
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// A membership as its voters, `(1,2)`, joint with the old ones, `(1,2)&&(2,3)`, and its learners: `+4`, with `^` for one to be
/// promoted. A voter whose place was taken, and one that will be a learner, are marked `!` and `+`.
pub fn describe_membership(membership: &Membership) -> String {
    let mut text = format!("({})", list(membership.voters().iter().copied()));
    if membership.is_joint() {
        let outgoing = membership.outgoing().iter().map(|node| {
            let demoted = membership.demoted().contains(node);
            format!("{node}{}", if demoted { "+" } else { "" })
        });
        let replaced = membership
            .replaced()
            .iter()
            .map(|id| format!("{}!", id.node));
        let old: Vec<String> = outgoing.chain(replaced).collect();
        let _ = write!(text, "&&({})", old.join(","));
    }
    for node in membership.learners() {
        let promote = membership.member(node).is_some_and(|member| member.promote);
        let _ = write!(text, "+{node}{}", if promote { "^" } else { "" });
    }
    text
}
