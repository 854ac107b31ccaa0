//! Every damage in one place that a small log can have: each bit, each sector, each length of each file, and files that are
//! gone, changed places or come from somewhere else. What is opened afterwards is right, or it is an error that names the
//! place. (Some damages with a story of their own are in `damage_cases.rs`, large files in `damage_real.rs`.)
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::harness::{
    Active, History, Op, Step, check_recovery, dir, options, read_model, run, two_pages,
};
use raft_log::sim_disk::SimDisk;
use raft_log::{Log, OpenError, Options};

/// What an opening may hold at once: the index, which takes its 1.5 MiB before it needs them, a window of 64 KiB, a second one
/// for repairs, and some small things. A length that is believed costs more: these logs take records of up to 512 MiB.
const OPEN_BYTES_MAX: u64 = (1536 + 200) * 1024;

fn append(bytes: usize) -> Op {
    Op::Append {
        bytes,
        new_term: false,
    }
}

/// A log that is damaged, and what is known of it.
struct Subject {
    disk: SimDisk,
    options: Options,
    history: History,
    files: Vec<PathBuf>,
    /// The segment in use, and where its last batch stands.
    active: PathBuf,
    last_batch: Range<usize>,
    /// From here on nothing in the active segment counts.
    end: usize,
    /// Fingerprints of the disks that were seen to go on working.
    seen: Mutex<HashSet<u64>>,
}

/// Nothing, if there is no such file.
fn bytes_of(disk: &SimDisk, file: &Path) -> Vec<u8> {
    disk.content(file).unwrap_or_default()
}

impl Subject {
    fn build(steps: &[Step], close: bool, options: Options) -> Subject {
        let options = Options {
            record_bytes_max: 512 << 20,
            ..options
        };
        let disk = SimDisk::new();
        let history = run(&disk, &dir(), &options, steps, close);
        assert_eq!(history.error, None);
        // The same without the last batch, to see where that one is.
        let before = SimDisk::new();
        run(&before, &dir(), &options, &steps[..steps.len() - 1], false);
        let files = disk.files();
        let segments = files.iter().filter(|file| is_segment(file));
        let changed = |file: &&PathBuf| bytes_of(&disk, file) != bytes_of(&before, file);
        let active: Vec<_> = segments.filter(changed).cloned().collect();
        let [active] = &active[..] else {
            panic!("the last step changed {active:?}")
        };
        let (old, new) = (bytes_of(&before, active), bytes_of(&disk, active));
        let start = (0..new.len()).find(|&at| old[at] != new[at]).unwrap();
        let end = (0..new.len()).rfind(|&at| old[at] != new[at]).unwrap() + 1;
        Subject {
            active: active.clone(),
            last_batch: start..end,
            end,
            disk,
            options,
            history,
            files,
            seen: Mutex::default(),
        }
    }
}

fn is_segment(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "seg")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// All that was acknowledged is there, and the log goes on working.
    Whole,
    /// An error that names the place.
    Found,
    /// All but the last batch is there; that one was cut, and the cut reported.
    LastBatchCut,
}

