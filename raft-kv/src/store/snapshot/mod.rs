//! The store as the bytes of a snapshot, and back. The layout is in `docs/store-snapshot.md`.
//!
//! Guards: the same state gives the same bytes on every node, whatever led to it; bytes that are accepted give back exactly the
//! state that they were written from, or none.

mod error;
mod past;
mod read;
mod reply;
mod write;

use std::io;

use super::{CLUSTER_VERSION_MAX, Settings, Store};
use crate::api::{KeyValue, SessionId};
use crate::release::RELEASE_BYTES_MAX;
use crate::store::history::History;
use crate::store::sessions::Session;
use raft_core::Index;
use read::In;
use reply::{read_reply, write_reply};
use write::Out;

pub use error::{StoreSnapshotError, StoreSnapshotPlace};

/// The version of the format that [`Store::write_to`] writes, and the newest that [`Store::read_from`] reads.
pub const STORE_SNAPSHOT_VERSION: u8 = 1;

/// How many bytes a key, and a value, may have in a snapshot: far more than a command can have as a whole.
pub const STORE_SNAPSHOT_ITEM_BYTES_MAX: usize = 16 << 20;

/// No index and no revision reaches it: the log ends before.
pub(super) const NUMBERS_END: u64 = i64::MAX as u64;

impl Store {
    /// Writes the whole state, piece by piece and through a small buffer. Equal states give equal bytes. To let apply go on
    /// meanwhile, write from a clone.
    ///
    /// # Errors
    /// Those of the writer, which has a part of the bytes then; and [`io::ErrorKind::InvalidInput`] for a key or value over
    /// [`STORE_SNAPSHOT_ITEM_BYTES_MAX`], which no command from the network can bring.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut out = Out::new(out);
        out.u8(STORE_SNAPSHOT_VERSION)?;
        // At most 64.
        out.u8(u8::try_from(self.raised_by.len()).unwrap_or(0))?;
        out.u16(0)?;
        self.write_head(&mut out)?;
        for (lease, found) in self.leases.iter() {
            out.u64(lease)?;
            out.u64(found.ttl_ms)?;
        }
        for entry in self.keys.iter() {
            let record = &entry.value;
            out.key_value(&entry.key, &record.value, record.numbers())?;
        }
        for (lock, claim) in self.locks.iter() {
            out.counted(lock)?;
            out.claim(&claim)?;
        }
        past::write(&mut out, &self.history, &self.keys)?;
        for (id, session) in self.sessions.iter() {
            write_session(&mut out, id, session)?;
        }
        out.u64(self.state_hash())?;
        out.finish()
    }

    fn write_head(&self, out: &mut Out<'_>) -> io::Result<()> {
        let Settings {
            cluster_version,
            sessions_max,
            outstanding_max,
            session_reply_bytes_max,
            reply_bytes_max,
            deleted_bytes_max,
            leases_max,
            claims_max,
            queue_max,
            history_revisions_max,
            history_bytes_max,
        } = self.settings;
        out.u16(self.cluster_version)?;
        out.u16(cluster_version)?;
        out.bytes(self.raised_by.as_bytes())?;
        for number in [
            sessions_max as u64,
            outstanding_max,
            session_reply_bytes_max,
            reply_bytes_max,
            deleted_bytes_max,
            leases_max as u64,
            claims_max as u64,
            queue_max as u64,
            history_revisions_max,
            history_bytes_max,
            self.applied.0,
            self.revision,
            self.history.oldest(),
            self.leases.len() as u64,
            self.keys.len() as u64,
            self.locks.claim_count() as u64,
            self.sessions.len() as u64,
        ] {
            out.u64(number)?;
        }
        Ok(())
    }

    /// The store that wrote these bytes, with its settings: they are part of the state. Reads up to the end, and makes sure
    /// that it is the end. The bytes may come from anyone: at no time is there more memory than some tens of bytes for each
    /// that was read, whatever lengths and counts they claim. The state hash is reckoned anew from what was read.
    ///
    /// # Errors
    /// What is wrong with the bytes and where, that they are of a newer release, or what the reader said.
    pub fn read_from(from: &mut dyn io::Read) -> Result<Self, StoreSnapshotError> {
        Self::read_following(from, CLUSTER_VERSION_MAX)
    }

    /// As [`read_from`](Self::read_from), with no version beyond `follows`.
    pub(crate) fn read_following(
        from: &mut dyn io::Read,
        follows: u16,
    ) -> Result<Self, StoreSnapshotError> {
        let mut from = In::new(from);
        let front = read_front(&mut from, follows)?;
        let (mut store, counts) = read_head(&mut from, front, follows)?;
        read_leases(&mut from, &mut store, counts.leases)?;
        read_keys(&mut from, &mut store, counts.keys)?;
        read_claims(&mut from, &mut store, counts.claims)?;
        past::read(&mut from, &mut store)?;
        read_sessions(&mut from, &mut store, counts.sessions)?;
        from.at("end", 0);
        let written = from.u64()?;
        let read = store.state_hash();
        if written != read {
            return Err(StoreSnapshotError::HashDiffers { written, read });
        }
        from.finish()?;
        Ok(store)
    }
}

