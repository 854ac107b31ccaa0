//! placeholder
pub mod api;
pub mod client;
mod glue;
pub mod node;
pub mod store;
pub mod wire;
