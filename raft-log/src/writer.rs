//! A thread that writes: group commit for callers that must not wait.
//!
//! Whatever is submitted while a sync runs goes out together with the next one. The callback learns from it, on the
//! writer's thread, once a commit.

mod queue;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use crate::batch::{Batch, OwnedRecord};
use crate::error::{Failure, WriteError};
use crate::files::{Files, OsFiles};
use crate::log::Log;
use crate::prepare::Space;
use crate::reader::Reader;
use crate::snapshot::{FinishedSnapshot, Snapshots};
use queue::{Queue, Refused, Taken};

/// One atomic unit for the writer. Order inside: metadata, snapshot, truncation, records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedBatch {
    /// The caller's number; ascending.
    pub job: u64,
    /// As [`Batch::metadata`].
    pub metadata: Option<Bytes>,
    /// As [`Batch::snapshot`], or [`Batch::install_snapshot`].
    pub snapshot: Option<Mark>,
    /// As [`Batch::truncate_from`].
    pub truncate_from: Option<u64>,
    /// As [`Batch::append`].
    pub records: Vec<OwnedRecord>,
    /// As [`Batch::use_reserve`]; only at the head of the queue, as with units without records.
    pub use_reserve: bool,
}

/// How a unit marks a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// One of what this log holds: as [`Batch::snapshot`].
    Taken(FinishedSnapshot),
    /// One that another node sent, and that may replace the log: as [`Batch::install_snapshot`].
    Installed(FinishedSnapshot),
}

impl OwnedBatch {
    /// Payload bytes, plus what each part costs in the log.
    fn bytes(&self) -> usize {
        let records: usize = self
            .records
            .iter()
            .map(|record| record.payload.len() + 56)
            .sum();
        let snapshot = self.snapshot.as_ref().map_or(0, |_| 64);
        records + self.metadata.as_ref().map_or(0, Bytes::len) + snapshot + 56
    }

    /// Adds its parts to a batch. So the writer makes one of many; it is for who drives a [`Log`] without a thread.
    pub fn add_to<'a>(&'a self, batch: &mut Batch<'a>) {
        if let Some(metadata) = &self.metadata {
            batch.metadata(metadata);
        }
        match &self.snapshot {
            Some(Mark::Taken(finished)) => batch.snapshot(finished),
            Some(Mark::Installed(finished)) => batch.install_snapshot(finished),
            None => batch,
        };
        if let Some(index) = self.truncate_from {
            batch.truncate_from(index);
        }
        for record in &self.records {
            batch.append(record.as_record());
        }
    }
}

/// What the writer reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Completion {
    /// These units are durable, and all before them.
    Durable(Commit),
    /// The oldest unit finds no room, in the present segment or a next one. It waits, and all behind it whatever they are; the
    /// writer tries again on its own, and reports [`Completion::Durable`] when it worked. Reported once for each such time.
    Full {
        /// The unit that waits.
        job: u64,
    },
    /// What is known of the room for the next segment is no longer what [`Commit::space`], [`Completion::Full`] or this said
    /// last; [`Space::Ready`] is where it begins. So one who turns records away since [`Space::Full`] learns when to take
    /// them again, with no commit to say so.
    Space(Space),
    /// The thread has ended, and nothing more is written: a write failed, or a unit could not stand in the log
    /// ([`WriteError::Invalid`]: a mistake of the caller), or there was a panic on the thread, that of the callback included, which
    /// is then called this once more.
    Failed {
        /// The first unit that is not known to be durable, if any was under way. After a failed write it may be on the disk, and
        /// so may those that came after it; after [`WriteError::Invalid`] it is the one to blame, and not on the disk.
        job: Option<u64>,
        /// What happened.
        error: WriteError,
    },
}

/// One commit of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The highest job in it.
    pub job: u64,
    /// How many units went out together.
    pub jobs: u64,
    /// How many records.
    pub records: u64,
    /// How many bytes in the log.
    pub bytes: u64,
    /// How long write and sync took.
    pub took: Duration,
    /// [`Space::Full`] says that there is no room for the segment after this one: time to turn new records away. What is left
    /// of this segment then serves what is under way, and a reserve at its end units without records.
    pub space: Space,
}

