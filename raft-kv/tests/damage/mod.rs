//! Bytes that are right, spoilt.

use proptest::prelude::*;
use proptest::sample::Index;

/// One way to spoil them.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Set(Index, u8),
    /// The low bytes of a number, so many of them, as lengths and counts are written.
    Number(Index, u64, usize),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
}

/// Any of them; the numbers, and how many bytes each has, are those given.
pub(crate) fn damage(number: impl Strategy<Value = (u64, usize)>) -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), number).prop_map(|(at, (number, size))| Damage::Number(at, number, size)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..60))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Remove(from, to)),
    ]
}

pub(crate) fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    match damage {
        _ if bytes.is_empty() => {}
        Damage::Set(at, byte) => *at.get_mut(bytes) = *byte,
        Damage::Number(at, number, size) => {
            let at = at.index(bytes.len());
            let low = number.to_le_bytes().into_iter().take(*size);
            for (to, from) in bytes.iter_mut().skip(at).zip(low) {
                *to = from;
            }
        }
        Damage::Insert(at, more) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Remove(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            bytes.drain(from.min(to)..from.max(to));
        }
    }
}
