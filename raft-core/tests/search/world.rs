//! The cluster: its states, and what can happen in each.

use raft_core::{Envelope, MemberId, Membership, Message, Numbers, RoleName};

use crate::node::{Input, Node};
use crate::safety::{Facts, History};
use crate::tables::{QuickMap, Table};

/// At most so many nodes.
pub const NODES_MAX: usize = 4;
/// At most so many messages on their way.
pub const MESSAGES_MAX: usize = 3;
const NONE: u32 = u32::MAX;

/// A state of the cluster, by the numbers of its parts in the tables. Messages are a set: a second copy of one under way adds nothing,
/// since any message may be delivered twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [u32; NODES_MAX],
    messages: [u32; MESSAGES_MAX],
    history: u32,
}

/// How far the search goes, and what may happen.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// No node campaigns beyond this term.
    pub terms: u64,
    /// Who campaigns.
    pub campaigners: &'static [usize],
    /// Nobody campaigns or proposes whose log has so many entries.
    pub entries: usize,
    /// At most so many messages are on their way.
    pub messages: usize,
    /// How often a node crashes, keeping any part of its jobs, and starts again.
    pub crashes: u8,
    /// How often a message that has arrived stays on its way, to arrive again.
    pub repeats: u8,
    /// Leaders propose.
    pub proposals: bool,
    /// How often a leader sends heartbeats.
    pub heartbeats: u8,
    /// Pre-votes are messages like any other; otherwise the nodes that are asked answer at once.
    pub prevotes: bool,
    /// How many are asked at once then.
    pub supporters: &'static [u32],
    /// How many reads a leader takes, one at a time.
    pub reads: u8,
    /// The change of the membership that each node, leading, asks for; at most so many in all.
    pub changes: Vec<(usize, raft_core::Change)>,
    pub changes_max: u8,
    /// The node whose disk is lost, once.
    pub wipes: Option<usize>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message arrives, and is gone, or stays to arrive again.
    Deliver {
        message: u32,
        stays: bool,
    },
    Lose {
        message: u32,
    },
    Persist(usize),
    Restart(usize, usize),
    /// An election timeout passes at a node that hears nothing, and it asks for pre-votes.
    Timeout(usize),
    /// The same at the nodes of the mask too, which answer its pre-vote at once, before anything else happens.
    Campaign(usize, u32),
    Heartbeat(usize),
    Propose(usize),
    Read(usize),
    Change(usize),
    Wipe(usize),
}

/// What a node does in one step, by numbers.
struct Step {
    node: u32,
    sent: Vec<u32>,
    numbers: Numbers,
    reads: usize,
    wrong: Option<String>,
}

/// A state that is being worked out.
struct Draft {
    nodes: Vec<u32>,
    messages: Vec<u32>,
    history: History,
}

/// What a node is known by elsewhere: the boots of a member, and its requests, that are kept somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Names {
    boots: Vec<u64>,
    requests: Vec<(u64, u64)>,
}

struct NodeFacts {
    facts: Facts,
    names: Vec<Names>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PreVote,
    Vote,
    Request,
    Response,
}

struct MessageFacts {
    from: MemberId,
    to: usize,
    boot: u64,
    asker: MemberId,
    request: (u64, u64),
    kind: Kind,
    term: u64,
}

/// The tables, and what was worked out.
pub struct World {
    pub bounds: Bounds,
    pub base: Membership,
    members: Vec<MemberId>,
    nodes: Table<Node, NodeFacts>,
    messages: Table<Envelope, MessageFacts>,
    histories: Table<History, ()>,
    inputs: Table<Input, ()>,
    steps: QuickMap<(u32, u32), Option<Box<Step>>>,
    renamed_nodes: QuickMap<(u32, usize, Names), u32>,
    renamed_messages: QuickMap<(u32, u64, (u64, u64)), u32>,
}

/// What follows from an action: a state, or what it breaks.
pub type Outcome = Result<State, String>;

impl World {
    pub fn new(bounds: Bounds, base: Membership) -> Self {
        Self {
            bounds,
            base,
            members: Vec::new(),
            nodes: Table::new(),
            messages: Table::new(),
            histories: Table::new(),
            inputs: Table::new(),
            steps: QuickMap::default(),
            renamed_nodes: QuickMap::default(),
            renamed_messages: QuickMap::default(),
        }
    }

    /// The state in which these nodes have just started. The first `committed` entries of the first are committed.
    pub fn begin(&mut self, nodes: Vec<Node>, committed: usize) -> State {
        self.members = nodes.iter().map(Node::member).collect();
        let mut history = History::default();
        let log = Facts::of(&nodes[0]).log;
        let first = log[..committed].iter().map(|&mark| (mark, mark.0));
        history.committed.extend(first);
        let draft = Draft {
            nodes: nodes.into_iter().map(|node| self.node(node)).collect(),
            messages: Vec::new(),
            history,
        };
        self.seal(draft).expect("nothing is on its way")
    }

