//! What goes out: effects that are ready, and envelopes that wait for the disk.
//!
//! Guards: no envelope leaves before what it says, and the term that it is stamped with, is durable.

use alloc::collections::VecDeque;

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
    #[inline]
    pub(crate) fn push(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    /// The effect that was pushed last.
    #[inline]
    pub(crate) fn newest(&self) -> Option<&Effect> {
        self.ready.back()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }

    /// Keeps an envelope until every job up to `until` is durable.
    #[inline]
    pub(crate) fn hold(&mut self, until: JobId, vouches_for: Option<Index>, envelope: Envelope) {
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back(Held {
            until,
            vouches_for,
            envelope,
        });
    }

    /// Every job up to `id` is durable: the oldest envelope, if it waits for nothing more.
    pub(crate) fn oldest_held(&self, id: JobId) -> Option<&Envelope> {
        let oldest = self.held.front().filter(|oldest| oldest.until <= id);
        oldest.map(|oldest| &oldest.envelope)
    }

    /// Lets the oldest envelope go.
    pub(crate) fn release(&mut self) {
        if let Some(oldest) = self.held.pop_front() {
            self.ready.push_back(Effect::Send(oldest.envelope));
        }
    }

    /// The oldest envelope waits on, behind the others: when each was looked at once, they are in their order again.
    pub(crate) fn hold_on(&mut self) {
        self.held.rotate_left(1.min(self.held.len()));
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

    /// Lets go of envelopes that wait, and of second copies of others.
    pub(crate) fn forget_held(&mut self, gone: impl Fn(&Envelope) -> bool) {
        let mut kept: VecDeque<Held> = VecDeque::new();
        for held in self.held.drain(..) {
            if !gone(&held.envelope) && !kept.contains(&held) {
                kept.push_back(held);
            }
        }
        self.held = kept;
    }

    /// Puts the envelopes that wait in the order of their jobs and of whom they are for.
    pub(crate) fn sort_held(&mut self) {
        let held = self.held.make_contiguous();
        held.sort_by_key(|held| (held.until, held.envelope.to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, RequestId, Sender};
    use crate::types::{Boot, ClusterId, Incarnation, MemberId, NodeId, Term};
    use alloc::vec::Vec;

    fn envelope(number: u64) -> Envelope {
        let (member, boot) = (
            MemberId {
                node: NodeId(1),
                incarnation: Incarnation(1),
            },
            Boot(1),
        );
        Envelope {
            cluster: ClusterId([1; 16]),
            from: Sender { member, boot },
            to: member,
            term: Term(1),
            message: Message::ReadRequest {
                id: RequestId { boot, number },
            },
        }
    }

    /// The numbers of what is ready.
    fn ready(outbox: &mut Outbox, job: u64) -> Vec<u64> {
        for _ in 0..outbox.held_count() {
            match outbox.oldest_held(JobId(job)) {
                Some(_) => outbox.release(),
                None => outbox.hold_on(),
            }
        }
        let number = |effect| match effect {
            Effect::Send(Envelope {
                message: Message::ReadRequest { id },
                ..
            }) => id.number,
            other => panic!("{other:?}"),
        };
        core::iter::from_fn(|| outbox.pop()).map(number).collect()
    }

    /// One that waits for a newer job keeps nobody behind it, and nobody loses its place.
    #[test]
    fn each_waits_for_its_own_job() {
        let mut outbox = Outbox::default();
        for (number, until) in [(1, 2), (2, 1), (3, 3), (4, 1), (5, 2)] {
            outbox.hold(JobId(until), None, envelope(number));
        }
        assert_eq!(ready(&mut outbox, 1), [2, 4]);
        assert_eq!(ready(&mut outbox, 2), [1, 5]);
        assert_eq!(ready(&mut outbox, 3), [3]);
        assert_eq!(ready(&mut outbox, 4), []);
    }
}
