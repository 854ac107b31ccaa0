//! One client's connection.

use std::sync::Arc;

use raft_net_tcp::{Frame, Link, SendError, Sender};
use tokio::sync::mpsc;
use tracing::debug;

use super::door::{self, Admitted};
use super::quota::{ConnectionQuota, Share};
use super::watching::{UnderWay, Watcher};
use super::{KvFront, KvRead, KvWrite, admin, status};
use crate::api::{Admin, Header, Reply, RequestError, Response, Watch};
use crate::node::inbox::{Inbox, Request};
use crate::node::replica::ReadRequest;
use crate::store::Store;
use crate::wire::{self, kind};

/// How many answers are encoded before others get their turn.
const ANSWERS_MAX: usize = 256;

/// An answer on its way to the task that encodes it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request_id: u64,
    pub(super) response: Response,
    pub(super) held: Held,
}

/// What an answer holds until it is queued for sending.
#[derive(Debug)]
#[allow(dead_code, reason = "held to be dropped")]
pub(super) enum Held {
    /// A request's share of the quotas.
    Share(Share),
    /// A watcher's.
    Watch(UnderWay),
    /// It is small, and comes once.
    Nothing,
}

/// Where a request's answer goes, and its share of the quotas. Used once.
#[derive(Debug)]
pub(crate) struct Answer {
    request_id: u64,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    share: Share,
}

impl Answer {
    /// Sends the answer. That the connection is gone is no error: then nobody waits.
    pub(super) fn send(self, header: Header, body: Result<Reply, RequestError>) {
        let Self {
            request_id,
            outgoing,
            share,
        } = self;
        let _ = outgoing.send(Outgoing {
            request_id,
            response: Response { header, body },
            held: Held::Share(share),
        });
    }
}

/// What one batch of frames asks for.
#[derive(Default)]
struct Batch {
    writes: Vec<(bytes::Bytes, KvWrite)>,
    reads: Vec<ReadRequest<KvRead>>,
    statuses: Vec<Answer>,
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(
    front: Arc<KvFront>,
    mut link: Link,
    inbox: Inbox<Store, KvWrite, KvRead>,
) {
    let (outgoing, answers) = mpsc::unbounded_channel();
    tokio::spawn(answer_all(answers, link.sender.clone(), link.version));
    let mut closing = front.closing.clone();
    let door = Door {
        quota: ConnectionQuota::new(front.quota.clone()),
        watcher: front.watching.connect(outgoing.clone()),
        front,
        inbox,
        outgoing,
    };
    loop {
        let frames = tokio::select! {
            frames = link.receiver.recv_many() => frames,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let Ok(frames) = frames else { return };
        if let Some(frame) = frames.iter().find(|frame| frame.kind != kind::REQUEST) {
            debug!(remote = %link.remote, kind = frame.kind, "a client sent a frame that is no request");
            return;
        }
        // An error says that the node has stopped, or that the client reads nothing any more.
        if door.take(frames).await.is_err() {
            break;
        }
    }
    // Every answer that will ever be is made. The other task closes the connection behind the last one, and only then there
    // is nothing more to receive.
    drop(door);
    while link.receiver.recv_many().await.is_ok() {}
}

/// Where a connection's requests come in.
struct Door {
    front: Arc<KvFront>,
    quota: ConnectionQuota,
    inbox: Inbox<Store, KvWrite, KvRead>,
    watcher: Watcher,
    outgoing: mpsc::UnboundedSender<Outgoing>,
}

/// Nobody takes requests, or answers, any more.
struct Ended;

impl Door {
    /// Takes all of these in, or answers them at once.
    async fn take(&self, frames: Vec<Frame>) -> Result<(), Ended> {
        let mut batch = Batch::default();
        for Frame {
            request_id, body, ..
        } in frames
        {
            let body_bytes = body.len();
            // Decoded first, since what it asks for says what its reply may take.
            let admitted = door::admit(
                &self.front.limits,
                self.front.observed().cluster_version,
                body,
            );
            let bytes = body_bytes + admitted.as_ref().map_or(0, Admitted::reply_bytes);
            let share = match self.quota.try_take(bytes) {
                Some(share) => share,
                None => {
                    self.hand_on(std::mem::take(&mut batch)).await?;
                    self.quota.take(bytes).await.ok_or(Ended)?
                }
            };
            let busy = share.is_busy();
            let answer = Answer {
                request_id,
                outgoing: self.outgoing.clone(),
                share,
            };
            let admitted = if busy {
                Err(RequestError::Busy)
            } else {
                admitted
            };
            match admitted {
                Ok(Admitted::Write(payload)) => batch.writes.push((payload, KvWrite(answer))),
                Ok(Admitted::Read {
                    asking,
                    freshness,
                    min_applied,
                }) => batch.reads.push(ReadRequest {
                    freshness,
                    min_applied,
                    ticket: KvRead::Asked { asking, answer },
                }),
                Ok(Admitted::Status) => batch.statuses.push(answer),
                Ok(Admitted::Admin(admin)) => self.administer(admin, answer),
                Ok(Admitted::Backup { id, offset }) => self.back_up(id, offset, answer),
                Ok(Admitted::Watch(watch)) => {
                    // It begins behind what came before it on this connection.
                    self.hand_on(std::mem::take(&mut batch)).await?;
                    self.watch(request_id, watch).await?;
                }
                Ok(Admitted::Unwatch { request }) => {
                    self.hand_on(std::mem::take(&mut batch)).await?;
                    self.unwatch(request).await?;
                }
                Err(error) => {
                    let header = self.front.observed().header;
                    answer.send(header, Err(error));
                }
            }
        }
        self.hand_on(batch).await
    }

    /// Has a watch begun in the loop, where the store is.
    async fn watch(&self, request_id: u64, watch: Watch) -> Result<(), Ended> {
        let handle = self.watcher.handle();
        let header = self.front.observed().header;
        let request = Request::Inspect(Box::new(move |inspection| {
            let store = inspection.replica.machine();
            handle.begin(request_id, watch, store, header);
        }));
        self.inbox.requests.send(request).await.map_err(|_| Ended)
    }

    /// Has a watch ended behind its beginning, which may still be on its way to the loop.
    async fn unwatch(&self, request_id: u64) -> Result<(), Ended> {
        let handle = self.watcher.handle();
        let header = self.front.observed().header;
        let request = Request::Inspect(Box::new(move |_| handle.end(request_id, header)));
        self.inbox.requests.send(request).await.map_err(|_| Ended)
    }

    /// Has an operator's wish carried out, which may take long, beside the connection's other requests.
    fn administer(&self, admin: Admin, answer: Answer) {
        let (front, inbox) = (self.front.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let turn = front.operator.lock().await;
            let done = admin::carry_out(&inbox, front.patience_ticks, admin).await;
            drop(turn);
            let header = front.observed().header;
            answer.send(header, done.map(Reply::Admin));
        });
    }

    /// Answers with a piece of a backup, which may take a while to be made.
    fn back_up(&self, id: u64, offset: u64, answer: Answer) {
        let (front, inbox) = (self.front.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let piece = front.backups.piece(&inbox, id, offset).await;
            let header = front.observed().header;
            answer.send(header, piece.map(Reply::Backup));
        });
    }

