//! The request machine: decides what is sent where, when it is tried again, and how each request ends.
//!
//! It is synchronous and owns no socket, clock or chance: whoever drives it calls the inputs
//! ([`submit`](Machine::submit), [`connected`](Machine::connected), [`disconnected`](Machine::disconnected),
//! [`received`](Machine::received), [`tick`](Machine::tick)), then takes every [`Output`] from
//! [`next_output`](Machine::next_output), and calls `tick` at [`next_deadline`](Machine::next_deadline) at the latest.
//!
//! - Every request ends exactly once, at its deadline at the latest.
//! - While no leader is known, all endpoints are asked who leads, in rounds that become rarer; requests wait in the
//!   meantime, and are never tried out on nodes that do not lead.
//! - Writes are numbered within a session, so that any number of tries is applied once. A write ends as not applied
//!   only if no try of it can ever be.
//! - When the leader does not answer for a while, the others are asked too; a leader of a later term takes over
//!   whatever is unanswered.

mod answer;
mod backoff;
mod endpoint;
mod leader;
mod send;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::api::{Admin, CommandReply, Header, Operation, Query, Reply, Request, RequestError};
use crate::mutants::{Mutant, mutant};

use self::backoff::{Backoff, Rng};
use self::endpoint::{Endpoints, Link, Place};
use self::session::{Number, Session};
use super::failure::{Cause, EndpointAnswer, EndpointReport, Failure};

/// The time since a moment of the caller's choice, the same for all inputs; it must not go back.
pub type Time = Duration;

/// Names a request of this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestKey(u64);

/// Names one attempt to connect, and the connection that comes of it. None is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(u64);

/// Bounds and waits. The defaults suit a local network with election timeouts of about a second.
#[derive(Clone, Debug)]
pub struct Config {
    /// Requests that may have been submitted and not ended; one more ends at once as [`Cause::Busy`]. 16 384.
    pub requests_max: usize,
    /// Requests sent to the leader and not answered; the others wait here. 1 024.
    pub in_flight_max: usize,
    /// Their keys and values in bytes; one request is always sent. 4 MiB, below what a connection's queue takes.
    pub in_flight_bytes_max: usize,
    /// How far writes of the session may run ahead of the oldest unanswered one. 1 000, below the store's limit.
    pub session_window: u64,
    /// A leader that answers nothing for so long, while requests are under way, is suspected, and the other
    /// endpoints are asked too. 500 ms: shorter makes more such questions under load, longer a slower failover.
    pub suspect_after: Duration,
    /// A stale read that is not answered within this time is tried on another endpoint. 500 ms.
    pub stale_retry_after: Duration,
    /// The first and the longest wait between two rounds in which the endpoints are asked who leads. 10 ms, 250 ms.
    pub seek_wait: (Duration, Duration),
    /// The first and the longest wait after a node said that it was busy. 5 ms, 500 ms.
    pub busy_wait: (Duration, Duration),
    /// A connection to a node that does not lead is closed after so long without use. 10 s.
    pub idle_close: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            requests_max: 16_384,
            in_flight_max: 1_024,
            in_flight_bytes_max: 4 << 20,
            session_window: 1_000,
            suspect_after: Duration::from_millis(500),
            stale_retry_after: Duration::from_millis(500),
            seek_wait: (Duration::from_millis(10), Duration::from_millis(250)),
            busy_wait: (Duration::from_millis(5), Duration::from_millis(500)),
            idle_close: Duration::from_secs(10),
        }
    }
}

/// What is asked for.
#[derive(Clone)]
#[non_exhaustive]
pub enum Ask {
    /// A write, numbered and retried by the machine. [`Operation::EndSession`] ends the machine's own session, if
    /// one is open and nothing is under way in it; [`Operation::RegisterSession`] is the machine's own affair.
    Write(Operation),
    /// A read: linearizable through the leader, or, if `stale`, from whichever node is connected, but never from
    /// before an answer that was given already.
    Read {
        /// What.
        query: Query,
        /// From any node's own state.
        stale: bool,
    },
    /// What the node at this address says of itself. It is asked once.
    Status {
        /// The endpoint; it becomes one of the machine's.
        address: String,
    },
    /// An operator's wish, of the node at this address, which leads as far as is known. It is asked once.
    Admin {
        /// The endpoint; it becomes one of the machine's.
        address: String,
        /// What.
        admin: Admin,
    },
    /// A piece of a backup, of the node at this address. It is asked once.
    Backup {
        /// The endpoint; it becomes one of the machine's.
        address: String,
        /// Which backup; 0: a new one.
        id: u64,
        /// Where the piece begins.
        offset: u64,
    },
}

