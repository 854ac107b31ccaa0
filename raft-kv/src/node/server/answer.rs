//! What a client is answered: the node's words for what became of a request, in the store's.

use raft_core::LogId;

use crate::api::{CommandReply, Header, KeyRange, LeaderHint, Query, Reply, RequestError};
use crate::node::inbox::Context;
use crate::node::replica::{NotDone, ReadFailure, WriteFailure};
use crate::store::Store;

/// How many bytes of key-values one reply carries at most, though always one key-value. The largest frame that a client takes
/// is 2 MiB; this leaves room for keys and headers.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 20;

/// What stands over every answer.
pub(crate) fn header(context: &Context<'_, Store>) -> Header {
    let view = &context.view;
    Header {
        cluster: view.cluster.0,
        node: view.node.0,
        revision: context.machine.revision(),
        applied: view.applied.0,
        term: view.term.0,
    }
}

/// The answer to a command.
pub(crate) fn written(
    result: Result<(LogId, CommandReply), WriteFailure>,
) -> Result<Reply, RequestError> {
    match result {
        Ok((_, reply)) => Ok(Reply::Command(reply)),
        Err(WriteFailure::Unknown) => Err(RequestError::Unknown),
        Err(WriteFailure::Not(why)) => Err(not_done(why)),
    }
}

/// The answer to a query, from the store as it is now.
pub(crate) fn read(
    store: &Store,
    query: &Query,
    result: Result<(), ReadFailure>,
) -> Result<Reply, RequestError> {
    match result {
        Ok(()) => Ok(Reply::Query(store.query(query, REPLY_BYTES_MAX))),
        Err(ReadFailure(why)) => Err(not_done(why)),
    }
}

/// Whether it may be about more than one key.
pub(crate) fn is_range(query: &Query) -> bool {
    !matches!(query.keys, KeyRange::Key(_))
}

pub(super) fn not_done(why: NotDone) -> RequestError {
    match why {
        NotDone::NotFormed(why) => RequestError::NotFormed(why),
        NotDone::NotLeader { leader } => RequestError::NotLeader {
            leader: leader.map(|(node, address)| LeaderHint {
                node: node.0,
                address,
            }),
        },
        NotDone::Busy => RequestError::Busy,
        NotDone::Full => RequestError::Full,
        NotDone::TooLarge => {
            RequestError::Invalid("the command is larger than the log takes".into())
        }
        NotDone::Refused(why) => RequestError::Invalid(why),
        NotDone::Failed => RequestError::ReadFailed,
        // Surely not applied, and no use in asking here again: the client goes elsewhere.
        NotDone::Stopping => RequestError::NotLeader { leader: None },
    }
}
