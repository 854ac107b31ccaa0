//! Sending: which request goes out next, and what is under way.

use crate::api::{Command, Operation, Request};
use crate::mutants::{Mutant, mutant};
use bytes::Bytes;

use super::endpoint::Place;
use super::session::{Number, Session};
use super::{Ask, Attempt, ConnectionId, Leader, Machine, Output, Purpose, RequestKey, Time};

impl Machine {
    /// Sends what can be sent.
    pub(super) fn flush(&mut self, now: Time) {
        self.flush_stale(now);
        let Some(leader) = self.leader else { return };
        while now >= self.hold_until && self.has_room() {
            if matches!(self.session, Session::None) && !self.fresh_writes.is_empty() {
                self.register(now, leader);
                continue;
            }
            let Some(key) = self.next_sendable() else {
                return;
            };
            for queue in [
                &mut self.fresh_writes,
                &mut self.retried_writes,
                &mut self.reads,
            ] {
                queue.remove(&key);
            }
            self.send_to_leader(now, leader, key);
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.config.in_flight_max.max(1)
            && (self.in_flight_bytes < self.config.in_flight_bytes_max || self.in_flight == 0)
    }

    /// The oldest request that may be sent. A write that has a number always may: others wait for its answer.
    fn next_sendable(&self) -> Option<RequestKey> {
        let fresh = match &self.session {
            Session::Open(session) if session.has_room() => self.fresh_writes.first(),
            _ => None,
        };
        [fresh, self.retried_writes.first(), self.reads.first()]
            .into_iter()
            .flatten()
            .min()
            .copied()
    }

    fn register(&mut self, now: Time, leader: Leader) {
        let command = Command {
            session: 0,
            sequence: 0,
            first_outstanding: 0,
            principal: Bytes::new(),
            operation: Operation::RegisterSession,
        };
        self.session = Session::Registering;
        let Leader {
            place, connection, ..
        } = leader;
        let attempt = Attempt {
            place,
            connection,
            purpose: Purpose::Register,
            bytes: 0,
            to_leader: true,
        };
        self.start(now, attempt, Request::Write(command));
    }

    fn send_to_leader(&mut self, now: Time, leader: Leader, key: RequestKey) {
        let Some(open) = self.requests.get_mut(&key) else {
            return;
        };
        let bytes = open.bytes;
        let request = match &open.ask {
            Ask::Write(operation) => {
                let operation = operation.clone();
                let number = match (open.number, &mut self.session) {
                    (Some(number), _) => number,
                    (None, Session::Open(session)) => *open.number.insert(session.assign()),
                    (None, Session::None | Session::Registering) => return,
                };
                Request::Write(self.command(number, operation))
            }
            Ask::Read { query, .. } => Request::Read {
                query: query.clone(),
                stale: mutant(Mutant::ReadsFromAnyNode),
                min_applied: 0,
            },
            Ask::Status { .. } | Ask::Admin { .. } | Ask::Backup { .. } => return,
        };
        self.send(
            now,
            leader.place,
            leader.connection,
            key,
            bytes,
            true,
            request,
        );
    }

    fn command(&self, number: Number, operation: Operation) -> Command {
        let first_outstanding = match &self.session {
            Session::Open(session) if session.id() == number.session => session.first_outstanding(),
            // Of a session that ended: it says nothing about the others in it.
            _ => 1,
        };
        Command {
            session: number.session,
            sequence: number.sequence,
            first_outstanding,
            principal: Bytes::new(),
            operation,
        }
    }

    fn flush_stale(&mut self, now: Time) {
        while now >= self.stale_hold_until
            && let Some(&key) = self.stale_reads.first()
        {
            let Some(place) = self.endpoints.rotate() else {
                return;
            };
            let Some(connection) = self
                .endpoints
                .get(place)
                .and_then(super::endpoint::Endpoint::connection)
            else {
                return;
            };
            self.stale_reads.remove(&key);
            let Some(open) = self.requests.get(&key) else {
                continue;
            };
            let Ask::Read { query, .. } = &open.ask else {
                continue;
            };
            let query = query.clone();
            let request = Request::Read {
                query,
                stale: true,
                min_applied: self.applied_max,
            };
            let bytes = open.bytes;
            self.send(now, place, connection, key, bytes, false, request);
            self.set_timer(key, now + self.config.stale_retry_after);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all but the first make up one attempt"
    )]
    fn send(
        &mut self,
        now: Time,
        place: Place,
        connection: ConnectionId,
        key: RequestKey,
        bytes: usize,
        to_leader: bool,
        request: Request,
    ) {
        let purpose = Purpose::Request(key);
        let id = self.start(
            now,
            Attempt {
                place,
                connection,
                purpose,
                bytes,
                to_leader,
            },
            request,
        );
        if let Some(open) = self.requests.get_mut(&key) {
            open.attempt = Some(id);
        }
    }

    pub(super) fn start(&mut self, now: Time, attempt: Attempt, request: Request) -> u64 {
        let request_id = self.fresh_id();
        if attempt.to_leader {
            if self.in_flight == 0 {
                self.progress_at = now;
            }
            self.in_flight += 1;
            self.in_flight_bytes += attempt.bytes;
        }
        if let Some(endpoint) = self.endpoints.get_mut(attempt.place) {
            endpoint.used_at = now;
            if attempt.purpose != Purpose::Probe {
                endpoint.in_flight += 1;
            }
        }
        self.outputs.push_back(Output::Send {
            connection: attempt.connection,
            request_id,
            request,
        });
        self.attempts.insert(request_id, attempt);
        request_id
    }

    /// Nothing is expected of this try any more.
    pub(super) fn drop_attempt(&mut self, id: u64) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        if attempt.to_leader {
            self.in_flight -= 1;
            self.in_flight_bytes -= attempt.bytes;
        }
        if let Some(endpoint) = self.endpoints.get_mut(attempt.place) {
            if attempt.purpose != Purpose::Probe {
                endpoint.in_flight -= 1;
            } else if endpoint.probe == Some(id) {
                endpoint.probe = None;
            }
        }
        Some(attempt)
    }
}
