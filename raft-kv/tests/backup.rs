//! Backups as files: what is wrong with one is found, and what was restored is what was saved.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::{Incarnation, Index, LogId, MemberId, Membership, NodeId, Snapshot};
use raft_kv::api::{Command, CommandReply, Operation};
use raft_kv::backup::{
    Backup, BackupError, Draft, DraftError, RecoverError, RestoreError, RestoreOptions, recover,
    restore,
};
use raft_kv::client::{Client, Options};
use raft_kv::node::server::Server;
use raft_kv::node::{Exit, NodeConfig};
use raft_kv::store::{Settings, Store};
use raft_kv::wire::{self, SnapshotHead};
use raft_log::SnapshotEncoder;

fn command(session: u64, sequence: u64, operation: Operation) -> Command {
    Command {
        session,
        sequence,
        first_outstanding: sequence,
        principal: Bytes::new(),
        operation,
    }
}

fn put(key: &'static str) -> Operation {
    Operation::Put {
        key: key.into(),
        value: "value".into(),
        lease: 0,
        want_previous: false,
        conditions: vec![],
    }
}

/// A store with a session, number 1, that has put two keys.
fn store() -> Store {
    let mut store = Store::new(Settings::default());
    let commands = [
        command(0, 0, Operation::RegisterSession),
        command(1, 1, put("a")),
        command(1, 2, put("b")),
    ];
    for (index, command) in (1..).zip(&commands) {
        store.apply(LogId::new(index, 1), command).unwrap();
    }
    store
}

/// A backup of [`store`].
fn bytes() -> Vec<u8> {
    let member = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(0x11),
    };
    let founding = Membership::of_voters([(member, "a:1".into())]).unwrap();
    let last = LogId::new(3, 1);
    let head = SnapshotHead {
        cluster: wire::cluster_id(&founding),
        founding: founding.clone(),
        snapshot: Snapshot {
            last,
            membership: founding,
            membership_at: LogId::new(1, 1),
        },
    };
    let mut encoder = SnapshotEncoder::new(3, 1, Vec::new()).unwrap();
    encoder
        .write_all(&wire::encode_snapshot_head(&head))
        .unwrap();
    store().write_to(&mut encoder).unwrap();
    encoder.finish().unwrap().1
}

fn options(backup: PathBuf, data_dir: PathBuf) -> RestoreOptions {
    RestoreOptions {
        backup,
        data_dir,
        id: 1,
        cluster: [(1, "127.0.0.1:7000".into())].into(),
        revision_jump: 1000,
    }
}

#[test]
fn every_byte_that_changes_and_every_byte_that_is_missing_is_found() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup.snap");
    let whole = bytes();
    std::fs::write(&file, &whole).unwrap();
    let summary = Backup::read(&file).unwrap().summary();
    assert_eq!((summary.revision, summary.keys), (2, 2));
    assert_eq!(summary.bytes, whole.len() as u64);
    assert_eq!(summary.state_hash, store().state_hash());

    let data_dir = home.path().join("data");
    let refused = |damaged: &[u8], what: &str| {
        std::fs::write(&file, damaged).unwrap();
        let error = Backup::read(&file).map(drop).expect_err(what);
        assert!(error.to_string().contains("backup.snap"), "{what}: {error}");
        let restored = restore(&options(file.clone(), data_dir.clone()));
        assert!(matches!(restored, Err(RestoreError::Backup(_))), "{what}");
        assert!(!data_dir.exists(), "{what}");
    };
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= bit;
            refused(&damaged, &format!("byte {at}"));
        }
        refused(&whole[..at], &format!("cut at {at}"));
    }
    let longer = [&whole[..], &[0]].concat();
    refused(&longer, "a byte more");
    refused(b"{\"not\": \"a backup\"}", "another file");
}

#[test]
fn a_file_that_is_not_there_or_of_a_newer_format_is_told_from_a_damaged_one() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup.snap");
    let missing = Backup::read(&file).map(drop);
    assert!(matches!(missing, Err(BackupError::Missing { .. })));
    // A snapshot of a newer format of the state: everything verifies, but for its version.
    let whole = bytes();
    let last = Backup::read(&{
        std::fs::write(&file, &whole).unwrap();
        file.clone()
    });
    let head = last.unwrap().head;
    let mut state = Vec::new();
    store().write_to(&mut state).unwrap();
    state[0] = 2;
    let mut encoder = SnapshotEncoder::new(3, 1, Vec::new()).unwrap();
    encoder
        .write_all(&wire::encode_snapshot_head(&head))
        .unwrap();
    encoder.write_all(&state).unwrap();
    std::fs::write(&file, encoder.finish().unwrap().1).unwrap();
    let newer = Backup::read(&file).map(drop);
    assert!(matches!(newer, Err(BackupError::Newer { .. })), "{newer:?}");
}

