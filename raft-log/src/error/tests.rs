//! The text of every message. A new variant does not compile here before it stands in its table.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Damage, Failure, InvalidBatch, OpenError, Oversized, ReadError, WriteError};
use crate::inspect::InspectError;
use crate::options::{Options, OptionsError};
use crate::position::Position;
use crate::snapshot::{
    SnapshotDamage, SnapshotId, SnapshotReadError, SnapshotReceiveError, SnapshotWriteError,
};

/// Rows of a pattern, a value and its message. The patterns of a table must take in the whole enum.
macro_rules! messages {
    ($enum:ty: $($pattern:pat, $value:expr => $text:literal;)+) => {{
        #[allow(unreachable_patterns, reason = "one variant may have several rows")]
        fn is_complete(value: &$enum) {
            match value {
                $($pattern => {})+
            }
        }
        $(
            let value: $enum = $value;
            is_complete(&value);
            assert!(matches!(value, $pattern), "{value}");
            assert_eq!(value.to_string(), $text);
        )+
    }};
}

fn path() -> PathBuf {
    "/d/f".into()
}

fn corrupt(offset: u64, index: Option<u64>, what: Damage) -> OpenError {
    OpenError::corrupt(&path(), offset, index, what)
}

fn failure(kind: io::ErrorKind) -> Failure {
    Failure::new("sync the segment", &path(), kind.into())
}

const ID: SnapshotId = SnapshotId {
    index: 7,
    term: 2,
    bytes: 600,
    checksum: 0xab,
};

#[test]
fn opening() {
    messages! { OpenError:
        OpenError::Locked { .. }, OpenError::Locked { dir: path() } =>
            "/d/f is in use by another process, or by another log of this one; stop it, or choose another directory";
        OpenError::Corrupt { .. }, corrupt(96, Some(5), Damage::Order) =>
            "/d/f: damaged at byte 96, from index 5 on: a record verifies, and cannot follow those before it; do not use this log: \
             restore the directory, or start anew in another one";
        OpenError::Corrupt { .. }, corrupt(0, None, Damage::SegmentMissing) =>
            "/d/f: missing: there is no such file, though the superblock counts this segment among those in use; do not use this \
             log: restore the directory, or start anew in another one";
        OpenError::Corrupt { .. }, corrupt(0, Some(3), Damage::EntriesMissing { from: 3, to: 4 }) =>
            "/d/f: damaged, from index 3 on: entries 3 to 4 are missing; do not use this log: restore the directory, or start anew in \
             another one";
        OpenError::ForeignIdentity { .. },
            OpenError::ForeignIdentity { dir: path(), stored: vec![], given: vec![1, 0xab] } =>
            "/d/f belongs to another log (its identity is empty, not 0x01ab); point to the right directory";
        OpenError::ForeignIdentity { .. },
            OpenError::ForeignIdentity { dir: path(), stored: "wal 1".into(), given: "a \"b\"\n".into() } =>
            "/d/f belongs to another log (its identity is \"wal 1\", not 0x61202262220a); point to the right directory";
        OpenError::UnknownVersion { .. }, OpenError::UnknownVersion { file: path(), found: 3, known: 1 } =>
            "/d/f: format version 3, and this build knows versions up to 1; use a newer build";
        OpenError::NotALog { .. }, OpenError::NotALog { dir: path(), found: "cat.jpg".into() } =>
            "/d/f holds no log, but other files such as \"cat.jpg\"; point to the directory of a log, or to an empty one";
        OpenError::Options(_), OptionsError::RecordBytesMax(0).into() =>
            "record_bytes_max is 0; choose a value between 1 and 536870912";
        OpenError::Io(_), failure(io::ErrorKind::PermissionDenied).into() =>
            "/d/f: cannot sync the segment: permission denied; give this process the permission, or choose another directory";
    }
    messages! { InspectError:
        InspectError::Missing { .. }, InspectError::Missing { dir: path() } =>
            "there is no directory /d/f; point to the directory of a log";
        InspectError::Empty { .. }, InspectError::Empty { dir: path() } =>
            "/d/f holds no log: there is nothing in it; point to the directory of a log";
        InspectError::Open(_), OpenError::UnknownVersion { file: path(), found: 3, known: 1 }.into() =>
            "/d/f: format version 3, and this build knows versions up to 1; use a newer build";
    }
    messages! { OptionsError:
        OptionsError::SegmentBytes(_), OptionsError::SegmentBytes(100) =>
            "segment_bytes is 100; choose a multiple of 512 between 4096 and 1073741824";
        OptionsError::RecordBytesMax(_), OptionsError::RecordBytesMax(0) =>
            "record_bytes_max is 0; choose a value between 1 and 536870912";
        OptionsError::IdentityBytes(_), OptionsError::IdentityBytes(300) =>
            "the identity has 300 bytes; choose one of at most 256";
    }
}

