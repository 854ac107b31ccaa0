//! The network between machines: connections as TCP gives them, bytes in order, late, or not at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::NodeId;
use raft_net_tcp::{Connection, Identity, Role};

use super::agenda::Time;

/// Names a connection between two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LinkId(pub(super) u64);

/// A connection that a node keeps to another: for all that it says, or for the files that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Line {
    pub(super) to: NodeId,
    pub(super) bulk: bool,
}

impl Line {
    /// The one for all but files.
    pub(super) fn ordinary(to: NodeId) -> Self {
        Self { to, bulk: false }
    }

    /// The one for files.
    pub(super) fn bulk(to: NodeId) -> Self {
        Self { to, bulk: true }
    }

    pub(super) fn role(self) -> Role {
        if self.bulk {
            Role::PeerBulk
        } else {
            Role::Peer
        }
    }
}

/// Where a connection can end: nodes first, then clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Host(usize),
    Client(usize),
    /// Someone who does not belong here.
    Stranger,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Bytes(Vec<Bytes>),
    /// The sender has closed.
    End,
    /// There is nobody any more.
    Reset,
}

/// One end of a connection.
pub(super) struct End {
    pub(super) place: Place,
    /// The machine, while the process that has it lives and the connection is not over.
    pub(super) machine: Option<Connection>,
    /// Who is at the other end, once it is open.
    pub(super) remote: Option<Identity>,
    /// When its timer is planned for.
    pub(super) timer: Option<Time>,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Nothing arrives before what was sent before it.
    pub(super) free_at: Time,
    /// What waits for a cut link to heal.
    pub(super) stuck: VecDeque<Parcel>,
    /// Swallows everything.
    pub(super) black_hole: bool,
    /// Changes a byte of what is sent next.
    pub(super) garbles: bool,
}

/// A connection.
pub(super) struct Link {
    pub(super) dialler: End,
    pub(super) acceptor: End,
    pub(super) forth: Pipe,
    pub(super) back: Pipe,
    /// The dialler does not know yet whether it was taken.
    pub(super) dialling: bool,
    /// Whom the dialler expects, when it is a node.
    pub(super) expected: Option<NodeId>,
    /// As whom the dialler comes.
    pub(super) role: Role,
}

impl Link {
    pub(super) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialler => &mut self.dialler,
            Side::Acceptor => &mut self.acceptor,
        }
    }

    pub(super) fn end_ref(&self, side: Side) -> &End {
        match side {
            Side::Dialler => &self.dialler,
            Side::Acceptor => &self.acceptor,
        }
    }

    /// The direction from this side.
    pub(super) fn pipe(&mut self, from: Side) -> &mut Pipe {
        match from {
            Side::Dialler => &mut self.forth,
            Side::Acceptor => &mut self.back,
        }
    }

    /// The node that it was made to.
    pub(super) fn node(&self) -> Option<u64> {
        match self.acceptor.place {
            Place::Host(host) => Some(host as u64 + 1),
            Place::Client(_) | Place::Stranger => None,
        }
    }

    /// From whom, to whom, seen from this side.
    pub(super) fn route(&self, from: Side) -> (Place, Place) {
        (self.end_ref(from).place, self.end_ref(from.other()).place)
    }
}

/// All connections, and how the links between places are.
#[derive(Default)]
pub(super) struct Net {
    pub(super) links: BTreeMap<LinkId, Link>,
    last: u64,
    /// Directions in which nothing arrives.
    pub(super) cut: BTreeSet<(Place, Place)>,
    /// What is added to every delay, on slow links.
    pub(super) slow: BTreeMap<(Place, Place), Duration>,
}

impl Net {
    pub(super) fn fresh_id(&mut self) -> LinkId {
        self.last += 1;
        LinkId(self.last)
    }

    /// The newest name, to be counted on by whoever makes connections.
    pub(super) fn last_id(&mut self) -> &mut u64 {
        &mut self.last
    }

    pub(super) fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Every connection with an end here.
    pub(super) fn of(&self, place: Place) -> Vec<(LinkId, Side)> {
        self.links
            .iter()
            .filter_map(|(&id, link)| {
                let side = if link.dialler.place == place {
                    Side::Dialler
                } else if link.acceptor.place == place {
                    Side::Acceptor
                } else {
                    return None;
                };
                Some((id, side))
            })
            .collect()
    }
}
