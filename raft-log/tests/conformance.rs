//! The conformance suites pass what keeps the contracts, and name the clause for what does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

#[path = "harness/flawed.rs"]
mod flawed;
#[path = "harness/toy_log.rs"]
mod toy_log;

use std::path::Path;

use flawed::{Flaw, FlawedFiles};
use raft_log::OsFiles;
use raft_log::conformance::{Clause, files, log};
use raft_log::sim_disk::SimDisk;
use toy_log::{ToyFlaw, ToyLog};

fn dir() -> &'static Path {
    Path::new("/conformance")
}

#[test]
fn files_that_keep_the_contract() {
    let summary = files::run(&SimDisk::new(), dir()).unwrap();
    assert!(summary.cases > 40, "{summary:?}");
    let summary = files::run_power(SimDisk::new, dir()).unwrap();
    assert!(summary.cases > 100, "{summary:?}");
    let temporary = tempfile::tempdir().unwrap();
    files::run(&OsFiles, &temporary.path().join("files")).unwrap();
}

/// Each flaw is found, and its clause named.
#[test]
fn files_that_do_not() {
    for (flaw, clause) in [
        (Flaw::ListsNothingForNoDirectory, Clause::List),
        (Flaw::CreateKeepsTheOld, Clause::CreateReplaces),
        (Flaw::CreateTruncatesTheOld, Clause::CreateReplaces),
        (Flaw::OpenCreates, Clause::Open),
        (Flaw::OpenReadWrites, Clause::OpenRead),
        (Flaw::RenameRefusesATakenName, Clause::Rename),
        (Flaw::RemoveForgives, Clause::Remove),
        (Flaw::LockIsShared, Clause::Lock),
        (Flaw::ReadFailsAtTheEnd, Clause::ReadAt),
        (Flaw::WriteCutsWhatFollows, Clause::WriteAt),
    ] {
        let files = FlawedFiles::new(SimDisk::new(), Some(flaw));
        let violation = files::run(&files, dir()).expect_err(&format!("not seen: {flaw:?}"));
        assert_eq!(violation.clause, clause, "{flaw:?}: {violation}");
        assert!(violation.to_string().contains(&clause.to_string()));
    }
    for (flaw, clause) in [
        (Flaw::NoSyncData, Clause::SyncDataStays),
        (Flaw::NoSyncAll, Clause::SyncAllStays),
        (Flaw::NoSyncDir, Clause::SyncAllStays),
        (Flaw::DirectoryIsNotDurable, Clause::DirectoryStays),
        (Flaw::RenameInTwoSteps, Clause::RenameWhole),
    ] {
        let new = || FlawedFiles::new(SimDisk::new(), Some(flaw));
        let violation = files::run_power(new, dir()).expect_err(&format!("not seen: {flaw:?}"));
        println!("{flaw:?}: {violation}");
        assert_eq!(violation.clause, clause, "{flaw:?}: {violation}");
    }
}

#[test]
fn this_log_conforms() {
    let summary = log::run(|| log::OnFiles::new(SimDisk::new(), dir())).unwrap();
    println!("{summary:?}");
    assert!(summary.cases > 1000);
}

/// This log on files that forget a sync: the suite sees each kind.
#[test]
fn this_log_without_a_sync_does_not() {
    let run = |flaw| log::run(|| log::OnFiles::new(FlawedFiles::new(SimDisk::new(), flaw), dir()));
    run(None).unwrap();
    for flaw in [Flaw::NoSyncData, Flaw::NoSyncAll, Flaw::NoSyncDir] {
        let violation = run(Some(flaw)).expect_err(&format!("not seen: {flaw:?}"));
        println!("{flaw:?}: {violation}");
        let seen = [Clause::Opens, Clause::EntriesStay, Clause::HardStateStays];
        assert!(seen.contains(&violation.clause), "{violation}");
    }
}

/// Another log, as simple as can be, conforms too; and with one thing forgotten it does not.
#[test]
fn other_logs() {
    let run = |flaw| log::run(|| ToyLog::new(SimDisk::new(), flaw));
    run(None).unwrap();
    for (flaw, clause) in [
        (ToyFlaw::NoSync, Clause::EntriesStay),
        (ToyFlaw::NoSyncDir, Clause::EntriesStay),
        (ToyFlaw::KeepsATruncatedSuffix, Clause::TruncationStays),
        (ToyFlaw::LosesTheVote, Clause::HardStateStays),
        (ToyFlaw::ShowsWhatIsNotSynced, Clause::HardStateStays),
        (ToyFlaw::LosesTheLastEntry, Clause::EntriesStay),
        (ToyFlaw::InventsAnEntry, Clause::NothingElse),
        (ToyFlaw::WritesUnitsInTwoParts, Clause::UnitsAreWhole),
        (ToyFlaw::ReadsTheWrongEntry, Clause::Reads),
        (ToyFlaw::RefusesUnits, Clause::Persists),
    ] {
        let violation = run(Some(flaw)).expect_err(&format!("not seen: {flaw:?}"));
        println!("{flaw:?}: {violation}");
        assert_eq!(violation.clause, clause, "{flaw:?}: {violation}");
    }
}
