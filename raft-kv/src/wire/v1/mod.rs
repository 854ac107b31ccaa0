//! Version 1 of every encoding. A change of any of them is a version 2 beside it; see `docs/wire.md`.
//!
//! The types that serde knows live here and nowhere else: those of `api` can change without a byte moving.

mod blobs;
mod command;
mod coordination;
mod envelope;
mod formation;
mod keys;
mod membership;
mod pack;
mod request;
mod response;
mod seed;
mod status;
mod transfer;

pub(super) use blobs::*;
pub(super) use command::*;
pub(super) use envelope::*;
pub(super) use formation::*;
pub(super) use membership::*;
pub(super) use request::*;
pub(super) use response::*;
pub(super) use seed::*;
pub(super) use transfer::*;

/// The first byte of all that is encoded here.
pub(crate) const VERSION: u8 = 1;
