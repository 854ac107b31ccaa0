//! What comes in to the loop, by where it comes from: requests, peers, and the node's own threads.
//!
//! Guards: each of the three is bounded. Requests wait in the connection's task while the channel is full, and their
//! number and bytes are limited before (see `server::quota`); peers' envelopes hold permits for their bytes; the node's
//! own answers are at most one for each thing it was asked.

use std::fmt;

use bytes::Bytes;
use raft_core::{Boot, Change, Entry, Envelope, FetchId, JobId, LogId, MemberId, NodeId, Status};
use raft_log::Counters;
use raft_net_tcp::Dial;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::StateMachine;
use super::formation::FormationMessage;
use super::replica::{NotDone, ReadFailure, ReadRequest, Replica, View, WriteFailure};
use super::snapshot::worker::Answer;
use crate::release::Release;
use crate::wire::Transfer;

/// How many batches of requests, and of envelopes, wait for the loop.
const WAITING_MAX: usize = 1024;

/// What an answer may look at: the node as it is when the answer is made. An answer to a read may change what the state machine keeps beside
/// the replicated state.
pub(crate) struct Context<'a, S> {
    pub(crate) machine: &'a mut S,
    pub(crate) view: View,
}

/// Whoever waits for a write.
pub(crate) trait WriteTicket<S: StateMachine>: Send + 'static {
    /// The answer.
    fn done(self, context: &Context<'_, S>, result: Result<(LogId, S::Output), WriteFailure>);
}

/// Whoever waits for a read.
pub(crate) trait ReadTicket<S: StateMachine>: Send + 'static {
    /// Whether the answer may take so long to make that the loop should look around before it makes many.
    fn is_long(&self) -> bool {
        false
    }

    /// The answer: `Ok` says that the question may be put to the state machine now.
    fn done(self, context: &mut Context<'_, S>, result: Result<(), ReadFailure>);
}

/// What someone wants to know of the node itself.
pub(crate) struct Inspection<'a, S: StateMachine, W, R> {
    pub(crate) replica: &'a Replica<S, W, R>,
    pub(crate) counters: Counters,
    /// Peers that cannot be reached, and why.
    pub(crate) troubles: Vec<String>,
}

type Inspector<S, W, R> = Box<dyn FnOnce(&Inspection<'_, S, W, R>) + Send>;

/// From whoever uses the node.
pub(crate) enum Request<S: StateMachine, W, R> {
    Batch {
        writes: Vec<(Bytes, W)>,
        reads: Vec<ReadRequest<R>>,
    },
    Inspect(Inspector<S, W, R>),
    /// Change the membership as planned, if anything has to be changed.
    Change {
        plan: Plan,
        /// Who is to be taken in, if anyone, and what was heard there.
        newcomer: Option<(MemberId, Boot, Release)>,
        answer: oneshot::Sender<Changed>,
    },
    /// Hand the lead over; to whom.
    Transfer {
        to: Option<NodeId>,
        answer: oneshot::Sender<Result<NodeId, NotDone>>,
    },
    /// How to connect to another node.
    Dial(oneshot::Sender<Dial>),
}

/// What is to be changed about a leader's membership, as it is when the plan is made; or why that cannot be.
pub(crate) type Plan = Box<dyn FnOnce(&Status) -> Result<Option<Change>, String> + Send>;

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Changed {
    /// It is committed, or was not needed; how the node stands.
    Done { changed: bool, status: Box<Status> },
    /// The change before is not done with.
    InFlux,
    /// It was surely not done.
    Not(NotDone),
    /// It may have been done, or may yet be.
    Unknown,
}

/// From another node, with its share of the bytes that may wait.
pub(crate) struct FromPeer {
    pub(crate) heard: Heard,
    pub(crate) _held: Option<OwnedSemaphorePermit>,
}

/// What another node says.
pub(crate) enum Heard {
    Envelope(Envelope),
    Formation {
        from: MemberId,
        message: FormationMessage,
    },
    Transfer {
        from: MemberId,
        message: Transfer,
    },
    /// What it runs in this life: in front of all else that it says in it.
    Release {
        from: MemberId,
        boot: Boot,
        release: Release,
    },
}

/// From the node's own threads, and from whoever stops it.
pub(crate) enum Own<S> {
    Durable(JobId),
    /// Whether the disk has no room for what comes next in the log.
    Full(bool),
    LogFailed(String),
    Fetched {
        id: FetchId,
        entries: Vec<Entry>,
    },
    Snapshot(Answer<S>),
    Stop,
}

/// The sending ends of a node's inbox.
pub(crate) struct Inbox<S: StateMachine, W, R> {
    pub(crate) requests: mpsc::Sender<Request<S, W, R>>,
    pub(crate) peers: mpsc::Sender<FromPeer>,
    pub(crate) own: mpsc::UnboundedSender<Own<S>>,
}

impl<S: StateMachine, W, R> Clone for Inbox<S, W, R> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            peers: self.peers.clone(),
            own: self.own.clone(),
        }
    }
}

impl<S: StateMachine, W, R> fmt::Debug for Inbox<S, W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

/// The receiving ends: the loop's.
pub(crate) struct Arrivals<S: StateMachine, W, R> {
    pub(crate) requests: mpsc::Receiver<Request<S, W, R>>,
    pub(crate) peers: mpsc::Receiver<FromPeer>,
    pub(crate) own: mpsc::UnboundedReceiver<Own<S>>,
}

/// Both ends of a new inbox.
pub(crate) fn inbox<S: StateMachine, W, R>() -> (Inbox<S, W, R>, Arrivals<S, W, R>) {
    let (requests, requests_in) = mpsc::channel(WAITING_MAX);
    let (peers, peers_in) = mpsc::channel(WAITING_MAX);
    let (own, own_in) = mpsc::unbounded_channel();
    (
        Inbox {
            requests,
            peers,
            own,
        },
        Arrivals {
            requests: requests_in,
            peers: peers_in,
            own: own_in,
        },
    )
}
