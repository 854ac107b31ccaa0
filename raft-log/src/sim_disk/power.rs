//! What a power loss makes of the pending changes.

use std::path::PathBuf;
use std::sync::Arc;

use super::image::{Inode, overwrite, sector_count, sectors};

/// A change that is visible and not durable yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Bytes of a file.
    Write {
        /// A number that the file keeps for its life, whatever it is called.
        file: u64,
        /// The first byte.
        offset: u64,
        /// How many.
        bytes: usize,
    },
    /// The length of a file, that a write made longer.
    Length {
        /// As in [`Change::Write`].
        file: u64,
        /// The new length in bytes.
        len: u64,
    },
    /// A name that was made, changed or removed.
    Name {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory.
    Directory {
        /// Its path.
        dir: PathBuf,
    },
}

/// What becomes of one pending change when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is durable.
    Kept,
    /// It is gone; what stood there before stands there again.
    Lost,
    /// It is gone; a write's bytes read as zeros, but for sectors that it would not have changed.
    Zeroed,
    /// Parts of a write are durable; the others read as what stood there before. What is no write is lost.
    Torn(Tear),
    /// Parts of a write are durable; the others read as zeros, as with [`Fate::Zeroed`]. What is no write is lost.
    TornZeroed(Tear),
}

/// Which parts of a torn write arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tear {
    /// The first half of its sectors.
    Front,
    /// The second half of its sectors.
    Back,
    /// Every other sector, beginning with the second.
    Alternate,
    /// The first so many sectors.
    Sectors(usize),
    /// The first so many bytes.
    Bytes(usize),
    /// Each sector by a coin that this seed throws.
    Coin(u64),
}

/// Which pending changes survive a power loss. They are numbered from 0 in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// None.
    Nothing,
    /// All.
    All,
    /// The first so many.
    First(usize),
    /// All but this one.
    Without(usize),
    /// All but this one, whose bytes read as zeros.
    Zeroed(usize),
    /// All before this one, and parts of this one; see [`Fate::Torn`].
    Torn(usize, Tear),
    /// All before this one, and parts of this one; see [`Fate::TornZeroed`].
    TornZeroed(usize, Tear),
    /// Each change by a coin that this seed throws; a write is kept, lost or torn, at sectors or at a byte.
    Some(u64),
}

impl Keep {
    /// What becomes of each change, asked in their order.
    pub(super) fn fates(self) -> impl FnMut(usize, &Change) -> Fate {
        let mut coin = Coin(if let Keep::Some(seed) = self { seed } else { 0 });
        move |nth, change| match self {
            Keep::All => Fate::Kept,
            Keep::First(count) if nth < count => Fate::Kept,
            Keep::Without(lost) if nth != lost => Fate::Kept,
            Keep::Zeroed(lost) if nth != lost => Fate::Kept,
            Keep::Zeroed(_) => Fate::Zeroed,
            Keep::Torn(torn, _) | Keep::TornZeroed(torn, _) if nth < torn => Fate::Kept,
            Keep::Torn(torn, tear) if nth == torn => Fate::Torn(tear),
            Keep::TornZeroed(torn, tear) if nth == torn => Fate::TornZeroed(tear),
            Keep::Some(_) => coin.fate(change),
            Keep::Nothing
            | Keep::First(_)
            | Keep::Without(_)
            | Keep::Torn(..)
            | Keep::TornZeroed(..) => Fate::Lost,
        }
    }
}

/// See [`super::SimDisk::power_losses`].
pub(super) fn power_losses(changes: &[Change], seeds: u64, salt: u64) -> Vec<Keep> {
    let mut coin = Coin(salt.wrapping_mul(0x9e37_79b9).wrapping_add(seeds));
    let mut losses = vec![Keep::Nothing, Keep::All];
    for (nth, change) in changes.iter().enumerate() {
        losses.push(Keep::First(nth));
        losses.push(Keep::Without(nth));
        let &Change::Write { offset, bytes, .. } = change else {
            continue;
        };
        losses.push(Keep::Zeroed(nth));
        let mut tears = vec![
            Tear::Bytes(coin.below(bytes)),
            Tear::Bytes(1),
            Tear::Bytes(bytes.saturating_sub(1)),
        ];
        if sector_count(offset, bytes) > 1 {
            let boundary = Tear::Sectors(1 + coin.below(sector_count(offset, bytes) - 1));
            tears.extend([Tear::Front, Tear::Back, Tear::Alternate, boundary]);
        }
        losses.extend(tears.iter().map(|&tear| Keep::Torn(nth, tear)));
        losses.extend(tears.iter().map(|&tear| Keep::TornZeroed(nth, tear)));
    }
    losses.extend((0..seeds).map(|seed| Keep::Some(salt.wrapping_mul(1000).wrapping_add(seed))));
    losses
}

/// Moves a write to the durable image of its file, as far as its fate says.
pub(super) fn settle_write(file: &mut Inode, bytes: &[u8], offset: u64, fate: Fate) {
    let image = &mut file.durable;
    let (tear, zeros) = match fate {
        Fate::Kept => return overwrite(image, bytes, offset),
        Fate::Lost => return,
        Fate::Zeroed => (Tear::Bytes(0), true),
        Fate::Torn(tear) => (tear, false),
        Fate::TornZeroed(tear) => (tear, true),
    };
    if zeros {
        zero_changed(image, bytes, offset);
    }
    tear.parts(image, bytes, offset);
}

/// Zeroes a write's bytes in each sector that it changes.
fn zero_changed(image: &mut Arc<Vec<u8>>, bytes: &[u8], offset: u64) {
    for (at, sector) in sectors(offset, bytes) {
        let place = at as usize..at as usize + sector.len();
        if image.get(place) != Some(sector) {
            overwrite(image, &vec![0; sector.len()], at);
        }
    }
}

impl Tear {
    /// Writes the parts that arrive.
    fn parts(self, image: &mut Arc<Vec<u8>>, bytes: &[u8], offset: u64) {
        let count = sector_count(offset, bytes.len());
        let mut coin = Coin(if let Tear::Coin(seed) = self { seed } else { 0 });
        if let Tear::Bytes(first) = self {
            return overwrite(image, bytes.get(..first).unwrap_or(bytes), offset);
        }
        for (nth, (at, sector)) in sectors(offset, bytes).enumerate() {
            let arrives = match self {
                Tear::Front => nth < count / 2,
                Tear::Back => nth >= count / 2,
                Tear::Alternate => nth % 2 == 1,
                Tear::Sectors(first) => nth < first,
                Tear::Coin(_) => coin.throw(),
                Tear::Bytes(_) => false,
            };
            if arrives {
                overwrite(image, sector, at);
            }
        }
    }
}

/// splitmix64, for coins.
struct Coin(u64);

impl Coin {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn throw(&mut self) -> bool {
        self.draw() & 1 == 1
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.draw() % limit.max(1) as u64) as usize
    }

    fn fate(&mut self, change: &Change) -> Fate {
        let &Change::Write { bytes, .. } = change else {
            return if self.throw() { Fate::Kept } else { Fate::Lost };
        };
        match self.below(8) {
            0 => Fate::Kept,
            1 => Fate::Lost,
            2 => Fate::Zeroed,
            3 => Fate::Torn(Tear::Bytes(self.below(bytes))),
            4 => Fate::TornZeroed(Tear::Bytes(self.below(bytes))),
            5 => Fate::TornZeroed(Tear::Coin(self.draw())),
            _ => Fate::Torn(Tear::Coin(self.draw())),
        }
    }
}
