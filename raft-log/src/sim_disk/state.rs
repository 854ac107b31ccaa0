//! The state of the disk, the pending changes, and what each operation does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::hold::Held;
use super::image::{Inode, overwrite};
use super::power::{Change, Fate, settle_write};
use super::{Fault, Operation, io_error, no_space, power_loss};

/// A change that is visible and not durable yet.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write {
        inode: u64,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Length {
        inode: u64,
        len: u64,
    },
    Name {
        dir: Arc<Path>,
        change: NameChange,
    },
    Directory {
        dir: Arc<Path>,
    },
}

/// A change of a directory.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link {
        name: String,
        inode: u64,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        inode: u64,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    pub(super) live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
}

/// What is planned for an operation that changes something.
#[derive(Clone, Debug)]
pub(super) enum Planned {
    Fault(Fault),
    Elsewhere(Misdirection),
}

/// What is planned for a read.
#[derive(Clone, Debug)]
pub(super) enum ReadFault {
    Io,
    Elsewhere(Misdirection),
}

/// A wrong place.
#[derive(Clone, Debug)]
pub(super) struct Misdirection {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    inodes: BTreeMap<u64, Inode>,
    inode_last: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) operations: u64,
    pub(super) last_operation: Option<(Operation, Arc<Path>)>,
    pub(super) reads: u64,
    pub(super) faults: BTreeMap<u64, Planned>,
    /// Faults of the next operation of a kind on a file.
    pub(super) faults_on: Vec<(Operation, PathBuf, Fault)>,
    pub(super) read_faults: BTreeMap<u64, ReadFault>,
    pub(super) capacity: Option<u64>,
    /// Syncs from this operation on do nothing.
    pub(super) lying_from: Option<u64>,
    pub(super) latencies: BTreeMap<Operation, Duration>,
    pub(super) elapsed: Duration,
    pub(super) holds: Vec<Held>,
    pub(super) hold_last: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) life: u64,
    down: bool,
    /// The states that a power loss within each operation so far would have met, if they are recorded.
    pub(super) recording: Option<Vec<State>>,
}

pub(super) fn name_of(path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(name.to_string_lossy().into_owned())
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    Ok((path.parent().unwrap_or(Path::new("")), name_of(path)?))
}

impl Dir {
    fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
        match change {
            NameChange::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink { name } => {
                names.remove(name);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl State {
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.down {
            Err(io::Error::other("the machine is off"))
        } else {
            Ok(())
        }
    }

    pub(super) fn check_life(&self, life: u64) -> io::Result<()> {
        if self.life == life {
            self.check_power()
        } else {
            Err(io::Error::other(
                "the handle belongs to a former life of the machine",
            ))
        }
    }

    /// Plans the fault that waits for an operation of this kind on this file, if one does: for the operation that comes now.
    pub(super) fn meet_fault(&mut self, operation: Operation, path: &Path) {
        let meant =
            |(kind, file, _): &(Operation, PathBuf, Fault)| *kind == operation && file == path;
        if let Some(nth) = self.faults_on.iter().position(meant) {
            let (.., fault) = self.faults_on.remove(nth);
            let number = self.operations + 1;
            self.faults.insert(number, Planned::Fault(fault));
        }
    }

    pub(super) fn take_time(&mut self, operation: Operation) {
        let latency = self.latencies.get(&operation);
        self.elapsed += latency.copied().unwrap_or_default();
    }

    /// Counts a read; the wrong place that is planned for it, if one is.
    pub(super) fn read(&mut self) -> io::Result<Option<Misdirection>> {
        self.reads += 1;
        match self.read_faults.remove(&self.reads) {
            Some(ReadFault::Io) => Err(io::Error::other("simulated read error")),
            Some(ReadFault::Elsewhere(place)) => Ok(Some(place)),
            None => Ok(None),
        }
    }

    /// Counts an operation; what is planned for it. The power is gone from here on if that is the fault.
    fn begin(&mut self) -> Option<Planned> {
        self.operations += 1;
        let planned = self.faults.remove(&self.operations);
        match planned {
            Some(Planned::Fault(Fault::PowerLoss)) => self.down = true,
            Some(Planned::Fault(Fault::Slow(latency))) => {
                self.elapsed += latency;
                return None;
            }
            _ => {}
        }
        planned
    }

    /// Called where a power loss would strike: with the change of an operation pending, and before a sync does anything.
    fn record(&mut self) {
        if let Some(mut states) = self.recording.take() {
            states.push(self.clone());
            self.recording = Some(states);
        }
    }

    /// [`State::begin`] of what is no write: it has no place to be misdirected to.
    fn begin_fault(&mut self) -> Option<Fault> {
        match self.begin() {
            Some(Planned::Fault(fault)) => Some(fault),
            Some(Planned::Elsewhere(_)) | None => None,
        }
    }

    /// An operation on names: under a power loss it is pending, under an error not done.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> io::Result<(T, Pending)>,
    ) -> io::Result<T> {
        let fault = self.begin_fault();
        match fault {
            Some(Fault::Io) => return Err(io_error()),
            Some(Fault::NoSpace) => return Err(no_space()),
            _ => {}
        }
        let (done, pending) = change(self)?;
        if fault != Some(Fault::Lie) {
            self.pending.push(pending);
        }
        self.record();
        if fault == Some(Fault::PowerLoss) {
            Err(power_loss())
        } else {
            Ok(done)
        }
    }

    /// A directory is durable when this returns, whatever it lies in.
    pub(super) fn create_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.change(|state| {
            state.dirs.entry(dir.to_path_buf()).or_default();
            Ok(((), Pending::Directory { dir: dir.into() }))
        })?;
        let is_it =
            |pending: &Pending| matches!(pending, Pending::Directory { dir: at } if **at == *dir);
        self.pending.retain(|pending| !is_it(pending));
        Ok(())
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.inode_last += 1;
        self.inodes.insert(self.inode_last, Inode::default());
        self.inode_last
    }

