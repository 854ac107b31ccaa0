//! The trace as JSON, one object a line; `docs/trace.md` says what each field means.

mod field;
mod follow;
mod raft;
#[cfg(test)]
mod tests;

use std::io;

use super::trace::{Happening, Outcome, Record};
use follow::{Follow, Write};
use raft::write_id;

pub(super) use field::Field;

/// Writes a trace, one JSON object a line. Nodes' states are in it only if the trace was kept whole.
///
/// # Errors
/// Those of `out`.
pub fn write(records: &[Record], out: &mut impl io::Write) -> io::Result<()> {
    let mut lines = Lines::default();
    for record in records {
        serde_json::to_writer(&mut *out, &lines.line(record))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Makes records lines; they must come in their order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    follow: Follow,
}

impl Lines {
    /// A record as an object.
    pub(super) fn line(&mut self, record: &Record) -> Field {
        let time = u64::try_from(record.at.as_nanos()).unwrap_or(u64::MAX);
        let mut fields = vec![
            ("step", record.step.into()),
            ("time_ns", time.into()),
            ("event", name(&record.what).into()),
            ("node", record.node.into()),
        ];
        fields.extend(self.content(record));
        if record.node.is_some() {
            fields.push(("state", record.state.as_ref().map(Field::from).into()));
        }
        Field::Object(fields)
    }

    /// The fields of its own that each kind of event has.
    fn content(&mut self, record: &Record) -> Vec<(&'static str, Field)> {
        let node = record.node.unwrap_or_default();
        match &record.what {
            Happening::Started { boot, log } => {
                let state = record.state.as_ref();
                let stands = state.map(|state| (state.commit, state.applied));
                let (commit, applied) = stands.unwrap_or_default();
                self.follow.started(node, log, commit, applied);
                let log = Field::list(log.iter().copied());
                vec![("boot", (*boot).into()), ("log", log)]
            }
            Happening::Refused { why } => vec![("why", why.clone().into())],
            Happening::Ended { how } => vec![("how", how.clone().into())],
            Happening::Sent(envelope) => {
                self.follow.sent(record.step, envelope);
                vec![("message", envelope.into())]
            }
            Happening::Received(envelope) => {
                let sent = self.follow.received(envelope);
                vec![("sent_in", sent.into()), ("message", envelope.into())]
            }
            Happening::Ordered {
                job,
                hard_state,
                snapshot,
                cut,
                entries,
            } => {
                self.follow.ordered(node, *job, *snapshot, *cut, entries);
                vec![
                    ("job", (*job).into()),
                    ("hard_state", (*hard_state).into()),
                    ("snapshot", (*snapshot).into()),
                    ("cut", (*cut).into()),
                    ("entries", Field::list(entries.iter())),
                ]
            }
            Happening::Durable { job } => {
                let (entries, writes) = self.follow.durable(node, *job);
                vec![
                    ("job", (*job).into()),
                    ("entries", Field::list(entries)),
                    ("writes", ids(writes)),
                ]
            }
            Happening::Role { role, term } => {
                vec![("role", role.as_str().into()), ("term", (*term).into())]
            }
            Happening::Committed { index } => {
                let (first, writes) = self.follow.committed(node, *index);
                range(first, *index, writes)
            }
            Happening::Applied { index } => {
                let (first, writes) = self.follow.applied(node, *index);
                range(first, *index, writes)
            }
            Happening::Installed { last } => {
                self.follow.installed(node, *last);
                vec![("last", (*last).into())]
            }
            Happening::Fault(text) => vec![("text", text.clone().into())],
            Happening::Asked { .. } | Happening::Tried { .. } | Happening::Answered { .. } => {
                client(&record.what)
            }
        }
    }
}

/// What clients do.
fn client(what: &Happening) -> Vec<(&'static str, Field)> {
    match what {
        Happening::Asked {
            client,
            operation,
            what,
        } => vec![
            ("client", (*client).into()),
            ("operation", (*operation).into()),
            ("what", what.clone().into()),
        ],
        Happening::Tried {
            client,
            operation,
            to,
            write,
        } => vec![
            ("client", (*client).into()),
            ("operation", (*operation).into()),
            ("to", (*to).into()),
            ("write", write_id(*write)),
        ],
        Happening::Answered {
            client,
            operation,
            outcome,
            what,
        } => vec![
            ("client", (*client).into()),
            ("operation", (*operation).into()),
            ("outcome", outcome_name(*outcome).into()),
            ("what", what.clone().into()),
        ],
        _ => Vec::new(),
    }
}

fn range(
    first: raft_core::Index,
    index: raft_core::Index,
    writes: Vec<Write>,
) -> Vec<(&'static str, Field)> {
    vec![
        ("first", first.into()),
        ("index", index.into()),
        ("writes", ids(writes)),
    ]
}

fn ids(writes: Vec<Write>) -> Field {
    Field::List(writes.into_iter().map(|id| write_id(Some(id))).collect())
}

/// The event's name.
fn name(what: &Happening) -> &'static str {
    match what {
        Happening::Started { .. } => "started",
        Happening::Refused { .. } => "refused",
        Happening::Ended { .. } => "ended",
        Happening::Sent(_) => "sent",
        Happening::Received(_) => "received",
        Happening::Ordered { .. } => "ordered",
        Happening::Durable { .. } => "durable",
        Happening::Role { .. } => "role",
        Happening::Committed { .. } => "committed",
        Happening::Applied { .. } => "applied",
        Happening::Installed { .. } => "installed",
        Happening::Fault(_) => "fault",
        Happening::Asked { .. } => "asked",
        Happening::Tried { .. } => "tried",
        Happening::Answered { .. } => "answered",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::NotApplied => "not_applied",
        Outcome::Unknown => "unknown",
    }
}