/// What stands behind the place in [`OpenError::Corrupt`].
#[test]
fn damages() {
    let durable = Position {
        segment: 3,
        offset: 640,
    };
    messages! { Damage:
        Damage::SuperblockMissing, Damage::SuperblockMissing =>
            "there is no superblock, though there are segments or snapshots";
        Damage::SuperblockUnreadable, Damage::SuperblockUnreadable => "no copy of the superblock verifies";
        Damage::SuperblockOld, Damage::SuperblockOld => "the superblock is older than the segments beside it";
        Damage::SegmentMissing, Damage::SegmentMissing =>
            "there is no such file, though the superblock counts this segment among those in use";
        Damage::SegmentHeader, Damage::SegmentHeader => "the header of the segment does not verify";
        Damage::SegmentForeign, Damage::SegmentForeign =>
            "the file belongs to another log or another place in this one";
        Damage::SegmentLength { .. }, Damage::SegmentLength { expected: 4096, found: 9 } =>
            "the file has 9 bytes and was made with 4096";
        Damage::Checkpoint, Damage::Checkpoint =>
            "the checkpoint of the segment does not verify or does not continue the segment before";
        Damage::Record { .. }, Damage::Record { durable } =>
            "a record does not verify, though everything before byte 640 of segment 3 was durable";
        Damage::Order, Damage::Order => "a record verifies, and cannot follow those before it";
        Damage::EntriesMissing { .. }, Damage::EntriesMissing { from: 3, to: 4 } => "entries 3 to 4 are missing";
        Damage::SnapshotMissing, Damage::SnapshotMissing =>
            "there is no such file, though the log goes on from this snapshot";
        Damage::Snapshot(_), Damage::Snapshot(SnapshotDamage::Footer) =>
            "the snapshot that the log goes on from is damaged: the footer does not verify";
    }
    messages! { SnapshotDamage:
        SnapshotDamage::Length { .. }, SnapshotDamage::Length { expected: 600, found: 599 } =>
            "it has 599 bytes and should have 600";
        SnapshotDamage::LengthImpossible { .. }, SnapshotDamage::LengthImpossible { found: 5 } =>
            "no snapshot has 5 bytes";
        SnapshotDamage::Header, SnapshotDamage::Header => "the header does not verify";
        SnapshotDamage::Block, SnapshotDamage::Block => "a block does not verify, or belongs elsewhere";
        SnapshotDamage::Footer, SnapshotDamage::Footer => "the footer does not verify";
        SnapshotDamage::Another { .. }, SnapshotDamage::Another { expected: ID } =>
            "it is another snapshot than the snapshot 7@2 of 600 bytes with checksum 000000ab";
    }
}

