//! The connections that others make to this node: peers' frames become the replica's events, clients go to the front.

use std::sync::Arc;

use raft_core::Boot;
use raft_net_tcp::{Frame, Link, Listener, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::warn;

use super::StateMachine;
use super::inbox::{Context, FromPeer, Heard, Inbox, ReadTicket, WriteTicket};
use crate::glue;
use crate::wire::{self, DecodeError, kind};

/// How many bytes of one peer's frames may wait for the loop; beyond it its connection is not read.
const PEER_BYTES_MAX: u32 = 16 << 20;

/// Whoever serves clients.
pub(crate) trait Front<S: StateMachine>: Send + Sync + 'static {
    type Write: WriteTicket<S>;
    type Read: ReadTicket<S>;

    /// Whether clients are let in at all.
    const SERVES_CLIENTS: bool;

    /// The node has done what was to be done for now; this is how it stands. Says whether it wants to be called again soon, even if nothing
    /// happens.
    fn observe(&self, context: &Context<'_, S>) -> bool {
        let _ = context;
        false
    }

    /// Serves one connection until it ends.
    fn serve(
        self: Arc<Self>,
        link: Link,
        inbox: Inbox<S, Self::Write, Self::Read>,
    ) -> impl Future<Output = ()> + Send;
}

/// Accepts until the task is dropped.
pub(crate) async fn accept<S, F>(
    mut listener: Listener,
    inbox: Inbox<S, F::Write, F::Read>,
    front: Arc<F>,
) where
    S: StateMachine,
    F: Front<S>,
{
    loop {
        let link = listener.accept().await;
        match link.hello.role {
            Role::Client => drop(tokio::spawn(front.clone().serve(link, inbox.clone()))),
            Role::Peer | Role::PeerBulk => {
                drop(tokio::spawn(listen_to_peer(link, inbox.peers.clone())));
            }
        }
    }
}

/// Hands on what one peer says, until its connection ends, or it says something that cannot be read.
async fn listen_to_peer(mut link: Link, peers: mpsc::Sender<FromPeer>) {
    let room = Arc::new(Semaphore::new(PEER_BYTES_MAX as usize));
    let heard = introduction(&link.hello);
    if peers.send(FromPeer { heard, _held: None }).await.is_err() {
        return;
    }
    while let Ok(frames) = link.receiver.recv_many().await {
        for frame in frames {
            let held = hold(&room, frame.body.len()).await;
            match read(&link.hello.identity, frame) {
                Ok(heard) => {
                    if peers.send(FromPeer { heard, _held: held }).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Dropping the link closes the connection. The peer dials again; that costs it a back-off each time.
                    warn!(who = %link.hello.identity, remote = %link.remote, %error, "a peer's frame cannot be read");
                    return;
                }
            }
        }
    }
}

/// Waits until there is room for a frame. One that is larger than all the room takes all of it.
async fn hold(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(PEER_BYTES_MAX);
    room.clone().acquire_many_owned(bytes).await.ok()
}

/// What a peer's handshake says of what it runs.
pub(crate) fn introduction(hello: &raft_net_tcp::Hello) -> Heard {
    Heard::Release {
        from: glue::member_from_net(&hello.identity),
        boot: Boot(hello.identity.boot),
        release: glue::release(hello),
    }
}

/// What a peer's frame says. `named` is who the connection's handshake named.
pub(crate) fn read(named: &raft_net_tcp::Identity, frame: Frame) -> Result<Heard, DecodeError> {
    match frame.kind {
        kind::ENVELOPE => {
            let envelope = wire::decode_envelope(frame.body)?;
            let from = envelope.from;
            if from.member != glue::member_from_net(named) || from.boot.0 != named.boot {
                let detail = "the sender is not the one that the handshake named";
                return Err(DecodeError::Malformed {
                    what: "envelope",
                    detail,
                });
            }
            Ok(Heard::Envelope(envelope))
        }
        kind::FORMATION => Ok(Heard::Formation {
            from: glue::member_from_net(named),
            message: glue::formation_from_wire(wire::decode_formation(frame.body)?),
        }),
        kind::TRANSFER => Ok(Heard::Transfer {
            from: glue::member_from_net(named),
            message: wire::decode_transfer(frame.body)?,
        }),
        kind => Err(DecodeError::UnknownKind {
            what: "frame between nodes",
            kind,
        }),
    }
}
