//! The two images, the pending changes between them, and what a power loss makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Fault, Keep, SECTOR_BYTES, Tear};

/// A change that is visible and not durable yet.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Length {
        inode: u64,
        len: u64,
    },
    Name {
        dir: PathBuf,
        change: NameChange,
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

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The durable length; bytes beyond it are durable too, but not part of the file after a power loss.
    durable_len: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    inodes: BTreeMap<u64, Inode>,
    inode_last: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) operations: u64,
    pub(super) reads: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) read_faults: BTreeSet<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) lying: bool,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) life: u64,
    down: bool,
}

pub(super) fn name_of(path: &Path) -> io::Result<String> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(name.to_string_lossy().into_owned())
}

fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    Ok((
        path.parent().unwrap_or(Path::new("")).to_path_buf(),
        name_of(path)?,
    ))
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn overwrite(image: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(place) = image.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
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

    pub(super) fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        if self.read_faults.remove(&self.reads) {
            return Err(io::Error::other("simulated read error"));
        }
        Ok(())
    }

    /// Counts an operation; the fault planned for it. The power is gone from here on if that is the fault.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        self.check_power()?;
        self.operations += 1;
        let fault = self.faults.remove(&self.operations);
        self.down = fault == Some(Fault::PowerLoss);
        Ok(fault)
    }

    /// An operation on names: under a power loss it is pending, under another fault not done.
    pub(super) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.begin()? {
            None => change(self),
            Some(Fault::PowerLoss) => {
                let _ = change(self);
                Err(io::Error::other("power loss"))
            }
            Some(Fault::Io) => Err(io::Error::other("simulated I/O error")),
            Some(Fault::NoSpace) => Err(no_space()),
        }
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.inode_last += 1;
        self.inodes.insert(self.inode_last, Inode::default());
        self.inode_last
    }

    pub(super) fn inode_of(&self, path: &Path) -> Option<u64> {
        let (dir, name) = split(path).ok()?;
        self.dirs.get(&dir)?.live.get(&name).copied()
    }

    pub(super) fn live(&self, inode: u64) -> &[u8] {
        self.inodes.get(&inode).map_or(&[], |inode| &inode.live)
    }

    pub(super) fn name_change(
        &mut self,
        path: &Path,
        change: impl FnOnce(String) -> NameChange,
    ) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let change = change(name);
        let names = self.dirs.get_mut(&dir).ok_or(io::ErrorKind::NotFound)?;
        Dir::apply(&mut names.live, &change);
        self.pending.push(Pending::Name { dir, change });
        Ok(())
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.begin()?;
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let room = self.room_for(inode, offset + bytes.len() as u64);
        let (written, result) = match fault {
            None if room => (bytes, Ok(())),
            None | Some(Fault::NoSpace) => (half, Err(no_space())),
            Some(Fault::Io) => (half, Err(io::Error::other("simulated I/O error"))),
            Some(Fault::PowerLoss) => (bytes, Err(io::Error::other("power loss"))),
        };
        let Some(node) = self.inodes.get_mut(&inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = node.live.len();
        overwrite(&mut node.live, written, offset);
        let len = node.live.len();
        self.pending.push(Pending::Write {
            inode,
            offset,
            bytes: written.to_vec(),
        });
        if len > before {
            self.pending.push(Pending::Length {
                inode,
                len: len as u64,
            });
        }
        result
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
        let fault = self.begin()?;
        if fault == Some(Fault::PowerLoss) {
            return Err(io::Error::other("power loss"));
        }
        if fault.is_none() && self.lying {
            return Ok(());
        }
        let (chosen, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(chosen);
        self.pending = rest;
        for pending in chosen {
            match (&pending, fault) {
                (_, None) => self.settle(&pending, &mut |_| true),
                // A journal keeps names until it can write them; data that could not be written is dropped, and nobody
                // will be told again.
                (Pending::Name { .. }, Some(_)) => self.pending.push(pending),
                (Pending::Write { .. } | Pending::Length { .. }, Some(_)) => {}
            }
        }
        match fault {
            None => Ok(()),
            Some(Fault::NoSpace) => Err(no_space()),
            Some(_) => Err(io::Error::other("simulated I/O error")),
        }
    }

    /// Moves a change to the durable image; of a write those sectors that `keep` says.
    fn settle(&mut self, pending: &Pending, keep: &mut dyn FnMut(usize) -> bool) {
        match pending {
            Pending::Write {
                inode,
                offset,
                bytes,
            } => {
                let Some(node) = self.inodes.get_mut(inode) else {
                    return;
                };
                for (nth, (at, sector)) in sectors(*offset, bytes).enumerate() {
                    if keep(nth) {
                        overwrite(&mut node.durable, sector, at);
                    }
                }
            }
            Pending::Length { inode, len } => {
                if let Some(node) = self.inodes.get_mut(inode) {
                    node.durable_len = node.durable_len.max(*len);
                }
            }
            Pending::Name { dir, change } => {
                if let Some(names) = self.dirs.get_mut(dir) {
                    Dir::apply(&mut names.durable, change);
                }
            }
        }
    }

    pub(super) fn restart(&mut self, keep: Keep) {
        let pending = std::mem::take(&mut self.pending);
        let mut coin = Coin(if let Keep::Some(seed) = keep { seed } else { 0 });
        for (nth, change) in pending.iter().enumerate() {
            let is_write = matches!(change, Pending::Write { .. });
            match keep {
                Keep::Nothing => {}
                Keep::All => self.settle(change, &mut |_| true),
                Keep::First(count) if nth < count => self.settle(change, &mut |_| true),
                Keep::Without(lost) if nth != lost => self.settle(change, &mut |_| true),
                Keep::Torn(torn, _) if nth < torn => self.settle(change, &mut |_| true),
                Keep::Torn(torn, tear) if nth == torn && is_write => {
                    let Pending::Write { offset, bytes, .. } = change else {
                        continue;
                    };
                    let count = sectors(*offset, bytes).count();
                    self.settle(change, &mut |sector| match tear {
                        Tear::Front => sector < count / 2,
                        Tear::Back => sector >= count / 2,
                        Tear::Alternate => sector % 2 == 1,
                    });
                }
                Keep::Some(_) if is_write => self.settle(change, &mut |_| coin.throw()),
                Keep::Some(_) if coin.throw() => self.settle(change, &mut |_| true),
                Keep::First(_) | Keep::Without(_) | Keep::Torn(..) | Keep::Some(_) => {}
            }
        }
        for node in self.inodes.values_mut() {
            // Bytes that are not durable read as zeros; bytes beyond the durable length are gone.
            node.durable.resize(node.durable_len as usize, 0);
            node.live.clone_from(&node.durable);
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
        self.read_faults.clear();
        self.life += 1;
        self.down = false;
    }

    pub(super) fn rot(&mut self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let Some(inode) = self.inode_of(file) else {
            return;
        };
        if let Some(node) = self.inodes.get_mut(&inode) {
            change(&mut node.live);
            node.durable.clone_from(&node.live);
            node.durable_len = node.live.len() as u64;
        }
        self.pending.retain(|pending| match pending {
            Pending::Write { inode: of, .. } | Pending::Length { inode: of, .. } => *of != inode,
            Pending::Name { .. } => true,
        });
    }

    pub(super) fn lose(&mut self, file: &Path) {
        let Ok((dir, name)) = split(file) else { return };
        if let Some(names) = self.dirs.get_mut(&dir) {
            names.live.remove(&name);
            names.durable.remove(&name);
        }
    }
}

/// The parts of a write that are within one sector each, with their places.
fn sectors(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = (SECTOR_BYTES - at as usize % SECTOR_BYTES).min(rest.len());
        let (sector, behind) = rest.split_at(len);
        let place = at;
        rest = behind;
        at += len as u64;
        Some((place, sector))
    })
}

/// splitmix64, for coins.
struct Coin(u64);

impl Coin {
    fn throw(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}