#[test]
fn writing() {
    let eio = || {
        Arc::new(Failure::new(
            "sync the segment",
            &path(),
            io::Error::from_raw_os_error(5),
        ))
    };
    messages! { WriteError:
        WriteError::Failed(_), WriteError::Failed(eio()) =>
            "/d/f: cannot sync the segment: Input/output error (os error 5); check the disk: the log of the operating system may \
             say more; the log is closed for good: end the process, and recover by opening the log anew";
        WriteError::Poisoned(_), WriteError::Poisoned(eio()) =>
            "the log is closed for good since an earlier failure: /d/f: cannot sync the segment: Input/output error (os error 5); \
             check the disk: the log of the operating system may say more; end the process, and recover by opening the log anew";
        WriteError::Full { .. }, WriteError::Full { dir: path(), bytes: 4096 } =>
            "no space for the next segment in /d/f, which takes 4096 bytes; nothing was written: free space, then try again";
        WriteError::Invalid(_), InvalidBatch::Gap { last: 0, found: 5 }.into() =>
            "the batch was refused and nothing was written: record 5 does not follow record 0; the next one has index 1";
    }
    messages! { InvalidBatch:
        InvalidBatch::Gap { .. }, InvalidBatch::Gap { last: 3, found: 5 } =>
            "record 5 does not follow record 3; the next one has index 4";
        InvalidBatch::IndexTooHigh { .. }, InvalidBatch::IndexTooHigh { index: 9, max: 8 } =>
            "index 9 is higher than the highest that a log can hold, 8";
        InvalidBatch::Term { .. }, InvalidBatch::Term { index: 4, last: 3, found: 2 } =>
            "record 4 has term 2, and the record before has term 3; terms begin at 1 and never fall";
        InvalidBatch::Range { .. }, InvalidBatch::Range { index: 9, first: 2, last: 4 } =>
            "index 9 is outside what can be cut: 2 to 4";
        InvalidBatch::Range { .. }, InvalidBatch::Range { index: 9, first: 1, last: 0 } =>
            "index 9 is outside what can be cut: there is nothing to cut";
        InvalidBatch::PurgeRange { .. }, InvalidBatch::PurgeRange { index: 9, first: 2, last: 4 } =>
            "index 9 is outside what can be purged: 2 to 4";
        InvalidBatch::PurgeRange { .. }, InvalidBatch::PurgeRange { index: 9, first: 1, last: 0 } =>
            "index 9 is outside what can be purged: there is nothing to purge";
        InvalidBatch::PurgeBeyondSnapshot { .. }, InvalidBatch::PurgeBeyondSnapshot { index: 9, snapshot: 7 } =>
            "records up to 9 cannot be purged: the newest snapshot stands for those up to 7; mark a newer one first";
        InvalidBatch::SnapshotOld { .. }, InvalidBatch::SnapshotOld { index: 5, newest: 7 } =>
            "the snapshot for index 5 is older than what stands for the records up to 7 already; there is no need of it";
        InvalidBatch::SnapshotTerm { .. }, InvalidBatch::SnapshotTerm { index: 9, term: 1, newest: (7, 2) } =>
            "the snapshot for index 9 has term 1, and what stands for the records up to 7 has term 2: it is of another history, \
             and must not be used";
        InvalidBatch::SnapshotNotHeld { .. }, InvalidBatch::SnapshotNotHeld { index: 9, term: 2, last: (7, 2) } =>
            "the log, which ends with 7@2, does not hold the record 9@2 that the snapshot ends with; one that came from another \
             node is marked with `install_snapshot`, which drops the log";
        InvalidBatch::SnapshotDiffers { .. }, InvalidBatch::SnapshotDiffers { index: 7 } =>
            "another snapshot is marked for index 7, with another term or other bytes; keep that one";
        InvalidBatch::SnapshotForeign { .. }, InvalidBatch::SnapshotForeign { index: 7 } =>
            "the snapshot for index 7 was finished in another log or before this one was opened, or another replaced its file; \
             make it anew";
        InvalidBatch::TooLarge { .. },
            InvalidBatch::TooLarge { what: Oversized::Record(5), bytes: 120, max: 100 } =>
            "the payload of record 5 has 120 bytes, 20 more than the limit of 100";
    }
    messages! { Oversized:
        Oversized::Record(_), Oversized::Record(5) => "the payload of record 5";
        Oversized::Metadata, Oversized::Metadata => "the metadata";
        Oversized::Batch, Oversized::Batch => "the whole batch";
    }
}

#[test]
fn reading() {
    messages! { ReadError:
        ReadError::Purged { .. }, ReadError::Purged { index: 3, first: 7 } =>
            "record 3 was purged; the log begins at 7, and a snapshot must stand in for what is before";
        ReadError::BeyondEnd { .. }, ReadError::BeyondEnd { index: 9, last: 4 } =>
            "record 9 is beyond the end of the log: the last durable record is 4; read it once it is written";
        ReadError::Corrupt { .. }, ReadError::Corrupt { file: path(), offset: 640, index: 3 } =>
            "/d/f: record 3 does not verify near byte 640; the disk has damaged the log: close the log, then restore \
             the directory, or start anew in another one";
        ReadError::Io(_), failure(io::ErrorKind::NotFound).into() =>
            "/d/f: cannot sync the segment: entity not found; check the path";
    }
}

