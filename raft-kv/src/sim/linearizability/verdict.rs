//! What a check found, for programs and for people.

use std::fmt;

use super::{Model, Operation, OperationId};

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    NotLinearizable(Box<Violation>),
    /// Whether there is one was not found out within the budget. This is no pass.
    Inconclusive {
        /// How many steps of the model were made.
        steps: u64,
    },
}

impl Verdict {
    /// Whether an order was found.
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        *self == Verdict::Linearizable
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable => f.write_str("linearizable"),
            Verdict::NotLinearizable(violation) => violation.fmt(f),
            Verdict::Inconclusive { steps } => {
                write!(f, "inconclusive: no verdict within {steps} steps")
            }
        }
    }
}

/// Why there is no order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// In a sentence.
    pub reason: String,
    /// As many operations as could be put in order, in this order.
    pub placed: Vec<Line>,
    /// Those of which one would have to come next, the one that was answered first before the others; none of them can.
    pub refused: Vec<Line>,
}

/// An operation, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Which.
    pub id: OperationId,
    /// Whose.
    pub client: u64,
    /// What, and the answer.
    pub text: String,
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered, if it was.
    pub returned: Option<u64>,
}

impl Line {
    pub(super) fn of<M: Model>(model: &M, operation: &Operation<M::Input, M::Output>) -> Self {
        Self {
            id: operation.id,
            client: operation.client,
            text: model.describe(&operation.input, operation.output()),
            invoked: operation.invoked,
            returned: operation.returned(),
        }
    }
}

/// So many of the placed operations are shown; those before are what all agree on.
const PLACED_SHOWN: usize = 12;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not linearizable: {}", self.reason)?;
        let hidden = self.placed.len().saturating_sub(PLACED_SHOWN);
        if !self.placed.is_empty() {
            f.write_str("\nin this order:")?;
        }
        if hidden > 0 {
            write!(f, "\n  … {hidden} before these")?;
        }
        for line in self.placed.iter().skip(hidden) {
            write!(f, "\n  {line}")?;
        }
        f.write_str("\nnone of these fits:")?;
        for line in &self.refused {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line {
            client,
            text,
            invoked,
            ..
        } = self;
        match self.returned {
            Some(returned) => write!(f, "{client:>3}  {text:<48} [{invoked}..{returned}]"),
            None => write!(f, "{client:>3}  {text:<48} [{invoked}..?]"),
        }
    }
}
