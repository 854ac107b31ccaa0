//! Those who write: each with a directory of its own, each doing the same for a round.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use raft_log::writer::{Commit, Completion, OwnedBatch, Writer, WriterOptions};
use raft_log::{Batch, Counters, Log, Options, OwnedRecord, Record};

use crate::entry::{Contents, ENTRIES_MAX, ENTRY_BYTES, PeerEntry};

/// How much of the log stays when it is purged; as much again is written before the next purge.
const KEPT_BYTES: u64 = 64 << 20;
/// What a record costs beside its content.
const RECORD_HEADER_BYTES: u64 = 48;
/// The bare loop goes round in a file of this size.
const BARE_BYTES: u64 = 128 << 20;
/// How many entries are read back after a round.
const SAMPLES: u64 = 64;
/// The group in which raft-engine keeps our one log.
pub const GROUP: u64 = 1;

/// One contender.
pub trait Contender {
    fn name(&self) -> &'static str;
    /// Makes `entries` entries durable at once, again and again, until `time` is over.
    fn run(&mut self, entries: usize, time: Duration) -> Result<Work>;
    /// Reads some of what it wrote, and compares.
    fn verify(&mut self) -> Result<()>;
}

/// What was done in a round.
#[derive(Default)]
pub struct Work {
    pub entries: u64,
    pub seconds: f64,
    /// How long each write with its sync took, in nanoseconds.
    pub latencies: Vec<u32>,
    /// Syncs, and bytes handed to the file system, where they are counted.
    pub counted: Option<(u64, u64)>,
}

impl Work {
    fn add(&mut self, entries: u64, took: Duration) {
        self.entries += entries;
        self.latencies
            .push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    fn count(&mut self, before: Counters, after: Counters) {
        self.counted = Some((after.syncs - before.syncs, after.bytes - before.bytes));
    }
}

/// Which entries may go, when so much was written.
struct Purging {
    next: u64,
}

impl Purging {
    /// The index up to which to purge now, if it is time.
    fn due(&mut self, last: u64) -> Option<u64> {
        let kept = KEPT_BYTES / (ENTRY_BYTES as u64 + RECORD_HEADER_BYTES);
        (last >= self.next + 2 * kept).then(|| {
            self.next = last - kept;
            self.next
        })
    }
}

/// Some indexes between two, both included.
fn samples(first: u64, last: u64) -> impl Iterator<Item = u64> {
    let step = ((last - first) / SAMPLES).max(1);
    (first..=last).step_by(step as usize).chain([last])
}

/// [`Log::commit`].
pub struct Blocking {
    log: Log,
    contents: Contents,
    purging: Purging,
}

impl Blocking {
    pub fn open(dir: &Path, contents: &Contents) -> Result<Blocking> {
        let (log, _) = Log::open(dir, Options::new("bench"))?;
        let purging = Purging {
            next: log.first_index(),
        };
        Ok(Blocking {
            log,
            contents: contents.clone(),
            purging,
        })
    }
}

impl Contender for Blocking {
    fn name(&self) -> &'static str {
        "raft-log, blocking"
    }

    fn run(&mut self, entries: usize, time: Duration) -> Result<Work> {
        let mut work = Work::default();
        let before = self.log.counters();
        let mut next = self.log.last_index() + 1;
        let begun = Instant::now();
        while begun.elapsed() < time {
            let commit = Instant::now();
            let mut batch = Batch::new();
            for index in next..next + entries as u64 {
                batch.append(Record {
                    index,
                    term: 1,
                    kind: 0,
                    payload: self.contents.of(index),
                });
            }
            self.log.commit(&batch)?;
            next += entries as u64;
            work.add(entries as u64, commit.elapsed());
            if let Some(up_to) = self.purging.due(next - 1) {
                self.log.purge(up_to)?;
            }
        }
        work.seconds = begun.elapsed().as_secs_f64();
        work.count(before, self.log.counters());
        Ok(work)
    }

    fn verify(&mut self) -> Result<()> {
        verify_log(&self.log.reader(), &self.contents)
    }
}

fn verify_log(reader: &raft_log::Reader, contents: &Contents) -> Result<()> {
    for index in samples(reader.first_index(), reader.last_index()) {
        let records = reader.read(index, 1)?;
        ensure!(
            records[0].index == index && records[0].payload == contents.of(index),
            "raft-log gave back something else for entry {index}"
        );
    }
    Ok(())
}

/// The writing thread, with some units under way.
pub struct Background {
    writer: Writer,
    commits: Receiver<Commit>,
    frames: Vec<Contents>,
    next: u64,
    purging: Purging,
    under_way: usize,
    name: &'static str,
}

