//! A place in the log: segment and byte.

/// A place in the stream of segments. Positions only grow; their order is the order of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The number of the segment; the first is 1, and 0 is before everything.
    pub segment: u64,
    /// The byte within the segment's file.
    pub offset: u32,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {} of segment {}", self.offset, self.segment)
    }
}