impl Ask {
    /// The one node that it is for, if it is for one alone.
    fn address(&self) -> Option<&str> {
        match self {
            Ask::Status { address } | Ask::Admin { address, .. } | Ask::Backup { address, .. } => {
                Some(address)
            }
            Ask::Write(_) | Ask::Read { .. } => None,
        }
    }
}

/// How a request ended.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each request; most of them are the large one"
)]
pub enum End {
    /// It was carried out, and this is the answer. For a write that includes a condition that did not hold.
    Answered {
        /// Where the answer comes from.
        header: Header,
        /// The answer.
        reply: Reply,
    },
    /// It was surely not carried out, and never will be.
    NotApplied(Failure),
    /// It may have been carried out, or may yet be.
    Unknown(Failure),
}

/// What the driver is to do.
#[must_use]
pub enum Output {
    /// Open a connection; report [`Machine::connected`] or [`Machine::disconnected`], in bounded time.
    Connect {
        /// Its name in all that follows.
        connection: ConnectionId,
        /// Where to.
        address: String,
        /// The cluster that is expected there; all zero: any.
        cluster: [u8; 16],
    },
    /// Close a connection, or give up making it; nothing more is to be reported of it.
    Disconnect {
        /// Which.
        connection: ConnectionId,
    },
    /// Send a request, in the order given.
    Send {
        /// Where.
        connection: ConnectionId,
        /// The number that the response must carry; unique in this machine.
        request_id: u64,
        /// What.
        request: Request,
    },
    /// A request has ended.
    Complete {
        /// Which.
        key: RequestKey,
        /// How.
        end: End,
    },
}

/// Why a frame never left, see [`Machine::not_sent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSent {
    /// There was no room, or no connection any more: try again later.
    Later,
    /// It is larger than the other side takes.
    TooLarge {
        /// The request's size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
}

/// See the [module](self).
pub struct Machine {
    config: Config,
    rng: Rng,
    endpoints: Endpoints,
    cluster: [u8; 16],
    requests: BTreeMap<RequestKey, Open>,
    /// When each request must be looked at again: one entry each.
    timers: BTreeSet<(Time, RequestKey)>,
    /// Writes without a number.
    fresh_writes: BTreeSet<RequestKey>,
    /// Writes to be sent again under the number that they have.
    retried_writes: BTreeSet<RequestKey>,
    reads: BTreeSet<RequestKey>,
    stale_reads: BTreeSet<RequestKey>,
    attempts: BTreeMap<u64, Attempt>,
    last_id: u64,
    session: Session,
    leader: Option<Leader>,
    /// The highest term in which a node was heard to lead.
    leader_term: u64,
    /// Requests, and their bytes, that are under way to a leader.
    in_flight: usize,
    in_flight_bytes: usize,
    /// When a leader last answered, or was given its first request.
    progress_at: Time,
    seek_backoff: Backoff,
    /// No round of questions before this.
    next_round_at: Time,
    busy_backoff: Backoff,
    /// Nothing goes to the leader before this.
    hold_until: Time,
    stale_backoff: Backoff,
    /// No stale read is sent before this.
    stale_hold_until: Time,
    applied_max: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    place: Place,
    connection: ConnectionId,
    term: u64,
}

/// A request that has not ended.
struct Open {
    ask: Ask,
    bytes: usize,
    deadline: Time,
    timer: Time,
    /// Whether some try may have been applied, or may yet be.
    maybe_applied: bool,
    number: Option<Number>,
    attempt: Option<u64>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("bytes", &self.bytes)
            .field("deadline", &self.deadline)
            .field("maybe_applied", &self.maybe_applied)
            .field("number", &self.number)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Request(RequestKey),
    Register,
    Probe,
}

