//! The crash sweep: a workload loses its power at every file operation, in every way; so does the recovery of what that
//! left, at every operation of its own; and after each of them the log must hold what the model says, and go on working.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_log::sim_disk::{Fault, Keep, Operation, SimDisk};
use raft_log::{Cut, Files, Log, Options};

use super::{Active, History, Step, check_recovery, dir, run_from};

/// Names one case to replay it alone: `workload/operation/variant`, or `workload/operation/variant/operation/variant` of
/// the recovery. Operations are counted from 1, variants from 0.
pub(crate) const REPLAY: &str = "RAFT_LOG_CRASH";

/// How many subsets by coin are tried at each operation.
const SUBSETS: u64 = 32;

/// The cases of all sweeps that this process has printed.
static ALL_CASES: AtomicU64 = AtomicU64::new(0);

/// The operations that make a segment of a spare file, in this order.
const RECYCLING: [&str; 4] = [
    "Rename segment",
    "Write segment",
    "SyncAll segment",
    "SyncDir directory",
];

/// What a sweep has met.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Disks and histories that differ: each was recovered and compared.
    pub(crate) cases: u64,
    /// Those of them that a power loss within a recovery left.
    pub(crate) in_recovery: u64,
    /// Power losses tried; many leave the same disk.
    pub(crate) tried: u64,
    /// Recoveries that reported a cut.
    pub(crate) cuts: u64,
    /// Operations at which the power went, by kind and file.
    pub(crate) operations: BTreeMap<String, u64>,
    /// Recyclings of a file at each step of which the power went.
    pub(crate) recyclings: u64,
    /// Cases with a recycled segment in use, and bytes of the file's former life behind the log's end.
    pub(crate) stale: u64,
    /// Those of them with a cut that was reported.
    pub(crate) stale_cuts: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.cases += other.cases;
        self.in_recovery += other.in_recovery;
        self.tried += other.tried;
        self.cuts += other.cuts;
        self.recyclings += other.recyclings;
        self.stale += other.stale;
        self.stale_cuts += other.stale_cuts;
        for (operation, count) in &other.operations {
            *self.operations.entry(operation.clone()).or_default() += count;
        }
    }

    /// Prints itself past the capture of the test runner: the count shall be seen in a run that passes too.
    pub(crate) fn print(&self, what: &str) {
        let all = ALL_CASES.fetch_add(self.cases, Ordering::Relaxed) + self.cases;
        let line = format!(
            "crash sweep, {what}: {} cases ({} of them in a recovery), {} power losses tried, {} cuts; {} recyclings, {} cases with \
             old bytes behind the end, {} of them cut; power lost at {:?}; {all} cases up to here\n",
            self.cases,
            self.in_recovery,
            self.tried,
            self.cuts,
            self.recyclings,
            self.stale,
            self.stale_cuts,
            self.operations
        );
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }

    /// Whether the power was lost at an operation of this kind and file.
    pub(crate) fn reached(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    /// The power was lost at this operation, and before at `former` ones.
    fn at(&mut self, operation: String, former: &[String]) {
        let before = &former[former.len().saturating_sub(RECYCLING.len() - 1)..];
        if before.iter().chain([&operation]).eq(RECYCLING.iter()) {
            self.recyclings += 1;
        }
        *self.operations.entry(operation).or_default() += 1;
    }

    /// What is to be seen of recycling in a disk, and in the recovery of it.
    fn mark(&mut self, left: &SimDisk, cut: Option<&Cut>, options: &Options) {
        let Some(before) = Active::of(left).filter(Active::is_recycled) else {
            return;
        };
        let repaired = left.fork();
        drop(Log::open_with(repaired.clone(), &dir(), options.clone()));
        let after = repaired.content(&before.file).unwrap_or_default();
        // Behind what was cut the opening clears nothing but old bytes.
        let from = cut.map_or(0, |cut| (cut.offset + cut.bytes) as usize);
        let cleared = |(old, new): (&u8, &u8)| *old != 0 && *new == 0;
        if before.bytes.iter().zip(&after).skip(from).any(cleared) {
            self.stale += 1;
            self.stale_cuts += u64::from(cut.is_some());
        }
    }
}

