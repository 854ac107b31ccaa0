//! A lock that outlives a panic of its holder, and a waker that is called once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Every critical section here leaves the data whole at each step, so a poisoned lock is still good.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who sleeps. Taken by the first to wake it, so a burst of pushes costs one wake-up.
#[derive(Debug, Default)]
pub(crate) struct Sleeper(Option<Waker>);

impl Sleeper {
    pub(crate) fn sleep(&mut self, cx: &Context<'_>) {
        match &self.0 {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.0 = Some(cx.waker().clone()),
        }
    }

    /// To be called after the lock is released.
    #[must_use]
    pub(crate) fn take(&mut self) -> Wake {
        Wake(self.0.take())
    }
}

pub(crate) struct Wake(Option<Waker>);

impl Wake {
    pub(crate) fn wake(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}
