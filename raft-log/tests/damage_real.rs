//! Damage to large logs on the real file system, by seeds: what is opened is right, or it is an error that names the place.
//!
//! `RAFT_SEED=n` replays one damage, `RAFT_CASES=n` tries more of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Instant;

use raft_log::inspect::{Content, Inspection, Item};
use raft_log::{Batch, Log, OpenError, Options, Record, Recovery};

const SEGMENT_BYTES: u64 = 2 << 20;
const BATCHES: u64 = 260;
const PAGE: usize = 4096;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::new("real")
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.take(len.div_ceil(8)).flatten().take(len).collect()
    }
}

fn payload(index: u64, term: u64, len: usize) -> Vec<u8> {
    Random(index * 1000 + term).bytes(len)
}

/// What the log holds: first index, and term and length of every record from there on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    purged: u64,
    records: Vec<(u64, usize)>,
}

impl Model {
    fn last(&self) -> u64 {
        self.purged + self.records.len() as u64
    }

    fn read(log: &Log) -> Result<Model, String> {
        let mut model = Model {
            purged: log.first_index() - 1,
            records: Vec::new(),
        };
        let reader = log.reader();
        while model.last() < log.last_index() {
            let records = reader.read(model.last() + 1, 1 << 20);
            for record in records.map_err(|error| error.to_string())? {
                if record.index != model.last() + 1
                    || record.payload != payload(record.index, record.term, record.payload.len())
                {
                    return Err(format!("record {} is another", record.index));
                }
                model.records.push((record.term, record.payload.len()));
            }
        }
        Ok(model)
    }
}

/// A batch of the active segment: where it stands, its records, and the last index before it.
#[derive(Debug)]
struct Place {
    bytes: Range<usize>,
    records: Vec<Range<usize>>,
    last_before: u64,
}

/// A log, as it was when it ended and at some moments before.
struct Original {
    root: tempfile::TempDir,
    closed: bool,
    model: Model,
    files: BTreeMap<PathBuf, Vec<u8>>,
    older: Vec<BTreeMap<PathBuf, Vec<u8>>>,
    active: PathBuf,
    /// The batches of the active segment.
    places: Vec<Place>,
}

fn content_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap();
    files
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

impl Original {
    fn dir(&self) -> PathBuf {
        self.root.path().join("log")
    }

