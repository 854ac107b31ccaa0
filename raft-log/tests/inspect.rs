//! Looking into a log that nobody has open: nothing changes, `verify` says what an opening would, `dump` lists everything.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::harness::{Op, Step, dir, options, run};
use raft_log::inspect::{
    Content, InspectError, Inspection, Item, RecordItem, Standing, Unreadable,
};
use raft_log::sim_disk::{Fault, Keep, SimDisk};
use raft_log::{Batch, FileHandle, Files, Log, OpenError, Record};

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// Several segments, an opening after a crash, a truncation and, with `purge`, segments that are gone.
fn build(close: bool, purge: bool) -> SimDisk {
    let mut steps = vec![
        Step::Commit(vec![Op::Metadata(1), append(700), append(10)]),
        Step::Commit(vec![append(900), append(900)]),
        Step::Reopen,
        Step::Commit(vec![Op::Truncate(1), append(1200), Op::Metadata(2)]),
        Step::Commit(vec![append(1500)]),
    ];
    if purge {
        steps.push(Step::Purge(7));
    }
    steps.extend([
        Step::Drop,
        Step::Commit(vec![append(300), append(700)]),
        Step::Commit(vec![append(600), append(20), append(600)]),
    ]);
    let disk = SimDisk::new();
    let history = run(&disk, &dir(), &options(), &steps, close);
    assert_eq!(history.error, None);
    disk.kill();
    disk
}

fn content(disk: &SimDisk, file: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    disk.fork().rot(file, |bytes| content.clone_from(bytes));
    content
}

/// What `verify` says, and then what opening the same directory says. Nothing may change for the first.
fn verdicts(disk: &SimDisk) -> (String, String) {
    disk.kill();
    let operations = disk.operations();
    let verified = match Inspection::open_with(disk.clone(), &dir()) {
        Err(InspectError::Open(error)) => format!("{error}"),
        Err(error) => panic!("{error}"),
        Ok(inspection) => match inspection.verify() {
            Err(error) => format!("{error}"),
            Ok(verified) => format!("{:?}", verified.recovery),
        },
    };
    assert_eq!(
        disk.operations(),
        operations,
        "verify tried to change something"
    );
    let opened = match Log::open_with(disk.clone(), &dir(), options()) {
        Err(error) => format!("{error}"),
        Ok((_, recovery)) => format!("{recovery:?}"),
    };
    (verified, opened)
}

/// `verify` and opening agree word for word on every damage; so does a dump come to its end. The number of cases, and of
/// those that were found.
fn same_verdicts(disk: &SimDisk) -> (u64, u64) {
    let (mut cases, mut found) = (0, 0);
    let mut case = |what: &str, disk: &SimDisk| {
        let count = items(disk).len();
        assert!(count > 0);
        let (verified, opened) = verdicts(disk);
        assert_eq!(verified, opened, "{what}");
        cases += 1;
        found += u64::from(opened.contains("damaged"));
    };
    let files = disk.files();
    for file in &files {
        let name = file.display();
        let length = content(disk, file).len();
        let rot = |change: &dyn Fn(&mut Vec<u8>)| {
            let disk = disk.fork();
            disk.rot(file, |bytes| change(bytes));
            disk
        };
        for at in (0..length).step_by(5) {
            let bad = rot(&|bytes| bytes[at] ^= 1 << (at % 8));
            case(&format!("bit {} of byte {at} of {name}", at % 8), &bad);
        }
        for at in (0..length).step_by(512) {
            let bad = rot(&|bytes| bytes[at..at + 512].fill(0));
            case(&format!("zeros at {at} of {name}"), &bad);
            let bad = rot(&|bytes| bytes[at..at + 512].fill(0xa5));
            case(&format!("rubbish at {at} of {name}"), &bad);
            let bad = rot(&|bytes| bytes.truncate(at));
            case(&format!("{name} cut to {at}"), &bad);
        }
        case(
            &format!("a byte more in {name}"),
            &rot(&|bytes| bytes.push(0)),
        );
        let bad = disk.fork();
        bad.lose(file);
        case(&format!("loss of {name}"), &bad);
        for other in &files {
            let bad = disk.fork();
            bad.rot(file, |bytes| *bytes = content(disk, other));
            case(&format!("{} in place of {name}", other.display()), &bad);
        }
    }
    (cases, found)
}