/// How many of each follow behind the head.
struct Counts {
    leases: u64,
    keys: u64,
    claims: u64,
    sessions: u64,
}

/// What stands in front in every version.
struct Front {
    cluster_version: u16,
    settings_cluster_version: u16,
    raised_by: String,
}

/// Reads it first: of what a newer release wrote, no more than this may be legible.
fn read_front(from: &mut In<'_>, follows: u16) -> Result<Front, StoreSnapshotError> {
    let version = from.u8()?;
    from.check(version > 0, "there is no such version")?;
    let name_bytes = usize::from(from.u8()?);
    let name_fits = name_bytes <= RELEASE_BYTES_MAX;
    from.check(name_fits, "a release's name is longer than it can be")?;
    let reserved = from.u16()?;
    let cluster_version = from.u16()?;
    let settings_cluster_version = from.u16()?;
    let raised_by = String::from_utf8(from.bytes(name_bytes)?.to_vec())
        .map_err(|_| from.malformed("a release's name is no text"))?;
    if version > STORE_SNAPSHOT_VERSION {
        return Err(StoreSnapshotError::UnknownVersion {
            version,
            release: raised_by,
        });
    }
    from.check(reserved == 0, "a reserved byte is not 0")?;
    if cluster_version > follows {
        return Err(StoreSnapshotError::ClusterVersionTooNew {
            version: cluster_version,
            release: raised_by,
            follows,
        });
    }
    Ok(Front {
        cluster_version,
        settings_cluster_version,
        raised_by,
    })
}

/// An empty store with all that the head holds, and how many leases, keys, claims and sessions follow.
fn read_head(
    from: &mut In<'_>,
    front: Front,
    follows: u16,
) -> Result<(Store, Counts), StoreSnapshotError> {
    let Front {
        cluster_version,
        settings_cluster_version,
        raised_by,
    } = front;
    let settings = read_settings(from, settings_cluster_version)?;
    let mut store = Store::following(settings, follows);
    store.raised_by = raised_by;
    let never_lowered = cluster_version >= settings.cluster_version;
    from.check(never_lowered, "the cluster version is below the first one")?;
    store.cluster_version = cluster_version;
    store.applied = Index(from.u64()?);
    from.check(store.applied.0 < NUMBERS_END, "no log has such an index")?;
    store.revision = from.u64()?;
    from.check(
        store.revision < NUMBERS_END,
        "no log leads to such a revision",
    )?;
    let oldest = from.u64()?;
    from.check(
        oldest <= store.revision,
        "the oldest revision is behind the newest",
    )?;
    store.history = History::beginning_at(oldest);
    let counts = Counts {
        leases: from.u64()?,
        keys: from.u64()?,
        claims: from.u64()?,
        sessions: from.u64()?,
    };
    let fits = |count, max: usize| usize::try_from(count).is_ok_and(|count| count <= max);
    let leases_fit = fits(counts.leases, settings.leases_max);
    from.check(leases_fit, "more leases than the settings allow")?;
    let claims_fit = fits(counts.claims, settings.claims_max);
    from.check(claims_fit, "more claims than the settings allow")?;
    // The session in use never ends for the limit.
    let sessions_fit = fits(counts.sessions, settings.sessions_max.max(1));
    from.check(sessions_fit, "more sessions than the settings allow")?;
    Ok((store, counts))
}

fn read_settings(from: &mut In<'_>, cluster_version: u16) -> Result<Settings, StoreSnapshotError> {
    let count = |from: &mut In<'_>| {
        let number = from.u64()?;
        usize::try_from(number).map_err(|_| from.malformed("more than this machine can count"))
    };
    Ok(Settings {
        cluster_version,
        sessions_max: count(from)?,
        outstanding_max: from.u64()?,
        session_reply_bytes_max: from.u64()?,
        reply_bytes_max: from.u64()?,
        deleted_bytes_max: from.u64()?,
        leases_max: count(from)?,
        claims_max: count(from)?,
        queue_max: count(from)?,
        history_revisions_max: from.u64()?,
        history_bytes_max: from.u64()?,
    })
}

fn read_leases(from: &mut In<'_>, store: &mut Store, count: u64) -> Result<(), StoreSnapshotError> {
    let mut last = 0;
    for number in 1..=count {
        from.at("lease", number);
        let (id, ttl_ms) = (from.u64()?, from.u64()?);
        let granted = (last + 1..=store.applied.0).contains(&id);
        from.check(
            granted,
            "the leases do not ascend, or one was granted after the last entry",
        )?;
        last = id;
        store.leases.grant(id, ttl_ms);
    }
    Ok(())
}

