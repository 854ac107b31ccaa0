//! Reads.

use std::future::IntoFuture;

use bytes::Bytes;

use super::failure::{Cause, Failure};
use super::handle::Client;
use super::machine::{Ask, End};
use super::write::RequestFuture;
use crate::api::{Header, KeyRange, KeyValue, Query, QueryReply, Reply, RequestError};

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It breaks a rule or a limit; no further try will help.
    #[error("{0}")]
    Refused(RequestError),
    /// No node answered in time.
    #[error("{0}")]
    Unavailable(Failure),
}

/// A key was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What stands there, if anything.
    pub kv: Option<KeyValue>,
    /// Where the answer comes from, with the store's revision.
    pub header: Header,
}

/// Keys were listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The keys found, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// How many keys there are in the range, whatever the limit.
    pub count: u64,
    /// Whether some were left out, for a limit of the caller's or the server's.
    pub more: bool,
    /// Where the answer comes from, with the store's revision.
    pub header: Header,
}

/// A look-up that is being set up; `.await` sends it. See [`Client::get`].
#[must_use = "it is sent by .await"]
pub struct Get {
    client: Client,
    key: Bytes,
    stale: bool,
}

impl Get {
    pub(super) fn new(client: Client, key: Bytes) -> Get {
        Get {
            client,
            key,
            stale: false,
        }
    }

    /// From whichever node answers, however old, but never older than what this client has seen already.
    pub fn stale(mut self) -> Get {
        self.stale = true;
        self
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn send(self) -> Result<Found, ReadError> {
        let keys = KeyRange::Key(self.key);
        let query = Query {
            keys,
            limit: 0,
            keys_only: false,
            count_only: false,
            reverse: false,
            revision: 0,
        };
        let (header, reply) = read(&self.client, query, self.stale).await?;
        Ok(Found {
            kv: reply.kvs.into_iter().next(),
            header,
        })
    }
}

impl IntoFuture for Get {
    type Output = Result<Found, ReadError>;
    type IntoFuture = RequestFuture<'static, Found, ReadError>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A listing that is being set up; `.await` sends it. See [`Client::range`].
#[must_use = "it is sent by .await"]
pub struct Range {
    client: Client,
    query: Query,
    stale: bool,
}

impl Range {
    pub(super) fn new(client: Client, keys: KeyRange) -> Range {
        let query = Query {
            keys,
            limit: 0,
            keys_only: false,
            count_only: false,
            reverse: false,
            revision: 0,
        };
        Range {
            client,
            query,
            stale: false,
        }
    }

    /// At most so many keys; 0: as many as one reply of the server holds.
    pub fn limit(mut self, keys: u64) -> Range {
        self.query.limit = keys;
        self
    }

    /// Without the values.
    pub fn keys_only(mut self) -> Range {
        self.query.keys_only = true;
        self
    }

    /// Only how many there are.
    pub fn count_only(mut self) -> Range {
        self.query.count_only = true;
        self
    }

    /// From the last key to the first.
    pub fn reverse(mut self) -> Range {
        self.query.reverse = true;
        self
    }

    /// From whichever node answers, however old, but never older than what this client has seen already.
    pub fn stale(mut self) -> Range {
        self.stale = true;
        self
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn send(self) -> Result<Listed, ReadError> {
        let (header, reply) = read(&self.client, self.query, self.stale).await?;
        let QueryReply { kvs, count, more } = reply;
        Ok(Listed {
            kvs,
            count,
            more,
            header,
        })
    }
}

impl IntoFuture for Range {
    type Output = Result<Listed, ReadError>;
    type IntoFuture = RequestFuture<'static, Listed, ReadError>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

async fn read(
    client: &Client,
    query: Query,
    stale: bool,
) -> Result<(Header, QueryReply), ReadError> {
    match client.ask(Ask::Read { query, stale }).await {
        End::Answered {
            header,
            reply: Reply::Query(reply),
        } => Ok((header, reply)),
        End::Answered { .. } => Err(ReadError::Unavailable(Failure {
            cause: Cause::Protocol,
            endpoints: Vec::new(),
        })),
        End::NotApplied(Failure {
            cause: Cause::Refused(error),
            ..
        }) => Err(ReadError::Refused(error)),
        End::NotApplied(failure) | End::Unknown(failure) => Err(ReadError::Unavailable(failure)),
    }
}