#[test]
fn verify_says_what_an_opening_says_of_every_damage() {
    for (close, purge) in [(true, false), (false, false), (true, true), (false, true)] {
        let (cases, found) = same_verdicts(&build(close, purge));
        println!("close {close}, purge {purge}: {cases} cases, {found} damaged");
        assert!(found > 50 && cases - found > 50);
    }
}

/// After a crash at every operation of a workload, and in the openings that follow.
#[test]
fn verify_says_what_an_opening_says_after_every_crash() {
    let steps = [
        Step::Commit(vec![append(700), Op::Metadata(1)]),
        Step::Commit(vec![append(1500), append(900)]),
        Step::Purge(8),
        Step::Commit(vec![append(1500)]),
        Step::Commit(vec![append(1500)]),
    ];
    let mut cuts = 0;
    for operation in 1.. {
        let crashed = SimDisk::new();
        crashed.fail(operation, Fault::PowerLoss);
        let done = run(&crashed, &dir(), &options(), &steps, true)
            .error
            .is_none();
        for keep in crate::harness::variants(crashed.pending(), 4, operation) {
            let disk = crashed.fork();
            disk.restart(keep);
            if Inspection::open_with(disk.clone(), &dir()).is_err() {
                continue;
            }
            let (verified, opened) = verdicts(&disk);
            assert_eq!(verified, opened, "crash at operation {operation}, {keep:?}");
            cuts += u32::from(opened.contains("cut: Some"));
        }
        if done {
            break;
        }
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn verify_reads_and_describes_a_sound_log() {
    let disk = build(true, true);
    let inspection = Inspection::open_with(disk.clone(), &dir()).unwrap();
    let verified = inspection.verify().unwrap();
    assert_eq!(verified.identity, b"sim");
    assert_eq!(verified.superblock_copies, 2);
    assert!(*verified.segments.start() > 1);
    let count = verified.segments.end() - verified.segments.start() + 1;
    assert_eq!(verified.bytes, count * 4096);
    assert!(verified.recovery.clean && verified.recovery.cut.is_none());
    assert_eq!(
        (verified.recovery.boot, verified.end),
        (4, verified.durable)
    );
    let (first, last) = (verified.recovery.first_index, verified.recovery.last_index);
    assert!(first > 1 && last > first);
    for index in first..=last {
        assert_eq!(verified.reader.read(index, 0).unwrap()[0].index, index);
    }
    // One copy of the superblock is enough, and said to be the only one.
    drop(inspection);
    disk.rot(&dir().join("superblock"), |bytes| bytes[100] ^= 1);
    let verified = Inspection::open_with(disk, &dir())
        .unwrap()
        .verify()
        .unwrap();
    assert_eq!(verified.superblock_copies, 1);
}

/// One line for each item.
fn items(disk: &SimDisk) -> Vec<String> {
    disk.kill();
    let mut lines = Vec::new();
    let inspection = Inspection::open_with(disk.clone(), &dir()).unwrap();
    let flow = inspection.dump(|item| {
        lines.push(line(&item));
        ControlFlow::<()>::Continue(())
    });
    assert_eq!(flow.unwrap(), ControlFlow::Continue(()));
    lines
}

fn line(item: &Item<'_>) -> String {
    match item {
        Item::Superblock(copy) => match &copy.content {
            Ok(facts) => format!(
                "superblock {} sequence {} boot {} segments {:?}{}",
                copy.offset,
                facts.sequence,
                facts.boot,
                facts.segments,
                if copy.counts { " counts" } else { "" }
            ),
            Err(why) => format!("superblock {} {why:?}", copy.offset),
        },
        Item::Segment(segment) => match &segment.content {
            Ok(facts) => format!(
                "segment {} epoch {} size {} in use {:?} belongs {}",
                segment.number, facts.epoch, facts.size, segment.in_use, segment.belongs
            ),
            Err(why) => format!("segment {} {why:?}", segment.number),
        },
        Item::Snapshot(snapshot) => match &snapshot.content {
            Ok(id) => format!("snapshot {}@{} {} bytes", id.index, id.term, id.bytes),
            Err(problem) => format!("snapshot, {} bytes: {problem}", snapshot.length),
        },
        Item::Missing(numbers) => format!("missing {numbers:?}"),
        Item::Record(record) => format!("{}: {}", record.position.offset, said(record)),
        Item::Gap(gap) => {
            let zeros = if gap.nonzero == 0 { "zeros" } else { "bytes" };
            format!("{}: {} {zeros}", gap.position.offset, gap.bytes)
        }
        _ => unreachable!(),
    }
}

fn said(record: &RecordItem<'_>) -> String {
    let content = match &record.content {
        Content::Entry {
            index,
            term,
            kind,
            payload,
        } => {
            assert_eq!(payload.len(), record.length as usize);
            format!("entry {index}@{term} kind {kind} {:?}", payload.first())
        }
        Content::Metadata(metadata) => format!("metadata {metadata:?}"),
        Content::Truncate { from } => format!("truncate {from}"),
        Content::Checkpoint(Some(facts)) => {
            format!(
                "checkpoint {:?} {:?} boot {}",
                facts.purged, facts.last, facts.boot
            )
        }
        Content::Boot { boot } => format!("boot {boot}"),
        Content::Purge { index, term } => format!("purge {index}@{term}"),
        other => format!("{other:?}"),
    };
    let end = if record.end { " end" } else { "" };
    match record.standing {
        Standing::Complete => format!("{content}{end}"),
        standing => format!("{content}{end} {standing:?}"),
    }
}

fn record(index: u64, payload: &[u8]) -> Record<'_> {
    Record {
        index,
        term: 1,
        kind: 7,
        payload,
    }
}

fn segment_file(number: u64) -> PathBuf {
    dir().join(format!("{number:020}.seg"))
}

/// A log of one segment: boot, a batch of two records, a truncation and a purge.
fn small() -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    log.commit(
        Batch::new()
            .metadata(b"v")
            .append(record(1, &[1; 40]))
            .append(record(2, &[2; 8])),
    )
    .unwrap();
    log.commit(Batch::new().truncate_from(2).append(record(2, &[3; 8])))
        .unwrap();
    log.purge(1).unwrap();
    disk.kill();
    disk
}

