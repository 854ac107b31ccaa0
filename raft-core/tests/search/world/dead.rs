//! Messages that will never do anything any more. Losing them at once leaves room, and nothing that can happen out.

use raft_core::RoleName;

use super::{Kind, Reduced, World};
use crate::node::{Forgets, Input};

/// What marks the number of a message as the input that it arrives.
pub(super) const DELIVER: u32 = 1 << 31;

impl World {
    /// Whether answers from later terms are heard at any time (`Action::Hear`). Not where members come and go: not everyone's word
    /// counts then.
    pub(super) fn hearsay(&self) -> bool {
        let still = self.bounds.changes.is_empty() && self.bounds.wipes.is_none();
        self.reduced == Reduced::Yes && still
    }

    /// What nodes forget at once, since all that it could change can happen without.
    pub(super) fn forgets(&self) -> Forgets {
        Forgets {
            leaders_voice: self.reduced == Reduced::Yes,
            refusals: self.hearsay(),
        }
    }

    /// Whether a message will never do anything any more. The protocol says so, and the core is asked: one that did something all the same would be
    /// kept, and arrive.
    pub(super) fn is_dead(&mut self, nodes: &[u32], number: u32) -> bool {
        if !self.hearsay() {
            return self.is_dead_answer(nodes, number);
        }
        let message = self.messages.facts(number);
        let to = &self.nodes.facts(nodes[message.to]).facts;
        match message.kind {
            Kind::PreVote => false,
            Kind::Request => {
                // It is over; or it asks for a vote that another has, durably.
                let other = |vote| vote != message.from;
                let given = to.jobs == 0 && to.status.voted_for.is_some_and(other);
                let asks_in_vain =
                    message.asks_for_vote && message.term == to.status.term.0 && given;
                (message.term < to.status.term.0 || asks_in_vain) && self.is_idle(nodes, number)
            }
            Kind::Vote | Kind::Response => {
                self.is_dead_answer(nodes, number) && self.is_idle(nodes, number)
            }
        }
    }

    /// An answer to a former life, term or campaign.
    fn is_dead_answer(&self, nodes: &[u32], number: u32) -> bool {
        let message = self.messages.facts(number);
        let to = &self.nodes.facts(nodes[message.to]).facts;
        let (term, hearsay) = (to.status.term.0, self.hearsay());
        match message.kind {
            Kind::PreVote | Kind::Request => false,
            _ if message.request.0 == 0 || message.term < term => true,
            // What is still said by it can be heard at any time.
            _ if hearsay && message.term > term => true,
            // A candidate that is refused does nothing that one that waits does not.
            Kind::Vote if hearsay && message.refusal => true,
            Kind::Vote => message.term == term && to.campaign != Some(message.request.1),
            // Whoever led a term does not lead it again.
            Kind::Response => {
                let role = to.status.role;
                hearsay && role != RoleName::Leader && role != RoleName::Candidate
            }
        }
    }

    /// Whether the core does nothing when it gets the message now, but answer what nobody waits for.
    fn is_idle(&mut self, nodes: &[u32], number: u32) -> bool {
        let message = self.messages.facts(number);
        let (to, at, term) = (nodes[message.to], message.to, message.term);
        let (refusal, envelope) = (message.refusal, self.messages.get(number));
        let later = term > self.nodes.facts(to).facts.status.term.0;
        let key = (to, number | DELIVER);
        if !self.steps.contains_key(&key) {
            let input = Input::Deliver(Box::new(envelope.clone()));
            self.work_out(key, &input);
        }
        let Some(step) = &self.steps[&key] else {
            return true;
        };
        if step.wrong.is_some() {
            return false;
        }
        let (after, sent) = (step.node, step.sent.clone());
        let facts = &self.nodes.facts(after).facts;
        let same = if later {
            facts.status.term.0 == term
                && facts.status.role == RoleName::Follower
                && facts.log == self.nodes.facts(to).facts.log
        } else if refusal {
            !facts.leads()
        } else {
            after == to
        };
        let mut changed = nodes.to_vec();
        changed[at] = after;
        same && (sent.iter()).all(|&answer| self.is_dead_answer(&changed, answer))
    }
}
