//! How a request ends without an answer, and what each endpoint had to say about it.

use std::fmt;

use crate::api::{LeaderHint, RequestError};

/// Why a request has no answer, and what each endpoint said.
///
/// Whether it may have been carried out all the same is said by where this stands: in
/// [`WriteError::NotApplied`](super::WriteError::NotApplied) or
/// [`WriteError::Unknown`](super::WriteError::Unknown).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// Every endpoint that is known, in the order given and then learned, and the last that was heard of it.
    pub endpoints: Vec<EndpointReport>,
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// Its deadline passed.
    #[error("no answer in time")]
    Deadline,
    /// Too many requests are waiting in this client already; it was not sent.
    #[error("too many requests are waiting in this client; wait for some of them to end")]
    Busy,
    /// A node refused it for good.
    #[error("{0}")]
    Refused(RequestError),
    /// The session ended while it was not known whether the request had been applied in it.
    #[error("the session ended before the answer came")]
    SessionExpired,
    /// It was carried out, but the cluster no longer keeps the answer: it was too large.
    #[error(
        "it was carried out, but the answer was lost on the way and the cluster no longer keeps it"
    )]
    Forgotten,
    /// The one endpoint that was asked could not be reached, or did not answer.
    #[error("{0}")]
    Endpoint(EndpointAnswer),
    /// What a node answered makes no sense as an answer to the request.
    #[error(
        "the answer of a node does not fit the request; do client and server have the same version?"
    )]
    Protocol,
    /// The client was closed, or its runtime was shut down.
    #[error("the client is closed")]
    Closed,
}

/// An endpoint, and the last that was heard of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointReport {
    /// Its address.
    pub address: String,
    /// What it answered.
    pub answer: EndpointAnswer,
}

/// The last that was heard of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndpointAnswer {
    /// It was not asked.
    NotAsked,
    /// It did not answer the attempt to connect, yet.
    Connecting,
    /// No connection could be made; why.
    Unreachable(String),
    /// The connection broke; why.
    Lost(String),
    /// It is connected, and did not answer, yet.
    Silent,
    /// It does not lead, and knows who does, or not.
    Follows(Option<LeaderHint>),
    /// It says that it leads.
    Leads,
    /// It gave this error.
    Error(RequestError),
    /// It belongs to another cluster than the first endpoint that answered.
    OtherCluster,
}

impl fmt::Display for EndpointAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAnswer::NotAsked => f.write_str("not asked"),
            EndpointAnswer::Connecting => f.write_str("no connection yet"),
            EndpointAnswer::Unreachable(why) => f.write_str(why),
            EndpointAnswer::Lost(why) => write!(f, "connection lost: {why}"),
            EndpointAnswer::Silent => f.write_str("connected, but no answer"),
            EndpointAnswer::Follows(None) => f.write_str("knows no leader"),
            EndpointAnswer::Follows(Some(leader)) => {
                write!(
                    f,
                    "says that node {} at {} leads",
                    leader.node, leader.address
                )
            }
            EndpointAnswer::Leads => f.write_str("leads, but has not answered"),
            EndpointAnswer::Error(error) => write!(f, "{error}"),
            EndpointAnswer::OtherCluster => f.write_str("belongs to another cluster"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if matches!(
            self.cause,
            Cause::Refused(_) | Cause::Endpoint(_) | Cause::Busy | Cause::Closed
        ) {
            return Ok(());
        }
        for (position, EndpointReport { address, answer }) in self.endpoints.iter().enumerate() {
            let separator = if position == 0 { " (" } else { "; " };
            write!(f, "{separator}{address}: {answer}")?;
        }
        if self.endpoints.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

impl std::error::Error for Failure {}
