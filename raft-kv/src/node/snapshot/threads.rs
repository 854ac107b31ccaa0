//! The threads that work on snapshots while the node runs: one takes them, one reads pieces for peers, one takes in what is received and
//! reads it back. Each answers through the inbox; none holds up another, nor the loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use raft_log::Snapshots;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use super::work::Written;
use super::worker::{Answer, Lane, Task, Worker};
use crate::node::StateMachine;
use crate::node::inbox::Own;

/// The loop's ends of the three. What waits for one is bounded by who asks: one snapshot is taken at a time, and of files that are sent or
/// received no more than a window is under way. A thread is gone only when the node is ending.
pub(crate) struct SnapshotThreads<S> {
    lanes: [mpsc::Sender<Task<S>>; 3],
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: StateMachine> SnapshotThreads<S> {
    pub(crate) fn spawn(
        snapshots: &Snapshots,
        answers: &UnboundedSender<Own<S>>,
    ) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(3);
        let mut lane = |name: &str| {
            let (tasks, to_do) = mpsc::channel();
            let (worker, answers) = (Worker::new(snapshots.clone()), answers.clone());
            let stopping = stopping.clone();
            let thread = std::thread::Builder::new().name(name.into());
            threads.push(thread.spawn(move || work_on(worker, &to_do, &answers, &stopping))?);
            Ok::<_, std::io::Error>(tasks)
        };
        // In the order of `Lane`.
        let lanes = [
            lane("snapshot-take")?,
            lane("snapshot-send")?,
            lane("snapshot-receive")?,
        ];
        Ok(Self {
            lanes,
            stopping,
            threads,
        })
    }

    /// Has this done, after what its thread was given before.
    pub(crate) fn employ(&self, task: Task<S>) {
        let [take, send, receive] = &self.lanes;
        let lane = match task.lane() {
            Lane::Take => take,
            Lane::Send => send,
            Lane::Receive => receive,
        };
        let _ = lane.send(task);
    }

    /// Ends the threads: what is half written is given up, and its file removed. Only then may another log be opened in the directory.
    pub(crate) fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        for thread in threads {
            // One that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl<S> Drop for SnapshotThreads<S> {
    /// However the node ends, nothing goes on behind its back.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn work_on<S: StateMachine>(
    mut worker: Worker<raft_log::OsFiles>,
    tasks: &mpsc::Receiver<Task<S>>,
    answers: &UnboundedSender<Own<S>>,
    stopping: &AtomicBool,
) {
    let given_up = || stopping.load(Ordering::Relaxed);
    for task in tasks {
        let begun = Instant::now();
        let answer = worker.run(task, &given_up);
        // Nobody waits for it any more, nor for what is left to do.
        if given_up() {
            return;
        }
        if let Some(answer) = answer {
            tell(&answer, begun);
            if answers.send(Own::Snapshot(answer)).is_err() {
                return;
            }
        }
    }
}

/// Says in the process's log what the operator may want to know of it.
fn tell<S>(answer: &Answer<S>, begun: Instant) {
    let took_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match answer {
        Answer::Taken { last, finished } => match finished {
            Ok(file) => {
                info!(%last, bytes = file.id().bytes, took_ms = took_ms(), "snapshot taken");
            }
            Err(error) => {
                warn!(%last, %error, "a snapshot could not be taken; the log grows until one can be");
            }
        },
        Answer::Read {
            to,
            bytes: Err(error),
            ..
        } => warn!(%to, %error, "a snapshot cannot be read for a follower"),
        Answer::Verified {
            sound: Err(error), ..
        } => warn!(%error, "a snapshot is damaged; another takes its place"),
        Answer::Written { file, written, .. } => match written {
            Written::Part(_) => {}
            Written::Whole(..) => {
                info!(last = %file.last, bytes = file.bytes, "snapshot received");
            }
            Written::Failed(error) => {
                warn!(last = %file.last, %error, "a snapshot could not be received");
            }
        },
        Answer::Restored { last, .. } => {
            info!(%last, took_ms = took_ms(), "snapshot installed");
        }
        _ => {}
    }
}
