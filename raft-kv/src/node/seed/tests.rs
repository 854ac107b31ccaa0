//! A power loss at every operation of a restoration and of the founding that follows it; and founders with different seeds.

use std::path::Path;

use bytes::Bytes;
use raft_core::{
    ClusterId, Config, Incarnation, LogId, MemberId, Membership, NodeId, RoleName, Snapshot,
};
use raft_log::sim_disk::{Keep, SimDisk};
use raft_log::writer::Mark;
use raft_log::{Batch, Log, Options, Reader, peek_identity_with};

use super::super::formation::{Formation, Founders, Verdict};
use super::super::replica::{Action, Origin, Replica, ReplicaConfig, SnapshotAction, Start};
use super::super::snapshot::shelf::Shelf;
use super::super::snapshot::worker::{Task, Worker};
use super::*;
use crate::api::{Command, KeyRange, Operation, Query};
use crate::backup::{Backup, restore_with};
use crate::glue;
use crate::store::{Settings, Store};
use crate::wire::SnapshotFile;

const JUMP: u64 = 1000;

fn dir() -> &'static Path {
    Path::new("data")
}

fn founders() -> Founders {
    [(NodeId(1), "a:1".to_owned())].into()
}

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        record_bytes_max: 1024,
        background: false,
        ..Options::default()
    }
}

fn put(session: u64, sequence: u64, key: &'static str) -> Command {
    Command {
        session,
        sequence,
        first_outstanding: sequence,
        principal: Bytes::new(),
        operation: Operation::Put {
            key: key.into(),
            value: "v".into(),
            lease: 0,
            want_previous: false,
            conditions: vec![],
        },
    }
}

/// A backup with a session and two keys, as it was read.
fn backup() -> Backup {
    let mut store = Store::new(Settings::default());
    let register = Command {
        operation: Operation::RegisterSession,
        ..put(0, 0, "")
    };
    store.apply(LogId::new(1, 1), &register).unwrap();
    store.apply(LogId::new(2, 1), &put(1, 1, "a")).unwrap();
    store.apply(LogId::new(3, 1), &put(1, 2, "b")).unwrap();
    let old = MemberId {
        node: NodeId(1),
        incarnation: Incarnation(1),
    };
    let membership = Membership::of_voters([(old, "old:1".into())]).unwrap();
    let last = LogId::new(3, 1);
    Backup {
        head: wire::SnapshotHead {
            cluster: wire::cluster_id(&membership),
            founding: membership.clone(),
            snapshot: Snapshot {
                last,
                membership,
                membership_at: LogId::new(1, 1),
            },
        },
        file: SnapshotFile {
            last,
            bytes: 600,
            checksum: 7,
        },
        store,
    }
}

fn plant_backup(disk: &SimDisk, life: u64) -> Result<Seed, String> {
    let restored = restore_with(
        disk,
        dir(),
        (1, Incarnation(life)),
        options(),
        backup(),
        &founders(),
        JUMP,
    );
    restored
        .map(|restored| restored.seed)
        .map_err(|error| error.to_string())
}

/// The node of a cluster of one, in this thread.
struct Lone {
    replica: Replica<Store, (), ()>,
    log: Log<SimDisk>,
    reader: Reader<SimDisk>,
    worker: Worker<SimDisk>,
    shelf: Shelf,
    written: usize,
}

impl Lone {
    fn start(disk: &SimDisk) -> Result<Self, DirectoryError> {
        let directory = disk::open_with(disk.clone(), dir(), 1, options(), || Incarnation(99))?;
        let mut machine = Store::new(Settings::default());
        let planted = disk::restore(disk, &directory, dir(), &mut machine)?;
        let origin = match planted {
            Some(Planted { seed, founders }) => Origin::Restore { founders, seed },
            None => Origin::Found(founders()),
        };
        let start = Start {
            member: directory.member,
            boot: directory.boot,
            origin,
            disk: directory.disk,
        };
        let config = ReplicaConfig::new(Config {
            election_timeout_ticks: 10,
            heartbeat_ticks: 3,
            ..Config::new(1)
        });
        Ok(Self {
            replica: Replica::start(config, start, machine).unwrap(),
            worker: Worker::new(directory.log.snapshots()),
            log: directory.log,
            reader: directory.reader,
            shelf: Shelf::default(),
            written: 0,
        })
    }

