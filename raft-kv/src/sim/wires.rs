//! Connections at work: dials, bytes, timers and ends, between the real connection machines of both sides.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use raft_core::Boot;
use raft_net_tcp::{CloseReason, Connection, Event as NetEvent, Frame, Policy, Role};

use super::agenda::Time;
use super::app::{App, Asked, Letter};
use super::check::Violation;
use super::marks::Mark;
use super::net::{LinkId, Parcel, Place, Side};
use super::random::between;
use super::world::{Checked, Event, World};
use crate::node::accept;
use crate::node::inbox::Context;

impl<A: App> World<A> {
    /// How long the next parcel takes from one place to another.
    pub(super) fn delay(&mut self, from: Place, to: Place) -> Duration {
        let (least, most) = self.setup.tuning.latency;
        let extra = self.net.slow.get(&(from, to)).copied().unwrap_or_default();
        extra + between(&mut self.chance.net, least, most)
    }

    /// The time that a place's clock shows.
    pub(super) fn local(&self, place: Place) -> Duration {
        match place {
            Place::Host(host) => self.hosts[host].clock.local(self.now()),
            Place::Client(_) | Place::Stranger => self.now(),
        }
    }

    pub(super) fn virtual_time(&self, place: Place, local: Duration) -> Time {
        match place {
            Place::Host(host) => self.hosts[host].clock.virtual_time(local),
            Place::Client(_) | Place::Stranger => local,
        }
    }

    /// Sends what a side has to send, plans its timer, and lets go of it when it is over.
    pub(super) fn transmit(&mut self, id: LinkId, side: Side) {
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        let place = link.end(side).place;
        let local = self.local(place);
        let Some(connection) = self.connection(id, side) else {
            return;
        };
        let bytes = connection.take_transmit(local);
        let over = connection.close_reason().is_some();
        if !bytes.is_empty() {
            self.ship(id, side, Parcel::Bytes(bytes));
        }
        if over {
            self.ship(id, side, Parcel::End);
            if let Some(link) = self.net.links.get_mut(&id) {
                link.end(side).machine = None;
            }
            self.forget(id);
        } else {
            self.plan_timer(id, side);
        }
    }

