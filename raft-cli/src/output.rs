//! Printing: text or JSON on standard output, errors on standard error.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use raft_kv::api::KeyValue;
use raft_kv::base64;
use serde_json::{Value, json};

use crate::args::Format;
use crate::failure::Failure;

/// Standard output. Nothing may be lost on the way: what fails to be written is an error.
pub(crate) struct Output {
    pub(crate) format: Format,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Output {
        Output {
            format,
            out: BufWriter::with_capacity(64 << 10, io::stdout()),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Bytes as they are, without a newline.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// One object a line.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Nothing is kept back: whoever waits at the other end of a pipe sees it now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Reports a failure: on standard error, and, as JSON, on standard output too.
    pub(crate) fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        let printed = if self.is_json() && !failure.answered {
            self.json(&failure.json())
        } else {
            Ok(())
        };
        // What stands on standard output comes first. That it cannot be written is no reason to be silent.
        let printed = printed.and_then(|()| self.flush());
        // A standard error that cannot be written to leaves nobody to tell.
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "error: {}", one_line(&failure.message));
        if let Some(hint) = failure.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
        printed
    }
}

/// What nodes say must not break the one line, nor play with the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A key or value in JSON: a string where it is UTF-8, and `{"base64": …}` where not.
pub(crate) fn bytes_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::encode(bytes) }),
    }
}

/// Adds a field to an object.
pub(crate) fn add(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

/// A key in a message for people.
pub(crate) struct Bytes64<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Bytes64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => write!(f, "base64:{}", base64::encode(self.0)),
        }
    }
}

/// A key with all that is kept with it.
pub(crate) fn kv_json(kv: &KeyValue) -> Value {
    json!({
        "key": bytes_json(&kv.key),
        "value": bytes_json(&kv.value),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "lease": if kv.lease == 0 { Value::Null } else { json!(kv.lease) },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn bytes_are_strings_where_they_can_be() {
        assert_eq!(bytes_json("ü\n".as_bytes()), json!("ü\n"));
        assert_eq!(bytes_json(&[0xff]), json!({"base64": "/w=="}));
        let kv = KeyValue {
            key: Bytes::from_static(b"a"),
            value: Bytes::from_static(b"\xff"),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            lease: 0,
        };
        assert_eq!(
            kv_json(&kv),
            json!({
                "key": "a", "value": {"base64": "/w=="}, "create_revision": 2, "mod_revision": 3, "version": 2,
                "lease": null
            })
        );
    }

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a b [31m");
    }
}
