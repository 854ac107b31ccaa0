//! What postcard lacks for us: byte strings that are borrowed, lists with a limit, and no bytes left over.
//!
//! Guards: nothing is copied out of a received body, and nothing is allocated for a count over its limit.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::DecodeError;

/// A byte string, borrowed both ways. (serde writes a plain `&[u8]` element by element.)
#[derive(Clone, Copy)]
pub(super) struct Slice<'a>(pub(super) &'a [u8]);

impl Slice<'_> {
    /// The slice as a share of the body that it was borrowed from.
    pub(super) fn share(self, body: &Bytes) -> Bytes {
        body.slice_ref(self.0)
    }
}

impl Serialize for Slice<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Slice<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Self)
    }
}

/// A list of at most `MAX` elements.
pub(super) struct List<T, const MAX: usize>(pub(super) Vec<T>);

impl<T: Serialize, const MAX: usize> Serialize for List<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        // postcard gives no hint at all where the count is over the bytes left: those elements cannot all be there.
        let count = sequence.size_hint().unwrap_or(0);
        if count > MAX {
            return Err(A::Error::custom("too many elements"));
        }
        let mut list = Vec::with_capacity(count);
        while let Some(element) = sequence.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom("too many elements"));
            }
            list.push(element);
        }
        Ok(List(list))
    }
}

/// Appends a value's postcard form to a buffer.
///
/// # Panics
/// Never: writing to memory cannot fail, and no type of ours has a form that postcard refuses.
pub(super) fn append<T: Serialize>(buffer: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::to_extend(value, buffer).expect("postcard writes every type of the wire to memory")
}

/// A value of exactly these bytes: postcard itself would ignore what is left over.
pub(super) fn unpack<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| match error {
        postcard::Error::DeserializeUnexpectedEnd => DecodeError::Truncated { what },
        _ => DecodeError::Malformed {
            what,
            detail: "a field is not of its type, or over its limit",
        },
    })?;
    match rest.len() {
        0 => Ok(value),
        bytes => Err(DecodeError::Remainder { what, bytes }),
    }
}
