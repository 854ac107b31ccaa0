//! The cluster: its states, by numbers; what can happen in each is in `world/happen.rs`, and how states that behave alike become one in
//! `world/naming.rs`.

use raft_core::{Envelope, MemberId, Membership, Message, Numbers};

mod alike;
mod happen;
mod naming;

use crate::node::{Input, Node};
use crate::safety::{Facts, History};
use crate::tables::{QuickMap, Table};
use alike::{Alike, Images};
use naming::{Names, names};

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

/// Whether one state stands for all that the same can happen to, and more; see the head of `main.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    Yes,
    /// Every state is visited: to see that nothing is left out otherwise.
    No,
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
    pub reduced: Reduced,
    pub base: Membership,
    members: Vec<MemberId>,
    nodes: Table<Node, NodeFacts>,
    messages: Table<Envelope, MessageFacts>,
    histories: Table<History, ()>,
    inputs: Table<Input, ()>,
    steps: QuickMap<(u32, u32), Option<Box<Step>>>,
    renamed_nodes: QuickMap<(u32, usize, Names), u32>,
    renamed_messages: QuickMap<(u32, u64, (u64, u64)), u32>,
    /// The ways in which nodes can be exchanged, and what comes of it.
    alike: Vec<Alike>,
    images: Images,
}

/// What follows from an action: a state, or what it breaks.
pub type Outcome = Result<State, String>;

impl World {
    pub fn new(bounds: Bounds, base: Membership) -> Self {
        Self {
            bounds,
            reduced: Reduced::Yes,
            base,
            members: Vec::new(),
            nodes: Table::new(),
            messages: Table::new(),
            histories: Table::new(),
            inputs: Table::new(),
            steps: QuickMap::default(),
            renamed_nodes: QuickMap::default(),
            renamed_messages: QuickMap::default(),
            alike: Vec::new(),
            images: Images::default(),
        }
    }

    /// The state in which these nodes have just started. The first `committed` entries of the first are committed.
    pub fn begin(&mut self, nodes: Vec<Node>, committed: usize) -> State {
        self.members = nodes.iter().map(Node::member).collect();
        self.alike = alike::all(&self.members, &self.base, &self.bounds);
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
        let count = draft.messages.len();
        (draft.messages).retain(|&message| !self.is_dead(&draft.nodes, message));
        if draft.messages.len() < count {
            // Boots are told apart by what is on its way.
            self.rename(&mut draft, None);
        }
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
        Some(self.representative(state))
    }

    /// The states that differ from this one only in that fewer messages were repeated until now.
    pub fn with_fewer_repeats(&mut self, state: &State) -> Vec<State> {
        let history = self.history(state).clone();
        let fewer = (0..history.repeats).map(|repeats| History {
            repeats,
            ..history.clone()
        });
        let fewer: Vec<State> = (fewer)
            .map(|history| State {
                history: self.histories.number(history, |_| ()),
                ..*state
            })
            .collect();
        fewer
            .into_iter()
            .map(|state| self.representative(state))
            .collect()
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
}
