//! The log on a real file system, with system calls that fail or end the process: every sync and every write of a workload in
//! turn. And the order of the calls: written, synced, and only then acknowledged.
//!
//! The workload is this binary itself, started again under `strace`; it says on its standard output what was acknowledged. A
//! killed process loses nothing that the kernel holds, so only the order of the calls can prove a sync.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use raft_log::{Batch, Log, Options, Record, WriteError};

/// Says to [`workload`] where to work.
const WORKLOAD_DIR: &str = "RAFT_LOG_WORKLOAD";
const STEPS: usize = 26;

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        // All calls in one thread, so that they have an order.
        background: false,
        ..Options::new("strace")
    }
}

/// What a log holds: of each record its term and how long it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    base: usize,
    records: Vec<(u64, usize)>,
    metadata: Option<Vec<u8>>,
}

enum Part {
    Metadata(Vec<u8>),
    Truncate(u64),
    Append(u64, u64, Vec<u8>),
    Purge(u64),
    Settle,
}

fn payload(index: u64, term: u64, len: usize) -> Vec<u8> {
    vec![(index * 7 + term * 31) as u8; len]
}

impl State {
    fn append(&mut self, term: u64, len: usize) -> Part {
        self.records.push((term, len));
        let index = self.records.len() as u64;
        Part::Append(index, term, payload(index, term, len))
    }

    /// Step `nth`, counted from 1: this state becomes the next one.
    fn step(&mut self, nth: usize) -> Vec<Part> {
        let term = self.records.last().map_or(1, |record| record.0);
        let len = [20, 700, 300, 0][nth % 4];
        match nth % 13 {
            5 => {
                self.records.pop();
                let cut = self.records.len() as u64 + 1;
                vec![Part::Truncate(cut), self.append(term + 1, len)]
            }
            9 => {
                self.base = self.records.len() - 1;
                vec![Part::Purge(self.base as u64)]
            }
            11 => vec![Part::Settle],
            3 | 7 => {
                let vote = vec![nth as u8; 10];
                self.metadata = Some(vote.clone());
                vec![Part::Metadata(vote), self.append(term, len)]
            }
            _ => vec![self.append(term, len), self.append(term, 900)],
        }
    }

    /// The state after so many steps.
    fn after(steps: usize) -> State {
        let mut state = State::default();
        for nth in 1..=steps {
            state.step(nth);
        }
        state
    }

    fn read(log: &Log) -> State {
        let base = log.first_index() as usize - 1;
        let mut state = State {
            base,
            records: vec![(0, 0); base],
            metadata: log.metadata().map(<[u8]>::to_vec),
        };
        if log.last_index() as usize > base {
            for record in log.reader().read(base as u64 + 1, usize::MAX).unwrap() {
                state.records.push((record.term, record.payload.len()));
                let expected = payload(record.index, record.term, record.payload.len());
                assert_eq!(record.payload, expected, "record {}", record.index);
                assert_eq!(record.index as usize, state.records.len());
            }
        }
        assert_eq!(log.last_index() as usize, state.records.len());
        state
    }

    /// Without what was purged: nobody can know it.
    fn known(mut self) -> State {
        self.records[..self.base].fill((0, 0));
        self
    }
}

fn carry_out(log: &mut Log, parts: &[Part]) -> Result<(), WriteError> {
    let mut batch = Batch::new();
    for part in parts {
        match part {
            Part::Metadata(metadata) => {
                batch.metadata(metadata);
            }
            Part::Truncate(index) => {
                batch.truncate_from(*index);
            }
            Part::Append(index, term, payload) => {
                batch.append(Record {
                    index: *index,
                    term: *term,
                    kind: 0,
                    payload,
                });
            }
            Part::Purge(up_to) => return log.purge(*up_to),
            Part::Settle => return log.settle(),
        }
    }
    log.commit(&batch)
}

/// Says a line in one write, wherever the line of the test runner stands.
fn say(line: &str) {
    println!("\n{line}");
}

/// Not a test by itself: what the other tests run under `strace`.
#[test]
fn workload() {
    let Some(dir) = std::env::var_os(WORKLOAD_DIR) else {
        return;
    };
    let mut log = match Log::open(dir, options()) {
        Ok((log, _)) => log,
        Err(error) => {
            say(&format!("failed: {error}"));
            std::process::exit(3);
        }
    };
    let mut state = State::default();
    for nth in 1..=STEPS {
        let parts = state.step(nth);
        let mut done = carry_out(&mut log, &parts);
        if let Err(error @ WriteError::Full { .. }) = &done {
            // A state and no failure: it may be tried again.
            say(&format!("full: {error}"));
            done = carry_out(&mut log, &parts);
        }
        if let Err(error) = done {
            say(&format!("failed: {error}"));
            for again in [carry_out(&mut log, &parts), log.settle(), log.purge(1)] {
                assert!(matches!(again, Err(WriteError::Poisoned(_))), "{again:?}");
            }
            assert!(matches!(log.close(), Err(WriteError::Poisoned(_))));
            say("poisoned");
            std::process::exit(3);
        }
        say(&format!("acknowledged {nth}"));
    }
    if let Err(error) = log.close() {
        say(&format!("failed: {error}"));
        std::process::exit(3);
    }
    say("closed");
    std::process::exit(0);
}

