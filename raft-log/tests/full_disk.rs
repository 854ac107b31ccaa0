//! A real file system of a few MiB that fills up: nothing acknowledged is lost, votes still go, reads go on, and writing too once
//! there is room.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft_log::writer::{Completion, OwnedBatch, Writer, WriterOptions};
use raft_log::{Batch, Log, Options, OwnedRecord, Reader, Record, Space, WriteError};

const SEGMENT_BYTES: u64 = 256 * 1024;

/// One test after another: for a moment, a process that is started holds all locks of the one that starts it.
static ALONE: Mutex<()> = Mutex::new(());

/// A tmpfs of 2 MiB.
struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    /// `None`, with a word about it, where nobody may mount. Where checks have to be complete that is a failure.
    fn mount() -> Option<Tmpfs> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(dir.path())
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        assert!(
            mounted || std::env::var_os("CI").is_none(),
            "cannot mount a tmpfs; run this as root"
        );
        if !mounted {
            println!("skipped: cannot mount a tmpfs; run this as root");
        }
        mounted.then_some(Tmpfs { dir })
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Takes all room that is left but so many bytes.
    fn fill_up(&self, left: u64) -> PathBuf {
        let ballast = self.dir.path().join("ballast");
        let statistics = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(self.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(statistics.stdout).unwrap();
        let free: u64 = text.lines().last().unwrap().trim().parse().unwrap();
        // The thread that makes segments ready may take some of it meanwhile.
        match std::fs::write(&ballast, vec![1; free.saturating_sub(left) as usize]) {
            Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
            _ => ballast,
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
    }
}

fn options(background: bool) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        background,
        ..Options::new("full")
    }
}

fn payload(index: u64) -> Vec<u8> {
    vec![index as u8; 3000 + index as usize % 1000]
}

fn append(log: &mut Log, index: u64) -> Result<(), WriteError> {
    let payload = payload(index);
    log.commit(Batch::new().append(Record {
        index,
        term: 1,
        kind: 0,
        payload: &payload,
    }))
}

/// Reads all, and compares.
fn check(reader: &Reader, first: u64, last: u64) {
    assert_eq!((reader.first_index(), reader.last_index()), (first, last));
    let mut next = first;
    while next <= last {
        for record in reader.read(next, 1 << 16).unwrap() {
            assert_eq!((record.index, record.term), (next, 1));
            assert_eq!(record.payload, payload(next));
            next += 1;
        }
    }
}

fn check_reopened(dir: &Path, first: u64, last: u64, vote: &[u8]) {
    let (log, recovery) = Log::open(dir, options(true)).unwrap();
    assert_eq!(recovery.cut, None);
    assert_eq!(log.metadata(), Some(vote));
    check(&log.reader(), first, last);
}

/// Appends from `index` on until the log is full; the last index.
fn append_until_full(log: &mut Log, mut index: u64) -> u64 {
    loop {
        match append(log, index) {
            Ok(()) => index += 1,
            Err(WriteError::Full { .. }) => return index - 1,
            Err(error) => panic!("{error}"),
        }
        assert!(index < 2000, "2 MiB do not end");
    }
}

