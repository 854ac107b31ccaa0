//! The histories that logs are driven through, and the model they are compared with.

use super::{Entry, Unit};
use crate::conformance::Clause;

/// What a log must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) hard_state: Option<Vec<u8>>,
    pub(super) entries: Vec<Entry>,
    /// Entries that were cut, and must not come back.
    pub(super) cut: Vec<Entry>,
}

impl Model {
    pub(super) fn apply(&mut self, unit: &Unit) {
        if let Some(hard_state) = &unit.hard_state {
            self.hard_state = Some(hard_state.clone());
        }
        if let Some(index) = unit.truncate_from {
            self.cut.extend(self.entries.split_off(index as usize - 1));
        }
        self.entries.extend(unit.entries.iter().cloned());
    }

    /// Equal but for what was cut on the way.
    pub(super) fn same(&self, other: &Model) -> bool {
        self.hard_state == other.hard_state && self.entries == other.entries
    }

    /// The clause that a recovery has broken, if what it found is neither this model nor the other.
    pub(super) fn broken_by(&self, found: &Model, or: Option<&Model>) -> Option<Clause> {
        let models: Vec<&Model> = std::iter::once(self).chain(or).collect();
        if models.iter().any(|model| model.same(found)) {
            return None;
        }
        let known = |entry: &Entry| models.iter().any(|model| model.entries.contains(entry));
        let stays = |entry: &&Entry| models.iter().all(|model| model.entries.contains(entry));
        let clause = if models
            .iter()
            .all(|model| model.hard_state != found.hard_state)
        {
            Clause::HardStateStays
        } else if let Some(strange) = found.entries.iter().find(|entry| !known(entry)) {
            if self.cut.contains(strange) {
                Clause::TruncationStays
            } else {
                Clause::NothingElse
            }
        } else if self
            .entries
            .iter()
            .filter(stays)
            .any(|entry| !found.entries.contains(entry))
        {
            Clause::EntriesStay
        } else {
            Clause::UnitsAreWhole
        };
        Some(clause)
    }

    /// A unit that continues it.
    pub(super) fn one_more(&self) -> Unit {
        let (index, term) = self.next();
        Unit {
            entries: vec![entry(index, term + 1, 33)],
            ..Unit::default()
        }
    }

    /// The next index, and the last term.
    fn next(&self) -> (u64, u64) {
        let last = self.entries.last();
        last.map_or((1, 1), |entry| (entry.index + 1, entry.term))
    }

    /// For messages: payloads by their length.
    pub(super) fn short(&self) -> String {
        let entry = |entry: &Entry| {
            let Entry {
                index,
                term,
                payload,
            } = entry;
            format!("{index}@{term} ({} bytes)", payload.len())
        };
        let entries: Vec<String> = self.entries.iter().map(entry).collect();
        format!("hard state {:?}, entries {entries:?}", self.hard_state)
    }
}

/// No two entries of a history look the same.
fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let byte = (index * 31 + term * 7 + bytes as u64) as u8;
    let payload = vec![byte; bytes];
    Entry {
        index,
        term,
        payload,
    }
}

/// Grows a list of units that fit each other.
#[derive(Default)]
struct Script {
    model: Model,
    units: Vec<Unit>,
}

impl Script {
    /// `entries`: their lengths in bytes. The term rises with each cut.
    fn unit(&mut self, hard_state: Option<u8>, cut: u64, entries: &[usize]) {
        let mut unit = Unit {
            hard_state: hard_state.map(|byte| vec![byte; 9]),
            ..Unit::default()
        };
        let (mut next, mut term) = self.model.next();
        let cut = cut.min(next - 1);
        if cut > 0 {
            next -= cut;
            term += 1;
            unit.truncate_from = Some(next);
        }
        let made = entries.iter().zip(next..);
        unit.entries = made
            .map(|(&bytes, index)| entry(index, term, bytes))
            .collect();
        self.model.apply(&unit);
        self.units.push(unit);
    }
}

/// Named histories: what every log meets in its life, and random ones.
pub(super) fn histories() -> Vec<(String, Vec<Unit>)> {
    let mut life = Script::default();
    life.unit(Some(1), 0, &[]);
    life.unit(None, 0, &[10, 700, 0]);
    life.unit(Some(2), 0, &[40]);
    // A suffix is cut: by itself, and with what replaces it.
    life.unit(None, 2, &[]);
    life.unit(Some(3), 1, &[900, 20]);
    life.unit(None, 0, &[1500, 1500]);
    life.unit(None, 3, &[5]);
    let mut all = vec![("life".to_owned(), life.units)];
    for seed in 1..=4_u64 {
        let mut draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |limit: u64| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            (draw >> 20) % limit
        };
        let mut script = Script::default();
        for _ in 0..6 {
            let hard_state = (below(3) == 0).then(|| below(256) as u8);
            let cut = if below(4) == 0 { below(4) } else { 0 };
            let count = below(4) + u64::from(hard_state.is_none() && cut == 0);
            let entries: Vec<usize> = (0..count).map(|_| below(1200) as usize).collect();
            script.unit(hard_state, cut, &entries);
        }
        all.push((format!("random {seed}"), script.units));
    }
    all
}
