//! A backup of the whole state, piece by piece.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::admin::AdminError;
use super::failure::{Cause, EndpointAnswer, Failure};
use super::handle::Client;
use super::machine::{Ask, End};
use crate::api::{BackupPiece, Reply, RequestError};

/// How long it takes until a piece is asked for again whose answer was lost.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a backup came to nothing. Nothing was changed in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFailure {
    /// No leader could be found, or it was not to be asked.
    #[error("{0}")]
    NotBegun(AdminError),
    /// The node says that it cannot go on.
    #[error("the backup broke off after {received} bytes: {address}: {why}")]
    Refused {
        /// The node.
        address: String,
        /// How much of it had come.
        received: u64,
        /// Why.
        why: RequestError,
    },
    /// The node was not heard of any more.
    #[error("the backup broke off after {received} bytes: {address}: {why}")]
    Lost {
        /// The node.
        address: String,
        /// How much of it had come.
        received: u64,
        /// What became of the last question.
        why: Failure,
    },
}

/// A backup that is being fetched from one node: the bytes of a snapshot's file (`docs/snapshot-format.md`). Whoever wants to be sure of
/// them writes them to a file and verifies that ([`Draft`](crate::backup::Draft)).
///
/// It ends at the node when nobody asks for the next piece for half a minute.
#[derive(Debug)]
pub struct BackupStream {
    client: Client,
    /// How long the node may be silent.
    silence: Duration,
    address: String,
    id: u64,
    received: u64,
    /// The piece that came with the first answer.
    first: Option<BackupPiece>,
    ended: bool,
}

impl Client {
    /// Begins a backup of the state as it is now: it holds every write that was acknowledged before this was called. It is fetched from
    /// the leader, which need not lead on meanwhile. The client's timeout is for the beginning, and then for each piece.
    ///
    /// # Errors
    /// [`BackupFailure::NotBegun`].
    pub async fn backup(&self) -> Result<BackupStream, BackupFailure> {
        let ask = |address| Ask::Backup {
            address,
            id: 0,
            offset: 0,
        };
        let silence = self.deadline().saturating_duration_since(Instant::now());
        let begun = self.ask_the_leader(&ask).await;
        match begun.map_err(BackupFailure::NotBegun)? {
            (address, Reply::Backup(piece)) if piece.offset == 0 => Ok(BackupStream {
                client: self.clone(),
                silence,
                address,
                id: piece.id,
                received: 0,
                first: Some(piece),
                ended: false,
            }),
            _ => Err(BackupFailure::NotBegun(AdminError::Unknown(Failure {
                cause: Cause::Protocol,
                endpoints: Vec::new(),
            }))),
        }
    }
}

impl BackupStream {
    /// The node that it is fetched from.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many bytes have come.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes; none when all have come. A connection that breaks is made again, within the client's timeout.
    ///
    /// # Errors
    /// When the backup cannot go on: begin another one.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BackupFailure> {
        if self.ended {
            return Ok(None);
        }
        let piece = match self.first.take() {
            Some(piece) => piece,
            None => self.fetch().await?,
        };
        self.received += piece.bytes.len() as u64;
        self.ended = piece.end;
        Ok(Some(piece.bytes))
    }

    async fn fetch(&self) -> Result<BackupPiece, BackupFailure> {
        let deadline = Instant::now() + self.silence;
        let (address, received) = (self.address.clone(), self.received);
        loop {
            let ask = Ask::Backup {
                address: address.clone(),
                id: self.id,
                offset: received,
            };
            let why = match self.client.until(deadline).ask(ask).await {
                End::Answered {
                    reply: Reply::Backup(piece),
                    ..
                } if (piece.id, piece.offset) == (self.id, received) => return Ok(piece),
                End::Answered { .. } => Failure {
                    cause: Cause::Protocol,
                    endpoints: Vec::new(),
                },
                End::NotApplied(Failure {
                    cause: Cause::Endpoint(EndpointAnswer::Error(why)),
                    ..
                }) if why != RequestError::Busy => {
                    return Err(BackupFailure::Refused {
                        address,
                        received,
                        why,
                    });
                }
                End::NotApplied(failure) | End::Unknown(failure) => failure,
            };
            if Instant::now() + PAUSE >= deadline || why.cause == Cause::Protocol {
                return Err(BackupFailure::Lost {
                    address,
                    received,
                    why,
                });
            }
            sleep(PAUSE).await;
        }
    }
}
