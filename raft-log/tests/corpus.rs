//! F-L18: what the fuzzers found worth keeping, and seeds made by hand, through every parser; and random bytes beside them.
//!
//! `RAFT_LOG_CORPUS=write cargo test -p raft-log --test all corpus::` writes the seeds anew, after a change of the format.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::harness::{Op, Step, run};
use proptest::prelude::*;
use raft_log::fuzz::{self, COPY_TAGS, SEAL_ALL, push_part};
use raft_log::inspect::Inspection;
use raft_log::sim_disk::{Fault, SimDisk};
use raft_log::{Batch, Log, OpenError, Record};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 7] = [
    ("superblock", fuzz::superblock),
    ("segment_header", fuzz::segment_header),
    ("record", fuzz::record),
    ("checkpoint", fuzz::checkpoint),
    ("snapshot", fuzz::snapshot),
    ("segment", fuzz::segment),
    ("directory", fuzz::directory),
];

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Names and bytes of a target's corpus.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = home().join("corpus").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[test]
fn every_target_survives_its_corpus() {
    write_seeds_if_asked();
    for (target, function) in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "the corpus of {target} is empty");
        for (file, bytes) in &inputs {
            println!("{}", file.display());
            function(bytes);
        }
        println!("{target}: {} inputs", inputs.len());
    }
}

/// A target that only the fuzzer knows would not be run here.
#[test]
fn every_target_is_listed() {
    let mut targets: Vec<String> = fs::read_dir(home().join("fuzz_targets"))
        .unwrap()
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    targets.sort();
    let mut listed = TARGETS.map(|(target, _)| target);
    listed.sort_unstable();
    assert_eq!(targets, listed);
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    for target in listed {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "{target}"
        );
    }
}

/// A corpus all of whose inputs end at the same check is worth nothing.
#[test]
fn the_corpus_goes_deep() {
    let (mut sound, mut cut, mut damaged, mut entries) = (0, 0, 0, 0);
    for (_, bytes) in corpus("directory") {
        let disk = fuzz::image(&bytes);
        let Ok(inspection) = Inspection::open_with(disk, fuzz::dir()) else {
            continue;
        };
        match inspection.verify() {
            Ok(verified) => {
                sound += 1;
                cut += u32::from(verified.recovery.cut.is_some());
                let recovery = verified.recovery;
                entries += u32::from(recovery.last_index >= recovery.first_index);
            }
            Err(OpenError::Corrupt { .. }) => damaged += 1,
            Err(_) => {}
        }
    }
    println!("{sound} sound, {cut} cut, {damaged} damaged, {entries} with entries");
    assert!(sound >= 5 && cut >= 1 && damaged >= 5 && entries >= 3);
}

/// However long something says it is: memory is bounded by windows and the index's points, whose number is fixed, and by the
/// bytes that are there.
#[test]
fn nothing_is_allocated_for_what_is_not_there() {
    const FIXED: u64 = 2 * 1024 * 1024;
    for (file, bytes) in corpus("directory") {
        let disk = fuzz::image(&bytes);
        let there: u64 = disk
            .files()
            .iter()
            .map(|file| {
                let mut length = 0;
                disk.fork().rot(file, |bytes| length = bytes.len() as u64);
                length
            })
            .sum();
        for look in [fuzz::inspect, fuzz::verify] {
            let used = allocation_counter::measure(|| look(&disk)).bytes_max;
            assert!(
                used < FIXED + 4 * there,
                "{used} bytes for {}",
                file.display()
            );
        }
    }
}

/// The files of a disk as an image, without the zeros at their ends.
fn image_of(disk: &SimDisk, mode: u8) -> Vec<u8> {
    let mut image = vec![mode];
    for file in disk.files() {
        let mut content = Vec::new();
        disk.fork().rot(&file, |bytes| content.clone_from(bytes));
        let trimmed = |bytes: &[u8]| {
            let end = bytes.iter().rposition(|&byte| byte != 0);
            bytes[..end.map_or(0, |end| end + 1)].to_vec()
        };
        let name = file.file_stem().unwrap().to_string_lossy();
        match name.parse() {
            Ok(number) => push_part(&mut image, number, &trimmed(&content)),
            Err(_) => {
                push_part(&mut image, COPY_TAGS[0], &trimmed(&content[..512]));
                push_part(&mut image, COPY_TAGS[1], &trimmed(&content[4096..4608]));
            }
        }
    }
    image
}

fn small_log() -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) =
        Log::open_with(disk.clone(), fuzz::dir(), crate::harness::options()).unwrap();
    let record = |index, payload| Record {
        index,
        term: 1,
        kind: 2,
        payload,
    };
    log.commit(
        Batch::new()
            .metadata(b"vote")
            .append(record(1, b"one"))
            .append(record(2, b"two")),
    )
    .unwrap();
    log.commit(Batch::new().truncate_from(2).append(record(2, b"more")))
        .unwrap();
    disk.kill();
    disk
}

fn long_log(close: bool) -> SimDisk {
    let append = |bytes| Op::Append {
        bytes,
        new_term: true,
    };
    let steps = [
        Step::Commit(vec![Op::Metadata(1), append(700), append(1500)]),
        Step::Commit(vec![append(1500)]),
        Step::Purge(4),
        Step::Commit(vec![append(1900)]),
        Step::Commit(vec![append(1900)]),
        Step::Purge(4),
    ];
    let disk = SimDisk::new();
    let history = run(
        &disk,
        fuzz::dir(),
        &crate::harness::options(),
        &steps,
        close,
    );
    assert_eq!(history.error, None);
    disk.kill();
    disk
}

