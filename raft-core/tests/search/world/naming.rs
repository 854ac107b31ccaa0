//! How states that behave alike become one: the names of boots and requests, which stand in nodes and messages.

use raft_core::{MemberId, NodeId, Numbers};

use super::{Draft, World};
use crate::node::Node;

/// What a node is known by elsewhere: the boots of a member, and its requests, that are kept somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Names {
    pub(super) boots: Vec<u64>,
    pub(super) requests: Vec<(u64, u64)>,
}

impl World {
    /// Renames boots and requests so that states which differ in nothing else are one: boots are counted from 1 without gaps, the
    /// requests of the node that made a step as it says, and a request of a former life is like any other of one.
    pub(super) fn rename(&mut self, draft: &mut Draft, stepped: Option<(usize, &Numbers)>) {
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
            let (from, to) = (facts.from.node, self.members[facts.to].node);
            let peer = if facts.asker == facts.from { to } else { from };
            request = naming.request(request, Some(peer));
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
        let peer = (holder != naming.at).then_some(self.members[holder].node);
        let boot = |&boot: &u64| naming.heard(holder, boot);
        let request = |&id: &(u64, u64)| naming.request(id, peer);
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

    /// A request, and to whom, if it is to be renamed. One of a former life is like any other of one.
    fn request(&self, (boot, number): (u64, u64), peer: Option<NodeId>) -> (u64, u64) {
        if boot != self.current || boot == 0 {
            return (0, 0);
        }
        let renamed = (self.numbers.zip(peer)).map(|(numbers, peer)| numbers.rename(peer, number));
        (self.boot(boot), renamed.unwrap_or(number))
    }
}

/// What `node` keeps of the boots and requests of `member`.
pub(super) fn names(node: &Node, member: MemberId) -> Names {
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