    pub(super) fn inode_of(&self, path: &Path) -> Option<u64> {
        let (dir, name) = split(path).ok()?;
        self.dirs.get(dir)?.live.get(&name).copied()
    }

    pub(super) fn live(&self, inode: u64) -> &[u8] {
        self.inodes.get(&inode).map_or(&[], |inode| &inode.live)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let paths = |(dir, names): (&PathBuf, &Dir)| -> Vec<PathBuf> {
            names.live.keys().map(|name| dir.join(name)).collect()
        };
        self.dirs.iter().flat_map(paths).collect()
    }

    pub(super) fn name_change(
        &mut self,
        path: &Path,
        change: impl FnOnce(String) -> NameChange,
    ) -> io::Result<Pending> {
        let (dir, name) = split(path)?;
        let change = change(name);
        let names = self.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        Dir::apply(&mut names.live, &change);
        let dir = dir.into();
        Ok(Pending::Name { dir, change })
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let planned = self.begin();
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let room = self.room_for(inode, offset + bytes.len() as u64);
        let (written, result) = match &planned {
            Some(Planned::Fault(Fault::PowerLoss)) => (bytes, Err(power_loss())),
            Some(Planned::Fault(Fault::Io)) => (half, Err(io_error())),
            Some(Planned::Fault(Fault::NoSpace)) => (half, Err(no_space())),
            _ if !room => (half, Err(no_space())),
            _ => (bytes, Ok(())),
        };
        let Some(node) = self.inodes.get_mut(&inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = node.live.len();
        overwrite(&mut node.live, written, offset);
        let len = node.live.len();
        let bytes = written;
        match &planned {
            Some(Planned::Fault(Fault::Lie)) => {}
            Some(Planned::Elsewhere(place)) => self.strike(place, bytes),
            _ => {
                let bytes = bytes.into();
                self.pending.push(Pending::Write {
                    inode,
                    offset,
                    bytes,
                });
            }
        }
        if len > before {
            let len = len as u64;
            self.pending.push(Pending::Length { inode, len });
        }
        self.record();
        result
    }

    /// A write lands where it should not: on the disk, and so in what is read from there later.
    fn strike(&mut self, place: &Misdirection, bytes: &[u8]) {
        let inode = self.inode_of(&place.file);
        let Some(node) = inode.and_then(|inode| self.inodes.get_mut(&inode)) else {
            return;
        };
        let room = (node.live.len() as u64).saturating_sub(place.offset);
        let bytes = bytes.get(..room as usize).unwrap_or(bytes);
        overwrite(&mut node.durable, bytes, place.offset);
        overwrite(&mut node.live, bytes, place.offset);
    }

    /// What is written in place needs no room, even while files take more than there is.
    fn room_for(&self, inode: u64, end: u64) -> bool {
        let Some(capacity) = self.capacity else {
            return true;
        };
        let growth = end.saturating_sub(self.live(inode).len() as u64);
        let len = |inode: &u64| self.live(*inode).len() as u64;
        let used: u64 = self
            .dirs
            .values()
            .flat_map(|dir| dir.live.values())
            .map(len)
            .sum();
        growth == 0 || used + growth <= capacity
    }

    /// Makes those pending changes durable that `chosen` says.
    pub(super) fn sync(&mut self, chosen: impl Fn(&Pending) -> bool) -> io::Result<()> {
        let fault = self.begin_fault();
        self.record();
        let lying = self.lying_from.is_some_and(|from| self.operations >= from);
        match fault {
            Some(Fault::PowerLoss) => return Err(power_loss()),
            Some(Fault::Lie) => return Ok(()),
            None if lying => return Ok(()),
            _ => {}
        }
        let (chosen, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(chosen);
        self.pending = rest;
        for pending in chosen {
            match (&pending, fault) {
                (_, None) => self.settle(&pending, Fate::Kept),
                // A journal keeps names until it can write them; data that could not be written is dropped, and nobody
                // will be told again.
                (Pending::Name { .. } | Pending::Directory { .. }, Some(_)) => {
                    self.pending.push(pending);
                }
                (Pending::Write { .. } | Pending::Length { .. }, Some(_)) => {}
            }
        }
        match fault {
            None => Ok(()),
            Some(Fault::NoSpace) => Err(no_space()),
            Some(_) => Err(io_error()),
        }
    }

    /// Moves a change to the durable image, as far as its fate says.
    fn settle(&mut self, pending: &Pending, fate: Fate) {
        match pending {
            Pending::Write {
                inode,
                offset,
                bytes,
            } => {
                if let Some(node) = self.inodes.get_mut(inode) {
                    settle_write(node, bytes, *offset, fate);
                }
            }
            _ if fate != Fate::Kept => {
                if let Pending::Directory { dir } = pending {
                    self.dirs.remove(&**dir);
                }
            }
            Pending::Length { inode, len } => {
                if let Some(node) = self.inodes.get_mut(inode) {
                    node.durable_len = node.durable_len.max(*len);
                }
            }
            Pending::Name { dir, change } => {
                if let Some(names) = self.dirs.get_mut(&**dir) {
                    Dir::apply(&mut names.durable, change);
                }
            }
            Pending::Directory { .. } => {}
        }
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        let describe = |pending: &Pending| match pending {
            Pending::Write {
                inode,
                offset,
                bytes,
            } => Change::Write {
                file: *inode,
                offset: *offset,
                bytes: bytes.len(),
            },
            Pending::Length { inode, len } => Change::Length {
                file: *inode,
                len: *len,
            },
            Pending::Name { dir, .. } => Change::Name {
                dir: dir.to_path_buf(),
            },
            Pending::Directory { dir } => Change::Directory {
                dir: dir.to_path_buf(),
            },
        };
        self.pending.iter().map(describe).collect()
    }

    pub(super) fn restart(&mut self, mut fate: impl FnMut(usize, &Change) -> Fate) {
        let changes = self.changes();
        let pending = std::mem::take(&mut self.pending);
        for (nth, (pending, change)) in pending.iter().zip(&changes).enumerate() {
            self.settle(pending, fate(nth, change));
        }
        for node in self.inodes.values_mut() {
            node.forget_pending();
        }
        let mut named = BTreeSet::new();
        for dir in self.dirs.values_mut() {
            dir.live.clone_from(&dir.durable);
            named.extend(dir.live.values().copied());
        }
        self.inodes.retain(|inode, _| named.contains(inode));
        self.kill();
    }

    pub(super) fn kill(&mut self) {
        self.locks.clear();
        self.faults.clear();
        self.faults_on.clear();
        self.read_faults.clear();
        self.life += 1;
        self.down = false;
    }

    pub(super) fn evict(&mut self) {
        for node in self.inodes.values_mut() {
            node.forget_clean();
        }
        for pending in &self.pending {
            match pending {
                Pending::Write {
                    inode,
                    offset,
                    bytes,
                } => {
                    if let Some(node) = self.inodes.get_mut(inode) {
                        overwrite(&mut node.live, bytes, *offset);
                    }
                }
                Pending::Length { inode, len } => {
                    if let Some(node) = self.inodes.get_mut(inode)
                        && (node.live.len() as u64) < *len
                    {
                        Arc::make_mut(&mut node.live).resize(*len as usize, 0);
                    }
                }
                Pending::Name { .. } | Pending::Directory { .. } => {}
            }
        }
    }

    pub(super) fn rot(&mut self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(inode) = self.inode_of(file) else {
            return;
        };
        if let Some(node) = self.inodes.get_mut(&inode) {
            change(Arc::make_mut(&mut node.live));
            node.make_durable();
        }
        self.pending.retain(|pending| match pending {
            Pending::Write { inode: of, .. } | Pending::Length { inode: of, .. } => *of != inode,
            Pending::Name { .. } | Pending::Directory { .. } => true,
        });
    }

    pub(super) fn lose(&mut self, file: &Path) {
        let Ok((dir, name)) = split(file) else { return };
        if let Some(names) = self.dirs.get_mut(dir) {
            names.live.remove(&name);
            names.durable.remove(&name);
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Hash(0xcbf2_9ce4_8422_2325);
        for (dir, names) in &self.dirs {
            hash.add(dir.as_os_str().as_encoded_bytes());
            for (name, inode) in &names.live {
                hash.add(name.as_bytes());
                hash.add(self.live(*inode));
            }
        }
        hash.0
    }
}

/// A fast hash of byte strings, eight bytes at a time; for telling states apart, not against anyone who means ill.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.word(rest.iter().fold(1, |all, &byte| all << 8 | u64::from(byte)));
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
