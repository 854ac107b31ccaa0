//! What an operator asks for: who belongs to the cluster, and who leads it.
//!
//! Guards: a node is taken in under the incarnation that it says itself, over a connection made for that, and never under one that an operator
//! could get wrong; nothing is planned but on the membership that is in force when it is proposed; and whoever would leave fewer than a
//! majority of the voters answering is told so first.

use std::time::Duration;

use raft_core::{Boot, Incarnation, MemberId, NodeId, RoleName, Status};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::answer::not_done;
use super::plan;
use super::{KvRead, KvWrite, status};
use crate::api::{Admin, AdminReply, RequestError};
use crate::glue;
use crate::node::config::check_address;
use crate::node::inbox::{Changed, Inbox, Request};
use crate::node::replica::NotDone;
use crate::release::Release;
use crate::store::Store;

/// How long a change waits for the one before it: a learner that catches up, say, and becomes a voter.
const TURN_MAX: Duration = Duration::from_secs(3);

pub(super) type KvInbox = Inbox<Store, KvWrite, KvRead>;

/// Carries it out, and says what came of it. `patience_ticks`: a member that was not heard of for so long does not answer.
pub(super) async fn carry_out(
    inbox: &KvInbox,
    patience_ticks: u64,
    admin: Admin,
) -> Result<AdminReply, RequestError> {
    match admin {
        Admin::AddMember { id, address, voter } => {
            check_address(&address).map_err(|error| RequestError::Invalid(error.to_string()))?;
            let newcomer = meet(inbox, id, &address).await?;
            let member = newcomer.0;
            change(inbox, Some(newcomer), move |status| {
                plan::add(&status.membership, member, &address, voter)
            })
            .await
        }
        Admin::PromoteMember { id } => {
            change(inbox, None, move |status| {
                plan::promote(&status.membership, id)
            })
            .await
        }
        Admin::UpdateMember { id, address } => {
            check_address(&address).map_err(|error| RequestError::Invalid(error.to_string()))?;
            change(inbox, None, move |status| {
                plan::update(&status.membership, id, &address)
            })
            .await
        }
        Admin::RemoveMember { id, force } => {
            change(inbox, None, move |status| {
                let answers = |voter| answers(status, voter, patience_ticks);
                plan::remove(&status.membership, id, force, answers)
            })
            .await
        }
        Admin::MoveLead { to } => move_lead(inbox, to).await,
    }
}

/// A node that is to be taken in: who it is, in which life, and what it runs.
type Newcomer = (MemberId, Boot, Release);

/// Asks the node at an address who it is.
async fn meet(inbox: &KvInbox, id: u64, address: &str) -> Result<Newcomer, RequestError> {
    // Only a leader need bother.
    let (answer, looked) = oneshot::channel();
    let look = Request::Inspect(Box::new(move |inspection| {
        let replica = inspection.replica;
        let leads = replica.view().role == RoleName::Leader;
        let _ = answer.send(match leads {
            true => Ok(replica.identity().cluster),
            false => Err(replica.leader()),
        });
    }));
    let cluster = match ask(inbox, look, looked).await? {
        Ok(cluster) => cluster,
        Err(leader) => return Err(not_done(NotDone::NotLeader { leader })),
    };
    let (answer, dial) = oneshot::channel();
    let dial = ask(inbox, Request::Dial(answer), dial).await?;
    let met = dial.expect_node(id).connect(address).await;
    let link = met.map_err(|error| {
        RequestError::Invalid(format!(
            "node {id} cannot be reached at {address}: {error}; start it first: raft-kv serve --id {id} --join --listen {address} --data-dir …"
        ))
    })?;
    let identity = link.hello.identity;
    let theirs = raft_core::ClusterId(identity.cluster.0);
    if identity.cluster.is_known() && theirs != cluster {
        return Err(RequestError::Invalid(format!(
            "node {id} at {address} belongs to cluster {theirs}, and this is {cluster}; give it a new data directory"
        )));
    }
    let member = MemberId {
        node: NodeId(id),
        incarnation: Incarnation(identity.incarnation),
    };
    Ok((member, Boot(identity.boot), glue::release(&link.hello)))
}

/// Has a change planned on the membership in force, and waits until it is committed.
async fn change(
    inbox: &KvInbox,
    newcomer: Option<Newcomer>,
    plan: impl Fn(&Status) -> plan::Planned + Clone + Send + 'static,
) -> Result<AdminReply, RequestError> {
    let until = Instant::now() + TURN_MAX;
    loop {
        let (answer, changed) = oneshot::channel();
        let request = Request::Change {
            plan: Box::new(plan.clone()),
            newcomer: newcomer.clone(),
            answer,
        };
        match ask(inbox, request, changed).await? {
            Changed::Done { changed, status } => {
                return Ok(AdminReply::Members {
                    changed,
                    members: status::members(&status),
                });
            }
            Changed::InFlux if Instant::now() < until => sleep(Duration::from_millis(20)).await,
            Changed::InFlux => {
                return Err(RequestError::Invalid(
                    "another change of the membership, or of the cluster version, is under way, and has not ended; see `member list` and `status`".into(),
                ));
            }
            Changed::Not(why) => return Err(not_done(why)),
            Changed::Unknown => return Err(RequestError::Unknown),
        }
    }
}

/// Whether this voter was heard of lately, or is the leader itself.
fn answers(status: &Status, voter: NodeId, patience_ticks: u64) -> bool {
    voter == status.identity.member.node
        || status.peers.iter().any(|peer| {
            let lately = |ticks| ticks <= patience_ticks;
            peer.member.node == voter && peer.silent_ticks.is_some_and(lately)
        })
}

async fn move_lead(inbox: &KvInbox, to: u64) -> Result<AdminReply, RequestError> {
    let (answer, begun) = oneshot::channel();
    let to = (to != 0).then_some(NodeId(to));
    match ask(inbox, Request::Transfer { to, answer }, begun).await? {
        Ok(NodeId(to)) => Ok(AdminReply::Moving { to }),
        Err(why) => Err(not_done(why)),
    }
}

/// Puts a question to the loop.
pub(super) async fn ask<T>(
    inbox: &KvInbox,
    request: Request<Store, KvWrite, KvRead>,
    answer: oneshot::Receiver<T>,
) -> Result<T, RequestError> {
    let stopping = || not_done(NotDone::Stopping);
    inbox.requests.send(request).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| RequestError::Unknown)
}
