//! The simulated disk with one flaw.

use std::io;
use std::path::Path;

use raft_log::conformance::Power;
use raft_log::sim_disk::{SimDisk, SimFile, SimLock};
use raft_log::{FileHandle, Files};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flaw {
    ListsNothingForNoDirectory,
    CreateKeepsTheOld,
    CreateTruncatesTheOld,
    OpenCreates,
    OpenReadWrites,
    RenameRefusesATakenName,
    RenameInTwoSteps,
    RemoveForgives,
    LockIsShared,
    ReadFailsAtTheEnd,
    WriteCutsWhatFollows,
    NoSyncData,
    NoSyncAll,
    NoSyncDir,
    DirectoryIsNotDurable,
}

#[derive(Clone)]
pub(crate) struct FlawedFiles {
    disk: SimDisk,
    flaw: Option<Flaw>,
}

pub(crate) struct FlawedFile {
    file: SimFile,
    path: std::path::PathBuf,
    of: FlawedFiles,
}

impl FlawedFiles {
    pub(crate) fn new(disk: SimDisk, flaw: Option<Flaw>) -> FlawedFiles {
        FlawedFiles { disk, flaw }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn handle(&self, path: &Path, file: io::Result<SimFile>) -> io::Result<FlawedFile> {
        Ok(FlawedFile {
            file: file?,
            path: path.to_path_buf(),
            of: self.clone(),
        })
    }
}

impl Files for FlawedFiles {
    type Handle = FlawedFile;
    type Lock = Option<SimLock>;

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if self.has(Flaw::DirectoryIsNotDurable) {
            return Ok(());
        }
        self.disk.create_dir(dir)
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Self::Lock>> {
        let lock = self.disk.lock(dir)?;
        Ok((lock.is_some() || self.has(Flaw::LockIsShared)).then_some(lock))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        match self.disk.list(dir) {
            Err(_) if self.has(Flaw::ListsNothingForNoDirectory) => Ok(Vec::new()),
            names => names,
        }
    }

    fn create(&self, file: &Path) -> io::Result<FlawedFile> {
        if (self.has(Flaw::CreateKeepsTheOld) || self.has(Flaw::CreateTruncatesTheOld))
            && let Ok(old) = self.disk.open(file)
        {
            if self.has(Flaw::CreateTruncatesTheOld) {
                self.disk.rot(file, Vec::clear);
            }
            return self.handle(file, Ok(old));
        }
        self.handle(file, self.disk.create(file))
    }

    fn open(&self, file: &Path) -> io::Result<FlawedFile> {
        match self.disk.open(file) {
            Err(_) if self.has(Flaw::OpenCreates) => self.create(file),
            opened => self.handle(file, opened),
        }
    }

    fn open_read(&self, file: &Path) -> io::Result<FlawedFile> {
        if self.has(Flaw::OpenReadWrites) {
            return self.open(file);
        }
        self.handle(file, self.disk.open_read(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let taken = self.disk.content(to).is_some();
        if self.has(Flaw::RenameRefusesATakenName) && taken {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.has(Flaw::RenameInTwoSteps) && taken {
            self.disk.remove(to)?;
            self.disk.sync_dir(to.parent().unwrap())?;
        }
        self.disk.rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        match self.disk.remove(file) {
            Err(_) if self.has(Flaw::RemoveForgives) => Ok(()),
            removed => removed,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.has(Flaw::NoSyncDir) {
            return Ok(());
        }
        self.disk.sync_dir(dir)
    }
}

impl FileHandle for FlawedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.of.has(Flaw::ReadFailsAtTheEnd) && offset > self.file.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        if self.of.has(Flaw::WriteCutsWhatFollows) {
            let end = offset as usize + bytes.len();
            self.of
                .disk
                .rot(&self.path, |content| content.truncate(end));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.of.has(Flaw::NoSyncData) {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        if self.of.has(Flaw::NoSyncAll) {
            return Ok(());
        }
        self.file.sync_all()
    }
}

impl Power for FlawedFiles {
    fn lose_power(&self, seed: u64) {
        self.disk.lose_power(seed);
    }

    fn end_process(&self) {
        self.disk.end_process();
    }

    fn interrupt(&self, operation: u64) {
        self.disk.interrupt(operation);
    }
}