impl Background {
    /// Each unit goes out with a sync of its own, so that a sync carries as much as with the others.
    pub fn open_single(dir: &Path, contents: &Contents) -> Result<Background> {
        let options = WriterOptions {
            commit_bytes_max: 1,
            ..WriterOptions::default()
        };
        Background::open(
            dir,
            contents,
            options,
            4,
            "raft-log, thread, 4 under way, a sync each",
        )
    }

    /// What waits goes out together: as it is meant to be used.
    pub fn open_grouped(dir: &Path, contents: &Contents) -> Result<Background> {
        Background::open(
            dir,
            contents,
            WriterOptions::default(),
            16,
            "raft-log, thread, 16 under way, grouped",
        )
    }

    fn open(
        dir: &Path,
        contents: &Contents,
        options: WriterOptions,
        under_way: usize,
        name: &'static str,
    ) -> Result<Background> {
        let (log, _) = Log::open(dir, Options::new("bench"))?;
        let next = log.last_index() + 1;
        let purging = Purging {
            next: log.first_index(),
        };
        let (told, commits) = channel();
        let writer = Writer::spawn_with(log, options, move |completion| {
            if let Completion::Durable(commit) = completion {
                let _ = told.send(commit);
            }
        })?;
        let frames = (0..under_way).map(|_| contents.copy()).collect();
        Ok(Background {
            writer,
            commits,
            frames,
            next,
            purging,
            under_way,
            name,
        })
    }

    fn wait(&mut self, entries: usize, open: &mut usize, work: &mut Work) -> Result<()> {
        let commit = self.commits.recv().context("the writer has ended")?;
        *open -= commit.jobs as usize;
        work.add(commit.jobs * entries as u64, commit.took);
        if let Some(up_to) = self.purging.due(commit.job) {
            self.writer.purge(up_to);
        }
        Ok(())
    }
}

impl Contender for Background {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, entries: usize, time: Duration) -> Result<Work> {
        let mut work = Work::default();
        let before = self.writer.reader().counters();
        let mut open = 0;
        let mut slot = 0;
        let begun = Instant::now();
        while begun.elapsed() < time {
            while open >= self.under_way {
                self.wait(entries, &mut open, &mut work)?;
            }
            let frame = &self.frames[slot];
            let indexes = self.next..self.next + entries as u64;
            let record = |index| OwnedRecord {
                index,
                term: 1,
                kind: 0,
                payload: frame.shared(index),
            };
            let unit = OwnedBatch {
                job: indexes.end - 1,
                records: indexes.clone().map(record).collect(),
                ..OwnedBatch::default()
            };
            self.writer.submit(unit)?;
            self.next = indexes.end;
            slot = (slot + 1) % self.frames.len();
            open += 1;
        }
        while open > 0 {
            self.wait(entries, &mut open, &mut work)?;
        }
        work.seconds = begun.elapsed().as_secs_f64();
        work.count(before, self.writer.reader().counters());
        Ok(work)
    }

    fn verify(&mut self) -> Result<()> {
        verify_log(&self.writer.reader(), &self.frames[0])
    }
}

/// How raft-engine finds the index in an entry.
#[derive(Clone)]
pub struct Entries;

impl MessageExt for Entries {
    type Entry = PeerEntry;

    fn index(entry: &PeerEntry) -> u64 {
        entry.index
    }
}

/// raft-engine with `Engine::write(batch, sync = true)`.
pub struct Peer {
    engine: Engine,
    /// Used again for each batch.
    entries: Vec<PeerEntry>,
    contents: Contents,
    batch: LogBatch,
    next: u64,
    purging: Purging,
}

/// What differs from raft-engine's defaults, and why.
pub const PEER_CONFIGURATION: &str = "raft-engine 0.4.2: target-file-size 64 MiB as ours, purge-threshold 128 MiB, \
     enable-log-recycle and prefill-for-recycle (its fastest: no sync changes a file's size or blocks), no compression (the \
     contents do not compress), else its defaults; Engine::write with sync, from one thread";

fn peer_config(dir: &Path) -> Config {
    Config {
        dir: dir.to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize::mb(64),
        purge_threshold: ReadableSize(2 * KEPT_BYTES),
        prefill_for_recycle: true,
        ..Config::default()
    }
}

/// For a log that is only filled and read: nothing is purged, or made ready for recycling.
pub fn peer_config_reading(dir: &Path) -> Config {
    Config {
        purge_threshold: ReadableSize::gb(10),
        prefill_for_recycle: false,
        ..peer_config(dir)
    }
}

impl Peer {
    pub fn open(dir: &Path, contents: &Contents) -> Result<Peer> {
        Peer::open_with(peer_config(dir), contents)
    }

