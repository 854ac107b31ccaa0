//! When keys surely were not changed: an answer that shows a key's revision and the store's says that nothing changed it between, and two
//! versions say how many changes lie between them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::evidence::shown_in;
use super::{History, Input, Output};
use crate::api::{CommandReply, KeyValue, Operation, Revision};

/// The stretches of revisions in which a key was not changed.
#[derive(Clone, Default, Debug)]
pub(super) struct Quiet {
    /// By key: from the first revision to the last. None begins or ends within another.
    stretches: BTreeMap<Bytes, BTreeMap<Revision, Revision>>,
}

impl Quiet {
    pub(super) fn of(history: &History) -> Self {
        let mut quiet = Self::default();
        let mut changes: BTreeMap<Bytes, Changes> = BTreeMap::new();
        for operation in history.operations() {
            let Some(output) = operation.output() else {
                continue;
            };
            if let Input::Write(Operation::Put { key, .. }) = &operation.input
                && let Output::Write(CommandReply::Put { revision, .. }) | Output::Seen { revision } =
                    output
            {
                let changes = changes.entry(key.clone()).or_default();
                changes.known.insert(*revision);
            }
            let looked_at = looked_at(output);
            for kv in shown_in(output) {
                changes.entry(kv.key.clone()).or_default().shown(kv);
                if let Some(revision) = looked_at {
                    quiet.note(&kv.key, kv.mod_revision, revision);
                }
            }
        }
        for (key, changes) in changes {
            for (after, until) in changes.complete() {
                quiet.note(&key, after, until.saturating_sub(1));
            }
        }
        quiet
    }

    /// Whether the key surely was not changed by this revision.
    pub(super) fn contains(&self, key: &Bytes, revision: Revision) -> bool {
        let before = self.stretches.get(key).and_then(|stretches| {
            let (_, last) = stretches.range(..=revision).next_back()?;
            Some(*last)
        });
        before.is_some_and(|last| revision <= last)
    }

    /// The key was not changed after this revision until that one.
    fn note(&mut self, key: &Bytes, after: Revision, until: Revision) {
        let (mut first, mut last) = (after.saturating_add(1), until);
        if first > last {
            return;
        }
        let stretches = self.stretches.entry(key.clone()).or_default();
        while let Some((&other, &other_last)) = stretches.range(..=last).next_back()
            && other_last >= first
        {
            stretches.remove(&other);
            first = first.min(other);
            last = last.max(other_last);
        }
        stretches.insert(first, last);
    }
}

/// The revision at which an answer looked at what it shows: nothing that it shows was changed between.
fn looked_at(output: &Output) -> Option<Revision> {
    match output {
        Output::Read { revision, .. } => *revision,
        Output::Write(CommandReply::ConditionFailed { revision, .. }) => Some(*revision),
        Output::Write(
            CommandReply::Put { revision, .. } | CommandReply::Deleted { revision, .. },
        ) => revision.checked_sub(1),
        Output::Write(_) | Output::Seen { .. } => None,
    }
}

/// What is known of the changes of one key.
#[derive(Default)]
struct Changes {
    /// The revisions that surely changed it.
    known: BTreeSet<Revision>,
    /// By the revision that created it: which version it had after which revision.
    versions: BTreeMap<Revision, BTreeMap<Revision, u64>>,
}

impl Changes {
    fn shown(&mut self, kv: &KeyValue) {
        self.known.insert(kv.mod_revision);
        let versions = self.versions.entry(kv.create_revision).or_default();
        versions.insert(kv.create_revision, 1);
        versions.insert(kv.mod_revision, kv.version);
    }

    /// The stretches, without their ends, in which every change is known.
    fn complete(&self) -> impl Iterator<Item = (Revision, Revision)> {
        let pairs = self.versions.values().flat_map(|versions| {
            let later = versions.iter().skip(1);
            versions.iter().zip(later)
        });
        pairs.filter_map(|((&after, &version), (&until, &later))| {
            let known = self.known.range(after.saturating_add(1)..=until).count() as u64;
            (version.checked_add(known) == Some(later)).then_some((after, until))
        })
    }
}
