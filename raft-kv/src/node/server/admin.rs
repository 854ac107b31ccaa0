//! What an operator asks for: who belongs to the cluster, and who leads it.
//!
//! Guards: a node is taken in under the incarnation that it says itself, over a connection made for that, and never under one that an operator
//! could get wrong; nothing is planned but on the membership that is in force when it is proposed; and whoever would leave fewer than a
//! majority of the voters answering is told so first.

use std::time::Duration;

use raft_core::{Change, Incarnation, MemberId, NodeId, RoleName, Seat, Status, Step};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::answer::not_done;
use super::{KvRead, KvWrite, status};
use crate::api::{Admin, AdminReply, RequestError};
use crate::glue;
use crate::node::config::check_address;
use crate::node::inbox::{Changed, Inbox, Request};
use crate::node::replica::NotDone;
use crate::store::Store;

/// How long a change waits for the one before it: a learner that catches up, say, and becomes a voter.
const TURN_MAX: Duration = Duration::from_secs(3);

type KvInbox = Inbox<Store, KvWrite, KvRead>;

/// Carries it out, and says what came of it. `patience_ticks`: a member that was not heard of for so long does not answer.
pub(super) async fn carry_out(
    inbox: &KvInbox,
    patience_ticks: u64,
    admin: Admin,
) -> Result<AdminReply, RequestError> {
    match admin {
        Admin::AddMember { id, address, voter } => {
            check_address(&address).map_err(|error| RequestError::Invalid(error.to_string()))?;
            let member = meet(inbox, id, &address).await?;
            change(inbox, move |status| add(status, member, &address, voter)).await
        }
        Admin::PromoteMember { id } => change(inbox, move |status| promote(status, id)).await,
        Admin::UpdateMember { id, address } => {
            check_address(&address).map_err(|error| RequestError::Invalid(error.to_string()))?;
            change(inbox, move |status| update(status, id, &address)).await
        }
        Admin::RemoveMember { id, force } => {
            change(inbox, move |status| {
                remove(status, id, force, patience_ticks)
            })
            .await
        }
        Admin::MoveLead { to } => move_lead(inbox, to).await,
    }
}

/// Asks the node at an address who it is.
async fn meet(inbox: &KvInbox, id: u64, address: &str) -> Result<MemberId, RequestError> {
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
    Ok(MemberId {
        node: NodeId(id),
        incarnation: Incarnation(identity.incarnation),
    })
}

type Planned = Result<Option<Change>, String>;

/// Has a change planned on the membership in force, and waits until it is committed.
async fn change(
    inbox: &KvInbox,
    plan: impl Fn(&Status) -> Planned + Clone + Send + 'static,
) -> Result<AdminReply, RequestError> {
    let until = Instant::now() + TURN_MAX;
    loop {
        let (answer, changed) = oneshot::channel();
        let request = Request::Change {
            plan: Box::new(plan.clone()),
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
                    "another change of the membership is under way, and has not ended; see `member list`".into(),
                ));
            }
            Changed::Not(why) => return Err(not_done(why)),
            Changed::Unknown => return Err(RequestError::Unknown),
        }
    }
}

fn member_of(status: &Status, id: u64) -> Option<MemberId> {
    let node = NodeId(id);
    let incarnation = status.membership.member(node)?.incarnation;
    Some(MemberId { node, incarnation })
}

fn known(status: &Status, id: u64) -> Result<MemberId, String> {
    member_of(status, id).ok_or_else(|| {
        let members = status.membership.members();
        let members: Vec<String> = members.map(|(id, _)| id.node.to_string()).collect();
        format!(
            "node {id} is no member; the members are {}",
            members.join(", ")
        )
    })
}

fn address_of(status: &Status, member: MemberId) -> String {
    let found = status.membership.member(member.node);
    found
        .and_then(|member| glue::address(&member.context))
        .unwrap_or_default()
}

/// Another member that is said to be there already.
fn taken(status: &Status, member: MemberId, address: &str) -> Result<(), String> {
    let other = status
        .membership
        .members()
        .map(|(other, _)| other)
        .find(|other| other.node != member.node && address_of(status, *other) == address);
    match other {
        None => Ok(()),
        Some(other) => Err(format!("{address} is the address of node {}", other.node)),
    }
}

fn add(status: &Status, member: MemberId, address: &str, voter: bool) -> Planned {
    taken(status, member, address)?;
    let seat = |voter| match voter {
        true => Seat::Promotable,
        false => Seat::Learner,
    };
    let step = |voter| Step::add(member, address.to_owned().into(), seat(voter));
    match member_of(status, member.node.0) {
        None => Ok(Some(Change::of(step(voter)))),
        Some(there) if there == member => {
            let at = address_of(status, member);
            if at != address {
                return Err(format!(
                    "node {} is a member already, at {at}; `member update` moves it",
                    member.node
                ));
            }
            let learns = !status.membership.is_voter(member);
            Ok((voter && learns).then(|| Change::of(Step::Seat(member, Seat::Promotable))))
        }
        // Its disk is gone: it is another member, and gets back what it was.
        Some(former) => {
            let voter = voter || status.membership.is_voter(former);
            Ok(Some(Change {
                steps: vec![Step::Remove(former), step(voter)],
            }))
        }
    }
}

fn promote(status: &Status, id: u64) -> Planned {
    let member = known(status, id)?;
    let learns = !status.membership.is_voter(member);
    Ok(learns.then(|| Change::of(Step::Seat(member, Seat::Promotable))))
}

fn update(status: &Status, id: u64, address: &str) -> Planned {
    let member = known(status, id)?;
    taken(status, member, address)?;
    let moves = address_of(status, member) != address;
    Ok(moves.then(|| Change::of(Step::Context(member, address.to_owned().into()))))
}

fn remove(status: &Status, id: u64, force: bool, patience_ticks: u64) -> Planned {
    let member = known(status, id)?;
    let left: Vec<NodeId> = status
        .membership
        .voters()
        .iter()
        .copied()
        .filter(|voter| *voter != member.node)
        .collect();
    if left.is_empty() {
        return Err(format!(
            "node {id} is the only voter; a cluster without any can decide nothing"
        ));
    }
    let answers = |voter: &NodeId| {
        *voter == status.identity.member.node
            || status.peers.iter().any(|peer| {
                let heard = peer
                    .silent_ticks
                    .is_some_and(|ticks| ticks <= patience_ticks);
                peer.member.node == *voter && heard
            })
    };
    let answering = left.iter().filter(|voter| answers(voter)).count();
    if status.membership.is_voter(member) && answering * 2 <= left.len() && !force {
        return Err(format!(
            "of the {} voters that would be left, {answering} answer now: no majority, and the cluster would decide nothing until more \
             come back; start them first, or insist with --force",
            left.len()
        ));
    }
    Ok(Some(Change::of(Step::Remove(member))))
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
async fn ask<T>(
    inbox: &KvInbox,
    request: Request<Store, KvWrite, KvRead>,
    answer: oneshot::Receiver<T>,
) -> Result<T, RequestError> {
    let stopping = || not_done(NotDone::Stopping);
    inbox.requests.send(request).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| RequestError::Unknown)
}