fn read_claims(from: &mut In<'_>, store: &mut Store, count: u64) -> Result<(), StoreSnapshotError> {
    let mut last = None;
    for number in 1..=count {
        from.at("claim", number);
        let (lock, claim) = (from.counted()?, from.claim()?);
        let this = Some((lock, claim.token));
        from.check(last < this, "the claims do not ascend")?;
        let made = (1..=store.revision).contains(&claim.token);
        from.check(made, "a claim of a revision that was not yet")?;
        let Some((lock, _)) = &this else { continue };
        let lease = store.leases.get(claim.lease);
        let alone = lease.is_some_and(|lease| !lease.claims.contains_key(lock));
        from.check(alone, "a claim without a lease, or one of two of a lease")?;
        let fits = store.locks.queue_len(lock) < store.settings.queue_max;
        from.check(fits, "more claims on a lock than the settings allow")?;
        let (lock, _) = store.locks.set(lock, &claim);
        store.leases.add_claim(claim.lease, &lock, claim.token);
        last = this;
    }
    Ok(())
}

fn read_keys(from: &mut In<'_>, store: &mut Store, count: u64) -> Result<(), StoreSnapshotError> {
    for number in 1..=count {
        from.at("key", number);
        let kv = from.key_value()?;
        check_revisions(from, &kv, store.revision)?;
        let lives = kv.lease == 0 || store.leases.get(kv.lease).is_some();
        from.check(lives, "it lives by a lease that is not there")?;
        let (key, lease) = (kv.key.clone(), kv.lease);
        let behind = store.keys.restore(kv);
        from.check(behind, "the keys do not ascend")?;
        store.leases.move_key(&key, 0, lease);
    }
    Ok(())
}

/// A key is written at revisions one after the other, and no later than the store's.
fn check_revisions(from: &In<'_>, kv: &KeyValue, newest: u64) -> Result<(), StoreSnapshotError> {
    let created = (1..=kv.mod_revision).contains(&kv.create_revision);
    from.check(created, "it was changed before it was created")?;
    from.check(
        kv.mod_revision <= newest,
        "it was changed after the last change",
    )?;
    // Each time it was written, the revision rose.
    let written = (1..=kv.mod_revision).contains(&kv.version);
    from.check(
        written,
        "it was written more often than there were revisions, or never",
    )
}

fn write_session(out: &mut Out<'_>, id: SessionId, session: &Session) -> io::Result<()> {
    let (low, high) = session.refused.unwrap_or_default();
    let replies = session.replies.len() as u64;
    for number in [
        id,
        session.last_used,
        session.first_outstanding,
        low,
        high,
        replies,
    ] {
        out.u64(number)?;
    }
    for kept in &session.replies {
        out.u64(kept.sequence)?;
        write_reply(out, kept.reply.as_ref())?;
    }
    Ok(())
}

fn read_sessions(
    from: &mut In<'_>,
    store: &mut Store,
    count: u64,
) -> Result<(), StoreSnapshotError> {
    let mut last = 0;
    for number in 1..=count {
        from.at("session", number);
        let id = from.u64()?;
        from.check(id > last, "the sessions do not ascend")?;
        last = id;
        let session = read_session(from, id, store)?;
        let alone = store.sessions.restore(id, session, &store.settings);
        from.check(alone, "two were last used by the same entry")?;
    }
    Ok(())
}

fn read_session(
    from: &mut In<'_>,
    id: SessionId,
    store: &Store,
) -> Result<Session, StoreSnapshotError> {
    let settings = &store.settings;
    let last_used = from.u64()?;
    let used = (id..=store.applied.0).contains(&last_used);
    from.check(
        used,
        "it was last used before it began, or after the last entry",
    )?;
    let first_outstanding = from.u64()?;
    from.check(first_outstanding >= 1, "commands are numbered from 1")?;
    let refused = match (from.u64()?, from.u64()?) {
        (0, 0) => None,
        (low, high) => {
            let stands = 1 <= low && low <= high && high >= first_outstanding;
            from.check(stands, "what was refused is no range, or is over")?;
            Some((low, high))
        }
    };
    let mut session = Session::new(last_used, first_outstanding, refused);
    let mut last = 0;
    for _ in 0..from.u64()? {
        let sequence = from.u64()?;
        from.check(sequence > last, "the replies do not ascend")?;
        last = sequence;
        let ahead = sequence.checked_sub(first_outstanding);
        let outstanding = ahead.is_some_and(|ahead| ahead < settings.outstanding_max);
        from.check(
            outstanding,
            "a reply that the client has, or that is too far ahead",
        )?;
        session.restore_reply(id, sequence, read_reply(from)?);
        let fits = session.content_bytes() <= settings.session_reply_bytes_max;
        from.check(fits, "it keeps more than the settings allow")?;
    }
    Ok(session)
}
