//! What can happen in a state, and what follows from it.

use raft_core::{RoleName, Term};

use super::dead::DELIVER;
use super::{Action, Draft, Kind, NONE, Outcome, Reduced, State, Step, World};
use crate::node::Input;
use crate::safety::Facts;

impl World {
    /// Everything that may happen in a state.
    pub fn actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (message, _) in self.messages(state) {
            let mut stays = vec![false];
            if self.history(state).repeats < self.bounds.repeats {
                stays.push(true);
            }
            actions.extend(
                stays
                    .into_iter()
                    .map(|stays| Action::Deliver { message, stays }),
            );
            // Otherwise a message that does not arrive stays on its way until room is needed.
            if self.reduced != Reduced::Yes {
                actions.push(Action::Lose { message });
            }
        }
        let count = state.nodes.iter().take_while(|&&at| at != NONE).count();
        for at in 0..count {
            self.actions_of(state, at, count, &mut actions);
        }
        actions
    }

    fn actions_of(&self, state: &State, at: usize, count: usize, actions: &mut Vec<Action>) {
        let (bounds, node) = (&self.bounds, self.facts(state, at));
        let history = self.history(state);
        if node.jobs > 0 {
            actions.push(Action::Persist(at));
        }
        if history.crashes < bounds.crashes {
            actions.extend((0..=node.jobs).map(|kept| Action::Restart(at, kept)));
        }
        // Otherwise whoever follows has always been silent; and a leader is silent when it matters: before something that only a follower takes, and
        // before it counts its own entries.
        let steps_down = node.leads() && node.jobs > 0;
        if steps_down || self.reduced != Reduced::Yes && (node.leads() || node.sticks) {
            actions.push(Action::Silence(at));
        }
        if self.hearsay() {
            let others = (0..count).filter(|&other| other != at);
            let terms = others.map(|other| self.facts(state, other).disk_term);
            let latest = terms.max().unwrap_or(0);
            let later = node.status.term.0 + 1..=latest;
            actions.extend(later.map(|term| Action::Hear(at, term)));
        }
        let may = bounds.campaigners.contains(&at) && node.log.len() < bounds.entries;
        if may && node.status.term.0 < bounds.terms {
            if bounds.prevotes {
                actions.push(Action::Timeout(at));
            } else {
                let masks = (1..1 << count).filter(|mask: &u32| {
                    mask & (1 << at) == 0 && bounds.supporters.contains(&mask.count_ones())
                });
                actions.extend(masks.map(|mask| Action::Campaign(at, mask)));
            }
        }
        if node.leads() {
            if bounds.proposals && node.log.len() < bounds.entries {
                actions.push(Action::Propose(at));
            }
            if history.heartbeats < bounds.heartbeats {
                actions.push(Action::Heartbeat(at));
            }
            if history.reads < bounds.reads && history.read.is_none() {
                actions.push(Action::Read(at));
            }
            if history.changes < bounds.changes_max {
                actions.push(Action::Change(at));
            }
        }
        if bounds.wipes == Some(at) && !history.wiped {
            actions.push(Action::Wipe(at));
        }
    }

    /// What follows from an action; nothing, when it cannot happen.
    pub fn act(&mut self, state: &State, action: Action) -> Option<Outcome> {
        let mut draft = self.draft(state);
        match self.act_on(&mut draft, action) {
            Ok(false) => None,
            Ok(true) if self.adds_nothing(state, &draft) => None,
            Ok(true) => Some(Ok(self.seal(draft))),
            Err(wrong) => Some(Err(wrong)),
        }
    }

    /// Whether nothing has happened, but that a message is gone, or something that may happen only so often was used up.
    fn adds_nothing(&self, before: &State, after: &Draft) -> bool {
        self.reduced == Reduced::Yes
            && before.nodes[..after.nodes.len()] == after.nodes
            && (after.messages.iter()).all(|message| before.messages.contains(message))
            && self.history(before).is_at_most(&after.history)
    }

    fn act_on(&mut self, draft: &mut Draft, action: Action) -> Result<bool, String> {
        let (at, input) = match action {
            Action::Deliver { message, stays } => {
                if stays {
                    draft.history.repeats += 1;
                } else {
                    draft.messages.retain(|&other| other != message);
                }
                return self.deliver(draft, message);
            }
            Action::Lose { message } => {
                draft.messages.retain(|&other| other != message);
                return Ok(true);
            }
            Action::Campaign(at, mask) => return self.campaign(draft, at, mask),
            Action::Hear(at, term) => (at, Input::Hear(Term(term))),
            Action::Silence(at) => (at, Input::Silence),
            Action::Persist(at) => (at, Input::Persist),
            Action::Restart(at, kept) => {
                // A read ends with the life that took it in.
                draft.history.read.take_if(|read| read.0 == at);
                draft.history.crashes += 1;
                (at, Input::Restart { kept })
            }
            Action::Timeout(at) => (at, Input::Timeout),
            Action::Heartbeat(at) => {
                draft.history.heartbeats += 1;
                (at, Input::Heartbeat)
            }
            Action::Propose(at) => (at, Input::Propose),
            Action::Read(at) => {
                draft.history.reads += 1;
                draft.history.read = Some((at, draft.history.committed.len()));
                (at, Input::Read)
            }
            Action::Change(at) => {
                let mut changes = self.bounds.changes.iter();
                let Some((_, change)) = changes.find(|(node, _)| *node == at) else {
                    return Ok(false);
                };
                draft.history.changes += 1;
                (at, Input::Change(change.clone()))
            }
            Action::Wipe(at) => {
                draft.history.wiped = true;
                (at, Input::Wipe)
            }
        };
        self.step(draft, at, input)
    }

    // ---- steps ----

    /// Hands over a message, which goes to whoever sits at the address, be it the member that is meant or not.
    fn deliver(&mut self, draft: &mut Draft, message: u32) -> Result<bool, String> {
        let facts = self.messages.facts(message);
        let (to, later) = (facts.to, facts.asks_for_vote.then_some(facts.term));
        let receiver = &self.nodes.facts(draft.nodes[to]).facts;
        let deposed = receiver.leads() && later > Some(receiver.status.term.0);
        if self.reduced == Reduced::Yes && deposed {
            // It would not hear of it before nobody had answered it for an election timeout.
            self.step(draft, to, Input::Silence)?;
        }
        let envelope = Box::new(self.messages.get(message).clone());
        self.step_by(draft, to, message | DELIVER, || Input::Deliver(envelope))
    }

    fn step(&mut self, draft: &mut Draft, at: usize, input: Input) -> Result<bool, String> {
        let number = self.inputs.number(input.clone(), |_| ());
        self.step_by(draft, at, number, || input)
    }

    fn step_by(
        &mut self,
        draft: &mut Draft,
        at: usize,
        number: u32,
        input: impl FnOnce() -> Input,
    ) -> Result<bool, String> {
        let key = (draft.nodes[at], number);
        if !self.steps.contains_key(&key) {
            self.work_out(key, &input());
        }
        let Some(step) = &self.steps[&key] else {
            return Ok(false);
        };
        if let Some(wrong) = &step.wrong {
            return Err(wrong.clone());
        }
        draft.nodes[at] = step.node;
        for &message in &step.sent {
            draft.messages.push(message);
        }
        let (numbers, reads) = (step.numbers.clone(), step.reads);
        self.rename(draft, Some((at, &numbers)));
        let facts: Vec<&Facts> = (draft.nodes.iter())
            .map(|&node| &self.nodes.facts(node).facts)
            .collect();
        draft.history.note_node(at, &facts, &self.base)?;
        if reads > 0
            && let Some((_, committed)) = draft.history.read.take()
            && facts[at].status.applied.0 < committed as u64
        {
            return Err(format!(
                "n{} answers a read from {} entries, {committed} were committed when it came in",
                at + 1,
                facts[at].status.applied
            ));
        }
        if !facts[at].leads() {
            draft.history.read.take_if(|read| read.0 == at);
        }
        Ok(true)
    }

    /// Asks the core what a node does on an input.
    pub(super) fn work_out(&mut self, key: (u32, u32), input: &Input) {
        let forgets = self.forgets();
        let output = self.nodes.get(key.0).step(input, Some(&self.base), forgets);
        let step = output.map(|output| {
            let sent = output
                .sent
                .into_iter()
                .map(|envelope| self.number(envelope));
            Box::new(Step {
                sent: sent.collect(),
                node: self.node(output.node),
                numbers: output.numbers,
                reads: output.reads,
                wrong: output.wrong,
            })
        });
        self.steps.insert(key, step);
    }

    /// A campaign with its pre-votes in one go: those who are asked have heard nothing for an election timeout either.
    fn campaign(&mut self, draft: &mut Draft, at: usize, mask: u32) -> Result<bool, String> {
        let term = self.nodes.facts(draft.nodes[at]).facts.status.term;
        let asked: Vec<usize> = (0..draft.nodes.len())
            .filter(|n| mask & (1 << n) != 0)
            .collect();
        for &node in &asked {
            self.step(draft, node, Input::Silence)?;
        }
        if !self.step(draft, at, Input::Timeout)? {
            return Ok(false);
        }
        for &node in &asked {
            // The request, then its answer.
            for (from, to) in [(at, node), (node, at)] {
                let prevote = |message: &&u32| {
                    let facts = self.messages.facts(**message);
                    facts.kind == Kind::PreVote
                        && facts.to == to
                        && facts.from.node == self.members[from].node
                };
                if let Some(&message) = draft.messages.iter().find(prevote) {
                    draft.messages.retain(|&other| other != message);
                    self.deliver(draft, message)?;
                }
            }
        }
        let others = |&message: &u32| self.messages.facts(message).kind != Kind::PreVote;
        draft.messages.retain(others);
        let after = &self.nodes.facts(draft.nodes[at]).facts.status;
        // One that was refused has at least learnt that its term is over; but so it can otherwise.
        Ok(after.role == RoleName::Candidate
            || after.role == RoleName::Leader
            || after.term > term && !self.hearsay())
    }
}
