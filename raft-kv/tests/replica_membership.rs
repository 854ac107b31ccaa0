//! Changes of the membership on whole nodes: who joins, who is found again, who is removed, who takes over.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use crate::replica_harness::{ELECTION_TICKS, World};
use bytes::Bytes;
use raft_core::{Change, Incarnation, MemberId, Membership, NodeId, Seat, Step};
use raft_kv::node::formation::{FormationMessage, Formed};
use raft_kv::wire;

/// Long enough for a change, for what follows from it, and for a node that has to be found.
const LONG: u32 = 20 * ELECTION_TICKS;

/// The node that leads; unlike `World::elect`, it starts nobody.
fn leads(world: &mut World) -> u64 {
    for _ in 0..LONG {
        if let Some(leader) = world.leader() {
            return leader;
        }
        world.run(1);
    }
    panic!("nobody leads");
}

fn formed(nodes: u64) -> (World, u64) {
    let mut world = World::new(nodes);
    world.start_all();
    let leader = world.elect();
    world.write(leader, 5);
    world.run(LONG);
    (world, leader)
}

fn change(world: &mut World, step: Step) {
    let leader = leads(world);
    let replica = world.replica_mut(leader);
    let seen = replica.status().unwrap().membership_at;
    replica.change_membership(Change::of(step), seen).unwrap();
    world.settle();
}

fn take_in(world: &mut World, member: MemberId) {
    let address = format!("host{}:1", member.node).into();
    change(world, Step::add(member, address, Seat::Promotable));
}

fn seat(world: &World, node: u64) -> Option<Seat> {
    world.replica(node).status().and_then(|status| status.seat)
}

fn member(world: &World, node: u64) -> MemberId {
    world.replica(node).identity().member
}

/// Whether these have applied the same, and all of it.
fn same_state(world: &World, nodes: &[u64]) {
    world.check();
    for &node in nodes {
        let (one, other) = (world.replica(node), world.replica(nodes[0]));
        assert_eq!(one.machine(), other.machine(), "node {node}");
        assert!(!one.machine().0.is_empty());
    }
}

#[test]
fn a_node_that_joins_is_taken_in_and_promoted() {
    let (mut world, leader) = formed(3);
    let joiner = world.join(4);
    world.run(LONG);
    assert_eq!(world.sent.get(&4), None, "it knows of nobody");
    take_in(&mut world, joiner);
    world.run(LONG);
    assert_eq!(seat(&world, 4), Some(Seat::Voter));
    assert_eq!(member(&world, 4), joiner);
    let cluster = world.replica(leader).identity().cluster;
    assert_eq!(world.replica(4).identity().cluster, cluster);
    let leader = world.elect();
    world.write(leader, 5);
    world.run(LONG);
    same_state(&world, &[1, 2, 3, 4]);
}

#[test]
fn a_node_that_joins_may_be_killed_at_any_time() {
    for ticks in 0..2 * ELECTION_TICKS {
        let (mut world, _) = formed(3);
        let joiner = world.join(4);
        take_in(&mut world, joiner);
        world.run(ticks);
        world.crash(4);
        world.start(4);
        assert_eq!(member(&world, 4), joiner, "its directory stays");
        world.run(LONG);
        assert_eq!(seat(&world, 4), Some(Seat::Voter), "after {ticks} ticks");
        same_state(&world, &[1, 2, 3, 4]);
    }
}

/// As another cluster's leader would introduce it, with this member in it.
fn introduction(of: &[MemberId]) -> FormationMessage {
    let voters = of.iter().map(|&member| {
        let address = format!("elsewhere{}:1", member.node);
        (member, Bytes::from(address))
    });
    let membership = Membership::of_voters(voters).unwrap();
    FormationMessage::Formed(Formed {
        cluster: wire::cluster_id(&membership),
        founding: membership.clone(),
        current: membership,
    })
}

fn stranger() -> MemberId {
    MemberId {
        node: NodeId(9),
        incarnation: Incarnation(9000),
    }
}

