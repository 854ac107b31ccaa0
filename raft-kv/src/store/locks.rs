//! Locks: for each a queue of claims, of which the first holds it.
//!
//! Guards: tokens of a lock only rise, since each is the revision at which its claim was made; so a lock passes on in the order in which it was
//! asked for, and no two claims ever have the same token.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::hash::{HashSum, ItemHash, Kind};
use crate::api::{Claim, LeaseId, Token};

/// A claim without its token.
#[derive(Clone)]
struct Place {
    lease: LeaseId,
    value: Bytes,
}

impl Place {
    fn hash(&self, lock: &[u8], token: Token) -> u64 {
        ItemHash::new(Kind::Claim)
            .bytes(lock)
            .word(token)
            .word(self.lease)
            .bytes(&self.value)
            .finish()
    }

    fn claim(&self, token: Token) -> Claim {
        Claim {
            token,
            lease: self.lease,
            value: self.value.clone(),
        }
    }
}

type Queue = BTreeMap<Token, Place>;

/// All locks that anyone claims. A clone shares their queues; who then changes one copies it.
#[derive(Clone, Default)]
pub(super) struct Locks {
    map: BTreeMap<Bytes, Arc<Queue>>,
    claims: usize,
    hash: HashSum,
}

impl Locks {
    /// How many claims there are on all locks.
    pub(super) fn claim_count(&self) -> usize {
        self.claims
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.value()
    }

    #[cfg(test)]
    pub(super) fn hash_anew(&self) -> u64 {
        let mut sum = HashSum::default();
        for (lock, queue) in &self.map {
            assert!(!queue.is_empty());
            for (&token, place) in &**queue {
                sum.add(place.hash(lock, token));
            }
        }
        sum.value()
    }

    /// The claims on a lock, the holder's first.
    pub(super) fn queue(&self, lock: &[u8]) -> impl Iterator<Item = Claim> + use<'_> {
        let queue = self.map.get(lock).into_iter().flat_map(|queue| &**queue);
        queue.map(|(&token, place)| place.claim(token))
    }

    /// How many claims there are on a lock.
    pub(super) fn queue_len(&self, lock: &[u8]) -> usize {
        self.map.get(lock).map_or(0, |queue| queue.len())
    }

    /// How many claims stand before this one.
    pub(super) fn ahead(&self, lock: &[u8], token: Token) -> u64 {
        let queue = self.map.get(lock);
        queue.map_or(0, |queue| queue.range(..token).count() as u64)
    }

    /// All claims, ascending by lock, then token.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, Claim)> {
        self.map.iter().flat_map(|(lock, queue)| {
            let claims = queue.iter();
            claims.map(move |(&token, place)| (lock, place.claim(token)))
        })
    }

    /// The claim with this token.
    pub(super) fn get(&self, lock: &[u8], token: Token) -> Option<Claim> {
        let place = self.map.get(lock)?.get(&token)?;
        Some(place.claim(token))
    }

    /// Puts a claim at its place, or changes the one with its token. Says how name and claim are kept: as copies of their own.
    pub(super) fn set(&mut self, lock: &[u8], claim: &Claim) -> (Bytes, Claim) {
        let place = Place {
            lease: claim.lease,
            value: Bytes::copy_from_slice(&claim.value),
        };
        self.hash.add(place.hash(lock, claim.token));
        let kept = place.claim(claim.token);
        let name = match self.map.get_key_value(lock) {
            Some((name, _)) => name.clone(),
            None => Bytes::copy_from_slice(lock),
        };
        let queue = Arc::make_mut(self.map.entry(name.clone()).or_default());
        match queue.insert(claim.token, place) {
            Some(before) => self.hash.remove(before.hash(lock, claim.token)),
            None => self.claims += 1,
        }
        (name, kept)
    }

    /// Takes a claim out.
    pub(super) fn remove(&mut self, lock: &[u8], token: Token) -> Option<(Bytes, Claim)> {
        let name = self.map.get_key_value(lock)?.0.clone();
        let queue = Arc::make_mut(self.map.get_mut(lock)?);
        let place = queue.remove(&token)?;
        if queue.is_empty() {
            self.map.remove(lock);
        }
        self.claims -= 1;
        self.hash.remove(place.hash(lock, token));
        Some((name, place.claim(token)))
    }
}
