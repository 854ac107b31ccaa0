//! The tokio client against a fake cluster: real sockets, scripted faults.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::fake::{FakeCluster, Fault};
use super::*;
use crate::api::KeyRange;
use crate::store::Store;

fn options(timeout_ms: u64) -> Options {
    Options {
        timeout: Duration::from_millis(timeout_ms),
        seed: Some(1),
        ..Options::default()
    }
}

fn client(cluster: &FakeCluster, timeout_ms: u64) -> Client {
    Client::connect(cluster.endpoints(), options(timeout_ms)).unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_and_conditions_are_judged() {
    let cluster = FakeCluster::start(3).await;
    let client = client(&cluster, 5000);
    let first = client.put("a", "1").if_absent().await.unwrap();
    assert_eq!(first.revision, 1);
    let WriteError::ConditionFailed {
        current: Some(current),
        revision: 1,
    } = client.put("a", "2").if_absent().await.unwrap_err()
    else {
        panic!("the condition held");
    };
    assert_eq!(current.value, "1");
    let second = client
        .compare_and_swap("a", "1", "2")
        .previous()
        .await
        .unwrap();
    assert_eq!(
        (second.revision, second.previous.unwrap().value),
        (2, Bytes::from("1"))
    );

    let found = client.get("a").await.unwrap();
    assert_eq!(
        (found.kv.unwrap().value, found.header.revision),
        (Bytes::from("2"), 2)
    );
    assert_eq!(client.get("b").await.unwrap().kv, None);
    client.put("b", "3").await.unwrap();
    let listed = client
        .range(KeyRange::Prefix(Bytes::new()))
        .reverse()
        .limit(1)
        .await
        .unwrap();
    assert_eq!(
        (listed.kvs[0].key.clone(), listed.count, listed.more),
        (Bytes::from("b"), 2, true)
    );
    let deleted = client
        .delete(KeyRange::Prefix(Bytes::new()))
        .previous()
        .await
        .unwrap();
    assert_eq!((deleted.count, deleted.previous.len()), (2, 2));
    client.close().await;
    assert_eq!(cluster.store(Store::session_count), 0);
}

#[tokio::test]
async fn one_follower_is_enough_to_find_the_leader() {
    let cluster = FakeCluster::start(3).await;
    cluster.lead(Some(3));
    let client = Client::connect([cluster.endpoints()[1].clone()], options(5000)).unwrap();
    client.put("a", "1").await.unwrap();
    assert_eq!(client.leader().await.unwrap().node, 3);
}

#[tokio::test]
async fn every_way_to_lose_an_answer_ends_in_one_application() {
    let mut cluster = FakeCluster::start(3).await;
    let client = client(&cluster, 10_000);
    client.put("n", "0").await.unwrap();
    let faults = [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::AppliedButUnknown,
        Fault::LostAndUnknown,
        Fault::Busy,
        Fault::EndSession,
    ];
    for (number, fault) in (1..).zip(faults) {
        cluster.fault([fault]);
        let written = client.put("n", number.to_string()).await.unwrap();
        assert_eq!(written.revision, number + 1, "{fault:?}");
    }
    cluster.fault([Fault::NoAnswer]);
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.put("n", "last").await }
    });
    let all_asked = async {
        while cluster.store(Store::revision) < 8 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    all_asked.await;
    cluster.lead(Some(2));
    cluster.stop(1);
    assert_eq!(
        late.await.unwrap().unwrap().revision,
        8,
        "it was applied again by the next leader"
    );
    cluster.restart(1).await;
    cluster.lead(Some(1));
    assert_eq!(client.put("n", "end").await.unwrap().revision, 9);
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown_and_without_a_leader_not_applied() {
    let cluster = FakeCluster::start(2).await;
    let client = client(&cluster, 300);
    client.put("a", "1").await.unwrap();
    cluster.fault([Fault::NoAnswer]);
    let error = client.put("a", "2").await.unwrap_err();
    assert!(
        matches!(&error, WriteError::Unknown(failure) if failure.cause == Cause::Deadline),
        "{error}"
    );
    cluster.lead(None);
    // The old leader turns it away, which is sure.
    let error = client.put("a", "3").await.unwrap_err();
    assert!(
        matches!(&error, WriteError::NotApplied(failure) if failure.cause == Cause::Deadline),
        "{error}"
    );
    assert!(
        error.to_string().contains(&cluster.endpoints()[1]),
        "{error}"
    );
    let ReadError::Unavailable(_) = client.get("a").await.unwrap_err() else {
        panic!("refused")
    };
    assert_eq!(
        client.get("a").stale().await.unwrap().kv.unwrap().value,
        "2"
    );
}

#[tokio::test]
async fn a_session_that_ended_between_two_tries_is_an_unknown_outcome() {
    let cluster = FakeCluster::start(1).await;
    let client = client(&cluster, 5000);
    client.put("a", "1").await.unwrap();
    cluster.fault([Fault::AppliedButUnknown, Fault::EndSession]);
    let error = client.put("a", "2").await.unwrap_err();
    assert!(
        matches!(&error, WriteError::Unknown(failure) if failure.cause == Cause::SessionExpired),
        "{error}"
    );
    assert_eq!(
        client.put("a", "3").await.unwrap().revision,
        3,
        "the next one is as good as ever"
    );
}

#[tokio::test]
async fn many_requests_share_the_connections_and_all_writes_are_applied_once() {
    let cluster = FakeCluster::start(3).await;
    let client = client(&cluster, 10_000);
    let writes = (0..2000).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.put(format!("k{number}"), "v").await })
    });
    let writes: Vec<_> = writes.collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(
        cluster.store(|store| (store.revision(), store.key_count())),
        (2000, 2000)
    );
    assert!(
        cluster.connections() <= 3,
        "{} connections",
        cluster.connections()
    );
}

