//! Operations that stand still until they are let go.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{Operation, SimDisk};

/// A hold as the disk knows it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    operation: Operation,
    file: Option<PathBuf>,
    /// How many operations stand in it.
    pub(super) standing: usize,
}

impl Held {
    pub(super) fn stops(&self, operation: Operation, path: &Path) -> bool {
        self.operation == operation && self.file.as_deref().is_none_or(|file| file == path)
    }
}

/// Operations stand still for as long as this lives; see [`SimDisk::hold`].
#[derive(Debug)]
pub struct Hold {
    disk: SimDisk,
    id: u64,
}

impl Hold {
    pub(super) fn new(disk: SimDisk, operation: Operation, file: Option<&Path>) -> Hold {
        let mut state = disk.state();
        state.hold_last += 1;
        let id = state.hold_last;
        state.holds.push(Held {
            id,
            operation,
            file: file.map(Path::to_path_buf),
            standing: 0,
        });
        drop(state);
        Hold { disk, id }
    }

    /// Waits until at least one operation stands in the hold.
    pub fn wait(&self) {
        let state = self.disk.state();
        let none = |state: &mut super::State| {
            !state
                .holds
                .iter()
                .any(|held| held.id == self.id && held.standing > 0)
        };
        let waited = self.disk.shared.bell.wait_while(state, none);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets all go on that stand in it; the same as dropping it.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.disk.state().holds.retain(|held| held.id != self.id);
        self.disk.shared.bell.notify_all();
    }
}
