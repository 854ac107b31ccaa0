//! A node whose data was wiped is another member, though it has the same flags: it must not vote in the old one's name.

use std::time::Duration;

use xtask::chaos::election_arguments;
use xtask::local::wait_for;

use crate::harness::{PATIENCE, alone, prepared_with};

/// Long enough to stop a node between the forming of the cluster and its first election.
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn no_leader_arises_from_a_wiped_node_and_one_that_knows_nothing() {
    let mut cluster = prepared_with(3, election_arguments(SLOW), alone());
    cluster.start_all().unwrap();
    // n3 knows the members, and nothing else: it is stopped before there is a leader to hear of.
    let journal = cluster.node(3).unwrap().journal.clone();
    let says = |text: &str| journal.lines().iter().any(|line| line.contains(text));
    wait_for("n3 to say that the cluster is formed", PATIENCE, || {
        anyhow::ensure!(
            says("the cluster is formed"),
            "last line: {:?}",
            journal.last_line()
        );
        Ok(())
    })
    .unwrap();
    // In good order, so that what it knows is on its disk.
    cluster.node(3).unwrap().ask_to_stop().unwrap();
    assert!(cluster.node(3).unwrap().wait(PATIENCE).unwrap().success());
    assert!(!says("leader=\"n"), "n3 has heard of a leader already");

    // What n1 and n2 acknowledge is on those two only.
    let two = vec![cluster.endpoint(1), cluster.endpoint(2)];
    let client = cluster.client().with_endpoints(two).with_timeout(PATIENCE);
    client
        .run(&["put", "precious", "1"])
        .unwrap()
        .success()
        .unwrap();

    cluster.node(2).unwrap().kill().unwrap();
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    // With n1 there, and with n3 there: either tells n2 that it is not the one they know.
    for teller in [1, 3] {
        if teller == 3 {
            cluster.node(1).unwrap().kill().unwrap();
            cluster.start(3).unwrap();
        }
        cluster.start(2).unwrap();
        let status = cluster.node(2).unwrap().wait(PATIENCE).unwrap();
        let said = cluster
            .node(2)
            .unwrap()
            .journal
            .last_line()
            .unwrap_or_default();
        println!("n2, told by n{teller}: {status}: {said}");
        assert_eq!(status.code(), Some(3), "{said}");
        assert!(
            said.contains("incarnation") || said.contains("wiped") || said.contains("member add"),
            "{said}"
        );
    }
    // n3 is alone and stays a follower for several of its election timeouts.
    let alone = cluster.client_of(3).with_timeout(SLOW * 3);
    let answer = alone.run(&["get", "precious"]).unwrap();
    assert!(matches!(answer.status, Some(6 | 7)), "{answer:?}");
    assert!(alone.leader().is_err());

    cluster.start(1).unwrap();
    let pair = cluster.client().with_timeout(PATIENCE);
    assert_eq!(
        pair.run(&["get", "precious"])
            .unwrap()
            .success()
            .unwrap()
            .trim_end(),
        "1"
    );
}
