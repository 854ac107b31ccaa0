//! Whether what the clients saw can be explained.

use super::Operation;
use crate::client::machine::{Ask, End};
use crate::sim::app::Judgement;

/// An operation and its end, in a line.
pub(super) fn describe(ask: &Ask, end: &End) -> String {
    let what = match ask {
        Ask::Write(operation) => format!("{operation:?}"),
        Ask::Read { query, .. } => format!("{query:?}"),
        Ask::Status { address } => format!("status of {address}"),
    };
    match end {
        End::Answered { reply, .. } => format!("{what}: {reply:?}"),
        End::NotApplied(_) => format!("{what}: not applied"),
        End::Unknown(_) => format!("{what}: unknown"),
    }
}

pub(super) fn judge(_history: &[Operation]) -> Judgement {
    Judgement::Good
}
