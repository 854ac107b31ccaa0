//! The threads that work on snapshots while the node runs: one takes them, one reads pieces for peers, one takes in what is received and
//! reads it back. Each answers through the inbox; none holds up another, nor the loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use raft_core::{ClusterId, NodeId};
use raft_log::Snapshots;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use super::work::{self, Receiver, Sender, Written};
use crate::node::StateMachine;
use crate::node::inbox::Own;
use crate::node::machine::Image;
use crate::wire::{SnapshotFile, SnapshotHead};

enum Sending {
    Read {
        to: NodeId,
        file: SnapshotFile,
        offset: u64,
        bytes_max: usize,
    },
    Close(SnapshotFile),
}

enum Receiving<S> {
    Write {
        cluster: ClusterId,
        file: SnapshotFile,
        run: u64,
        offset: u64,
        bytes: Bytes,
    },
    /// A state that another one took the place of.
    Drop(S),
    Discard(SnapshotFile),
    Restore {
        file: SnapshotFile,
        machine: S,
    },
}

/// The loop's ends of the three. A thread is gone only when the node is ending.
pub(crate) struct SnapshotThreads<S> {
    take: mpsc::Sender<(SnapshotHead, Image)>,
    send: mpsc::Sender<Sending>,
    receive: mpsc::Sender<Receiving<S>>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl<S: StateMachine> SnapshotThreads<S> {
    pub(crate) fn spawn(
        snapshots: &Snapshots,
        answers: &UnboundedSender<Own<S>>,
    ) -> std::io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (take, to_take) = mpsc::channel();
        let (send, to_send) = mpsc::channel();
        let (receive, to_receive) = mpsc::channel();
        let taker = {
            let (snapshots, answers) = (snapshots.clone(), answers.clone());
            let stopping = stopping.clone();
            thread("snapshot-take", move || {
                taking(&snapshots, &to_take, &answers, &stopping);
            })?
        };
        let sender = {
            let (sender, answers) = (Sender::new(snapshots.clone()), answers.clone());
            thread("snapshot-send", move || sending(sender, &to_send, &answers))?
        };
        let receiver = {
            let (snapshots, answers) = (snapshots.clone(), answers.clone());
            let stops = stopping.clone();
            thread("snapshot-receive", move || {
                receiving(&snapshots, &to_receive, &answers, &stops);
            })?
        };
        Ok(Self {
            take,
            send,
            receive,
            stopping,
            threads: vec![taker, sender, receiver],
        })
    }

    pub(crate) fn take(&self, head: SnapshotHead, image: Image) {
        let _ = self.take.send((head, image));
    }

    pub(crate) fn read(&self, to: NodeId, file: SnapshotFile, offset: u64, bytes_max: usize) {
        let _ = self.send.send(Sending::Read {
            to,
            file,
            offset,
            bytes_max,
        });
    }

    pub(crate) fn close(&self, file: SnapshotFile) {
        let _ = self.send.send(Sending::Close(file));
    }

    pub(crate) fn write(
        &self,
        cluster: ClusterId,
        file: SnapshotFile,
        run: u64,
        offset: u64,
        bytes: Bytes,
    ) {
        let _ = self.receive.send(Receiving::Write {
            cluster,
            file,
            run,
            offset,
            bytes,
        });
    }

    pub(crate) fn discard(&self, file: SnapshotFile) {
        let _ = self.receive.send(Receiving::Discard(file));
    }

    pub(crate) fn restore(&self, file: SnapshotFile, machine: S) {
        let _ = self.receive.send(Receiving::Restore { file, machine });
    }

    /// Drops a state, which may take long.
    pub(crate) fn forget(&self, machine: S) {
        let _ = self.receive.send(Receiving::Drop(machine));
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

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

fn taking<S>(
    snapshots: &Snapshots,
    jobs: &mpsc::Receiver<(SnapshotHead, Image)>,
    answers: &UnboundedSender<Own<S>>,
    stopping: &AtomicBool,
) {
    for (head, image) in jobs {
        let last = head.snapshot.last;
        let begun = std::time::Instant::now();
        let given_up = || stopping.load(Ordering::Relaxed);
        let taken = work::take(snapshots, &head, image, &given_up);
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let finished = match taken {
            Ok(finished) => {
                info!(%last, bytes = finished.id().bytes, took_ms, "snapshot taken");
                Some(finished)
            }
            Err(_) if given_up() => return,
            Err(error) => {
                warn!(%last, %error, "a snapshot could not be taken; the log grows until one can be");
                None
            }
        };
        if answers.send(Own::SnapshotTaken { last, finished }).is_err() {
            return;
        }
    }
}

fn sending<S>(
    mut sender: Sender<raft_log::OsFiles>,
    jobs: &mpsc::Receiver<Sending>,
    answers: &UnboundedSender<Own<S>>,
) {
    for job in jobs {
        match job {
            Sending::Close(file) => sender.close(file),
            Sending::Read {
                to,
                file,
                offset,
                bytes_max,
            } => {
                let bytes = match sender.read(file, offset, bytes_max) {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        warn!(%to, %error, "a snapshot cannot be read for a follower");
                        None
                    }
                };
                let answer = Own::SnapshotRead {
                    to,
                    file,
                    offset,
                    bytes,
                };
                if answers.send(answer).is_err() {
                    return;
                }
            }
        }
    }
}

fn receiving<S: StateMachine>(
    snapshots: &Snapshots,
    jobs: &mpsc::Receiver<Receiving<S>>,
    answers: &UnboundedSender<Own<S>>,
    stopping: &AtomicBool,
) {
    let given_up = || stopping.load(Ordering::Relaxed);
    let mut receiver = Receiver::new(snapshots.clone());
    for job in jobs {
        let answer = match job {
            Receiving::Discard(file) => {
                receiver.discard(file);
                continue;
            }
            Receiving::Drop(machine) => {
                drop(machine);
                continue;
            }
            // What still waits is of no use to a node that ends.
            _ if given_up() => return,
            Receiving::Write {
                cluster,
                file,
                run,
                offset,
                bytes,
            } => {
                let written = receiver.write(cluster, file, offset, &bytes);
                match &written {
                    Written::Part(_) => {}
                    Written::Whole(..) => {
                        info!(last = %file.last, bytes = file.bytes, "snapshot received");
                    }
                    Written::Failed(error) => {
                        warn!(last = %file.last, %error, "a snapshot could not be received");
                    }
                }
                Own::SnapshotWritten { file, run, written }
            }
            Receiving::Restore { file, mut machine } => {
                match work::restore(snapshots, file, &mut machine, &given_up) {
                    Ok(()) => {
                        info!(last = %file.last, "snapshot installed");
                        let last = file.last;
                        Own::SnapshotRestored { last, machine }
                    }
                    Err(_) if given_up() => return,
                    Err(error) => Own::SnapshotFailed(error.to_string()),
                }
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}