    /// Hands a batch to the loop; waits while the loop's inbox is full.
    async fn hand_on(&self, batch: Batch) -> Result<(), Ended> {
        let Batch {
            writes,
            reads,
            statuses,
        } = batch;
        if !writes.is_empty() || !reads.is_empty() {
            let request = Request::Batch { writes, reads };
            self.inbox.requests.send(request).await.map_err(|_| Ended)?;
        }
        if !statuses.is_empty() {
            let disk_bytes = self.front.disk_use.bytes().await;
            let request = Request::Inspect(Box::new(move |inspection| {
                let (header, node) =
                    status::status(inspection, inspection.replica.machine(), disk_bytes);
                for answer in statuses {
                    answer.send(header, Ok(Reply::Status(node.clone())));
                }
            }));
            self.inbox.requests.send(request).await.map_err(|_| Ended)?;
        }
        if self.outgoing.is_closed() {
            return Err(Ended);
        }
        Ok(())
    }
}

/// Sends answers until the connection ends, no answer can come any more, or one cannot be sent. Then it closes the
/// connection, whichever it was: one whose requests are not answered must not look alive.
async fn answer_all(answers: mpsc::UnboundedReceiver<Outgoing>, sender: Sender, protocol: u16) {
    if let Err(error) = send_all(answers, &sender, protocol).await {
        debug!(%error, "a client's connection ends: an answer cannot be sent");
    }
    sender.close();
}

/// Encodes answers and queues them on the connection; waits while its queue is full.
async fn send_all(
    mut answers: mpsc::UnboundedReceiver<Outgoing>,
    sender: &Sender,
    protocol: u16,
) -> Result<(), SendError> {
    let mut batch = Vec::new();
    while answers.recv_many(&mut batch, ANSWERS_MAX).await > 0 {
        for Outgoing {
            request_id,
            response,
            held,
        } in batch.drain(..)
        {
            let body = wire::encode_response(&response, protocol);
            sender.send(kind::RESPONSE, request_id, body).await?;
            drop(held);
        }
    }
    Ok(())
}