/// Limits of a [`Writer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// How many units may wait; default 4096. [`Writer::submit`] waits while there are more.
    pub queue_units_max: usize,
    /// How many bytes may wait; default 64 MiB. A larger unit waits alone.
    pub queue_bytes_max: usize,
    /// How many bytes go out in one commit; default 4 MiB. A larger unit goes alone.
    pub commit_bytes_max: usize,
    /// How long the log rests before [`Log::settle`]; default 50 ms.
    pub settle_after: Duration,
    /// How often a full disk is tried again, also with nothing to write; default 5 s. Each try writes what room there is, so not too often. A purge
    /// is followed by a try at once.
    pub retry_full_after: Duration,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            queue_units_max: 4096,
            queue_bytes_max: 64 << 20,
            commit_bytes_max: 4 << 20,
            settle_after: Duration::from_millis(50),
            retry_full_after: Duration::from_secs(5),
        }
    }
}

/// Why a unit was not taken; it comes back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full: try again later. [`Writer::submit`] answers it only while the disk is full too
    /// ([`Completion::Full`]), for that has no end to wait for.
    #[error("the writer's queue is full; submit again later")]
    QueueFull(OwnedBatch),
    /// The writer ends or has ended: it was closed, or a write failed (then the callback was told).
    #[error("the writer has ended; nothing more can be written")]
    Closed(OwnedBatch),
}

/// What went wrong while a writer was closed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The log is whole and was closed cleanly, but the last units found no room and were given up. None of them was
    /// reported durable, and none is in the log.
    #[error(
        "no space for the next segment in {}: the log was closed cleanly, but ends before job {job}; free space before the \
         next start",
        dir.display()
    )]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// The first unit that was not written.
        job: u64,
    },
    /// The log failed, now or earlier: see [`Completion::Failed`].
    #[error(transparent)]
    Failed(#[from] WriteError),
}

/// The handle of the writing thread. Dropping it is [`Writer::close`] without the result.
#[derive(Debug)]
pub struct Writer<F: Files = OsFiles> {
    queue: Arc<Queue>,
    reader: Reader<F>,
    snapshots: Snapshots<F>,
    thread: Option<JoinHandle<Result<(), CloseError>>>,
}

impl<F: Files> Writer<F> {
    /// Starts the thread, with default limits. The callback runs on it, so it should only hand on what it is told. A panic
    /// there ends the writer: see [`Completion::Failed`].
    ///
    /// # Errors
    /// If the operating system gives no thread; the log is dropped then.
    pub fn spawn(
        log: Log<F>,
        on_durable: impl FnMut(Completion) + Send + 'static,
    ) -> io::Result<Writer<F>> {
        Writer::spawn_with(log, WriterOptions::default(), on_durable)
    }

    /// [`Writer::spawn`] with other limits.
    ///
    /// # Errors
    /// As [`Writer::spawn`].
    pub fn spawn_with(
        log: Log<F>,
        options: WriterOptions,
        on_durable: impl FnMut(Completion) + Send + 'static,
    ) -> io::Result<Writer<F>> {
        let queue = Arc::new(Queue::new(
            options.queue_units_max.max(1),
            options.queue_bytes_max,
        ));
        let (reader, snapshots) = (log.reader(), log.snapshots());
        let work = Work {
            log,
            queue: Arc::clone(&queue),
            options,
            on_durable,
            space_told: Space::Ready,
            under_way: None,
        };
        let thread = std::thread::Builder::new()
            .name("raft-log-write".into())
            .spawn(|| work.run())?;
        Ok(Writer {
            queue,
            reader,
            snapshots,
            thread: Some(thread),
        })
    }

    /// Hands a unit over. Waits only while the queue is at its limits; never for a sync as such, and never for room on the
    /// disk.
    ///
    /// # Errors
    /// [`SubmitError::Closed`] when the writer ends or has ended, also while this waits. [`SubmitError::QueueFull`] when the
    /// queue is at its limits and its oldest unit waits for room on the disk.
    pub fn submit(&self, unit: OwnedBatch) -> Result<(), SubmitError> {
        self.push(unit, true)
    }

