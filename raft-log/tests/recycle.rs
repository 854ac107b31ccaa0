//! Purged segment files become the next segments: what is reused, what is not, and that nothing of an earlier life is ever met.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::harness::{Op, Step, check_recovery, dir, options, run, variants};
use raft_log::sim_disk::{Fault, SimDisk, SimFile, SimLock};
use raft_log::{Batch, FileHandle, Files, Log, Record, Recovery, Space, WriteError};

fn open<F: Files>(files: &F) -> (Log<F>, Recovery) {
    Log::open_with(files.clone(), &dir(), options()).unwrap()
}

fn append<F: Files>(log: &mut Log<F>, bytes: usize) -> Result<(), WriteError> {
    let index = log.last_index() + 1;
    let payload = vec![index as u8; bytes];
    log.commit(Batch::new().append(Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    }))
}

/// Fills so many segments, each with two records of 1500 bytes.
fn fill<F: Files>(log: &mut Log<F>, segments: u64) {
    let until = log.counters().rotations + segments;
    while log.counters().rotations < until {
        append(log, 1500).unwrap();
    }
}

fn segment(number: u64) -> PathBuf {
    dir().join(format!("{number:020}.seg"))
}

fn bytes_of(disk: &SimDisk, number: u64) -> Vec<u8> {
    let mut all = Vec::new();
    disk.fork()
        .rot(&segment(number), |bytes| all.clone_from(bytes));
    all
}

fn numbers(disk: &SimDisk) -> Vec<u64> {
    let name = |file: PathBuf| file.file_stem().unwrap().to_string_lossy().parse().ok();
    disk.files().into_iter().filter_map(name).collect()
}

/// The file keeps its old bytes behind the new header and the zeros that follow it, says that it is recycled, and costs four
/// operations: name, header, sync, directory.
#[test]
fn a_purged_file_becomes_the_next_segment() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    fill(&mut log, 2);
    assert_eq!(numbers(&disk), [1, 2, 3, 4]);
    log.purge(log.last_index() - 1).unwrap();
    assert_eq!(numbers(&disk), [1, 2, 3, 4], "two spare files");
    let old = bytes_of(&disk, 1);
    let before = disk.operations();
    fill(&mut log, 1);
    // Two batches, or one and what was in segment 3 already; a checkpoint and the superblock; and the recycling.
    assert!(disk.operations() - before <= 2 * 2 + 4 + 4);
    assert_eq!(numbers(&disk), [2, 3, 4, 5]);
    let new = bytes_of(&disk, 5);
    assert_eq!((old[44], new[44]), (0, 1));
    assert!(
        new[512..].iter().all(|&byte| byte == 0),
        "one page of zeros"
    );
    fill(&mut log, 20);
    log.purge(log.last_index()).unwrap();
    assert!(numbers(&disk).len() <= 4, "in use, ready, two spare");
    let (first, last) = (log.first_index(), log.last_index());
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.first_index, recovery.last_index), (first, last));
    drop(log);
}

/// Larger segments: the bytes behind the first page stay, for clearing them would double what is written.
#[test]
fn old_bytes_stay_in_the_file() {
    let disk = SimDisk::new();
    let large = raft_log::Options {
        segment_bytes: 16384,
        ..options()
    };
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), large).unwrap();
    fill(&mut log, 2);
    let old = bytes_of(&disk, 1);
    log.purge(log.last_index() - 1).unwrap();
    fill(&mut log, 1);
    let new = bytes_of(&disk, 5);
    assert!(new[512..4096].iter().all(|&byte| byte == 0));
    assert_eq!(new[4096..], old[4096..]);
    fill(&mut log, 1);
    let records = log.reader().read(log.first_index(), usize::MAX).unwrap();
    assert!(
        records
            .iter()
            .all(|record| record.payload == vec![record.index as u8; 1500])
    );
}

