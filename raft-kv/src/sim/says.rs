//! What a node says: to other nodes, with what the network may do to it, and of itself.

use std::time::Duration;

use raft_core::{AppendResult, Envelope, Event as CoreEvent, Message, RoleName};

use super::app::App;
use super::check::Violation;
use super::faults::Fault;
use super::marks::Mark;
use super::net::Line;
use super::process::ticks;
use super::random::{between, happens};
use super::trace::Happening;
use super::world::{Checked, Event, NodeFrame, World};
use crate::node::replica::{Fatal, Notice};
use crate::wire;

/// How many frames are kept to be sent again.
const RECORDED_MAX: usize = 64;

impl<A: App> World<A> {
    pub(super) fn send(&mut self, host: usize, envelope: Envelope) -> Checked {
        self.checks.on_send(host, &envelope)?;
        if let Message::AppendResponse {
            result: AppendResult::Conflict { .. },
            ..
        } = envelope.message
        {
            self.hit(Mark::Conflict);
        }
        let to = envelope.to.node;
        let body = wire::encode_envelope(&envelope, wire::PROTOCOL_MAX);
        self.note(Some(host), Happening::Sent(envelope));
        self.send_body(host, Line::ordinary(to), (wire::kind::ENVELOPE, body));
        Ok(())
    }

    /// Sends a frame to another node, with what the network may do to it.
    pub(super) fn send_body(&mut self, host: usize, line: Line, frame: NodeFrame) {
        let net = &mut self.chance.net;
        let (lost, twice, late) = (
            happens(net, self.loss),
            happens(net, self.duplicate),
            happens(net, self.reorder),
        );
        let delay = between(net, Duration::ZERO, self.setup.tuning.election_timeout / 4);
        if self.setup.faults.has(Fault::Replay)
            && happens(net, 20_000)
            && self.recorded.len() < RECORDED_MAX
        {
            self.recorded.push((host, line, frame.clone()));
        }
        if lost {
            return;
        }
        let life = self.hosts[host].life;
        let send = |frame| Event::Late {
            host,
            life,
            line,
            frame,
        };
        if twice {
            self.agenda.plan_in(delay / 2, send(frame.clone()));
        }
        if late {
            self.agenda.plan_in(delay, send(frame));
        } else {
            self.send_frame(host, line, frame);
        }
    }

    pub(super) fn send_late(&mut self, host: usize, life: u64, line: Line, frame: NodeFrame) {
        if self.process(host, life).is_some() {
            self.send_frame(host, line, frame);
        }
    }

    pub(super) fn notice(&mut self, host: usize, notice: &Notice) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        process.gate.0.update(process.replica.identity(), None);
        match notice {
            Notice::Core(CoreEvent::RoleChanged { term, role, .. }) => {
                let leads = *role == RoleName::Leader;
                let led = std::mem::replace(&mut process.led, leads);
                let deposed = led && !leads && process.replica.open_tickets() > 0;
                let member = process.replica.identity().member;
                let (role, term) = (*role, *term);
                if leads && !led {
                    if let Some(raft) = process.replica.raft() {
                        self.checks.on_leader(host, member, raft)?;
                    }
                    self.marks.hit(Mark::Election);
                }
                if deposed {
                    self.hit(Mark::LeaderDeposed);
                }
                self.note(Some(host), Happening::Role { role, term });
            }
            Notice::Core(CoreEvent::DiskStalled { .. }) => self.hit(Mark::StalledLeader),
            Notice::Core(CoreEvent::Paused { elapsed_ticks }) => {
                let timeout = ticks(self.setup.tuning.election_timeout);
                if u64::from(*elapsed_ticks) > timeout {
                    self.hit(Mark::LongPause);
                }
            }
            Notice::Core(CoreEvent::Removed { .. }) => self.hit(Mark::Removed),
            Notice::Core(CoreEvent::MembershipCommitted { .. }) => self.settled(host),
            Notice::Formed { .. } if self.hosts[host].joins => {
                self.hit(Mark::Joined);
                self.taken_in(host);
            }
            Notice::VersionRaised { .. } => self.hit(Mark::VersionRaised),
            Notice::Wiped { .. } => self.hit(Mark::WipedKeptOut),
            _ => {}
        }
        Ok(())
    }

    /// A node says that it cannot go on. Only one whose disk was wiped may.
    pub(super) fn fatal(&mut self, host: usize, why: Fatal) -> Checked {
        let why_text = why.to_string();
        self.end_process(host, &why_text);
        if self.hosts[host].wiped && matches!(why, Fatal::Formation(_)) {
            self.hit(Mark::WipedKeptOut);
            self.hosts[host].given_up = true;
            return Ok(());
        }
        if matches!(why, Fatal::Apply { .. }) {
            return self.too_old(host, &why_text);
        }
        Err(Violation {
            invariant: "a node goes on",
            what: format!("node {} stops: {why_text}", host + 1),
        })
    }

    /// A membership is committed, as this node knows.
    fn settled(&mut self, host: usize) {
        let raft = self.hosts[host]
            .process
            .as_ref()
            .and_then(|process| process.replica.raft());
        if raft.is_some_and(|raft| raft.membership().is_joint()) {
            self.hit(Mark::Joint);
        }
    }
}
