//! What an operator's wish changes about the membership in force: a change, nothing, or why not.

use raft_core::{Change, Member, MemberId, Membership, NodeId, Seat, Step};

use crate::glue;

pub(super) type Planned = Result<Option<Change>, String>;

pub(super) fn add(now: &Membership, member: MemberId, address: &str, voter: bool) -> Planned {
    taken(now, member.node, address)?;
    let seat = |votes| match votes {
        true => Seat::Promotable,
        false => Seat::Learner,
    };
    let context = address.to_owned().into();
    let Some(there) = now.member(member.node) else {
        return Ok(Some(Change::of(Step::add(member, context, seat(voter)))));
    };
    let there_id = member_id(member.node, there);
    if there_id == member {
        let at = address_of(there);
        if at != address {
            return Err(format!(
                "node {} is a member already, at {at}; `member update` moves it",
                member.node
            ));
        }
        return Ok(rise(now, member, there).filter(|_| voter));
    }
    // Its disk is gone: it is another member, and gets back what it was, or was to be.
    let votes = voter || there.promote || now.is_voter(there_id);
    let again = Step::Add {
        member,
        context,
        seat: seat(votes),
        priority: there.priority,
    };
    Ok(Some(Change {
        steps: vec![Step::Remove(there_id), again],
    }))
}

pub(super) fn promote(now: &Membership, id: u64) -> Planned {
    let (member, there) = known(now, id)?;
    Ok(rise(now, member, there))
}

/// Makes one a voter that neither is nor waits to become one.
fn rise(now: &Membership, member: MemberId, there: &Member) -> Option<Change> {
    let learns = !now.is_voter(member) && !there.promote;
    learns.then(|| Change::of(Step::Seat(member, Seat::Promotable)))
}

pub(super) fn update(now: &Membership, id: u64, address: &str) -> Planned {
    let (member, there) = known(now, id)?;
    taken(now, member.node, address)?;
    let moves = address_of(there) != address;
    Ok(moves.then(|| Change::of(Step::Context(member, address.to_owned().into()))))
}

/// `answers`: whether a voter was heard of lately.
pub(super) fn remove(
    now: &Membership,
    id: u64,
    force: bool,
    answers: impl Fn(NodeId) -> bool,
) -> Planned {
    let (member, _) = known(now, id)?;
    let left: Vec<NodeId> = now
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
    let answering = left.iter().filter(|voter| answers(**voter)).count();
    if now.is_voter(member) && answering * 2 <= left.len() && !force {
        return Err(format!(
            "of the {} voters that would be left, {answering} answer now: no majority, and the cluster would decide nothing until more \
             come back; start them first, or insist with --force",
            left.len()
        ));
    }
    Ok(Some(Change::of(Step::Remove(member))))
}

fn member_id(node: NodeId, member: &Member) -> MemberId {
    let incarnation = member.incarnation;
    MemberId { node, incarnation }
}

fn known(now: &Membership, id: u64) -> Result<(MemberId, &Member), String> {
    let node = NodeId(id);
    let member = now.member(node).ok_or_else(|| {
        let members: Vec<String> = now.members().map(|(id, _)| id.node.to_string()).collect();
        format!(
            "node {id} is no member; the members are {}",
            members.join(", ")
        )
    })?;
    Ok((member_id(node, member), member))
}

fn address_of(member: &Member) -> String {
    glue::address(&member.context).unwrap_or_default()
}

/// Whether another member is said to be there already.
fn taken(now: &Membership, node: NodeId, address: &str) -> Result<(), String> {
    let there = |context| glue::address(context).as_deref() == Some(address);
    let mut others = now.members().filter(|(other, _)| other.node != node);
    match others.find(|(_, context)| there(context)) {
        None => Ok(()),
        Some((other, _)) => Err(format!("{address} is the address of node {}", other.node)),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{Incarnation, MembershipParts};

    use super::*;

    const HERE: &str = "127.0.0.1:7103";

    fn id(node: u64, incarnation: u64) -> MemberId {
        MemberId {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
        }
    }

    /// Nodes 1 and 2 vote, and 3 is as given; each has its number as incarnation, and a port by it.
    fn membership(third: Seat, priority: u8) -> Membership {
        let member = |node: u64| {
            let context = format!("127.0.0.1:{}", 7100 + node).into();
            (NodeId(node), Member::new(Incarnation(node), context))
        };
        let mut members: Vec<(NodeId, Member)> = (1..=3).map(member).collect();
        members[2].1.promote = third == Seat::Promotable;
        members[2].1.priority = priority;
        let votes = |node: &NodeId| node.0 < 3 || third == Seat::Voter;
        Membership::from_parts(MembershipParts {
            voters: (1..=3).map(NodeId).filter(votes).collect(),
            members,
            ..MembershipParts::default()
        })
        .unwrap()
    }

    #[test]
    fn a_wiped_member_gets_back_what_it_was_or_was_to_be() {
        for (was, voter, becomes) in [
            (Seat::Voter, false, Seat::Promotable),
            (Seat::Promotable, false, Seat::Promotable),
            (Seat::Learner, false, Seat::Learner),
            (Seat::Learner, true, Seat::Promotable),
        ] {
            let planned = add(&membership(was, 7), id(3, 0x3e3), HERE, voter);
            let again = Step::Add {
                member: id(3, 0x3e3),
                context: HERE.into(),
                seat: becomes,
                priority: 7,
            };
            let steps = vec![Step::Remove(id(3, 3)), again];
            assert_eq!(planned, Ok(Some(Change { steps })), "{was:?}, {voter}");
        }
    }

    #[test]
    fn what_is_so_already_is_not_changed() {
        let now = membership(Seat::Voter, 0);
        assert_eq!(add(&now, id(3, 3), HERE, true), Ok(None));
        assert_eq!(promote(&now, 3), Ok(None));
        assert_eq!(update(&now, 3, HERE), Ok(None));
        let waiting = membership(Seat::Promotable, 0);
        assert_eq!(add(&waiting, id(3, 3), HERE, true), Ok(None));
        assert_eq!(promote(&waiting, 3), Ok(None));
        let learner = membership(Seat::Learner, 0);
        assert_eq!(add(&learner, id(3, 3), HERE, false), Ok(None));
        let rises = Change::of(Step::Seat(id(3, 3), Seat::Promotable));
        assert_eq!(add(&learner, id(3, 3), HERE, true), Ok(Some(rises)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let now = membership(Seat::Voter, 0);
        let refused = |planned: Planned, why: &str| {
            let said = planned.unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        refused(add(&now, id(4, 4), HERE, true), "is the address of node 3");
        refused(update(&now, 1, HERE), "is the address of node 3");
        refused(add(&now, id(3, 3), "h:1", true), "is a member already");
        refused(promote(&now, 4), "the members are 1, 2, 3");
    }

    #[test]
    fn a_removal_that_leaves_no_majority_answering_wants_force() {
        let now = membership(Seat::Voter, 0);
        let gone = Ok(Some(Change::of(Step::Remove(id(3, 3)))));
        assert_eq!(remove(&now, 3, false, |_| true), gone);
        let one = |voter: NodeId| voter.0 == 1;
        assert!(remove(&now, 3, false, one).unwrap_err().contains("--force"));
        assert_eq!(remove(&now, 3, true, one), gone);
        // A learner is not counted, whoever answers.
        let learner = membership(Seat::Learner, 0);
        assert_eq!(remove(&learner, 3, false, one), gone);
        let alone = Membership::of_voters([(id(1, 1), "h:1".into())]).unwrap();
        assert!(remove(&alone, 1, true, |_| true).is_err());
    }
}
