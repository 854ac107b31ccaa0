//! Damage to snapshot files, and payloads in arbitrary pieces: never a wrong payload, and every message names the place.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::harness::{dir, options};
use proptest::prelude::*;
use raft_log::sim_disk::SimDisk;
use raft_log::{
    Batch, Damage, Log, OpenError, Record, SnapshotDamage, SnapshotId, SnapshotReadError,
    SnapshotReceiveError, SnapshotWriteError, Snapshots,
};

/// Three blocks, the last one short.
const PAYLOAD_BYTES: usize = 9000;

fn payload(salt: u8) -> Vec<u8> {
    let byte = |n: usize| (n * 31 + n / 250) as u8 ^ salt;
    (0..PAYLOAD_BYTES).map(byte).collect()
}

fn make(snapshots: &Snapshots<SimDisk>, index: u64, payload: &[u8]) -> SnapshotId {
    let mut writer = snapshots.create(index, 1).unwrap();
    writer.write_all(payload).unwrap();
    writer.finish().unwrap().id()
}

struct Subject {
    disk: SimDisk,
    log: Log<SimDisk>,
    id: SnapshotId,
    file: PathBuf,
    bytes: Vec<u8>,
}

/// A log with ten records and a marked snapshot for the first five.
fn subject() -> Subject {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    for index in 1..=10 {
        log.commit(Batch::new().append(Record {
            index,
            term: 1,
            kind: 0,
            payload: b"x",
        }))
        .unwrap();
    }
    let mut writer = log.snapshots().create(5, 1).unwrap();
    writer.write_all(&payload(0)).unwrap();
    let finished = writer.finish().unwrap();
    log.commit(Batch::new().snapshot(&finished)).unwrap();
    let file = dir().join("00000000000000000005-00000000000000000001.snap");
    let bytes = disk.content(&file).unwrap();
    Subject {
        disk,
        log,
        id: finished.id(),
        file,
        bytes,
    }
}

/// Where the unit begins that a byte of the file is in.
fn unit_of(at: usize, file_bytes: usize) -> u64 {
    match at {
        0..512 => 0,
        at if at >= file_bytes - 20 => file_bytes as u64 - 20,
        at => (512 + (at - 512) / 4096 * 4096) as u64,
    }
}

/// What an io::Error of a reader says.
fn place(error: std::io::Error, file: &Path) -> (u64, SnapshotDamage) {
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    match error.downcast::<SnapshotReadError>().unwrap() {
        SnapshotReadError::Corrupt {
            file: named,
            offset,
            what,
        } => {
            assert_eq!(named, file);
            (offset, what)
        }
        other => panic!("{other}"),
    }
}

impl Subject {
    /// Reads a damaged file: where the damage was found, with all before it handed out rightly.
    fn read(&self) -> Result<Vec<u8>, (u64, SnapshotDamage)> {
        let mut reader = match self.log.snapshots().open(&self.id) {
            Ok(reader) => reader,
            Err(error) => return Err(place(error.into(), &self.file)),
        };
        let mut read = Vec::new();
        let result = reader.read_to_end(&mut read);
        assert!(payload(0).starts_with(&read), "a wrong payload");
        match result {
            Ok(_) => Ok(read),
            Err(error) => {
                let place = place(error, &self.file);
                assert!(read.len() as u64 <= place.0, "handed out beyond the damage");
                Err(place)
            }
        }
    }

    /// Sends damaged bytes to a receiver. It must refuse them, and leave no file.
    fn refuses(&self, bytes: &[u8]) {
        let mut receiver = self.log.snapshots().receive(self.id).unwrap();
        let mut result = Ok(());
        for chunk in bytes.chunks(1000) {
            result = receiver.write(chunk);
            if result.is_err() {
                let again = receiver.write(chunk).unwrap_err();
                assert!(matches!(
                    again,
                    SnapshotReceiveError::Write(SnapshotWriteError::Ended)
                ));
                break;
            }
        }
        let error = result
            .and_then(|()| receiver.finish().map(|_| ()))
            .expect_err("damaged bytes were taken");
        assert!(matches!(error, SnapshotReceiveError::Damaged(_)), "{error}");
        assert_eq!(self.disk.content(&self.file).unwrap(), self.bytes);
        let left = self.disk.files();
        assert!(
            left.iter()
                .all(|file| file.extension() != Some("tmp".as_ref()))
        );
    }

    fn rot(&self, bytes: &[u8]) {
        self.disk.rot(&self.file, |file| *file = bytes.to_vec());
    }

