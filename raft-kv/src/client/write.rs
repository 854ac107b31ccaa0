//! Writes: what is set before they are sent, and the three ways in which they end.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;

use super::failure::{Cause, Failure};
use super::handle::Client;
use super::machine::{Ask, End};
use crate::api::{
    CommandReply, Condition, Header, KeyRange, KeyValue, LeaseId, Operation, Refusal, Reply,
    RequestError, Revision,
};

/// A future of a request that was set up.
pub type RequestFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Why a write has not ended well. [`WriteError::Unknown`] is the one after which the key must be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A condition did not hold; nothing was changed.
    #[error("the condition does not hold")]
    ConditionFailed {
        /// What stands at the key of the first condition that did not hold.
        current: Option<KeyValue>,
        /// The store's revision.
        revision: Revision,
    },
    /// It breaks a rule or a limit: nothing was changed, and no further try will help.
    #[error("{0}")]
    Refused(WriteRefusal),
    /// It was surely not applied and never will be; the same may be asked again.
    #[error("not applied: {0}")]
    NotApplied(Failure),
    /// It may have been applied, or may yet be, once at most.
    #[error("unknown whether it was applied: {0}")]
    Unknown(Failure),
}

impl WriteError {
    /// Whether the write may have changed something, or may yet.
    pub fn maybe_applied(&self) -> bool {
        matches!(self, WriteError::Unknown(_))
    }
}

/// Which rule a write breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteRefusal {
    /// One of the node's, before it was proposed.
    #[error("{0}")]
    Request(RequestError),
    /// One of the store's.
    #[error("{}", refusal_text(*.0))]
    Store(Refusal),
}

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoSuchLease => "there is no such lease",
        Refusal::TooManyOutstanding => "too many writes of this session are unacknowledged",
        Refusal::TooManyLeases => "there are as many leases as there may be",
        Refusal::TooManyClaims => "there are as many claims on locks as there may be",
        Refusal::FutureRevision => "the revision is yet to come",
    }
}

/// A key was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The revision of the change.
    pub revision: Revision,
    /// What stood there before, if asked for.
    pub previous: Option<KeyValue>,
    /// Where the answer comes from.
    pub header: Header,
}

/// Keys were deleted, or there were none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many.
    pub count: u64,
    /// The store's revision after it.
    pub revision: Revision,
    /// What stood there before, if asked for; cut at the server's limit for replies.
    pub previous: Vec<KeyValue>,
    /// Where the answer comes from.
    pub header: Header,
}

/// A put that is being set up; `.await` sends it. See [`Client::put`].
#[must_use = "it is sent by .await"]
pub struct Put {
    client: Client,
    key: Bytes,
    value: Bytes,
    lease: LeaseId,
    want_previous: bool,
    conditions: Vec<Condition>,
}

impl Put {
    pub(super) fn new(client: Client, key: Bytes, value: Bytes) -> Put {
        Put {
            client,
            key,
            value,
            lease: 0,
            want_previous: false,
            conditions: Vec::new(),
        }
    }

    /// Answer with what stood there before, too.
    pub fn previous(mut self) -> Put {
        self.want_previous = true;
        self
    }

    /// Only if the key does not exist.
    pub fn if_absent(mut self) -> Put {
        self.conditions.push(Condition::Absent {
            key: self.key.clone(),
        });
        self
    }

    /// Only if the key was last changed at this revision; 0: only if it does not exist.
    pub fn if_revision(mut self, revision: Revision) -> Put {
        self.conditions.push(Condition::ModRevision {
            key: self.key.clone(),
            revision,
        });
        self
    }

    /// Only if the key has this value.
    pub fn if_value(mut self, value: impl Into<Bytes>) -> Put {
        self.conditions.push(Condition::Value {
            key: self.key.clone(),
            value: value.into(),
        });
        self
    }

    /// Only if this holds too, of any key.
    pub fn only_if(mut self, condition: Condition) -> Put {
        self.conditions.push(condition);
        self
    }