/// The newest operation of a disk, by its kind and the kind of its file.
fn name_last(disk: &SimDisk) -> String {
    let Some((operation, path)) = disk.last_operation() else {
        return "nothing".to_owned();
    };
    let class = match path.extension() {
        _ if operation == Operation::SyncDir || operation == Operation::CreateDir => "directory",
        Some(extension) if extension == "seg" => "segment",
        Some(extension) if extension == "snap" => "snapshot",
        Some(extension) if extension == "tmp" => "temporary file",
        _ => "superblock",
    };
    format!("{operation:?} {class}")
}

/// A workload on a disk that already has a history.
pub(crate) struct Sweep<'a, F: Files> {
    pub(crate) name: &'a str,
    pub(crate) options: &'a Options,
    pub(crate) base: &'a SimDisk,
    pub(crate) start: &'a History,
    pub(crate) steps: &'a [Step],
    /// Whether the recoveries lose their power too.
    pub(crate) recoveries: bool,
    pub(crate) wrap: &'a dyn Fn(SimDisk) -> F,
}

/// The workload until the power goes.
struct Crash {
    operation: u64,
    disk: SimDisk,
    losses: Vec<Keep>,
    history: History,
    /// The disks that were checked against this history.
    seen: HashSet<u64>,
}

/// Sweeps a workload from an empty disk; what it met, or the first case that went wrong.
pub(crate) fn sweep<F: Files>(
    wrap: impl Fn(SimDisk) -> F,
    name: &str,
    options: &Options,
    steps: &[Step],
) -> Result<Tally, String> {
    Sweep {
        name,
        options,
        base: &SimDisk::new(),
        start: &History::default(),
        steps,
        recoveries: true,
        wrap: &wrap,
    }
    .run()
}