/// Whether `strace` is there. Where checks have to be complete, its absence is a failure.
fn can_trace() -> bool {
    let there = Command::new("strace").arg("-V").output();
    let there = there.is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "strace is missing; install it"
    );
    if !there {
        println!("skipped: strace is missing");
    }
    there
}

/// What a run of the workload said, and its system calls as strace writes them.
struct Run {
    said: Vec<String>,
    calls: Vec<String>,
}

impl Run {
    fn start(dir: &Path, arguments: &[&str]) -> Run {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        let output = Command::new("strace")
            .args(["-f", "-yy", "-s", "32", "-e", "signal=none", "-o"])
            .arg(temporary.path())
            .args(["-e", "trace=write,pwrite64,fdatasync,fsync,/rename.*,/unlink.*,openat,ftruncate,fallocate"])
            .args(arguments)
            .arg(std::env::current_exe().unwrap())
            .args(["strace::workload", "--exact", "--nocapture", "--test-threads=1"])
            .env(WORKLOAD_DIR, dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let calls = std::fs::read_to_string(temporary.path()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        Run {
            said: said.lines().map(str::to_owned).collect(),
            calls: calls
                .lines()
                .filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_owned()))
                .collect(),
        }
    }

    fn acknowledged(&self) -> usize {
        let number = |line: &String| line.strip_prefix("acknowledged ")?.parse().ok();
        self.said.iter().rev().find_map(number).unwrap_or(0)
    }

    fn says(&self, what: &str) -> bool {
        self.said.iter().any(|line| line.contains(what))
    }

    fn closed(&self) -> bool {
        self.said.iter().any(|line| line == "closed")
    }

    fn count(&self, call: &str) -> usize {
        let call = format!("{call}(");
        self.calls
            .iter()
            .filter(|line| line.starts_with(&call))
            .count()
    }
}

impl Run {
    /// One of its calls failed: the log is closed for good, or (if there is no room, or only a segment that is not in use yet
    /// was concerned, which is then made anew) goes on.
    fn check_honesty(&self, what: &str) {
        let failed = self.calls.iter().position(|call| call.contains("INJECTED"));
        let failed = failed.unwrap_or_else(|| panic!("{what}: no call has failed"));
        let made_anew = self.calls.get(failed + 1).is_some_and(|next| {
            next.starts_with("unlink") && next.contains(".seg") && next.ends_with("= 0")
        });
        let said = &self.said;
        match () {
            () if self.says("poisoned") => assert!(!self.closed(), "{what}: {said:?}"),
            // While it was opened or closed.
            () if self.says("failed: ") => {
                assert!(
                    !self.says("acknowledged") || self.acknowledged() == STEPS,
                    "{what}: {said:?}"
                );
            }
            () => assert!(self.closed() && made_anew, "{what}: {said:?}"),
        }
    }
}

/// The file that a call's first argument names.
fn target(call: &str) -> &str {
    let (_, rest) = call.split_once('<').unwrap_or_default();
    rest.split_once('>').unwrap_or_default().0
}

/// After the run: all that was acknowledged is there, and nothing else but the step that was under way.
fn check_what_is_left(dir: &Path, run: &Run, what: &str) {
    let (log, _) =
        Log::open(dir, options()).unwrap_or_else(|error| panic!("{what}: {error}\n{:?}", run.said));
    let acknowledged = run.acknowledged();
    let found = State::read(&log);
    let allowed =
        [acknowledged, (acknowledged + 1).min(STEPS)].map(|steps| State::after(steps).known());
    assert!(
        allowed.contains(&found),
        "{what}: {found:?}\nis neither {:?}\nnor {:?}",
        allowed[0],
        allowed[1]
    );
}

/// A file whose sync has failed is not synced again. One made anew under the same name is another file; and where the directory
/// was concerned, such a file is the reason to sync it once more.
fn check_no_second_sync(run: &Run, what: &str) {
    let mut failed = BTreeSet::new();
    for call in &run.calls {
        let is_file = target(call).ends_with(".seg") || target(call).contains("superblock");
        let is_sync = is_file && (call.starts_with("fdatasync(") || call.starts_with("fsync("));
        if is_sync && call.contains("INJECTED") {
            failed.insert(target(call).to_owned());
        } else if is_sync {
            assert!(
                !failed.contains(target(call)),
                "{what}: {call} after it had failed"
            );
        } else if call.starts_with("unlink") {
            failed.retain(|file| !call.contains(&format!("\"{file}\"")));
        }
    }
}

