//! How nodes with new directories agree on the first membership: a synchronous machine, messages and ticks in, messages
//! and a verdict out.
//!
//! A node founds the cluster only when *every* initial voter, itself included, has said that it knows exactly the same
//! incarnation of each. What a node says so is called its *promise*. Guards: no two first memberships ever both decide
//! anything, though directories are wiped and started again with their old flags at any moment, unless *all* of a
//! majority that decided something are wiped. Why that holds:
//!
//! - A directory belongs to at most one cluster, durably, and promises nothing once it does.
//! - Of two memberships of the same node ids, each with a majority that belongs to it, some node id is in both
//!   majorities. No directory is in both, so that node was wiped in between, and the later membership names its new
//!   incarnation.
//! - The later one needs the promise, given after that wipe, of every node it names. Take the majority that decided an
//!   entry of the earlier one, and one of it that was not wiped. If the entry's leader was wiped, that node had
//!   acknowledged the leader before; if not, take the leader, whom the wiped node had acknowledged before. Either way it
//!   belonged to the earlier cluster by then, and cannot have promised.
//!
//! Promises need not be durable: a node that forgets one has not joined yet, and that is all the argument uses. Nor does
//! it use that messages arrive, or arrive in order.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use raft_core::{ClusterId, Incarnation, MemberId, Membership, NodeId};

use crate::mutants::{Mutant, mutant};
use crate::wire::{self, Seed};

/// What `--cluster` lists: who is to found the cluster, and where each is reached.
pub type Founders = BTreeMap<NodeId, String>;

/// What an unformed node says to every founder, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks.
    pub from: MemberId,
    /// The founders, as the speaker was started with.
    pub founders: Founders,
    /// The state that it is to begin with; none: an empty one.
    pub seed: Option<Seed>,
    /// Whom the speaker has heard itself, itself included. Complete, it is the speaker's promise.
    pub known: BTreeMap<NodeId, Incarnation>,
}

/// What a formed node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formed {
    /// The cluster's id: the hash of `founding`.
    pub cluster: ClusterId,
    /// The first membership.
    pub founding: Membership,
    /// The membership in force at the speaker.
    pub current: Membership,
}

/// What travels between nodes about the formation of their cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormationMessage {
    /// From an unformed node.
    Hello(Hello),
    /// From a formed one.
    Formed(Formed),
}

/// What a node has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait on.
    Wait,
    /// This is the first membership: start with it.
    Found(Membership),
    /// The cluster was formed without this node, and has taken it in since, as it is now.
    Join,
}

/// Why a node must not start: each needs a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormationError {
    /// The cluster knows this node under another incarnation.
    #[error(
        "node {} stands in cluster {cluster} under incarnation {:x}, and this data directory is incarnation {:x}: \
         the directory that belongs to it was lost or replaced, and a wiped node must not vote in the old one's name. Put that \
         directory back. If it is lost, start this node with --join instead of --cluster, and have it taken in: \
         raft-cli member add {} HOST:PORT",
        .member.node, .member.incarnation.0, .here.0, .member.node
    )]
    OtherIncarnation {
        /// The cluster.
        cluster: ClusterId,
        /// As the cluster knows it.
        member: MemberId,
        /// This directory's.
        here: Incarnation,
    },
    /// The cluster was formed, and this node does not belong to it.
    #[error(
        "cluster {cluster} is formed and node {node} does not belong to it (any more): check --id and --cluster; or start \
         it with --join instead of --cluster, and have it taken in: raft-cli member add {node} HOST:PORT"
    )]
    NotAMember {
        /// The cluster.
        cluster: ClusterId,
        /// This node.
        node: NodeId,
    },
}

/// Why a list of founders was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoundersError {
    /// This node is not among them.
    #[error(
        "the cluster's list does not hold node {0}, which is to be started; add it, or correct the id"
    )]
    WithoutSelf(NodeId),
    /// Two of them are said to be at the same address.
    #[error(
        "the cluster's list has nodes {0} and {1} at the same address {2}; correct one of them"
    )]
    SameAddress(NodeId, NodeId, String),
    /// A membership of them would not work.
    #[error("the cluster's list cannot work: {0}")]
    Membership(#[from] raft_core::MembershipError),
}

/// Checks that a list of founders would make a membership, and holds `node`.
///
/// # Errors
/// As [`FoundersError`] lists them.
pub fn check_founders(founders: &Founders, node: NodeId) -> Result<(), FoundersError> {
    if !founders.contains_key(&node) {
        return Err(FoundersError::WithoutSelf(node));
    }
    let mut at = BTreeMap::new();
    for (&node, address) in founders {
        if let Some(other) = at.insert(address, node) {
            return Err(FoundersError::SameAddress(other, node, address.clone()));
        }
    }
    membership(founders, |_| Some(Incarnation::ZERO))
        .map(drop)
        .map_err(FoundersError::Membership)
}

