//! One thing after another done about snapshots, each with its answer: on the node's threads, and in the simulator.

use bytes::Bytes;
use raft_core::{LogId, NodeId};
use raft_log::{Files, FinishedSnapshot, SnapshotReader, Snapshots};

use super::shelf::Shelf;
use super::work::{self, Receiver, Sender, Written};
use crate::node::StateMachine;
use crate::node::replica::{Replica, SnapshotJob};
use crate::wire::SnapshotFile;

/// What is to be done.
pub(crate) enum Task<S> {
    Do(SnapshotJob),
    Restore {
        file: SnapshotFile,
        machine: S,
    },
    /// Drop a state that another one took the place of, which may take long.
    Forget(S),
}

/// What holds up nothing else: there is a thread for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Take,
    Send,
    Receive,
}

impl<S> Task<S> {
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Do(SnapshotJob::Take { .. } | SnapshotJob::Verify { .. }) => Lane::Take,
            Self::Do(SnapshotJob::Read { .. } | SnapshotJob::Close { .. }) => Lane::Send,
            Self::Do(SnapshotJob::Write { .. } | SnapshotJob::Discard { .. })
            | Self::Restore { .. }
            | Self::Forget(_) => Lane::Receive,
        }
    }
}

/// What came of it.
pub(crate) enum Answer<S> {
    Taken {
        last: LogId,
        finished: Result<FinishedSnapshot, String>,
    },
    Read {
        to: NodeId,
        file: SnapshotFile,
        offset: u64,
        bytes: Result<Bytes, String>,
    },
    Verified {
        file: SnapshotFile,
        sound: Result<(), String>,
    },
    Written {
        file: SnapshotFile,
        run: u64,
        written: Written,
    },
    Restored {
        last: LogId,
        machine: S,
    },
    /// One that is marked in the log cannot be read back.
    NotRestored(String),
}

impl<S: StateMachine> Answer<S> {
    /// Brings it to the replica. What comes back is the state that another one took the place of, to be dropped where that may take its time.
    ///
    /// # Errors
    /// Why the node must stop.
    pub(crate) fn reach<W, R>(
        self,
        replica: &mut Replica<S, W, R>,
        shelf: &mut Shelf,
    ) -> Result<Option<S>, String> {
        match self {
            Self::Taken { last, finished } => {
                let finished = finished.ok();
                let file = finished.as_ref().map(|finished| work::file(finished.id()));
                match finished {
                    Some(finished) if replica.is_founding() => shelf.replacing(last, finished),
                    Some(finished) => shelf.taken(last, finished),
                    None => {}
                }
                replica.snapshot_taken(last, file);
            }
            Self::Read {
                to,
                file,
                offset,
                bytes,
            } => replica.snapshot_read(to, file, offset, bytes.ok()),
            Self::Verified { file, sound } => replica.snapshot_verified(file, sound.is_ok()),
            Self::Written { file, run, written } => match written {
                Written::Part(received) => replica.snapshot_written(run, received),
                Written::Whole(head, finished) => {
                    shelf.replacing(file.last, finished);
                    replica.snapshot_received(run, Some(*head));
                }
                Written::Failed(_) => replica.snapshot_received(run, None),
            },
            Self::Restored { last, machine } => {
                return Ok(Some(replica.snapshot_restored(last, machine)));
            }
            Self::NotRestored(why) => return Err(why),
        }
        Ok(None)
    }
}

/// Does what is to be done. The tasks of a lane are done by one worker, in their order.
pub(crate) struct Worker<F: Files> {
    files: Snapshots<F>,
    sender: Sender<F>,
    receiver: Receiver<F>,
}

impl<F: Files> Worker<F> {
    pub(crate) fn new(files: Snapshots<F>) -> Self {
        Self {
            sender: Sender::new(files.clone()),
            receiver: Receiver::new(files.clone()),
            files,
        }
    }

    /// What came of it, if anyone waits for that. Once `given_up` says so, what takes long ends as a failure.
    pub(crate) fn run<S: StateMachine>(
        &mut self,
        task: Task<S>,
        given_up: &dyn Fn() -> bool,
    ) -> Option<Answer<S>> {
        let job = match task {
            Task::Do(job) => job,
            Task::Restore { file, mut machine } => {
                let restored = work::restore(&self.files, file, &mut machine, given_up);
                return Some(match restored {
                    Ok(()) => Answer::Restored {
                        last: file.last,
                        machine,
                    },
                    Err(error) => Answer::NotRestored(error.to_string()),
                });
            }
            Task::Forget(machine) => {
                drop(machine);
                return None;
            }
        };
        match job {
            SnapshotJob::Take { head, image } => Some(Answer::Taken {
                last: head.snapshot.last,
                finished: work::take(&self.files, &head, image, given_up),
            }),
            SnapshotJob::Read {
                to,
                file,
                offset,
                bytes_max,
            } => {
                let bytes = self.sender.read(file, offset, bytes_max);
                Some(Answer::Read {
                    to,
                    file,
                    offset,
                    bytes: bytes.map_err(|error| error.to_string()),
                })
            }
            SnapshotJob::Verify { file } => {
                let sound = self
                    .files
                    .open(&work::id(file))
                    .and_then(SnapshotReader::verify);
                let sound = sound.map_err(|error| error.to_string());
                Some(Answer::Verified { file, sound })
            }
            SnapshotJob::Close { file } => {
                self.sender.close(file);
                None
            }
            SnapshotJob::Write {
                cluster,
                file,
                run,
                offset,
                bytes,
            } => Some(Answer::Written {
                file,
                run,
                written: self.receiver.write(cluster, file, offset, &bytes),
            }),
            SnapshotJob::Discard { file } => {
                self.receiver.discard(file);
                None
            }
        }
    }
}
