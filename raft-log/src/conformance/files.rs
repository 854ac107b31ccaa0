//! The contract of [`Files`] and [`FileHandle`], clause by clause.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use super::{Clause, Power, Summary, Violation};
use crate::files::{FileHandle, Files};

/// Checks every clause that needs no power loss. `dir` must not be there yet, but may be made; it is left with what the checks
/// put into it.
///
/// # Errors
/// The first clause that does not hold.
pub fn run<F: Files>(files: &F, dir: &Path) -> Result<Summary, Violation> {
    let mut suite = Suite {
        files: files.clone(),
        dir,
        cases: 0,
    };
    suite.directories()?;
    suite.creating()?;
    suite.positions()?;
    suite.opening()?;
    suite.names()?;
    suite.locking()?;
    Ok(Summary { cases: suite.cases })
}

/// Checks what must outlive a power loss, several times, on a new file system each. `dir` is made in it.
///
/// # Errors
/// The first clause that does not hold.
pub fn run_power<F: Power>(new: impl Fn() -> F, dir: &Path) -> Result<Summary, Violation> {
    let mut cases = 0;
    for seed in 0..16 {
        for check in [
            Suite::directory_stays,
            Suite::bytes_stay,
            Suite::names_stay,
            Suite::rename_is_whole,
        ] {
            let mut suite = Suite {
                files: new(),
                dir,
                cases,
            };
            check(&mut suite, seed)?;
            cases = suite.cases;
        }
    }
    Ok(Summary { cases })
}

struct Suite<'a, F: Files> {
    files: F,
    dir: &'a Path,
    cases: u64,
}

/// All of a file, through small reads.
fn content<H: FileHandle>(file: &H) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 7];
    loop {
        let read = file.read_at(&mut buf, all.len() as u64)?;
        if read == 0 {
            return Ok(all);
        }
        all.extend_from_slice(buf.get(..read).unwrap_or_default());
    }
}

