//! What was so before: the changes of the last revisions, for those who watch, and for reads at an older revision.
//!
//! The history is part of the replicated state, and bounded by it: by a number of revisions and of bytes, and by what `compact` asks for.
//! So every node answers a revision alike, and a watcher goes on at any other node, also behind a snapshot.
//!
//! Guards: the kept revisions follow one another without a gap, up to the newest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::Settings;
use super::hash::{HashSum, ItemHash, Kind};
use super::keys::{Item, is_in};
use crate::api::{Change, Claim, Event, KeyRange, Revision, RevisionError, Watched};

/// About what a change takes in memory besides what it points to, in bytes.
const CHANGE_OVERHEAD_BYTES: u64 = 96;

/// Something that changed at a revision.
#[derive(Clone)]
pub(super) enum Past {
    /// A key: what stood there, and what stands there since. One of both is there.
    Key {
        before: Option<Item>,
        after: Option<Item>,
    },
    /// A claim on a lock.
    Claim {
        lock: Bytes,
        claim: Claim,
        /// Whether it went; else it came, or changed.
        gone: bool,
    },
}

impl Past {
    /// About how much memory it keeps, in bytes.
    fn bytes(&self) -> u64 {
        let item = |item: &Option<Item>| item.as_ref().map_or(0, |item| item.bytes());
        CHANGE_OVERHEAD_BYTES
            + match self {
                // What came after is there as long as it stands, so it counts when it is gone.
                Self::Key { before, .. } => item(before),
                Self::Claim { lock, claim, .. } => (lock.len() + claim.value.len()) as u64,
            }
    }

    fn hash(&self, revision: Revision) -> u64 {
        let hash = ItemHash::new(Kind::Past).word(revision);
        match self {
            Self::Key { before, after } => {
                let item = |item: &Option<Item>| item.as_ref().map_or(0, |item| item.value.hash);
                hash.word(0).word(item(before)).word(item(after))
            }
            Self::Claim { lock, claim, gone } => {
                let hash = hash.word(1 + u64::from(*gone)).bytes(lock);
                hash.word(claim.token).word(claim.lease).bytes(&claim.value)
            }
        }
        .finish()
    }

    fn concerns(&self, watched: &Watched) -> bool {
        match (self, watched) {
            (Self::Key { before, after }, Watched::Keys(keys)) => {
                let item = after.as_ref().or(before.as_ref());
                item.is_some_and(|item| is_in(&item.key, keys))
            }
            (Self::Claim { lock, .. }, Watched::Lock(watched)) => lock == watched,
            _ => false,
        }
    }

    fn event(&self) -> Option<Event> {
        Some(match self {
            Self::Key {
                before,
                after: Some(after),
            } => Event::Put {
                kv: after.to_key_value(),
                previous: before.as_ref().map(|item| item.to_key_value()),
            },
            Self::Key {
                before,
                after: None,
            } => Event::Deleted {
                previous: before.as_ref()?.to_key_value(),
            },
            Self::Claim { lock, claim, gone } => {
                let (lock, claim) = (lock.clone(), claim.clone());
                match gone {
                    true => Event::Released { lock, claim },
                    false => Event::Claimed { lock, claim },
                }
            }
        })
    }
}

/// What one revision changed.
#[derive(Clone)]
pub(super) struct Changes {
    pub(super) events: Arc<[Past]>,
    bytes: u64,
    hash: u64,
}

/// The changes of the last revisions. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct History {
    /// The oldest revision that can be read: the changes of those behind it are kept.
    oldest: Revision,
    kept: VecDeque<Changes>,
    bytes: u64,
    hash: HashSum,
}

