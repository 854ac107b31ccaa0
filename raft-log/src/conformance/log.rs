//! What a log behind a Raft core must keep, whatever happens to it.
//!
//! # The contract
//!
//! A [`Unit`] is durable when [`DurableLog::persist`] returns `Ok`: hard state, truncation and entries, all of it. After an
//! end of the process or of the power it is there as a whole; if it was under way, as a whole or not at all. What a recovery
//! has once shown counts as persisted from then on, since the core acts on it.

mod histories;
mod on_files;

use super::{Clause, Summary, Violation};
use histories::{Model, histories};

pub use on_files::OnFiles;

/// An entry, as Raft has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index, beginning with 1.
    pub index: u64,
    /// Its term; never falls along the log.
    pub term: u64,
    /// The command.
    pub payload: Vec<u8>,
}

/// What becomes durable together, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Replaces the hard state (term and vote), if there is one.
    pub hard_state: Option<Vec<u8>>,
    /// Cuts this entry and all behind it. It is there.
    pub truncate_from: Option<u64>,
    /// Follow the last entry that is left.
    pub entries: Vec<Entry>,
}

/// What a recovery says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The newest hard state, if there ever was one.
    pub hard_state: Option<Vec<u8>>,
    /// The last index; 0 if there is no entry.
    pub last: u64,
}

/// A log that keeps a hard state and entries, and the switch of the machine it runs on.
pub trait DurableLog {
    /// Opens the log, or makes it. What it answers must be durable by then. Called at first, and after each
    /// [`DurableLog::end_process`] and [`DurableLog::lose_power`].
    ///
    /// # Errors
    /// A message. The suite expects one only where it has interrupted the log.
    fn open(&mut self) -> Result<State, String>;

    /// Makes a unit durable.
    ///
    /// # Errors
    /// As [`DurableLog::open`].
    fn persist(&mut self, unit: &Unit) -> Result<(), String>;

    /// The entry with this index, which is there.
    ///
    /// # Errors
    /// As [`DurableLog::open`].
    fn read(&mut self, index: u64) -> Result<Entry, String>;

    /// The process ends without warning, and the machine goes on: what was written is there, synced or not.
    fn end_process(&mut self);

    /// The power goes: what was not synced may be gone; see [`Power::lose_power`](super::Power::lose_power).
    fn lose_power(&mut self, seed: u64);

    /// Lets the file operation, as many from now (1 is the next), and all after it fail until one of the two above; see
    /// [`Power::interrupt`](super::Power::interrupt). One that cannot may do nothing; then the suite ends the log between
    /// units only, and does not see what is wrong within them.
    fn interrupt(&mut self, operation: u64);
}

/// How a log comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Process,
    Power(u64),
}

/// After an interruption the power goes with nothing kept, with all, with something between; or only the process ends.
const ENDS: [End; 5] = [
    End::Power(0),
    End::Power(1),
    End::Power(7),
    End::Power(8),
    End::Process,
];

/// More file operations than a unit or an opening has.
const OPERATIONS_MAX: u64 = 200;

/// Runs scripted and random histories on new logs: through their end; ended behind each unit; interrupted at each file operation
/// of each unit, and of each opening, and then ended. After each end the log is opened and compared with the model, once more
/// after another power loss, and goes on.
///
/// # Errors
/// The first clause that does not hold.
pub fn run<L: DurableLog>(new: impl Fn() -> L) -> Result<Summary, Violation> {
    let mut cases = 0;
    for (name, units) in histories() {
        for count in 0..=units.len() {
            let done = units.get(..count).unwrap_or_default();
            for end in ENDS {
                let mut case = Case::begin(&new, &name, done)?;
                case.end(end)?;
                case.go_on()?;
                cases += 1;
            }
            if let Some(next) = units.get(count) {
                cases += interrupted(&new, &name, done, Some(next))?;
            }
            cases += interrupted(&new, &name, done, None)?;
        }
    }
    Ok(Summary { cases })
}

