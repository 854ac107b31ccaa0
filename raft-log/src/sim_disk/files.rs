//! The disk as [`Files`]: every operation passes [`SimDisk::begin`], is counted, and meets its fault if one is planned.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::state::{NameChange, Pending, State, name_of};
use super::{Operation, SimDisk};
use crate::files::{FileHandle, Files};

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: Arc<Path>,
    /// The life of the machine it was opened in.
    life: u64,
    /// Opened for reading only.
    read_only: bool,
}

/// A lock on a directory of a [`SimDisk`].
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.dir);
        }
    }
}

impl SimDisk {
    /// Stands still while it is held, and takes its time. The machine must be on, and still in this life if one is given.
    fn begin(
        &self,
        operation: Operation,
        path: &Path,
        life: Option<u64>,
    ) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let life = life.unwrap_or(state.life);
        loop {
            state.check_life(life)?;
            let hold = state
                .holds
                .iter_mut()
                .find(|hold| hold.stops(operation, path));
            let Some(hold) = hold else { break };
            let id = hold.id;
            hold.standing += 1;
            self.shared.bell.notify_all();
            let held = |state: &mut State| {
                state.life == life && state.holds.iter().any(|hold| hold.id == id)
            };
            state = self
                .shared
                .bell
                .wait_while(state, held)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(hold) = state.holds.iter_mut().find(|hold| hold.id == id) {
                hold.standing -= 1;
            }
        }
        state.take_time(operation);
        state.meet_fault(operation, path);
        if operation != Operation::Read {
            state.last_operation = Some((operation, path.into()));
        }
        Ok(state)
    }

    fn handle(&self, state: &State, inode: u64, path: &Path) -> SimFile {
        SimFile {
            disk: self.clone(),
            inode,
            path: path.into(),
            life: state.life,
            read_only: false,
        }
    }
}

impl Files for SimDisk {
    type Handle = SimFile;
    type Lock = SimLock;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if self.state().dirs.contains_key(dir) {
            return self.state().check_power();
        }
        let mut state = self.begin(Operation::CreateDir, dir, None)?;
        state.create_dir(dir)
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<SimLock>> {
        let mut state = self.begin(Operation::Read, dir, None)?;
        state.read()?;
        if !state.dirs.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let life = state.life;
        let free = state.locks.insert(dir.to_path_buf());
        Ok(free.then(|| SimLock {
            disk: self.clone(),
            dir: dir.to_path_buf(),
            life,
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.begin(Operation::Read, dir, None)?;
        state.read()?;
        let names = state.dirs.get(dir).ok_or(io::ErrorKind::NotFound)?;
        Ok(names.live.keys().cloned().collect())
    }

    fn create(&self, file: &Path) -> io::Result<SimFile> {
        let mut state = self.begin(Operation::Create, file, None)?;
        let inode = state.change(|state| {
            let inode = state.new_inode();
            let change = state.name_change(file, |name| NameChange::Link { name, inode })?;
            Ok((inode, change))
        })?;
        Ok(self.handle(&state, inode, file))
    }

    fn open(&self, file: &Path) -> io::Result<SimFile> {
        let mut state = self.begin(Operation::Read, file, None)?;
        state.read()?;
        let inode = state.inode_of(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&state, inode, file))
    }

    fn open_read(&self, file: &Path) -> io::Result<SimFile> {
        let read_only = true;
        Ok(SimFile {
            read_only,
            ..self.open(file)?
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin(Operation::Rename, to, None)?;
        state.change(|state| {
            let inode = state.inode_of(from).ok_or(io::ErrorKind::NotFound)?;
            if from.parent() != to.parent() {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            let from = name_of(from)?;
            let rename = |to| NameChange::Rename { from, to, inode };
            Ok(((), state.name_change(to, rename)?))
        })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.begin(Operation::Remove, file, None)?;
        state.change(|state| {
            state.inode_of(file).ok_or(io::ErrorKind::NotFound)?;
            let unlink = |name| NameChange::Unlink { name };
            Ok(((), state.name_change(file, unlink)?))
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin(Operation::SyncDir, dir, None)?;
        if !state.dirs.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.sync(|pending| matches!(pending, Pending::Name { dir: at, .. } if **at == *dir))
    }
}

impl SimFile {
    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        if self.read_only && operation != Operation::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.begin(operation, &self.path, Some(self.life))
    }
}

impl FileHandle for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.begin(Operation::Read)?;
        state.read()?;
        Ok(state.live(self.inode).len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.begin(Operation::Read)?;
        let (inode, offset) = state.read()?.map_or((self.inode, offset), |elsewhere| {
            (
                state.inode_of(&elsewhere.file).unwrap_or(0),
                elsewhere.offset,
            )
        });
        let bytes = state.live(inode).get(offset as usize..).unwrap_or_default();
        let len = bytes.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.begin(Operation::Write)?
            .write(self.inode, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let inode = self.inode;
        self.begin(Operation::SyncData)?
            .sync(|pending| matches!(pending, Pending::Write { inode: of, .. } if *of == inode))
    }

    fn sync_all(&self) -> io::Result<()> {
        let inode = self.inode;
        self.begin(Operation::SyncAll)?
            .sync(|pending| match pending {
                Pending::Write { inode: of, .. } | Pending::Length { inode: of, .. } => {
                    *of == inode
                }
                Pending::Name { .. } | Pending::Directory { .. } => false,
            })
    }
}