    /// Hands a unit over without ever waiting.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn try_submit(&self, unit: OwnedBatch) -> Result<(), SubmitError> {
        self.push(unit, false)
    }

    /// Has [`Log::purge`] called as soon as possible, before what waits in the queue: on a full disk that waits for it.
    /// `up_to` must be durable already; an index beyond the end is ignored.
    ///
    /// Answers whether it was taken: `false` once the writer has ended.
    pub fn purge(&self, up_to: u64) -> bool {
        self.queue.purge(up_to)
    }

    /// A handle for reading.
    #[must_use]
    pub fn reader(&self) -> Reader<F> {
        self.reader.clone()
    }

    /// As [`Log::snapshots`]. Marks are submitted in the order of their indexes: one that is older than the newest is a mistake
    /// like any other that ends the writer.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots<F> {
        self.snapshots.clone()
    }

    /// Writes all that was submitted, closes the log cleanly and waits for the thread. It does not wait for room on the
    /// disk: what finds none now is given up.
    ///
    /// # Errors
    /// [`CloseError::Full`] if units were given up; the log is closed cleanly all the same.
    /// [`CloseError::Failed`] with the first error of the log, if there was one, or the panic of the thread.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.queue.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(panicked(self.reader.dir(), panic.as_ref()).into()),
            None => Ok(()),
        }
    }

    fn push(&self, unit: OwnedBatch, wait: bool) -> Result<(), SubmitError> {
        self.queue
            .push(unit, wait)
            .map_err(|refused| match refused {
                Refused::Full(unit) => SubmitError::QueueFull(unit),
                Refused::Closed(unit) => SubmitError::Closed(unit),
            })
    }
}

impl<F: Files> Drop for Writer<F> {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why the thread stops before all is written.
enum Stop {
    /// The queue is closed and this unit finds no room: nobody will make any.
    NoRoom {
        job: u64,
        dir: PathBuf,
    },
    Failed(WriteError),
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Stop {
        Stop::Failed(error)
    }
}

struct Work<F: Files, C> {
    log: Log<F>,
    queue: Arc<Queue>,
    options: WriterOptions,
    on_durable: C,
    /// What the owner knows of the room for the next segment.
    space_told: Space,
    /// The first unit that was taken and is not durable yet.
    under_way: Option<u64>,
}

/// Closes the queue when the thread ends, however it does: nobody may wait for a thread that is gone.
struct CloseQueue(Arc<Queue>);

impl Drop for CloseQueue {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a panic on the thread means for the log: the same as a write that failed.
fn panicked(dir: &Path, panic: &(dyn Any + Send)) -> WriteError {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let source = io::Error::other(format!("the writer's thread panicked: {said}"));
    let failure = Failure::new("write the log", dir, source);
    tracing::error!(%failure, "the log is closed for good");
    WriteError::Failed(Arc::new(failure))
}

impl<F: Files, C: FnMut(Completion)> Work<F, C> {
    fn run(mut self) -> Result<(), CloseError> {
        let _close = CloseQueue(Arc::clone(&self.queue));
        // After a panic nothing is written any more: what it left half done here is dropped as after a crash.
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()))
            .unwrap_or_else(|panic| Err(panicked(&self.log.dir, panic.as_ref()).into()));
        match served {
            Ok(()) => Ok(self.log.close()?),
            Err(Stop::NoRoom { job, dir }) => {
                tracing::warn!(job, "no space for the last units of the log: given up");
                self.log.close()?;
                Err(CloseError::Full { dir, job })
            }
            Err(Stop::Failed(error)) => {
                self.queue.close();
                // It may be the callback that panicked, and it may do so again: then `close` alone says what happened.
                let failed = Completion::Failed {
                    job: self.under_way,
                    error: error.clone(),
                };
                let tell = AssertUnwindSafe(|| (self.on_durable)(failed));
                if catch_unwind(tell).is_err() {
                    tracing::error!(%error, "nobody could be told that the log failed");
                }
                Err(error.into())
            }
        }
    }

