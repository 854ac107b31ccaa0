//! The way in for whoever replicates a state machine of their own.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::{Index, LogId, NodeId};
use raft_net_tcp::Link;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::StateMachine;
use super::accept::Front;
use super::config::NodeConfig;
use super::exit::{Exit, StartError};
use super::inbox::{Context, Inbox, Own, ReadTicket, Request, WriteTicket};
use super::launch::{Running, launch};
use super::replica::{Freshness, NotDone, ReadFailure, ReadRequest, WriteFailure};

/// Starts nodes; see [`Node::start`].
#[derive(Clone, Copy, Debug)]
pub struct Node;

/// Why a command has no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// It was surely not applied, and never will be.
    #[error("not applied: {}", Reason(.0))]
    NotApplied(NotDone),
    /// It may be applied yet, or never: the node lost the lead or stopped before it knew.
    #[error("the node lost the lead or stopped; the command may or may not be applied")]
    Unknown,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the read was not answered: {}", Reason(.0))]
pub struct ReadError(pub NotDone);

/// Why not, in words.
struct Reason<'a>(&'a NotDone);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            NotDone::NotFormed(why) => write!(f, "the cluster is not formed yet: {why}"),
            NotDone::NotLeader {
                leader: Some((node, address)),
            } => {
                write!(f, "this node does not lead; node {node} at {address} does")
            }
            NotDone::NotLeader { leader: None } => {
                f.write_str("this node does not lead, and knows of no leader")
            }
            NotDone::Busy => f.write_str("too much is under way; try again soon"),
            NotDone::Full => f.write_str("the disk is full, here or on too many of the voters"),
            NotDone::TooLarge => f.write_str("the command is too large"),
            NotDone::Refused(why) => f.write_str(why),
            NotDone::Failed => f.write_str("it could not be confirmed; try again"),
            NotDone::Stopping => f.write_str("the node is stopping"),
        }
    }
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// The core's picture; none while the cluster is not formed.
    pub status: Option<raft_core::Status>,
    /// Whom an unformed node waits for, in words.
    pub waits_for: Option<String>,
    /// Up to where the state machine has applied.
    pub applied: Index,
    /// Who leads, as far as this node knows, and where that node is.
    pub leader: Option<(NodeId, String)>,
    /// Nodes that cannot be reached, and why.
    pub troubles: Vec<String>,
}

impl Node {
    /// Starts a node that replicates `machine` with the other nodes of `config.cluster`. `machine` must be as new: the node
    /// applies the whole log to it.
    ///
    /// Must be called within a tokio runtime, which needs its clock and its network. Clients other than through the handle
    /// are not served.
    ///
    /// # Errors
    /// As [`StartError`] lists them.
    pub async fn start<S: StateMachine>(
        config: NodeConfig,
        machine: S,
    ) -> Result<NodeHandle<S>, StartError> {
        let Running {
            inbox,
            exit,
            local_addr: _,
            member,
        } = launch(config, machine, Arc::new(Embedded)).await?;
        tracing::info!(%member, "node started");
        Ok(NodeHandle { inbox, exit })
    }
}

/// A running node. Dropping it leaves the node running until the runtime ends; [`NodeHandle::stop`] ends it cleanly.
pub struct NodeHandle<S: StateMachine> {
    inbox: Inbox<S, EmbeddedWrite<S>, EmbeddedRead<S>>,
    exit: JoinHandle<Exit>,
}

impl<S: StateMachine> fmt::Debug for NodeHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").finish_non_exhaustive()
    }
}

