//! Crashes at every operation, on the simulated disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod harness;

use std::io;
use std::path::Path;

use harness::{Op, Step, random_steps, sweep};
use raft_log::sim_disk::{SimDisk, SimFile, SimLock};
use raft_log::{FileHandle, Files};

/// Scales the sweep: random workloads, and coin-thrown variants for every crash.
const WORKLOADS: u64 = 4;
const SEEDS: u64 = 4;

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// Votes, batches of several parts, truncation, rotation, a batch larger than a segment, purge, both ways to reopen.
fn scripted() -> Vec<Step> {
    vec![
        Step::Commit(vec![Op::Metadata(1)]),
        Step::Commit(vec![append(100), append(700), append(0)]),
        Step::Commit(vec![
            Op::Metadata(2),
            Op::Truncate(2),
            Op::Append {
                bytes: 600,
                new_term: true,
            },
        ]),
        Step::Settle,
        Step::Commit(vec![append(1500), append(20)]),
        Step::Drop,
        Step::Commit(vec![append(900)]),
        Step::Commit(vec![append(900), Op::Metadata(3)]),
        Step::Purge(4),
        Step::Commit(vec![append(6000)]),
        Step::Reopen,
        Step::Commit(vec![Op::Truncate(1), append(10)]),
        Step::Purge(8),
        Step::Commit(vec![append(10)]),
    ]
}

/// F-L1, F-L2, F-L7, F-L9, F-L12, F-L13, F-L17, F-L19, F-L21; S-F12, S-L7, S-L10: what was acknowledged is there, what was
/// not is there as a whole batch or not at all, after a crash anywhere, and after a crash in the recovery of it.
#[test]
fn scripted_workload() {
    let cases = sweep(|disk| disk, &scripted(), SEEDS).unwrap();
    println!("{cases} cases");
    assert!(cases > 1000, "{cases}");
}

fn random_workloads(seeds: std::ops::Range<u64>) {
    let mut cases = 0;
    for seed in seeds {
        cases += sweep(|disk| disk, &random_steps(seed, 16), SEEDS)
            .unwrap_or_else(|error| panic!("workload {seed}: {error}"));
    }
    println!("{cases} cases");
}

#[test]
fn random_workloads_first_half() {
    random_workloads(0..WORKLOADS / 2);
}

#[test]
fn random_workloads_second_half() {
    random_workloads(WORKLOADS / 2..WORKLOADS);
}

/// Files that forget to sync something.
#[derive(Clone)]
struct Careless {
    disk: SimDisk,
    forgets: Forgets,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Forgets {
    Nothing,
    Data,
    All,
    Dir,
}

struct CarelessFile {
    file: SimFile,
    forgets: Forgets,
}

impl Files for Careless {
    type Handle = CarelessFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn lock(&self, dir: &Path) -> io::Result<Option<SimLock>> {
        self.disk.lock(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, file: &Path) -> io::Result<CarelessFile> {
        Ok(CarelessFile {
            file: self.disk.create(file)?,
            forgets: self.forgets,
        })
    }
    fn open(&self, file: &Path) -> io::Result<CarelessFile> {
        Ok(CarelessFile {
            file: self.disk.open(file)?,
            forgets: self.forgets,
        })
    }
    fn open_read(&self, file: &Path) -> io::Result<CarelessFile> {
        Ok(CarelessFile {
            file: self.disk.open_read(file)?,
            forgets: self.forgets,
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        self.disk.remove(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.forgets == Forgets::Dir {
            Ok(())
        } else {
            self.disk.sync_dir(dir)
        }
    }
}

impl FileHandle for CarelessFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.forgets == Forgets::Data {
            Ok(())
        } else {
            self.file.sync_data()
        }
    }
    fn sync_all(&self) -> io::Result<()> {
        if self.forgets == Forgets::All {
            Ok(())
        } else {
            self.file.sync_all()
        }
    }
}

/// S-L10: the sweep proves itself: it sees each kind of sync that is missing.
#[test]
fn the_sweep_sees_a_missing_sync() {
    let outcome = |forgets| sweep(|disk| Careless { disk, forgets }, &scripted()[..4], 2);
    outcome(Forgets::Nothing).unwrap();
    for forgets in [Forgets::Data, Forgets::All, Forgets::Dir] {
        let error = outcome(forgets).expect_err(&format!("not seen: {forgets:?}"));
        println!("{forgets:?}: {}", error.lines().next().unwrap());
    }
}