impl<F: Files> Sweep<'_, F> {
    pub(crate) fn run(&self) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut operation = 1;
        let mut former = Vec::new();
        while let Some(mut crash) = self.crash(operation)? {
            tally.at(name_last(&crash.disk), &former);
            former.push(name_last(&crash.disk));
            for variant in 0..crash.losses.len() {
                self.variant(&mut crash, variant, &mut tally)?;
            }
            operation += 1;
        }
        Ok(tally)
    }

    /// One case of [`REPLAY`], without the workload's name.
    pub(crate) fn replay(&self, case: &[u64]) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut crash = self
            .crash(case[0])?
            .ok_or("the workload has no such operation")?;
        let left = crash.lose(case[1] as usize);
        let variant = case[1] as usize;
        if case.len() == 2 {
            self.check(&mut crash, &left, variant, None, &mut tally)?;
            return Ok(tally);
        }
        let (at, again) = (case[2], case[3] as usize);
        let torn = self.recovery_crashes(&left).remove(at as usize - 1);
        let keep = recovery_losses(&torn, true, at)[again];
        torn.restart(keep);
        self.check(
            &mut crash,
            &torn,
            variant,
            Some((at, again, keep)),
            &mut tally,
        )?;
        Ok(tally)
    }

    /// The workload until this operation of its own; `None` if it has less.
    fn crash(&self, operation: u64) -> Result<Option<Crash>, String> {
        let disk = self.base.fork();
        disk.fail(self.base.operations() + operation, Fault::PowerLoss);
        let files = (self.wrap)(disk.clone());
        let history = run_from(
            &files,
            &dir(),
            self.options,
            self.steps,
            true,
            self.start.clone(),
        );
        match &history.error {
            None => return Ok(None),
            Some(error) if disk.operations() < self.base.operations() + operation => {
                return Err(format!(
                    "workload {}, with no power lost: {error}",
                    self.name
                ));
            }
            Some(_) => {}
        }
        Ok(Some(Crash {
            operation,
            losses: disk.power_losses(SUBSETS, operation),
            disk,
            history,
            seen: HashSet::new(),
        }))
    }

    /// One way to lose the power, and the recovery from it: whole, and cut short at each of its operations. Every eighth
    /// time, another one at each operation, the recovery loses its power in all ways, else in three.
    fn variant(&self, crash: &mut Crash, variant: usize, tally: &mut Tally) -> Result<(), String> {
        let left = crash.lose(variant);
        tally.tried += 1;
        if !self.check(crash, &left, variant, None, tally)? || !self.recoveries {
            return Ok(());
        }
        let all = variant as u64 % 8 == crash.operation % 8;
        for (torn, at) in self.recovery_crashes(&left).iter().zip(1..) {
            for (again, &keep) in recovery_losses(torn, all, at).iter().enumerate() {
                let twice = torn.fork();
                twice.restart(keep);
                tally.tried += 1;
                self.check(crash, &twice, variant, Some((at, again, keep)), tally)?;
            }
        }
        Ok(())
    }

    /// The disk at each operation of an opening.
    fn recovery_crashes(&self, left: &SimDisk) -> Vec<SimDisk> {
        let disk = left.fork();
        disk.record();
        // Whether it works is checked elsewhere.
        let _ = Log::open_with((self.wrap)(disk.clone()), &dir(), self.options.clone());
        disk.recorded()
    }

    /// Checks what a power loss left, unless the same disk was checked already; then it answers `false`.
    fn check(
        &self,
        crash: &mut Crash,
        left: &SimDisk,
        variant: usize,
        nested: Option<(u64, usize, Keep)>,
        tally: &mut Tally,
    ) -> Result<bool, String> {
        if !crash.seen.insert(left.fingerprint()) {
            return Ok(false);
        }
        tally.cases += 1;
        tally.in_recovery += u64::from(nested.is_some());
        let files = (self.wrap)(left.fork());
        match check_recovery(&files, &dir(), self.options, &crash.history) {
            Ok(cut) => {
                tally.cuts += u64::from(cut.is_some());
                tally.mark(left, cut.as_ref(), self.options);
            }
            Err(error) => return Err(self.describe(crash, variant, nested, &error)),
        }
        Ok(true)
    }

    fn describe(
        &self,
        crash: &Crash,
        variant: usize,
        nested: Option<(u64, usize, Keep)>,
        error: &str,
    ) -> String {
        let (name, operation) = (self.name, crash.operation);
        let keep = crash.losses[variant];
        let mut case = format!("{name}/{operation}/{variant}");
        let mut where_ = format!(
            "power lost at operation {operation} ({}), {keep:?}",
            name_last(&crash.disk)
        );
        if let Some((at, again, keep)) = nested {
            case += &format!("/{at}/{again}");
            where_ += &format!("; and again at operation {at} of the recovery, {keep:?}");
        }
        let mut message = format!("workload {name}: {where_}\n{error}");
        // One on a disk with a history comes from a test that is its own replay.
        if self.base.operations() == 0 {
            message += &format!(
                "\nreplay: {REPLAY}={case} cargo test -p raft-log --test all crash::replay"
            );
        }
        message
    }
}

impl Crash {
    fn lose(&self, variant: usize) -> SimDisk {
        let left = self.disk.fork();
        left.restart(self.losses[variant]);
        left
    }
}

/// How the power is lost within a recovery. The three of the short list are the first of the long one, so that a case has one
/// number.
fn recovery_losses(torn: &SimDisk, all: bool, operation: u64) -> Vec<Keep> {
    let mut losses = vec![Keep::Nothing, Keep::All, Keep::Some(operation)];
    if all {
        losses.extend(torn.power_losses(4, operation));
    }
    losses
}
