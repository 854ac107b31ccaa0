//! The key-value store's way in: clients' connections.
//!
//! A connection has two tasks and no more, however many requests it carries: one decodes and checks what comes in, at the
//! door, and hands it to the node's loop in batches; the other encodes the answers. Every request gets exactly one answer,
//! with its request id, unless the connection ends before.

mod admin;
pub(crate) mod answer;
mod backup;
mod connection;
pub(crate) mod door;
mod plan;
mod quota;
pub(crate) mod status;
#[cfg(test)]
mod tests;
pub(crate) mod watches;
mod watching;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft_core::{LogId, Term};
use raft_net_tcp::Link;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::accept::Front;
use super::config::TICK;
use super::inbox::{Context, Inbox, Own};
use super::launch::{Running, launch};
use super::replica::{ReadFailure, WriteFailure};
use super::{Exit, Halt, Image, NodeConfig, StartError, StateMachine};
use crate::api::{Command, CommandReply, Header, Operation};
use crate::mutants::{Mutant, mutant};
use crate::release::{RELEASE, Release};
use crate::store::{Limits, Settings, Store};
use crate::wire;
use answer::Asking;
use backup::Backups;
use connection::Answer;
use quota::Quota;
use status::DiskUse;
use watching::Watching;

/// A command that a leader proposes by itself, in no session.
fn leaders_command(operation: Operation) -> Bytes {
    wire::encode_command(&Command {
        session: 0,
        sequence: 0,
        first_outstanding: 0,
        principal: Bytes::new(),
        operation,
    })
}

impl StateMachine for Store {
    type Output = CommandReply;

    fn apply(&mut self, at: LogId, command: &Bytes) -> Result<CommandReply, Halt> {
        self.apply_payload(at, command)
            .map_err(|error| Halt(error.to_string()))
    }

    fn passed(&mut self, at: LogId) {
        self.note_applied(at.index);
        if mutant(Mutant::DropsSessionsWithLeader) {
            self.drop_sessions();
        }
    }

    fn release(&self) -> Release {
        Release {
            name: RELEASE.to_owned(),
            follows: self.follows(),
        }
    }

    fn version(&self) -> u16 {
        self.cluster_version()
    }

    fn raise(&self, version: u16) -> Option<Bytes> {
        Some(leaders_command(Operation::SetClusterVersion {
            version,
            release: RELEASE.to_owned(),
        }))
    }

    fn tick(&mut self, leading: Option<Term>, elapsed_ms: u32) -> Vec<Bytes> {
        let chores = Store::tick(self, leading, elapsed_ms).into_iter();
        chores.map(leaders_command).collect()
    }

    fn image(&self) -> Image {
        let picture = self.clone();
        Image::new(move |out| picture.write_to(out))
    }

    fn empty(&self) -> Self {
        Self::following(self.settings(), self.follows())
    }

    fn restore(&mut self, at: LogId, from: &mut dyn io::Read) -> io::Result<()> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let store = Self::read_following(from, self.follows())
            .map_err(|error| invalid(error.to_string()))?;
        if store.applied() != at.index {
            let why = format!("it is of index {}, and was taken for {at}", store.applied());
            return Err(invalid(why));
        }
        *self = store;
        if mutant(Mutant::OmitsSessions) {
            self.drop_sessions();
        }
        Ok(())
    }
}

/// How long a node that has stopped waits for its last answers to leave.
const LAST_ANSWERS_MAX: Duration = Duration::from_millis(300);

/// A key-value node that runs.
#[derive(Debug)]
pub struct Server {
    own: mpsc::UnboundedSender<Own<Store>>,
    local_addr: std::net::SocketAddr,
    /// Tells connections to end once their answers are sent.
    closing: watch::Sender<bool>,
    /// Closed once every connection has ended.
    connections: mpsc::Receiver<Infallible>,
    exit: JoinHandle<Exit>,
}

