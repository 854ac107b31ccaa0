//! How commands look in logs: keys are shown, and of values only the lengths.

use std::fmt;

use bytes::Bytes;

use super::{Condition, KeyValue, Operation};

/// Bytes that are not shown: values do not belong in logs.
pub(crate) struct Hidden<'a>(pub(crate) &'a Bytes);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl fmt::Debug for Operation {
    /// Shows keys, but of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegisterSession => f.write_str("RegisterSession"),
            Self::EndSession => f.write_str("EndSession"),
            Self::Put {
                key,
                value,
                lease,
                want_previous,
                conditions,
            } => f
                .debug_struct("Put")
                .field("key", key)
                .field("value", &Hidden(value))
                .field("lease", lease)
                .field("want_previous", want_previous)
                .field("conditions", conditions)
                .finish(),
            Self::Delete {
                keys,
                want_previous,
                conditions,
            } => f
                .debug_struct("Delete")
                .field("keys", keys)
                .field("want_previous", want_previous)
                .field("conditions", conditions)
                .finish(),
            #[cfg(raft_kv_next)]
            Self::Append { key, value } => f
                .debug_struct("Append")
                .field("key", key)
                .field("value", &Hidden(value))
                .finish(),
            Self::SetClusterVersion { version, release } => f
                .debug_struct("SetClusterVersion")
                .field("version", version)
                .field("release", release)
                .finish(),
            Self::Transaction(transaction) => transaction.fmt(f),
            Self::Grant { ttl_ms } => f.debug_struct("Grant").field("ttl_ms", ttl_ms).finish(),
            Self::Revoke { lease } => f.debug_struct("Revoke").field("lease", lease).finish(),
            Self::Expire { leases } => f.debug_struct("Expire").field("leases", leases).finish(),
            Self::Claim {
                lock,
                lease,
                value,
                queue,
            } => f
                .debug_struct("Claim")
                .field("lock", lock)
                .field("lease", lease)
                .field("value", &Hidden(value))
                .field("queue", queue)
                .finish(),
            Self::Release { lock, token } => f
                .debug_struct("Release")
                .field("lock", lock)
                .field("token", token)
                .finish(),
            Self::Compact { revision } => f
                .debug_struct("Compact")
                .field("revision", revision)
                .finish(),
        }
    }
}

impl fmt::Debug for Condition {
    /// Shows keys, but of a value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { key } => f.debug_struct("Absent").field("key", key).finish(),
            Self::ModRevision { key, revision } => f
                .debug_struct("ModRevision")
                .field("key", key)
                .field("revision", revision)
                .finish(),
            Self::Value { key, value } => f
                .debug_struct("Value")
                .field("key", key)
                .field("value", &Hidden(value))
                .finish(),
            Self::Compare {
                key,
                relation,
                field,
            } => f
                .debug_struct("Compare")
                .field("key", key)
                .field("relation", relation)
                .field("field", field)
                .finish(),
            Self::Holds { lock, token } => f
                .debug_struct("Holds")
                .field("lock", lock)
                .field("token", token)
                .finish(),
        }
    }
}

impl fmt::Debug for KeyValue {
    /// Shows the key, but of the value only its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.key)
            .field("value", &Hidden(&self.value))
            .field("create_revision", &self.create_revision)
            .field("mod_revision", &self.mod_revision)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}
