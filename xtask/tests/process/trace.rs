//! Reads what `strace -f -ttt -T -yy` writes: calls with their beginning and end, put together where they were
//! interrupted.

use std::collections::HashMap;

/// One finished system call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// Such as `fdatasync`.
    pub(crate) name: String,
    /// All between the parentheses, with paths and addresses beside the descriptors.
    pub(crate) arguments: String,
    /// Its result as printed.
    pub(crate) result: String,
    /// When it began, in seconds of the wall clock.
    pub(crate) begun: f64,
    /// When it returned.
    pub(crate) ended: f64,
}

impl Call {
    /// What the first argument names: a path or a connection.
    pub(crate) fn target(&self) -> &str {
        let target = self.arguments.split_once('<').map_or("", |(_, rest)| rest);
        // A path ends at `>`; a connection holds `->`.
        let end = target
            .match_indices('>')
            .find(|(at, _)| *at == 0 || target.as_bytes()[at - 1] != b'-');
        end.map_or(target, |(at, _)| &target[..at])
    }

    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync") && self.result == "0"
    }

    pub(crate) fn is_file_write(&self) -> bool {
        matches!(
            self.name.as_str(),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2"
        ) && self.target().starts_with('/')
    }

    pub(crate) fn is_send(&self) -> bool {
        matches!(
            self.name.as_str(),
            "write" | "writev" | "sendto" | "sendmsg"
        ) && self.target().starts_with("TCP")
    }

    pub(crate) fn is_receive(&self) -> bool {
        matches!(
            self.name.as_str(),
            "read" | "readv" | "recvfrom" | "recvmsg"
        ) && self.target().starts_with("TCP")
    }
}

/// All calls of a trace that returned, in the order in which they began.
pub(crate) fn parse(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, (f64, String)> = HashMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((time, rest)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let Ok(time) = time.parse::<f64>() else {
            continue;
        };
        if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (time, begin.trim_end().to_owned()));
            continue;
        }
        let resumed = rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"));
        let (begun, whole) = match resumed {
            Some((_, end)) => {
                let Some((begun, begin)) = unfinished.remove(thread) else {
                    continue;
                };
                (begun, begin + end)
            }
            None => (time, rest.to_owned()),
        };
        calls.extend(finished(begun, &whole));
    }
    calls.sort_by(|a, b| a.begun.total_cmp(&b.begun));
    calls
}

/// Reads `name(arguments) = result … <duration>`.
fn finished(begun: f64, whole: &str) -> Option<Call> {
    let (name, rest) = whole.split_once('(')?;
    let (call, duration) = rest.strip_suffix('>')?.rsplit_once(" <")?;
    let (arguments, result) = call.rsplit_once(" = ")?;
    Some(Call {
        name: name.to_owned(),
        arguments: arguments.trim_end().strip_suffix(')')?.to_owned(),
        result: result.to_owned(),
        begun,
        ended: begun + duration.parse::<f64>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
12 100.000010 pwrite64(9</d/n1/1.seg>, \"a = (b) needle\\0\", 14, 4096) = 14 <0.000020>
12 100.000100 fdatasync(9</d/n1/1.seg> <unfinished ...>
13 100.000150 recvfrom(11<TCP:[127.0.0.1:7101->127.0.0.1:5000]>, \"x\", 8192, 0, NULL, NULL) = 1 <0.000005>
13 100.000170 read(12<TCP:[127.0.0.1:7101->127.0.0.1:5001]>, 0x7f, 10) = -1 EAGAIN (Resource temporarily unavailable) <0.000004>
12 100.000600 <... fdatasync resumed>) = 0 <0.000500>
13 100.000700 sendto(11<TCP:[127.0.0.1:7101->127.0.0.1:5000]>, \"ok\", 2, MSG_NOSIGNAL, NULL, 0) = 2 <0.000009>
12 100.000800 +++ exited with 0 +++
";

    #[test]
    fn calls_are_read_and_put_together() {
        let calls = parse(TRACE);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(
            names,
            ["pwrite64", "fdatasync", "recvfrom", "read", "sendto"]
        );
        let sync = &calls[1];
        assert!(sync.is_sync() && sync.target() == "/d/n1/1.seg", "{sync:?}");
        assert!((sync.ended - 100.000_600).abs() < 1e-6);
        assert!(calls[0].is_file_write() && calls[0].arguments.contains("needle"));
        assert!(calls[2].is_receive() && calls[4].is_send());
        assert_eq!(calls[4].target(), "TCP:[127.0.0.1:7101->127.0.0.1:5000]");
    }
}
