//! A value of the trace as JSON has it, with its names in the order in which they are written.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Field {
    Null,
    Bool(bool),
    Number(u64),
    /// One of a few words that the code knows.
    Word(&'static str),
    Text(String),
    List(Vec<Field>),
    Object(Vec<(&'static str, Field)>),
}

impl Field {
    /// A list of what these become.
    pub(super) fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_u64(*value),
            Self::Word(value) => serializer.serialize_str(value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl From<bool> for Field {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Field {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<usize> for Field {
    fn from(value: usize) -> Self {
        Self::Number(value as u64)
    }
}

impl From<&'static str> for Field {
    fn from(value: &'static str) -> Self {
        Self::Word(value)
    }
}

impl From<String> for Field {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<const N: usize> From<[(&'static str, Self); N]> for Field {
    fn from(fields: [(&'static str, Self); N]) -> Self {
        Self::Object(fields.into())
    }
}
