//! How a cluster comes about, and how it does not: new directories, wiped ones, lists that differ, nodes that come late.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use crate::replica_harness::{Answer, ELECTION_TICKS, World, founders};
use raft_core::{Incarnation, MemberId, NodeId};
use raft_kv::node::formation::{FormationError, FormationMessage, Hello, check_founders};
use raft_kv::node::replica::{Fatal, NotDone, Notice, WriteFailure};

/// Every order of these.
fn orders(nodes: &[u64]) -> Vec<Vec<u64>> {
    if nodes.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (i, &first) in nodes.iter().enumerate() {
        let rest: Vec<u64> = nodes
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .map(|(_, node)| *node)
            .collect();
        all.extend(
            orders(&rest)
                .into_iter()
                .map(|order| [vec![first], order].concat()),
        );
    }
    all
}

fn waits_for(world: &World, node: u64) -> Option<String> {
    world.replica(node).waits_for()
}

#[test]
fn a_cluster_forms_in_whatever_order_its_nodes_start() {
    for order in orders(&[1, 2, 3]) {
        for pause in [0, 1, 7] {
            let mut world = World::new(3);
            for (i, &node) in order.iter().enumerate() {
                world.start(node);
                world.run(pause);
                if i < 2 {
                    world.settle();
                    let said = waits_for(&world, node).expect("it cannot be formed yet");
                    let missing: Vec<u64> = order[i + 1..].to_vec();
                    assert!(
                        missing.iter().all(|node| said.contains(&node.to_string())),
                        "{said}: {missing:?}"
                    );
                }
            }
            world.run(4);
            let clusters: Vec<_> = world
                .nodes()
                .iter()
                .map(|node| world.replica(*node).identity().cluster)
                .collect();
            assert!(
                clusters.iter().all(|cluster| *cluster == clusters[0]),
                "{clusters:?}"
            );
            assert!(
                world
                    .nodes()
                    .iter()
                    .all(|node| waits_for(&world, *node).is_none())
            );
            world.elect();
        }
    }
}

#[test]
fn requests_before_the_cluster_is_formed_hear_whom_it_waits_for() {
    let mut world = World::new(3);
    world.start(1);
    let write = world.write(1, 1)[0];
    world.settle();
    let Some(Answer::WriteFailed(WriteFailure::Not(NotDone::NotFormed(why)))) =
        world.answer_of(write)
    else {
        panic!("{:?}", world.answer_of(write));
    };
    assert_eq!(why, "waiting for nodes 2, 3 to form the cluster");
}

#[test]
fn a_crash_at_any_moment_of_the_forming_leaves_one_cluster() {
    for victim in 1..=3 {
        for at in 0..12 {
            let mut world = World::new(3);
            world.start_all();
            for step in 0..12 {
                if step == at {
                    world.crash(victim);
                    world.start(victim);
                }
                world.run(1);
            }
            world.elect();
            world.run(3 * ELECTION_TICKS);
            let clusters: Vec<_> = world
                .nodes()
                .iter()
                .map(|node| world.replica(*node).identity().cluster)
                .collect();
            assert!(
                clusters.iter().all(|cluster| *cluster == clusters[0]),
                "{clusters:?}"
            );
        }
    }
}

#[test]
fn a_node_wiped_before_anything_was_formed_is_just_a_new_one() {
    let mut world = World::new(3);
    world.start(1);
    world.start(2);
    world.run(5);
    world.wipe(2);
    world.start(2);
    world.run(5);
    world.start(3);
    world.elect();
    assert_eq!(
        world.replica(2).identity().member.incarnation,
        Incarnation(2002)
    );
    let members = world.replica(1).status().unwrap().membership;
    assert_eq!(
        members.member(NodeId(2)).unwrap().incarnation,
        Incarnation(2002)
    );
}

#[test]
fn lists_that_differ_form_nothing_and_are_named() {
    let mut world = World::new(3);
    let host = world.hosts.get_mut(&2).unwrap();
    host.founders.insert(NodeId(3), "elsewhere:9".into());
    world.start_all();
    world.run(10);
    let here = waits_for(&world, 1).unwrap();
    assert!(
        here.contains(
            "node 2 is not to found the same cluster: it was started with another --cluster"
        ),
        "{here}"
    );
    assert!(
        here.contains("node 3 is at host3:1 here and at elsewhere:9 there"),
        "{here}"
    );
    let there = waits_for(&world, 2).unwrap();
    assert!(there.contains("another --cluster"), "{there}");
    assert!(world.leader().is_none());

    // Corrected, the cluster forms.
    world.crash(2);
    world.hosts.get_mut(&2).unwrap().founders = founders(1..=3);
    world.start(2);
    world.elect();
}

#[test]
fn nodes_with_swapped_lists_form_nothing() {
    let mut world = World::new(3);
    let host = world.hosts.get_mut(&1).unwrap();
    host.founders = founders([1, 2]);
    world.start_all();
    world.run(10);
    assert!(
        waits_for(&world, 2)
            .unwrap()
            .contains("node 3 is listed only here")
    );
    assert!(
        waits_for(&world, 1)
            .unwrap()
            .contains("node 3 is listed only there")
    );
    assert!(world.leader().is_none());
}

