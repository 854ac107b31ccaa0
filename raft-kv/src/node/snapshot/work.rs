//! What is done about snapshots beside the loop: writing one, reading pieces of one for a peer, taking in the pieces of one that is
//! received, and reading one back into a state machine. All of it may wait for the disk; threads do it, and the simulator.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_core::ClusterId;
use raft_log::{
    Files, FinishedSnapshot, SnapshotId, SnapshotReadError, SnapshotReader, SnapshotReceiver,
    Snapshots,
};

use crate::mutants::{Mutant, mutant};
use crate::node::machine::{Image, StateMachine};
use crate::wire::{self, SnapshotFile, SnapshotHead};

/// The log's name for a file.
pub(crate) fn id(file: SnapshotFile) -> SnapshotId {
    SnapshotId {
        index: file.last.index.0,
        term: file.last.term.0,
        bytes: file.bytes,
        checksum: file.checksum,
    }
}

/// The node's name for a file of the log.
pub(crate) fn file(id: SnapshotId) -> SnapshotFile {
    SnapshotFile {
        last: raft_core::LogId::new(id.index, id.term),
        bytes: id.bytes,
        checksum: id.checksum,
    }
}

/// Writes a snapshot. It is durable then, and the log has yet to mark it. Once `given_up` says so, it stops.
pub(crate) fn take<F: Files>(
    snapshots: &Snapshots<F>,
    head: &SnapshotHead,
    image: Image,
    given_up: &dyn Fn() -> bool,
) -> Result<FinishedSnapshot, String> {
    let last = head.snapshot.last;
    let draft = snapshots.create(last.index.0, last.term.0);
    let mut draft = draft.map_err(|error| error.to_string())?;
    let mut out = Watched {
        inner: &mut draft,
        given_up,
    };
    // Gathers the state machine's small writes.
    let mut gathered = io::BufWriter::with_capacity(64 << 10, &mut out);
    gathered
        .write_all(&wire::encode_snapshot_head(head))
        .and_then(|()| unless_it_panics(|| image.write_to(&mut gathered)))
        .and_then(|()| gathered.flush())
        .map_err(|error| error.to_string())?;
    drop(gathered);
    draft.finish().map_err(|error| error.to_string())
}

/// Passes writes and reads on until it is given up.
struct Watched<'a, T> {
    inner: T,
    given_up: &'a dyn Fn() -> bool,
}

impl<T> Watched<'_, T> {
    fn look(&self) -> io::Result<()> {
        match (self.given_up)() {
            true => Err(io::Error::other("the node is stopping")),
            false => Ok(()),
        }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        self.inner.read(to)
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The files that are being sent.
pub(crate) struct Sender<F: Files> {
    snapshots: Snapshots<F>,
    open: BTreeMap<SnapshotFile, SnapshotReader<F>>,
}

impl<F: Files> Sender<F> {
    pub(crate) fn new(snapshots: Snapshots<F>) -> Self {
        let open = BTreeMap::new();
        Self { snapshots, open }
    }

    /// A piece of a file, which stays open from the first on: a newer snapshot may take its place meanwhile.
    pub(crate) fn read(
        &mut self,
        file: SnapshotFile,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Bytes, SnapshotReadError> {
        let reader = match self.open.entry(file) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(self.snapshots.open(&id(file))?)
            }
        };
        let left = file.bytes.saturating_sub(offset);
        let mut piece =
            vec![0; usize::try_from(left).map_or(bytes_max, |left| left.min(bytes_max))];
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reader.read_at(rest, offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        piece.truncate(filled);
        Ok(piece.into())
    }

    /// Nobody is sent this one any more.
    pub(crate) fn close(&mut self, file: SnapshotFile) {
        self.open.remove(&file);
    }
}

/// What came of a piece that was to be written.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// So much is there now.
    Part(u64),
    /// All of it is there, durable, and says this of itself.
    Whole(Box<SnapshotHead>, FinishedSnapshot),
    /// It could not be written, or is not what was announced; nothing is left of it.
    Failed(String),
}

/// The file that is being received.
pub(crate) struct Receiver<F: Files> {
    snapshots: Snapshots<F>,
    draft: Option<SnapshotReceiver<F>>,
}