impl<S: StateMachine> NodeHandle<S> {
    /// Replicates a command, waits until it is applied here, and returns what the state machine answered.
    ///
    /// # Errors
    /// [`ProposeError::NotApplied`] when trying again (elsewhere) is safe; [`ProposeError::Unknown`] when the command may have
    /// been applied or may be yet. Dropping the future leaves it just as open.
    pub async fn propose(&self, command: Bytes) -> Result<S::Output, ProposeError> {
        let (ticket, answer) = oneshot::channel();
        let batch = Request::Batch {
            writes: vec![(command, EmbeddedWrite(ticket))],
            reads: Vec::new(),
        };
        let stopped = ProposeError::NotApplied(NotDone::Stopping);
        self.inbox.requests.send(batch).await.map_err(|_| stopped)?;
        match answer.await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(WriteFailure::Not(why))) => Err(ProposeError::NotApplied(why)),
            Ok(Err(WriteFailure::Unknown)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// Looks at the state machine, linearizably: `look` sees everything that was acknowledged anywhere before this call. It
    /// runs in the node's loop, so it should be short.
    ///
    /// # Errors
    /// [`ReadError`], when this node does not lead or could not make sure that it does.
    pub async fn read<T, L>(&self, look: L) -> Result<T, ReadError>
    where
        T: Send + 'static,
        L: FnOnce(&S) -> T + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let ticket = EmbeddedRead(Box::new(move |state: Result<&S, ReadFailure>| {
            let _ = sender.send(state.map(look));
        }));
        let request = ReadRequest {
            freshness: Freshness::Linearizable,
            min_applied: Index::ZERO,
            ticket,
        };
        let batch = Request::Batch {
            writes: Vec::new(),
            reads: vec![request],
        };
        let stopped = ReadError(NotDone::Stopping);
        self.inbox
            .requests
            .send(batch)
            .await
            .map_err(|_| stopped.clone())?;
        answer
            .await
            .map_err(|_| stopped)?
            .map_err(|ReadFailure(why)| ReadError(why))
    }

    /// How the node stands; none once it has ended.
    pub async fn report(&self) -> Option<NodeReport> {
        let (sender, answer) = oneshot::channel();
        let inspect = Request::Inspect(Box::new(move |inspection| {
            let replica = inspection.replica;
            let _ = sender.send(NodeReport {
                status: replica.status(),
                waits_for: replica.waits_for(),
                applied: replica.view().applied,
                leader: replica.leader(),
                troubles: inspection.troubles.clone(),
            });
        }));
        self.inbox.requests.send(inspect).await.ok()?;
        answer.await.ok()
    }

    /// Stops the node: open requests are answered, the log is synced and closed.
    pub async fn stop(self) -> Exit {
        let _ = self.inbox.own.send(Own::Stop);
        self.ended().await
    }

    /// Waits until the node ends by itself, which it does only when it cannot go on.
    pub async fn ended(self) -> Exit {
        self.exit
            .await
            .unwrap_or_else(|error| Exit::Log(format!("the node's loop has ended: {error}")))
    }
}

/// A front that serves nobody: the handle is the only way in.
struct Embedded;

pub(crate) struct EmbeddedWrite<S: StateMachine>(oneshot::Sender<Result<S::Output, WriteFailure>>);

type Look<S> = Box<dyn FnOnce(Result<&S, ReadFailure>) + Send>;

pub(crate) struct EmbeddedRead<S>(Look<S>);

impl<S: StateMachine> Front<S> for Embedded {
    type Write = EmbeddedWrite<S>;
    type Read = EmbeddedRead<S>;
    const SERVES_CLIENTS: bool = false;

    // The gate lets no client in.
    async fn serve(self: Arc<Self>, _link: Link, _inbox: Inbox<S, Self::Write, Self::Read>) {}
}

impl<S: StateMachine> WriteTicket<S> for EmbeddedWrite<S> {
    fn done(self, _context: &Context<'_, S>, result: Result<(LogId, S::Output), WriteFailure>) {
        let _ = self.0.send(result.map(|(_, output)| output));
    }
}

impl<S: StateMachine> ReadTicket<S> for EmbeddedRead<S> {
    fn done(self, context: &mut Context<'_, S>, result: Result<(), ReadFailure>) {
        (self.0)(result.map(|()| &*context.machine));
    }
}