/// The membership of all founders; those whose incarnation is unknown are left out.
fn membership(
    founders: &Founders,
    incarnation: impl Fn(NodeId) -> Option<Incarnation>,
) -> Result<Membership, raft_core::MembershipError> {
    Membership::of_voters(founders.iter().filter_map(|(&node, address)| {
        let member = MemberId {
            node,
            incarnation: incarnation(node)?,
        };
        Some((member, Bytes::from(address.clone())))
    }))
}

/// A founder as this node has heard it.
#[derive(Clone, Debug)]
struct Heard {
    incarnation: Incarnation,
    known: BTreeMap<NodeId, Incarnation>,
}

/// An unformed node.
#[derive(Clone, Debug)]
pub struct Formation {
    me: MemberId,
    founders: Founders,
    seed: Option<Seed>,
    heard: BTreeMap<NodeId, Heard>,
    /// What is wrong with a founder's list, by founder.
    disagreements: BTreeMap<NodeId, String>,
    hello_every_ticks: u32,
    /// Ticks until the next round of hellos; 0: now.
    hello_in_ticks: u32,
}

impl Formation {
    /// A node that is to found a cluster with `founders`, itself among them, which begins with the state of `seed`, or with an empty one.
    ///
    /// # Errors
    /// As [`check_founders`].
    pub fn new(
        me: MemberId,
        founders: Founders,
        seed: Option<Seed>,
        hello_every_ticks: u32,
    ) -> Result<Self, FoundersError> {
        check_founders(&founders, me.node)?;
        Ok(Self {
            me,
            founders,
            seed,
            heard: BTreeMap::new(),
            disagreements: BTreeMap::new(),
            hello_every_ticks: hello_every_ticks.max(1),
            hello_in_ticks: 0,
        })
    }

    /// The state that the cluster is to begin with, if it is not an empty one.
    #[must_use]
    pub fn seed(&self) -> Option<Seed> {
        self.seed
    }

    /// The founders, this node included.
    #[must_use]
    pub fn founders(&self) -> &Founders {
        &self.founders
    }

    /// Time has passed.
    pub fn tick(&mut self, elapsed_ticks: u32) {
        self.hello_in_ticks = self.hello_in_ticks.saturating_sub(elapsed_ticks);
    }

    /// Ticks until there is a hello to be sent.
    #[must_use]
    pub fn ticks_until_deadline(&self) -> u32 {
        self.hello_in_ticks
    }

    /// The hello to send to every other founder now, if one is due.
    #[must_use]
    pub fn next_hello(&mut self) -> Option<Hello> {
        if self.hello_in_ticks > 0 {
            return None;
        }
        self.hello_in_ticks = self.hello_every_ticks;
        Some(Hello {
            from: self.me,
            founders: self.founders.clone(),
            seed: self.seed,
            known: self.known(),
        })
    }

    /// Takes a founder's hello; the caller has checked that it comes from whom it names.
    pub fn on_hello(&mut self, hello: Hello) {
        let node = hello.from.node;
        if node == self.me.node {
            return;
        }
        let Some(differences) = self.differences(&hello) else {
            self.disagreements.remove(&node);
            let before = self.known();
            let heard = Heard {
                incarnation: hello.from.incarnation,
                known: hello.known,
            };
            let news = self
                .heard
                .get(&node)
                .is_none_or(|old| old.known != heard.known);
            self.heard.insert(node, heard);
            // Whoever has news hears of us at once: forming takes round trips, not hello intervals. A hello that says
            // nothing new is not answered, so that two nodes never keep each other busy.
            if news || self.known() != before {
                self.hello_in_ticks = 0;
            }
            return;
        };
        // Its incarnation is no founder of *our* list until the lists are the same.
        self.heard.remove(&node);
        if self.disagreements.insert(node, differences).is_none() {
            self.hello_in_ticks = 0;
        }
    }

    /// Takes a formed node's answer.
    ///
    /// # Errors
    /// When this node must not start.
    pub fn on_formed(&self, formed: &Formed) -> Result<Verdict, FormationError> {
        if wire::cluster_id(&formed.founding) != formed.cluster {
            return Ok(Verdict::Wait);
        }
        let MemberId {
            node,
            incarnation: here,
        } = self.me;
        let is_here = |membership: &Membership| membership.contains(self.me);
        if is_here(&formed.current) && !is_here(&formed.founding) {
            return Ok(Verdict::Join);
        }
        for membership in [&formed.current, &formed.founding] {
            match membership.member(node) {
                Some(member) if member.incarnation != here => {
                    return Err(FormationError::OtherIncarnation {
                        cluster: formed.cluster,
                        member: MemberId {
                            node,
                            incarnation: member.incarnation,
                        },
                        here,
                    });
                }
                Some(_) => {}
                None => {
                    return Err(FormationError::NotAMember {
                        cluster: formed.cluster,
                        node,
                    });
                }
            }
        }
        // Whoever formed it had our promise, so this is the membership that we would have founded.
        Ok(Verdict::Found(formed.founding.clone()))
    }