#[tokio::test]
async fn the_overview_names_every_member_even_when_only_one_was_given_and_one_is_down() {
    let mut cluster = FakeCluster::start(3).await;
    let endpoints = cluster.endpoints();
    cluster.stop(2);
    cluster.silence(3, true);
    let client = Client::connect([endpoints[0].clone()], options(400)).unwrap();
    let begun = Instant::now();
    let overview = client.overview().await;
    assert!(begun.elapsed() < Duration::from_millis(1500));
    let rows: Vec<_> = overview
        .members
        .iter()
        .map(|m| (m.id, m.address.clone(), m.status.is_ok()))
        .collect();
    assert_eq!(
        rows,
        [
            (Some(1), endpoints[0].clone(), true),
            (Some(2), endpoints[1].clone(), false),
            (Some(3), endpoints[2].clone(), false)
        ]
    );
    assert_eq!(overview.voters(), Some((3, 1)));
    assert_eq!(overview.members[2].status, Err(EndpointAnswer::Silent));
}

#[tokio::test]
async fn limits_are_refusals_and_not_retried() {
    let cluster = FakeCluster::start(1).await;
    let client = client(&cluster, 5000);
    client.put("a", "1").await.unwrap();
    let before = cluster.requests(1);
    let error = client.put(vec![b'k'; 5000], "v").await.unwrap_err();
    assert!(matches!(error, WriteError::Refused(_)), "{error}");
    let error = client.put("a", vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, WriteError::Refused(_)), "{error}");
    let error = client.put("a", vec![0; 5 << 20]).await.unwrap_err();
    assert!(
        matches!(error, WriteError::Refused(_)),
        "larger than a frame: {error}"
    );
    assert!(cluster.requests(1) <= before + 3);
}

#[tokio::test]
async fn a_client_that_nobody_holds_leaves_no_connection_behind() {
    let cluster = FakeCluster::start(1).await;
    let client = Client::connect(cluster.endpoints(), options(5000)).unwrap();
    client.put("a", "1").await.unwrap();
    let clone = client.clone();
    drop(client);
    clone.put("a", "2").await.unwrap();
    assert_eq!((cluster.connections(), cluster.connections_open()), (1, 1));
    drop(clone);
    let deadline = Instant::now() + Duration::from_secs(5);
    while cluster.connections_open() > 0 {
        assert!(Instant::now() < deadline, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