impl Server {
    /// Starts a node of the key-value store. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`StartError`] lists them.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let (closing, closing_seen) = watch::channel(false);
        let (alive, connections) = mpsc::channel(1);
        let store = Store::new(Settings::default());
        let patience = config.election_timeout * 2;
        let front = Arc::new(KvFront::new(
            config.data_dir.clone(),
            patience,
            store.cluster_version(),
            closing_seen,
            alive,
        ));
        let Running {
            inbox,
            exit,
            local_addr,
            member,
        } = launch(config, store, front).await?;
        tracing::info!(%member, listen = %local_addr, version = RELEASE, "node started");
        Ok(Self {
            own: inbox.own,
            local_addr,
            closing,
            connections,
            exit,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.local_addr
    }

    /// Tells it to stop: no request is taken any more, open ones are answered, the log is synced and closed. [`Server::ended`]
    /// says when.
    pub fn stop(&self) {
        let _ = self.own.send(Own::Stop);
    }

    /// Waits until it has ended; after a stop also until every answer that was made is sent, for a while.
    pub async fn ended(&mut self) -> Exit {
        let exit = (&mut self.exit).await;
        let exit =
            exit.unwrap_or_else(|error| Exit::Log(format!("the node's loop has ended: {error}")));
        if exit == Exit::Stopped {
            let _ = self.closing.send(true);
            let _ = timeout(LAST_ANSWERS_MAX, self.connections.recv()).await;
        }
        exit
    }
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct KvFront {
    limits: Limits,
    quota: Arc<Quota>,
    disk_use: DiskUse,
    /// Whoever was not heard of for so long does not answer.
    patience_ticks: u64,
    backups: Arc<Backups>,
    /// Held while one of an operator's wishes is carried out: one after the other.
    operator: tokio::sync::Mutex<()>,
    observed: Mutex<Observed>,
    watching: Watching,
    closing: watch::Receiver<bool>,
    /// Never used: every connection holds it, with the front, for as long as it lives.
    _alive: mpsc::Sender<Infallible>,
}

/// How the node stood after the last round: for answers that are made at the door, without asking the loop.
#[derive(Clone, Copy, Debug)]
struct Observed {
    header: Header,
    cluster_version: u16,
}

impl KvFront {
    /// `cluster_version` is what the store begins with: the version in force is never lower, and a client may come before the
    /// loop has looked around for the first time.
    fn new(
        data_dir: PathBuf,
        patience: Duration,
        cluster_version: u16,
        closing: watch::Receiver<bool>,
        alive: mpsc::Sender<Infallible>,
    ) -> Self {
        Self {
            limits: Limits::default(),
            quota: Arc::new(Quota::default()),
            disk_use: DiskUse::new(data_dir),
            patience_ticks: u64::try_from(patience.as_millis() / TICK.as_millis())
                .unwrap_or(u64::MAX),
            backups: Arc::default(),
            operator: tokio::sync::Mutex::new(()),
            observed: Mutex::new(Observed {
                header: Header::default(),
                cluster_version,
            }),
            watching: Watching::default(),
            closing,
            _alive: alive,
        }
    }

    /// Nothing panics under the lock.
    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front<Store> for KvFront {
    type Write = KvWrite;
    type Read = KvRead;
    const SERVES_CLIENTS: bool = true;

    fn observe(&self, context: &Context<'_, Store>) -> bool {
        *self.observed() = Observed {
            header: answer::header(context),
            cluster_version: context.machine.cluster_version(),
        };
        self.watching.tell(context)
    }

    async fn serve(self: Arc<Self>, link: Link, inbox: Inbox<Store, KvWrite, KvRead>) {
        connection::serve(self, link, inbox).await;
    }
}

/// A client that waits for a command.
#[derive(Debug)]
pub(crate) struct KvWrite(Answer);

/// Whoever waits for a read.
#[derive(Debug)]
pub(crate) enum KvRead {
    /// A client, for the answer to what it asks.
    Asked { asking: Asking, answer: Answer },
    /// Someone here, for the moment at which it may be answered.
    Ready(oneshot::Sender<Result<(), ReadFailure>>),
}

impl super::inbox::WriteTicket<Store> for KvWrite {
    fn done(
        self,
        context: &Context<'_, Store>,
        result: Result<(LogId, CommandReply), WriteFailure>,
    ) {
        self.0
            .send(answer::header(context), answer::written(result));
    }
}

impl super::inbox::ReadTicket<Store> for KvRead {
    fn is_long(&self) -> bool {
        match self {
            Self::Asked { asking, .. } => asking.is_long(),
            Self::Ready(_) => false,
        }
    }

    fn done(self, context: &mut Context<'_, Store>, result: Result<(), ReadFailure>) {
        match self {
            Self::Asked { asking, answer } => {
                let body = answer::read(context, &asking, result);
                answer.send(answer::header(context), body);
            }
            Self::Ready(ready) => drop(ready.send(result)),
        }
    }
}