#[test]
fn snapshots() {
    messages! { SnapshotWriteError:
        SnapshotWriteError::Invalid { .. }, SnapshotWriteError::Invalid { index: 0, term: 1 } =>
            "no snapshot can stand for index 0 and term 1: both begin at 1, and the index ends below 2^63 - 1";
        SnapshotWriteError::InvalidLength { .. }, SnapshotWriteError::InvalidLength { bytes: 5 } =>
            "no snapshot file has 5 bytes; ask the sender again which snapshot it sends";
        SnapshotWriteError::Full { .. },
            SnapshotWriteError::new("write the snapshot", &path(), 512, io::ErrorKind::StorageFull.into()) =>
            "/d/f: no space for more than 512 bytes of the snapshot, and they are removed: free space, then try again";
        SnapshotWriteError::Failed(_),
            SnapshotWriteError::new("write the snapshot", &path(), 512, io::ErrorKind::PermissionDenied.into()) =>
            "/d/f: cannot write the snapshot: permission denied; give this process the permission, or choose another directory; \
             what there was of the snapshot is removed, the log is unharmed";
        SnapshotWriteError::Superseded { .. }, SnapshotWriteError::Superseded { index: 5, newest: ID } =>
            "the snapshot for index 5 comes too late: the log has marked the snapshot 7@2 of 600 bytes with \
             checksum 000000ab; there is no need of it";
        SnapshotWriteError::Ended, SnapshotWriteError::Ended =>
            "an earlier write of this snapshot failed, and its file is removed; make a new one";
        SnapshotWriteError::Closed { .. }, SnapshotWriteError::Closed { dir: path() } =>
            "the log in /d/f is closed; take snapshots of the one that is open";
    }
    messages! { SnapshotReadError:
        SnapshotReadError::Missing { .. }, SnapshotReadError::Missing { file: path() } =>
            "/d/f: there is no such snapshot; the newest one marked in the log replaced it";
        SnapshotReadError::Corrupt { .. }, SnapshotReadError::corrupt(&path(), 512, SnapshotDamage::Block) =>
            "/d/f: damaged at byte 512: a block does not verify, or belongs elsewhere; do not use this snapshot: fetch it from \
             another node";
        SnapshotReadError::UnknownVersion { .. },
            SnapshotReadError::UnknownVersion { file: path(), found: 3, known: 1 } =>
            "/d/f: snapshot format version 3, and this build knows versions up to 1; use a newer build";
        SnapshotReadError::Io(_), failure(io::ErrorKind::StorageFull).into() =>
            "/d/f: cannot sync the segment: no storage space; free space, then try again";
    }
    messages! { SnapshotReceiveError:
        SnapshotReceiveError::Damaged(_),
            SnapshotReceiveError::Damaged(SnapshotReadError::corrupt(&path(), 512, SnapshotDamage::Block)) =>
            "what was received is not the snapshot that was announced, and is removed: /d/f: damaged at byte 512: a block does not \
             verify, or belongs elsewhere; do not use this snapshot: fetch it from another node";
        SnapshotReceiveError::Write(_), SnapshotWriteError::Ended.into() =>
            "an earlier write of this snapshot failed, and its file is removed; make a new one";
    }
}

/// Each limit is named with what broke it, as a caller meets it.
#[test]
fn a_limit_is_named_with_what_broke_it() {
    use crate::sim_disk::SimDisk;
    use crate::{Batch, Log, Record};
    let options = Options {
        segment_bytes: 4096,
        record_bytes_max: 100,
        background: false,
        ..Options::default()
    };
    let (mut log, _) = Log::open_with(SimDisk::new(), &path(), options).expect("a new log");
    let payload = vec![0; 70_000];
    let record = |index, len| Record {
        index,
        term: 1,
        kind: 0,
        payload: payload.get(..len).unwrap_or_default(),
    };
    let mut said = |batch: &Batch<'_>| log.commit(batch).map_err(|error| error.to_string());
    let refused = |what: &str| {
        Err(format!(
            "the batch was refused and nothing was written: {what}"
        ))
    };
    assert_eq!(
        said(Batch::new().append(record(1, 10)).append(record(2, 101))),
        refused("the payload of record 2 has 101 bytes, 1 more than the limit of 100")
    );
    assert_eq!(
        said(Batch::new().metadata(&payload)),
        refused("the metadata has 70000 bytes, 4464 more than the limit of 65536")
    );
    assert_eq!(said(Batch::new().append(record(1, 100))), Ok(()));
    let batch = Batch::new().append(record(2, 100)).check_sizes(100, 100);
    assert_eq!(
        batch.map_err(|error| error.to_string()),
        Err("the whole batch has 152 bytes, 52 more than the limit of 100".into())
    );
}
