//! A cheap check of revisions alone: whoever answers with revisions says in which order everything was done, and that order must
//! be one that the clients can have seen.
//!
//! It sees across keys, where [`check_by_key`](super::check_by_key) does not, and it takes any number of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What an answer says about the store's revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which operation, as (session or client, number). The answers to two tries of one write have the same.
    pub operation: (u64, u64),
    /// When it was asked.
    pub invoked: u64,
    /// When this answer came.
    pub returned: u64,
    /// The revision.
    pub revision: u64,
    /// Whether the operation made the revision; otherwise it saw the store at it.
    pub made: bool,
}

/// Two answers that cannot both be right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RevisionViolation {
    /// What is wrong.
    pub fault: RevisionFault,
    /// The one.
    pub first: Claim,
    /// The other.
    pub second: Claim,
}

/// What is wrong with two answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevisionFault {
    /// One write was applied twice.
    TwoRevisions,
    /// Two writes made the same revision.
    OneRevision,
    /// The first was answered before the second was asked, and still stands behind it by its revision.
    Backwards,
}

impl fmt::Display for RevisionViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            RevisionFault::TwoRevisions => "one write made two revisions",
            RevisionFault::OneRevision => "two writes made one revision",
            RevisionFault::Backwards => {
                "the second was asked after the first was answered, and stands before it by its revision"
            }
        };
        write!(f, "{what}: {}, and {}", self.first, self.second)
    }
}

impl std::error::Error for RevisionViolation {}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, number) = self.operation;
        let what = if self.made { "made" } else { "saw" };
        write!(
            f,
            "{number} of {client} {what} revision {} [{}..{}]",
            self.revision, self.invoked, self.returned
        )
    }
}

/// Whether there is an order of all operations in which revisions never fall and every write has one of its own.
///
/// # Errors
/// The first two answers, by revision, that contradict each other.
pub fn check_revisions(claims: &[Claim]) -> Result<(), RevisionViolation> {
    let mut claims = one_for_each_write(claims)?;
    // What saw a revision comes behind what made it.
    claims.sort_by_key(|claim| (claim.revision, !claim.made));
    // Of those that surely come earlier, the one that was asked last.
    let mut asked_last: Option<Claim> = None;
    for group in claims.chunk_by(|a, b| (a.revision, a.made) == (b.revision, b.made)) {
        if let [first, second, ..] = group
            && first.made
        {
            return Err(violation(RevisionFault::OneRevision, *first, *second));
        }
        let answered_first = group.iter().min_by_key(|claim| claim.returned);
        if let (Some(earlier), Some(later)) = (asked_last, answered_first)
            && later.returned < earlier.invoked
        {
            return Err(violation(RevisionFault::Backwards, *later, earlier));
        }
        asked_last = group
            .iter()
            .copied()
            .chain(asked_last)
            .max_by_key(|claim| claim.invoked);
    }
    Ok(())
}

/// A revision that no write can have made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingRevision {
    /// Which.
    pub revision: u64,
    /// The first answer that shows that the store had come to it.
    pub shown: Claim,
    /// So many revisions up to this one have no write that was answered.
    pub missing: usize,
    /// So many unanswered writes may have made them.
    pub unanswered: usize,
}

impl fmt::Display for MissingRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "up to revision {} there are {} more revisions than answered writes, and only {} unanswered ones that can have made them: {}",
            self.revision, self.missing, self.unanswered, self.shown
        )
    }
}

impl std::error::Error for MissingRevision {}

/// Whether there are enough writes for all revisions from 1 on, given the claims of *all* answered operations, and when each
/// write was asked that was never answered. A write that was applied twice has one revision too many.
///
/// # Errors
/// The first revision that nobody can have made.
pub fn check_missing(claims: &[Claim], unanswered: &[u64]) -> Result<(), MissingRevision> {
    let made: BTreeSet<u64> = claims
        .iter()
        .filter(|claim| claim.made)
        .map(|claim| claim.revision)
        .collect();
    let mut claims = claims.to_vec();
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.revision));
    // Of those with a revision as high or higher, the one that was answered first: by then it was made.
    let mut first: Option<Claim> = None;
    let mut deadlines = BTreeMap::new();
    for claim in claims {
        if first.is_none_or(|first| claim.returned < first.returned) {
            first = Some(claim);
        }
        deadlines.extend(first.map(|first| (claim.revision, first)));
    }
    let mut unanswered = unanswered.to_vec();
    unanswered.sort_unstable();
    let mut missing = 0;
    let mut below = 0;
    for (&revision, &shown) in &deadlines {
        // All between two revisions that are shown have the deadline of the upper one.
        let gap = (revision - below).saturating_sub(u64::from(made.contains(&revision)));
        missing += usize::try_from(gap).unwrap_or(usize::MAX);
        below = revision;
        let asked = unanswered.partition_point(|&asked| asked <= shown.returned);
        if gap > 0 && missing > asked {
            return Err(MissingRevision {
                revision,
                shown,
                missing,
                unanswered: asked,
            });
        }
    }
    Ok(())
}

/// The answers to the tries of one write, as one: it was done between the first asking and the first answer.
fn one_for_each_write(claims: &[Claim]) -> Result<Vec<Claim>, RevisionViolation> {
    let mut writes: BTreeMap<(u64, u64), Claim> = BTreeMap::new();
    let mut all: Vec<Claim> = Vec::new();
    for &claim in claims {
        if !claim.made {
            all.push(claim);
            continue;
        }
        let write = writes.entry(claim.operation).or_insert(claim);
        if write.revision != claim.revision {
            return Err(violation(RevisionFault::TwoRevisions, *write, claim));
        }
        write.invoked = write.invoked.min(claim.invoked);
        write.returned = write.returned.min(claim.returned);
    }
    all.extend(writes.into_values());
    Ok(all)
}

fn violation(fault: RevisionFault, first: Claim, second: Claim) -> RevisionViolation {
    RevisionViolation {
        fault,
        first,
        second,
    }
}
