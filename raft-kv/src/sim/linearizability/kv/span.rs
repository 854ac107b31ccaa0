//! A revision of which one may know no more than where it lies: that of a write whose answer never came.

use std::fmt;

use crate::api::Revision;

/// From the lowest to the highest that it may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Span {
    low: Revision,
    high: Revision,
}

impl Span {
    pub(super) fn exactly(revision: Revision) -> Self {
        Self {
            low: revision,
            high: revision,
        }
    }

    pub(super) fn at_least(low: Revision) -> Self {
        Self {
            low,
            high: Revision::MAX,
        }
    }

    pub(super) fn low(self) -> Revision {
        self.low
    }

    pub(super) fn high(self) -> Revision {
        self.high
    }

    /// What is left of it if it is this one.
    pub(super) fn if_exactly(self, revision: Revision) -> Option<Self> {
        (self.low..=self.high)
            .contains(&revision)
            .then_some(Self::exactly(revision))
    }

    /// What is left of it if it is not above this one.
    pub(super) fn if_at_most(self, revision: Revision) -> Option<Self> {
        (self.low <= revision).then_some(Self {
            low: self.low,
            high: self.high.min(revision),
        })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, high) if low == high => write!(f, "{low}"),
            (low, Revision::MAX) => write!(f, "{low} or later"),
            (low, high) => write!(f, "{low} to {high}"),
        }
    }
}
