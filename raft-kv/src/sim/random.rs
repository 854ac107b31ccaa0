//! Chance, split by purpose: each purpose draws from a stream of its own, so that what one of them draws does not depend on how
//! often another was asked. So a fault can be switched off, and everything else stays as it was.

use std::time::Duration;

use fastrand::Rng;

/// What chance is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Purpose {
    /// What the whole run is made of.
    Setup = 1,
    /// Delays, losses, repetitions.
    Net = 2,
    /// How long disks take.
    Disk = 3,
    /// When a node's loop comes round.
    Loop = 4,
    /// What clients do.
    Clients = 5,
    /// Seeds of the cores, and incarnations.
    Nodes = 6,
    /// When faults come: one stream for each class of faults, from here on.
    Faults = 64,
    /// What a fault does: one stream for each.
    Fault = 1 << 20,
}

/// The stream of one purpose, or of a numbered part of it.
#[must_use]
pub(super) fn stream(seed: u64, purpose: Purpose, part: u64) -> Rng {
    // Two rounds of splitmix64's mixer keep streams of neighbouring seeds and purposes apart.
    let mixed = mix(mix(seed) ^ (purpose as u64 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Rng::with_seed(mixed)
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether something with this probability, in millionths, happens.
pub(super) fn happens(rng: &mut Rng, millionths: u32) -> bool {
    rng.u32(0..1_000_000) < millionths
}

/// A time between two, both included, to the microsecond.
pub(super) fn between(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    let (least, most) = (micros(least), micros(most).max(micros(least)));
    Duration::from_micros(rng.u64(least..=most))
}

/// How long until the next of events that come on average so often: drawn evenly from nothing to twice the mean, which keeps the
/// mean and has no long tail.
pub(super) fn until_next(rng: &mut Rng, mean: Duration) -> Duration {
    between(rng, Duration::from_micros(1), mean * 2)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