/// F-L7, F-L9, F-L13: a vote, then appends and purges until its segment is another; crashes at every operation, with both ways to
/// reopen between.
#[test]
fn a_crash_while_files_are_recycled() {
    let append = |bytes| {
        Step::Commit(vec![Op::Append {
            bytes,
            new_term: false,
        }])
    };
    let mut steps = vec![Step::Commit(vec![Op::Metadata(7)])];
    for round in 0..4 {
        steps.extend([append(5500), append(5500), append(100), Step::Purge(8)]);
        steps.extend([Step::Settle, Step::Drop, Step::Reopen].get(round).cloned());
    }
    steps.extend([append(15_000), Step::Purge(8), append(1500)]);
    // Three pages, so that old bytes are left behind the first.
    let options = raft_log::Options {
        segment_bytes: 3 * 4096,
        ..options()
    };
    let (mut cases, mut cuts, mut stale) = (0, 0, 0);
    for operation in 1.. {
        let crashed = SimDisk::new();
        crashed.fail(operation, Fault::PowerLoss);
        let history = run(&crashed, &dir(), &options, &steps, true);
        if history.error.is_none() {
            break;
        }
        for keep in variants(crashed.pending(), 4, operation) {
            let disk = crashed.fork();
            disk.restart(keep);
            stale += u64::from(numbers(&disk).last().is_some_and(|&last| {
                let bytes = bytes_of(&disk, last);
                bytes.get(44) == Some(&1) && bytes[4096..].iter().any(|&byte| byte != 0)
            }));
            let cut = check_recovery(&disk, &dir(), &options, &history)
                .unwrap_or_else(|error| panic!("operation {operation}, {keep:?}: {error}"));
            cuts += u64::from(cut.is_some());
            cases += 1;
        }
    }
    println!("{cases} cases, {cuts} cuts, {stale} with old bytes in the newest file");
    assert!(cases > 1000 && cuts > 50 && stale > 500);
}

/// An opening keeps what an earlier process left, and writes no zeros; only so many, and only whole files of this log.
#[test]
fn an_opening_keeps_whole_files() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    fill(&mut log, 6);
    log.close().unwrap();
    let before = disk.operations();
    let (mut log, _) = open(&disk);
    // Repair, directory, the superblock twice and the boot record, and four operations for the file made ready.
    assert!(disk.operations() - before <= 12);
    let ready = bytes_of(&disk, 8);
    assert_eq!(ready[44], 1);
    assert_eq!(
        ready[24..32],
        2u64.to_le_bytes(),
        "a new life has the new boot as epoch"
    );
    log.purge(log.last_index()).unwrap();
    log.close().unwrap();
    let left = numbers(&disk);
    assert_eq!(left, [1, 2, 7, 8]);
    // What the opening after finds in the place of the two spare files.
    let put = |disk: &SimDisk, number: u64, content: &[u8]| {
        disk.create(&segment(number)).unwrap();
        disk.rot(&segment(number), |bytes| *bytes = content.to_vec());
    };
    let opened = |disk: &SimDisk| {
        drop(open(disk));
        numbers(disk)
    };
    let whole = bytes_of(&disk, 1);
    assert_eq!(opened(&disk.fork()), [1, 2, 7, 8]);
    let more = disk.fork();
    put(&more, 3, &whole);
    put(&more, 4, &whole);
    assert_eq!(opened(&more), [3, 4, 7, 8], "two, and those purged last");
    let strange: [(&str, Vec<u8>); 4] = [
        ("no header: it was never filled", vec![0; 4096]),
        ("another size", whole[..2048].to_vec()),
        ("empty", Vec::new()),
        ("another log", {
            let other = SimDisk::new();
            let foreign = raft_log::Options {
                identity: b"other".to_vec(),
                ..options()
            };
            drop(Log::open_with(other.clone(), &dir(), foreign).unwrap());
            bytes_of(&other, 1)
        }),
    ];
    for (what, content) in strange {
        let disk = disk.fork();
        put(&disk, 2, &content);
        put(&disk, 9, &whole);
        assert_eq!(opened(&disk), [1, 7, 8], "{what}; nor one above the next");
    }
}

