//! Why bytes were refused.

use raft_core::MembershipError;

/// Why bytes could not be decoded. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They are of a version that this release does not know: they come from a newer one, or are no encoding of ours.
    #[error(
        "{what}: format version {version} is unknown to this release (it knows up to {newest}); upgrade this node"
    )]
    UnknownVersion {
        /// What was to be decoded.
        what: &'static str,
        /// The version found.
        version: u8,
        /// The newest version that this release decodes.
        newest: u8,
    },
    /// A number that says what follows is none that this version has.
    #[error("{what}: kind {kind} is unknown")]
    UnknownKind {
        /// What was to be decoded.
        what: &'static str,
        /// The number found.
        kind: u8,
    },
    /// The bytes end too early.
    #[error("{what}: the bytes end too early")]
    Truncated {
        /// What was to be decoded.
        what: &'static str,
    },
    /// Bytes are left over.
    #[error("{what}: {bytes} bytes are left over")]
    Remainder {
        /// What was to be decoded.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
    /// A count or a length is over its limit; nothing was allocated for it.
    #[error("{what}: {count} is over the limit of {max}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there were said to be.
        count: u64,
        /// How many there may be.
        max: u64,
    },
    /// A field holds what it cannot hold.
    #[error("{what}: {detail}")]
    Malformed {
        /// What was to be decoded.
        what: &'static str,
        /// What is wrong.
        detail: &'static str,
    },
    /// A membership contradicts itself.
    #[error("membership: {0}")]
    Membership(#[from] MembershipError),
}