impl<F: Files> Suite<'_, F> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `found` must be `Ok(expected)`.
    fn same<T: Debug + PartialEq>(
        &mut self,
        clause: Clause,
        case: &str,
        found: io::Result<T>,
        expected: T,
    ) -> Result<(), Violation> {
        self.cases += 1;
        match found {
            Ok(value) if value == expected => Ok(()),
            found => {
                let case = format!("{case}, which should be {expected:?}");
                Err(clause.broken(case, format!("{found:?}")))
            }
        }
    }

    /// `found` must be an error, of kind `NotFound` if `missing`.
    fn refused<T>(
        &mut self,
        clause: Clause,
        case: &str,
        found: io::Result<T>,
        missing: bool,
    ) -> Result<(), Violation> {
        self.cases += 1;
        match found {
            Err(error) if !missing || error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(clause.broken(case, error)),
            Ok(_) => Err(clause.broken(case, "it works")),
        }
    }

    fn holding(&self, name: &str, bytes: &[u8], clause: Clause) -> Result<F::Handle, Violation> {
        let made = self.files.create(&self.path(name)).and_then(|file| {
            file.write_all_at(bytes, 0)?;
            Ok(file)
        });
        made.map_err(|error| clause.broken(format!("make {name} and write to it"), error))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        content(&self.files.open(&self.path(name))?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.files.list(self.dir)?;
        names.sort();
        Ok(names)
    }

    fn directories(&mut self) -> Result<(), Violation> {
        self.refused(
            Clause::List,
            "list what is not there",
            self.files.list(&self.path("no")),
            true,
        )?;
        let deep = self.path("above").join("below");
        for case in ["make a directory in one that is not there", "make it again"] {
            self.same(Clause::CreateDir, case, self.files.create_dir(&deep), ())?;
            let names = self.files.list(&deep);
            self.same(Clause::CreateDir, "list it", names, Vec::new())?;
        }
        self.same(
            Clause::CreateDir,
            "make the one above",
            self.files.create_dir(self.dir),
            (),
        )
    }

    fn creating(&mut self) -> Result<(), Violation> {
        let file = self.holding("a", b"", Clause::Create)?;
        self.same(Clause::Create, "its length", file.len(), 0)?;
        self.same(Clause::Create, "is it empty", file.is_empty(), true)?;
        self.same(
            Clause::Create,
            "write to it",
            file.write_all_at(b"old", 0),
            (),
        )?;
        self.same(Clause::Create, "read it", content(&file), b"old".to_vec())?;
        let new = self.holding("a", b"", Clause::CreateReplaces)?;
        self.same(
            Clause::CreateReplaces,
            "the new file",
            content(&new),
            Vec::new(),
        )?;
        self.same(
            Clause::CreateReplaces,
            "the old handle",
            content(&file),
            b"old".to_vec(),
        )?;
        self.same(
            Clause::CreateReplaces,
            "write anew",
            new.write_all_at(b"new", 0),
            (),
        )?;
        self.same(
            Clause::CreateReplaces,
            "open the name",
            self.read("a"),
            b"new".to_vec(),
        )?;
        self.same(
            Clause::CreateReplaces,
            "the old handle",
            content(&file),
            b"old".to_vec(),
        )
    }

    fn opening(&mut self) -> Result<(), Violation> {
        let missing = self.path("missing");
        self.refused(
            Clause::Open,
            "open what is not there",
            self.files.open(&missing),
            true,
        )?;
        self.refused(
            Clause::OpenRead,
            "open what is not there",
            self.files.open_read(&missing),
            true,
        )?;
        let file = self.holding("b", b"bytes", Clause::Open)?;
        let again = self.files.open(&self.path("b"));
        let again = again.map_err(|error| Clause::Open.broken("open a file", error))?;
        self.same(
            Clause::Open,
            "write through a second handle",
            again.write_all_at(b"B", 0),
            (),
        )?;
        self.same(
            Clause::Open,
            "read through the first",
            content(&file),
            b"Bytes".to_vec(),
        )?;
        let reader = self.files.open_read(&self.path("b"));
        let reader = reader.map_err(|error| Clause::OpenRead.broken("open a file", error))?;
        self.same(
            Clause::OpenRead,
            "read",
            content(&reader),
            b"Bytes".to_vec(),
        )?;
        self.refused(
            Clause::OpenRead,
            "write",
            reader.write_all_at(b"x", 0),
            false,
        )?;
        self.same(
            Clause::OpenRead,
            "read again",
            content(&file),
            b"Bytes".to_vec(),
        )
    }

    fn names(&mut self) -> Result<(), Violation> {
        let (from, to) = (self.path("from"), self.path("to"));
        let file = self.holding("from", b"moved", Clause::Rename)?;
        self.holding("to", b"replaced", Clause::Rename)?;
        self.same(
            Clause::Rename,
            "rename onto a name that is taken",
            self.files.rename(&from, &to),
            (),
        )?;
        self.same(
            Clause::Rename,
            "read it",
            self.read("to"),
            b"moved".to_vec(),
        )?;
        self.same(
            Clause::Rename,
            "its handle",
            content(&file),
            b"moved".to_vec(),
        )?;
        self.refused(
            Clause::Rename,
            "open the old name",
            self.files.open(&from),
            true,
        )?;
        self.refused(
            Clause::Rename,
            "rename what is not there",
            self.files.rename(&from, &to),
            true,
        )?;
        // Directories, and a file that serves as lock, may be listed or not.
        let listed = self.list().map(|mut found| {
            found.retain(|name| ["a", "b", "from", "to"].contains(&name.as_str()));
            found
        });
        let names = ["a", "b", "to"].map(str::to_owned);
        self.same(Clause::List, "list the directory", listed, names.to_vec())?;
        self.same(Clause::Remove, "remove a file", self.files.remove(&to), ())?;
        self.refused(Clause::Remove, "open it", self.files.open(&to), true)?;
        self.refused(
            Clause::Remove,
            "remove it again",
            self.files.remove(&to),
            true,
        )?;
        self.same(
            Clause::Remove,
            "write through its handle",
            file.write_all_at(b"M", 0),
            (),
        )?;
        self.same(
            Clause::Remove,
            "read through its handle",
            content(&file),
            b"Moved".to_vec(),
        )?;
        self.same(
            Clause::Sync,
            "sync a file without a name",
            file.sync_all(),
            (),
        )?;
        self.same(
            Clause::Sync,
            "sync the directory",
            self.files.sync_dir(self.dir),
            (),
        )
    }

    fn locking(&mut self) -> Result<(), Violation> {
        let taken = |found: io::Result<Option<F::Lock>>, case: &str| {
            found.map_err(|error| Clause::Lock.broken(case, error))
        };
        let first = taken(self.files.lock(self.dir), "lock a directory")?;
        let second = taken(self.files.lock(self.dir), "lock it again")?;
        self.same(
            Clause::Lock,
            "the first holder, the second",
            Ok((first.is_some(), second.is_some())),
            (true, false),
        )?;
        drop(second);
        let third = taken(self.files.lock(self.dir), "lock it once more")?;
        self.same(
            Clause::Lock,
            "a third, when the refused one is gone",
            Ok(third.is_some()),
            false,
        )?;
        drop(first);
        let next = taken(self.files.lock(self.dir), "lock it when it is free")?;
        self.same(Clause::Lock, "the next holder", Ok(next.is_some()), true)
    }

    fn positions(&mut self) -> Result<(), Violation> {
        let file = self.holding("c", b"0123456789", Clause::WriteAt)?;
        self.same(
            Clause::WriteAt,
            "write within",
            file.write_all_at(b"abc", 3),
            (),
        )?;
        self.same(
            Clause::WriteAt,
            "read",
            content(&file),
            b"012abc6789".to_vec(),
        )?;
        self.same(
            Clause::WriteAt,
            "write across the end",
            file.write_all_at(b"xyz", 9),
            (),
        )?;
        self.same(
            Clause::WriteAt,
            "read",
            content(&file),
            b"012abc678xyz".to_vec(),
        )?;
        self.same(
            Clause::WriteAt,
            "write nothing",
            file.write_all_at(b"", 4),
            (),
        )?;
        self.same(Clause::WriteAt, "the length", file.len(), 12)?;
        let mut buf = [b'-'; 4];
        let read = file.read_at(&mut buf, 10).map(|read| (read, buf));
        self.same(Clause::ReadAt, "read across the end", read, (2, *b"yz--"))?;
        self.same(
            Clause::ReadAt,
            "read at the end",
            file.read_at(&mut buf, 12),
            0,
        )?;
        self.same(
            Clause::ReadAt,
            "read behind the end",
            file.read_at(&mut buf, 1 << 40),
            0,
        )?;
        self.same(
            Clause::ReadAt,
            "read into nothing",
            file.read_at(&mut [], 0),
            0,
        )?;
        self.same(Clause::Sync, "sync_data", file.sync_data(), ())?;
        self.same(Clause::Sync, "sync_all", file.sync_all(), ())
    }
}