/// F-L10, with the thread that makes segments ready and without it.
#[test]
fn a_log_on_a_full_disk_goes_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for background in [false, true] {
        let Some(disk) = Tmpfs::mount() else { return };
        let (mut log, _) = Log::open(disk.log(), options(background)).unwrap();
        let last = append_until_full(&mut log, 1);
        assert!(last > 200, "{last}");
        assert_eq!(log.space(), Space::Full);
        check(&log.reader(), 1, last);

        // Votes, also many; what they take is a reserve. Records still find no room.
        for vote in 0..100u8 {
            log.commit(Batch::new().metadata(&[vote; 16])).unwrap();
        }
        assert!(matches!(
            append(&mut log, last + 1),
            Err(WriteError::Full { .. })
        ));
        log.close().unwrap();
        // The disk is full to the last byte, and the log opens.
        let ballast = disk.fill_up(0);
        check_reopened(&disk.log(), 1, last, &[99; 16]);

        // Whoever deletes something makes room.
        let (mut log, _) = Log::open(disk.log(), options(background)).unwrap();
        std::fs::remove_file(ballast).unwrap();
        log.commit(Batch::new().metadata(b"another vote")).unwrap();
        // So does a purge.
        log.purge(last / 2).unwrap();
        // The thread may still have to say that there was no room a moment ago.
        if matches!(append(&mut log, last + 1), Err(WriteError::Full { .. })) {
            log.retry_space();
            append(&mut log, last + 1).unwrap();
        }
        let more = append_until_full(&mut log, last + 2);
        assert!(more > last + 50, "{last} to {more}");
        let first = last / 2 + 1;
        check(&log.reader(), first, more);
        drop(log);
        check_reopened(&disk.log(), first, more, b"another vote");
        println!(
            "{last} records filled the disk, and {} more went in after a purge",
            more - last
        );
    }
}

fn unit(job: u64) -> OwnedBatch {
    OwnedBatch {
        job,
        records: vec![OwnedRecord {
            index: job,
            term: 1,
            kind: 0,
            payload: Bytes::from(payload(job)),
        }],
        ..OwnedBatch::default()
    }
}

/// Waits for the completion that `wanted` accepts; the highest job that is durable by then.
fn wait_for(told: &Receiver<Completion>, durable: &mut u64, wanted: impl Fn(&Completion) -> bool) {
    loop {
        let completion = told.recv_timeout(Duration::from_secs(60)).unwrap();
        match &completion {
            Completion::Durable(commit) => {
                assert!(commit.job > *durable);
                *durable = commit.job;
            }
            Completion::Failed { error, .. } => panic!("{error}"),
            _ => {}
        }
        if wanted(&completion) {
            return;
        }
    }
}

/// F-L10: the writer says that there is no room, keeps what it was given, and writes it when there is.
#[test]
fn a_writer_on_a_full_disk_goes_on() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(disk) = Tmpfs::mount() else { return };
    let (log, _) = Log::open(disk.log(), options(true)).unwrap();
    let ballast = disk.fill_up(SEGMENT_BYTES);
    let (tell, told) = channel();
    let limits = WriterOptions {
        retry_full_after: Duration::from_millis(5),
        ..WriterOptions::default()
    };
    let writer = Writer::spawn_with(log, limits, move |done| tell.send(done).unwrap()).unwrap();
    let jobs = 300;
    for job in 1..=jobs {
        writer.submit(unit(job)).unwrap();
    }
    let mut durable = 0;
    wait_for(&told, &mut durable, |done| {
        matches!(done, Completion::Full { .. })
    });
    assert!(durable < jobs, "{durable}");
    check(&writer.reader(), 1, durable);
    let full_at = durable;
    std::fs::remove_file(ballast).unwrap();
    wait_for(
        &told,
        &mut durable,
        |done| matches!(done, Completion::Durable(commit) if commit.job == jobs),
    );
    check(&writer.reader(), 1, jobs);
    // And full again, this time for good; what is durable is purged.
    let ballast = disk.fill_up(0);
    for job in jobs + 1..=2 * jobs {
        writer.submit(unit(job)).unwrap();
    }
    wait_for(&told, &mut durable, |done| {
        matches!(done, Completion::Full { .. })
    });
    assert!(writer.purge(durable - 5));
    let first = durable - 4;
    wait_for(&told, &mut durable, |done| {
        matches!(done, Completion::Durable(_))
    });
    std::fs::remove_file(ballast).unwrap();
    wait_for(
        &told,
        &mut durable,
        |done| matches!(done, Completion::Durable(commit) if commit.job == 2 * jobs),
    );
    writer.close().unwrap();
    let (log, _) = Log::open(disk.log(), options(true)).unwrap();
    check(&log.reader(), first, 2 * jobs);
    println!(
        "full at {full_at} of {jobs}, and again up to a purge of {}",
        first - 1
    );
}