#[test]
fn a_node_belongs_to_the_first_cluster_that_takes_it_in() {
    let (mut world, leader) = formed(3);
    let joiner = world.join(4);
    // One that means another life of this node says nothing to it.
    let other_life = MemberId {
        incarnation: Incarnation(joiner.incarnation.0 + 1),
        ..joiner
    };
    let message = introduction(&[stranger(), other_life]);
    world.replica_mut(4).receive_formation(stranger(), message);
    world.run(LONG);
    assert!(world.replica(4).raft().is_none(), "it waits still");

    take_in(&mut world, joiner);
    world.run(LONG);
    let before = world.replica(4).status().unwrap();
    let cluster = world.replica(leader).identity().cluster;
    let message = introduction(&[stranger(), joiner]);
    world.replica_mut(4).receive_formation(stranger(), message);
    world.settle();
    assert_eq!(world.replica(4).identity().cluster, cluster);
    let after = world.replica(4).status().unwrap();
    assert_eq!(after.membership, before.membership);
    assert!(!world.knows(4, 9), "and no address was believed");
}

#[test]
fn a_node_that_knows_nobody_any_more_is_found() {
    let (mut world, _) = formed(3);
    world.crash(3);
    for node in [4, 5] {
        let joiner = world.join(node);
        take_in(&mut world, joiner);
        world.run(LONG);
        assert_eq!(seat(&world, node), Some(Seat::Voter));
    }
    for node in [1, 2] {
        let leaves = member(&world, node);
        change(&mut world, Step::Remove(leaves));
        world.run(LONG);
        world.crash(node);
    }
    let leader = leads(&mut world);
    world.write(leader, 5);
    world.run(LONG);
    world.start(3);
    assert!(!world.knows(3, 4) && !world.knows(3, 5));
    world.run(LONG);
    assert!(world.knows(3, 4) && world.knows(3, 5));
    same_state(&world, &[3, 4, 5]);
}

#[test]
fn the_lead_is_handed_over() {
    let (mut world, leader) = formed(3);
    for to in (1..=3).filter(|&node| node != leader) {
        let leads = leads(&mut world);
        let named = world
            .replica_mut(leads)
            .transfer_leadership(Some(NodeId(to)));
        assert_eq!(named, Ok(NodeId(to)));
        world.run(1);
        assert_eq!(world.leader(), Some(to));
    }
}

/// It was told, and says nothing any more: whatever the others do then.
fn is_quiet(world: &mut World, node: u64) {
    let sent = world.sent[&node];
    let leader = leads(world);
    let term = world.replica(leader).view().term;
    world.run(LONG);
    assert_eq!(world.sent[&node], sent);
    assert_eq!(seat(world, node), None);
    assert_eq!(world.leader(), Some(leader));
    let now = world.replica(leader).view().term;
    assert_eq!(now, term, "nobody was disturbed");
}

#[test]
fn a_removed_node_goes_quiet() {
    let (mut world, leader) = formed(3);
    let leaves = (1..=3).find(|&node| node != leader).unwrap();
    let out = member(&world, leaves);
    change(&mut world, Step::Remove(out));
    world.run(LONG);
    is_quiet(&mut world, leaves);
}

#[test]
fn a_removed_leader_goes_quiet() {
    let (mut world, leader) = formed(3);
    let out = member(&world, leader);
    change(&mut world, Step::Remove(out));
    world.run(LONG);
    is_quiet(&mut world, leader);
}

/// It was away when it was removed, and all others have started anew since.
#[test]
fn a_removed_node_that_returns_late_goes_quiet() {
    let (mut world, leader) = formed(3);
    let leaves = (1..=3).find(|&node| node != leader).unwrap();
    let out = member(&world, leaves);
    world.crash(leaves);
    change(&mut world, Step::Remove(out));
    world.run(LONG);
    for node in (1..=3).filter(|&node| node != leaves) {
        world.crash(node);
        world.start(node);
    }
    leads(&mut world);
    world.run(LONG);
    world.start(leaves);
    world.run(LONG);
    is_quiet(&mut world, leaves);
}