    /// Forgets what was worked out, because the core does something else from now on.
    #[cfg(raft_mutants)]
    pub fn forget_steps(&mut self) {
        self.steps.clear();
    }

    pub fn nodes(&self) -> usize {
        self.members.len()
    }

    pub fn message(&self, message: u32) -> &Envelope {
        self.messages.get(message)
    }

    pub fn facts(&self, state: &State, node: usize) -> &Facts {
        &self.nodes.facts(state.nodes[node]).facts
    }

    pub fn messages(&self, state: &State) -> impl Iterator<Item = (u32, &Envelope)> + use<'_> {
        let there = state.messages.into_iter().take_while(|&at| at != NONE);
        there.map(|at| (at, self.messages.get(at)))
    }

    pub fn history(&self, state: &State) -> &History {
        self.histories.get(state.history)
    }

    /// Whether everything that must hold in a state does.
    pub fn check(&self, state: &State) -> Result<(), String> {
        let there = state.nodes.iter().take_while(|&&at| at != NONE);
        let facts: Vec<&Facts> = there.map(|&at| &self.nodes.facts(at).facts).collect();
        self.history(state).check_all(&facts, &self.base)
    }

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
            actions.push(Action::Lose { message });
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
            Ok(true) => self.seal(draft).map(Ok),
            Err(wrong) => Some(Err(wrong)),
        }
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
        let to = self.messages.facts(message).to;
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
            let output = self.nodes.get(key.0).step(&input(), Some(&self.base));
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
        // One that was refused has at least learnt that its term is over.
        Ok(
            after.role == RoleName::Candidate
                || after.role == RoleName::Leader
                || after.term > term,
        )
    }

    // ---- numbers ----

    fn draft(&self, state: &State) -> Draft {
        let there = |at: &u32| *at != NONE;
        Draft {
            nodes: state.nodes.into_iter().take_while(there).collect(),
            messages: state.messages.into_iter().take_while(there).collect(),
            history: self.histories.get(state.history).clone(),
        }
    }

    /// The state that a draft becomes; none, if too many messages are on their way: one has to arrive or be lost first.
    fn seal(&mut self, mut draft: Draft) -> Option<State> {
        self.rename(&mut draft, None);
        (draft.messages).retain(|&message| !self.is_dead(&draft.nodes, message));
        draft.messages.sort_unstable();
        draft.messages.dedup();
        if draft.messages.len() > self.bounds.messages {
            return None;
        }
        let mut state = State {
            nodes: [NONE; NODES_MAX],
            messages: [NONE; MESSAGES_MAX],
            history: self.histories.number(draft.history, |_| ()),
        };
        state.nodes[..draft.nodes.len()].copy_from_slice(&draft.nodes);
        state.messages[..draft.messages.len()].copy_from_slice(&draft.messages);
        Some(state)
    }

    /// Whether a message will never do anything any more: an answer to a former life, term or campaign. Losing it at once leaves
    /// room, and nothing that can happen out.
    fn is_dead(&self, nodes: &[u32], message: u32) -> bool {
        let message = self.messages.facts(message);
        let to = &self.nodes.facts(nodes[message.to]).facts;
        let term = to.status.term.0;
        match message.kind {
            Kind::PreVote | Kind::Request => false,
            _ if message.request.0 == 0 || message.term < term => true,
            Kind::Vote => message.term == term && to.campaign != Some(message.request.1),
            Kind::Response => false,
        }
    }

    fn node(&mut self, node: Node) -> u32 {
        let members = &self.members;
        self.nodes.number(node, |node| NodeFacts {
            facts: Facts::of(node),
            names: members.iter().map(|&member| names(node, member)).collect(),
        })
    }

    fn number(&mut self, envelope: Envelope) -> u32 {
        self.messages.number(envelope, |envelope| {
            let mut envelope = envelope.clone();
            let (from, to) = (envelope.from, envelope.to.node.0 as usize - 1);
            let (asker, id) = envelope.request();
            let id = *id;
            MessageFacts {
                from: from.member,
                to,
                boot: from.boot.0,
                asker,
                request: (id.boot.0, id.number),
                kind: match envelope.message {
                    Message::PreVoteRequest { .. } | Message::PreVoteResponse { .. } => {
                        Kind::PreVote
                    }
                    Message::VoteResponse { .. } => Kind::Vote,
                    _ if asker == from.member => Kind::Request,
                    _ => Kind::Response,
                },
                term: envelope.term.0,
            }
        })
    }

    /// Renames boots and requests so that states which differ in nothing else are one: boots are counted from 1 without gaps, the
    /// requests of the node that made a step as it says, and a request of a former life is like any other of one.
    fn rename(&mut self, draft: &mut Draft, stepped: Option<(usize, &Numbers)>) {
        for at in 0..self.members.len() {
            let naming = self.naming(draft, at, stepped);
            for message in &mut draft.messages {
                *message = self.rename_message(&naming, *message);
            }
            for holder in 0..draft.nodes.len() {
                draft.nodes[holder] = self.rename_node(&naming, holder, draft.nodes[holder]);
            }
        }
    }

    fn naming<'a>(
        &self,
        draft: &Draft,
        at: usize,
        stepped: Option<(usize, &'a Numbers)>,
    ) -> Naming<'a> {
        let identity = self.nodes.facts(draft.nodes[at]).facts.status.identity;
        let member = self.members[at];
        // A member whose disk was wiped is gone, and so is what it asked.
        let current = if identity.member == member {
            identity.boot.0
        } else {
            0
        };
        let messages = draft
            .messages
            .iter()
            .map(|&message| self.messages.facts(message));
        let sent: Vec<(usize, u64)> = messages
            .filter(|message| message.from == member)
            .map(|message| (message.to, message.boot))
            .collect();
        Naming {
            at,
            member,
            current,
            used: sent
                .iter()
                .fold(1 << current, |used, (_, boot)| used | 1 << boot)
                & !1,
            sent,
            numbers: stepped.and_then(|(node, numbers)| (node == at).then_some(numbers)),
        }
    }

    fn rename_message(&mut self, naming: &Naming<'_>, message: u32) -> u32 {
        let facts = self.messages.facts(message);
        let (mut boot, mut request) = (facts.boot, facts.request);
        if facts.from == naming.member {
            boot = naming.boot(boot);
        }
        if facts.asker == naming.member {
            request = naming.request(request, true);
        }
        if (boot, request) == (facts.boot, facts.request) {
            return message;
        }
        let key = (message, boot, request);
        if let Some(&known) = self.renamed_messages.get(&key) {
            return known;
        }
        let mut envelope = self.messages.get(message).clone();
        envelope.from.boot.0 = boot;
        let (_, name) = envelope.request();
        (name.boot.0, name.number) = request;
        let number = self.number(envelope);
        self.renamed_messages.insert(key, number);
        number
    }

    fn rename_node(&mut self, naming: &Naming<'_>, holder: usize, node: u32) -> u32 {
        let names = &self.nodes.facts(node).names[naming.at];
        // Its own requests were renamed with the step.
        let other = holder != naming.at;
        let boot = |&boot: &u64| naming.heard(holder, boot);
        let request = |&id: &(u64, u64)| naming.request(id, other);
        let same = names.boots.iter().all(|old| boot(old) == *old)
            && names.requests.iter().all(|old| request(old) == *old);
        if same {
            return node;
        }
        let new = Names {
            boots: names.boots.iter().map(boot).collect(),
            requests: names.requests.iter().map(request).collect(),
        };
        let key = (node, naming.at, new);
        if let Some(&known) = self.renamed_nodes.get(&key) {
            return known;
        }
        let mut renamed = self.nodes.get(node).clone();
        renamed
            .raft
            .rename(naming.member, &mut |old| old.0 = boot(&old.0), &mut |id| {
                (id.boot.0, id.number) = request(&(id.boot.0, id.number));
            });
        let number = self.node(renamed);
        self.renamed_nodes.insert(key, number);
        number
    }
}

