//! A panic on the writing thread: everyone who waits for it learns of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::harness::{dir, options};
use bytes::Bytes;
use raft_log::sim_disk::{SimDisk, SimFile, SimLock};
use raft_log::writer::{CloseError, Completion, OwnedBatch, SubmitError, Writer};
use raft_log::{FileHandle, Files, Log, OwnedRecord, WriteError};

/// The simulated disk, whose syncs panic from some moment on.
#[derive(Clone)]
struct Panicking {
    disk: SimDisk,
    now: Arc<AtomicBool>,
}

struct PanickingFile {
    file: SimFile,
    now: Arc<AtomicBool>,
}

impl Panicking {
    fn handle(&self, file: io::Result<SimFile>) -> io::Result<PanickingFile> {
        let now = Arc::clone(&self.now);
        Ok(PanickingFile { file: file?, now })
    }
}

impl Files for Panicking {
    type Handle = PanickingFile;
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
    fn create(&self, file: &Path) -> io::Result<PanickingFile> {
        self.handle(self.disk.create(file))
    }
    fn open(&self, file: &Path) -> io::Result<PanickingFile> {
        self.handle(self.disk.open(file))
    }
    fn open_read(&self, file: &Path) -> io::Result<PanickingFile> {
        self.handle(self.disk.open_read(file))
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

impl FileHandle for PanickingFile {
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
        assert!(!self.now.load(Ordering::Relaxed), "no sync today");
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn files() -> Panicking {
    Panicking {
        disk: SimDisk::new(),
        now: Arc::default(),
    }
}

fn unit(job: u64) -> OwnedBatch {
    let record = OwnedRecord {
        index: job,
        term: 1,
        kind: 0,
        payload: Bytes::from_static(b"payload"),
    };
    OwnedBatch {
        job,
        records: vec![record],
        ..OwnedBatch::default()
    }
}

fn says(error: &WriteError, what: &str) -> bool {
    matches!(error, WriteError::Failed(_)) && error.to_string().contains(what)
}

/// An owner that waits for completions gets the last one there will be; closing answers the same, as an error.
#[test]
fn a_panic_of_the_disk_is_a_failure_of_the_log() {
    let files = files();
    let (log, _) = Log::open_with(files.clone(), &dir(), options()).unwrap();
    let (told, tell) = channel();
    // The owner keeps a sender, so that the end of the thread alone ends no wait of it.
    let keep = told.clone();
    let writer = Writer::spawn(log, move |done| told.send(done).unwrap()).unwrap();
    writer.submit(unit(1)).unwrap();
    assert!(matches!(tell.recv().unwrap(), Completion::Durable(_)));

    files.now.store(true, Ordering::Relaxed);
    writer.submit(unit(2)).unwrap();
    match tell.recv_timeout(Duration::from_secs(60)).unwrap() {
        Completion::Failed { error, .. } => assert!(says(&error, "no sync today"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        writer.submit(unit(3)),
        Err(SubmitError::Closed(_))
    ));
    assert_eq!(writer.reader().read(1, 0).unwrap().len(), 1);
    match writer.close() {
        Err(CloseError::Failed(error)) => assert!(says(&error, "no sync today"), "{error}"),
        other => panic!("{other:?}"),
    }
    drop(keep);
}

/// A panic while the log is closed comes too late for a completion: closing answers it.
#[test]
fn a_panic_of_the_disk_while_closing_is_an_error() {
    let files = files();
    let (log, _) = Log::open_with(files.clone(), &dir(), options()).unwrap();
    let writer = Writer::spawn(log, |_| {}).unwrap();
    files.now.store(true, Ordering::Relaxed);
    match writer.close() {
        Err(CloseError::Failed(error)) => assert!(says(&error, "no sync today"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// The callback's own panic is told to it, and if that panics too, at least to who closes.
#[test]
fn a_panic_of_the_callback_is_a_failure_of_the_log() {
    for again in [false, true] {
        let (log, _) = Log::open_with(SimDisk::new(), &dir(), options()).unwrap();
        let (told, tell) = channel();
        let writer = Writer::spawn(log, move |done| {
            let durable = matches!(done, Completion::Durable(_));
            told.send(done).unwrap();
            assert!(!durable && !again, "no news today");
        })
        .unwrap();
        writer.submit(unit(1)).unwrap();
        assert!(matches!(tell.recv().unwrap(), Completion::Durable(_)));
        match tell.recv().unwrap() {
            Completion::Failed { error, .. } => assert!(says(&error, "no news today"), "{error}"),
            other => panic!("{other:?}"),
        }
        match writer.close() {
            Err(CloseError::Failed(error)) => assert!(says(&error, "no news today"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
