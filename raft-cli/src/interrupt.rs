//! Ctrl-C: it ends the process, or only what asked to be told of it.

use std::io;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// What a shell reports of a process that Ctrl-C ended.
const STATUS: i32 = 130;

/// Where it is said who wants to be told of Ctrl-C.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    waiting: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl Interrupt {
    /// Watches for Ctrl-C from now on; until then, it ends the process as ever.
    ///
    /// Panics outside of a runtime.
    pub(crate) fn watch(&self) -> io::Result<()> {
        let mut typed = signal(SignalKind::interrupt())?;
        let interrupt = self.clone();
        tokio::spawn(async move {
            while typed.recv().await.is_some() {
                match interrupt.take() {
                    Some(waiting) => waiting.notify_one(),
                    None => process::exit(STATUS),
                }
            }
        });
        Ok(())
    }

    /// The next Ctrl-C is told to what this returns, for as long as that lives. The one after it ends the process.
    pub(crate) fn catch(&self) -> Caught {
        let notify = Arc::new(Notify::new());
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(notify.clone());
        Caught {
            interrupt: self.clone(),
            notify,
        }
    }

    fn take(&self) -> Option<Arc<Notify>> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Whoever is told of the next Ctrl-C.
pub(crate) struct Caught {
    interrupt: Interrupt,
    notify: Arc<Notify>,
}

impl Caught {
    /// Until Ctrl-C is typed.
    pub(crate) async fn typed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        self.interrupt.take();
    }
}
