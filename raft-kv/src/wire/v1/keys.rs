//! Ranges of keys, and queries over them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::pack::Slice;
use crate::api::{KeyRange, Query};

#[derive(Serialize, Deserialize)]
pub(super) enum KeyRangeV1<'a> {
    Key(#[serde(borrow)] Slice<'a>),
    Prefix(Slice<'a>),
    Range(Slice<'a>, Option<Slice<'a>>),
}

impl<'a> From<&'a KeyRange> for KeyRangeV1<'a> {
    fn from(range: &'a KeyRange) -> Self {
        match range {
            KeyRange::Key(key) => Self::Key(Slice(key)),
            KeyRange::Prefix(prefix) => Self::Prefix(Slice(prefix)),
            KeyRange::Range(from, to) => Self::Range(Slice(from), to.as_ref().map(|to| Slice(to))),
        }
    }
}

impl KeyRangeV1<'_> {
    pub(super) fn share(self, body: &Bytes) -> KeyRange {
        match self {
            Self::Key(key) => KeyRange::Key(key.share(body)),
            Self::Prefix(prefix) => KeyRange::Prefix(prefix.share(body)),
            Self::Range(from, to) => KeyRange::Range(from.share(body), to.map(|to| to.share(body))),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct QueryV1<'a> {
    #[serde(borrow)]
    keys: KeyRangeV1<'a>,
    limit: u64,
    keys_only: bool,
    count_only: bool,
    reverse: bool,
    revision: u64,
}

impl<'a> From<&'a Query> for QueryV1<'a> {
    fn from(query: &'a Query) -> Self {
        let Query {
            keys,
            limit,
            keys_only,
            count_only,
            reverse,
            revision,
        } = query;
        Self {
            keys: keys.into(),
            limit: *limit,
            keys_only: *keys_only,
            count_only: *count_only,
            reverse: *reverse,
            revision: *revision,
        }
    }
}

impl QueryV1<'_> {
    pub(super) fn share(self, body: &Bytes) -> Query {
        Query {
            keys: self.keys.share(body),
            limit: self.limit,
            keys_only: self.keys_only,
            count_only: self.count_only,
            reverse: self.reverse,
            revision: self.revision,
        }
    }
}