/// Interrupts a unit, or else an opening, at each of its operations.
fn interrupted<L: DurableLog>(
    new: &impl Fn() -> L,
    name: &str,
    done: &[Unit],
    next: Option<&Unit>,
) -> Result<u64, Violation> {
    let mut cases = 0;
    for operation in 1..=OPERATIONS_MAX {
        for end in ENDS {
            let mut case = Case::begin(new, name, done)?;
            let whole = match next {
                Some(unit) => case.interrupt_unit(unit, operation),
                None => case.interrupt_opening(operation),
            };
            if whole {
                return Ok(cases);
            }
            case.end(end)?;
            case.go_on()?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// A log beside its model.
struct Case<L> {
    log: L,
    model: Model,
    /// The model if what was under way counts.
    or: Option<Model>,
    text: String,
}

impl<L: DurableLog> Case<L> {
    /// A new log with these units.
    fn begin(new: &impl Fn() -> L, name: &str, done: &[Unit]) -> Result<Self, Violation> {
        let mut case = Case {
            log: new(),
            model: Model::default(),
            or: None,
            text: format!("history {name}, {} units", done.len()),
        };
        case.open()?;
        for unit in done {
            case.persist(unit)?;
        }
        Ok(case)
    }

    fn persist(&mut self, unit: &Unit) -> Result<(), Violation> {
        let persisted = self.log.persist(unit);
        persisted.map_err(|error| Clause::Persists.broken(&self.text, error))?;
        self.model.apply(unit);
        self.compare_read()
    }

    /// Whether the unit was persisted before the interruption struck.
    fn interrupt_unit(&mut self, unit: &Unit, operation: u64) -> bool {
        let mut or = self.model.clone();
        or.apply(unit);
        self.or = Some(or);
        self.text += &format!(", the next interrupted at operation {operation}");
        self.log.interrupt(operation);
        self.log.persist(unit).is_ok()
    }

    fn interrupt_opening(&mut self, operation: u64) -> bool {
        self.text +=
            &format!(", a power loss, and the opening interrupted at operation {operation}");
        self.log.lose_power(0);
        self.log.interrupt(operation);
        self.log.open().is_ok()
    }

    fn end(&mut self, end: End) -> Result<(), Violation> {
        match end {
            End::Process => self.log.end_process(),
            End::Power(seed) => self.log.lose_power(seed),
        }
        self.text += &format!(", then {end:?}");
        self.open()
    }

    /// What was shown must stay, and what comes behind it too.
    fn go_on(&mut self) -> Result<(), Violation> {
        self.end(End::Power(0))?;
        let unit = self.model.one_more();
        self.persist(&unit)?;
        self.text += ", one more unit";
        self.end(End::Power(0))
    }

    /// Opens the log, and compares it with the model.
    fn open(&mut self) -> Result<(), Violation> {
        let state = self.log.open();
        let state = state.map_err(|error| Clause::Opens.broken(&self.text, error))?;
        let mut found = Model {
            hard_state: state.hard_state,
            cut: self.model.cut.clone(),
            ..Model::default()
        };
        for index in 1..=state.last {
            let entry = self.log.read(index);
            let entry = entry.map_err(|error| Clause::Reads.broken(&self.text, error))?;
            if entry.index != index {
                let found = format!("entry {} for {index}", entry.index);
                return Err(Clause::Reads.broken(&self.text, found));
            }
            found.entries.push(entry);
        }
        if let Some(clause) = self.model.broken_by(&found, self.or.as_ref()) {
            let (found, or) = (found.short(), self.or.as_ref().map(Model::short));
            let found = format!("{found}; expected {}, or {or:?}", self.model.short());
            return Err(clause.broken(&self.text, found));
        }
        match self.or.take() {
            Some(or) if or.same(&found) => self.model = or,
            _ => {}
        }
        Ok(())
    }

    /// All that is in the model can be read.
    fn compare_read(&mut self) -> Result<(), Violation> {
        for entry in &self.model.entries {
            let read = self.log.read(entry.index);
            if read.as_ref() != Ok(entry) {
                return Err(
                    Clause::Reads.broken(&self.text, format!("{read:?} for {}", entry.index))
                );
            }
        }
        Ok(())
    }
}
