//! A file that gets its name when it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Backup, BackupError};

/// Why a backup was not written. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// There is such a file.
    #[error("{} is there already, and is left as it is; choose another name, or say --force", .0.display())]
    Exists(PathBuf),
    /// It is no name of a file.
    #[error("{} is no name that a file can have", .0.display())]
    NoName(PathBuf),
    /// There is a directory of that name.
    #[error("{} is a directory; give the name of a file", .0.display())]
    Directory(PathBuf),
    /// There is no directory to put it in.
    #[error("{}: there is no directory {}; make it, or choose another", file.display(), dir.display())]
    NoDirectory {
        /// The file.
        file: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// The disk said no.
    #[error("{}: cannot {what}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        source: io::Error,
    },
    /// What was written cannot be read back.
    #[error("what was written cannot be read back, and is removed: {0}")]
    Verify(#[from] BackupError),
}

/// A backup that is being written, beside the name that it will have. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    file: File,
    part: PathBuf,
    path: PathBuf,
    force: bool,
    named: bool,
}

impl Draft {
    /// Begins the file at `path`, readable by its owner alone: it will hold all data. `force`: it may take the place of another.
    ///
    /// # Errors
    /// As [`DraftError`] lists them.
    pub fn create(path: &Path, force: bool) -> Result<Self, DraftError> {
        let Some(name) = path.file_name() else {
            return Err(DraftError::NoName(path.to_path_buf()));
        };
        if path.is_dir() {
            return Err(DraftError::Directory(path.to_path_buf()));
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(DraftError::Exists(path.to_path_buf()));
        }
        if !directory_of(path).is_dir() {
            return Err(DraftError::NoDirectory {
                file: path.to_path_buf(),
                dir: directory_of(path).to_path_buf(),
            });
        }
        let mut part = name.to_owned();
        // Two that save to one name must not write into one file.
        part.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(part);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&part).map_err(|source| DraftError::Io {
            file: part.clone(),
            what: "make the file",
            source,
        })?;
        Ok(Self {
            file,
            part,
            path: path.to_path_buf(),
            force,
            named: false,
        })
    }

    /// Makes it durable, reads it back, verifies it, and gives it its name, durably.
    ///
    /// # Errors
    /// As [`DraftError`] lists them; nothing is left of it then.
    pub fn finish(mut self) -> Result<Backup, DraftError> {
        let failed = |what, source| DraftError::Io {
            file: self.path.clone(),
            what,
            source,
        };
        let synced = self.file.flush().and_then(|()| self.file.sync_all());
        synced.map_err(|source| failed("sync it", source))?;
        let backup = Backup::read(&self.part)?;
        // Another may have come meanwhile.
        if !self.force && self.path.symlink_metadata().is_ok() {
            return Err(DraftError::Exists(self.path.clone()));
        }
        std::fs::rename(&self.part, &self.path)
            .map_err(|source| failed("give it its name", source))?;
        let synced = File::open(directory_of(&self.path)).and_then(|dir| dir.sync_all());
        let synced = synced.map_err(|source| failed("sync its directory", source));
        self.named = true;
        synced?;
        Ok(backup)
    }
}

/// Where a file is, or is to be.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.named {
            // Whoever failed says so; that something is left would say no more.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}
