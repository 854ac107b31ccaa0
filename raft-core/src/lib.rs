//! placeholder
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod apply;
mod config;
mod effect;
mod election;
mod entry;
mod error;
mod flush;
mod follower;
mod invariants;
mod journal;
mod log_view;
mod membership;
mod message;
mod outbox;
mod progress;
mod quorum;
mod raft;
mod read_index;
mod replication;
mod rng;
mod role;
mod start;
mod status;
mod step;
mod types;

pub use config::{Config, ConfigError};
pub use effect::{
    ApplyJob, Effect, Event, FetchId, FetchJob, Outcome, PersistJob, ProposalId, ProposalIds,
    ReadId,
};
pub use entry::{Entry, Payload};
pub use error::{AnswerError, ProposeError, ReadError, RecoverError, Rejected, StartError};
pub use membership::{Member, Membership, MembershipError};
pub use message::{AppendResult, Envelope, Message, RequestId, Sender};
pub use raft::Raft;
pub use role::RoleName;
pub use start::Recovered;
pub use status::{PeerStatus, Status};
pub use types::{
    Boot, ClusterId, HardState, Identity, Incarnation, Index, JobId, LogId, MemberId, NodeId, Term,
};
