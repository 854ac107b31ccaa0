//! Reads the files of a log before recovery does, so that a cold disk is read while the checksums are computed.
//!
//! Nothing is taken from here: the bytes only come into the operating system's cache. So no error matters, and simulations do
//! without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::files::{FileHandle, Files};
use crate::segment::{Recipe, segment_name};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// A thread that reads the segment recovery is in, and the one behind it.
pub(crate) struct ReadAhead {
    numbers: Option<Sender<u64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Starts with the segment `first`. If there is no thread to be had, nothing is read ahead.
    pub(crate) fn start<F: Files>(recipe: &Recipe<F>, first: u64) -> ReadAhead {
        let (numbers, inbox) = channel();
        let _ = numbers.send(first);
        let stop = Arc::new(AtomicBool::new(false));
        let (recipe, stopped) = (recipe.clone(), Arc::clone(&stop));
        let work = move || {
            let mut buf = vec![0; READ_BYTES];
            for number in inbox {
                read_through(&recipe, number, &mut buf, &stopped);
            }
        };
        let thread = std::thread::Builder::new().name("raft-log-ahead".into());
        ReadAhead {
            numbers: Some(numbers),
            stop,
            thread: thread.spawn(work).ok(),
        }
    }

    /// Recovery begins with this segment, and another one follows.
    pub(crate) fn reached(&self, number: u64) {
        if let Some(numbers) = &self.numbers {
            let _ = numbers.send(number + 1);
        }
    }
}

impl Drop for ReadAhead {
    /// Waits for the thread, so that no file is touched after the directory's lock is gone.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.numbers = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_through<F: Files>(recipe: &Recipe<F>, number: u64, buf: &mut [u8], stop: &AtomicBool) {
    let Ok(file) = recipe
        .files
        .open_read(&recipe.dir.join(segment_name(number)))
    else {
        return;
    };
    let mut offset = 0;
    while !stop.load(Ordering::Relaxed) {
        match file.read_at(buf, offset) {
            Ok(0) | Err(_) => return,
            Ok(read) => offset += read as u64,
        }
    }
}
