//! What the replica does about the core's effects.

use raft_core::{ApplyJob, Effect, Event, Index, Membership, Payload, PersistJob};

use super::{Action, Fatal, NotDone, Notice, Phase, Replica, Standing, WriteFailure};
use crate::mutants::{Mutant, mutant};
use crate::node::StateMachine;

impl<S: StateMachine, W, R> Replica<S, W, R> {
    pub(super) fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(envelope) => self.actions.push_back(Action::Send(envelope)),
            Effect::Persist(job) => self.on_persist(job),
            Effect::Apply(job) => self.on_apply(job),
            Effect::FetchLog(job) => self.actions.push_back(Action::Fetch(job)),
            Effect::TakeSnapshot(snapshot) => self.on_take_snapshot(snapshot),
            Effect::SendSnapshot(envelope) => self.on_send_snapshot(envelope),
            Effect::InstallSnapshot(snapshot) => self.on_install_snapshot(&snapshot),
            Effect::CutLog { up_to } => self
                .actions
                .push_back(Action::CutLog { up_to: up_to.index }),
            Effect::ReadReady(id) => {
                let requests = self.reads.confirmed(id);
                self.admit_reads(requests);
            }
            Effect::ReadFailed(id) => {
                let requests = self.reads.confirmed(id);
                self.fail_reads(requests, &NotDone::Failed);
            }
            Effect::Outcome(id, outcome) if self.changes.remove(&id) => {
                self.actions.push_back(Action::Changed { id, outcome });
            }
            Effect::Outcome(id, outcome) if self.upgrade.is(id) => self.upgrade.decided(outcome),
            Effect::Outcome(id, outcome) => {
                if let Some(ticket) = self.writes.decide(id, outcome) {
                    let why = if mutant(Mutant::SaysNotAppliedWhenDeposed) {
                        WriteFailure::Not(NotDone::NotLeader { leader: None })
                    } else {
                        WriteFailure::Unknown
                    };
                    self.actions.push_back(Action::WriteFailed { ticket, why });
                }
            }
            Effect::Event(event) => {
                match event {
                    Event::RoleChanged { term, role, leader } => {
                        self.standing = Standing { term, role, leader };
                    }
                    Event::PeerLostLog { now, .. } => {
                        self.wiped.insert(now.node, now.incarnation);
                        self.refuted.remove(&now.node);
                    }
                    _ => {}
                }
                self.actions.push_back(Action::Notice(Notice::Core(event)));
            }
        }
    }

    fn on_persist(&mut self, job: PersistJob) {
        let membership_moved = job.truncate_from.is_some()
            || job.snapshot.is_some()
            || job
                .entries
                .iter()
                .any(|entry| matches!(entry.payload, Payload::Membership(_)));
        if let Phase::Formed(member) = &mut self.phase
            && member.founding.is_none()
        {
            member.founding = founding(&job);
        }
        self.actions.push_back(Action::Persist(job));
        if membership_moved {
            self.membership_moved();
        }
    }

    /// Applies what is committed, and answers whoever waits for it.
    fn on_apply(&mut self, job: ApplyJob) {
        let before = self.machine.version();
        for entry in job.entries {
            let at = entry.id;
            assert!(
                at.index == self.applied.next(),
                "entry {at} was handed out to apply after {}",
                self.applied
            );
            let output = match &entry.payload {
                Payload::Command(command) => match self.machine.apply(at, command) {
                    Ok(output) => Some(output),
                    Err(_) if mutant(Mutant::SkipsUnknownCommands) => {
                        self.machine.passed(at);
                        None
                    }
                    Err(halt) => return self.halt(Fatal::Apply { at, halt }),
                },
                Payload::Noop | Payload::Membership(_) => {
                    self.machine.passed(at);
                    None
                }
            };
            (self.applied, self.applied_term) = (at.index, at.term);
            self.upgrade.applied(at.term);
            if let (Some(ticket), Some(output)) = (self.writes.applied(at), output) {
                self.actions
                    .push_back(Action::Written { ticket, at, output });
            }
        }
        self.note_version(before);
        for ticket in self.reads.applied(self.applied) {
            self.actions.push_back(Action::ReadReady(ticket));
        }
        let applied = self.applied;
        if let Some(Err(error)) = self.core().map(|core| core.applied(applied)) {
            self.halt(Fatal::Answer(error));
        }
    }
}

/// The cluster's first membership, if this job holds it.
fn founding(job: &PersistJob) -> Option<Membership> {
    let first = job.entries.iter().next()?;
    match &first.payload {
        Payload::Membership(membership) if first.id.index == Index(1) => Some(membership.clone()),
        _ => None,
    }
}
