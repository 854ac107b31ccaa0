//! Makes the next segment ready before it is needed, of a spare file if there is one: by a thread of its own, or (for simulations)
//! within the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::error::Failure;
use crate::files::Files;
use crate::segment::{Recipe, Segment};
use crate::spare::Spares;

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
    spares: Spares,
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

/// Which segment to make, and the spare file to make it of.
#[derive(Clone, Copy)]
struct Order {
    number: u64,
    spare: Option<u64>,
}

struct Worker<F: Files> {
    orders: Option<Sender<Order>>,
    answers: Receiver<Made<F>>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Files> Preparer<F> {
    pub(crate) fn new(recipe: Recipe<F>, size: u32, spares: Spares) -> Self {
        Preparer {
            recipe,
            size,
            spares,
            stop: Arc::new(AtomicBool::new(false)),
            worker: None,
            state: State::Idle,
            full: false,
        }
    }

    /// From here on a thread does the work. If none can be started, the calls do it.
    pub(crate) fn start_thread(&mut self) {
        let (orders, inbox) = channel::<Order>();
        let (outbox, answers) = channel();
        let (recipe, size, stop) = (self.recipe.clone(), self.size, Arc::clone(&self.stop));
        let work = move || {
            for order in inbox {
                if outbox.send(make(&recipe, order, size, &stop)).is_err() {
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

    /// What all segments of the log have in common.
    pub(crate) fn recipe(&self) -> &Recipe<F> {
        &self.recipe
    }

    /// Orders a segment, unless one is ordered or ready; also if the last try passed in vain (a lack of room), but not after any
    /// other failure: what could not be written or synced is not tried again.
    pub(crate) fn order(&mut self, number: u64) {
        match &self.state {
            State::Ordered | State::Made(Ok(_)) => return,
            State::Made(Err(failure)) if failure.is_final() => return,
            State::Idle | State::Made(Err(_)) => {}
        }
        let order = Order {
            number,
            spare: self.spares.take(number),
        };
        let sent = self
            .worker
            .as_ref()
            .and_then(|worker| worker.orders.as_ref()?.send(order).ok());
        self.state = match sent {
            Some(()) => State::Ordered,
            None => State::Made(make(&self.recipe, order, self.size, &self.stop)),
        };
    }

    /// Takes over purged segments, with the sizes of those that nobody can read any more. What is not kept is removed, durably when
    /// this returns.
    pub(crate) fn give(
        &mut self,
        purged: impl IntoIterator<Item = (u64, Option<u32>)>,
    ) -> Result<(), Failure> {
        let mut removed = Vec::new();
        for (number, size) in purged {
            if size != Some(self.size) || !self.spares.keep(number) {
                removed.push(number);
            }
        }
        self.recipe.remove(removed)
    }

    /// Whether there is room, as far as is known without waiting.
    pub(crate) fn space(&mut self) -> Space {
        self.look();
        if self.full { Space::Full } else { Space::Ready }
    }

    /// The failure of the last order, once, if it is final.
    pub(crate) fn failure(&mut self) -> Option<Failure> {
        self.look();
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Made(Err(failure)) if failure.is_final() => Some(failure),
            state => {
                self.state = state;
                None
            }
        }
    }

    /// Takes in the worker's answer, if it is there.
    fn look(&mut self) {
        if let (State::Ordered, Some(worker)) = (&self.state, &self.worker)
            && let Ok(made) = worker.answers.try_recv()
        {
            self.state = State::Made(made);
        }
        match &self.state {
            State::Made(Ok(_)) => self.full = false,
            State::Made(Err(failure)) if failure.is_full() => self.full = true,
            // Nothing is known of the room.
            State::Idle | State::Ordered | State::Made(Err(_)) => {}
        }
    }

    /// Whether an answer is on its way.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.state, State::Ordered)
    }

    /// The segment `number` with room for `bytes`; waits for it if need be.
    pub(crate) fn take(&mut self, number: u64, bytes: u64) -> Result<Segment<F>, Failure> {
        if matches!(&self.state, State::Made(Err(failure)) if failure.is_passing()) {
            self.state = State::Idle;
        }
        let mut made = self.wait(number);
        if is_full(&made) && !self.spares.is_empty() {
            // It was ordered before a purge gave files back.
            made = self.wait(number);
        }
        let made = match made {
            // A batch larger than a segment gets one of its own size.
            Ok(segment) if u64::from(segment.header.size) < bytes => {
                return self.make_large(segment, bytes.next_multiple_of(4096) as u32);
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

    /// The next answer, ordered if it was not yet.
    fn wait(&mut self, number: u64) -> Made<F> {
        self.order(number);
        match (
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
        }
    }

    /// Makes a segment that is larger than usual, in place of the one that is ready. The spare files are room for it, if there is no
    /// other.
    ///
    /// The one that is ready steps aside, to the number behind, as a spare for it; and back, if there is no room for the large one
    /// beside it: smaller batches still fit into it, and it must be there under its name, durably, before any does.
    fn make_large(&mut self, usual: Segment<F>, size: u32) -> Made<F> {
        let number = usual.header.number;
        let aside = number.saturating_add(1);
        self.recipe.rename(number, aside).map_err(Failure::final_)?;
        let mut made = self.recipe.make(number, size, &self.stop);
        if is_full(&made) && !self.spares.is_empty() {
            let removed = self.recipe.remove(self.spares.take_all());
            removed.map_err(Failure::final_)?;
            made = self.recipe.make(number, size, &self.stop);
        }
        if is_full(&made) {
            self.recipe.rename(aside, number).map_err(Failure::final_)?;
            self.state = State::Made(Ok(usual));
        } else if made.is_ok() {
            self.spares.keep_next(aside);
        }
        made
    }
}

/// Makes a segment of a spare file, or of a new one.
fn make<F: Files>(recipe: &Recipe<F>, order: Order, size: u32, stop: &AtomicBool) -> Made<F> {
    match order.spare {
        Some(spare) => recipe.recycle(order.number, size, spare),
        None => recipe.make(order.number, size, stop),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sim_disk::{Fault, SimDisk};

    /// F-L8: until somebody is told of a failure, an order for the same segment does not hide it behind a second try.
    #[test]
    fn a_failed_order_is_not_tried_again() {
        let (disk, dir) = (SimDisk::new(), Path::new("/log"));
        disk.create_dir(dir).expect("a new disk");
        let recipe = Recipe {
            files: disk.clone(),
            dir: dir.to_path_buf(),
            identity: b"test".as_slice().into(),
            epoch: 1,
            payload_max: 100,
        };
        for fault in [Fault::Io, Fault::NoSpace] {
            let mut preparer = Preparer::new(recipe.clone(), 4096, Spares::default());
            disk.fail(disk.operations() + 2, fault);
            preparer.order(1);
            let before = disk.operations();
            preparer.order(1);
            let again = disk.operations() > before;
            assert_eq!(again, fault == Fault::NoSpace, "room may come back");
            let made = preparer.take(1, 0);
            assert_eq!(made.is_err(), fault == Fault::Io);
        }
    }
}
