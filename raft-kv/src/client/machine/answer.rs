//! What an answer means for the request, the session and the leader.

use crate::api::{CommandReply, Header, Operation, Refusal, Reply, RequestError, Response};
use crate::client::failure::{Cause, EndpointAnswer};

use super::endpoint::Place;
use super::session::{OpenSession, Session};
use super::{Ask, Attempt, ConnectionId, End, Machine, Output, Purpose, RequestKey, Time};

impl Machine {
    /// A response came. One that nobody waits for any more is ignored.
    pub fn received(
        &mut self,
        now: Time,
        connection: ConnectionId,
        request_id: u64,
        response: Response,
    ) {
        if self
            .attempts
            .get(&request_id)
            .is_none_or(|attempt| attempt.connection != connection)
        {
            return;
        }
        let Some(attempt) = self.drop_attempt(request_id) else {
            return;
        };
        if let Some(endpoint) = self.endpoints.get_mut(attempt.place) {
            endpoint.used_at = now;
        }
        if self.is_foreign(response.header.cluster) {
            self.outputs.push_back(Output::Disconnect { connection });
            self.put_back(attempt);
            self.drop_connection(now, attempt.place, connection, EndpointAnswer::OtherCluster);
            self.advance(now);
            return;
        }
        if attempt.to_leader {
            self.progress_at = now;
        }
        let header = response.header;
        match (attempt.purpose, response.body) {
            (Purpose::Probe, Ok(Reply::Status(status))) => {
                self.on_status(now, attempt.place, connection, &status);
            }
            (Purpose::Probe, Err(error)) => self.on_refusal(attempt.place, error),
            (Purpose::Register, Ok(Reply::Command(CommandReply::Registered { session }))) => {
                self.session = Session::Open(OpenSession::new(session, self.config.session_window));
                self.note_progress(now);
            }
            (Purpose::Register, Err(error)) => {
                self.session = Session::None;
                self.on_request_error(now, attempt, None, error);
            }
            (Purpose::Request(key), Ok(reply)) => self.on_reply(now, attempt, key, header, reply),
            (Purpose::Request(key), Err(error)) => {
                self.on_request_error(now, attempt, Some(key), error);
            }
            (Purpose::Probe | Purpose::Register, Ok(_)) => {
                self.put_back(attempt);
                self.on_nonsense(now, attempt);
            }
        }
        self.advance(now);
    }

    /// The answer was none: what was asked stays open.
    fn put_back(&mut self, attempt: Attempt) {
        match attempt.purpose {
            Purpose::Request(key) => self.try_again(key, true),
            Purpose::Register => self.session = Session::None,
            Purpose::Probe => {}
        }
    }

    fn on_nonsense(&mut self, now: Time, attempt: Attempt) {
        self.outputs.push_back(Output::Disconnect {
            connection: attempt.connection,
        });
        let answer = EndpointAnswer::Lost("its answer did not fit the request".to_owned());
        self.drop_connection(now, attempt.place, attempt.connection, answer);
    }

    fn on_reply(
        &mut self,
        now: Time,
        attempt: Attempt,
        key: RequestKey,
        header: Header,
        reply: Reply,
    ) {
        let Some(open) = self.requests.get_mut(&key) else {
            return;
        };
        open.attempt = None;
        match (&open.ask, reply) {
            (Ask::Write(operation), Reply::Command(reply)) => {
                let ends_session = matches!(operation, Operation::EndSession);
                self.on_command_reply(now, key, header, reply, ends_session);
            }
            (Ask::Read { stale, .. }, reply @ Reply::Query(_)) => {
                if *stale {
                    self.stale_backoff.reset();
                } else {
                    self.note_leader_answer(now);
                }
                self.answer(key, header, reply);
            }
            (Ask::Admin { .. }, reply @ Reply::Admin(_))
            | (Ask::Backup { .. }, reply @ Reply::Backup(_)) => self.answer(key, header, reply),
            (Ask::Status { .. }, Reply::Status(status)) => {
                self.on_status(now, attempt.place, attempt.connection, &status);
                self.complete(
                    key,
                    End::Answered {
                        header,
                        reply: Reply::Status(status),
                    },
                );
            }
            _ => {
                self.mark(key, true);
                self.fail(key, Cause::Protocol);
                self.on_nonsense(now, attempt);
            }
        }
    }

