//! What goes out: effects that are ready, and envelopes that wait for the disk.
//!
//! Guards: no envelope leaves before what it says, and the term that it is stamped with, is durable.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::message::Envelope;
use crate::types::{Index, JobId};

/// An envelope that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    until: JobId,
    /// The highest index that it vouches for.
    vouches_for: Option<Index>,
    envelope: Envelope,
}

/// How many envelopes may wait. Beyond it the oldest is lost, as any message may be: a disk that stands still must not fill the
/// memory with answers that nobody waits for any more.
const HELD_MAX: usize = 4096;

/// Effects and envelopes on their way to the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    ready: VecDeque<Effect>,
    held: VecDeque<Held>,
}

impl Outbox {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }

    /// Sends an envelope once every job up to `until` is durable: at once, when there is none to wait for.
    pub(crate) fn send(
        &mut self,
        until: Option<JobId>,
        vouches_for: Option<Index>,
        envelope: Envelope,
    ) {
        match until {
            Some(until) => {
                if self.held.len() >= HELD_MAX {
                    self.held.pop_front();
                }
                self.held.push_back(Held {
                    until,
                    vouches_for,
                    envelope,
                });
            }
            None => self.ready.push_back(Effect::Send(envelope)),
        }
    }

    /// Every job up to `id` is durable: takes out what waited for nothing more.
    pub(crate) fn release(&mut self, id: JobId) -> Vec<Envelope> {
        let (go, stay) = core::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.until <= id);
        self.held = stay;
        let go: VecDeque<Held> = go;
        go.into_iter().map(|held| held.envelope).collect()
    }

    /// The term has changed: what was to be said in the old one is not said any more. Messages may be lost, so this may be.
    pub(crate) fn drop_held(&mut self) {
        self.held.clear();
    }

    /// The log was cut at `from`: what vouches for that index or a later one is not said any more.
    pub(crate) fn drop_vouching(&mut self, from: Index) {
        self.held
            .retain(|held| held.vouches_for.is_none_or(|index| index < from));
    }

    /// How many envelopes wait for the disk.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Whether no effect waits for the driver.
    pub(crate) fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// Every envelope that waits for the disk, and the job that it waits for.
    pub(crate) fn each_held(&mut self, visit: &mut dyn FnMut(&mut JobId, &mut Envelope)) {
        for held in &mut self.held {
            visit(&mut held.until, &mut held.envelope);
        }
    }
}
