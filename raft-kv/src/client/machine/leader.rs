//! Finding the leader and following it.

use crate::api::{NodeStatus, Request};
use crate::client::failure::{Cause, EndpointAnswer};

use super::endpoint::{Endpoint, Link, Place};
use super::session::Session;
use super::{Ask, Attempt, ConnectionId, Leader, Machine, Output, Purpose, RequestKey, Time};

impl Machine {
    /// Whether the endpoints are to be asked who leads: because it is not known, or because the leader that is known
    /// does not answer; and only while somebody waits for it.
    pub(super) fn is_seeking(&self, now: Time) -> bool {
        let waits = self.has_leader_bound_waiting() || self.in_flight > 0;
        let suspect = self.in_flight > 0 && now >= self.progress_at + self.config.suspect_after;
        (waits && (self.leader.is_none() || suspect))
            || (!self.stale_reads.is_empty() && !self.endpoints.any_up())
    }

    /// Asks each connected endpoint who leads, and connects to the others. Answers come in their own time; the next
    /// round comes later than this one did.
    pub(super) fn run_round(&mut self, now: Time) {
        self.next_round_at = now + self.seek_backoff.next(&mut self.rng);
        for place in 0..self.endpoints.len() {
            match self.endpoints.get(place).map(|endpoint| endpoint.link) {
                Some(Link::Down) => self.connect(place),
                Some(Link::Up(_)) => self.probe(now, place),
                Some(Link::Connecting(_)) | None => {}
            }
        }
    }

    pub(super) fn connect(&mut self, place: Place) {
        let connection = ConnectionId(self.fresh_id());
        let cluster = self.cluster;
        let Some(endpoint) = self.endpoints.get_mut(place) else {
            return;
        };
        if endpoint.link != Link::Down {
            return;
        }
        endpoint.link = Link::Connecting(connection);
        if matches!(endpoint.answer, EndpointAnswer::NotAsked) {
            endpoint.answer = EndpointAnswer::Connecting;
        }
        let address = endpoint.address.clone();
        self.outputs.push_back(Output::Connect {
            connection,
            address,
            cluster,
        });
    }