#[test]
fn a_dump_lists_every_record_in_its_place() {
    let lines = items(&small());
    assert_eq!(
        lines,
        [
            "superblock 0 sequence 3 boot 1 segments 1..=1 counts",
            "superblock 4096 sequence 2 boot 1 segments 1..=0",
            "segment 1 epoch 1 size 4096 in use Some(true) belongs true",
            "512: checkpoint (0, 0) (0, 0) boot 1 end",
            "640: boot 1 end",
            "688: metadata [118]",
            "744: entry 1@1 kind 7 Some(1)",
            "832: entry 2@1 kind 7 Some(2) end",
            "888: truncate 2",
            "936: entry 2@1 kind 7 Some(3) end",
            "992: purge 1@1 end",
            "1040: 3056 zeros",
            "segment 2 epoch 1 size 4096 in use Some(false) belongs true",
            "512: 3584 zeros",
        ]
    );
}

/// What a torn write leaves, before and behind the hole.
#[test]
fn a_dump_tells_what_counts_from_what_is_torn() {
    let disk = small();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    disk.fail(disk.operations() + 2, Fault::PowerLoss);
    log.commit(
        Batch::new()
            .append(record(3, &[4; 8]))
            .append(record(4, &[5; 600]))
            .append(record(5, &[6; 8])),
    )
    .unwrap_err();
    disk.restart(Keep::All);
    let whole: Vec<String> = items(&disk)[12..16].into();
    assert_eq!(
        whole,
        [
            "1088: entry 3@1 kind 7 Some(4)",
            "1144: entry 4@1 kind 7 Some(5)",
            "1792: entry 5@1 kind 7 Some(6) end",
            "1848: 2248 zeros",
        ],
        "it never was acknowledged, and is whole"
    );
    disk.rot(&segment_file(1), |bytes| bytes[1536..1792].fill(0));
    let torn: Vec<String> = items(&disk)[12..17].into();
    assert_eq!(
        torn,
        [
            "1088: entry 3@1 kind 7 Some(4) Unfinished",
            "1144: 392 bytes",
            "1536: 256 zeros",
            "1792: entry 5@1 kind 7 Some(6) end Stray",
            "1848: 2248 zeros",
        ]
    );
}

