//! Damage to a log at rest: it is found, and the message names the place; or it has no effect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod harness;

use std::path::Path;

use harness::{History, Model, Op, Step, dir, options, read_model, run};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, Damage, Log, OpenError, ReadError, Record};

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// Three segments; the last batch spans several sectors and has several records.
fn steps() -> Vec<Step> {
    vec![
        Step::Commit(vec![Op::Metadata(1), append(700), append(10)]),
        Step::Commit(vec![append(900), append(900)]),
        Step::Reopen,
        Step::Commit(vec![Op::Truncate(1), append(1200), Op::Metadata(2)]),
        Step::Commit(vec![append(1500)]),
        Step::Drop,
        Step::Commit(vec![append(300), append(700)]),
        Step::Commit(vec![append(600), append(20), append(600)]),
    ]
}

fn build(close: bool) -> (SimDisk, History) {
    let disk = SimDisk::new();
    let history = run(&disk, &dir(), &options(), &steps(), close);
    assert_eq!(history.error, None);
    (disk, history)
}

#[derive(Debug, PartialEq)]
enum Verdict {
    NoEffect,
    Found,
    LastBatchCut,
}

/// Opens a damaged disk. Anything but an error that names one of `files`, no effect, or (if the log was not closed) the cut
/// of the very last batch is a failure.
fn judge(disk: &SimDisk, history: &History, files: &[&Path]) -> Result<Verdict, String> {
    disk.kill();
    let named = |file: &Path| files.contains(&file);
    match Log::open_with(disk.clone(), &dir(), options()) {
        Err(OpenError::Corrupt { file, .. }) if named(&file) => Ok(Verdict::Found),
        // A missing record shows in the segment before the damaged checkpoint, and a lost superblock in the segments.
        Err(error @ OpenError::Corrupt { .. }) => Err(format!("names the wrong file: {error}")),
        Err(error) => Err(format!("{error}")),
        Ok((log, recovery)) => {
            let found = read_model(&log, Some(&recovery), &history.acknowledged)?;
            let cut = recovery.cut.as_ref().is_some_and(|cut| named(&cut.file));
            match found {
                found if found == history.acknowledged => Ok(Verdict::NoEffect),
                found if found == history.before_last && !history.closed && cut => {
                    Ok(Verdict::LastBatchCut)
                }
                Model { entries, .. } => {
                    Err(format!("{} entries, {:?}", entries.len(), recovery.cut))
                }
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    cases: u64,
    found: u64,
    cut: u64,
}

impl Tally {
    fn case(&mut self, what: &str, disk: &SimDisk, history: &History, files: &[&Path]) -> Verdict {
        let verdict = judge(disk, history, files).unwrap_or_else(|error| panic!("{what}: {error}"));
        self.cases += 1;
        self.found += u64::from(verdict == Verdict::Found);
        self.cut += u64::from(verdict == Verdict::LastBatchCut);
        verdict
    }
}

/// F-L2, F-L3, F-L4, F-L6, F-L16, F-L18, F-L20; S-L2, S-L6, S-L8: bits flip, sectors and pages turn to zero, files are cut
/// short, grow, vanish or change places.
fn sweep(close: bool) -> Tally {
    let (disk, history) = build(close);
    let files = disk.files();
    let mut tally = Tally::default();
    for file in &files {
        let mut length = 0;
        disk.fork().rot(file, |bytes| length = bytes.len());
        let mut rot = |what: String, change: &dyn Fn(&mut Vec<u8>)| {
            let disk = disk.fork();
            disk.rot(file, |bytes| change(bytes));
            tally.case(
                &format!("{what} of {}", file.display()),
                &disk,
                &history,
                &[file],
            );
        };
        // A bit in every third byte; which one wanders, so that all are met.
        for at in (0..length).step_by(3) {
            rot(format!("bit {} of byte {at}", at % 8), &|bytes| {
                bytes[at] ^= 1 << (at % 8);
            });
        }
        for at in (0..length).step_by(512) {
            rot(format!("zeroed sector at {at}"), &|bytes| {
                bytes[at..at + 512].fill(0);
            });
        }
        for len in (0..length).step_by(97).chain([length - 1]) {
            rot(format!("cut to {len}"), &|bytes| bytes.truncate(len));
        }
        rot("a byte more".into(), &|bytes| bytes.push(0));
        let disk = disk.fork();
        disk.lose(file);
        tally.case(
            &format!("loss of {}", file.display()),
            &disk,
            &history,
            &[file],
        );
    }
    for (nth, one) in files.iter().enumerate() {
        for two in &files[..nth] {
            let disk = disk.fork();
            let mut first = Vec::new();
            disk.rot(one, |bytes| first.clone_from(bytes));
            disk.rot(two, |bytes| std::mem::swap(bytes, &mut first));
            disk.rot(one, |bytes| *bytes = first);
            let verdict = tally.case(
                &format!("swap of {one:?} and {two:?}"),
                &disk,
                &history,
                &[one, two],
            );
            assert_eq!(verdict, Verdict::Found);
        }
    }
    tally
}

#[test]
fn after_a_clean_close_every_damage_is_found_or_has_no_effect() {
    let Tally { cases, found, cut } = sweep(true);
    println!("{cases} cases, {found} found");
    assert_eq!(cut, 0);
}

#[test]
fn after_a_crash_only_the_last_batch_can_be_cut() {
    let Tally { cases, found, cut } = sweep(false);
    println!("{cases} cases, {found} found, {cut} cut the last batch");
    assert!(cut > 0);
}

/// F-L15, F-L20: files of another log of the same caller, or an older copy of the superblock.
#[test]
fn strangers_and_old_copies_are_found() {
    let (disk, history) = build(true);
    let superblock = dir().join("superblock");
    let older = SimDisk::new();
    run(&older, &dir(), &options(), &steps()[..1], true);
    let mut old = Vec::new();
    older.rot(&superblock, |bytes| old.clone_from(bytes));
    disk.rot(&superblock, |bytes| *bytes = old);
    let verdict = judge(&disk, &history, &[&superblock]);
    assert_eq!(verdict, Ok(Verdict::Found), "a superblock from before");

    let (disk, history) = build(true);
    let stranger = SimDisk::new();
    let others = raft_log::Options {
        identity: b"other".to_vec(),
        ..options()
    };
    run(&stranger, &dir(), &others, &steps(), true);
    let segment = dir().join("00000000000000000002.seg");
    let mut bytes = Vec::new();
    stranger.rot(&segment, |theirs| bytes.clone_from(theirs));
    disk.rot(&segment, |ours| *ours = bytes);
    let opened = Log::open_with(disk.clone(), &dir(), options());
    assert!(matches!(
        opened,
        Err(OpenError::Corrupt {
            what: Damage::SegmentForeign,
            ..
        })
    ));
    drop(opened);

    // F-L16: all segments gone, or the superblock.
    let (disk, _) = build(true);
    disk.lose(&superblock);
    let opened = Log::open_with(disk.clone(), &dir(), options());
    assert!(matches!(
        opened,
        Err(OpenError::Corrupt {
            what: Damage::SuperblockMissing,
            ..
        })
    ));
    let _ = history;
}

/// F-L7: an overwrite that was lost, so that a record of a former life stands where this life began. It verifies, its place
/// is right, and nothing of its order is wrong: what comes behind does not chain to it.
#[test]
fn an_old_record_in_its_old_place_is_found() {
    let disk = SimDisk::new();
    let open = || Log::open_with(disk.clone(), &dir(), options()).unwrap().0;
    let segment = dir().join("00000000000000000001.seg");
    let used = || {
        let mut used = Vec::new();
        disk.fork().rot(&segment, |bytes| used.clone_from(bytes));
        used.truncate(used.iter().rposition(|&byte| byte != 0).unwrap() + 1);
        used
    };
    let mut log = open();
    log.commit(Batch::new().metadata(b"a vote")).unwrap();
    let place = used().len().next_multiple_of(8);
    // Never acknowledged, and as long as the boot record that comes in its place.
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    log.commit(Batch::new().metadata(b"")).unwrap_err();
    let mut old = used()[place..].to_vec();
    old.resize(48, 0);
    disk.restart(Keep::Nothing);
    let mut log = open();
    log.commit(Batch::new().append(Record {
        index: 1,
        term: 1,
        kind: 0,
        payload: b"x",
    }))
    .unwrap();
    log.close().unwrap();
    disk.rot(&segment, |bytes| {
        bytes[place..place + old.len()].copy_from_slice(&old);
    });
    let opened = Log::open_with(disk.clone(), &dir(), options());
    assert!(matches!(opened, Err(OpenError::Corrupt { file, .. }) if file == segment));
}

/// After a clean close either copy of the superblock knows where the log ends, so losing one hides no other loss.
#[test]
fn one_copy_of_the_superblock_is_enough() {
    let (disk, history) = build(true);
    let superblock = dir().join("superblock");
    let newest = disk
        .files()
        .into_iter()
        .filter(|file| file.extension().is_some());
    // The last file is the one made ready; the one in use is before it.
    let segment = newest.rev().nth(1).unwrap();
    for copy in [0, 4096] {
        let disk = disk.fork();
        disk.rot(&superblock, |bytes| bytes[copy..copy + 512].fill(0));
        let twice = disk.fork();
        assert_eq!(judge(&disk, &history, &[]), Ok(Verdict::NoEffect));
        twice.rot(&segment, |bytes| {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            bytes[last] ^= 1;
        });
        assert_eq!(judge(&twice, &history, &[&segment]), Ok(Verdict::Found));
    }
}

/// Rot that comes while the log is open is found by the read.
#[test]
fn a_read_verifies() {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    let record = |index| Record {
        index,
        term: 1,
        kind: 0,
        payload: &[0x5a; 200],
    };
    log.commit(Batch::new().append(record(1)).append(record(2)))
        .unwrap();
    let segment = dir().join("00000000000000000001.seg");
    disk.rot(&segment, |bytes| {
        let last = bytes.iter().rposition(|&byte| byte == 0x5a).unwrap();
        bytes[last] = 0;
    });
    let reader = log.reader();
    assert_eq!(reader.read(1, 0).unwrap().len(), 1);
    let error = reader.read(2, 0).unwrap_err();
    assert!(
        matches!(&error, ReadError::Corrupt { index: 2, file, .. } if *file == segment),
        "{error}"
    );
}

/// The limit of what can be told from a torn write, as the README states it: nothing whole is left behind the damage. One page
/// of zeros takes the end of a batch and all of the small one behind it; with a single record left, it is found. So it is
/// once the log was settled or closed.
#[test]
fn damage_to_the_very_end_looks_torn() {
    let segment = dir().join("00000000000000000001.seg");
    // Batches of one record: the third and fourth are small, and end the log.
    let build = |settle: bool, close: bool| {
        let disk = SimDisk::new();
        let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
        let mut starts = Vec::new();
        for (index, len) in (1..).zip([500, 500, 10, 10]) {
            let payload = vec![index as u8; len];
            log.commit(Batch::new().append(Record {
                index,
                term: 1,
                kind: 0,
                payload: &payload,
            }))
            .unwrap();
            disk.rot(&segment, |bytes| {
                let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
                starts.push(last + 1 - len);
            });
        }
        if settle {
            log.settle().unwrap();
        }
        if close {
            log.close().unwrap();
        }
        disk.kill();
        (disk, starts)
    };
    // Zeros from the payload of one batch to the end of that of another; the last index left, or that it was found.
    let zeroed = |(disk, starts): (SimDisk, Vec<usize>), from: usize, to: Option<usize>| {
        disk.rot(&segment, |bytes| {
            let end = to.map_or(bytes.len(), |to| starts[to - 1] + 10);
            bytes[starts[from - 1]..end].fill(0);
        });
        match Log::open_with(disk, &dir(), options()) {
            Ok((_, recovery)) => {
                // Nothing but the head of the first one is left of what was lost.
                assert!(
                    recovery
                        .cut
                        .is_some_and(|cut| cut.bytes <= 48 && cut.records == 0)
                );
                Ok(recovery.last_index)
            }
            Err(OpenError::Corrupt { index, .. }) => Err(index),
            Err(error) => panic!("{error}"),
        }
    };
    let (crashed, settled, closed) = ((false, false), (true, false), (false, true));
    let build = |(settle, close)| build(settle, close);
    assert_eq!(zeroed(build(crashed), 4, None), Ok(3), "the last batch");
    assert_eq!(zeroed(build(crashed), 2, None), Ok(1), "three batches");
    assert_eq!(zeroed(build(crashed), 2, Some(3)), Err(Some(2)), "one left");
    assert_eq!(zeroed(build(settled), 4, Some(4)), Err(Some(4)));
    assert_eq!(zeroed(build(settled), 4, None), Err(Some(4)));
    assert_eq!(zeroed(build(settled), 2, None), Err(Some(2)));
    assert_eq!(zeroed(build(closed), 4, None), Err(Some(4)));
    assert_eq!(zeroed(build(closed), 2, None), Err(Some(2)));

    // With the heads too: as if the last two had never been written. The superblock knows better, once it was settled.
    let headless = |(disk, starts): (SimDisk, Vec<usize>)| {
        disk.rot(&segment, |bytes| bytes[starts[2] - 48..].fill(0));
        Log::open_with(disk, &dir(), options())
    };
    let (_, recovery) = headless(build(crashed)).unwrap();
    assert_eq!((recovery.last_index, recovery.cut), (2, None));
    for found in [settled, closed] {
        let error = headless(build(found)).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { index: Some(3), .. }));
    }
}
