//! Backups: the state after a moment at which all that was acknowledged before is in it, as the file of a snapshot, piece by piece to whoever
//! asks for the next one.
//!
//! The loop gives the state's image, which costs about as much as taking a snapshot does; a thread encodes it, no further ahead of the client than
//! a few pieces. Nothing is written to the disk. Guards: there are few backups at a time, and one that nobody asks for any more ends.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft_core::Index;
use raft_log::SnapshotEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::admin::{KvInbox, ask};
use super::answer::not_done;
use super::{KvRead, KvWrite};
use crate::api::{BackupPiece, RequestError};
use crate::node::disk;
use crate::node::inbox::Request;
use crate::node::machine::Image;
use crate::node::replica::{Freshness, NotDone, ReadRequest};
use crate::store::Store;
use crate::wire::{self, SnapshotHead};

/// How many backups there may be at a time: each may keep old values in memory for as long as it takes.
const BACKUPS_MAX: usize = 2;
/// How many bytes a piece has, but for the last one.
pub(super) const PIECE_BYTES: usize = 512 << 10;
/// How many pieces are made before they are asked for.
const PIECES_AHEAD: usize = 4;
/// Who asks for nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How many questions for one backup's pieces may wait: one client asks one at a time.
const PULLS_MAX: usize = 4;

/// All backups of a node.
#[derive(Debug)]
pub(super) struct Backups {
    room: Arc<Semaphore>,
    open: Mutex<BTreeMap<u64, mpsc::Sender<Pull>>>,
}

/// A question for the piece at an offset.
#[derive(Debug)]
struct Pull {
    offset: u64,
    answer: oneshot::Sender<Result<BackupPiece, RequestError>>,
}

/// A piece as it is made; the last one of a backup says so.
#[derive(Debug)]
struct Made {
    bytes: Bytes,
    end: bool,
}

impl Default for Backups {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(BACKUPS_MAX)),
            open: Mutex::default(),
        }
    }
}

impl Backups {
    /// The piece of backup `id` at `offset`: the next one, or once more the one before, in case its answer was lost. `id` 0 begins a backup.
    pub(super) async fn piece(
        self: &Arc<Self>,
        inbox: &KvInbox,
        id: u64,
        offset: u64,
    ) -> Result<BackupPiece, RequestError> {
        let id = match id {
            0 => self.begin(inbox).await?,
            id => id,
        };
        let gone = || {
            RequestError::Invalid(
                "there is no such backup here (any more): begin it again".to_owned(),
            )
        };
        let pulls = self.open().get(&id).cloned().ok_or_else(gone)?;
        let (answer, piece) = oneshot::channel();
        let pull = Pull { offset, answer };
        pulls.send(pull).await.map_err(|_| gone())?;
        piece.await.map_err(|_| gone())?
    }

    async fn begin(self: &Arc<Self>, inbox: &KvInbox) -> Result<u64, RequestError> {
        let room = self.room.clone().try_acquire_owned();
        let room = room.map_err(|_| RequestError::Busy)?;
        let (head, image) = state(inbox).await?;
        let id = disk::random().max(1);
        let (made, pieces) = mpsc::channel(PIECES_AHEAD);
        std::thread::Builder::new()
            .name("backup".into())
            .spawn(move || encode(&head, image, made))
            .map_err(|_| RequestError::Busy)?;
        let (pulls, asked) = mpsc::channel(PULLS_MAX);
        self.open().insert(id, pulls);
        let backups = self.clone();
        tokio::spawn(async move {
            serve(id, pieces, asked, room).await;
            backups.open().remove(&id);
        });
        Ok(id)
    }

    /// Nothing panics under the lock.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Pull>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state after a linearizable read that began now: so every write that was acknowledged before is in it (thesis §6.4).
async fn state(inbox: &KvInbox) -> Result<(SnapshotHead, Image), RequestError> {
    let (ready, confirmed) = oneshot::channel();
    let read = ReadRequest {
        freshness: Freshness::Linearizable,
        min_applied: Index::ZERO,
        ticket: KvRead::Ready(ready),
    };
    let batch = Request::Batch {
        writes: Vec::new(),
        reads: vec![read],
    };
    ask(inbox, batch, confirmed)
        .await?
        .map_err(|why| not_done(why.0))?;
    let (answer, looked) = oneshot::channel();
    let look: Request<Store, KvWrite, KvRead> = Request::Inspect(Box::new(move |inspection| {
        let _ = answer.send(inspection.replica.backup());
    }));
    // A snapshot may be taking the place of the state.
    ask(inbox, look, looked)
        .await?
        .ok_or_else(|| not_done(NotDone::Failed))
}

/// Answers for one backup until its client is silent. Its place is given back once all of it is made.
async fn serve(
    id: u64,
    mut pieces: mpsc::Receiver<Result<Made, String>>,
    mut asked: mpsc::Receiver<Pull>,
    room: OwnedSemaphorePermit,
) {
    let mut room = Some(room);
    let mut last: Option<BackupPiece> = None;
    while let Ok(Some(Pull { offset, answer })) = timeout(SILENCE_MAX, asked.recv()).await {
        if let Some(piece) = last.as_ref().filter(|piece| piece.offset == offset) {
            let _ = answer.send(Ok(piece.clone()));
            continue;
        }
        let next = match &last {
            None => Some(0),
            Some(piece) if piece.end => None,
            Some(piece) => Some(piece.offset + piece.bytes.len() as u64),
        };
        if next != Some(offset) {
            let why = format!("the backup does not go on at byte {offset}; begin it again");
            let _ = answer.send(Err(RequestError::Invalid(why)));
            continue;
        }
        let made = match pieces.recv().await {
            Some(made) => made,
            None => Err("its thread has ended".to_owned()),
        };
        match made {
            Ok(Made { bytes, end }) => {
                let piece = BackupPiece {
                    id,
                    offset,
                    bytes,
                    end,
                };
                last = Some(piece.clone());
                if end {
                    room = None;
                }
                let _ = answer.send(Ok(piece));
            }
            Err(why) => {
                let why = format!("the backup cannot be made: {why}");
                let _ = answer.send(Err(RequestError::Invalid(why)));
                break;
            }
        }
    }
    drop(room);
}

/// Makes the pieces, until all are made or nobody wants them.
fn encode(head: &SnapshotHead, image: Image, made: mpsc::Sender<Result<Made, String>>) {
    let out = Pieces {
        gathered: BytesMut::with_capacity(PIECE_BYTES),
        made: made.clone(),
    };
    if let Err(error) = try_encode(head, image, out) {
        // Whoever is gone does not hear it.
        let _ = made.blocking_send(Err(error.to_string()));
    }
}

fn try_encode(head: &SnapshotHead, image: Image, out: Pieces) -> io::Result<()> {
    let last = head.snapshot.last;
    let mut encoder = SnapshotEncoder::new(last.index.0, last.term.0, out)?;
    encoder.write_all(&wire::encode_snapshot_head(head))?;
    image.write_to(&mut encoder)?;
    let (_, out) = encoder.finish()?;
    out.end()
}

/// Cuts what is written into pieces.
struct Pieces {
    gathered: BytesMut,
    made: mpsc::Sender<Result<Made, String>>,
}

impl Pieces {
    fn send(&mut self, end: bool) -> io::Result<()> {
        let bytes = std::mem::replace(&mut self.gathered, BytesMut::with_capacity(PIECE_BYTES));
        let bytes = bytes.freeze();
        let gone = |_| io::Error::other("nobody asks for it any more");
        self.made
            .blocking_send(Ok(Made { bytes, end }))
            .map_err(gone)
    }

