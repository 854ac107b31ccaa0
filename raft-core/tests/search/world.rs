//! The cluster: its states, by numbers; what can happen in each is in `world/happen.rs`, and how states that behave alike become one in
//! `world/naming.rs`.

use raft_core::{Envelope, MemberId, Membership, Message, Numbers};

mod alike;
mod dead;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    nodes: [u32; NODES_MAX],
    messages: [u32; MESSAGES_MAX],
    history: u32,
}

impl State {
    /// The same with another past.
    fn after(self, history: u32) -> Self {
        Self { history, ..self }
    }

    /// A hash of 64 bits that mixes every bit of the state into each of its own (SplitMix64).
    pub fn fingerprint(&self) -> u64 {
        let parts = self.nodes.iter().chain(&self.messages);
        let mut print = 0_u64;
        for part in parts.chain([&self.history]) {
            print = (print ^ u64::from(*part)).wrapping_add(0x9e37_79b9_7f4a_7c15);
            print = (print ^ (print >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            print = (print ^ (print >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            print ^= print >> 31;
        }
        // 0 is no fingerprint.
        print.max(1)
    }
}

/// Whether one state stands for others; see the head of `main.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    /// For all that can do nothing that it cannot.
    Yes,
    /// For those that differ from it in which node is which.
    Exchanged,
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
    /// An answer from a later term arrives, to whatever was asked.
    Hear(usize, u64),
    /// An election timeout passes at a node that hears nothing and does nothing.
    Silence(usize),
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
#[derive(Clone)]
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
    /// A vote that is asked for, or refused.
    asks_for_vote: bool,
    refusal: bool,
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
    /// The histories that differ from each in one crash, one repeated message, or both.
    fewer: Vec<Option<[u32; 3]>>,
    inputs: Table<Input, ()>,
    steps: QuickMap<(u32, u32), Option<Box<Step>>>,
    renamed_nodes: QuickMap<(u32, usize, Names), u32>,
    renamed_messages: QuickMap<(u32, u64, (u64, u64)), u32>,
    /// The ways in which nodes can be exchanged, and what comes of it.
    alike: Vec<Alike>,
    images: Images,
}

/// What follows from an action: states, or what it breaks.
pub type Outcome = Result<Vec<State>, String>;

impl World {
    pub fn new(bounds: Bounds, base: Membership) -> Self {
        Self {
            bounds,
            // Until it begins, every node is the one that it is called.
            reduced: Reduced::No,
            base,
            members: Vec::new(),
            nodes: Table::new(),
            messages: Table::new(),
            histories: Table::new(),
            fewer: Vec::new(),
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
        self.state(draft)
    }

    /// Forgets what was worked out, because the core does something else from now on.
    #[cfg(raft_mutants)]
    pub fn forget_steps(&mut self) {
        self.steps.clear();
    }

    /// How many crashes and repeated messages it took.
    pub fn uses(&self, state: &State) -> usize {
        let history = self.history(state);
        usize::from(history.crashes) + usize::from(history.repeats)
    }

    /// The states that differ from this one only in that it took fewer crashes and repeated messages: they can do all that it can.
    pub fn with_fewer_uses(&mut self, state: &State) -> impl Iterator<Item = State> + use<> {
        let state = *state;
        let at = state.history as usize;
        if self.fewer.len() <= at || self.fewer[at].is_none() {
            let history = self.histories.get(state.history).clone();
            let less = |crashes: u8, repeats: u8| History {
                crashes: history.crashes.saturating_sub(crashes),
                repeats: history.repeats.saturating_sub(repeats),
                ..history.clone()
            };
            let fewer = [less(1, 0), less(0, 1), less(1, 1)];
            let fewer = fewer.map(|history| self.histories.number(history, |_| ()));
            if self.fewer.len() <= at {
                self.fewer.resize(at + 1, None);
            }
            // Those that were not reached are never found.
            self.fewer[at] = Some(fewer.map(|number| {
                if number == state.history {
                    NONE
                } else {
                    number
                }
            }));
        }
        let fewer = self.fewer[at].unwrap_or([NONE; 3]);
        let reduced = self.reduced == Reduced::Yes;
        let fewer = fewer
            .into_iter()
            .filter(move |&history| reduced && history != NONE);
        fewer.map(move |history| state.after(history))
    }

    /// How many nodes, messages and histories there are.
    pub fn sizes(&self) -> [usize; 3] {
        [self.nodes.len(), self.messages.len(), self.histories.len()]
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

    /// The states that a draft becomes: when more messages are on their way than may be, any of them are lost.
    fn seal(&mut self, mut draft: Draft) -> Vec<State> {
        self.settle(&mut draft);
        let (count, most) = (draft.messages.len(), self.bounds.messages);
        if count <= most {
            return vec![self.state(draft)];
        }
        let kept = (0..1_u32 << count).filter(|kept| kept.count_ones() as usize == most);
        let mut states: Vec<State> = kept
            .map(|kept| {
                let messages = draft.messages.iter().enumerate();
                let messages = messages.filter(|(at, _)| kept & (1 << at) != 0);
                let mut draft = Draft {
                    messages: messages.map(|(_, &message)| message).collect(),
                    ..draft.clone()
                };
                self.settle(&mut draft);
                self.state(draft)
            })
            .collect();
        states.sort_unstable();
        states.dedup();
        states
    }

    /// Loses what will never do anything any more, and gives everything its name.
    fn settle(&mut self, draft: &mut Draft) {
        self.rename(draft, None);
        let count = draft.messages.len();
        let mut messages = std::mem::take(&mut draft.messages);
        messages.retain(|&message| !self.is_dead(&draft.nodes, message));
        draft.messages = messages;
        if draft.messages.len() < count {
            // Boots are told apart by what is on its way.
            self.rename(draft, None);
        }
        draft.messages.sort_unstable();
        draft.messages.dedup();
    }

    fn state(&mut self, draft: Draft) -> State {
        let mut state = State {
            nodes: [NONE; NODES_MAX],
            messages: [NONE; MESSAGES_MAX],
            history: self.histories.number(draft.history, |_| ()),
        };
        state.nodes[..draft.nodes.len()].copy_from_slice(&draft.nodes);
        state.messages[..draft.messages.len()].copy_from_slice(&draft.messages);
        self.representative(state)
    }

    /// How the search goes on from here, and the state that stands for this one in it.
    pub fn reduce(&mut self, reduced: Reduced, state: &State) -> State {
        self.reduced = reduced;
        self.steps.clear();
        let mut draft = self.draft(state);
        for at in &mut draft.nodes {
            let mut node = self.nodes.get(*at).clone();
            node.forget(self.forgets());
            *at = self.node(node);
        }
        self.settle(&mut draft);
        self.state(draft)
    }

    fn node(&mut self, node: Node) -> u32 {
        let members = &self.members;
        self.nodes.number(node, |node| NodeFacts {
            facts: Facts::of(node),
            names: members.iter().map(|&member| names(node, member)).collect(),
        })
    }

    fn number(&mut self, mut envelope: Envelope) -> u32 {
        if self.hearsay() {
            envelope.forget_whose_match();
        }
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
                asks_for_vote: matches!(envelope.message, Message::VoteRequest { .. }),
                refusal: matches!(
                    envelope.message,
                    Message::VoteResponse { granted: false, .. }
                ),
            }
        })
    }
}
