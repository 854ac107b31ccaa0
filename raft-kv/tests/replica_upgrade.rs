//! How the version in force is raised, on whole nodes of two releases: when, by whom, and what holds it back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use crate::replica_harness::{ELECTION_TICKS, World};
use raft_core::{Change, Seat, Step};
use raft_kv::node::StateMachine;
use raft_kv::node::replica::{Fatal, NotDone};

const LONG: u32 = 20 * ELECTION_TICKS;

/// Three nodes, whose releases follow these versions.
fn three(follows: [u16; 3]) -> World {
    let mut world = World::new(3);
    world.follows = (1..).zip(follows).collect();
    world.start_all();
    world.elect();
    world.run(LONG);
    world
}

fn leader(world: &mut World) -> u64 {
    for _ in 0..LONG {
        if let Some(leader) = world.leader() {
            return leader;
        }
        world.run(1);
    }
    panic!("nobody leads");
}

/// The power of a node goes, and it starts again with a release that follows this version.
fn restart(world: &mut World, node: u64, follows: u16) {
    world.crash(node);
    world.follows.insert(node, follows);
    world.start(node);
    world.run(LONG);
}

fn versions(world: &World) -> Vec<u16> {
    let nodes = world.nodes().into_iter().filter(|node| world.is_up(*node));
    nodes
        .map(|node| world.replica(node).machine().version())
        .collect()
}

fn lead_with(world: &mut World, node: u64) {
    for _ in 0..10 {
        let now = leader(world);
        if now == node {
            return;
        }
        let to = Some(raft_core::NodeId(node));
        let _ = world.replica_mut(now).transfer_leadership(to);
        world.run(LONG);
    }
    panic!("node {node} does not come to lead");
}

#[test]
fn a_new_cluster_is_raised_to_what_all_its_founders_follow() {
    assert_eq!(versions(&three([1, 1, 1])), [1, 1, 1]);
    assert_eq!(versions(&three([2, 2, 2])), [2, 2, 2]);
    assert_eq!(versions(&three([3, 2, 3])), [2, 2, 2]);
}

#[test]
fn one_that_cannot_follow_holds_the_version_back_and_is_named() {
    let mut world = three([2, 2, 1]);
    lead_with(&mut world, 1);
    world.run(LONG);
    assert_eq!(versions(&world), [1, 1, 1]);
    let why = world.replica(1).holds_version_back().unwrap();
    assert_eq!(
        why,
        "node 3 runs release 1.0, which follows up to version 1"
    );
    restart(&mut world, 3, 2);
    assert_eq!(versions(&world), [2, 2, 2]);
    assert_eq!(world.replica(1).holds_version_back(), None);
    let leader = leader(&mut world);
    world.write(leader, 3);
    world.run(LONG);
    world.check();
}

/// It may come back with another release than it was heard with.
#[test]
fn one_that_does_not_answer_holds_the_version_back() {
    let mut world = three([1, 2, 2]);
    lead_with(&mut world, 2);
    world.crash(3);
    world.run(LONG);
    restart(&mut world, 1, 2);
    assert_eq!(versions(&world), [1, 1]);
    let leader = leader(&mut world);
    let why = world.replica(leader).holds_version_back();
    assert_eq!(why.as_deref(), Some("node 3 does not answer"));
    world.start(3);
    world.run(LONG);
    assert_eq!(versions(&world), [2, 2, 2]);
}

/// It was heard with the newer release, and is started with the older one again after the raise.
#[test]
fn one_that_goes_back_stops_before_the_entry_and_comes_back_with_the_newer_release() {
    let mut world = three([2, 2, 2]);
    let leader = leader(&mut world);
    let other = world.nodes().into_iter().find(|node| *node != leader);
    let other = other.unwrap();
    restart(&mut world, other, 1);
    assert!(!world.is_up(other), "it goes on");
    let fatal = world.hosts[&other].fatal.as_ref();
    assert!(matches!(fatal, Some(Fatal::Apply { .. })), "{fatal:?}");
    restart(&mut world, other, 2);
    world.write(leader, 3);
    world.run(LONG);
    assert_eq!(versions(&world), [2, 2, 2]);
    world.check();
}

#[test]
fn one_that_cannot_follow_what_is_in_force_is_not_added() {
    let mut world = three([2, 2, 2]);
    world.follows.insert(4, 1);
    let joiner = world.join(4);
    let leader = leader(&mut world);
    let replica = world.replica_mut(leader);
    let seen = replica.status().unwrap().membership_at;
    let add = Change::of(Step::add(joiner, "host4:1".into(), Seat::Promotable));
    let refused = replica.change_membership(add.clone(), seen);
    let Err(NotDone::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("2 is in force; start 2.0"), "{why}");
    // With another release, it is.
    world.crash(4);
    world.follows.insert(4, 2);
    world.start(4);
    let newer = world.replica(4).identity();
    let release = world.replica(4).release().clone();
    let replica = world.replica_mut(leader);
    replica.hear_release(newer.member, newer.boot, release);
    let add = Change::of(Step::add(newer.member, "host4:1".into(), Seat::Promotable));
    replica.change_membership(add, seen).unwrap();
    world.run(LONG);
    assert_eq!(versions(&world), [2, 2, 2, 2]);
    world.check();
}

/// Whoever leads when the last one is new raises it, though an older one led before; and an older leader never does.
#[test]
fn the_leader_that_follows_it_raises_the_version() {
    let mut world = three([1, 1, 1]);
    for node in 1..=3 {
        lead_with(&mut world, node);
        assert_eq!(versions(&world), [1, 1, 1], "before node {node}");
        restart(&mut world, node, 2);
    }
    assert_eq!(versions(&world), [2, 2, 2]);
    world.check();
}