    /// Asks one connected endpoint, unless it still owes the last answer.
    pub(super) fn probe(&mut self, now: Time, place: Place) {
        let Some(endpoint) = self.endpoints.get(place) else {
            return;
        };
        let (Some(connection), None) = (endpoint.connection(), endpoint.probe) else {
            return;
        };
        let attempt = Attempt {
            place,
            connection,
            purpose: Purpose::Probe,
            bytes: 0,
            to_leader: false,
        };
        let id = self.start(now, attempt, Request::Status);
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.probe = Some(id);
        }
    }

    /// Sends a request for one endpoint alone, as soon as that is connected.
    pub(super) fn ask_endpoint(&mut self, now: Time, place: Place, key: RequestKey) {
        let Some(endpoint) = self.endpoints.get_mut(place) else {
            return;
        };
        let Some(connection) = endpoint.connection() else {
            endpoint.waiting.push(key);
            self.connect(place);
            return;
        };
        let Some(open) = self.requests.get(&key) else {
            return;
        };
        let request = match &open.ask {
            Ask::Admin { admin, .. } => Request::Admin(admin.clone()),
            Ask::Backup { id, offset, .. } => Request::Backup {
                id: *id,
                offset: *offset,
            },
            _ => Request::Status,
        };
        let purpose = Purpose::Request(key);
        let id = self.start(
            now,
            Attempt {
                place,
                connection,
                purpose,
                bytes: 0,
                to_leader: false,
            },
            request,
        );
        if let Some(open) = self.requests.get_mut(&key) {
            open.attempt = Some(id);
        }
    }

    /// What a node says of itself, asked for by whomever.
    pub(super) fn on_status(
        &mut self,
        now: Time,
        place: Place,
        connection: ConnectionId,
        status: &NodeStatus,
    ) {
        let leads = status.role == "leader";
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.answer = if leads {
                EndpointAnswer::Leads
            } else {
                EndpointAnswer::Follows(status.leader.clone())
            };
        }
        let mut learned = self.endpoints.learn_hint(status.leader.as_ref());
        for member in &status.members {
            learned |= self.endpoints.learn(&member.address);
        }
        let same = self
            .leader
            .is_some_and(|leader| leader.connection == connection && leader.term == status.term);
        if leads && status.term >= self.leader_term && !same {
            self.set_leader(
                now,
                Leader {
                    place,
                    connection,
                    term: status.term,
                },
            );
        } else if !leads {
            self.unset_leader(place);
        }
        if learned && self.is_seeking(now) {
            for place in 0..self.endpoints.len() {
                let untried =
                    |endpoint: &Endpoint| matches!(endpoint.answer, EndpointAnswer::NotAsked);
                if self.endpoints.get(place).is_some_and(untried) {
                    self.connect(place);
                }
            }
        }
    }

    /// A node leads. What is unanswered by the one before goes to this one, under the same numbers.
    fn set_leader(&mut self, now: Time, leader: Leader) {
        let stranded: Vec<u64> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.to_leader)
            .map(|(id, _)| *id)
            .collect();
        for id in stranded {
            self.lose_attempt(id);
        }
        self.leader = Some(leader);
        self.leader_term = leader.term;
        self.progress_at = now;
    }

    /// The node at this place does not lead (any more).
    pub(super) fn unset_leader(&mut self, place: Place) {
        if self.leader.is_some_and(|leader| leader.place == place) {
            self.leader = None;
        }
    }

    /// A leader has carried something out: the next search may begin at once.
    pub(super) fn note_progress(&mut self, now: Time) {
        self.progress_at = now;
        self.next_round_at = Time::ZERO;
        self.seek_backoff.reset();
    }

    /// Forgets a connection, and what becomes of all that was under way on it.
    pub(super) fn drop_connection(
        &mut self,
        now: Time,
        place: Place,
        connection: ConnectionId,
        answer: EndpointAnswer,
    ) {
        let mut waiting = Vec::new();
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.link = Link::Down;
            endpoint.answer = answer.clone();
            endpoint.used_at = now;
            waiting = std::mem::take(&mut endpoint.waiting);
        }
        if self
            .leader
            .is_some_and(|leader| leader.connection == connection)
        {
            self.leader = None;
        }
        let lost: Vec<u64> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.connection == connection)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(key) = self.lose_attempt(id) {
                waiting.push(key);
            }
        }
        for key in waiting {
            self.fail(key, Cause::Endpoint(answer.clone()));
        }
    }

    /// No answer to this try will come. A request that is for one endpoint alone is returned; any other waits again.
    fn lose_attempt(&mut self, id: u64) -> Option<RequestKey> {
        let attempt = self.drop_attempt(id)?;
        match attempt.purpose {
            Purpose::Probe => None,
            Purpose::Register => {
                self.session = Session::None;
                None
            }
            Purpose::Request(key) => {
                let pinned = self
                    .requests
                    .get(&key)
                    .is_some_and(|open| open.ask.address().is_some());
                if pinned {
                    // An operator's wish may have been carried out.
                    self.mark(key, true);
                    return Some(key);
                }
                self.try_again(key, true);
                None
            }
        }
    }

    pub(super) fn may_close_when_idle(&self, now: Time, endpoint: &Endpoint) -> bool {
        let Some(connection) = endpoint.connection() else {
            return false;
        };
        let leads = self
            .leader
            .is_some_and(|leader| leader.connection == connection);
        let busy = endpoint.in_flight > 0 || !endpoint.waiting.is_empty();
        !leads && !busy && !self.is_seeking(now)
    }

    pub(super) fn close_idle(&mut self, now: Time) {
        for place in 0..self.endpoints.len() {
            let Some(endpoint) = self.endpoints.get(place) else {
                continue;
            };
            let Some(connection) = endpoint.connection() else {
                continue;
            };
            if self.may_close_when_idle(now, endpoint)
                && now >= endpoint.used_at + self.config.idle_close
            {
                let answer = endpoint.answer.clone();
                self.outputs.push_back(Output::Disconnect { connection });
                self.drop_connection(now, place, connection, answer);
            }
        }
    }
}