#[test]
fn a_dump_goes_on_past_damage() {
    // A record in the middle.
    let disk = small();
    disk.rot(&segment_file(1), |bytes| bytes[760] ^= 1);
    let lines = items(&disk);
    assert_eq!(lines[5], "688: metadata [118] Unfinished");
    assert_eq!(lines[6], "744: 88 bytes");
    assert_eq!(lines[7], "832: entry 2@1 kind 7 Some(2) end Stray");
    assert_eq!(lines[10], "992: purge 1@1 end Stray");

    // A header: nothing in that file can be verified, the next is listed.
    let disk = small();
    disk.rot(&segment_file(1), |bytes| bytes[20] ^= 1);
    let lines = items(&disk);
    assert_eq!(lines[2], "segment 1 Damaged");
    assert_eq!(
        lines[3],
        "segment 2 epoch 1 size 4096 in use Some(false) belongs true"
    );

    // A segment that is gone, and the superblock: what is left is listed without it.
    let disk = build(true, false);
    disk.lose(&segment_file(2));
    assert!(items(&disk).contains(&"missing 2..=2".to_owned()));
    disk.lose(&dir().join("superblock"));
    let lines = items(&disk);
    assert_eq!(lines[0], format!("superblock 0 {:?}", Unreadable::Missing));
    assert_eq!(
        lines[2],
        "segment 1 epoch 1 size 4096 in use None belongs true"
    );
    assert!(lines[3].starts_with("512: checkpoint"));
    assert!(!lines.iter().any(|line| line.starts_with("missing")));

    // A segment of another place.
    let disk = build(true, false);
    let other = content(&disk, &segment_file(2));
    disk.rot(&segment_file(1), |bytes| *bytes = other);
    let lines = items(&disk);
    assert!(lines[2].ends_with("belongs false"), "{}", lines[2]);
    assert!(lines[3].starts_with("512: checkpoint"), "{}", lines[3]);
}

/// Snapshots are read to their ends: an opening looks at length, header and footer only.
#[test]
fn snapshots_are_listed_and_verified_wholly() {
    let disk = small();
    let (mut log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    let mut writer = log.snapshots().create(2, 1).unwrap();
    writer.write_all(&[7; 10_000]).unwrap();
    let snapshot = writer.finish().unwrap();
    log.commit(Batch::new().snapshot(&snapshot)).unwrap();
    let mut unfinished = log.snapshots().create(2, 1).unwrap();
    unfinished.write_all(&[8; 300_000]).unwrap();
    // As a process leaves it that ends here.
    let disk = disk.fork();
    drop((unfinished, log));
    let bytes = snapshot.id().bytes;
    let file = dir().join(format!("{:020}-{:020}.snap", 2, 1));
    let lines = items(&disk);
    let listed: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("snapshot"))
        .collect();
    assert_eq!(listed[0], &format!("snapshot 2@1 {bytes} bytes"));
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("Snapshot { snapshot: Some(")),
        "{lines:?}"
    );
    let (verified, opened) = verdicts(&disk.fork());
    assert_eq!(verified, opened);

    disk.rot(&file, |content| content[5000] ^= 1);
    let lines = items(&disk);
    let listed = lines
        .iter()
        .find(|line| line.starts_with("snapshot"))
        .unwrap();
    assert!(listed.contains("byte 4608"), "{listed}");
    let inspection = Inspection::open_with(disk, &dir()).unwrap();
    let error = inspection.verify().unwrap_err().to_string();
    assert!(
        error.contains(&file.display().to_string()) && error.contains("byte 4608"),
        "{error}"
    );
}