    /// Opens the log with a damaged file: refused, naming the file; or what is wrong is found by reading.
    fn opens(&self) -> Option<(u64, Damage)> {
        let disk = self.disk.fork();
        disk.kill();
        match Log::open_with(disk, &dir(), options()) {
            Ok((log, recovery)) => {
                assert_eq!(
                    (log.snapshot(), recovery.snapshot),
                    (Some(self.id), Some(self.id))
                );
                None
            }
            Err(OpenError::Corrupt {
                file, offset, what, ..
            }) => {
                assert_eq!(file, self.file);
                Some((offset, what))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// F-S8: every bit of the file.
#[test]
fn every_bit() {
    let subject = subject();
    let mut bytes = subject.bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            subject.rot(&bytes);
            let (offset, what) = subject.read().expect_err("not found");
            let unit = unit_of(at, bytes.len());
            assert_eq!(offset, unit, "bit {bit} of byte {at}: {what}");
            if (at + bit) % 64 == 0 {
                let at_open = subject.opens().map(|(offset, _)| offset);
                let seen = (unit == 0 || unit > PAYLOAD_BYTES as u64).then_some(unit);
                assert_eq!(at_open, seen, "byte {at}");
            }
            if (at + bit) % 8 == 0 {
                subject.rot(&subject.bytes);
                subject.refuses(&bytes);
            }
            bytes[at] ^= 1 << bit;
        }
    }
    subject.rot(&bytes);
    assert_eq!(subject.read().unwrap(), payload(0));
}

/// F-S8: every length that is too short, and some that are too long; an opening sees them all.
#[test]
fn every_length() {
    let subject = subject();
    let whole = subject.bytes.clone();
    let longer = (1..600).chain([4095, 4096, 4097, 8192]);
    for len in (0..whole.len()).chain(longer.map(|more| whole.len() + more)) {
        let mut bytes = whole.clone();
        bytes.resize(len, 0);
        subject.rot(&bytes);
        let expected = SnapshotDamage::Length {
            expected: whole.len() as u64,
            found: len as u64,
        };
        let (offset, what) = subject.read().unwrap_err();
        assert_eq!((offset, &what), (len.min(whole.len()) as u64, &expected));
        if len % 16 == 0 || len > whole.len() - 30 {
            assert_eq!(subject.opens(), Some((offset, Damage::Snapshot(expected))));
        }
        subject.rot(&whole);
        subject.refuses(&bytes);
    }
    subject.disk.lose(&subject.file);
    assert_eq!(subject.opens(), Some((0, Damage::SnapshotMissing)));
}

/// F-S8: every page of zeros; blocks that change places, or come from another snapshot; another snapshot as a whole.
#[test]
fn pages_and_blocks() {
    let subject = subject();
    let whole = subject.bytes.clone();
    let found = |bytes: &[u8], unit: u64| {
        subject.rot(bytes);
        assert_eq!(subject.read().unwrap_err().0, unit);
        subject.rot(&whole);
        subject.refuses(bytes);
    };
    for page in (0..whole.len()).step_by(512) {
        let mut bytes = whole.clone();
        let end = (page + 512).min(bytes.len());
        bytes[page..end].fill(0);
        // What is cheap to see is seen first.
        let footer = whole.len() - 20;
        let unit = if end > footer {
            footer as u64
        } else {
            unit_of(page, whole.len())
        };
        found(&bytes, unit);
    }
    let mut swapped = whole.clone();
    let (one, two) = swapped[512..512 + 8192].split_at_mut(4096);
    one.swap_with_slice(two);
    found(&swapped, 512);
    let mut doubled = whole.clone();
    doubled.copy_within(512..4608, 4608);
    found(&doubled, 4608);

    let snapshots = subject.log.snapshots();
    for (index, other) in [(6, payload(0)), (7, payload(1))] {
        let id = make(&snapshots, index, &other);
        let name = format!("{index:020}-{:020}.snap", 1);
        let other = subject.disk.content(&dir().join(name)).unwrap();
        assert_eq!(id.bytes, subject.id.bytes);
        let mut mixed = whole.clone();
        mixed[4608..8704].copy_from_slice(&other[4608..8704]);
        found(&mixed, 4608);
        found(&other, 0);
        subject.rot(&other);
        let another = SnapshotDamage::Another {
            expected: subject.id,
        };
        assert_eq!(subject.opens(), Some((0, Damage::Snapshot(another))));
    }
    subject.rot(&whole);

    // Another payload for the same record, whole in itself: the mark tells it from the one that was marked.
    let elsewhere = SimDisk::new();
    let (log, _) = Log::open_with(elsewhere.clone(), &dir(), options()).unwrap();
    make(&log.snapshots(), 5, &payload(9));
    let other = elsewhere.content(&subject.file).unwrap();
    subject.rot(&other);
    let footer = whole.len() as u64 - 20;
    let another = SnapshotDamage::Another {
        expected: subject.id,
    };
    assert_eq!(subject.read(), Err((footer, another.clone())));
    assert_eq!(subject.opens(), Some((footer, Damage::Snapshot(another))));
    subject.rot(&whole);
    subject.refuses(&other);
}

/// A later version is told from damage, at an opening, by a reader and by a receiver.
#[test]
fn a_later_version() {
    let subject = subject();
    let mut bytes = subject.bytes.clone();
    bytes[8] = 2;
    let crc = !bytes[..12]
        .iter()
        .chain(&bytes[16..512])
        .fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
            })
        });
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let later = |error: &SnapshotReadError| {
        matches!(
            error,
            SnapshotReadError::UnknownVersion {
                found: 2,
                known: 1,
                ..
            }
        )
    };
    let mut receiver = subject.log.snapshots().receive(subject.id).unwrap();
    match receiver.write(&bytes).unwrap_err() {
        SnapshotReceiveError::Damaged(error) => assert!(later(&error), "{error}"),
        other => panic!("{other}"),
    }
    subject.rot(&bytes);
    let error = subject.log.snapshots().open(&subject.id).unwrap_err();
    assert!(later(&error), "{error}");
    subject.disk.kill();
    let opened = Log::open_with(subject.disk.clone(), &dir(), options());
    assert!(matches!(
        opened,
        Err(OpenError::UnknownVersion { found: 2, .. })
    ));
}