    fn serve(&mut self) -> Result<(), Stop> {
        let mut units = Vec::new();
        let mut tried = Instant::now();
        loop {
            // Votes that use the reserve try nothing, however many come; so the time decides, and not the rest.
            if self.log.space() == Space::Full && tried.elapsed() >= self.options.retry_full_after {
                self.log.retry_space();
                tried = Instant::now();
            }
            // What failed beside the commits is told at once, not when the next unit comes.
            self.log.check_poison()?;
            // While there is something to do at rest, wake up for it; else sleep until there is work.
            let space = self.log.space();
            self.tell_space(space);
            let settle = !self.log.is_settled();
            let timeout = match (settle || self.log.preparer.is_ordered(), space) {
                // Also to take in the answer to what was ordered.
                (true, _) => Some(self.options.settle_after),
                (false, Space::Full) => Some(self.options.retry_full_after),
                (false, Space::Ready) => None,
            };
            match self
                .queue
                .take(&mut units, self.options.commit_bytes_max, timeout)
            {
                Taken::Closed => return Ok(()),
                Taken::Units => self.write(&units)?,
                Taken::Purge(up_to) => self.purge(up_to)?,
                Taken::TimedOut if settle => self.log.settle()?,
                Taken::TimedOut => {}
            }
            units.clear();
        }
    }

    /// Commits what was taken: together if possible, else one by one, each when the full disk has room for it.
    ///
    /// Never in another order: a unit may stand on those before it (its indexes, or what its metadata says of records), and
    /// "durable" means all up to it. So a vote behind a record that finds no room waits with it; and what stands before a unit
    /// that is a mistake is durable before that one is complained of.
    fn write(&mut self, units: &[OwnedBatch]) -> Result<(), Stop> {
        match self.commit(units) {
            Err(WriteError::Full { .. }) => {}
            Err(WriteError::Invalid(_)) if units.len() > 1 => {}
            result => return Ok(result?),
        }
        for unit in units {
            let written = self.commit_when_room(unit);
            self.queue.set_stuck(false);
            written?;
        }
        Ok(())
    }

    fn purge(&mut self, up_to: u64) -> Result<(), WriteError> {
        match self.log.purge(up_to) {
            Err(WriteError::Invalid(error)) => tracing::warn!(%error, "purge ignored"),
            // Purging is an offer; it is made again with the next snapshot.
            Err(WriteError::Full { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
        self.log.retry_space();
        Ok(())
    }

    fn commit_when_room(&mut self, unit: &OwnedBatch) -> Result<(), Stop> {
        let mut told = false;
        loop {
            let dir = match self.commit(std::slice::from_ref(unit)) {
                Err(WriteError::Full { dir, .. }) => dir,
                result => return Ok(result?),
            };
            self.queue.set_stuck(true);
            // The wait may last for ever: what was acknowledged before it must not look torn after a crash.
            self.log.settle()?;
            if !told {
                self.space_told = Space::Full;
                (self.on_durable)(Completion::Full { job: unit.job });
                told = true;
            }
            match self.queue.take_purge(self.options.retry_full_after) {
                Taken::Purge(up_to) => self.purge(up_to)?,
                Taken::Closed => return Err(Stop::NoRoom { job: unit.job, dir }),
                Taken::TimedOut | Taken::Units => {}
            }
        }
    }

    fn tell_space(&mut self, space: Space) {
        if space != self.space_told {
            self.space_told = space;
            (self.on_durable)(Completion::Space(space));
        }
    }

    fn commit(&mut self, units: &[OwnedBatch]) -> Result<(), WriteError> {
        self.under_way = units.first().map(|unit| unit.job);
        let parts = units.iter().map(|unit| unit.records.len() + 2).sum();
        let mut batch = Batch::with_capacity(parts);
        for unit in units {
            unit.add_to(&mut batch);
        }
        // Together only if each of them may alone.
        if units
            .iter()
            .all(|unit| unit.use_reserve || unit.records.is_empty())
        {
            batch.use_reserve();
        }
        let begun = Instant::now();
        self.log.commit(&batch)?;
        let commit = Commit {
            job: units.last().map_or(0, |unit| unit.job),
            jobs: units.len() as u64,
            records: batch.records(),
            bytes: batch.bytes(),
            took: begun.elapsed(),
            space: self.log.space(),
        };
        self.space_told = commit.space;
        (self.on_durable)(Completion::Durable(commit));
        // Only now: what its owner was not told of is not known to be durable.
        self.under_way = None;
        Ok(())
    }
}
