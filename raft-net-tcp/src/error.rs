//! Why a connection ended, could not be made, or did not take a frame: one type for each.

use std::io;
use std::time::Duration;

use crate::config::ConfigError;
use crate::handshake::{BadHello, Stranger};
use crate::refusal::Refusal;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it, by intent.
    #[error("closed by this side")]
    Local,
    /// This side refused the other, and said so.
    #[error("refused by this side: {0}")]
    Refused(Refusal),
    /// The other side said why it ended the connection.
    #[error("the other side ended it: {0}")]
    Remote(Refusal),
    /// The stream ended between two frames, without a word.
    #[error("the other side closed the connection without giving a reason")]
    Ended,
    /// The stream ended within a frame.
    #[error(
        "the other side closed the connection within a frame, of which {have} of {need} bytes had arrived"
    )]
    Truncated {
        /// Bytes of the frame that arrived, its header included.
        have: u64,
        /// Bytes of the whole frame, as far as it is known.
        need: u64,
    },
    /// The first bytes are not those of this protocol.
    #[error("the other side does not speak this protocol: {0}; check address and port")]
    NotOurProtocol(Stranger),
    /// The first frame is no hello.
    #[error("the first frame of the other side is of kind {kind:#04x}, not a hello")]
    NoHello {
        /// Its kind.
        kind: u8,
    },
    /// The first frame cannot be read.
    #[error("the other side's hello is invalid: {0}")]
    BadHello(#[from] BadHello),
    /// The handshake was not over in time.
    #[error("the other side did not finish the handshake within {after:?}")]
    HandshakeTimeout {
        /// The time it had.
        after: Duration,
    },
    /// A header whose checksum does not hold: damaged on the way, or garbage.
    #[error("a frame header arrived damaged (checksum)")]
    HeaderChecksum,
    /// A body whose checksum does not hold.
    #[error(
        "the body of a frame of kind {kind:#04x}, {body_bytes} bytes, arrived damaged (checksum)"
    )]
    BodyChecksum {
        /// The frame's kind.
        kind: u8,
        /// Its length.
        body_bytes: u32,
    },
    /// A frame claims more than the role allows. Nothing was allocated for it.
    #[error("a frame of kind {kind:#04x} claims {body_bytes} bytes, and at most {max} are taken")]
    FrameTooLarge {
        /// The frame's kind.
        kind: u8,
        /// What it claims.
        body_bytes: u32,
        /// The limit.
        max: u32,
    },
    /// A frame of a reserved kind that has no meaning here.
    #[error("a frame of kind {kind:#04x} was not expected")]
    UnexpectedKind {
        /// The frame's kind.
        kind: u8,
    },
    /// Nothing was heard for too long: the link, the other process or its machine is gone.
    #[error("nothing was heard from the other side for {after:?}")]
    Silence {
        /// The time that passed.
        after: Duration,
    },
    /// The other side took nothing for too long.
    #[error("the other side did not read for {after:?} while frames were waiting")]
    Stalled {
        /// The time that passed.
        after: Duration,
    },
    /// The operating system reported an error.
    #[error("the connection broke: {0}")]
    Io(io::ErrorKind),
}

impl CloseReason {
    /// What the other side is told, if there is any use in it.
    pub(crate) fn farewell(&self) -> Option<Refusal> {
        Some(match self {
            CloseReason::Local => Refusal::Finished,
            CloseReason::Refused(refusal) => refusal.clone(),
            CloseReason::NoHello { .. } | CloseReason::BadHello(_) => Refusal::BadHello,
            CloseReason::HandshakeTimeout { .. } => Refusal::HandshakeTimeout,
            CloseReason::HeaderChecksum | CloseReason::BodyChecksum { .. } => Refusal::Checksum,
            CloseReason::FrameTooLarge { max, .. } => Refusal::FrameTooLarge { max: *max },
            CloseReason::UnexpectedKind { kind } => Refusal::UnexpectedKind { kind: *kind },
            CloseReason::Silence { .. } => Refusal::Silence,
            CloseReason::Stalled { .. } => Refusal::Stalled,
            CloseReason::Remote(_)
            | CloseReason::Ended
            | CloseReason::Truncated { .. }
            | CloseReason::NotOurProtocol(_)
            | CloseReason::Io(_) => return None,
        })
    }

    /// Whether waiting for the other side to take the farewell makes sense.
    pub(crate) fn other_side_listens(&self) -> bool {
        self.farewell().is_some()
            && !matches!(
                self,
                CloseReason::Silence { .. } | CloseReason::Stalled { .. }
            )
    }
}

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address.
    ///
    /// The kind is not in the words: of a name that nobody knows it says nothing.
    #[error("{address}: cannot be resolved to an address; expected host:port")]
    Resolve {
        /// As given.
        address: String,
        /// What the resolver said.
        kind: io::ErrorKind,
    },
    /// No TCP connection.
    #[error("{address}: cannot connect: {kind}")]
    Tcp {
        /// As given.
        address: String,
        /// What the operating system said.
        kind: io::ErrorKind,
    },
    /// Name and TCP together took too long.
    #[error(
        "{address}: no connection within {after:?}; is the node running, and the network open?"
    )]
    Timeout {
        /// As given.
        address: String,
        /// The time it had.
        after: Duration,
    },
    /// The TCP connection was made, and no handshake within the time for all.
    #[error(
        "{address}: connected, but it does not speak this protocol (yet): no answer within {after:?}"
    )]
    Silent {
        /// As given.
        address: String,
        /// The time it had.
        after: Duration,
    },
    /// The handshake failed.
    #[error("{address}: {reason}")]
    Handshake {
        /// As given.
        address: String,
        /// Why.
        reason: CloseReason,
    },
    /// The configuration is invalid.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The operating system gave no socket.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// As given.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The configuration is invalid.
    #[error("invalid configuration: {0}")]
    Config(#[from] ConfigError),
}

/// Why a frame was not taken for sending. It was not sent, and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The other side takes no frame as large.
    #[error("a body of {body_bytes} bytes is larger than the limit of {max}")]
    TooLarge {
        /// The body's length.
        body_bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The kind is one of this crate's own.
    #[error("kind {kind:#04x} is reserved; use {max:#04x} or less", max = crate::KIND_MAX)]
    ReservedKind {
        /// The kind.
        kind: u8,
    },
    /// Too much is waiting already.
    #[error("the send queue is full")]
    Full,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It never left this process: trying again elsewhere is safe.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// It may have reached the other side, or not, and may have had its effect.
    #[error(
        "the connection ended before the answer came, the request may have been carried out: {0}"
    )]
    MaybeSent(CloseReason),
}

/// Why a request never left this process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// It was turned away.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The connection ended while it waited.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
}
