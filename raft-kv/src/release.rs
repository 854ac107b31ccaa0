//! What this release is called, which version of the protocol it speaks, and which cluster version it follows: the one place where they
//! are raised. How a version is added stands in `ARCHITECTURE.md`, "Changing a format".
//!
//! Under `--cfg raft_kv_next`, a flag of the compiler and no feature of cargo, this is the build of a release that is one version ahead
//! in each (`wire/next.rs`, `store/next.rs`): so that a test can upgrade a cluster before there is anything to upgrade to.

/// The name of this release: what a node says of itself, and what people are told to start.
#[cfg(not(raft_kv_next))]
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The name of this release.
#[cfg(raft_kv_next)]
pub const RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), "-next");

/// The oldest version of the protocol between nodes, and between clients and nodes, that this release speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest.
pub const PROTOCOL_MAX: u16 = if cfg!(raft_kv_next) { 2 } else { 1 };

/// The newest cluster version that this release follows: it can apply every command, and read every state, of this version and all
/// before it.
pub const CLUSTER_VERSION_MAX: u16 = if cfg!(raft_kv_next) { 2 } else { 1 };

/// How long the name of a release may be, in bytes; of a longer one the rest is not kept.
pub const RELEASE_BYTES_MAX: usize = 64;

/// What a node runs: what it says of itself when a connection opens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// Its name, for people.
    pub name: String,
    /// The newest version of the replicated state that it follows.
    pub follows: u16,
}

impl Release {
    /// Of a node that says nothing of it: the first version is followed by every release.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            name: String::new(),
            follows: 1,
        }
    }
}

impl Default for Release {
    /// This release, in the first version.
    fn default() -> Self {
        Self {
            name: RELEASE.to_owned(),
            follows: 1,
        }
    }
}

/// As much of a release's name as is kept.
#[must_use]
pub(crate) fn clip(name: &str) -> &str {
    let mut end = name.len().min(RELEASE_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}
