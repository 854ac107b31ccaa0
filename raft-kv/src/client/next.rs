//! What a client of the next release could ask for, in the build that plays it: see `wire/next.rs`.

use bytes::Bytes;

use super::handle::Client;
use super::write::{WriteError, Written, unfit, write};
use crate::api::{CommandReply, Operation};

impl Client {
    /// Writes a value behind the one that stands at a key.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn append(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Written, WriteError> {
        let operation = Operation::Append {
            key: key.into(),
            value: value.into(),
        };
        match write(self, operation).await? {
            (header, CommandReply::Put { revision, previous }) => Ok(Written {
                revision,
                previous,
                header,
            }),
            _ => Err(unfit()),
        }
    }
}