    /// Puts a parcel on its way.
    pub(super) fn ship(&mut self, id: LinkId, from_side: Side, parcel: Parcel) {
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        let (from, to) = link.route(from_side);
        let pipe = link.pipe(from_side);
        if pipe.black_hole {
            return;
        }
        let parcel = match parcel {
            Parcel::Bytes(chunks) if std::mem::take(&mut pipe.garbles) => {
                Parcel::Bytes(garbled(&chunks, &mut self.chance.net))
            }
            parcel => parcel,
        };
        if !pipe.stuck.is_empty() || self.net.cut.contains(&(from, to)) {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.pipe(from_side).stuck.push_back(parcel);
            }
            return;
        }
        let delay = self.delay(from, to);
        let now = self.now();
        let Some(link) = self.net.links.get_mut(&id) else {
            return;
        };
        let pipe = link.pipe(from_side);
        let at = (now + delay).max(pipe.free_at);
        pipe.free_at = at;
        let to = from_side.other();
        self.agenda.plan(
            at,
            Event::Deliver {
                link: id,
                to,
                parcel,
            },
        );
    }

    /// Links have healed: what was held up goes on.
    pub(super) fn unstick(&mut self) {
        let ids: Vec<LinkId> = self.net.links.keys().copied().collect();
        for id in ids {
            for side in [Side::Dialler, Side::Acceptor] {
                let Some(link) = self.net.links.get_mut(&id) else {
                    continue;
                };
                let (from, to) = link.route(side);
                if self.net.cut.contains(&(from, to)) {
                    continue;
                }
                let Some(link) = self.net.links.get_mut(&id) else {
                    continue;
                };
                let stuck = std::mem::take(&mut link.pipe(side).stuck);
                for parcel in stuck {
                    self.ship(id, side, parcel);
                }
            }
        }
    }

    /// Something arrives.
    pub(super) fn deliver(&mut self, id: LinkId, side: Side, parcel: Parcel) -> Checked {
        let Some(link) = self.net.links.get_mut(&id) else {
            return Ok(());
        };
        let place = link.end(side).place;
        if let Place::Host(host) = place
            && !self.hosts[host].on
        {
            return Ok(());
        }
        let local = self.local(place);
        let Some(connection) = self.connection(id, side) else {
            // There is nobody any more, and the operating system says so.
            if matches!(parcel, Parcel::Bytes(_)) {
                self.ship(id, side, Parcel::Reset);
            }
            return Ok(());
        };
        match parcel {
            Parcel::Bytes(chunks) => {
                for chunk in chunks {
                    connection.receive(&chunk, local);
                }
            }
            Parcel::End => connection.handle_end(),
            Parcel::Reset => connection.handle_error(std::io::ErrorKind::ConnectionReset),
        }
        self.pump(id, side)
    }

    pub(super) fn plan_timer(&mut self, id: LinkId, side: Side) {
        let Some(link) = self.net.links.get(&id) else {
            return;
        };
        let end = link.end_ref(side);
        let Some(deadline) = end.machine.as_ref().and_then(Connection::deadline) else {
            return;
        };
        let at = self.virtual_time(end.place, deadline).max(self.now());
        if end.timer.is_some_and(|planned| planned <= at) {
            return;
        }
        if let Some(link) = self.net.links.get_mut(&id) {
            link.end(side).timer = Some(at);
        }
        self.agenda.plan(at, Event::Timer { link: id, side });
    }

    pub(super) fn timer(&mut self, id: LinkId, side: Side) -> Checked {
        let now = self.now();
        let Some(link) = self.net.links.get_mut(&id) else {
            return Ok(());
        };
        let end = link.end(side);
        if end.timer.is_some_and(|planned| planned <= now) {
            end.timer = None;
        }
        let place = end.place;
        let local = self.local(place);
        if let Some(connection) = self.connection(id, side)
            && connection
                .deadline()
                .is_some_and(|deadline| deadline <= local)
        {
            connection.handle_timeout(local);
            return self.pump(id, side);
        }
        self.plan_timer(id, side);
        Ok(())
    }

    /// Does all that a connection has to tell.
    fn pump(&mut self, id: LinkId, side: Side) -> Checked {
        while let Some(event) = self.connection(id, side).and_then(Connection::next_event) {
            match event {
                NetEvent::Hello(hello) => self.on_hello(id, side, &hello)?,
                NetEvent::Frame(frame) => self.on_frame(id, side, frame)?,
                NetEvent::Closed(reason) => self.on_closed(id, side, &reason)?,
            }
        }
        self.transmit(id, side);
        Ok(())
    }

    fn on_hello(&mut self, id: LinkId, side: Side, hello: &raft_net_tcp::Hello) -> Checked {
        let Some(place) = self.net.links.get(&id).map(|link| link.end_ref(side).place) else {
            return Ok(());
        };
        let now = self.local(place);
        let gate = match place {
            Place::Host(host) => match &self.hosts[host].process {
                Some(process) => Some(process.gate.clone()),
                None => return Ok(()),
            },
            Place::Client(_) | Place::Stranger => None,
        };
        let Some(connection) = self.connection(id, side) else {
            return Ok(());
        };
        match (side, &gate) {
            (Side::Acceptor, Some(gate)) => {
                connection.admit(&gate.0.local(), |hello| gate.admit(hello), now);
            }
            (Side::Dialler, Some(gate)) => {
                if let Err(refusal) = gate.admit(hello) {
                    connection.refuse(refusal);
                }
            }
            _ => {}
        }
        if connection.close_reason().is_some() {
            self.hit(Mark::HandshakeRefused);
            return Ok(());
        }
        if let Some(link) = self.net.links.get_mut(&id) {
            link.end(side).remote = Some(hello.identity);
        }
        match (side, place) {
            (Side::Dialler, Place::Host(host)) => self.peer_open(host, id),
            (Side::Dialler, Place::Client(client)) => {
                let cluster = hello.identity.cluster.0;
                self.with_app(|app, desk| app.connected(client, id, cluster, desk))?;
            }
            (Side::Dialler, Place::Stranger) => {
                return Err(Violation {
                    invariant: "no stranger is let in",
                    what: format!("node {} answered a stranger's hello", hello.identity.node),
                });
            }
            // Not by way of the loop: it is in front of all that comes on the connection.
            (Side::Acceptor, Place::Host(host)) if hello.role != Role::Client => {
                if let Some(process) = &mut self.hosts[host].process {
                    let release = crate::glue::release(hello);
                    let from = crate::glue::member_from_net(&hello.identity);
                    let boot = Boot(hello.identity.boot);
                    process.replica.hear_release(from, boot, release);
                }
            }
            (Side::Acceptor, _) => {}
        }
        Ok(())
    }

    fn on_frame(&mut self, id: LinkId, side: Side, frame: Frame) -> Checked {
        let Some(link) = self.net.links.get(&id) else {
            return Ok(());
        };
        let end = link.end_ref(side);
        let (place, remote) = (end.place, end.remote.unwrap_or_default());
        match (place, self.role_of(id)) {
            (Place::Stranger, _) => Ok(()),
            (Place::Client(client), _) => {
                self.with_app(|app, desk| app.answered(client, id, frame, desk))
            }
            (Place::Host(host), Role::Client) => self.client_asks(host, id, frame),
            // What a dialler hears on a connection to a peer is of no use to it.
            (Place::Host(_), _) if side == Side::Dialler => Ok(()),
            (Place::Host(host), _) => {
                match accept::read(&remote, frame) {
                    Ok(heard) => {
                        if let Some(process) = &mut self.hosts[host].process {
                            process.inbox.heard.push(heard);
                        }
                        self.plan_round(host);
                    }
                    Err(_) => self.hang_up(id, side),
                }
                Ok(())
            }
        }
    }

    fn client_asks(&mut self, host: usize, id: LinkId, frame: Frame) -> Checked {
        let Some(process) = &mut self.hosts[host].process else {
            return Ok(());
        };
        let view = process.replica.view();
        let context = Context {
            machine: &mut process.replica.machine_mut().inner,
            view,
        };
        match self.app.asked(&context, id, frame) {
            Asked::Write(command, ticket) => process.inbox.writes.push((command, ticket)),
            Asked::Read(request) => process.inbox.reads.push(request),
            Asked::Status(ticket) => process.inbox.statuses.push(ticket),
            Asked::Answer(letter) => return self.post(id, Side::Acceptor, letter),
            Asked::HangUp => {
                self.hang_up(id, Side::Acceptor);
                return Ok(());
            }
        }
        self.plan_round(host);
        Ok(())
    }

    /// Sends a frame on an open connection; one that is over takes none.
    pub(super) fn post(&mut self, id: LinkId, side: Side, letter: Letter) -> Checked {
        if let Some(connection) = self.connection(id, side) {
            let _ = connection.send(letter.kind, letter.request_id, &letter.body.into());
            self.transmit(id, side);
        }
        Ok(())
    }

    fn on_closed(&mut self, id: LinkId, side: Side, reason: &CloseReason) -> Checked {
        match reason {
            CloseReason::Silence { .. } => self.hit(Mark::Silence),
            CloseReason::HeaderChecksum | CloseReason::BodyChecksum { .. } => {
                self.hit(Mark::FrameDamaged);
            }
            CloseReason::NotOurProtocol(_) | CloseReason::NoHello { .. } => {
                self.hit(Mark::NotUnderstood);
            }
            _ => {}
        }
        let why = reason.to_string();
        self.told_over(id, side, &why)
    }

    /// A side learns that its connection is over.
    pub(super) fn told_over(&mut self, id: LinkId, side: Side, why: &str) -> Checked {
        let Some(place) = self.net.links.get(&id).map(|link| link.end_ref(side).place) else {
            return Ok(());
        };
        match (side, place) {
            (Side::Dialler, Place::Host(host)) => {
                self.peer_lost(host, id);
                Ok(())
            }
            (Side::Dialler, Place::Client(client)) => {
                self.with_app(|app, desk| app.disconnected(client, id, why, desk))
            }
            (Side::Acceptor, _) | (_, Place::Stranger) => Ok(()),
        }
    }

    /// A connection that could not be made.
    pub(super) fn over(&mut self, id: LinkId, side: Side, why: &str) -> Checked {
        self.told_over(id, side, why)?;
        if let Some(link) = self.net.links.get_mut(&id) {
            link.dialling = false;
        }
        if let Some(connection) = self.connection(id, side) {
            connection.close();
            while connection.next_event().is_some() {}
            self.transmit(id, side);
        } else {
            // The other side, if it was taken, will hear nothing, and give up.
            self.forget(id);
        }
        Ok(())
    }

    /// A side ends a connection by itself; it is told nothing more of it.
    pub(super) fn hang_up(&mut self, id: LinkId, side: Side) {
        if let Some(connection) = self.connection(id, side) {
            connection.close();
            while connection.next_event().is_some() {}
            self.transmit(id, side);
        } else {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.dialling &= side != Side::Dialler;
            }
            self.forget(id);
        }
    }

    /// A connection that nobody has an end of is gone.
    pub(super) fn forget(&mut self, id: LinkId) {
        let gone = self.net.links.get(&id).is_some_and(|link| {
            !link.dialling && link.dialler.machine.is_none() && link.acceptor.machine.is_none()
        });
        if gone {
            self.net.links.remove(&id);
        }
    }

    /// The process at a place has ended: its ends are gone. With power, the other sides are told.
    pub(super) fn drop_links(&mut self, place: Place) {
        let told = !matches!(place, Place::Host(host) if !self.hosts[host].on);
        for (id, side) in self.net.of(place) {
            let Some(link) = self.net.links.get_mut(&id) else {
                continue;
            };
            link.dialling &= side != Side::Dialler;
            let had = link.end(side).machine.take().is_some();
            if had && told {
                self.ship(id, side, Parcel::Reset);
            }
            self.forget(id);
        }
    }
}