/// The same call fails at its Nth use, for every N.
fn sweep(call: &str, fault: &str) {
    if !can_trace() {
        return;
    }
    let begun = Instant::now();
    let root = tempfile::tempdir().unwrap();
    let dry = root.path().join("dry");
    let whole = Run::start(&dry, &[]);
    assert!(whole.closed(), "{:?}", whole.said);
    check_what_is_left(&dry, &whole, "without a fault");
    let calls = whole.count(call);
    assert!(calls > 5, "{calls} uses of {call}");
    let next = Mutex::new(1..=calls);
    let one = || {
        while let Some(nth) = { next.lock().unwrap().next() } {
            let what = format!("{call}, {fault} at use {nth} of {calls}");
            let dir = root.path().join(format!("log-{nth}"));
            let inject = format!("inject={call}:{fault}:when={nth}");
            let run = Run::start(&dir, &["-e", &inject]);
            if fault == "signal=KILL" {
                assert!(!run.closed() && !run.says("failed"), "{what}");
            } else {
                run.check_honesty(&what);
            }
            check_no_second_sync(&run, &what);
            check_what_is_left(&dir, &run, &what);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(one);
        scope.spawn(one);
    });
    println!("{call}, {fault}: {calls} runs in {:.1?}", begun.elapsed());
}

/// F-L8: fsyncgate. strace lets the next call succeed, as Linux does.
#[test]
fn every_fdatasync_fails_once() {
    sweep("fdatasync", "error=EIO");
}

#[test]
fn every_fsync_fails_once() {
    sweep("fsync", "error=EIO");
}

#[test]
fn every_write_fails_once() {
    sweep("pwrite64", "error=EIO");
}

/// F-L10.
#[test]
fn every_write_finds_no_room_once() {
    sweep("pwrite64", "error=ENOSPC");
}

#[test]
fn killed_at_every_fdatasync() {
    sweep("fdatasync", "signal=KILL");
}

#[test]
fn killed_at_every_write() {
    sweep("pwrite64", "signal=KILL");
}

/// F-L8, F-L9, F-L19: nothing is acknowledged while a file or a name is not synced, and no record goes into a segment before the
/// segment is durable with its name and its size.
#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    if !can_trace() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().canonicalize().unwrap().join("log");
    let run = Run::start(&dir, &[]);
    assert!(run.closed(), "{:?}", run.said);
    let in_dir = dir.to_str().unwrap();
    // Files with bytes that are not durable, those whose length is not either, and whether names are not.
    let mut dirty: BTreeMap<String, bool> = BTreeMap::new();
    let mut names_dirty = false;
    let (mut acknowledged, mut segments_begun) = (0, 0);
    for call in &run.calls {
        let (name, _) = call.split_once('(').unwrap_or((call, ""));
        let file = target(call).to_owned();
        assert!(!call.contains("unfinished"), "one thread: {call}");
        match name {
            "pwrite64" => {
                let offset: u64 = call
                    .rsplit_once(") = ")
                    .unwrap()
                    .0
                    .rsplit_once(", ")
                    .unwrap()
                    .1
                    .parse()
                    .unwrap();
                if file.ends_with(".seg") && offset == 512 {
                    segments_begun += 1;
                    assert_eq!((dirty.get(&file), names_dirty), (None, false), "{call}");
                }
                dirty.entry(file).or_insert(false);
            }
            "fdatasync" => {
                // A length that is not durable stays so: nothing here relies on what fdatasync does about it.
                dirty.retain(|name, length| *name != file || *length);
            }
            "fsync" if file == in_dir => names_dirty = false,
            "fsync" => {
                dirty.remove(&file);
            }
            "openat" if call.contains("O_CREAT") && call.contains(in_dir) => {
                dirty.insert(call.split('"').nth(1).unwrap().to_owned(), true);
                names_dirty = true;
            }
            "rename" | "renameat" | "renameat2" => {
                let mut names = call.split('"').filter(|part| part.starts_with('/'));
                let (from, to) = (names.next().unwrap(), names.next().unwrap());
                if let Some(length) = dirty.remove(from) {
                    dirty.insert(to.to_owned(), length);
                }
                names_dirty = true;
            }
            "unlink" | "unlinkat" if call.contains(in_dir) && call.ends_with("= 0") => {
                names_dirty = true;
            }
            "write" if call.contains("acknowledged") => {
                acknowledged += 1;
                assert!(
                    dirty.is_empty() && !names_dirty,
                    "{acknowledged}: {dirty:?}, {names_dirty}"
                );
            }
            _ => {}
        }
    }
    println!(
        "{acknowledged} acknowledged, {segments_begun} segments begun, {} calls",
        run.calls.len()
    );
    assert_eq!(acknowledged, STEPS);
    assert!(segments_begun > 4);
}
