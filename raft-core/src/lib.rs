//! placeholder
#![no_std]
extern crate alloc;
mod config;
mod effect;
mod entry;
mod error;
mod membership;
mod message;
mod role;
mod status;
mod types;
mod raft;
pub use config::*;
pub use effect::*;
pub use entry::*;
pub use error::*;
pub use membership::*;
pub use message::*;
pub use role::RoleName;
pub use raft::*;
pub use status::*;
pub use types::*;