/// n1 and n2 are formed and have acknowledged writes; n3 knows as much as `known_ticks` of listening told it.
fn two_of_three(known_ticks: u32) -> World {
    let mut world = World::new(3);
    world.start_all();
    // n3 hears, and says, only so much; then it stops before it has heard of any leader.
    world.run(known_ticks);
    world.crash(3);
    // The two may form the cluster only if n3 had promised; if not, it comes back as it was.
    world.run(4);
    if waits_for(&world, 1).is_some() || waits_for(&world, 2).is_some() {
        world.start(3);
        for _ in 0..5 {
            world.run(1);
            if waits_for(&world, 1).is_none() && waits_for(&world, 2).is_none() {
                break;
            }
        }
        world.crash(3);
    }
    for _ in 0..20 * ELECTION_TICKS {
        world.run(1);
        if world.leader().is_some() {
            break;
        }
    }
    let leader = world.leader().expect("two of three can elect");
    let write = world.write(leader, 1)[0];
    world.run(4);
    assert!(matches!(world.answer_of(write), Some(Answer::Written(_))));
    world
}

#[test]
fn a_wiped_node_and_one_that_heard_of_no_leader_elect_nobody() {
    for known_ticks in 0..4 {
        let mut world = two_of_three(known_ticks);
        world.wipe(2);
        world.crash(1);
        world.start(2);
        world.run(3);
        world.start(3);
        world.run(20 * ELECTION_TICKS);
        assert_eq!(world.leader(), None, "after {known_ticks} ticks");
        // n2 says why: n3 knew the cluster and told it, or n2 waits for n1, without whom nothing may be founded.
        match &world.hosts[&2].fatal {
            Some(Fatal::Formation(FormationError::OtherIncarnation { member, here, .. })) => {
                assert_eq!(
                    (member.incarnation, *here),
                    (Incarnation(2001), Incarnation(2002))
                );
            }
            Some(other) => panic!("{other}"),
            None => {
                let why = waits_for(&world, 2).unwrap();
                assert!(why.contains("waiting for node 1"), "{why}");
            }
        }
        // With n1 back, it and n3 go on; n2 is told, and nothing is lost.
        world.start(1);
        for _ in 0..20 * ELECTION_TICKS {
            world.run(1);
            if world.leader().is_some() {
                break;
            }
        }
        assert!(matches!(world.leader(), Some(1 | 3)));
        world.run(2 * ELECTION_TICKS);
        assert!(matches!(
            world.hosts[&2].fatal,
            Some(Fatal::Formation(FormationError::OtherIncarnation { .. }))
        ));
        assert_eq!(world.replica(1).machine().0.len(), 1);
        assert_eq!(world.replica(3).machine().0.len(), 1);
        world.check();
    }
}

#[test]
fn a_wiped_node_is_told_what_to_do_by_a_formed_one() {
    let mut world = two_of_three(2);
    world.wipe(2);
    world.start(2);
    world.run(5);
    let fatal = world.hosts[&2]
        .fatal
        .as_ref()
        .expect("it must not start")
        .to_string();
    assert!(
        fatal.contains("node 2 stands in cluster") && fatal.contains("incarnation 7d1"),
        "{fatal}"
    );
    assert!(fatal.contains("Put that directory back"), "{fatal}");
}

#[test]
fn a_late_founder_takes_over_what_the_others_formed_with_its_promise() {
    let mut world = World::new(3);
    world.start_all();
    // n3 hears nothing from now on, but what it has promised reaches the others.
    world.cut.extend([(1, 3), (2, 3)]);
    world.run(5);
    assert!(waits_for(&world, 3).is_some());
    world.heal();
    world.run(5);
    assert!(waits_for(&world, 3).is_none());
    world.elect();
    let members = world.replica(3).status().unwrap().membership;
    assert!(members.contains(world.replica(3).identity().member));
}

#[test]
fn a_wiped_node_that_asks_and_asks_is_reported_once_by_each() {
    let mut world = two_of_three(2);
    world.start(3);
    world.run(5);
    for incarnation in [2002, 2003] {
        world.wipe(2);
        // It hears nobody, so that it goes on asking.
        world.cut.extend([(1, 2), (3, 2)]);
        world.notices.clear();
        world.start(2);
        world.run(10 * ELECTION_TICKS);
        for node in [1, 3] {
            let told = |(at, notice): &&(u64, Notice)| {
                matches!(notice, Notice::Wiped { now, .. }
                    if *at == node && now.incarnation == Incarnation(incarnation))
            };
            assert_eq!(world.notices.iter().filter(told).count(), 1, "node {node}");
        }
    }
}

#[test]
fn a_member_that_is_heard_of_is_not_called_wiped_for_what_was_started_in_its_name() {
    let mut world = World::new(3);
    world.start_all();
    world.run(5);
    world.elect();
    let stray = MemberId {
        node: NodeId(2),
        incarnation: Incarnation(77),
    };
    let hello = Hello {
        from: stray,
        founders: founders(1..=3),
        known: [(NodeId(2), stray.incarnation)].into(),
        seed: None,
    };
    let asks = |world: &mut World| {
        let message = FormationMessage::Hello(hello.clone());
        world.replica_mut(1).receive_formation(stray, message);
    };
    let named = |world: &World| world.replica(1).wiped().collect::<Vec<_>>();
    asks(&mut world);
    assert_eq!(named(&world), [stray]);
    world.run(ELECTION_TICKS);
    assert_eq!(named(&world), []);
    // If the member is silent, whoever asks in its name is named again.
    world.isolate(2);
    world.run(ELECTION_TICKS);
    asks(&mut world);
    world.run(ELECTION_TICKS);
    assert_eq!(named(&world), [stray]);
}

#[test]
fn a_list_with_two_nodes_at_one_address_founds_nothing() {
    let list = |second: &str| {
        let addresses = [(1, "a:1"), (2, second)];
        addresses
            .map(|(node, address)| (NodeId(node), address.to_owned()))
            .into()
    };
    assert!(check_founders(&list("b:1"), NodeId(1)).is_ok());
    let same = check_founders(&list("a:1"), NodeId(1)).unwrap_err();
    assert!(
        same.to_string()
            .contains("nodes 1 and 2 at the same address a:1"),
        "{same}"
    );
}
