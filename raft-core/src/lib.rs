//! Raft as a pure state machine: inputs in, effects out.
//!
//! This crate decides; it does nothing. It has no threads, no clocks, no sockets, no files and no randomness but a seed, and it
//! is `no_std`. Whoever embeds it, the *driver*, brings those, in whatever form suits: an async runtime, a loop with a channel, a
//! simulator. What it decides follows the Raft paper (Ongaro and Ousterhout, *In Search of an Understandable Consensus
//! Algorithm*, extended version) and Ongaro's thesis; the code cites the section at each rule.
//!
//! # Driving it
//!
//! A [`Raft`] is one node. It is made in one of three ways, so that none is mistaken for another: [`Raft::bootstrap`] founds a cluster
//! on an empty disk, [`Raft::join`] waits on an empty disk to be taken into one, [`Raft::recover`] goes on from what a disk holds.
//!
//! *Inputs* tell it what happened, at any time and in any order:
//!
//! | input | when |
//! | --- | --- |
//! | [`tick`](Raft::tick) | time has passed; how long a tick is, the driver decides (10 ms fit the defaults) |
//! | [`receive`](Raft::receive) | an envelope came from a peer |
//! | [`propose`](Raft::propose) | a client wants commands replicated; many at once cost hardly more than one |
//! | [`read`](Raft::read) | a client wants a linearizable read |
//! | [`change_membership`](Raft::change_membership), [`transfer_leadership`](Raft::transfer_leadership) | an operator wants it |
//! | [`storage_full`](Raft::storage_full) | the disk has no room for commands, or has some again |
//!
//! *Effects* tell the driver what to do: after an input, or a batch of them, take them with [`next_effect`](Raft::next_effect) until there
//! are none. An effect that needs an answer carries a number, and the *answer* names it:
//!
//! | effect | what the driver does | answer |
//! | --- | --- | --- |
//! | [`Effect::Send`] | sends it, or loses it, in any order | none |
//! | [`Effect::Persist`] | writes it, all or nothing, and syncs | [`persisted`](Raft::persisted) |
//! | [`Effect::Apply`] | applies the entries to the state machine | [`applied`](Raft::applied) |
//! | [`Effect::FetchLog`] | reads entries from the log | [`fetched`](Raft::fetched) |
//! | [`Effect::TakeSnapshot`] | writes the state machine to a file, and syncs | [`snapshot_taken`](Raft::snapshot_taken) |
//! | [`Effect::SendSnapshot`] | brings a snapshot's file to a peer, and an envelope with it | [`snapshot_sent`](Raft::snapshot_sent) |
//! | [`Effect::InstallSnapshot`] | loads a received snapshot into the state machine | [`snapshot_installed`](Raft::snapshot_installed) |
//! | [`Effect::CutLog`] | drops the front of the log, at leisure | none |
//! | [`Effect::ReadReady`], [`Effect::ReadFailed`] | answers a read from the state machine, or sends its client elsewhere | none |
//! | [`Effect::Outcome`] | tells a proposal's client what became of it | none |
//! | [`Effect::Event`] | tells a person | none |
//!
//! Whoever works synchronously answers at once, between two effects; whoever works asynchronously answers later, and goes on feeding inputs
//! meanwhile. There is no second mode, and no storage trait. An effect that a driver has no use for, such as an event, may be dropped, but
//! for those with an answer.
//!
//! # Jobs
//!
//! What has to be on the disk comes as [`PersistJob`]s, numbered in order. Each is one unit, all or nothing, written in the order of its
//! fields: term and vote ([`HardState`]), the mark of a snapshot, a cut of the log's end, entries. Neighbours may be merged into one write and one
//! sync (group commit), and more jobs may be under way than one: [`persisted`](Raft::persisted)`(n)` says that all up to `n` are durable. Until
//! then the core withholds whatever depends on them, and goes on with everything else: a slow disk delays, and endangers nothing.
//!
//! After a restart the driver reads back what the jobs left (the newest hard state, the log's runs of equal terms, the memberships in it, the
//! snapshot that was marked last) and hands it to [`Raft::recover`] as [`Recovered`]. Payloads stay on the disk until the core asks for
//! them ([`Effect::FetchLog`]).
//!
//! # Snapshots
//!
//! With [`Config::snapshots`] set the log is kept short (paper §7). The core says when to take one, marks it in the log once its file
//! is durable, says how much of the log may go, and whom to send it; files, their checksums, chunks, and resuming a transfer are the
//! driver's. A snapshot that arrives is a file and an envelope: a driver keeps the envelope until the file is whole and durable, then
//! hands it to [`receive`](Raft::receive) like any other. What follows is a [`PersistJob`] that marks it, and when that is durable
//! [`Effect::InstallSnapshot`]. A crash at any point leaves the node with the old state, or with the new one. When a job that marks a
//! snapshot is durable, all older files may go, once whoever has them open is done; at a start, all but the one marked last.
//!
//! # Changing the membership
//!
//! [`Raft::change_membership`] takes any [`Change`]: nodes in, out, up, down, to another address, one replaced by another, all in one.
//! A change of who votes goes through a joint configuration (paper §6), which whoever leads then leaves by itself. A new node starts
//! with [`Raft::join`], and is added as [`Seat::Promotable`]: a learner, until it has caught up. A removed leader leads until its removal is
//! committed, and hands over; a removed node learns it from a committed membership ([`Event::Removed`]), and is quiet from then on. One that
//! was away, a learner too, asks the members that it knows as soon as it misses a leader, and is told; until then nobody counts what it
//! says, and its pre-votes disturb no one.
//! [`Raft::transfer_leadership`] hands over the lead (thesis §3.10); [`Member::priority`] says who is preferred.
//!
//! # What the driver promises
//!
//! Five rules are the driver's:
//!
//! - **Find addresses outside the membership too.** An envelope may be for a node that is not in this node's membership: one that has
//!   just joined answers a leader that it has never heard of, and a leader speaks to former members until they know that they are.
//!   So answer on the connection that a request came by, or keep every address that was ever seen. A membership is in force when it
//!   is appended: its new addresses stand in the entries, or the snapshot, of a [`PersistJob`], and [`Event::MembershipCommitted`] comes too
//!   late for them.
//! - **Before [`Raft::recover`], raise the boot number and make it durable.** Two lives with one number could take each other's
//!   answers for their own.
//! - **The incarnation is drawn at random when a data directory is made, and stays in it.** An incarnation that can be guessed from the
//!   node's number, as in the examples, gives away the protection against wiped disks. Founders have to tell each other theirs before
//!   [`Raft::bootstrap`]; `raft-kv` has a protocol for that (`node/formation.rs`).
//! - **Hand over what waits in the inbox before you [`tick`](Raft::tick).** A process that stood still then hears its leader first.
//! - **What fails is final.** When a write or a sync fails, drop the [`Raft`] and end: nothing of it was answered, so nothing was
//!   promised. The same when the log cannot be read. An empty answer to [`Effect::FetchLog`] means that the entries were cut since,
//!   not that they could not be read.
//!
//! # What cannot be done wrong
//!
//! - **Sending before persisting.** The core withholds every message until the job that it depends on is answered as durable: a
//!   vote until the vote is, an acknowledgement until the entries are. An effect that was handed out may be carried out at once.
//! - **Taking an old write's answer for a new one.** Durability goes by job number; an index that was cut and written again waits
//!   for the newer job.
//! - **Applying what is not committed, or twice.** [`Effect::Apply`] holds only entries that are committed, and durable here, each
//!   once in a life.
//! - **Losing a proposal.** Each ends with exactly one [`Outcome`]; what is not known is called [`Outcome::Unknown`].
//! - **Reading stale data.** A read waits for a majority that answered after it came in (ReadIndex, thesis §6.4). There are no lease
//!   reads, which would trust clocks.
//! - **Counting a node that lost its disk.** A member is a node *in an incarnation* of its data directory ([`MemberId`]), and every
//!   answer names the life ([`Boot`]) of the node that asked.
//! - **Trusting a peer.** No envelope makes the core panic; one that contradicts the protocol ([`Rejected`]) changes nothing.
//!   The safety properties of Raft are asserted around every input, in release builds too: there, those that the input may have changed.
//!
//! # An example
//!
//! A cluster of one, driven synchronously: every effect is carried out on the spot.
//!
//! ```
//! use raft_core::*;
//!
//! let me = MemberId { node: NodeId(1), incarnation: Incarnation(0x5eed) };
//! let members = Membership::of_voters([(me, "127.0.0.1:7101".into())])?;
//! let identity = Identity { cluster: ClusterId([1; 16]), member: me, boot: Boot(1) };
//! let mut raft = Raft::bootstrap(Config::new(42), identity, members)?;
//! let (mut log, mut applied) = (Vec::new(), Vec::new());
//!
//! // The whole driver.
//! let mut drive = |raft: &mut Raft| {
//!     while let Some(effect) = raft.next_effect() {
//!         match effect {
//!             Effect::Persist(job) => {
//!                 log.extend(job.entries); // and an fsync
//!                 raft.persisted(job.id).expect("a job that was handed out");
//!             }
//!             Effect::FetchLog(job) => {
//!                 let wanted = |entry: &&Entry| (job.from..=job.to).contains(&entry.id.index);
//!                 raft.fetched(job.id, log.iter().filter(wanted).cloned().collect());
//!             }
//!             Effect::Apply(job) => {
//!                 let last = job.entries.last().expect("a job is never empty").id.index;
//!                 applied.extend(job.entries);
//!                 raft.applied(last).expect("entries that were handed out");
//!             }
//!             Effect::Outcome(..) | Effect::Event(_) => {}
//!             other => unreachable!("nobody reads, there are no peers, and no snapshots: {other:?}"),
//!         }
//!     }
//! };
//!
//! drive(&mut raft);
//! while raft.role() != RoleName::Leader {
//!     raft.tick(1);
//!     drive(&mut raft);
//! }
//! raft.propose(vec!["hello".into()])?;
//! drive(&mut raft);
//! assert_eq!(applied.last().expect("applied").payload, Payload::Command("hello".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/embed.rs` is a complete driver of three nodes over channels, with a log in memory, in under 120 lines; `examples/three_nodes.rs`
//! has logs that survive a crash; `examples/snapshots_and_members.rs` has snapshots, and nodes that come and go, in one thread.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod apply;
mod canonical;
mod change;
mod config;
mod departed;
mod effect;
mod election;
mod entries;
mod entry;
mod error;
mod few;
mod flush;
mod follower;
mod follower_read;
mod full;
mod invariants;
mod journal;
mod log_view;
mod membership;
mod membership_log;
mod message;
#[cfg(not(raft_mutants))]
mod mutants;
#[cfg(raft_mutants)]
pub mod mutants;
mod outbox;
mod progress;
mod promote;
mod quorum;
mod raft;
mod read_index;
mod replication;
mod rng;
mod role;
mod sizes;
mod snapshot;
mod start;
mod status;
mod step;
mod symmetry;
mod tail;
mod transfer;
mod types;

#[doc(hidden)]
pub use canonical::Numbers;
pub use change::{Change, Seat, Step};
pub use config::{Config, ConfigError, SnapshotPolicy};
pub use effect::{
    AbortReason, ApplyJob, Effect, Event, FetchId, FetchJob, Outcome, PersistJob, ProposalId,
    ProposalIds, ReadId,
};
pub use entries::{Entries, EntriesIntoIter};
pub use entry::{Entry, Payload};
pub use error::{
    AnswerError, ChangeError, ProposeError, ReadError, RecoverError, Rejected, StartError,
    TransferError,
};
pub use membership::{Member, Membership, MembershipError, MembershipParts};
pub use message::{AppendResult, Envelope, Message, RequestId, Sender};
pub use raft::Raft;
pub use role::RoleName;
pub use snapshot::Snapshot;
pub use start::Recovered;
pub use status::{PeerState, PeerStatus, Status};
#[doc(hidden)]
pub use symmetry::Exchange;
pub use types::{
    Boot, ClusterId, HardState, Identity, Incarnation, Index, JobId, LogId, MemberId, NodeId, Term,
};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