#[test]
fn a_draft_leaves_nothing_until_it_is_whole_and_replaces_nothing_unasked() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("backup.snap");
    let names = || std::fs::read_dir(home.path()).unwrap().count();
    let mut draft = Draft::create(&file, false).unwrap();
    draft.write_all(&bytes()[..100]).unwrap();
    drop(draft);
    assert_eq!(names(), 0);
    let mut draft = Draft::create(&file, false).unwrap();
    draft.write_all(&bytes()[..100]).unwrap();
    assert!(matches!(draft.finish(), Err(DraftError::Verify(_))));
    assert_eq!(names(), 0);
    let mut draft = Draft::create(&file, false).unwrap();
    draft.write_all(&bytes()).unwrap();
    draft.finish().unwrap();
    assert_eq!(names(), 1);
    let exists = Draft::create(&file, false).map(drop);
    assert!(matches!(exists, Err(DraftError::Exists(_))));
    let mut draft = Draft::create(&file, true).unwrap();
    draft.write_all(&bytes()).unwrap();
    draft.finish().unwrap();
    assert_eq!(names(), 1);
}

/// What the old cluster was asked may have been done there after the backup: here it is never done again.
#[test]
fn a_retry_from_the_old_cluster_is_answered_as_of_an_ended_session() {
    let mut store = store();
    let before = store.revision();
    store.begin_anew(Index(1003), 1000).unwrap();
    assert_eq!(store.revision(), before + 1000);
    for (index, sequence) in [(1004, 2), (1005, 3)] {
        let reply = store
            .apply(LogId::new(index, 1), &command(1, sequence, put("c")))
            .unwrap();
        assert_eq!(reply, CommandReply::SessionExpired);
    }
    assert_eq!(store.revision(), before + 1000);
    // Sessions are numbered by the log, which begins behind all numbers of the old cluster.
    let register = command(0, 0, Operation::RegisterSession);
    let registered = store.apply(LogId::new(1006, 1), &register).unwrap();
    assert_eq!(registered, CommandReply::Registered { session: 1006 });
    for (at, jump) in [(1006, 1), (2000, u64::MAX), (u64::MAX, 1), (1 << 63, 1)] {
        assert!(store.begin_anew(Index(at), jump).is_err(), "{at} {jump}");
    }
}

async fn cluster_of_one(dir: &Path) -> (Server, Client) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let cluster: BTreeMap<u64, String> = [(1, address.clone())].into();
    let config = NodeConfig::new(1, dir, cluster);
    let server = Server::start(config).await.unwrap();
    let client = Client::connect([address], Options::default()).unwrap();
    (server, client)
}

async fn stop(mut server: Server) {
    server.stop();
    assert_eq!(server.ended().await, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_cluster_becomes_a_backup_and_what_cannot_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    for dir in [&one, &two] {
        let (server, client) = cluster_of_one(dir).await;
        client.put("a", "1").await.unwrap();
        client.put("b", "2").await.unwrap();
        let held = recover(
            std::slice::from_ref(dir),
            &home.path().join("x.snap"),
            false,
        );
        assert!(matches!(held, Err(RecoverError::Inspect(_))), "{held:?}");
        // Saved while it runs, it is the same state.
        let mut stream = client.backup().await.unwrap();
        let file = dir.with_extension("snap");
        let mut draft = Draft::create(&file, false).unwrap();
        while let Some(bytes) = stream.next().await.unwrap() {
            draft.write_all(&bytes).unwrap();
        }
        assert_eq!(draft.finish().unwrap().summary().keys, 2);
        stop(server).await;
    }
    let out = home.path().join("out.snap");
    let recovered = recover(std::slice::from_ref(&one), &out, false).unwrap();
    assert_eq!((recovered.backup.keys, recovered.backup.revision), (2, 2));
    assert_eq!(recovered.backup.last, recovered.candidates[0].last);
    let known = recovered.commit.0 + recovered.uncertain;
    assert_eq!(known, recovered.backup.last.index.0);
    assert_eq!(
        Backup::read(&out).unwrap().head.cluster,
        Backup::read(&one.with_extension("snap"))
            .unwrap()
            .head
            .cluster
    );

    // A cluster of one is a majority of itself.
    assert!(recovered.is_majority() && recovered.missing().count() == 0);

    let twice = [one.clone(), home.path().join("one/../one")];
    let twice = recover(&twice, &home.path().join("x.snap"), false);
    assert!(matches!(twice, Err(RecoverError::Twice(_))), "{twice:?}");
    let within = recover(std::slice::from_ref(&one), &one.join("x.snap"), false);
    assert!(
        matches!(within, Err(RecoverError::Within { .. })),
        "{within:?}"
    );
    let both = recover(&[one.clone(), two], &home.path().join("x.snap"), false);
    assert!(
        matches!(both, Err(RecoverError::OtherCluster { .. })),
        "{both:?}"
    );
    // A log with a hole in it is not taken for what it is without it.
    let segment = std::fs::read_dir(&one)
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with("1.seg"))
        .unwrap_or_else(|| panic!("no segment in {}", one.display()));
    let mut content = std::fs::read(&segment).unwrap();
    // Within the first record, which is long durable.
    content[600] ^= 1;
    std::fs::write(&segment, content).unwrap();
    let damaged = recover(&[one], &home.path().join("x.snap"), false);
    let Err(RecoverError::Damaged { source, .. }) = damaged else {
        panic!("{damaged:?}");
    };
    assert!(!home.path().join("x.snap").exists());
    println!("{source}");
}