    /// Whether the cluster can be founded now: every founder has promised what this node knows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let known = self.known();
        let mut everyone = self.founders.keys().all(|node| known.contains_key(node));
        if mutant(Mutant::FoundsWithMajority) {
            everyone = known.len() * 2 > self.founders.len();
        }
        if !everyone || self.heard.values().any(|heard| heard.known != known) {
            return Verdict::Wait;
        }
        match membership(&self.founders, |node| known.get(&node).copied()) {
            Ok(membership) => Verdict::Found(membership),
            Err(_) => Verdict::Wait, // `new` has made one of the same nodes and addresses
        }
    }

    /// What this node waits for, in words.
    #[must_use]
    pub fn waits_for(&self) -> String {
        if let Some((node, differences)) = self.disagreements.first_key_value() {
            return format!("node {node} is not to found the same cluster: {differences}");
        }
        let missing: Vec<NodeId> = self
            .founders
            .keys()
            .copied()
            .filter(|node| *node != self.me.node && !self.heard.contains_key(node))
            .collect();
        if !missing.is_empty() {
            return format!("waiting for {} to form the cluster", Nodes(&missing));
        }
        let known = self.known();
        let behind: Vec<NodeId> = self
            .heard
            .iter()
            .filter(|(_, heard)| heard.known != known)
            .map(|(node, _)| *node)
            .collect();
        format!(
            "waiting for {} to hear from every node of --cluster",
            Nodes(&behind)
        )
    }

    /// Whom this node has heard itself, in which incarnation; itself included.
    fn known(&self) -> BTreeMap<NodeId, Incarnation> {
        let me = (self.me.node, self.me.incarnation);
        self.heard
            .iter()
            .map(|(node, heard)| (*node, heard.incarnation))
            .chain([me])
            .collect()
    }

    /// How another's list or seed differs from ours, in words, and what to do, if one does.
    fn differences(&self, hello: &Hello) -> Option<String> {
        let theirs = &hello.founders;
        if *theirs == self.founders {
            return seeds_differ(self.seed, hello.seed).map(|what| {
                format!("{what}; restore every node from the same file, with the same options, into an empty directory")
            });
        }
        let all: BTreeMap<NodeId, ()> = self
            .founders
            .keys()
            .chain(theirs.keys())
            .map(|node| (*node, ()))
            .collect();
        let mut out = Vec::new();
        for node in all.into_keys() {
            match (self.founders.get(&node), theirs.get(&node)) {
                (Some(ours), Some(their)) if ours != their => {
                    // A stranger's text goes into our log: no control characters.
                    let their = their.escape_debug();
                    out.push(format!(
                        "node {node} is at {ours} here and at {their} there"
                    ));
                }
                (Some(_), None) => out.push(format!("node {node} is listed only here")),
                (None, Some(_)) => out.push(format!("node {node} is listed only there")),
                _ => {}
            }
        }
        let lists = out.join(", ");
        Some(format!(
            "it was started with another --cluster: {lists}; start all with the same list"
        ))
    }
}

/// How two seeds differ, in words, if they do.
fn seeds_differ(ours: Option<Seed>, theirs: Option<Seed>) -> Option<String> {
    let (here, there) = match (ours, theirs) {
        (None, None) => return None,
        (Some(_), None) => {
            return Some("this node was restored from a backup, and that one was not".into());
        }
        (None, Some(_)) => {
            return Some("that node was restored from a backup, and this one was not".into());
        }
        (Some(here), Some(there)) if here == there => return None,
        (Some(here), Some(there)) => (here, there),
    };
    if here.source != there.source {
        return Some(format!(
            "it was restored from another backup: up to {} with checksum {:08x} here, up to {} with {:08x} there",
            here.source.last, here.source.checksum, there.source.last, there.source.checksum
        ));
    }
    if here.file.last != there.file.last {
        return Some(format!(
            "it was restored with another --revision-jump: its log begins behind {} here and behind {} there",
            here.file.last.index, there.file.last.index
        ));
    }
    Some("the same backup was restored by another version of this software".into())
}

/// Nodes, as a person reads them.
struct Nodes<'a>(&'a [NodeId]);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "node " } else { "nodes " })?;
        for (i, node) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{node}")?;
        }
        Ok(())
    }
}