impl<F: Power> Suite<'_, F> {
    /// A durable file of this name.
    fn durable(&self, name: &str, bytes: &[u8], clause: Clause) -> Result<F::Handle, Violation> {
        let failed = |error| clause.broken(format!("make {name} durable"), error);
        self.files.create_dir(self.dir).map_err(failed)?;
        let file = self.holding(name, bytes, clause)?;
        file.sync_all().map_err(failed)?;
        self.files.sync_dir(self.dir).map_err(failed)?;
        Ok(file)
    }

    fn directory_stays(&mut self, seed: u64) -> Result<(), Violation> {
        let made = self.files.create_dir(self.dir);
        self.same(Clause::CreateDir, "make a directory", made, ())?;
        self.files.lose_power(seed);
        self.same(
            Clause::DirectoryStays,
            "list it after a power loss",
            self.list(),
            Vec::new(),
        )
    }

    fn bytes_stay(&mut self, seed: u64) -> Result<(), Violation> {
        let file = self.durable("f", &[1; 3000], Clause::SyncAllStays)?;
        let wrote = file
            .write_all_at(&[2; 1000], 500)
            .and_then(|()| file.sync_data());
        self.same(Clause::Sync, "write and sync_data", wrote, ())?;
        // This may go, or come in parts; and it must leave the rest alone.
        let wrote = file.write_all_at(&[3; 700], 2000);
        self.same(Clause::WriteAt, "write", wrote, ())?;
        self.files.lose_power(seed);
        let found = self.read("f").unwrap_or_default();
        self.same(
            Clause::SyncAllStays,
            "the length after a power loss",
            Ok(found.len()),
            3000,
        )?;
        let all = |range: std::ops::Range<usize>, byte: u8| {
            let part = found.get(range).unwrap_or_default();
            Ok(part.iter().all(|found| *found == byte))
        };
        self.same(
            Clause::SyncDataStays,
            "bytes 500 to 1500",
            all(500..1500, 2),
            true,
        )?;
        for range in [0..500, 1500..2000, 2700..3000] {
            let case = format!("bytes {range:?}");
            self.same(Clause::SyncAllStays, &case, all(range, 1), true)?;
        }
        Ok(())
    }

    fn names_stay(&mut self, seed: u64) -> Result<(), Violation> {
        for name in ["gone", "old"] {
            self.durable(name, name.as_bytes(), Clause::SyncDirStays)?;
        }
        let new = self.holding("new", b"new", Clause::Create)?;
        let changed = new
            .sync_all()
            .and_then(|()| self.files.rename(&self.path("old"), &self.path("renamed")))
            .and_then(|()| self.files.remove(&self.path("gone")))
            .and_then(|()| self.files.sync_dir(self.dir));
        self.same(
            Clause::Sync,
            "create, rename, remove and sync_dir",
            changed,
            (),
        )?;
        self.files.lose_power(seed);
        let names = ["new", "renamed"].map(str::to_owned);
        self.same(
            Clause::SyncDirStays,
            "list after a power loss",
            self.list(),
            names.to_vec(),
        )?;
        self.same(
            Clause::SyncDirStays,
            "the renamed file",
            self.read("renamed"),
            b"old".to_vec(),
        )?;
        self.same(
            Clause::SyncAllStays,
            "the new file",
            self.read("new"),
            b"new".to_vec(),
        )
    }

    fn rename_is_whole(&mut self, seed: u64) -> Result<(), Violation> {
        self.durable("name", b"old", Clause::RenameWhole)?;
        self.durable("temporary", b"new", Clause::RenameWhole)?;
        let renamed = self
            .files
            .rename(&self.path("temporary"), &self.path("name"));
        self.same(Clause::Rename, "rename", renamed, ())?;
        self.files.lose_power(seed);
        let found = self.read("name");
        self.cases += 1;
        match found.as_deref() {
            Ok(b"old" | b"new") => Ok(()),
            _ => {
                Err(Clause::RenameWhole.broken("the name after a power loss", format!("{found:?}")))
            }
        }
    }
}