/// Something sent and not answered.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    place: Place,
    connection: ConnectionId,
    purpose: Purpose,
    bytes: usize,
    /// Whether it was sent to a node because it leads.
    to_leader: bool,
}

impl Machine {
    /// A machine that knows these endpoints; any of the cluster's will do. The seed sets clients apart.
    pub fn new(config: Config, endpoints: impl IntoIterator<Item = String>, seed: u64) -> Machine {
        Machine {
            rng: Rng::new(seed),
            endpoints: Endpoints::new(endpoints),
            cluster: [0; 16],
            requests: BTreeMap::new(),
            timers: BTreeSet::new(),
            fresh_writes: BTreeSet::new(),
            retried_writes: BTreeSet::new(),
            reads: BTreeSet::new(),
            stale_reads: BTreeSet::new(),
            attempts: BTreeMap::new(),
            last_id: 0,
            session: Session::None,
            leader: None,
            leader_term: 0,
            in_flight: 0,
            in_flight_bytes: 0,
            progress_at: Time::ZERO,
            seek_backoff: Backoff::new(config.seek_wait.0, config.seek_wait.1),
            next_round_at: Time::ZERO,
            busy_backoff: Backoff::new(config.busy_wait.0, config.busy_wait.1),
            hold_until: Time::ZERO,
            stale_backoff: Backoff::new(config.busy_wait.0, config.busy_wait.1),
            stale_hold_until: Time::ZERO,
            applied_max: 0,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Which request this try is of, while it is not answered; none: it is the machine's own affair.
    #[cfg(feature = "sim")]
    pub(crate) fn request_of(&self, request_id: u64) -> Option<RequestKey> {
        match self.attempts.get(&request_id)?.purpose {
            Purpose::Request(key) => Some(key),
            Purpose::Register | Purpose::Probe => None,
        }
    }

    /// Takes a request. It ends by an [`Output::Complete`] with the key that is returned, at `deadline` at the latest.
    pub fn submit(&mut self, now: Time, ask: Ask, deadline: Time) -> RequestKey {
        let key = RequestKey(self.fresh_id());
        if self.requests.len() >= self.config.requests_max {
            let failure = Failure {
                cause: Cause::Busy,
                endpoints: Vec::new(),
            };
            self.outputs.push_back(Output::Complete {
                key,
                end: End::NotApplied(failure),
            });
            return key;
        }
        let bytes = ask_bytes(&ask);
        self.timers.insert((deadline, key));
        let open = Open {
            ask,
            bytes,
            deadline,
            timer: deadline,
            maybe_applied: false,
            number: None,
            attempt: None,
        };
        match &open.ask {
            Ask::Write(Operation::EndSession) if !self.session_is_idle() => {
                self.requests.insert(key, open);
                let reply = Reply::Command(CommandReply::Ended);
                self.complete(
                    key,
                    End::Answered {
                        header: Header::default(),
                        reply,
                    },
                );
                return key;
            }
            Ask::Status { address } | Ask::Admin { address, .. } | Ask::Backup { address, .. } => {
                let place = self.endpoints.place_of(address);
                self.requests.insert(key, open);
                self.ask_endpoint(now, place, key);
            }
            Ask::Write(_) | Ask::Read { .. } => {
                self.requests.insert(key, open);
                self.enqueue(key);
            }
        }
        self.advance(now);
        key
    }

    /// The connection is open, and the other side belongs to `cluster` (all zero: it is not formed yet).
    pub fn connected(&mut self, now: Time, connection: ConnectionId, cluster: [u8; 16]) {
        let Some(place) = self.endpoints.by_connection(connection) else {
            return;
        };
        if self.is_foreign(cluster) {
            self.outputs.push_back(Output::Disconnect { connection });
            self.drop_connection(now, place, connection, EndpointAnswer::OtherCluster);
            self.advance(now);
            return;
        }
        let mut waiting = Vec::new();
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.link = Link::Up(connection);
            endpoint.answer = EndpointAnswer::Silent;
            endpoint.used_at = now;
            waiting = std::mem::take(&mut endpoint.waiting);
        }
        for key in waiting {
            self.ask_endpoint(now, place, key);
        }
        if self.is_seeking(now) {
            self.probe(now, place);
        }
        self.advance(now);
    }

    /// The connection is closed, or could not be made; `reason` is for people.
    pub fn disconnected(&mut self, now: Time, connection: ConnectionId, reason: &str) {
        let Some(place) = self.endpoints.by_connection(connection) else {
            return;
        };
        let was_up = self
            .endpoints
            .get(place)
            .is_some_and(|endpoint| endpoint.connection().is_some());
        let answer = if was_up {
            EndpointAnswer::Lost(reason.to_owned())
        } else {
            EndpointAnswer::Unreachable(reason.to_owned())
        };
        self.drop_connection(now, place, connection, answer);
        self.advance(now);
    }

    /// The request never left this process.
    pub fn not_sent(&mut self, now: Time, request_id: u64, why: NotSent) {
        let Some(attempt) = self.drop_attempt(request_id) else {
            return;
        };
        self.hold(now);
        if let Purpose::Request(key) = attempt.purpose {
            match why {
                NotSent::Later => self.try_again(key, false),
                NotSent::TooLarge { bytes, max } => {
                    let error = RequestError::TooLarge {
                        what: "the request".to_owned(),
                        bytes,
                        max,
                    };
                    self.fail(key, Cause::Refused(error));
                }
            }
        } else if attempt.purpose == Purpose::Register {
            self.session = Session::None;
        }
        self.advance(now);
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
    }

    /// What to do next; none: nothing until the next input.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`tick`](Machine::tick) at the latest; none: not before another input.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let mut next = self.timers.first().map(|(time, _)| *time);
        let mut consider = |time: Time| next = Some(next.map_or(time, |next| next.min(time)));
        if self.is_seeking(now) {
            consider(self.next_round_at);
        } else if self.in_flight > 0 {
            consider(self.progress_at + self.config.suspect_after);
        }
        if self.leader.is_some() && self.has_leader_bound_waiting() && self.hold_until > now {
            consider(self.hold_until);
        }
        if !self.stale_reads.is_empty() && self.stale_hold_until > now {
            consider(self.stale_hold_until);
        }
        for endpoint in self.endpoints.iter() {
            if self.may_close_when_idle(now, endpoint) {
                consider(endpoint.used_at + self.config.idle_close);
            }
        }
        next
    }

