//! One client's connection.

use std::sync::Arc;

use raft_net_tcp::{Frame, Link, Sender};
use tokio::sync::mpsc;
use tracing::debug;

use super::door::{self, Admitted};
use super::quota::{Quota, Share};
use super::{KvFront, KvRead, KvWrite, status};
use crate::api::{Header, Reply, RequestError, Response};
use crate::node::inbox::{Inbox, Request};
use crate::node::replica::ReadRequest;
use crate::store::Store;
use crate::wire::{self, kind};

/// How many answers are encoded before others get their turn.
const ANSWERS_MAX: usize = 256;

/// An answer on its way to the task that encodes it.
#[derive(Debug)]
struct Outgoing {
    request_id: u64,
    response: Response,
    share: Option<Share>,
}

/// Where a request's answer goes, and its share of the quotas. Used once.
#[derive(Debug)]
pub(super) struct Answer {
    request_id: u64,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    share: Option<Share>,
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
            share,
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
    let quota = Arc::new(Quota::of_connection());
    let (outgoing, answers) = mpsc::unbounded_channel();
    tokio::spawn(answer_all(answers, link.sender.clone()));
    // The channel of answers is bounded by the quota: what is under way, and one refusal for each frame of the batch that is
    // being read.
    let mut closing = front.closing.clone();
    loop {
        let frames = tokio::select! {
            frames = link.receiver.recv_many() => frames,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let Ok(frames) = frames else { return };
        let mut batch = Batch::default();
        for frame in frames {
            if frame.kind != kind::REQUEST {
                debug!(remote = %link.remote, kind = frame.kind, "a client sent a frame that is no request");
                return;
            }
            take(&front, &quota, &outgoing, frame, &mut batch);
        }
        if hand_on(&front, &inbox, batch).await.is_err() {
            // The node has stopped; the answers that were made still leave.
            return;
        }
        // The other task has ended: the client reads nothing any more.
        if outgoing.is_closed() {
            return;
        }
    }
    // The node has stopped, and every answer is made. The other task closes the connection behind the last one, and only
    // then there is nothing more to receive.
    drop(outgoing);
    while link.receiver.recv_many().await.is_ok() {}
}

/// Takes one request in, or answers it at once.
fn take(
    front: &Arc<KvFront>,
    quota: &Arc<Quota>,
    outgoing: &mpsc::UnboundedSender<Outgoing>,
    frame: Frame,
    batch: &mut Batch,
) {
    let Frame {
        request_id, body, ..
    } = frame;
    let share = Share::take([quota, &front.quota], body.len());
    let busy = share.is_none();
    let answer = Answer {
        request_id,
        outgoing: outgoing.clone(),
        share,
    };
    let refused = if busy {
        Err(RequestError::Busy)
    } else {
        door::admit(front, body)
    };
    match refused {
        Ok(Admitted::Write(payload)) => batch.writes.push((payload, KvWrite(answer))),
        Ok(Admitted::Read {
            query,
            freshness,
            min_applied,
        }) => {
            batch.reads.push(ReadRequest {
                freshness,
                min_applied,
                ticket: KvRead { query, answer },
            });
        }
        Ok(Admitted::Status) => batch.statuses.push(answer),
        Err(error) => {
            let header = front.observed().header;
            answer.send(header, Err(error));
        }
    }
}

/// Hands a batch to the loop; waits while the loop's inbox is full.
async fn hand_on(
    front: &Arc<KvFront>,
    inbox: &Inbox<Store, KvWrite, KvRead>,
    batch: Batch,
) -> Result<(), ()> {
    let Batch {
        writes,
        reads,
        statuses,
    } = batch;
    if !writes.is_empty() || !reads.is_empty() {
        inbox
            .requests
            .send(Request::Batch { writes, reads })
            .await
            .map_err(drop)?;
    }
    if !statuses.is_empty() {
        let disk_bytes = status::disk_bytes(front.data_dir.clone()).await;
        let inspect = Request::Inspect(Box::new(move |inspection| {
            let (header, node) = status::status(inspection, disk_bytes);
            for answer in statuses {
                answer.send(header, Ok(Reply::Status(node.clone())));
            }
        }));
        inbox.requests.send(inspect).await.map_err(drop)?;
    }
    Ok(())
}

/// Encodes answers and queues them on the connection; waits while its queue is full. Ends with the connection, or when no
/// answer can come any more.
async fn answer_all(mut answers: mpsc::UnboundedReceiver<Outgoing>, sender: Sender) {
    let mut batch = Vec::new();
    while answers.recv_many(&mut batch, ANSWERS_MAX).await > 0 {
        for Outgoing {
            request_id,
            response,
            share,
        } in batch.drain(..)
        {
            let body = wire::encode_response(&response);
            if sender.send(kind::RESPONSE, request_id, body).await.is_err() {
                return;
            }
            drop(share);
        }
    }
    sender.close();
}