/// F-L10: on a full disk a purge is room: its files need none.
#[test]
fn a_spare_file_needs_no_room() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    fill(&mut log, 3);
    disk.set_capacity(Some(0));
    while append(&mut log, 1500).is_ok() {}
    assert_eq!(log.space(), Space::Full);
    log.purge(log.last_index() - 1).unwrap();
    log.retry_space();
    assert_eq!(log.space(), Space::Ready);
    let before = log.last_index();
    fill(&mut log, 2);
    assert!(log.last_index() > before);
}

/// A batch that needs a segment of its own finds room where the spare files are given up.
#[test]
fn spare_files_make_room_for_a_large_batch() {
    let disk = SimDisk::new();
    let (mut log, _) = open(&disk);
    fill(&mut log, 3);
    log.purge(log.last_index()).unwrap();
    assert_eq!(numbers(&disk), [1, 2, 4, 5]);
    disk.set_capacity(Some(8192 + 4 * 4096));
    let before = log.last_index();
    assert!(matches!(
        append(&mut log, 9000),
        Err(WriteError::Full { .. })
    ));
    assert_eq!(numbers(&disk), [4, 5], "the spare files are not enough");
    assert_eq!(log.space(), Space::Ready, "the one that was ready still is");
    assert_eq!(log.last_index(), before);
    disk.set_capacity(Some(8192 + 5 * 4096));
    append(&mut log, 9000).unwrap();
    assert_eq!(numbers(&disk), [4, 5, 6], "it is the one behind, now");
    assert_eq!(bytes_of(&disk, 6)[44], 1, "and was not filled anew");
    assert_eq!(log.space(), Space::Ready);
    fill(&mut log, 1);
    assert_eq!(log.space(), Space::Full);
    let last = log.last_index();
    drop(log);
    disk.set_capacity(None);
    assert_eq!(open(&disk).1.last_index, last);
}

/// A reader that is within a segment when it is purged reads it to the end: its file is removed, not written over.
#[test]
fn a_file_that_is_read_is_not_recycled() {
    let gate = Arc::new(Gate::default());
    let files = Gated {
        disk: SimDisk::new(),
        gate: Arc::clone(&gate),
    };
    let (mut log, _) = open(&files);
    fill(&mut log, 4);
    drop(log);
    let (mut log, _) = open(&files);
    let reader = log.reader();
    gate.shut(true);
    let reading = std::thread::spawn(move || reader.read(1, 0));
    gate.wait_for_one();
    log.purge(log.last_index()).unwrap();
    // What the reader still wants is removed; segments 3 and 4 are nobody's any more.
    assert_eq!(numbers(&files.disk), [3, 4, 5, 6]);
    fill(&mut log, 4);
    gate.shut(false);
    let records = reading.join().unwrap().unwrap();
    assert_eq!(records[0].payload, vec![1; 1500]);
}

/// Lets reads on other threads than the writer's wait.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, u64)>,
    changed: Condvar,
}

impl Gate {
    fn shut(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    fn wait_for_one(&self) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |state| state.1 == 0)
                .unwrap(),
        );
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if state.0 {
            state.1 += 1;
            self.changed.notify_all();
            drop(self.changed.wait_while(state, |state| state.0).unwrap());
        }
    }
}

#[derive(Clone)]
struct Gated {
    disk: SimDisk,
    gate: Arc<Gate>,
}

struct GatedFile {
    file: SimFile,
    gate: Arc<Gate>,
}

impl Gated {
    fn wrap(&self, file: SimFile) -> GatedFile {
        GatedFile {
            file,
            gate: Arc::clone(&self.gate),
        }
    }
}

impl Files for Gated {
    type Handle = GatedFile;
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
    fn create(&self, file: &Path) -> io::Result<GatedFile> {
        Ok(self.wrap(self.disk.create(file)?))
    }
    fn open(&self, file: &Path) -> io::Result<GatedFile> {
        Ok(self.wrap(self.disk.open(file)?))
    }
    fn open_read(&self, file: &Path) -> io::Result<GatedFile> {
        Ok(self.wrap(self.disk.open_read(file)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        self.disk.remove(file)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

impl FileHandle for GatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
