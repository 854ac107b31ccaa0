//! One line of a listing: the same fields for people and as JSON.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use raft_log::Position;
use serde_json::{Map, Value, json};

use crate::flags::LogFormat;

/// What it is about, and fields in their order.
pub(crate) struct Line {
    item: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    pub(crate) fn new(item: &'static str) -> Self {
        Self {
            item,
            fields: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, value: Value) {
        self.fields.push((name, value));
    }

    /// For people, what is null is left out.
    pub(crate) fn print(self, out: &mut impl Write, format: LogFormat) -> io::Result<()> {
        match format {
            LogFormat::Json => {
                let item = ("item".to_owned(), json!(self.item));
                let fields = self
                    .fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                let object: Map<String, Value> = std::iter::once(item).chain(fields).collect();
                serde_json::to_writer(&mut *out, &object)?;
            }
            LogFormat::Text => {
                out.write_all(self.item.as_bytes())?;
                for (name, value) in self.fields.iter().filter(|(_, value)| !value.is_null()) {
                    write!(out, " {name}={}", brief(value))?;
                }
            }
        }
        out.write_all(b"\n")
    }
}

/// A place as `segment:offset`, an entry as `index@term`, a row of numbers as `first..last`; all else as in JSON.
fn brief(value: &Value) -> String {
    for (one, two, between) in [
        ("segment", "offset", ":"),
        ("index", "term", "@"),
        ("first", "last", ".."),
    ] {
        if let (Some(one), Some(two)) = (value.get(one), value.get(two)) {
            return format!("{one}{between}{two}");
        }
    }
    value.to_string()
}

/// A place in the log.
pub(crate) fn position(position: Position) -> Value {
    json!({ "segment": position.segment, "offset": position.offset })
}

/// The first and the last of a row of numbers; null if there is none.
pub(crate) fn numbers(numbers: &RangeInclusive<u64>) -> Value {
    if numbers.is_empty() {
        return Value::Null;
    }
    json!({ "first": numbers.start(), "last": numbers.end() })
}
