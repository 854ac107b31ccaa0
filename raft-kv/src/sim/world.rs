//! The simulated world: machines, network, clients, and one event after the other.

use bytes::Bytes;
use fastrand::Rng;
use raft_core::{FetchJob, HardState};

use super::agenda::{Agenda, Time};
use super::app::{App, Call, Desk, Order};
use super::check::{Checks, Violation};
use super::faults::{Fault, Occurrence};
use super::host::Host;
use super::marks::{Mark, Marks};
use super::net::{Line, Link, LinkId, Net, Parcel, Place, Side};
use super::random::{Purpose, stream};
use super::setup::Setup;
use super::trace::{Happening, NodeState, Trace};
use super::upgrade::first_releases;

use crate::node::snapshot::worker::Lane;

/// What is checked holds, or the run is over.
pub(super) type Checked<T = ()> = Result<T, Violation>;

/// A frame between nodes: its kind and its body.
pub(super) type NodeFrame = (u8, Vec<Bytes>);

/// What happens at some time. A node's events carry the life of its process that they are for: those of an earlier one are void.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A machine is powered on, or its process started again.
    Start { host: usize },
    /// The time that a node's loop wanted to be woken at.
    Wake { host: usize, life: u64 },
    /// A node's loop comes round.
    Round { host: usize, life: u64 },
    /// A node's disk is done with what it was given.
    Commit { host: usize, life: u64 },
    /// A node's disk has read.
    Fetch {
        host: usize,
        life: u64,
        job: FetchJob,
    },
    /// A thread of a node that works on snapshots is done with what is next.
    Work { host: usize, life: u64, lane: Lane },
    /// A node's disk has rested for a while.
    Rest {
        host: usize,
        life: u64,
        commits: u64,
    },
    /// A frame that was held back is sent.
    Late {
        host: usize,
        life: u64,
        line: Line,
        frame: NodeFrame,
    },
    /// A node dials another again.
    Redial { host: usize, life: u64, line: Line },
    /// A dial arrives.
    Dialled { link: LinkId },
    /// A dialler learns whether it was taken.
    Picked { link: LinkId, up: bool },
    /// A dialler waits no longer.
    DialDeadline { link: LinkId },
    /// Something arrives on a connection, at this side.
    Deliver {
        link: LinkId,
        to: Side,
        parcel: Parcel,
    },
    /// A connection's timer, at this side.
    Timer { link: LinkId, side: Side },
    /// A client's time.
    Client { client: usize },
    /// A fault of this class comes.
    Fault(Fault),
    /// A fault ends.
    Ease(Ease),
}

/// The end of a fault.
#[derive(Clone, Debug)]
pub(super) enum Ease {
    Links,
    Resume { host: usize, life: u64 },
    Disk { host: usize },
}

/// One run.
pub(super) struct World<A: App> {
    pub(super) setup: Setup,
    pub(super) agenda: Agenda<Event>,
    pub(super) hosts: Vec<Host<A>>,
    pub(super) net: Net,
    pub(super) app: A,
    pub(super) checks: Checks,
    pub(super) trace: Trace,
    pub(super) marks: Marks,
    pub(super) chance: Chance,
    orders: Vec<Order<A>>,
    /// Whether faults still come.
    pub(super) troubled: bool,
    /// Frames that were sent, to be sent again much later.
    pub(super) recorded: Vec<(usize, Line, NodeFrame)>,
    /// The faults that came.
    pub(super) occurrences: Vec<Occurrence>,
    /// How many of each class came, or would have.
    pub(super) counted: [u32; Fault::ALL.len()],
    /// How badly each class shows, in millionths; 0: not at all.
    pub(super) loss: u32,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
}

/// The streams that are drawn from while the run goes on.
pub(super) struct Chance {
    pub(super) net: Rng,
    pub(super) disk: Rng,
    pub(super) looping: Rng,
    pub(super) clients: Rng,
    pub(super) nodes: Rng,
    pub(super) faults: Vec<Rng>,
}

impl<A: App> World<A> {
    pub(super) fn new(setup: Setup, app: A, whole_trace: bool) -> Self {
        let seed = setup.seed;
        let chance = Chance {
            net: stream(seed, Purpose::Net, 0),
            disk: stream(seed, Purpose::Disk, 0),
            looping: stream(seed, Purpose::Loop, 0),
            clients: stream(seed, Purpose::Clients, 0),
            nodes: stream(seed, Purpose::Nodes, 0),
            faults: Fault::ALL
                .iter()
                .map(|&fault| stream(seed, Purpose::Faults, fault as u64))
                .collect(),
        };
        let mut world = Self {
            agenda: Agenda::new(),
            hosts: first_releases(&setup)
                .into_iter()
                .enumerate()
                .map(|(host, follows)| Host::new(host >= setup.nodes, follows))
                .collect(),
            net: Net::default(),
            app,
            checks: Checks::new(setup.hosts()),
            trace: Trace::new(whole_trace),
            marks: Marks::default(),
            chance,
            orders: Vec::new(),
            troubled: true,
            recorded: Vec::new(),
            occurrences: Vec::new(),
            counted: [0; Fault::ALL.len()],
            loss: 0,
            duplicate: 0,
            reorder: 0,
            setup,
        };
        for host in 0..world.hosts.len() {
            let delay = Time::from_millis(world.chance.nodes.u64(0..500));
            world.agenda.plan(delay, Event::Start { host });
        }
        for client in 0..world.setup.clients {
            let delay = Time::from_millis(world.chance.clients.u64(0..1000));
            world.agenda.plan(delay, Event::Client { client });
        }
        world.plan_faults();
        world
    }

    pub(super) fn now(&self) -> Time {
        self.agenda.now()
    }

