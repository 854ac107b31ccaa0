//! What may go wrong, by class, and how badly: each seed draws its own mix.

use std::fmt;
use std::str::FromStr;

use super::random::{Purpose, stream};

/// A class of faults. A run can be told to leave any of them out; the others then come just as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fault {
    /// Messages are lost.
    Loss,
    /// Messages come twice.
    Duplicate,
    /// Messages overtake each other.
    Reorder,
    /// Messages that were sent long ago come again.
    Replay,
    /// Links are cut: between halves, around one node, one way, so that only one node sees all, in a chain.
    Partition,
    /// Connections are reset.
    Reset,
    /// Connections swallow everything, and neither side is told.
    BlackHole,
    /// Someone connects who does not belong here: a node of another cluster, no member, one that says to be the node itself, noise.
    Stranger,
    /// Processes are killed; the machine goes on.
    Kill,
    /// Machines lose their power, in the middle of a write too: what was not synced is lost in parts.
    Power,
    /// Processes stand still for a while.
    Pause,
    /// Clocks run up to twice as fast or slow, and jump.
    Clock,
    /// Disks take long.
    SlowDisk,
    /// Disks hang for seconds.
    StalledDisk,
    /// Reads, writes and syncs fail.
    DiskError,
    /// Disks are full for a while.
    FullDisk,
    /// A file of a machine that is off is damaged: at most on as many machines as the cluster can do without.
    Rot,
    /// A machine loses its data directory: as with [`Fault::Rot`]. It must be kept out, until an operator takes it in as new.
    Wipe,
    /// No fault, but what makes faults worse: an operator adds, removes, replaces, promotes and demotes nodes, and moves the lead.
    Membership,
    /// A byte of what is sent over a connection changes on its way.
    Garble,
    /// No fault either: nodes begin with releases of which one follows a newer cluster version, and are started with the other.
    Upgrade,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Replay,
        Self::Partition,
        Self::Reset,
        Self::BlackHole,
        Self::Stranger,
        Self::Kill,
        Self::Power,
        Self::Pause,
        Self::Clock,
        Self::SlowDisk,
        Self::StalledDisk,
        Self::DiskError,
        Self::FullDisk,
        Self::Rot,
        Self::Wipe,
        Self::Membership,
        Self::Garble,
        Self::Upgrade,
    ];

    /// Its name on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Replay => "replay",
            Self::Partition => "partition",
            Self::Reset => "reset",
            Self::BlackHole => "black-hole",
            Self::Stranger => "stranger",
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Pause => "pause",
            Self::Clock => "clock",
            Self::SlowDisk => "slow-disk",
            Self::StalledDisk => "stalled-disk",
            Self::DiskError => "disk-error",
            Self::FullDisk => "full-disk",
            Self::Rot => "rot",
            Self::Wipe => "wipe",
            Self::Membership => "membership",
            Self::Garble => "garble",
            Self::Upgrade => "upgrade",
        }
    }
}

/// One fault of a run: the so-manieth of its class, counted from 0.
///
/// What it does is drawn from its seed, class and number alone, so that others can be left out and it stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurrence {
    /// The class.
    pub fault: Fault,
    /// Its number within the class.
    pub number: u32,
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.fault.name(), self.number)
    }
}

impl FromStr for Occurrence {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, number) = text.rsplit_once('.').ok_or_else(unknown)?;
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        Ok(Self {
            fault: fault.ok_or_else(unknown)?,
            number: number.parse().map_err(|_| unknown())?,
        })
    }
}

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Faults(u32);

impl Faults {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Every class.
    pub const ALL: Self = Self((1 << Fault::ALL.len()) - 1);

    /// Whether a class is in it.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u8 != 0
    }

    /// This set, with a class.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u8)
    }

    /// This set, without a class.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u8))
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in it, in their order.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }

    /// The mix of a seed: half of the runs with each class are without it, and one in sixteen is without any.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = stream(seed, Purpose::Faults, 63);
        if rng.u8(0..16) == 0 {
            return Self::NONE;
        }
        let drawn = Fault::ALL.into_iter().filter(|_| rng.bool());
        drawn.fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::ALL => f.write_str("all"),
            some => {
                let names: Vec<_> = some.iter().map(Fault::name).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({self})")
    }
}

/// A name that is no fault's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no class of faults; write all, none, or some of: {names}", names = Faults::ALL.iter().map(Fault::name).collect::<Vec<_>>().join(","))]
pub struct UnknownFault(String);

impl FromStr for Faults {
    type Err = UnknownFault;

    /// `all`, `none`, or names with commas; `all,-loss` is all but one.
    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let mut set = Self::NONE;
        for word in text.split(',').map(str::trim) {
            let (name, leave_out) = match word.strip_prefix('-') {
                Some(name) => (name, true),
                None => (word, false),
            };
            let named = match name {
                "all" => Self::ALL,
                "none" => Self::NONE,
                name => {
                    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
                    Self::NONE.with(fault.ok_or_else(|| UnknownFault(word.to_owned()))?)
                }
            };
            set = Self(if leave_out {
                set.0 & !named.0
            } else {
                set.0 | named.0
            });
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_they_are_read() {
        for text in ["all", "none", "loss", "partition,power", "kill,wipe"] {
            let set: Faults = text.parse().unwrap();
            assert_eq!(set.to_string(), text);
        }
        let set: Faults = "all,-rot".parse().unwrap();
        assert!(!set.has(Fault::Rot) && set.has(Fault::Loss));
        assert!("losss".parse::<Faults>().is_err());
    }

    #[test]
    fn occurrences_are_written_as_they_are_read() {
        for text in ["kill.0", "black-hole.12"] {
            assert_eq!(text.parse::<Occurrence>().unwrap().to_string(), text);
        }
        assert!("kill".parse::<Occurrence>().is_err());
    }

    #[test]
    fn every_class_is_in_about_half_of_the_mixes() {
        for fault in Fault::ALL {
            let with = (0..1000)
                .filter(|&seed| Faults::draw(seed).has(fault))
                .count();
            assert!((400..550).contains(&with), "{fault:?}: {with}");
        }
    }
}