/// Opens a damaged disk, and says what came of it. Whatever is not in [`Verdict`] is a failure, as is an error that names a file
/// other than `files` or a place behind the damage.
fn judge(
    subject: &Subject,
    disk: &SimDisk,
    files: &[&Path],
    at: &Range<usize>,
) -> Result<Verdict, String> {
    disk.kill();
    let mut opened = None;
    let memory = allocation_counter::measure(|| {
        opened = Some(Log::open_with(
            disk.clone(),
            &dir(),
            subject.options.clone(),
        ));
    });
    if memory.bytes_max > OPEN_BYTES_MAX {
        return Err(format!("the opening took {} bytes", memory.bytes_max));
    }
    let (log, recovery) = match opened.unwrap() {
        Err(OpenError::Corrupt { file, offset, .. })
            if files.contains(&&*file) && offset < at.end as u64 =>
        {
            return Ok(Verdict::Found);
        }
        Err(OpenError::ForeignIdentity { .. }) if files.iter().any(|file| !is_segment(file)) => {
            return Ok(Verdict::Found);
        }
        Err(error) => return Err(format!("names another place: {error}")),
        Ok(opened) => opened,
    };
    let history = &subject.history;
    let found = read_model(&log, Some(&recovery))?;
    let (verdict, history) = if found == history.acknowledged {
        (Verdict::Whole, history.clone())
    } else if found == history.before_last {
        // What it reaches behind the end is nothing.
        let within = files == [&*subject.active] && subject.last_batch.start <= at.start;
        let reported = recovery
            .cut
            .as_ref()
            .is_some_and(|cut| cut.file == subject.active && cut.offset <= at.start as u64);
        if history.closed || !within || !reported {
            return Err(format!(
                "the last batch {:?} was cut without need or report: {:?}",
                subject.last_batch, recovery.cut
            ));
        }
        let acknowledged = found;
        (
            Verdict::LastBatchCut,
            History {
                acknowledged,
                ..history.clone()
            },
        )
    } else {
        return Err(format!(
            "{} records, {:?}",
            found.entries.len(),
            recovery.cut
        ));
    };
    // And it goes on working: commits, openings, the same content. What follows depends on nothing but the bytes, so the same
    // bytes need not be tried again.
    drop(log);
    if subject.seen.lock().unwrap().insert(disk.fingerprint()) {
        check_recovery(disk, &dir(), &subject.options, &history)
            .map_err(|error| format!("afterwards: {error}"))?;
    }
    Ok(verdict)
}

#[derive(Default)]
struct Tally {
    cases: u64,
    found: u64,
    cut: u64,
}

impl Tally {
    fn judge(
        &mut self,
        what: &str,
        subject: &Subject,
        disk: &SimDisk,
        files: &[&Path],
        at: Range<usize>,
    ) -> Verdict {
        let verdict = judge(subject, disk, files, &at)
            .unwrap_or_else(|error| panic!("{what} of {files:?}: {error}"));
        self.cases += 1;
        self.found += u64::from(verdict == Verdict::Found);
        self.cut += u64::from(verdict == Verdict::LastBatchCut);
        verdict
    }