    fn build(closed: bool) -> Original {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("log");
        let mut random = Random(1);
        let mut model = Model::default();
        let mut older = Vec::new();
        let mut log = Log::open(&dir, options()).unwrap().0;
        for nth in 1..=BATCHES {
            let mut next = model.clone();
            if nth % 40 == 0 {
                next.records.truncate(model.records.len() - 3);
            }
            let from = next.last() + 1;
            let term = 1 + nth / 40;
            // The last ones are small, so that damage near the end meets several; the very last is of some pages.
            let large = nth < BATCHES - 25 && random.below(4) == 0;
            let count = if nth == BATCHES {
                100
            } else {
                1 + random.below(40)
            };
            for _ in 0..count {
                let len = if large { random.below(20_000) } else { 256 };
                next.records.push((term, len));
            }
            let payloads: Vec<Vec<u8>> = (from..=next.last())
                .map(|index| {
                    payload(
                        index,
                        term,
                        next.records[(index - next.purged - 1) as usize].1,
                    )
                })
                .collect();
            let mut batch = Batch::new();
            if nth % 40 == 0 {
                batch.truncate_from(from);
            }
            if nth % 5 == 0 {
                batch.metadata(b"a vote");
            }
            for (index, payload) in (from..).zip(&payloads) {
                batch.append(Record {
                    index,
                    term,
                    kind: 0,
                    payload,
                });
            }
            log.commit(&batch).unwrap();
            model = next;
            if nth == 100 {
                let up_to = model.last() / 2;
                log.purge(up_to).unwrap();
                model.records.drain(..up_to as usize);
                model.purged = up_to;
            }
            if nth == 160 {
                log.close().unwrap();
                log = Log::open(&dir, options()).unwrap().0;
            }
            if nth % 60 == 0 || nth == BATCHES - 2 {
                older.push(content_of(&dir));
            }
        }
        if closed {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let (active, places) = places(&dir);
        Original {
            closed,
            model,
            files: content_of(&dir),
            older,
            active,
            places,
            root,
        }
    }

    fn restore(&self) {
        for (path, bytes) in content_of(&self.dir()) {
            if self.files.get(&path) != Some(&bytes) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.files {
            if !path.exists() {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}

/// The segment in use, and its batches.
fn places(dir: &Path) -> (PathBuf, Vec<Place>) {
    let mut active = PathBuf::new();
    let mut places: Vec<Place> = Vec::new();
    let mut begun = true;
    let mut last = 0;
    let inspection = Inspection::open(dir).unwrap();
    let _ = inspection.dump(|item| {
        if let Item::Record(record) = item {
            if active != record.file {
                (active, begun) = (record.file.clone(), true);
                places.clear();
            }
            let start = record.position.offset as usize;
            let end = start + (48 + record.length as usize).next_multiple_of(8);
            if begun {
                places.push(Place {
                    bytes: start..end,
                    records: Vec::new(),
                    last_before: last,
                });
            }
            let place = places.last_mut().unwrap();
            place.bytes.end = end;
            place.records.push(start..end);
            begun = record.end;
            match record.content {
                Content::Entry { index, .. } => last = index,
                Content::Truncate { from } => last = from - 1,
                _ => {}
            }
        }
        ControlFlow::<()>::Continue(())
    });
    (active, places)
}

/// What was done to the files: for each, the ranges that differ now.
struct Damaged {
    what: String,
    ranges: BTreeMap<PathBuf, Vec<Range<usize>>>,
}

/// Where to strike: near the end of the log, at the head of a file, or anywhere.
fn strike(original: &Original, random: &mut Random) -> (PathBuf, usize) {
    let end = original.places.last().unwrap().bytes.end;
    if random.below(4) == 0 {
        let near = end.saturating_sub(random.below(64 * 1024));
        return (original.active.clone(), near);
    }
    let nth = random.below(original.files.len());
    let (path, bytes) = original.files.iter().nth(nth).unwrap();
    let limit = if random.below(4) == 0 {
        8192
    } else {
        usize::MAX
    };
    (path.clone(), random.below(bytes.len().min(limit)))
}

fn page_of(bytes: &[u8], at: usize) -> Range<usize> {
    let start = at / PAGE * PAGE;
    start..(start + PAGE).min(bytes.len())
}

/// Damages the files of the log as the seed says.
fn damage(original: &Original, seed: u64) -> Damaged {
    let mut random = Random(seed);
    let (path, at) = strike(original, &mut random);
    let (other_path, other_at) = strike(original, &mut random);
    let mut changed: BTreeMap<PathBuf, Option<Vec<u8>>> = BTreeMap::new();
    let mut bytes = original.files[&path].clone();
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "seg");
    let kind = random.below(12);
    let what = match kind {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "a flipped bit"
        }
        2 => {
            let start = at / 512 * 512;
            bytes[start..start + 512].fill(0);
            "a sector of zeros"
        }
        3 => {
            let page = page_of(&bytes, at);
            bytes[page].fill(0);
            "a page of zeros"
        }
        4 => {
            let end = (at + 1 + random.below(64 * 1024)).min(bytes.len());
            let noise = random.bytes(end - at);
            bytes[at..end].copy_from_slice(&noise);
            "noise"
        }
        5 => {
            bytes.truncate(at);
            "a cut"
        }
        6 => {
            bytes.extend(random.bytes(PAGE));
            "a longer file"
        }
        7 => {
            changed.insert(path.clone(), None);
            "a lost file"
        }
        8 | 9 => {
            // A write that was lost: the page as it was before.
            let older = &original.older[random.below(original.older.len())];
            if let Some(old) = older.get(&path) {
                let differs =
                    |page: &usize| old.get(*page..page + PAGE) != bytes.get(*page..page + PAGE);
                let pages: Vec<usize> = (0..bytes.len().min(old.len()))
                    .step_by(PAGE)
                    .filter(differs)
                    .collect();
                if !pages.is_empty() {
                    let page = pages[random.below(pages.len())];
                    bytes[page..page + PAGE].copy_from_slice(&old[page..page + PAGE]);
                }
            }
            "a lost write"
        }
        10 if is_segment(&path) && is_segment(&other_path) => {
            // A write that went to another place: where it should have gone, there is what was there before.
            let from = page_of(&original.files[&other_path], other_at);
            let to = page_of(&bytes, at);
            let page = original.files[&other_path][from].to_vec();
            bytes[to].copy_from_slice(&page);
            "a page in the wrong place"
        }
        _ if path != other_path => {
            changed.insert(other_path.clone(), Some(bytes));
            bytes = original.files[&other_path].clone();
            "two files swapped"
        }
        _ => {
            bytes[at] = !bytes[at];
            "a wrong byte"
        }
    };
    changed.entry(path.clone()).or_insert(Some(bytes));
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Damaged {
        what: format!("{what} in {name} at {at}"),
        ranges: write(original, changed),
    }
}

/// Writes or removes files; what differs then.
fn write(
    original: &Original,
    changed: BTreeMap<PathBuf, Option<Vec<u8>>>,
) -> BTreeMap<PathBuf, Vec<Range<usize>>> {
    let one = |(path, bytes): (PathBuf, Option<Vec<u8>>)| {
        match &bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let ranges = differences(&original.files[&path], &bytes.unwrap_or_default());
        (path, ranges)
    };
    changed.into_iter().map(one).collect()
}

/// From the first to the last byte that differs.
fn differences(before: &[u8], after: &[u8]) -> Vec<Range<usize>> {
    let len = before.len().max(after.len());
    let differs = |at: &usize| before.get(*at) != after.get(*at);
    let first = (0..len).find(differs);
    let last = (0..len).rfind(differs);
    first
        .zip(last)
        .map(|(first, last)| first..last + 1)
        .into_iter()
        .collect()
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Whole,
    Found,
    Cut,
}

fn judge(original: &Original, damaged: &Damaged) -> Result<Verdict, String> {
    match Log::open(original.dir(), options()) {
        Err(OpenError::Corrupt { file, offset, .. }) => {
            judge_error(original, damaged, &file, offset)
        }
        Err(error) => Err(error.to_string()),
        Ok((log, recovery)) => {
            let found = Model::read(&log)?;
            let verdict = judge_content(original, damaged, &found, &recovery)?;
            goes_on(original, log, found)?;
            Ok(verdict)
        }
    }
}

/// The file is one that was damaged, or the one behind it, which then does not continue it. A superblock that is older, or a file
/// that is another, may also want a segment that is not there.
fn judge_error(
    original: &Original,
    damaged: &Damaged,
    file: &Path,
    offset: u64,
) -> Result<Verdict, String> {
    let names: Vec<&PathBuf> = original.files.keys().collect();
    for (path, ranges) in &damaged.ranges {
        let Some(range) = ranges.first() else {
            continue;
        };
        let nth = names.iter().position(|name| *name == path).unwrap();
        let is_next = names.get(nth + 1).is_some_and(|next| *next == file);
        let superblock = path.ends_with("superblock");
        if (path == file && offset < range.end as u64) || is_next || superblock {
            return Ok(Verdict::Found);
        }
    }
    Err(format!("found in {} at {offset}", file.display()))
}

fn judge_content(
    original: &Original,
    damaged: &Damaged,
    found: &Model,
    recovery: &Recovery,
) -> Result<Verdict, String> {
    if *found == original.model {
        return Ok(Verdict::Whole);
    }
    let error = |why: &str| {
        Err(format!(
            "{why}: {} of {} records, {:?}",
            found.last(),
            original.model.last(),
            recovery.cut
        ))
    };
    let Some([damage]) = damaged.ranges.get(&original.active).map(Vec::as_slice) else {
        return error("the segment in use was not touched");
    };
    if original.closed {
        return error("a log that was closed is shorter");
    }
    // Cut from the batch on that was damaged, and no whole record of a later one was left to tell of it.
    let Some(first) = original
        .places
        .iter()
        .position(|place| damage.start < place.bytes.end)
    else {
        return error("nothing was damaged");
    };
    let place = &original.places[first];
    let later = original.places[first + 1..]
        .iter()
        .flat_map(|place| &place.records);
    let touched = |record: &Range<usize>| record.start < damage.end && damage.start < record.end;
    if !later.clone().all(touched) {
        return error("a later batch was whole");
    }
    let kept = place.last_before - found.purged;
    if found.purged != original.model.purged
        || found.records[..] != original.model.records[..kept as usize]
    {
        return error("more was cut than was damaged");
    }
    // What looks as if it had never been written cannot be reported.
    let left = std::fs::read(&original.active).unwrap();
    let as_if_never_written = damage.start <= place.bytes.start;
    match &recovery.cut {
        Some(cut) if cut.file == original.active && cut.offset <= damage.start as u64 => {}
        None if as_if_never_written && left[place.bytes.start] == 0 => {}
        _ => return error("the cut was not reported"),
    }
    Ok(Verdict::Cut)
}

fn goes_on(original: &Original, mut log: Log, mut model: Model) -> Result<(), String> {
    let index = model.last() + 1;
    let payload = payload(index, 99, 5000);
    let appended = log.commit(Batch::new().append(Record {
        index,
        term: 99,
        kind: 0,
        payload: &payload,
    }));
    appended.map_err(|error| error.to_string())?;
    model.records.push((99, 5000));
    log.close().map_err(|error| error.to_string())?;
    let (log, recovery) =
        Log::open(original.dir(), options()).map_err(|error| error.to_string())?;
    if recovery.cut.is_some() || Model::read(&log)? != model {
        return Err(format!("afterwards: {recovery:?}"));
    }
    Ok(())
}

fn env(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

fn sweep(closed: bool) {
    let begun = Instant::now();
    let original = Original::build(closed);
    let total: usize = original.files.values().map(Vec::len).sum();
    let seeds = match env("RAFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..env("RAFT_CASES").unwrap_or(500) / 2 + 1,
    };
    let mut verdicts = Vec::new();
    for seed in seeds {
        let damaged = damage(&original, seed);
        let verdict = judge(&original, &damaged).unwrap_or_else(|error| {
            let what = &damaged.what;
            panic!("{what}: {error}\nreplay with: RAFT_SEED={seed} cargo test -p raft-log --test all damage_real::")
        });
        verdicts.push(verdict);
        original.restore();
    }
    let count = |wanted| {
        verdicts
            .iter()
            .filter(|verdict| **verdict == wanted)
            .count()
    };
    println!(
        "{} damages in {} MiB: {} found, {} without a loss, {} cut; {:.1?}",
        verdicts.len(),
        total >> 20,
        count(Verdict::Found),
        count(Verdict::Whole),
        count(Verdict::Cut),
        begun.elapsed()
    );
}

#[test]
fn after_a_clean_close() {
    sweep(true);
}

#[test]
fn after_a_crash() {
    sweep(false);
}