    /// See [`peer_config_reading`].
    pub fn open_for_reading(dir: &Path, contents: &Contents) -> Result<Peer> {
        Peer::open_with(peer_config_reading(dir), contents)
    }

    fn open_with(config: Config, contents: &Contents) -> Result<Peer> {
        let engine = Engine::open(config)?;
        let next = engine.last_index(GROUP).map_or(1, |last| last + 1);
        Ok(Peer {
            engine,
            entries: vec![PeerEntry::default(); ENTRIES_MAX],
            contents: contents.clone(),
            batch: LogBatch::default(),
            next,
            purging: Purging { next: 0 },
        })
    }

    /// Writes the next entries; for the bulk of a log that is only to be read, without a sync.
    fn write(&mut self, entries: usize, sync: bool) -> Result<()> {
        let used = &mut self.entries[..entries];
        for (entry, index) in used.iter_mut().zip(self.next..) {
            (entry.index, entry.term) = (index, 1);
            entry.data = self.contents.shared(index);
        }
        self.batch.add_entries::<Entries>(GROUP, used)?;
        self.engine.write(&mut self.batch, sync)?;
        self.next += entries as u64;
        Ok(())
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Fills a log with `count` entries, `entries` in a batch.
    pub fn fill(&mut self, count: u64, entries: usize) -> Result<()> {
        while self.next <= count {
            self.write(entries, false)?;
        }
        Ok(self.engine.sync()?)
    }
}

impl Contender for Peer {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn run(&mut self, entries: usize, time: Duration) -> Result<Work> {
        let mut work = Work::default();
        let begun = Instant::now();
        while begun.elapsed() < time {
            let commit = Instant::now();
            self.write(entries, true)?;
            work.add(entries as u64, commit.elapsed());
            if let Some(up_to) = self.purging.due(self.next - 1) {
                self.engine.compact_to(GROUP, up_to + 1);
                self.engine.purge_expired_files()?;
            }
        }
        work.seconds = begun.elapsed().as_secs_f64();
        Ok(work)
    }

    fn verify(&mut self) -> Result<()> {
        let (Some(first), Some(last)) = (
            self.engine.first_index(GROUP),
            self.engine.last_index(GROUP),
        ) else {
            bail!("raft-engine has nothing");
        };
        for index in samples(first, last) {
            let entry = self.engine.get_entry::<Entries>(GROUP, index)?;
            ensure!(
                entry.is_some_and(
                    |entry| entry.index == index && entry.data == self.contents.of(index)
                ),
                "raft-engine gave back something else for entry {index}"
            );
        }
        Ok(())
    }
}

/// The bare loop: as many bytes as our log writes a sync, into a file that was written before, and `fdatasync`.
pub struct Bare {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    offset: u64,
    /// Where the last write went, and how much.
    last: (u64, usize),
}

impl Bare {
    pub fn open(dir: &Path, contents: &Contents) -> Result<Bare> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("bare");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let bytes: Vec<u8> = (0..1280)
            .flat_map(|index| contents.of(index).iter().copied())
            .collect();
        for offset in (0..BARE_BYTES).step_by(1 << 20) {
            file.write_all_at(&vec![0; 1 << 20], offset)?;
        }
        file.sync_all()?;
        Ok(Bare {
            file,
            path,
            bytes,
            offset: 0,
            last: (0, 0),
        })
    }
}

impl Contender for Bare {
    fn name(&self) -> &'static str {
        "bare loop"
    }

    fn run(&mut self, entries: usize, time: Duration) -> Result<Work> {
        let mut work = Work::default();
        let len = entries * (ENTRY_BYTES + RECORD_HEADER_BYTES as usize);
        let begun = Instant::now();
        while begun.elapsed() < time {
            let commit = Instant::now();
            if self.offset + len as u64 > BARE_BYTES {
                self.offset = 0;
            }
            self.file.write_all_at(&self.bytes[..len], self.offset)?;
            self.file.sync_data()?;
            self.last = (self.offset, len);
            self.offset += len as u64;
            work.add(entries as u64, commit.elapsed());
        }
        work.seconds = begun.elapsed().as_secs_f64();
        let syncs = work.latencies.len() as u64;
        work.counted = Some((syncs, syncs * len as u64));
        Ok(work)
    }

    fn verify(&mut self) -> Result<()> {
        let (offset, len) = self.last;
        let mut found = vec![0; len];
        self.file.read_exact_at(&mut found, offset)?;
        ensure!(
            found == self.bytes[..len],
            "{} holds something else",
            self.path.display()
        );
        Ok(())
    }
}