#[test]
fn a_dump_ends_when_it_is_told_to() {
    let inspection = Inspection::open_with(small(), &dir()).unwrap();
    let mut seen = 0;
    let flow = inspection.dump(|_| {
        seen += 1;
        if seen == 3 {
            ControlFlow::Break("enough")
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!((flow.unwrap(), seen), (ControlFlow::Break("enough"), 3));
}

/// What is no record is passed in pieces: every byte is read a few times, not once for each of its neighbours.
#[test]
fn rubbish_is_read_once() {
    let options = raft_log::Options {
        segment_bytes: 1024 * 1024,
        ..options()
    };
    let disk = SimDisk::new();
    drop(Log::open_with(disk.clone(), &dir(), options).unwrap());
    disk.kill();
    disk.rot(&segment_file(1), |bytes| bytes[700_000..].fill(0xa5));
    let windows = 1024 / 64;
    let before = disk.reads();
    let lines = items(&disk);
    assert_eq!(lines[5], "688: 699312 zeros");
    assert!(lines[6].starts_with("700000: 348576 bytes"));
    // It reads the segment that is made ready as well.
    let reads = disk.reads() - before;
    assert!(reads < windows * 3 + 20, "{reads} reads");
    let before = disk.reads();
    let (verified, _) = verdicts(&disk);
    assert!(verified.contains("offset: 688"), "{verified}");
    // Twice: for the inspection and for the opening.
    let reads = disk.reads() - before;
    assert!(reads < windows * 3 + 40, "{reads} reads");
}

#[test]
fn a_log_is_inspected_or_open_but_not_both() {
    let disk = small();
    let (log, _) = Log::open_with(disk.clone(), &dir(), options()).unwrap();
    let error = Inspection::open_with(disk.clone(), &dir()).unwrap_err();
    assert!(
        matches!(error, InspectError::Open(OpenError::Locked { .. })),
        "{error}"
    );
    drop(log);
    let inspection = Inspection::open_with(disk.clone(), &dir()).unwrap();
    let error = Log::open_with(disk.clone(), &dir(), options()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(inspection);
    Log::open_with(disk, &dir(), options()).unwrap();
}

#[test]
fn there_must_be_a_log() {
    let scratch = tempfile::tempdir().unwrap();
    let missing = scratch.path().join("missing");
    let error = Inspection::open(&missing).unwrap_err();
    assert!(matches!(error, InspectError::Missing { .. }), "{error}");
    assert!(!missing.exists(), "it was made");
    let error = Inspection::open(scratch.path()).unwrap_err();
    assert!(matches!(error, InspectError::Empty { .. }), "{error}");
    std::fs::write(scratch.path().join("cat.jpg"), "cat").unwrap();
    let error = Inspection::open(scratch.path()).unwrap_err();
    assert!(
        matches!(error, InspectError::Open(OpenError::NotALog { .. })),
        "{error}"
    );
}

/// Names, bytes and times of all files in a directory, and its own.
fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let modified = path.metadata().unwrap().modified().unwrap();
            (path.clone(), std::fs::read(&path).unwrap(), modified)
        })
        .collect();
    files.sort();
    files.push((
        dir.into(),
        vec![],
        dir.metadata().unwrap().modified().unwrap(),
    ));
    files
}

#[test]
fn inspecting_real_files_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let open = || Log::open(&dir, options()).unwrap().0;
    let mut log = open();
    for index in 1..=10 {
        log.commit(Batch::new().append(record(index, &[9; 900])))
            .unwrap();
    }
    drop(log);
    // A torn tail and a file left over: there is something that an opening would change.
    let end = Inspection::open(&dir).unwrap().verify().unwrap().end;
    let last = dir.join(format!("{:020}.seg", end.segment));
    let file = raft_log::OsFiles.open(&last).unwrap();
    file.write_all_at(b"torn", u64::from(end.offset)).unwrap();
    std::fs::write(dir.join("superblock.new"), "left over").unwrap();
    let before = snapshot(&dir);
    let inspection = Inspection::open(&dir).unwrap();
    let recovery = inspection.verify().unwrap().recovery;
    assert_eq!((recovery.last_index, recovery.cut.unwrap().bytes), (10, 4));
    let mut records = 0;
    let flow = inspection.dump(|item| {
        records += u32::from(matches!(item, Item::Record(_)));
        ControlFlow::<()>::Continue(())
    });
    assert!(flow.unwrap().is_continue() && records > 10);
    drop(inspection);
    assert_eq!(snapshot(&dir), before);
    // The handles themselves refuse.
    let file = raft_log::OsFiles.open_read(&last).unwrap();
    file.write_all_at(b"x", 0).unwrap_err();
    let disk = small();
    let file = disk.open_read(&segment_file(1)).unwrap();
    let operations = disk.operations();
    file.write_all_at(b"x", 0).unwrap_err();
    file.sync_data().unwrap_err();
    file.sync_all().unwrap_err();
    assert_eq!(disk.operations(), operations);
    assert_eq!(snapshot(&dir), before);
}