    /// Until it leads, and a command is applied.
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..100 {
            self.replica.tick(1);
            self.settle()?;
            if self.replica.view().role == RoleName::Leader {
                break;
            }
        }
        let command = wire::encode_command(&put(1, 2, "b"));
        self.replica.write(vec![(command, ())]);
        self.settle()?;
        assert_eq!(self.written, 1, "{:?}", self.replica.waits_for());
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        while let Some(action) = self.replica.next_action() {
            match action {
                Action::Persist(job) => self.persist(job)?,
                Action::Snapshot(SnapshotAction::Do(job)) => {
                    let answer = self.worker.run(Task::Do(job), &|| false);
                    if let Some(answer) = answer {
                        answer.reach(&mut self.replica, &mut self.shelf)?;
                    }
                }
                Action::Fetch(job) => {
                    let entries = disk::fetch(&self.reader, job)?;
                    self.replica.fetched(job.id, entries);
                }
                Action::Written { .. } => self.written += 1,
                Action::Fatal(why) => return Err(why.to_string()),
                _ => {}
            }
        }
        Ok(())
    }

    fn persist(&mut self, job: raft_core::PersistJob) -> Result<(), String> {
        let id = job.id;
        let last = job.snapshot.as_ref().map(|snapshot| snapshot.last);
        let mark = last.and_then(|last| self.shelf.take(last));
        let unit = glue::batch(self.replica.identity().cluster, job, mark);
        let mut batch = Batch::new();
        if let Some(metadata) = &unit.metadata {
            batch.metadata(metadata);
        }
        match &unit.snapshot {
            Some(Mark::Taken(finished)) => drop(batch.snapshot(finished)),
            Some(Mark::Installed(finished)) => drop(batch.install_snapshot(finished)),
            None => {}
        }
        if let Some(from) = unit.truncate_from {
            batch.truncate_from(from);
        }
        for record in &unit.records {
            batch.append(record.as_record());
        }
        self.log.commit(&batch).map_err(|error| error.to_string())?;
        self.replica.persisted(id);
        Ok(())
    }

    /// What a restored cluster has to be like, whatever happened on the way.
    fn check(&self) {
        let store = self.replica.machine();
        for key in ["a", "b"] {
            let query = Query {
                keys: KeyRange::Key(key.into()),
                limit: 1,
                keys_only: false,
                count_only: false,
                reverse: false,
                revision: 0,
            };
            assert_eq!(store.query(&query, 1 << 20).unwrap().count, 1, "{key}");
        }
        // The command that came again belongs to a session of the old cluster.
        assert_eq!(store.revision(), 2 + JUMP);
        assert_eq!(store.session_count(), 0);
        assert!(store.applied().0 > 3 + JUMP);
        assert_ne!(self.replica.identity().cluster, backup().head.cluster);
        assert_ne!(self.replica.identity().cluster, ClusterId::UNKNOWN);
    }
}