/// How boots and requests of one member are renamed.
struct Naming<'a> {
    at: usize,
    member: MemberId,
    /// Its boot now; 0, if it is gone.
    current: u64,
    /// Its boots that are told apart, a bit each: the one now, and those of its messages under way.
    used: u64,
    /// To whom its messages are, and of which boot.
    sent: Vec<(usize, u64)>,
    numbers: Option<&'a Numbers>,
}

impl Naming<'_> {
    fn boot(&self, boot: u64) -> u64 {
        match boot {
            0 => 0,
            _ => u64::from((self.used & ((1 << boot) - 1)).count_ones()) + 1,
        }
    }

    /// What `holder` has heard as the latest boot: all that counts is which messages on their way to it are older.
    fn heard(&self, holder: usize, boot: u64) -> u64 {
        if holder == self.at || self.current == 0 {
            return self.boot(boot);
        }
        let newer = self
            .sent
            .iter()
            .filter(|(to, sent)| *to == holder && *sent >= boot);
        let oldest = newer.map(|&(_, sent)| sent).min();
        self.boot(oldest.unwrap_or(self.current))
    }

    /// A request. One of a former life is like any other of one.
    fn request(&self, (boot, number): (u64, u64), stepped: bool) -> (u64, u64) {
        if boot != self.current || boot == 0 {
            return (0, 0);
        }
        let numbers = self.numbers.filter(|_| stepped);
        (
            self.boot(boot),
            numbers.map_or(number, |numbers| numbers.rename(number)),
        )
    }
}

/// What marks the number of a message as the input that it arrives.
const DELIVER: u32 = 1 << 31;

/// What `node` keeps of the boots and requests of `member`.
fn names(node: &Node, member: MemberId) -> Names {
    let mut names = Names::default();
    let Names { boots, requests } = &mut names;
    node.raft.clone().rename(
        member,
        &mut |boot| {
            boots.push(boot.0);
        },
        &mut |id| {
            requests.push((id.boot.0, id.number));
        },
    );
    names
}