    fn on_command_reply(
        &mut self,
        now: Time,
        key: RequestKey,
        header: Header,
        reply: CommandReply,
        ends_session: bool,
    ) {
        match reply {
            CommandReply::SessionExpired => self.on_session_expired(now, key, header, ends_session),
            CommandReply::Forgotten => {
                self.note_leader_answer(now);
                self.mark(key, true);
                self.fail(key, Cause::Forgotten);
            }
            CommandReply::Refused(Refusal::TooManyOutstanding) => {
                self.hold(now);
                self.renumber(key);
            }
            reply => {
                self.note_leader_answer(now);
                if ends_session {
                    self.session = Session::None;
                }
                self.answer(key, header, Reply::Command(reply));
            }
        }
    }

    /// This try was not applied. If no other can have been, the write may go out anew in another session.
    fn on_session_expired(
        &mut self,
        now: Time,
        key: RequestKey,
        header: Header,
        ends_session: bool,
    ) {
        let Some(open) = self.requests.get(&key) else {
            return;
        };
        let (number, maybe_applied) = (open.number, open.maybe_applied);
        if let (Session::Open(session), Some(number)) = (&self.session, number)
            && session.id() == number.session
        {
            self.session = Session::None;
            // Whoever has a session at once again has it taken away again: not without a wait.
            self.hold(now);
        }
        if ends_session {
            self.answer(key, header, Reply::Command(CommandReply::Ended));
        } else if maybe_applied {
            self.fail(key, Cause::SessionExpired);
        } else {
            self.renumber(key);
        }
    }

    /// The number was turned away for good: no try under it was applied, nor ever will be. Another may be.
    fn renumber(&mut self, key: RequestKey) {
        let Some(open) = self.requests.get_mut(&key) else {
            return;
        };
        open.maybe_applied = false;
        if let (Some(number), Session::Open(session)) = (open.number.take(), &mut self.session) {
            session.finish(number);
        }
        self.try_again(key, false);
    }

    fn answer(&mut self, key: RequestKey, header: Header, reply: Reply) {
        self.applied_max = self.applied_max.max(header.applied);
        self.complete(key, End::Answered { header, reply });
    }

    fn note_leader_answer(&mut self, now: Time) {
        self.note_progress(now);
        self.busy_backoff.reset();
    }

    pub(super) fn hold(&mut self, now: Time) {
        // Many answers of the same kind come together: they make one wait, not many.
        if now >= self.hold_until {
            self.hold_until = now + self.busy_backoff.next(&mut self.rng);
        }
    }

    fn hold_stale(&mut self, now: Time) {
        if now >= self.stale_hold_until {
            self.stale_hold_until = now + self.stale_backoff.next(&mut self.rng);
        }
    }

    /// A node turned a probe away.
    fn on_refusal(&mut self, place: Place, error: RequestError) {
        self.unset_leader(place);
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.answer = EndpointAnswer::Error(error);
        }
    }

    /// `key`: none for a registration, which needs nothing but another try.
    fn on_request_error(
        &mut self,
        now: Time,
        attempt: Attempt,
        key: Option<RequestKey>,
        error: RequestError,
    ) {
        let pinned = key
            .and_then(|key| self.requests.get(&key))
            .is_some_and(|o| o.ask.address().is_some());
        if let (true, Some(key)) = (pinned, key) {
            self.mark(key, error == RequestError::Unknown);
            self.fail(key, Cause::Endpoint(EndpointAnswer::Error(error)));
            return;
        }
        self.note_error(attempt.place, &error);
        if !attempt.to_leader {
            self.hold_stale(now);
        }
        match error {
            RequestError::NotLeader { .. }
            | RequestError::NotFormed(_)
            | RequestError::ReadFailed => {
                self.unset_leader(attempt.place);
                self.retry(key, false);
            }
            RequestError::Unknown => {
                self.unset_leader(attempt.place);
                self.retry(key, true);
            }
            RequestError::Busy | RequestError::Full => {
                if attempt.to_leader {
                    self.hold(now);
                }
                self.retry(key, false);
            }
            error @ (RequestError::Invalid(_)
            | RequestError::TooLarge { .. }
            | RequestError::Revision(_)
            | RequestError::NoSuchLease) => match key {
                Some(key) => self.fail(key, Cause::Refused(error)),
                // A registration has nothing that could be wrong: the node is, and it may pass.
                None => self.hold(now),
            },
        }
    }

    fn retry(&mut self, key: Option<RequestKey>, may_be_applied: bool) {
        if let Some(key) = key {
            self.try_again(key, may_be_applied);
        }
    }

    fn note_error(&mut self, place: Place, error: &RequestError) {
        let answer = match error {
            RequestError::NotLeader { leader } => {
                self.endpoints.learn_hint(leader.as_ref());
                EndpointAnswer::Follows(leader.clone())
            }
            error => EndpointAnswer::Error(error.clone()),
        };
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.answer = answer;
        }
    }
}
