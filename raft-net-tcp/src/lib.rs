//! Framed TCP between the nodes of a cluster, and between clients and nodes.
//!
//! A frame is a kind, a request id and a body of bytes that this crate never looks into. It takes care of what is
//! easy to get wrong: who is at the other end, limits before allocation, checksums, silence, quotas, reconnection,
//! bounded queues, batching.
//!
//! Two layers:
//!
//! - [`Connection`] is a synchronous machine: bytes and time in; frames, bytes and a deadline out. It knows no
//!   socket and no clock, so a simulator can drive it.
//! - A thin tokio shell around it: [`Listener`] accepts, [`Peer`] keeps a connection to one node alive and sends one
//!   way, [`Client`] sends requests and waits for answers, [`Dial::connect`] gives the bare frames of a connection.
//!
//! ```
//! use raft_net_tcp::{AdmitAll, Client, Config, Dial, Identity, Listener, Local, Role, Versions};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let server = || Local::new(Versions::only(1), Identity { node: 1, ..Identity::default() });
//! let mut listener = Listener::bind("127.0.0.1:0", Config::default(), server, AdmitAll).await?;
//! let address = listener.local_addr().to_string();
//! tokio::spawn(async move {
//!     let mut link = listener.accept().await;
//!     while let Ok(frames) = link.receiver.recv_many().await {
//!         for frame in frames {
//!             let _ = link.sender.try_send(frame.kind, frame.request_id, frame.body);
//!         }
//!     }
//! });
//!
//! let me = || Local::new(Versions::only(1), Identity::default());
//! let client = Client::connect(&address, &Dial::new(Config::default(), Role::Client, me)).await?;
//! let answer = client.request(1, "ping").await?;
//! assert_eq!(&answer.body[..], b"ping");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Promises
//!
//! - A damaged frame is never delivered: header and body have checksums (CRC32C) of their own.
//! - Nothing is allocated for a length that is only claimed.
//! - Frames of one connection arrive in order, without gaps, or not at all. A connection that is made again starts
//!   anew; nothing is repeated.
//! - Every wait has a deadline, every queue a bound.
//! - Both sides can log why a connection was refused.
//!
//! # What it does not do
//!
//! No encryption and no proof of identity: the network is trusted. No delivery guarantee over several connections.
//! No compression.
//!
//! # Map
//!
//! `frame` and `handshake` hold the formats (`docs/wire-frames.md` in the repository has the byte tables), `refusal` what is said
//! at the end; `decoder`, `encoder` and `connection` the machine; `driver` the task of a connection, between `queue`
//! and `inbox`; `link`, `dial`, `listener`, `peer` and `client` what callers hold; `config` and `error` the rest. `mutants` has known bugs,
//! for a build that tests find them in.

mod client;
mod config;
mod connection;
mod decoder;
mod dial;
mod driver;
mod encoder;
mod error;
mod frame;
mod handshake;
mod inbox;
mod link;
mod listener;
#[cfg(not(raft_mutants))]
mod mutants;
#[cfg(raft_mutants)]
pub mod mutants;
mod outage;
mod peer;
mod queue;
mod refusal;
mod sync;

pub use client::Client;
pub use config::{Backoff, Config, ConfigError, RoleConfig};
pub use connection::{Connection, Event};
pub use dial::Dial;
pub use error::{BindError, CloseReason, ConnectError, NotSent, RequestError, SendError};
pub use frame::{Body, Frame, HEADER_BYTES, KIND_MAX};
pub use handshake::{
    APPLICATION_BYTES_MAX, AdmitAll, BadHello, ClusterId, Hello, Identity, Local, PREAMBLE, Policy,
    Role, Stranger, Versions,
};
pub use link::{Link, Receiver, Sender};
pub use listener::{Listener, ListenerStats};
pub use peer::{Peer, PeerError, PeerInfo, PeerStatus};
pub use queue::Overflow;
pub use refusal::Refusal;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
