//! The connections that this node makes: one to each other node, kept alive, one way.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft_core::{Envelope, Incarnation, NodeId};
use raft_net_tcp::{Dial, Overflow, Peer, Role};
use tracing::{debug, trace};

use super::formation::{FormationMessage, Founders};
use super::gate::{Gate, SharedGate};
use crate::glue;
use crate::wire::{self, Transfer, kind};

/// All peers that are dialled.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    config: raft_net_tcp::Config,
    gate: Arc<Gate>,
    overrides: BTreeMap<u64, String>,
    seed: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Where they are.
    addresses: Founders,
    /// For the files that are sent to some of them: a connection of its own to each, lest a file hold up a heartbeat.
    bulk: BTreeMap<NodeId, Peer>,
}

impl Peers {
    pub(crate) fn new(
        me: NodeId,
        config: raft_net_tcp::Config,
        gate: Arc<Gate>,
        overrides: BTreeMap<u64, String>,
        seed: u64,
    ) -> Self {
        Self {
            me,
            config,
            gate,
            overrides,
            seed,
            peers: BTreeMap::new(),
            addresses: Founders::new(),
            bulk: BTreeMap::new(),
        }
    }

    /// These are all nodes now: dials the new ones, hangs up on those that are gone, follows those that moved.
    pub(crate) fn update(&mut self, nodes: &Founders) -> Result<(), raft_net_tcp::ConfigError> {
        self.peers.retain(|node, _| nodes.contains_key(node));
        self.bulk.retain(|node, _| nodes.contains_key(node));
        self.addresses = nodes.clone();
        for (&node, address) in nodes.iter().filter(|(node, _)| **node != self.me) {
            let address = self.overrides.get(&node.0).unwrap_or(address);
            if let Some(bulk) = self.bulk.get(&node) {
                bulk.set_address(address);
            }
            match self.peers.get(&node) {
                Some(peer) => peer.set_address(address),
                None => {
                    let peer = self.dial(node, address, Role::Peer)?;
                    self.peers.insert(node, peer);
                }
            }
        }
        Ok(())
    }

    fn dial(
        &self,
        node: NodeId,
        address: &str,
        role: Role,
    ) -> Result<Peer, raft_net_tcp::ConfigError> {
        let gate = self.gate.clone();
        let dial = Dial::new(self.config.clone(), role, move || gate.local())
            .expect_node(node.0)
            .policy(SharedGate(self.gate.clone()));
        // Of what is said, the newest counts most; of a file, what comes first.
        let overflow = match role {
            Role::PeerBulk => Overflow::Reject,
            _ => Overflow::DropOldest,
        };
        Peer::spawn(address, dial, overflow, self.seed ^ node.0)
    }

    /// Sends a word about a file, or loses it: it is asked for again.
    pub(crate) fn send_transfer(&mut self, to: NodeId, message: &Transfer) {
        let bulk = message.is_bulk();
        if bulk && !self.bulk.contains_key(&to) {
            let address = self.overrides.get(&to.0).or(self.addresses.get(&to));
            let Some(address) = address else { return };
            match self.dial(to, address, Role::PeerBulk) {
                Ok(peer) => drop(self.bulk.insert(to, peer)),
                // The settings were checked at the start; only they could be wrong.
                Err(error) => return tracing::error!(%error, "a peer cannot be dialled"),
            }
        }
        let peers = if bulk { &self.bulk } else { &self.peers };
        let Some(peer) = peers.get(&to) else { return };
        let body = wire::encode_transfer(message, protocol(peer));
        if let Err(error) = peer.try_send(kind::TRANSFER, 0, body) {
            trace!(%to, %error, "a transfer message was not sent");
        }
    }

    /// No file is sent to this one any more.
    pub(crate) fn end_transfer(&mut self, to: NodeId) {
        self.bulk.remove(&to);
    }

    /// How to ask a node that is no member who it is.
    pub(crate) fn stranger_dial(&self) -> Dial {
        let gate = self.gate.clone();
        Dial::new(self.config.clone(), Role::Peer, move || gate.local())
    }

    /// Sends, or loses: Raft repairs that.
    pub(crate) fn send(&self, envelope: &Envelope) {
        let Some(peer) = self.peers.get(&envelope.to.node) else {
            return;
        };
        let body = wire::encode_envelope(envelope, protocol(peer));
        if let Err(error) = peer.try_send(kind::ENVELOPE, 0, body) {
            trace!(to = %envelope.to, %error, "an envelope was not sent");
        }
    }

    /// Sends, or loses: it is said again.
    pub(crate) fn send_formation(&self, to: NodeId, message: FormationMessage) {
        let Some(peer) = self.peers.get(&to) else {
            return;
        };
        let body = wire::encode_formation(&glue::formation_to_wire(message), protocol(peer));
        if let Err(error) = peer.try_send(kind::FORMATION, 0, body) {
            debug!(%to, %error, "a formation message was not sent");
        }
    }

    /// Who cannot be reached, and why, or is another than it should be, of those that matter.
    pub(crate) fn troubles(
        &self,
        matters: impl Fn(NodeId) -> bool,
        expected: impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Vec<String> {
        self.peers
            .iter()
            .filter(|(node, _)| matters(**node))
            .filter_map(|(node, peer)| {
                let expected = expected(*node);
                let status = peer.status();
                let status = status.borrow();
                let here = status.connected.as_ref();
                let here = here.map(|peer| Incarnation(peer.hello.identity.incarnation));
                if let (Some(here), Some(expected)) = (here, expected)
                    && here != expected
                {
                    return Some(wiped(*node));
                }
                let error = status
                    .last_error
                    .as_ref()
                    .filter(|_| status.connected.is_none())?;
                Some(format!("node {node}: {error}"))
            })
            .collect()
    }
}

/// What is spoken with a peer: what waits for a connection is written so that every release reads it.
fn protocol(peer: &Peer) -> u16 {
    peer.version().unwrap_or(wire::PROTOCOL_MIN)
}

/// What there is to say of a member that came back without its data.
pub(crate) fn wiped(node: NodeId) -> String {
    format!(
        "node {node} came with another data directory, and does not count: `raft-cli member add {node} HOST:PORT` takes it in as it is"
    )
}
