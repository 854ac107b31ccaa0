//! The connections that a node makes to the others, kept alive as `raft_net_tcp::Peer` does.

use std::collections::btree_map::Entry;
use std::time::Duration;

use raft_core::NodeId;
use raft_net_tcp::{Connection, Role};

use super::app::App;
use super::host::{address, host_at};
use super::net::LinkId;
use super::net::{Line, Place, Side};
use super::random::between;
use super::world::{Event, NodeFrame, World};
use crate::node::formation::Founders;

/// A connection to one other node, or the wait before the next attempt.
#[derive(Debug)]
pub(super) struct PeerLink {
    pub(super) address: String,
    pub(super) link: Option<LinkId>,
    pub(super) open: bool,
    pause: Duration,
}

impl PeerLink {
    fn new(address: String, pause: Duration) -> Self {
        Self {
            address,
            link: None,
            open: false,
            pause,
        }
    }
}

impl<A: App> World<A> {
    pub(super) fn net_config(&self) -> raft_net_tcp::Config {
        let tuning = &self.setup.tuning;
        crate::node::launch::network(tuning.election_timeout, tuning.heartbeat)
    }

    /// These are all nodes now.
    pub(super) fn update_peers(&mut self, host: usize, nodes: Founders) {
        let least = self.net_config().backoff.min;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let identity = process.replica.identity();
        process.gate.0.update(identity, Some(nodes.clone()));
        let me = identity.member.node;
        let gone: Vec<Line> = process
            .peers
            .keys()
            .copied()
            .filter(|line| nodes.get(&line.to) != Some(&process.peers[line].address))
            .collect();
        let mut closed = Vec::new();
        for line in gone {
            closed.extend(process.peers.remove(&line).and_then(|peer| peer.link));
        }
        let mut fresh = Vec::new();
        for (to, address) in nodes {
            let line = Line::ordinary(to);
            if to == me || process.peers.contains_key(&line) {
                continue;
            }
            process.peers.insert(line, PeerLink::new(address, least));
            fresh.push(line);
        }
        for link in closed {
            self.hang_up(link, Side::Dialler);
        }
        for line in fresh {
            self.dial_peer(host, line);
        }
    }

    /// A file is about to be sent: it has a connection of its own.
    pub(super) fn open_bulk(&mut self, host: usize, to: NodeId) {
        let least = self.net_config().backoff.min;
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let address = process.peers.get(&Line::ordinary(to));
        let Some(address) = address.map(|peer| peer.address.clone()) else {
            return;
        };
        let line = Line::bulk(to);
        if let Entry::Vacant(place) = process.peers.entry(line) {
            place.insert(PeerLink::new(address, least));
            self.dial_peer(host, line);
        }
    }

    /// No file is sent any more.
    pub(super) fn close_bulk(&mut self, host: usize, to: NodeId) {
        let process = self.hosts[host].process.as_mut();
        let peer = process.and_then(|process| process.peers.remove(&Line::bulk(to)));
        if let Some(link) = peer.and_then(|peer| peer.link) {
            self.hang_up(link, Side::Dialler);
        }
    }

    fn dial_peer(&mut self, host: usize, line: Line) {
        let link = self.net.fresh_id();
        let Some(process) = &mut self.hosts[host].process else {
            return;
        };
        let Some(peer) = process.peers.get_mut(&line) else {
            return;
        };
        let Some(to) = host_at(&peer.address) else {
            return;
        };
        peer.link = Some(link);
        peer.open = false;
        debug_assert_eq!(address(to), peer.address);
        self.dial(link, Place::Host(host), to, Some(line.to), line.role());
    }

    pub(super) fn redial(&mut self, host: usize, life: u64, line: Line) {
        let waits = self
            .process(host, life)
            .and_then(|process| process.peers.get(&line))
            .is_some_and(|peer| peer.link.is_none());
        if waits {
            self.dial_peer(host, line);
        }
    }

    /// A connection to a peer is over, or could not be made: the next attempt comes after a pause.
    pub(super) fn peer_lost(&mut self, host: usize, link: LinkId) {
        let most = self.net_config().backoff.max;
        let machine = &mut self.hosts[host];
        let life = machine.life;
        let Some(process) = &mut machine.process else {
            return;
        };
        let Some((&line, peer)) = process
            .peers
            .iter_mut()
            .find(|(_, peer)| peer.link == Some(link))
        else {
            return;
        };
        peer.link = None;
        peer.open = false;
        let full = peer.pause;
        peer.pause = (full * 2).min(most);
        let delay = between(&mut self.chance.net, full / 2, full);
        self.agenda
            .plan_in(delay, Event::Redial { host, life, line });
    }

    pub(super) fn peer_open(&mut self, host: usize, link: LinkId) {
        let least = self.net_config().backoff.min;
        if let Some(process) = &mut self.hosts[host].process {
            for peer in process.peers.values_mut() {
                if peer.link == Some(link) {
                    peer.open = true;
                    peer.pause = least;
                }
            }
        }
    }

    /// Sends a frame to a node, or loses it, when there is no connection.
    pub(super) fn send_frame(&mut self, host: usize, line: Line, (kind, body): NodeFrame) {
        let Some(process) = &self.hosts[host].process else {
            return;
        };
        let Some(link) = process
            .peers
            .get(&line)
            .filter(|peer| peer.open)
            .and_then(|peer| peer.link)
        else {
            return;
        };
        if let Some(connection) = self.connection(link, Side::Dialler) {
            // One that has just closed takes nothing.
            let _ = connection.send(kind, 0, &body.into());
            self.transmit(link, Side::Dialler);
        }
    }

    pub(super) fn connection(&mut self, link: LinkId, side: Side) -> Option<&mut Connection> {
        self.net.links.get_mut(&link)?.end(side).machine.as_mut()
    }

    pub(super) fn role_of(&self, link: LinkId) -> Role {
        self.net
            .links
            .get(&link)
            .map_or(Role::Peer, |link| link.role)
    }
}
