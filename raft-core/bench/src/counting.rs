//! An allocator that counts what it gives out. It costs the same for everyone: two additions an allocation, without atomic operations.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The system's allocator, counted.
pub struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// How often memory was asked for, and how much. A block that grows counts once more, with what it grew by.
#[derive(Clone, Copy, Default)]
pub struct Allocations {
    pub count: u64,
    pub bytes: u64,
}

impl Allocations {
    /// All since the process began.
    pub fn so_far() -> Allocations {
        Allocations {
            count: COUNT.load(Relaxed),
            bytes: BYTES.load(Relaxed),
        }
    }
}

impl Sub for Allocations {
    type Output = Allocations;

    fn sub(self, before: Allocations) -> Allocations {
        Allocations {
            count: self.count - before.count,
            bytes: self.bytes - before.bytes,
        }
    }
}

fn note(bytes: usize) {
    // The bench has one thread, so that nothing is lost between the load and the store.
    COUNT.store(COUNT.load(Relaxed) + 1, Relaxed);
    BYTES.store(BYTES.load(Relaxed) + bytes as u64, Relaxed);
}

// SAFETY: every call is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
