//! What a client is answered: the node's words for what became of a request, in the store's.

use raft_core::LogId;

use crate::api::{
    Answer, CommandReply, Header, KeyRange, LeaderHint, Query, Question, Reply, RequestError,
};
use crate::node::inbox::Context;
use crate::node::replica::{NotDone, ReadFailure, WriteFailure};
use crate::store::Store;

/// How many bytes of key-values one reply carries at most, though always one key-value. The largest frame that a client takes
/// is 2 MiB; this leaves room for keys and headers.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 20;

/// How many leases one reply lists.
const LEASES_MAX: usize = 50_000;
/// How many claims: each has a value of up to 4 KiB.
const CLAIMS_MAX: usize = 200;
/// How many keys, and claims, of one lease: names have up to 4 KiB.
const LISTED_MAX: usize = 100;

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

/// What may be asked of the store once a read is ready.
#[derive(Clone, Debug)]
pub(crate) enum Asking {
    Query(Query),
    Question(Question),
}

impl Asking {
    /// Whether the answer may take long to make, and much memory.
    pub(crate) fn is_long(&self) -> bool {
        match self {
            Self::Query(query) => {
                let one = matches!(query.keys, KeyRange::Key(_)) && query.revision == 0;
                !one && !query.count_only
            }
            Self::Question(Question::KeepAlive { .. }) => false,
            Self::Question(_) => true,
        }
    }
}

/// The answer to a question, from the store as it is now.
pub(crate) fn read(
    context: &mut Context<'_, Store>,
    asking: &Asking,
    result: Result<(), ReadFailure>,
) -> Result<Reply, RequestError> {
    if let Err(ReadFailure(why)) = result {
        return Err(not_done(why));
    }
    match asking {
        Asking::Query(query) => Ok(Reply::Query(context.machine.query(query, REPLY_BYTES_MAX)?)),
        Asking::Question(question) => answer(context, question).map(Reply::Answer),
    }
}

fn answer(context: &mut Context<'_, Store>, question: &Question) -> Result<Answer, RequestError> {
    let term = context.view.term;
    let store = &mut *context.machine;
    Ok(match question {
        Question::Lease { lease } => Answer::Lease(store.lease(*lease, LISTED_MAX)),
        Question::Leases { behind, limit } => {
            let limit = at_most(*limit, LEASES_MAX);
            let mut leases: Vec<_> = store.leases(*behind).take(limit + 1).collect();
            let more = leases.len() > limit;
            leases.truncate(limit);
            Answer::Leases { leases, more }
        }
        Question::Lock { lock, limit } => {
            Answer::Lock(store.lock(lock, at_most(*limit, CLAIMS_MAX)))
        }
        Question::KeepAlive { lease } => Answer::KeptAlive {
            ttl_ms: store.keep_alive(*lease, term)?,
        },
    })
}

/// As many as are asked for, 0 being all, and as one reply may have.
fn at_most(limit: u64, max: usize) -> usize {
    match usize::try_from(limit) {
        Ok(0) | Err(_) => max,
        Ok(limit) => limit.min(max),
    }
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
