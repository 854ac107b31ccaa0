//! What clients asked, when, and what they were answered.

use std::collections::BTreeMap;

/// Names an operation of a history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OperationId(pub u64);

/// An operation, from its invocation to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation<I, O> {
    /// Which.
    pub id: OperationId,
    /// Whose; for people only.
    pub client: u64,
    /// What was asked.
    pub input: I,
    /// When it was asked.
    pub invoked: u64,
    /// How it ended.
    pub outcome: Outcome<O>,
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<O> {
    /// It was answered.
    Returned {
        /// What.
        output: O,
        /// When.
        at: u64,
    },
    /// Nobody knows: it may take effect at any time after its invocation, or never.
    Unknown,
}

impl<I, O> Operation<I, O> {
    /// The answer, if there is one.
    #[must_use]
    pub fn output(&self) -> Option<&O> {
        match &self.outcome {
            Outcome::Returned { output, .. } => Some(output),
            Outcome::Unknown => None,
        }
    }

    /// When the answer came, if it came.
    #[must_use]
    pub fn returned(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Returned { at, .. } => Some(at),
            Outcome::Unknown => None,
        }
    }
}

/// The operations of a run. Times are of one clock: virtual nanoseconds, or the numbers of the events. An answer and an invocation at
/// the very same time count as overlapping; where time stands still between events, their numbers see more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History<I, O> {
    operations: BTreeMap<OperationId, Operation<I, O>>,
    next: u64,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self {
            operations: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<I, O> History<I, O> {
    /// A history without operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client asks for something. Until more is said of it, its outcome is unknown.
    pub fn invoke(&mut self, client: u64, input: I, at: u64) -> OperationId {
        let id = OperationId(self.next);
        self.next += 1;
        self.operations.insert(
            id,
            Operation {
                id,
                client,
                input,
                invoked: at,
                outcome: Outcome::Unknown,
            },
        );
        id
    }

    /// The answer has come.
    ///
    /// # Panics
    /// When the operation has an answer already, was [never applied](Self::never_applied), or is answered before it was asked.
    pub fn complete(&mut self, id: OperationId, output: O, at: u64) {
        let operation = self.operations.get_mut(&id);
        let operation = operation.unwrap_or_else(|| panic!("{id:?} is not in this history"));
        assert!(
            operation.output().is_none() && operation.invoked <= at,
            "{id:?}, invoked at {}, cannot be answered at {at}: {:?}",
            operation.invoked,
            operation.returned()
        );
        operation.outcome = Outcome::Returned { output, at };
    }

    /// It surely was not carried out, and never will be: as if nobody had asked. Reads without an answer belong here, too.
    pub fn never_applied(&mut self, id: OperationId) {
        self.operations.remove(&id);
    }

    /// The operations, in the order in which they were recorded.
    pub fn operations(&self) -> impl Iterator<Item = &Operation<I, O>> {
        self.operations.values()
    }

    /// One of them.
    #[must_use]
    pub fn operation(&self, id: OperationId) -> Option<&Operation<I, O>> {
        self.operations.get(&id)
    }

    /// Changes outcomes, where more was found out.
    pub(super) fn outcomes_mut(&mut self) -> impl Iterator<Item = (&I, u64, &mut Outcome<O>)> {
        let operations = self.operations.values_mut();
        operations.map(|operation| (&operation.input, operation.invoked, &mut operation.outcome))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }
}
