//! Makes the next segment ready before it is needed: by a thread of its own, or (for simulations) within the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::Failure;
use crate::files::Files;
use crate::segment::{Recipe, Segment};

/// Whether there is room for what comes after the segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The next segment is being made ready, or is. After [`Space::Full`]: it is ready.
    Ready,
    /// There was no room for the next segment. Writing goes on in the present one until it is full; this is the time to
    /// turn new work away and to free space.
    Full,
}

type Made<F> = Result<Segment<F>, Failure>;

pub(crate) struct Preparer<F: Files> {
    recipe: Recipe<F>,
    size: u32,
    stop: Arc<AtomicBool>,
    worker: Option<Worker<F>>,
    state: State<F>,
    /// The last answer was that there is no room. It stands while the next try runs.
    full: bool,
}

enum State<F: Files> {
    Idle,
    /// The worker has the order.
    Ordered,
    Made(Made<F>),
}

struct Worker<F: Files> {
    orders: Option<Sender<u64>>,
    answers: Receiver<Made<F>>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Files> Preparer<F> {
    pub(crate) fn new(recipe: Recipe<F>, size: u32) -> Self {
        Preparer {
            recipe,
            size,
            stop: Arc::new(AtomicBool::new(false)),
            worker: None,
            state: State::Idle,
            full: false,
        }
    }

    /// From here on a thread does the work. If none can be started, the calls do it.
    pub(crate) fn start_thread(&mut self) {
        let (orders, inbox) = channel::<u64>();
        let (outbox, answers) = channel();
        let (recipe, size, stop) = (self.recipe.clone(), self.size, Arc::clone(&self.stop));
        let work = move || {
            for number in inbox {
                if outbox.send(recipe.make(number, size, &stop)).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new()
            .name("raft-log-prepare".into())
            .spawn(work)
        {
            Ok(thread) => {
                self.worker = Some(Worker {
                    orders: Some(orders),
                    answers,
                    thread: Some(thread),
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no thread to make segments ready: rotations will stall");
            }
        }
    }

    /// Orders a segment, unless one is ordered or ready; after a lack of room too.
    pub(crate) fn order(&mut self, number: u64) {
        if matches!(self.state, State::Ordered | State::Made(Ok(_))) {
            return;
        }
        let sent = self
            .worker
            .as_ref()
            .and_then(|worker| worker.orders.as_ref()?.send(number).ok());
        self.state = match sent {
            Some(()) => State::Ordered,
            None => State::Made(self.recipe.make(number, self.size, &self.stop)),
        };
    }

    /// Whether there is room, as far as is known without waiting.
    pub(crate) fn space(&mut self) -> Space {
        if let (State::Ordered, Some(worker)) = (&self.state, &self.worker)
            && let Ok(made) = worker.answers.try_recv()
        {
            self.state = State::Made(made);
        }
        if let State::Made(made) = &self.state {
            self.full = is_full(made);
        }
        if self.full { Space::Full } else { Space::Ready }
    }

    /// Whether an answer is on its way.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.state, State::Ordered)
    }

    /// The segment `number` with room for `bytes`; waits for it if need be.
    pub(crate) fn take(&mut self, number: u64, bytes: u64) -> Result<Segment<F>, Failure> {
        if matches!(&self.state, State::Made(made) if is_full(made)) {
            self.state = State::Idle;
        }
        self.order(number);
        let made = match (
            std::mem::replace(&mut self.state, State::Idle),
            &self.worker,
        ) {
            (State::Made(made), _) => made,
            (State::Ordered, Some(worker)) => match worker.answers.recv() {
                Ok(made) => made,
                // The thread is gone: a panic in the file system's code. The caller can do it as well.
                Err(_) => self.recipe.make(number, self.size, &self.stop),
            },
            (State::Idle | State::Ordered, _) => self.recipe.make(number, self.size, &self.stop),
        };
        let made = match made {
            // A batch larger than a segment gets one of its own size.
            Ok(segment) if u64::from(segment.header.size) < bytes => {
                let size = bytes.next_multiple_of(4096) as u32;
                drop(segment);
                self.recipe.make(number, size, &self.stop)
            }
            made => made,
        };
        self.full = is_full(&made);
        match made {
            Err(failure) => {
                let again = Failure::new(
                    failure.operation,
                    &failure.file,
                    std::io::Error::from(failure.source.kind()),
                );
                if self.full {
                    self.state = State::Made(Err(again));
                }
                Err(failure)
            }
            made => made,
        }
    }
}

fn is_full<F: Files>(made: &Made<F>) -> bool {
    matches!(made, Err(failure) if failure.is_full())
}

impl<F: Files> Drop for Preparer<F> {
    /// Waits for the thread, so that no file is touched after the directory's lock is gone.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = &mut self.worker {
            worker.orders = None;
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
