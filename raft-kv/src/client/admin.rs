//! What an operator asks of the leader: who belongs to the cluster, and who leads it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::failure::{Cause, EndpointAnswer, EndpointReport, Failure};
use super::handle::Client;
use super::machine::{Ask, End};
use crate::api::{Admin, AdminReply, Reply, RequestError};

/// How long one node may take to say whether it leads.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How long it takes until all are asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an operator's wish has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The leader says why it cannot be; nothing was changed.
    #[error("{0}")]
    Refused(RequestError),
    /// Surely nothing was changed.
    #[error("{0}")]
    NotApplied(Failure),
    /// It may have been done, or may yet be; asking again is safe.
    #[error("{0}")]
    Unknown(Failure),
}

impl Client {
    /// Asks the leader, once it is found, to change who belongs to the cluster, or who leads it. Asking again is safe: what is so already is
    /// not changed.
    ///
    /// # Errors
    /// As [`AdminError`] says.
    pub async fn admin(&self, admin: Admin) -> Result<AdminReply, AdminError> {
        let ask = |address| Ask::Admin {
            address,
            admin: admin.clone(),
        };
        match self.ask_the_leader(&ask).await? {
            (_, Reply::Admin(reply)) => Ok(reply),
            _ => Err(AdminError::Unknown(Failure {
                cause: Cause::Protocol,
                endpoints: Vec::new(),
            })),
        }
    }

    /// Looks for the leader, and asks it: where it is, and its answer.
    pub(super) async fn ask_the_leader(
        &self,
        ask: &(dyn Fn(String) -> Ask + Sync),
    ) -> Result<(String, Reply), AdminError> {
        let deadline = self.deadline();
        let mut heard: Vec<EndpointReport> = Vec::new();
        let mut hint = None;
        while Instant::now() < deadline {
            let mut to_ask: VecDeque<String> = hint.take().into_iter().collect();
            to_ask.extend(self.endpoints().iter().cloned());
            let mut asked: Vec<String> = Vec::new();
            while let Some(address) = to_ask.pop_front() {
                if asked.contains(&address) {
                    continue;
                }
                asked.push(address.clone());
                let look = self.until(deadline.min(Instant::now() + LOOK_MAX));
                let answer = match look.status(&address).await {
                    Ok(status) if status.role == "leader" => {
                        match self.ask_leader(deadline, ask(address.clone())).await? {
                            Ok(reply) => return Ok((address, reply)),
                            Err(answer) => answer,
                        }
                    }
                    Ok(status) => EndpointAnswer::Follows(status.leader),
                    Err(answer) => answer,
                };
                if let EndpointAnswer::Follows(Some(leader)) = &answer
                    && !leader.address.is_empty()
                {
                    to_ask.push_front(leader.address.clone());
                    hint = Some(leader.address.clone());
                }
                heard.retain(|report| report.address != address);
                heard.push(EndpointReport { address, answer });
            }
            let _ = timeout_at(deadline, sleep(PAUSE)).await;
        }
        Err(AdminError::NotApplied(Failure {
            cause: Cause::Deadline,
            endpoints: heard,
        }))
    }

    /// One try; `Ok(Err(_))` says why another one may do better.
    async fn ask_leader(
        &self,
        deadline: Instant,
        ask: Ask,
    ) -> Result<Result<Reply, EndpointAnswer>, AdminError> {
        match self.until(deadline).ask(ask).await {
            End::Answered { reply, .. } => Ok(Ok(reply)),
            End::Unknown(failure) => Err(AdminError::Unknown(failure)),
            End::NotApplied(failure) => match failure.cause {
                Cause::Endpoint(EndpointAnswer::Error(RequestError::NotLeader { leader })) => {
                    Ok(Err(EndpointAnswer::Follows(leader)))
                }
                Cause::Endpoint(EndpointAnswer::Error(
                    error @ (RequestError::Invalid(_) | RequestError::TooLarge { .. }),
                )) => Err(AdminError::Refused(error)),
                Cause::Endpoint(answer) => Ok(Err(answer)),
                _ => Err(AdminError::NotApplied(failure)),
            },
        }
    }
}
