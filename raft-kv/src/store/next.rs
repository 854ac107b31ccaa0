//! What cluster version 2 would bring, in the build that plays the next release: see `wire/next.rs`.

use bytes::{Bytes, BytesMut};

use super::Store;
use crate::api::CommandReply;

impl Store {
    /// Writes a value behind the one that stands at a key.
    pub(super) fn append(&mut self, key: &Bytes, value: &Bytes) -> CommandReply {
        let mut whole = BytesMut::new();
        let lease = self.keys.record(key).map_or(0, |record| {
            whole.extend_from_slice(&record.value);
            record.lease
        });
        whole.extend_from_slice(value);
        self.put_alone(key, &whole.freeze(), lease, false)
    }
}