impl<A: App> World<A> {
    /// Both sides of a connection learn that it is broken.
    pub(super) fn break_link(&mut self, id: LinkId) -> Checked {
        for side in [Side::Dialler, Side::Acceptor] {
            let Some(link) = self.net.links.get(&id) else {
                return Ok(());
            };
            let paused =
                matches!(link.end_ref(side).place, Place::Host(host) if self.hosts[host].paused);
            if paused {
                let parcel = Parcel::Reset;
                self.agenda.plan_in(
                    Duration::ZERO,
                    Event::Deliver {
                        link: id,
                        to: side,
                        parcel,
                    },
                );
            } else if let Some(connection) = self.connection(id, side) {
                connection.handle_error(std::io::ErrorKind::ConnectionReset);
                self.pump(id, side)?;
            }
        }
        Ok(())
    }

    /// A machine's clock has changed: its timers are planned anew.
    pub(super) fn retime(&mut self, host: usize) {
        for (id, side) in self.net.of(Place::Host(host)) {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.end(side).timer = None;
            }
            self.plan_timer(id, side);
        }
        self.rewake(host);
    }
}

/// The bytes of these chunks, one of them changed.
fn garbled(chunks: &[Bytes], rng: &mut Rng) -> Vec<Bytes> {
    let mut bytes = chunks.concat();
    if !bytes.is_empty() {
        let at = rng.usize(0..bytes.len());
        bytes[at] ^= rng.u8(1..);
    }
    vec![bytes.into()]
}
