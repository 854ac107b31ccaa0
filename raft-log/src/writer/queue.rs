//! The bounded queue between those who submit and the writing thread. Its lock is held for a push or a drain, never
//! across IO.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::OwnedBatch;

/// Why a unit was not taken; it comes back.
pub(crate) enum Refused {
    Full(OwnedBatch),
    Closed(OwnedBatch),
}

#[derive(Default)]
struct State {
    units: VecDeque<OwnedBatch>,
    bytes: usize,
    /// Overtakes all units: on a full disk it is what makes room for them.
    purge: Option<u64>,
    /// The unit taken last waits for room on the disk.
    stuck: bool,
    closed: bool,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signalled when a unit or a purge comes, or the queue closes.
    filled: Condvar,
    /// Signalled when units go or the queue closes.
    drained: Condvar,
    units_max: usize,
    bytes_max: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// What a wait ended with.
pub(crate) enum Taken {
    Units,
    Purge(u64),
    TimedOut,
    /// Closed, and nothing is left.
    Closed,
}

impl Queue {
    pub(crate) fn new(units_max: usize, bytes_max: usize) -> Self {
        let (filled, drained) = (Condvar::new(), Condvar::new());
        Queue {
            state: Mutex::default(),
            filled,
            drained,
            units_max,
            bytes_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, and the state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room in the queue if `wait` is set; not while the disk has none, for that may last for ever.
    pub(crate) fn push(&self, unit: OwnedBatch, wait: bool) -> Result<(), Refused> {
        let mut state = self.state();
        let bytes = unit.bytes();
        // A unit larger than the whole queue goes in alone, or it never would.
        let full = |state: &State| {
            state.units.len() >= self.units_max
                || (!state.units.is_empty() && state.bytes + bytes > self.bytes_max)
        };
        while !state.closed && full(&state) {
            if !wait || state.stuck {
                return Err(Refused::Full(unit));
            }
            state = self
                .drained
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Refused::Closed(unit));
        }
        state.bytes += bytes;
        state.units.push_back(unit);
        self.filled.notify_one();
        Ok(())
    }

    /// Notes a purge; whether anyone is there to do it.
    pub(crate) fn purge(&self, up_to: u64) -> bool {
        let mut state = self.state();
        state.purge = state.purge.max(Some(up_to));
        self.filled.notify_one();
        !state.closed
    }

    /// Moves what waits into `out`: up to `bytes_max` bytes, but one unit at least.
    pub(crate) fn take(
        &self,
        out: &mut Vec<OwnedBatch>,
        bytes_max: usize,
        timeout: Option<Duration>,
    ) -> Taken {
        let state = self.wait(timeout, |state| !state.units.is_empty());
        let Ok(mut state) = state else {
            return Taken::TimedOut;
        };
        if let Some(up_to) = state.purge.take() {
            return Taken::Purge(up_to);
        }
        if state.units.is_empty() {
            return Taken::Closed;
        }
        let mut bytes = 0;
        while let Some(unit) = state.units.front() {
            bytes += unit.bytes();
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            if let Some(unit) = state.units.pop_front() {
                state.bytes -= unit.bytes();
                out.push(unit);
            }
        }
        self.drained.notify_all();
        Taken::Units
    }

    /// Waits for a purge or the end, not for units.
    pub(crate) fn take_purge(&self, timeout: Duration) -> Taken {
        match self.wait(Some(timeout), |_| false) {
            Ok(mut state) => state.purge.take().map_or(Taken::Closed, Taken::Purge),
            Err(()) => Taken::TimedOut,
        }
    }

    /// Waits until there is a purge, the queue is closed, or `ready`.
    fn wait(
        &self,
        timeout: Option<Duration>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'_, State>, ()> {
        let idle = |state: &mut State| state.purge.is_none() && !state.closed && !ready(state);
        let state = self.state();
        match timeout {
            None => Ok(self
                .filled
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner)),
            Some(timeout) => {
                let waited = self.filled.wait_timeout_while(state, timeout, idle);
                let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() {
                    Err(())
                } else {
                    Ok(state)
                }
            }
        }
    }

    /// Says whether the unit taken last waits for room on the disk.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.state().stuck = stuck;
        // Whoever waits to push looks again.
        self.drained.notify_all();
    }

    /// Nothing more goes in; what is in still comes out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }
}
