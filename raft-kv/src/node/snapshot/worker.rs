//! One thing after another done about snapshots, each with its answer: on the node's threads, and in the simulator.

use raft_log::{Files, Snapshots};

use super::work::{self, Receiver, Sender};
use crate::node::StateMachine;
use crate::node::inbox::Own;
use crate::node::replica::SnapshotJob;
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
            Self::Do(SnapshotJob::Take { .. }) => Lane::Take,
            Self::Do(SnapshotJob::Read { .. } | SnapshotJob::Close { .. }) => Lane::Send,
            Self::Do(SnapshotJob::Write { .. } | SnapshotJob::Discard { .. })
            | Self::Restore { .. }
            | Self::Forget(_) => Lane::Receive,
        }
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
    ) -> Option<Own<S>> {
        let job = match task {
            Task::Do(job) => job,
            Task::Restore { file, mut machine } => {
                let restored = work::restore(&self.files, file, &mut machine, given_up);
                return Some(match restored {
                    Ok(()) => Own::SnapshotRestored {
                        last: file.last,
                        machine,
                    },
                    Err(error) => Own::SnapshotFailed(error.to_string()),
                });
            }
            Task::Forget(machine) => {
                drop(machine);
                return None;
            }
        };
        match job {
            SnapshotJob::Take { head, image } => Some(Own::SnapshotTaken {
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
                Some(Own::SnapshotRead {
                    to,
                    file,
                    offset,
                    bytes: bytes.map_err(|error| error.to_string()),
                })
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
            } => Some(Own::SnapshotWritten {
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