/// Lengths that no snapshot has, and ids that none has, are refused before there is a file.
#[test]
fn impossible_ids() {
    let subject = subject();
    let snapshots = subject.log.snapshots();
    let before = subject.disk.operations();
    for bytes in [0, 531, 533, 536, u64::MAX] {
        let id = SnapshotId {
            bytes,
            ..subject.id
        };
        match snapshots.receive(id) {
            Err(SnapshotWriteError::InvalidLength { bytes: named }) => assert_eq!(named, bytes),
            Ok(_) if bytes == u64::MAX => continue,
            other => panic!("{other:?}"),
        }
    }
    for id in [
        SnapshotId {
            index: 0,
            ..subject.id
        },
        SnapshotId {
            term: 0,
            ..subject.id
        },
    ] {
        let error = snapshots.receive(id).unwrap_err();
        assert!(matches!(error, SnapshotWriteError::Invalid { .. }));
    }
    assert_eq!(
        subject.disk.operations(),
        before + 2,
        "u64::MAX, and its end"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// F-S5: a payload in any pieces leads to the same file; read in any pieces it is the same; sent in any chunks, of which some do
    /// not arrive and are sent again, from whichever node, it is the same file elsewhere.
    #[test]
    fn any_pieces(
        payload in prop::collection::vec(any::<u8>(), 0..20_000),
        pieces in prop::collection::vec(1usize..6000, 1..20),
        lost in prop::collection::vec(any::<bool>(), 1..7),
    ) {
        let (one, two) = (SimDisk::new(), SimDisk::new());
        let (log, _) = Log::open_with(one.clone(), &dir(), options()).unwrap();
        let (other, _) = Log::open_with(two.clone(), &dir(), options()).unwrap();
        let mut sizes = pieces.iter().copied().cycle();
        let mut writer = log.snapshots().create(3, 2).unwrap();
        let mut rest = &payload[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            writer.write_all(piece).unwrap();
            rest = behind;
        }
        let id = writer.finish().unwrap().id();
        let at_once = {
            let mut writer = other.snapshots().create(3, 2).unwrap();
            writer.write_all(&payload).unwrap();
            writer.finish().unwrap().id()
        };
        prop_assert_eq!(id, at_once, "canonical");

        let mut reader = log.snapshots().open(&id).unwrap();
        let mut read = Vec::new();
        loop {
            let mut piece = vec![0; sizes.next().unwrap()];
            let len = reader.read(&mut piece).unwrap();
            if len == 0 {
                break;
            }
            read.extend_from_slice(&piece[..len]);
        }
        prop_assert_eq!(&read, &payload);

        let (third, _) = Log::open_with(SimDisk::new(), &dir(), options()).unwrap();
        let mut receiver = third.snapshots().receive(id).unwrap();
        let senders = [log.snapshots().open(&id).unwrap(), other.snapshots().open(&id).unwrap()];
        let mut lost = lost.iter().copied().chain([false]).cycle();
        for nth in 0.. {
            let mut chunk = vec![0; sizes.next().unwrap()];
            let len = senders[nth % 2].read_at(&mut chunk, receiver.received()).unwrap();
            if len == 0 {
                break;
            }
            if !lost.next().unwrap() {
                receiver.write(&chunk[..len]).unwrap();
            }
        }
        prop_assert_eq!(receiver.finish().unwrap().id(), id);
        let mut read = Vec::new();
        third.snapshots().open(&id).unwrap().read_to_end(&mut read).unwrap();
        prop_assert_eq!(&read, &payload);
    }
}
