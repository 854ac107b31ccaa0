//! The lines of a trace, made small: names once, repeated values once, and of a node's state only what has changed.
//!
//! A value is a number, a text, a boolean, null, or an array: `[-1, …]` is a list, `[-2, n]` is the n-th of the values, and `[n, …]`
//! is an object of the n-th shape. A shape is the names of the fields, a word that is always the same beside its name; the array
//! holds the others. `model.js` reads this.

use std::collections::{BTreeMap, HashMap};

use super::Field;

/// Fields whose values are the same again and again.
const REPEATED: [&str; 5] = ["from", "to", "vote", "membership", "cluster"];

type Shape = Vec<(&'static str, Option<&'static str>)>;
type Fields = Vec<(&'static str, Field)>;

/// Takes lines, one after the other.
#[derive(Debug, Default)]
pub(super) struct Packer {
    shapes: HashMap<Shape, usize>,
    values: HashMap<Field, usize>,
    /// Packed, in their order.
    kept_shapes: Vec<String>,
    kept_values: Vec<String>,
    records: Vec<String>,
    time: u64,
    states: BTreeMap<u64, Fields>,
}

impl Packer {
    /// Takes a line. Its step is its place; its time is the time since the line before.
    pub(super) fn record(&mut self, line: Field) {
        let Field::Object(fields) = line else {
            return;
        };
        let node = fields.iter().find_map(|(name, value)| match value {
            Field::Number(node) if *name == "node" => Some(*node),
            _ => None,
        });
        let mut kept = Fields::new();
        for (name, value) in fields {
            match (name, value) {
                ("step", _) => {}
                ("time_ns", Field::Number(time)) => {
                    kept.push(("since_ns", Field::Number(time - self.time)));
                    self.time = time;
                }
                ("state", state) => {
                    let changed = self.changed(node.unwrap_or_default(), state);
                    kept.push(("state", changed));
                }
                other => kept.push(other),
            }
        }
        let mut out = String::new();
        self.object(&kept, &mut out);
        self.records.push(out);
    }

    /// What has changed of a node's state; 0: nothing; null: it has none.
    fn changed(&mut self, node: u64, state: Field) -> Field {
        let Field::Object(state) = state else {
            self.states.remove(&node);
            return Field::Null;
        };
        let before = self.states.get(&node);
        let is_new =
            |field: &&(&'static str, Field)| before.is_none_or(|before| !before.contains(field));
        let changed: Fields = state.iter().filter(is_new).cloned().collect();
        self.states.insert(node, state);
        if changed.is_empty() {
            Field::Number(0)
        } else {
            Field::Object(changed)
        }
    }

    fn object(&mut self, fields: &[(&'static str, Field)], out: &mut String) {
        let shape: Shape = fields
            .iter()
            .map(|(name, value)| match value {
                Field::Word(word) => (*name, Some(*word)),
                _ => (*name, None),
            })
            .collect();
        let next = self.kept_shapes.len();
        let id = *self.shapes.entry(shape).or_insert_with_key(|shape| {
            self.kept_shapes.push(text(shape));
            next
        });
        out.push('[');
        out.push_str(&id.to_string());
        for (name, value) in fields {
            if matches!(value, Field::Word(_)) {
                continue;
            }
            out.push(',');
            let is_long = matches!(value, Field::Object(_) | Field::Text(_));
            if is_long && REPEATED.contains(name) {
                let id = self.repeated(value);
                out.push_str(&format!("[-2,{id}]"));
            } else {
                self.value(value, out);
            }
        }
        out.push(']');
    }

    fn repeated(&mut self, value: &Field) -> usize {
        if let Some(&id) = self.values.get(value) {
            return id;
        }
        let mut packed = String::new();
        self.value(value, &mut packed);
        let id = self.kept_values.len();
        self.kept_values.push(packed);
        self.values.insert(value.clone(), id);
        id
    }

    fn value(&mut self, value: &Field, out: &mut String) {
        match value {
            Field::Object(fields) => self.object(fields, out),
            Field::List(items) => {
                out.push_str("[-1");
                for item in items {
                    out.push(',');
                    self.value(item, out);
                }
                out.push(']');
            }
            plain => out.push_str(&text(plain)),
        }
    }

    /// All of it, as JSON; `about` is JSON too.
    pub(super) fn finish(self, about: &str) -> String {
        format!(
            "{{\"about\":{about},\n\"shapes\":[{}],\n\"values\":[{}],\n\"records\":[\n{}]}}",
            self.kept_shapes.join(","),
            self.kept_values.join(","),
            self.records.join(",\n")
        )
    }
}

/// Plain data as JSON, which cannot fail.
fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
