//! Leases: what lives only as long as someone keeps it alive.
//!
//! Apply reads no clock: a lease ends by a command, `Revoke` of a client or `Expire` of the leader, whose clock says when. So it ends at the
//! same entry everywhere.
//!
//! Guards: a lease knows exactly the keys and claims that live by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::hash::{HashSum, ItemHash, Kind};
use crate::api::{LeaseId, Token};

/// A lease.
#[derive(Clone, Default)]
pub(super) struct Lease {
    pub(super) ttl_ms: u64,
    pub(super) keys: BTreeSet<Bytes>,
    /// By lock: a lease has at most one claim on each.
    pub(super) claims: BTreeMap<Bytes, Token>,
}

impl Lease {
    fn hash(&self, id: LeaseId) -> u64 {
        ItemHash::new(Kind::Lease)
            .word(id)
            .word(self.ttl_ms)
            .finish()
    }
}

/// All leases. A clone shares them; who then changes one copies that one.
#[derive(Clone, Default)]
pub(super) struct Leases {
    map: BTreeMap<LeaseId, Arc<Lease>>,
    hash: HashSum,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The hash of what a snapshot has of them; the keys and claims are in the hash with the keys and claims.
    pub(super) fn hash(&self) -> u64 {
        self.hash.value()
    }

    #[cfg(test)]
    pub(super) fn hash_anew(&self) -> u64 {
        let mut sum = HashSum::default();
        self.map
            .iter()
            .for_each(|(&id, lease)| sum.add(lease.hash(id)));
        sum.value()
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.map.get(&id).map(|lease| &**lease)
    }

    /// All leases, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (LeaseId, &Lease)> {
        self.map.iter().map(|(&id, lease)| (id, &**lease))
    }

    /// The leases behind this one, ascending.
    pub(super) fn behind(&self, id: LeaseId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let behind = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.map.range(behind).map(|(&id, lease)| (id, &**lease))
    }

    /// Makes a lease.
    pub(super) fn grant(&mut self, id: LeaseId, ttl_ms: u64) {
        let lease = Lease {
            ttl_ms,
            ..Lease::default()
        };
        self.hash.add(lease.hash(id));
        self.map.insert(id, Arc::new(lease));
    }

    /// Ends a lease; the keys and claims are the caller's to end.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.map.remove(&id)?;
        self.hash.remove(lease.hash(id));
        Some(Arc::unwrap_or_clone(lease))
    }

    /// A key lives by this lease from now on, and no more by that one; 0 is none of both.
    pub(super) fn move_key(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if let Some(lease) = self.map.get_mut(&from) {
            Arc::make_mut(lease).keys.remove(key);
        }
        if let Some(lease) = self.map.get_mut(&to) {
            Arc::make_mut(lease).keys.insert(key.clone());
        }
    }

    /// A claim lives by this lease.
    pub(super) fn add_claim(&mut self, id: LeaseId, lock: &Bytes, token: Token) {
        if let Some(lease) = self.map.get_mut(&id) {
            Arc::make_mut(lease).claims.insert(lock.clone(), token);
        }
    }

    /// The claim of this lease on a lock is gone.
    pub(super) fn drop_claim(&mut self, id: LeaseId, lock: &Bytes) {
        if let Some(lease) = self.map.get_mut(&id) {
            Arc::make_mut(lease).claims.remove(lock);
        }
    }
}
