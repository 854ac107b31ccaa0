//! Which snapshot files stand in the directory, and which of them the log has marked. Shared by the log and by all who make
//! snapshots, so that none takes a file's name from under the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::SnapshotWriteError;
use super::{FinishedSnapshot, SnapshotId, snapshot_name, temporary_name};

/// The files of one opening of a log.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest one whose mark is durable.
    newest: Option<SnapshotId>,
    /// All with a name, by index and term.
    placed: BTreeMap<(u64, u64), Placed>,
    /// How many temporary names were given out.
    temporaries: u64,
}

#[derive(Debug)]
struct Placed {
    id: SnapshotId,
    /// Whether its mark is durable, or being written: no other bytes may come under its name.
    kept: bool,
}

fn key(id: &SnapshotId) -> (u64, u64) {
    (id.index, id.term)
}

impl Registry {
    pub(crate) fn new(marked: Option<SnapshotId>) -> Registry {
        let placed = marked.map(|id| (key(&id), Placed { id, kept: true }));
        let state = State {
            newest: marked,
            placed: placed.into_iter().collect(),
            temporaries: 0,
        };
        Registry {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock, and the state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that no other has.
    pub(super) fn temporary_name(&self, index: u64, term: u64) -> String {
        let mut state = self.state();
        state.temporaries += 1;
        temporary_name(index, term, state.temporaries)
    }

    /// Has a file renamed to the name of `id`, unless it comes too late for that.
    pub(super) fn place(
        &self,
        id: SnapshotId,
        rename: impl FnOnce() -> Result<(), SnapshotWriteError>,
    ) -> Result<(), SnapshotWriteError> {
        let mut state = self.state();
        let index = id.index;
        if let Some(newest) = state.newest
            && (index < newest.index || (index == newest.index && id != newest))
        {
            return Err(SnapshotWriteError::Superseded { index, newest });
        }
        let kept = match state.placed.get(&key(&id)) {
            Some(placed) if placed.kept && placed.id != id => {
                let newest = placed.id;
                return Err(SnapshotWriteError::Superseded { index, newest });
            }
            Some(placed) => placed.kept,
            None => false,
        };
        // Under the lock: what it says of the directory is always true.
        rename()?;
        state.placed.insert(key(&id), Placed { id, kept });
        Ok(())
    }

    /// Takes in a file that an opening found whole: it can be marked like one that was finished.
    pub(crate) fn adopt(self: &Arc<Self>, id: SnapshotId) -> FinishedSnapshot {
        let placed = Placed { id, kept: false };
        self.state().placed.insert(key(&id), placed);
        FinishedSnapshot::new(id, self)
    }

    /// Keeps the file as it is from now on, since its mark is being written; `false` if other bytes have its name by now.
    pub(crate) fn keep(&self, id: &SnapshotId) -> bool {
        match self.state().placed.get_mut(&key(id)) {
            Some(placed) if placed.id == *id => {
                placed.kept = true;
                true
            }
            _ => false,
        }
    }

    /// Takes back [`Registry::keep`]: no mark was written.
    pub(crate) fn release(&self, id: &SnapshotId) {
        let mut state = self.state();
        let newest = state.newest;
        if let Some(placed) = state.placed.get_mut(&key(id)) {
            placed.kept = newest == Some(placed.id);
        }
    }

    /// Forgets a file that nobody marked, and has it removed by `remove`, unless its name stands for another by now.
    pub(super) fn discard(
        &self,
        id: SnapshotId,
        remove: impl FnOnce() -> Result<(), SnapshotWriteError>,
    ) -> Result<(), SnapshotWriteError> {
        let mut state = self.state();
        let unmarked = |placed: &Placed| placed.id == id && !placed.kept;
        if !state.placed.get(&key(&id)).is_some_and(unmarked) {
            return Ok(());
        }
        state.placed.remove(&key(&id));
        // Under the lock, as when it came.
        remove()
    }

    /// The mark of `id` is durable: the names of the files that it replaces.
    pub(crate) fn marked(&self, id: SnapshotId) -> Vec<String> {
        let mut state = self.state();
        state.newest = Some(id);
        let (gone, left) = std::mem::take(&mut state.placed)
            .into_iter()
            .partition(|(place, _)| place.0 <= id.index && *place != key(&id));
        state.placed = left;
        let gone: BTreeMap<_, _> = gone;
        gone.into_keys()
            .map(|(index, term)| snapshot_name(index, term))
            .collect()
    }
}
