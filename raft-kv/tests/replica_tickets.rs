//! What a replica answers to whoever waits: each ticket once, and honestly.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use crate::replica_harness::{Answer, ELECTION_TICKS, World};
use raft_core::LogId;
use raft_kv::node::replica::{Fatal, Freshness, NotDone, WriteFailure};

fn formed(nodes: u64) -> (World, u64) {
    let mut world = World::new(nodes);
    world.start_all();
    let leader = world.elect();
    world.run(3);
    (world, leader)
}

fn follower_of(world: &World, leader: u64) -> u64 {
    world
        .nodes()
        .into_iter()
        .find(|node| *node != leader)
        .unwrap()
}

#[test]
fn clusters_of_one_three_and_five_write_and_read() {
    for nodes in [1, 3, 5] {
        let (mut world, leader) = formed(nodes);
        let tickets = world.write(leader, 10);
        world.run(3);
        for (i, ticket) in tickets.iter().enumerate() {
            // The first membership, the leader's no-op, and then these; all in the leader's term.
            let term = world.replica(leader).view().term.0;
            assert_eq!(
                world.answer_of(*ticket),
                Some(&Answer::Written(LogId::new(3 + i as u64, term)))
            );
        }
        let read = world.read(leader, Freshness::Linearizable, 0);
        world.run(3);
        assert_eq!(world.answer_of(read), Some(&Answer::Read(10)));
        for node in world.nodes() {
            assert_eq!(
                world.replica(node).machine().0.len(),
                10,
                "node {node} of {nodes}"
            );
            assert_eq!(world.replica(node).open_tickets(), 0);
        }
        world.check();
    }
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let (mut world, leader) = formed(3);
    let follower = follower_of(&world, leader);
    let write = world.write(follower, 1)[0];
    let read = world.read(follower, Freshness::Linearizable, 0);
    world.settle();
    let Some(Answer::WriteFailed(WriteFailure::Not(NotDone::NotLeader {
        leader: Some((node, address)),
    }))) = world.answer_of(write)
    else {
        panic!("{:?}", world.answer_of(write));
    };
    assert_eq!(
        (node.0, address.as_str()),
        (leader, format!("host{leader}:1").as_str())
    );
    assert_eq!(world.answer_of(read), Some(&Answer::ReadFailed));
    // It answers from its own state when that will do.
    let stale = world.read(follower, Freshness::Stale, 0);
    world.settle();
    assert_eq!(world.answer_of(stale), Some(&Answer::Read(0)));
}

#[test]
fn a_read_waits_for_the_index_it_wants_and_not_for_ever() {
    let (mut world, leader) = formed(3);
    let follower = follower_of(&world, leader);
    let applied = world.replica(follower).view().applied.0;
    let soon = world.read(follower, Freshness::Stale, applied + 2);
    let never = world.read(follower, Freshness::Stale, applied + 1000);
    world.settle();
    assert_eq!(world.answer_of(soon), None);
    world.write(leader, 2);
    world.run(4);
    assert_eq!(world.answer_of(soon), Some(&Answer::Read(2)));
    assert_eq!(world.answer_of(never), None);
    world.run(2 * ELECTION_TICKS);
    assert_eq!(world.answer_of(never), Some(&Answer::ReadFailed));
    assert_eq!(world.replica(follower).open_tickets(), 0);
}

#[test]
fn a_leader_that_is_cut_off_answers_unknown_and_serves_no_read() {
    let (mut world, leader) = formed(3);
    world.isolate(leader);
    let writes = world.write(leader, 3);
    let read = world.read(leader, Freshness::Linearizable, 0);
    world.run(4);
    assert!(
        writes
            .iter()
            .all(|ticket| world.answer_of(*ticket).is_none()),
        "nothing can be known yet"
    );
    assert_eq!(world.answer_of(read), None);
    world.run(2 * ELECTION_TICKS);
    for ticket in writes {
        assert_eq!(
            world.answer_of(ticket),
            Some(&Answer::WriteFailed(WriteFailure::Unknown))
        );
    }
    assert_eq!(world.answer_of(read), Some(&Answer::ReadFailed));

    let other = world.elect();
    assert_ne!(other, leader);
    let write = world.write(other, 1)[0];
    world.run(3);
    assert!(matches!(world.answer_of(write), Some(Answer::Written(_))));
    world.heal();
    world.run(3 * ELECTION_TICKS);
    // Its tail is gone, and the new leader's stands there.
    for node in world.nodes() {
        assert_eq!(world.replica(node).machine().0.len(), 1, "node {node}");
    }
    world.check();
}

#[test]
fn a_command_that_cannot_be_applied_stops_every_node_before_it() {
    let (mut world, leader) = formed(3);
    world.write(leader, 1);
    world.settle();
    let poison = world.propose(leader, b"halt");
    let after = world.write(leader, 1)[0];
    world.run(4);
    for ticket in [poison, after] {
        assert_eq!(
            world.answer_of(ticket),
            Some(&Answer::WriteFailed(WriteFailure::Unknown))
        );
    }
    let stopped =
        |world: &World, node| matches!(world.hosts[&node].fatal, Some(Fatal::Apply { .. }));
    assert!(stopped(&world, leader));
    // Whoever leads next comes to the same command; the last one alone can commit nothing.
    world.run(6 * ELECTION_TICKS);
    assert_eq!(
        world
            .nodes()
            .into_iter()
            .filter(|node| stopped(&world, *node))
            .count(),
        2
    );
    // And again after a restart: it is not skipped.
    world.start(leader);
    world.run(6 * ELECTION_TICKS);
    assert_eq!(
        world
            .nodes()
            .into_iter()
            .filter(|node| world.is_up(*node))
            .count(),
        1,
        "of the two that were up, the one that led came to the command again"
    );
    for node in world.nodes().into_iter().filter(|node| world.is_up(*node)) {
        assert_eq!(
            world.replica(node).machine().0.len(),
            1,
            "only what came before it"
        );
    }
}

#[test]
fn a_restarted_node_applies_its_log_again_and_catches_up() {
    let (mut world, leader) = formed(3);
    let follower = follower_of(&world, leader);
    for _ in 0..10 {
        world.write(leader, 5);
        world.settle();
    }
    world.crash(follower);
    for _ in 0..30 {
        world.write(leader, 5);
        world.settle();
    }
    world.start(follower);
    world.run(6 * ELECTION_TICKS);
    assert_eq!(
        world.replica(follower).machine().0.len(),
        200,
        "far more than a leader keeps in memory here"
    );
    world.check();
}

#[test]
fn stopping_answers_everyone() {
    let (mut world, leader) = formed(3);
    world.isolate(leader);
    let writes = world.write(leader, 2);
    let read = world.read(leader, Freshness::Linearizable, 0);
    world.run(1);
    let live = world.hosts.get_mut(&leader).unwrap().live.as_mut().unwrap();
    assert_eq!(live.replica.open_tickets(), 3);
    live.replica.stop();
    let late = world.write(leader, 1)[0];
    world.settle();
    for ticket in writes {
        assert_eq!(
            world.answer_of(ticket),
            Some(&Answer::WriteFailed(WriteFailure::Unknown))
        );
    }
    assert_eq!(world.answer_of(read), Some(&Answer::ReadFailed));
    assert_eq!(
        world.answer_of(late),
        Some(&Answer::WriteFailed(WriteFailure::Not(NotDone::Stopping)))
    );
    world.check();
}