fn torn_log() -> SimDisk {
    let disk = small_log();
    let (mut log, _) =
        Log::open_with(disk.clone(), fuzz::dir(), crate::harness::options()).unwrap();
    // Half of the batch is written.
    disk.fail(disk.operations() + 1, Fault::Io);
    let record = Record {
        index: 3,
        term: 1,
        kind: 0,
        payload: &[7; 2500],
    };
    log.commit(Batch::new().append(record)).unwrap_err();
    disk.kill();
    disk
}

/// Where the first record of a segment stands, and its body.
const FIRST: usize = 512;
const FIRST_BODY: usize = FIRST + 48;

/// Sound directories, and such in which one number is the worst there is, with checksums that fit.
fn directories() -> Vec<(String, Vec<u8>)> {
    let superblock = fuzz::dir().join("superblock");
    let segment = fuzz::dir().join(format!("{:020}.seg", 1));
    let mut seeds = Vec::new();
    for (name, disk) in [
        ("small", small_log()),
        ("long", long_log(false)),
        ("closed", long_log(true)),
        ("torn", torn_log()),
    ] {
        seeds.push((format!("{name}_as_it_is"), image_of(&disk, 0)));
        seeds.push((format!("{name}_sealed"), image_of(&disk, SEAL_ALL)));
    }
    let worst = [
        [0xff; 8],
        [0; 8],
        [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ];
    // In the superblock: sequence, boot, first and last segment, watermark, length of the identity.
    for at in [16, 24, 32, 40, 48, 56, 60] {
        for (nth, value) in worst.iter().enumerate() {
            let disk = small_log();
            let width = if at >= 56 { 4 } else { 8 };
            disk.rot(&superblock, |bytes| {
                for copy in [0, 4096] {
                    bytes[copy + at..copy + at + width].copy_from_slice(&value[..width]);
                }
            });
            seeds.push((format!("superblock_{at}_{nth}"), image_of(&disk, SEAL_ALL)));
        }
    }
    // In a segment: its header, the checkpoint's header and body, the record behind it.
    let boot_record = FIRST + 128;
    let header = [(16, 8), (24, 8), (32, 4), (36, 4), (40, 8)];
    let record = [(8, 4), (12, 4), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8)];
    let body = [0, 8, 16, 24, 32, 40, 64, 72].map(|at| (FIRST_BODY + at, 8));
    let places = header
        .into_iter()
        .chain(record.map(|(at, width)| (FIRST + at, width)))
        .chain(body)
        .chain(record.map(|(at, width)| (boot_record + at, width)));
    for (at, width) in places {
        for (nth, value) in worst.iter().enumerate() {
            let disk = small_log();
            disk.rot(&segment, |bytes| {
                bytes[at..at + width].copy_from_slice(&value[..width]);
            });
            seeds.push((format!("segment_{at}_{nth}"), image_of(&disk, SEAL_ALL)));
        }
    }
    seeds
}

fn write_seeds_if_asked() {
    if std::env::var_os("RAFT_LOG_CORPUS").is_none() {
        return;
    }
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let dir = home().join("corpus").join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("seed_{name}")), bytes).unwrap();
    };
    for (name, image) in directories() {
        write("directory", &name, &image);
    }
    for (name, disk) in [("small", small_log()), ("long", long_log(true))] {
        let file = |name: &str| {
            let mut content = Vec::new();
            disk.rot(&fuzz::dir().join(name), |bytes| content.clone_from(bytes));
            let end = content.iter().rposition(|&byte| byte != 0).unwrap_or(0);
            content.truncate(end + 1);
            content
        };
        let files = disk.files();
        let first = files
            .iter()
            .find(|file| file.extension().is_some())
            .unwrap();
        let segment = file(&first.file_name().unwrap().to_string_lossy());
        write("superblock", name, &file("superblock")[..512]);
        write("segment_header", name, &segment[..512]);
        write("record", name, &segment[FIRST..FIRST_BODY + 80]);
        write("checkpoint", name, &segment[FIRST_BODY..FIRST_BODY + 80]);
        for mode in [0, SEAL_ALL] {
            let input = [&[mode], &segment[..]].concat();
            write("segment", &format!("{name}_{mode}"), &input);
        }
    }
    for (name, len) in [("empty", 0), ("one_block", 100), ("two_blocks", 4093)] {
        let disk = small_log();
        let (log, _) =
            Log::open_with(disk.clone(), fuzz::dir(), crate::harness::options()).unwrap();
        let mut writer = log.snapshots().create(2, 1).unwrap();
        writer.write_all(&vec![3; len]).unwrap();
        writer.finish().unwrap();
        let files = disk.files();
        let file = files
            .iter()
            .find(|file| file.extension().is_some_and(|end| end == "snap"));
        disk.rot(file.unwrap(), |bytes| {
            write("snapshot", name, &[&[0], &bytes[..]].concat());
        });
    }
    for (target, _) in TARGETS {
        write(target, "nothing", b"");
        write(target, "ones", &[0xff; 700]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes of any kind, into every target.
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        for (_, function) in TARGETS {
            function(&bytes);
        }
    }

    /// Inputs of the corpus with a few bytes changed, checksums put right or not.
    #[test]
    fn changed_inputs_are_survived(
        pick in any::<prop::sample::Index>(),
        mode in any::<Option<u8>>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (target, function) in TARGETS {
            let inputs = corpus(target);
            let (_, mut bytes) = pick.get(&inputs).clone();
            if bytes.is_empty() {
                continue;
            }
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Some(mode) = mode {
                bytes[0] = mode;
            }
            function(&bytes);
        }
    }
}