    /// How many requests have not ended.
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// Every endpoint that is known, and the last that was heard of it.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        self.endpoints.report()
    }

    /// Ends every request: no driver will carry it further.
    pub fn close(&mut self) {
        let keys: Vec<RequestKey> = self.requests.keys().copied().collect();
        for key in keys {
            let sent = self
                .requests
                .get(&key)
                .is_some_and(|open| open.attempt.is_some());
            self.mark(key, sent);
            self.fail(key, Cause::Closed);
        }
    }

    /// What follows from the time and from every change of state.
    fn advance(&mut self, now: Time) {
        self.expire(now);
        if self.is_seeking(now) && now >= self.next_round_at {
            self.run_round(now);
        }
        self.flush(now);
        self.close_idle(now);
    }

    fn expire(&mut self, now: Time) {
        while let Some(&(time, key)) = self.timers.first() {
            if time > now {
                return;
            }
            let Some(open) = self.requests.get(&key) else {
                self.timers.pop_first();
                continue;
            };
            let (deadline, attempt) = (open.deadline, open.attempt);
            if now >= deadline {
                let cause = self.deadline_cause(key);
                self.mark(key, attempt.is_some());
                self.fail(key, cause);
            } else {
                // A stale read: another node may answer sooner.
                if let Some(id) = attempt {
                    self.drop_attempt(id);
                    self.try_again(key, false);
                }
                self.set_timer(key, deadline);
            }
        }
    }

    fn deadline_cause(&self, key: RequestKey) -> Cause {
        let open = self.requests.get(&key);
        match open.and_then(|open| open.ask.address()) {
            Some(address) => {
                let endpoint = self
                    .endpoints
                    .iter()
                    .find(|endpoint| endpoint.address == address);
                let answer = match endpoint.map(|endpoint| endpoint.link) {
                    Some(Link::Up(_)) => EndpointAnswer::Silent,
                    _ => EndpointAnswer::Connecting,
                };
                Cause::Endpoint(answer)
            }
            None => Cause::Deadline,
        }
    }

    /// Remembers that a try of this write may be applied; reads are not touched by it.
    fn mark(&mut self, key: RequestKey, may_be_applied: bool) {
        if let Some(open) = self.requests.get_mut(&key)
            && matches!(open.ask, Ask::Write(_) | Ask::Admin { .. })
        {
            open.maybe_applied |= may_be_applied;
        }
    }

    /// Puts a request whose try has ended back into its queue.
    fn try_again(&mut self, key: RequestKey, may_be_applied: bool) {
        self.mark(key, may_be_applied);
        if let Some(open) = self.requests.get_mut(&key) {
            open.attempt = None;
            if mutant(Mutant::RetriesUnderNewNumber)
                && let (Some(number), Session::Open(session)) =
                    (open.number.take(), &mut self.session)
            {
                session.finish(number);
            }
        }
        self.enqueue(key);
    }

    fn enqueue(&mut self, key: RequestKey) {
        let Some(open) = self.requests.get(&key) else {
            return;
        };
        match &open.ask {
            Ask::Write(_) if open.number.is_some() => self.retried_writes.insert(key),
            Ask::Write(_) => self.fresh_writes.insert(key),
            Ask::Read { stale: true, .. } => self.stale_reads.insert(key),
            Ask::Read { stale: false, .. } => self.reads.insert(key),
            Ask::Status { .. } | Ask::Admin { .. } | Ask::Backup { .. } => false,
        };
    }

    /// Ends a request without an answer.
    fn fail(&mut self, key: RequestKey, cause: Cause) {
        let Some(open) = self.requests.get(&key) else {
            return;
        };
        let failure = Failure {
            cause,
            endpoints: self.endpoints.report(),
        };
        let end = if open.maybe_applied && !mutant(Mutant::TakesUnknownForNotApplied) {
            End::Unknown(failure)
        } else {
            End::NotApplied(failure)
        };
        self.complete(key, end);
    }

    fn complete(&mut self, key: RequestKey, end: End) {
        let Some(open) = self.requests.remove(&key) else {
            return;
        };
        if let Some(id) = open.attempt {
            self.drop_attempt(id);
        }
        self.timers.remove(&(open.timer, key));
        for queue in [
            &mut self.fresh_writes,
            &mut self.retried_writes,
            &mut self.reads,
            &mut self.stale_reads,
        ] {
            queue.remove(&key);
        }
        if let (Some(number), Session::Open(session)) = (open.number, &mut self.session) {
            session.finish(number);
        }
        self.outputs.push_back(Output::Complete { key, end });
    }

    fn set_timer(&mut self, key: RequestKey, time: Time) {
        let Some(open) = self.requests.get_mut(&key) else {
            return;
        };
        self.timers.remove(&(open.timer, key));
        open.timer = time.min(open.deadline);
        self.timers.insert((open.timer, key));
    }

    fn session_is_idle(&self) -> bool {
        matches!(&self.session, Session::Open(session) if session.is_idle())
    }

    fn has_leader_bound_waiting(&self) -> bool {
        !(self.fresh_writes.is_empty() && self.retried_writes.is_empty() && self.reads.is_empty())
    }

    fn is_foreign(&mut self, cluster: [u8; 16]) -> bool {
        const UNKNOWN: [u8; 16] = [0; 16];
        if cluster == UNKNOWN {
            return false;
        }
        if self.cluster == UNKNOWN {
            self.cluster = cluster;
        }
        self.cluster != cluster
    }

    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

fn ask_bytes(ask: &Ask) -> usize {
    const FIXED: usize = 64;
    match ask {
        Ask::Write(Operation::Put { key, value, .. }) => FIXED + key.len() + value.len(),
        _ => FIXED,
    }
}