#[test]
fn a_restored_node_founds_its_cluster_whichever_operation_the_power_fails_at() {
    let disk = SimDisk::new();
    disk.record();
    let planted_seed = plant_backup(&disk, 5).unwrap();
    let planted = disk.recorded().len();
    let disk = SimDisk::new();
    disk.record();
    plant_backup(&disk, 5).unwrap();
    let mut node = Lone::start(&disk).unwrap();
    node.run().unwrap();
    node.check();
    let cluster = node.replica.identity().cluster;
    drop(node);
    let forks = disk.recorded();
    assert!(
        planted > 10 && forks.len() > planted + 10,
        "{planted} of {}",
        forks.len()
    );
    let (mut unfinished, mut empty, mut founded) = (0, 0, 0);
    for (operation, fork) in forks.iter().enumerate() {
        for keep in [Keep::Nothing, Keep::All, Keep::Some(operation as u64)] {
            let disk = fork.fork();
            disk.restart(keep);
            let at = format!("operation {operation} of {}, {keep:?}", forks.len());
            if peek_identity_with(&disk, dir()).unwrap().is_none() {
                assert!(operation < planted, "{at}");
                empty += 1;
                // As if nothing had been: it can be done again.
                let again = plant_backup(&disk, 6).unwrap();
                assert_eq!(again, planted_seed, "{at}");
            }
            let mut node = match Lone::start(&disk) {
                Ok(node) => node,
                Err(error @ DirectoryError::Unfinished { .. }) => {
                    assert!(operation < planted, "{at}: {error}");
                    assert!(error.to_string().contains("remove it"));
                    unfinished += 1;
                    continue;
                }
                Err(error) => panic!("{at}: {error}"),
            };
            node.run().unwrap_or_else(|why| panic!("{at}: {why}"));
            node.check();
            if node.replica.identity().member.incarnation == Incarnation(5) {
                assert_eq!(node.replica.identity().cluster, cluster, "{at}");
            }
            founded += 1;
            drop(node);
            // And once more, from what it left.
            let mut node = Lone::start(&disk).unwrap();
            assert!(
                disk.files().iter().all(|file| !file.ends_with(NAME)),
                "{at}"
            );
            node.run().unwrap();
            node.check();
        }
    }
    println!(
        "{} operations, {planted} of them of the restoration: {empty} times nothing was there, {unfinished} times it was refused, \
         {founded} times the cluster was founded",
        forks.len()
    );
    assert!(unfinished > 0 && empty > 0 && founded > 30);
}

#[test]
fn a_directory_that_holds_anything_is_not_restored_into() {
    let disk = SimDisk::new();
    plant_backup(&disk, 5).unwrap();
    let refused = plant_backup(&disk, 6).unwrap_err();
    assert!(refused.contains("is not empty"), "{refused}");
}

/// Two founders, of which the second has another seed, or none: neither founds, and each says what differs.
#[test]
fn founders_with_different_seeds_found_nothing() {
    let seed = |checksum, at| Seed {
        source: SnapshotFile {
            last: LogId::new(10, 2),
            bytes: 600,
            checksum,
        },
        file: SnapshotFile {
            last: LogId::new(at, 1),
            bytes: 600,
            checksum: checksum + 1,
        },
    };
    let ours = seed(1, 100);
    let other_file = Seed {
        file: SnapshotFile {
            checksum: 77,
            ..ours.file
        },
        ..ours
    };
    let cases = [
        (Some(ours), None),
        (
            None,
            Some("this node was restored from a backup, and that one was not"),
        ),
        (
            Some(seed(9, 100)),
            Some("it was restored from another backup: up to 10@2"),
        ),
        (
            Some(seed(1, 200)),
            Some("it was restored with another --revision-jump"),
        ),
        (
            Some(other_file),
            Some("by another version of this software"),
        ),
    ];
    for (theirs, said) in cases {
        let list: Founders = [(NodeId(1), "a:1".into()), (NodeId(2), "b:1".into())].into();
        let member = |node| MemberId {
            node: NodeId(node),
            incarnation: Incarnation(node),
        };
        let mut one = Formation::new(member(1), list.clone(), Some(ours), 1).unwrap();
        let mut two = Formation::new(member(2), list, theirs, 1).unwrap();
        for _ in 0..4 {
            for (from, to) in [(0, 1), (1, 0)] {
                let [a, b] = [&mut one, &mut two];
                let (from, to) = if from < to { (a, b) } else { (b, a) };
                from.tick(1);
                if let Some(hello) = from.next_hello() {
                    to.on_hello(hello);
                }
            }
        }
        match said {
            None => {
                assert!(matches!(one.verdict(), Verdict::Found(_)));
                assert_eq!(one.verdict(), two.verdict());
            }
            Some(said) => {
                assert_eq!(
                    (one.verdict(), two.verdict()),
                    (Verdict::Wait, Verdict::Wait)
                );
                let why = one.waits_for();
                assert!(
                    why.contains("node 2 is not to found the same cluster"),
                    "{why}"
                );
                assert!(why.contains(said), "{why}");
            }
        }
    }
}
