//! Would an opening succeed, and what would it find?

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Inspection, ReadOnly};
use crate::error::{Damage, OpenError};
use crate::files::Files;
use crate::open::{Names, Recovery, Survey, describe, examine, is_clean, next_boot, survey};
use crate::open_files::OpenFiles;
use crate::options::Options;
use crate::position::Position;
use crate::reader::Reader;
use crate::recovery::Recovered;
use crate::segment::Recipe;
use crate::shared::{Shared, View};
use crate::snapshot::{self, SnapshotReader};
use crate::superblock::{SUPERBLOCK, Superblock};
use crate::tail::Tail;

/// A log that is sound: an opening would succeed, and find this.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified<F: Files> {
    /// What an opening would find; its boot number is the one that an opening would get, and its cut the one that it would
    /// make.
    pub recovery: Recovery,
    /// The caller's identity, as the log holds it.
    pub identity: Vec<u8>,
    /// How many copies of the superblock verify: 2, or 1 after a crash (or a damage) within the other.
    pub superblock_copies: u8,
    /// The segments in use; none if the log was never used.
    pub segments: RangeInclusive<u64>,
    /// The sizes of those segments together, in bytes.
    pub bytes: u64,
    /// Where the log ends.
    pub end: Position,
    /// All before this is known to have been durable.
    pub durable: Position,
    /// Reads the records, as they were verified; those that a log purges after the inspection is over may be
    /// [`ReadError::Purged`](crate::ReadError::Purged).
    pub reader: Reader<ReadOnly<F>>,
    /// The newest snapshot, open at its beginning; it stays readable when it is replaced.
    pub snapshot: Option<SnapshotReader<ReadOnly<F>>>,
}

impl<F: Files> Inspection<F> {
    /// Reads everything, and applies every rule that an opening applies, by the same code; and verifies all of the newest
    /// snapshot, of which an opening looks at length, header and footer.
    ///
    /// # Errors
    /// What an opening would say: [`OpenError::Corrupt`], [`OpenError::UnknownVersion`] or [`OpenError::Io`].
    pub fn verify(&self) -> Result<Verified<F>, OpenError> {
        let Survey::Log(Names { numbers, snapshots }) = survey(&self.files, &self.dir)? else {
            // There was something when the inspection began: whoever takes files away does not heed the lock.
            let superblock = self.dir.join(SUPERBLOCK);
            return Err(OpenError::corrupt(
                &superblock,
                0,
                None,
                Damage::SuperblockMissing,
            ));
        };
        let superblock = Superblock::open(&self.files, &self.dir)?;
        let facts = &superblock.facts;
        let recipe = Recipe {
            files: self.files.clone(),
            dir: self.dir.clone(),
            identity: facts.identity.as_slice().into(),
            epoch: 0,
            // Meant for segments that are made; those that are read carry their own.
            payload_max: Options::default().record_bytes_max,
        };
        let recovered = examine(&recipe, &superblock, &numbers, None)?;
        let index = recovered.as_ref().map(|recovered| &recovered.index);
        let plan = snapshot::examine(&self.files, &self.dir, &snapshots, index)?;
        let boot = next_boot(facts, recovered.as_ref());
        let clean = is_clean(facts, recovered.as_ref());
        let created = recovered.is_none();
        let recovered = recovered.unwrap_or_else(Recovered::empty);
        let mut recovery = describe(&recovered, boot, created, clean);
        if let Some(id) = recovery.snapshot {
            snapshot::verify(&self.files, &self.dir, &id)?;
        }
        recovery.snapshot = plan.adopt.or(recovery.snapshot);
        let snapshot = recovery
            .snapshot
            .map(|id| snapshot::open(&self.files, &self.dir, &id))
            .transpose()?;
        let sizes = recovered.segments.values();
        let bytes = sizes.map(|segment| u64::from(segment.header.size)).sum();
        let open_files = OpenFiles::new(recipe);
        let view = View {
            index: recovered.index,
            segments: recovered.segments,
            tail: Tail::new(0),
        };
        Ok(Verified {
            recovery,
            identity: facts.identity.clone(),
            superblock_copies: if superblock.one_copy { 1 } else { 2 },
            segments: facts.segment_first..=facts.segment_last,
            bytes,
            end: recovered.end,
            durable: recovered.durable,
            reader: Reader::new(Arc::new(Shared::new(open_files, self.dir.clone(), view))),
            snapshot,
        })
    }
}
