//! Making connections: dials that arrive, are taken or not, or are given up.

use std::sync::Arc;

use raft_core::NodeId;
use raft_net_tcp::{ClusterId, Connection, Identity, Local, Role};

use super::app::App;
use super::host::host_at;
use super::net::{End, Link, LinkId, Parcel, Pipe, Place, Side};
use super::world::{Checked, Event, World};
use crate::glue;

impl<A: App> World<A> {
    pub(super) fn dial(
        &mut self,
        id: LinkId,
        from: Place,
        to: usize,
        expected: Option<NodeId>,
        role: Role,
    ) {
        let to = Place::Host(to);
        let end = |place| End {
            place,
            machine: None,
            remote: None,
            timer: None,
        };
        self.net.links.insert(
            id,
            Link {
                dialler: end(from),
                acceptor: end(to),
                forth: Pipe::default(),
                back: Pipe::default(),
                dialling: true,
                expected,
                role,
            },
        );
        if !self.net.is_cut(from, to) {
            let delay = self.delay(from, to);
            self.agenda.plan_in(delay, Event::Dialled { link: id });
        }
        let patience = self.net_config().connect_timeout;
        let at = self.virtual_time(from, self.local(from) + patience);
        self.agenda.plan(at, Event::DialDeadline { link: id });
    }

    pub(super) fn dial_client(
        &mut self,
        client: usize,
        link: LinkId,
        address: &str,
        cluster: [u8; 16],
    ) {
        let Some(host) = host_at(address).filter(|host| *host < self.hosts.len()) else {
            return;
        };
        self.dial(link, Place::Client(client), host, None, Role::Client);
        if let Some(made) = self.net.links.get_mut(&link) {
            // What the dialler will say of itself, kept until the connection is there.
            made.dialler.remote = Some(Identity {
                cluster: ClusterId(cluster),
                ..Identity::default()
            });
        }
    }

    /// A dial arrives: the operating system takes it, if a process listens.
    pub(super) fn dialled(&mut self, id: LinkId) {
        let now_config = Arc::new(self.net_config());
        let Some(link) = self.net.links.get(&id) else {
            return;
        };
        let (from, to) = link.route(Side::Dialler);
        let Place::Host(host) = to else { return };
        if !self.hosts[host].on || self.net.is_cut(to, from) {
            return;
        }
        let up = self.hosts[host].process.is_some();
        if up {
            let local = self.local(to);
            if let Some(link) = self.net.links.get_mut(&id) {
                link.acceptor.machine = Some(Connection::accept(now_config, local));
            }
            self.plan_timer(id, Side::Acceptor);
        }
        let delay = self.delay(to, from);
        self.agenda.plan_in(delay, Event::Picked { link: id, up });
    }

    /// The dialler learns what came of it, and says hello.
    pub(super) fn picked(&mut self, id: LinkId, up: bool) -> Checked {
        let config = Arc::new(self.net_config());
        let Some(link) = self.net.links.get(&id) else {
            return Ok(());
        };
        let place = link.dialler.place;
        let (expected, role) = (link.expected, link.role);
        if !link.dialling {
            return Ok(());
        }
        if !up {
            return self.over(id, Side::Dialler, "connection refused");
        }
        let local = match place {
            Place::Host(host) => {
                let Some(process) = &self.hosts[host].process else {
                    return Ok(());
                };
                process.gate.0.local()
            }
            Place::Client(_) => {
                let identity = link.dialler.remote.unwrap_or_default();
                Local::new(glue::PROTOCOL, identity)
            }
            Place::Stranger => match link.dialler.remote {
                Some(identity) => Local::new(glue::PROTOCOL, identity),
                None => {
                    self.babble(id);
                    return Ok(());
                }
            },
        };
        let now = self.local(place);
        let connection = Connection::dial(config, role, &local, expected.map(|node| node.0), now);
        if let Some(link) = self.net.links.get_mut(&id) {
            link.dialling = false;
            link.dialler.remote = None;
            link.dialler.machine = Some(connection);
        }
        self.transmit(id, Side::Dialler);
        Ok(())
    }

    /// A stranger who does not speak the protocol says something.
    fn babble(&mut self, id: LinkId) {
        let mut noise = vec![0; self.chance.net.usize(1..300)];
        self.chance.net.fill(&mut noise);
        if let Some(link) = self.net.links.get_mut(&id) {
            link.dialling = false;
        }
        self.ship(id, Side::Dialler, Parcel::Bytes(vec![noise.into()]));
        self.forget(id);
    }

    /// Someone who does not belong here connects: who says to be `identity`, or says nothing that can be read.
    pub(super) fn dial_stranger(&mut self, to: usize, identity: Option<Identity>) {
        let id = self.net.fresh_id();
        self.dial(id, Place::Stranger, to, None, Role::Peer);
        if let Some(link) = self.net.links.get_mut(&id) {
            link.dialler.remote = identity;
        }
    }

    pub(super) fn dial_deadline(&mut self, id: LinkId) -> Checked {
        let waits = self.net.links.get(&id).is_some_and(|link| {
            link.dialling || (link.dialler.machine.is_some() && link.dialler.remote.is_none())
        });
        if waits {
            return self.over(id, Side::Dialler, "no connection in time");
        }
        Ok(())
    }
}