impl<F: Files> Receiver<F> {
    pub(crate) fn new(snapshots: Snapshots<F>) -> Self {
        let draft = None;
        Self { snapshots, draft }
    }

    /// The next piece. One that begins a file takes the place of what there was of another.
    pub(crate) fn write(
        &mut self,
        cluster: ClusterId,
        file: SnapshotFile,
        offset: u64,
        bytes: &[u8],
    ) -> Written {
        self.try_write(cluster, file, offset, bytes)
            .unwrap_or_else(|why| {
                self.draft = None;
                Written::Failed(why)
            })
    }

    fn try_write(
        &mut self,
        cluster: ClusterId,
        file: SnapshotFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Written, String> {
        if offset == 0 {
            // The former's temporary file goes first.
            self.draft = None;
            let draft = self.snapshots.receive(id(file));
            self.draft = Some(draft.map_err(|error| error.to_string())?);
        }
        let draft = self.draft.as_mut().filter(|draft| draft.id() == id(file));
        let Some(draft) = draft.filter(|draft| draft.received() == offset) else {
            return Err("it does not go on where the piece before ended".into());
        };
        draft.write(bytes).map_err(|error| error.to_string())?;
        let received = draft.received();
        if received < file.bytes {
            return Ok(Written::Part(received));
        }
        let draft = self.draft.take().ok_or("it has ended")?;
        let finished = draft.finish().map_err(|error| error.to_string())?;
        match read_head(&self.snapshots, file).and_then(|head| check_cluster(head, cluster)) {
            Ok(head) => Ok(Written::Whole(Box::new(head), finished)),
            // Left there, it would be taken for one of this log's by a later opening.
            Err(why) => match self.snapshots.discard(finished) {
                Ok(()) => Err(why.to_string()),
                Err(error) => Err(format!("{why}; and it cannot be removed: {error}")),
            },
        }
    }

    /// What there is of the file is of no use any more.
    pub(crate) fn discard(&mut self, file: SnapshotFile) {
        if self
            .draft
            .as_ref()
            .is_some_and(|draft| draft.id() == id(file))
        {
            self.draft = None;
        }
    }
}

/// What a snapshot says of itself, in front of the state.
pub(crate) fn read_head<F: Files>(
    snapshots: &Snapshots<F>,
    file: SnapshotFile,
) -> io::Result<SnapshotHead> {
    let mut reader = snapshots.open(&id(file)).map_err(io::Error::other)?;
    check_head(wire::read_snapshot_head(&mut reader)?, file)
}

fn check_head(head: SnapshotHead, file: SnapshotFile) -> io::Result<SnapshotHead> {
    if head.snapshot.last == file.last {
        return Ok(head);
    }
    let what = format!(
        "the snapshot of {} says that it is of {}",
        file.last, head.snapshot.last
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

fn check_cluster(head: SnapshotHead, cluster: ClusterId) -> io::Result<SnapshotHead> {
    if head.cluster == cluster && wire::cluster_id(&head.founding) == cluster {
        return Ok(head);
    }
    let what = format!("it is of cluster {}, and this is {cluster}", head.cluster);
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// A panic of a state machine ends what it was asked for, and must not end the thread that answers for it.
fn unless_it_panics<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(io::Error::other("the state machine panicked")))
}

/// Reads a snapshot into a state machine that has applied nothing. All of the file is verified then.
pub(crate) fn restore<F: Files, S: StateMachine>(
    snapshots: &Snapshots<F>,
    file: SnapshotFile,
    machine: &mut S,
    given_up: &dyn Fn() -> bool,
) -> io::Result<()> {
    if mutant(Mutant::StartsWithoutSnapshot) {
        return Ok(());
    }
    let mut reader = snapshots.open(&id(file)).map_err(io::Error::other)?;
    check_head(wire::read_snapshot_head(&mut reader)?, file)?;
    let watched = Watched {
        inner: reader,
        given_up,
    };
    let mut reader = io::BufReader::with_capacity(64 << 10, watched);
    unless_it_panics(|| machine.restore(file.last, &mut reader))?;
    let left = io::copy(&mut reader.by_ref().take(1), &mut io::sink())?;
    if left > 0 {
        let what = "the state machine has not read all of its snapshot";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(())
}
