//! A file system of which only reading is left, so that no code that runs on it can change anything.

use std::io;
use std::path::Path;

use crate::files::Files;

/// Another file system, for reading: what would change something fails, and files are opened for reading only.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnly<F: Files> {
    files: F,
}

impl<F: Files> ReadOnly<F> {
    pub(crate) fn new(files: F) -> Self {
        ReadOnly { files }
    }
}

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl<F: Files> Files for ReadOnly<F> {
    type Handle = F::Handle;
    type Lock = F::Lock;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<F::Lock>> {
        self.files.lock(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<F::Handle> {
        refuse()
    }

    fn open(&self, file: &Path) -> io::Result<F::Handle> {
        self.files.open_read(file)
    }

    fn open_read(&self, file: &Path) -> io::Result<F::Handle> {
        self.files.open_read(file)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }
}