impl History {
    /// A history that begins at this revision, with nothing kept.
    pub(super) fn beginning_at(oldest: Revision) -> Self {
        Self {
            oldest,
            ..Self::default()
        }
    }

    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(super) fn newest(&self) -> Revision {
        self.oldest + self.kept.len() as u64
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// The hash and the bytes, reckoned anew from what is there.
    #[cfg(test)]
    pub(super) fn anew(&self) -> (u64, u64) {
        let mut sum = HashSum::default();
        let mut bytes = 0;
        for (revision, events) in self.iter() {
            for past in events {
                sum.add(past.hash(revision));
                bytes += past.bytes();
            }
        }
        (sum.value(), bytes)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is kept, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Revision, &[Past])> {
        let revisions = self.oldest + 1..;
        revisions.zip(self.kept.iter().map(|changes| &*changes.events))
    }

    /// Keeps what the next revision changed, and forgets what is beyond the settings: never the newest.
    pub(super) fn push(&mut self, events: Arc<[Past]>, settings: &Settings) {
        self.restore(events);
        let over = |history: &Self| {
            history.kept.len() as u64 > settings.history_revisions_max
                || history.bytes > settings.history_bytes_max
        };
        while self.kept.len() > 1 && over(self) {
            self.forget_one();
        }
    }

    /// Keeps what the next revision changed, as a snapshot has it.
    pub(super) fn restore(&mut self, events: Arc<[Past]>) {
        let revision = self.newest() + 1;
        let mut changes = Changes {
            bytes: 0,
            hash: 0,
            events,
        };
        for past in changes.events.iter() {
            changes.bytes += past.bytes();
            changes.hash = changes.hash.wrapping_add(past.hash(revision));
        }
        self.bytes += changes.bytes;
        self.hash.add(changes.hash);
        self.kept.push_back(changes);
    }

    /// Forgets what was so before this revision, which must not be beyond the newest.
    pub(super) fn compact(&mut self, revision: Revision) {
        while self.oldest < revision && self.forget_one() {}
    }

    fn forget_one(&mut self) -> bool {
        let Some(changes) = self.kept.pop_front() else {
            return false;
        };
        self.oldest += 1;
        self.bytes -= changes.bytes;
        self.hash.remove(changes.hash);
        true
    }

    /// Whether this revision can be read.
    pub(super) fn check(&self, revision: Revision) -> Result<(), RevisionError> {
        let (oldest, newest) = (self.oldest, self.newest());
        match revision {
            _ if revision < oldest => Err(RevisionError::Compacted { oldest }),
            _ if revision > newest => Err(RevisionError::Future { newest }),
            _ => Ok(()),
        }
    }

    /// Of the keys of a range those that changed after this revision, with what stood there right after it. Takes time in proportion to
    /// the changes since.
    pub(super) fn differences(
        &self,
        revision: Revision,
        keys: &KeyRange,
    ) -> BTreeMap<&Bytes, Option<&Item>> {
        let mut found = BTreeMap::new();
        let since = usize::try_from(revision.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        for past in self.kept.iter().skip(since).flat_map(|c| c.events.iter()) {
            if let Past::Key { before, after } = past
                && let Some(item) = before.as_ref().or(after.as_ref())
                && is_in(&item.key, keys)
            {
                // The first change since then says what stood there.
                found.entry(&item.key).or_insert(before.as_ref());
            }
        }
        found
    }

    /// How many changes there were from a revision on and before another.
    pub(super) fn count(&self, from: Revision, to: Revision) -> usize {
        let number = |revisions: u64| usize::try_from(revisions).unwrap_or(usize::MAX);
        let skipped = number(from.saturating_sub(self.oldest + 1));
        let kept = self.kept.iter().skip(skipped);
        let between = kept.take(number(to.saturating_sub(from)));
        between.map(|changes| changes.events.len()).sum()
    }

    /// What happened from a revision on, to what is watched or to anything: whole revisions, until about so many bytes are gathered, though
    /// at least one, and looking at no more than `looked_max` changes. And from where to go on.
    pub(super) fn changes(
        &self,
        from: Revision,
        watched: Option<&Watched>,
        bytes_max: u64,
        looked_max: usize,
    ) -> Result<(Vec<Change>, Revision), RevisionError> {
        if from <= self.oldest {
            return Err(RevisionError::Compacted {
                oldest: self.oldest,
            });
        }
        let skipped = usize::try_from(from - self.oldest - 1).unwrap_or(usize::MAX);
        let (mut found, mut bytes, mut looked, mut next) = (Vec::new(), 0, 0, from);
        for changes in self.kept.iter().skip(skipped) {
            if bytes >= bytes_max || looked >= looked_max {
                break;
            }
            looked += changes.events.len();
            let concerned = changes
                .events
                .iter()
                .filter(|past| watched.is_none_or(|watched| past.concerns(watched)));
            let events: Vec<Event> = concerned.filter_map(Past::event).collect();
            if !events.is_empty() {
                let after = |past: &Past| match past {
                    Past::Key { after, .. } => after.as_ref().map_or(0, |item| item.bytes()),
                    Past::Claim { .. } => 0,
                };
                bytes += changes.bytes + changes.events.iter().map(after).sum::<u64>();
                found.push(Change {
                    revision: next,
                    events,
                });
            }
            next += 1;
        }
        Ok((found, next))
    }
}

/// Of several changes of a key at one revision one: from what stood there before to what stands there now. What came and went in between is
/// left out.
pub(super) fn merged(events: Vec<Past>) -> Vec<Past> {
    let mut merged: Vec<Past> = Vec::with_capacity(events.len());
    let mut places: BTreeMap<Bytes, usize> = BTreeMap::new();
    for past in events {
        let Past::Key { before, after } = &past else {
            merged.push(past);
            continue;
        };
        let Some(item) = before.as_ref().or(after.as_ref()) else {
            continue;
        };
        let place = *places.entry(item.key.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(Past::Key { after: last, .. }) => last.clone_from(after),
            _ => merged.push(past),
        }
    }
    merged.retain(|past| {
        !matches!(
            past,
            Past::Key {
                before: None,
                after: None
            }
        )
    });
    merged
}