    /// One case in one file; `at` is narrowed to the bytes that really changed.
    fn rot(
        &mut self,
        what: &str,
        subject: &Subject,
        file: &Path,
        at: Range<usize>,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Verdict {
        let disk = subject.disk.fork();
        let mut range = at.clone();
        disk.rot(file, |bytes| {
            let before = bytes.get(at.clone()).unwrap_or_default().to_vec();
            change(bytes);
            let after = bytes.get(at.clone()).unwrap_or_default();
            let differs = |nth: &usize| after.get(*nth) != before.get(*nth);
            if let Some(first) = (0..at.len()).find(differs) {
                let last = (0..at.len()).rfind(differs).unwrap_or(first);
                range = at.start + first..at.start + last + 1;
            }
        });
        self.judge(&format!("{what} at {at:?}"), subject, &disk, &[file], range)
    }
}

fn every_bit(subject: &Subject, tally: &mut Tally) {
    for file in &subject.files {
        let length = bytes_of(&subject.disk, file).len();
        for at in 0..length {
            for bit in 0..8 {
                let verdict =
                    tally.rot(&format!("bit {bit}"), subject, file, at..at + 1, |bytes| {
                        bytes[at] ^= 1 << bit;
                    });
                let stale = *file == subject.active && at >= subject.end;
                assert!(
                    !stale || verdict == Verdict::Whole,
                    "bit {bit} of byte {at}, where nothing counts: {verdict:?}"
                );
            }
        }
    }
}

fn every_sector_and_page(subject: &Subject, tally: &mut Tally) {
    for file in &subject.files {
        let length = bytes_of(&subject.disk, file).len();
        for piece in [512, 4096] {
            for at in (0..length).step_by(piece) {
                let range = at..(at + piece).min(length);
                // With zeros, and with what a disk may return for a sector it has lost.
                for byte in [0, 0xff] {
                    tally.rot("a lost sector", subject, file, range.clone(), |bytes| {
                        bytes[range.clone()].fill(byte);
                    });
                }
            }
        }
    }
}

fn every_length(subject: &Subject, tally: &mut Tally) {
    for file in &subject.files {
        let length = bytes_of(&subject.disk, file).len();
        for len in 0..length {
            tally.rot("a cut", subject, file, len..length, |bytes| {
                bytes.truncate(len);
            });
        }
        for more in [1, 512, 4096] {
            tally.rot(
                "a longer file",
                subject,
                file,
                length..length + more,
                |bytes| {
                    bytes.resize(length + more, 0);
                },
            );
        }
    }
}

fn files_gone_and_swapped(subject: &Subject, tally: &mut Tally) {
    // Files kept for later segments: nobody misses them.
    let mut spare = HashSet::new();
    for (nth, one) in subject.files.iter().enumerate() {
        let disk = subject.disk.fork();
        disk.lose(one);
        if tally.judge("the loss", subject, &disk, &[one], 0..1) == Verdict::Whole {
            spare.insert(one);
        }
        for two in &subject.files[..nth] {
            let disk = subject.disk.fork();
            let (first, second) = (bytes_of(&disk, one), bytes_of(&disk, two));
            disk.rot(one, |bytes| *bytes = second);
            disk.rot(two, |bytes| *bytes = first);
            let verdict = tally.judge("a swap", subject, &disk, &[one, two], 0..usize::MAX);
            let expected = if spare.contains(one) && spare.contains(two) {
                Verdict::Whole
            } else {
                Verdict::Found
            };
            assert_eq!(verdict, expected, "{one:?} and {two:?} changed places");
        }
    }
}

/// The same file of other logs: of another node, of another log of the same node, and older ones of this log.
fn files_from_elsewhere(subject: &Subject, steps: &[Step], tally: &mut Tally) {
    let others = Options {
        identity: b"another node".to_vec(),
        ..subject.options.clone()
    };
    let stranger = SimDisk::new();
    run(&stranger, &dir(), &others, steps, true);
    let twin = SimDisk::new();
    // The payloads differ by the number of the step; all else is the same, to the last length.
    let other_history = [&[Step::Settle], steps].concat();
    run(&twin, &dir(), &subject.options, &other_history, true);
    let backups = (0..steps.len()).flat_map(|upto| {
        [false, true].map(|close| {
            let disk = SimDisk::new();
            run(&disk, &dir(), &subject.options, &steps[..upto], close);
            (format!("an old copy (step {upto}, closed: {close})"), disk)
        })
    });
    let sources = [
        ("another node's".to_owned(), stranger),
        ("another log's".to_owned(), twin),
    ];
    for (what, source) in sources.into_iter().chain(backups) {
        for file in &subject.files {
            let theirs = bytes_of(&source, file);
            if theirs.is_empty() || theirs == bytes_of(&subject.disk, file) {
                continue;
            }
            // After a crash an older copy of the segment in use is what a crash before its last batches would have left:
            // nothing else on the disk knows of those. After a clean end the superblock does.
            if *file == subject.active && !subject.history.closed && what.starts_with("an old") {
                continue;
            }
            let disk = subject.disk.fork();
            disk.rot(file, |bytes| *bytes = theirs);
            // An older superblock may want a segment that was purged since, and names that one. A segment that verifies by
            // itself shows by the next, which does not continue it.
            let wanted = source.files();
            let named: Vec<&Path> = match subject.files.iter().position(|name| name == file) {
                Some(nth) if is_segment(file) => subject.files[nth..].iter().take(2),
                _ => wanted.iter().take(usize::MAX),
            }
            .map(PathBuf::as_path)
            .collect();
            tally.judge(&what, subject, &disk, &named, 0..usize::MAX);
        }
    }
}

fn sweep(subject: &Subject, steps: &[Step]) {
    let mut tally = Tally::default();
    every_bit(subject, &mut tally);
    every_sector_and_page(subject, &mut tally);
    every_length(subject, &mut tally);
    files_gone_and_swapped(subject, &mut tally);
    files_from_elsewhere(subject, steps, &mut tally);
    let Tally { cases, found, cut } = tally;
    println!(
        "{cases} damages: {found} found, {cut} cut the last batch, {} without a loss",
        cases - found - cut
    );
    assert_eq!(
        cut == 0,
        subject.history.closed,
        "only a crash can have torn a batch"
    );
}

/// Three segments; the last batch spans several sectors and has several records.
fn plain() -> Vec<Step> {
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

/// Files that were purged and live on as later segments: in the one in use, old bytes fill the second page.
fn recycled() -> Vec<Step> {
    let mut steps = vec![Step::Commit(vec![Op::Metadata(1), append(700), append(10)])];
    for _ in 0..5 {
        steps.push(Step::Commit(vec![append(2500), append(3500)]));
        steps.push(Step::Purge(6));
    }
    steps.extend([
        Step::Drop,
        Step::Commit(vec![append(4500), append(2000), Op::Truncate(1)]),
        Step::Commit(vec![append(800), Op::Metadata(2), append(100)]),
        Step::Commit(vec![append(300), append(20), append(300)]),
    ]);
    steps
}

/// The segment in use was another one before, and of that has bytes behind those that the last write cleared.
fn recycled_subject(close: bool) -> Subject {
    let subject = Subject::build(&recycled(), close, two_pages());
    let active = Active::of(&subject.disk).unwrap();
    assert_eq!(active.file, subject.active);
    assert!(active.is_recycled(), "{}", active.file.display());
    println!("the log ends at {}", subject.end);
    let (cleared, stale) = active.bytes[subject.end..].split_at(4096 - subject.end);
    assert!(cleared.len() >= 512 && cleared.iter().all(|&byte| byte == 0));
    assert!(stale.iter().filter(|&&byte| byte != 0).count() > 2000);
    subject
}

/// F-L2, F-L3, F-L4, F-L6, F-L16, F-L18, F-L20; S-L2, S-L6, S-L8.
#[test]
fn after_a_clean_close() {
    sweep(&Subject::build(&plain(), true, options()), &plain());
}

#[test]
fn after_a_crash() {
    sweep(&Subject::build(&plain(), false, options()), &plain());
}

#[test]
fn recycled_after_a_clean_close() {
    sweep(&recycled_subject(true), &recycled());
}

#[test]
fn recycled_after_a_crash() {
    sweep(&recycled_subject(false), &recycled());
}

/// F-L1, F-L2: of the last write, every number of bytes arrives. What is left of it is cut, whether that is a part of a header or of
/// a body, and never hides what is written next.
fn every_prefix_of_the_last_write(subject: &Subject) {
    let Range { start, end } = subject.last_batch;
    for arrived in 0..end - start {
        let at = start + arrived..end;
        let disk = subject.disk.fork();
        disk.rot(&subject.active, |bytes| bytes[at.clone()].fill(0));
        if subject.disk.content(&subject.active).unwrap()[start..at.start]
            .iter()
            .any(|&byte| byte != 0)
        {
            let verdict = judge(subject, &disk, &[&subject.active], &at);
            assert_eq!(verdict, Ok(Verdict::LastBatchCut), "{arrived} bytes");
        } else {
            // As if it had never been written.
            let history = History {
                acknowledged: subject.history.before_last.clone(),
                ..subject.history.clone()
            };
            let checked = check_recovery(&disk, &dir(), &subject.options, &history);
            assert_eq!(checked, Ok(None), "{arrived} bytes");
        }
    }
}

#[test]
fn every_prefix_of_the_last_write_is_cut() {
    every_prefix_of_the_last_write(&Subject::build(&plain(), false, options()));
    every_prefix_of_the_last_write(&recycled_subject(false));
}
