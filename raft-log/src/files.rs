//! The seam to the file system: what the log asks of it, and nothing more.
//!
//! Two implementations come with the crate: [`OsFiles`], and with the feature `sim` a simulated disk. A third party can
//! bring its own; the contract below is all that the log relies on.

mod os;

use std::io;
use std::path::Path;

pub use os::OsFiles;

/// A file system, as a log sees it. Clones speak of the same file system.
pub trait Files: Clone + Send + Sync + 'static {
    /// An open file.
    type Handle: FileHandle;
    /// Holds a directory for as long as it lives.
    type Lock: Send + Sync + 'static;

    /// Makes a directory, and those above it, readable by the owner alone where the platform knows that. The entries are
    /// durable on return. It is no error if the directory exists.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the directory for this holder alone, or answers `None` if another holder has it. Never waits.
    ///
    /// # Errors
    /// What the file system says.
    fn lock(&self, dir: &Path) -> io::Result<Option<Self::Lock>>;

    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::NotFound`] if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new empty file for reading and writing, in place of one that has this name. The name is durable after
    /// [`Files::sync_dir`] only.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, file: &Path) -> io::Result<Self::Handle>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::NotFound`] if there is no such file.
    fn open(&self, file: &Path) -> io::Result<Self::Handle>;

    /// Opens a file that exists, for reading only: writing needs no permission, and a write or sync on the handle is an
    /// error that changes nothing.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::NotFound`] if there is no such file.
    fn open_read(&self, file: &Path) -> io::Result<Self::Handle>;

    /// Gives a file another name in the same directory, replacing what has it: after a crash, old or new, never neither.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name. Open handles stay usable.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Makes all names made, changed or removed in this directory so far durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file: positional reads and writes, from several threads at once.
pub trait FileHandle: Send + Sync + 'static {
    /// The length in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 means the end of the file.
    ///
    /// # Errors
    /// What the file system says; never [`io::ErrorKind::Interrupted`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at `offset`. After an error any part of them may be written.
    ///
    /// # Errors
    /// What the file system says; never [`io::ErrorKind::Interrupted`].
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all bytes written so far durable (`fdatasync`). The log relies on this only within the length that
    /// [`FileHandle::sync_all`] has made durable.
    ///
    /// # Errors
    /// What the file system says. The log never calls again after an error.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes and length durable (`fsync`).
    ///
    /// # Errors
    /// What the file system says. The log never calls again after an error.
    fn sync_all(&self) -> io::Result<()>;
}