    fn end(mut self) -> io::Result<()> {
        self.send(true)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Full ones wait until more comes, so that the last one is never empty.
        if self.gathered.len() == PIECE_BYTES {
            self.send(false)?;
        }
        let room = PIECE_BYTES - self.gathered.len();
        let (taken, _) = bytes.split_at(room.min(bytes.len()));
        self.gathered.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup of two pieces, and how to ask for them.
    fn backup(room: &Arc<Semaphore>) -> (mpsc::Sender<Pull>, mpsc::Sender<Result<Made, String>>) {
        let (made, pieces) = mpsc::channel(PIECES_AHEAD);
        let (pulls, asked) = mpsc::channel(PULLS_MAX);
        let room = room.clone().try_acquire_owned().unwrap();
        tokio::spawn(serve(7, pieces, asked, room));
        (pulls, made)
    }

    async fn pull(
        pulls: &mpsc::Sender<Pull>,
        offset: u64,
    ) -> Option<Result<BackupPiece, RequestError>> {
        let (answer, piece) = oneshot::channel();
        pulls.send(Pull { offset, answer }).await.ok()?;
        piece.await.ok()
    }

    fn piece(bytes: &'static str, end: bool) -> Result<Made, String> {
        let bytes = Bytes::from_static(bytes.as_bytes());
        Ok(Made { bytes, end })
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_given_again_and_none_is_left_out() {
        let room = Arc::new(Semaphore::new(1));
        let (pulls, made) = backup(&room);
        made.send(piece("abc", false)).await.unwrap();
        made.send(piece("de", true)).await.unwrap();
        for _ in 0..2 {
            let first = pull(&pulls, 0).await.unwrap().unwrap();
            assert_eq!((&first.bytes[..], first.end), (&b"abc"[..], false));
        }
        assert!(pull(&pulls, 5).await.unwrap().is_err());
        for _ in 0..2 {
            let last = pull(&pulls, 3).await.unwrap().unwrap();
            assert_eq!((&last.bytes[..], last.end), (&b"de"[..], true));
            assert_eq!(room.available_permits(), 1, "all of it is made");
        }
        assert!(pull(&pulls, 5).await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_has_no_backup_any_more() {
        let room = Arc::new(Semaphore::new(1));
        let (pulls, made) = backup(&room);
        made.send(piece("abc", false)).await.unwrap();
        pull(&pulls, 0).await.unwrap().unwrap();
        tokio::time::sleep(SILENCE_MAX - Duration::from_secs(1)).await;
        pull(&pulls, 0).await.unwrap().unwrap();
        assert_eq!(room.available_permits(), 0);
        tokio::time::sleep(SILENCE_MAX + Duration::from_secs(1)).await;
        assert_eq!(room.available_permits(), 1);
        assert!(pull(&pulls, 0).await.is_none());
        assert!(
            made.send(piece("de", true)).await.is_err(),
            "the thread ends"
        );
    }

    #[test]
    fn what_is_written_comes_out_in_pieces_and_the_last_is_not_empty() {
        for bytes in [1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let (made, mut pieces) = mpsc::channel(8);
            let mut out = Pieces {
                gathered: BytesMut::new(),
                made,
            };
            out.write_all(&vec![7; bytes]).unwrap();
            out.end().unwrap();
            let mut lengths = Vec::new();
            while let Some(Ok(Made { bytes, end })) = pieces.blocking_recv() {
                lengths.push(bytes.len());
                assert_eq!(end, pieces.is_empty());
            }
            assert_eq!(lengths.iter().sum::<usize>(), bytes);
            assert!(
                lengths
                    .iter()
                    .all(|&length| (1..=PIECE_BYTES).contains(&length))
            );
        }
    }
}
