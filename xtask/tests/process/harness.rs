//! Clusters for tests: on free ports, in a folder of their own, gone when the test ends, however it ends.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use xtask::cargo::Binaries;
use xtask::chaos::election_arguments;
use xtask::local::{Echo, LocalCluster, Settings, free_ports};

/// The election timeout of the servers in these tests.
pub(crate) const T: Duration = Duration::from_millis(500);
/// How long anything may take that has to happen sooner or later, on a machine busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster whose servers' last lines are shown when the test fails.
pub(crate) struct TestCluster {
    cluster: LocalCluster,
    folder: TempDir,
    /// Several clusters at a time would slow each other down until something takes too long.
    _alone: MutexGuard<'static, ()>,
}

/// Waits until no other test has processes of its own.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The binaries beside the test's own.
pub(crate) fn binaries() -> Binaries {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    Binaries::in_folder(folder).unwrap()
}

/// Those that play the next release (`raft-kv/src/release.rs`); `cargo xtask ci --only build` makes them.
pub(crate) fn next_binaries() -> Binaries {
    let folder = xtask::cargo::workspace_root().join("target/next");
    let found = Binaries::in_folder(&folder);
    found.expect("`cargo xtask ci --only build` makes the programs of the next release")
}

/// This many nodes, none of them started.
pub(crate) fn prepared(nodes: u8) -> TestCluster {
    prepared_with(nodes, election_arguments(T), alone())
}

pub(crate) fn prepared_with(
    nodes: u8,
    serve_arguments: Vec<String>,
    alone: MutexGuard<'static, ()>,
) -> TestCluster {
    let folder = tempfile::tempdir().unwrap();
    let cluster = unguarded(nodes, serve_arguments, folder.path());
    TestCluster {
        cluster,
        folder,
        _alone: alone,
    }
}

/// A second cluster beside another; the caller keeps `folder` as long as the cluster.
pub(crate) fn unguarded(nodes: u8, serve_arguments: Vec<String>, folder: &Path) -> LocalCluster {
    LocalCluster::new(Settings {
        binaries: binaries(),
        data_dir: folder.to_path_buf(),
        nodes,
        // Room for those that are added.
        ports: free_ports(usize::from(nodes).max(5)).unwrap(),
        serve_arguments,
        forwarded: true,
        echo: Echo::Off,
    })
    .unwrap()
}

/// This many nodes, with a leader that has acknowledged a write.
pub(crate) fn started(nodes: u8) -> TestCluster {
    let mut cluster = prepared(nodes);
    cluster.start_all().unwrap();
    cluster.wait_ready(PATIENCE).unwrap();
    cluster
}

impl TestCluster {
    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, key: &str, value: &str) {
        self.client()
            .with_timeout(PATIENCE)
            .run(&["put", key, value])
            .unwrap()
            .success()
            .unwrap();
    }

    pub(crate) fn get(&self, key: &str) -> String {
        let client = self.client().with_timeout(PATIENCE);
        client
            .run(&["get", key])
            .unwrap()
            .success()
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// A write and a read by way of all nodes: what "the cluster goes on" means.
    pub(crate) fn assert_works(&mut self, when: &str) {
        self.all_well().unwrap();
        self.put("works", when);
        assert_eq!(self.get("works"), when);
        self.all_well().unwrap();
    }

    pub(crate) fn leader(&self) -> u8 {
        xtask::local::wait_for("a leader", PATIENCE, || self.client().leader()).unwrap()
    }
}

impl Deref for TestCluster {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        &self.cluster
    }
}

impl DerefMut for TestCluster {
    fn deref_mut(&mut self) -> &mut LocalCluster {
        &mut self.cluster
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.cluster.journals(40));
        }
    }
}
