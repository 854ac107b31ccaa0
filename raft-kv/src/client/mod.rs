//! The client.
mod failure;
pub mod machine;
pub use failure::{Cause, EndpointAnswer, EndpointReport, Failure};