    /// Until this time, or a violation.
    pub(super) fn run_until(&mut self, end: Time) -> Checked {
        while let Some(event) = self.agenda.next(end) {
            self.happen(event)?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Checked {
        if self.defer(&event) {
            return Ok(());
        }
        match event {
            Event::Start { host } => self.start(host),
            Event::Wake { host, life } => {
                self.woken(host, life);
                Ok(())
            }
            Event::Round { host, life } => self.round(host, life),
            Event::Commit { host, life } => self.commit(host, life),
            Event::Fetch { host, life, job } => self.fetch(host, life, job),
            Event::Work { host, life, lane } => self.work(host, life, lane),
            Event::Rest {
                host,
                life,
                commits,
            } => self.rest(host, life, commits),
            Event::Late {
                host,
                life,
                line,
                frame,
            } => {
                self.send_late(host, life, line, frame);
                Ok(())
            }
            Event::Redial { host, life, line } => {
                self.redial(host, life, line);
                Ok(())
            }
            Event::Dialled { link } => {
                self.dialled(link);
                Ok(())
            }
            Event::Picked { link, up } => self.picked(link, up),
            Event::DialDeadline { link } => self.dial_deadline(link),
            Event::Deliver { link, to, parcel } => self.deliver(link, to, parcel),
            Event::Timer { link, side } => self.timer(link, side),
            Event::Client { client } => self.with_app(|app, desk| app.wake(client, desk)),
            Event::Fault(fault) => self.fault(fault),
            Event::Ease(ease) => self.ease(ease),
        }
    }

    /// What is for a process that stands still waits until it goes on.
    fn defer(&mut self, event: &Event) -> bool {
        let host = match event {
            Event::Wake { host, .. }
            | Event::Round { host, .. }
            | Event::Commit { host, .. }
            | Event::Fetch { host, .. }
            | Event::Work { host, .. }
            | Event::Rest { host, .. }
            | Event::Late { host, .. }
            | Event::Redial { host, .. } => *host,
            Event::Deliver { link, to: side, .. } | Event::Timer { link, side } => {
                let place = self
                    .net
                    .links
                    .get(link)
                    .map(|link| link.end_ref(*side).place);
                let Some(Place::Host(host)) = place else {
                    return false;
                };
                host
            }
            Event::Picked { link, .. } | Event::DialDeadline { link } => {
                let place = self.net.links.get(link).map(|link| link.dialler.place);
                let Some(Place::Host(host)) = place else {
                    return false;
                };
                host
            }
            _ => return false,
        };
        let Some(host) = self.hosts.get_mut(host).filter(|host| host.paused) else {
            return false;
        };
        host.deferred.push(event.clone());
        true
    }

    /// Lets the application do something, and carries out what it orders.
    pub(super) fn with_app(&mut self, act: impl FnOnce(&mut A, &mut Desk<'_, A>)) -> Checked {
        let mut orders = std::mem::take(&mut self.orders);
        let mut desk = Desk {
            now: self.agenda.now(),
            rng: &mut self.chance.clients,
            last_link: self.net.last_id(),
            orders: &mut orders,
        };
        act(&mut self.app, &mut desk);
        self.carry_out(&mut orders)?;
        self.orders = orders;
        Ok(())
    }

    pub(super) fn carry_out(&mut self, orders: &mut Vec<Order<A>>) -> Checked {
        for order in orders.drain(..) {
            match order {
                Order::Wake { client, at } => self.agenda.plan(at, Event::Client { client }),
                Order::Dial {
                    client,
                    link,
                    address,
                    cluster,
                } => self.dial_client(client, link, &address, cluster),
                Order::HangUp { link } => self.hang_up(link, Side::Dialler),
                Order::Ask { link, letter } => self.post(link, Side::Dialler, letter)?,
                Order::Answer { link, letter } => self.post(link, Side::Acceptor, letter)?,
                Order::Call { host, call } => self.call(host, call),
                Order::Tried {
                    client,
                    operation,
                    link,
                    write,
                } => {
                    let to = self.net.links.get(&link).and_then(Link::node);
                    let what = Happening::Tried {
                        client,
                        operation,
                        to,
                        write,
                    };
                    self.note(None, what);
                }
                Order::Tell(what) => self.note(None, what),
            }
        }
        Ok(())
    }

    /// A program that has the node in itself asks it; one that is down has no such program.
    fn call(&mut self, host: usize, call: Call<A>) {
        let Some(process) = self
            .hosts
            .get_mut(host)
            .and_then(|host| host.process.as_mut())
        else {
            return self.app.call_failed(call);
        };
        match call {
            Call::Write(command, ticket) => process.inbox.writes.push((command, ticket)),
            Call::Read(request) => process.inbox.reads.push(request),
        }
        self.plan_round(host);
    }

    pub(super) fn hit(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }

    pub(super) fn note(&mut self, host: Option<usize>, what: Happening) {
        let state = host
            .filter(|_| self.trace.whole)
            .and_then(|host| self.node_state(host));
        let node = host.map(|host| host as u64 + 1);
        self.trace.add(self.agenda.now(), node, what, state);
    }

    pub(super) fn fault_note(&mut self, text: impl Into<String>) {
        self.note(None, Happening::Fault(text.into()));
    }

    fn node_state(&self, host: usize) -> Option<NodeState> {
        let status = self.hosts.get(host)?.process.as_ref()?.replica.status()?;
        Some(NodeState {
            role: status.role,
            hard_state: HardState {
                term: status.term,
                voted_for: status.voted_for,
                commit: status.commit,
            },
            last: status.last,
            durable: status.durable,
            commit: status.commit,
            applied: status.applied,
            membership: status.membership,
        })
    }
}