    /// The key lives no longer than this lease.
    pub fn lease(mut self, lease: LeaseId) -> Put {
        self.lease = lease;
        self
    }

    /// Sends it and waits for its end.
    ///
    /// # Errors
    /// See [`WriteError`]. Dropping the future does not take the write back.
    pub async fn send(self) -> Result<Written, WriteError> {
        let Put {
            client,
            key,
            value,
            lease,
            want_previous,
            conditions,
        } = self;
        let operation = Operation::Put {
            key,
            value,
            lease,
            want_previous,
            conditions,
        };
        match write(&client, operation).await? {
            (header, CommandReply::Put { revision, previous }) => Ok(Written {
                revision,
                previous,
                header,
            }),
            _ => Err(unfit()),
        }
    }
}

impl IntoFuture for Put {
    type Output = Result<Written, WriteError>;
    type IntoFuture = RequestFuture<'static, Written, WriteError>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A deletion that is being set up; `.await` sends it. See [`Client::delete`].
#[must_use = "it is sent by .await"]
pub struct Delete {
    client: Client,
    keys: KeyRange,
    want_previous: bool,
    conditions: Vec<Condition>,
}

impl Delete {
    pub(super) fn new(client: Client, keys: KeyRange) -> Delete {
        Delete {
            client,
            keys,
            want_previous: false,
            conditions: Vec::new(),
        }
    }

    /// Answer with what stood there before, too.
    pub fn previous(mut self) -> Delete {
        self.want_previous = true;
        self
    }

    /// Only if `key` was last changed at this revision; 0: only if it does not exist.
    pub fn if_revision(self, key: impl Into<Bytes>, revision: Revision) -> Delete {
        self.only_if(Condition::ModRevision {
            key: key.into(),
            revision,
        })
    }

    /// Only if this holds, of any key.
    pub fn only_if(mut self, condition: Condition) -> Delete {
        self.conditions.push(condition);
        self
    }

    /// Sends it and waits for its end.
    ///
    /// # Errors
    /// See [`WriteError`]. Dropping the future does not take the deletion back.
    pub async fn send(self) -> Result<Deleted, WriteError> {
        let Delete {
            client,
            keys,
            want_previous,
            conditions,
        } = self;
        match write(
            &client,
            Operation::Delete {
                keys,
                want_previous,
                conditions,
            },
        )
        .await?
        {
            (
                header,
                CommandReply::Deleted {
                    count,
                    revision,
                    previous,
                },
            ) => Ok(Deleted {
                count,
                revision,
                previous,
                header,
            }),
            _ => Err(unfit()),
        }
    }
}

impl IntoFuture for Delete {
    type Output = Result<Deleted, WriteError>;
    type IntoFuture = RequestFuture<'static, Deleted, WriteError>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

pub(super) async fn write(
    client: &Client,
    operation: Operation,
) -> Result<(Header, CommandReply), WriteError> {
    match client.ask(Ask::Write(operation)).await {
        End::Answered {
            header,
            reply: Reply::Command(reply),
        } => match reply {
            CommandReply::ConditionFailed { current, revision } => {
                Err(WriteError::ConditionFailed { current, revision })
            }
            CommandReply::Refused(refusal) => {
                Err(WriteError::Refused(WriteRefusal::Store(refusal)))
            }
            reply => Ok((header, reply)),
        },
        End::Answered { .. } => Err(unfit()),
        End::NotApplied(Failure {
            cause: Cause::Refused(error),
            ..
        }) => Err(WriteError::Refused(WriteRefusal::Request(error))),
        End::NotApplied(failure) => Err(WriteError::NotApplied(failure)),
        End::Unknown(failure) => Err(WriteError::Unknown(failure)),
    }
}

/// An answer to another kind of command.
pub(super) fn unfit() -> WriteError {
    WriteError::Unknown(Failure {
        cause: Cause::Protocol,
        endpoints: Vec::new(),
    })
}
