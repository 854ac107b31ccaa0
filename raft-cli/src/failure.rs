//! How a command fails: exit status, words, and whether it may have done something.

use std::io;

use bytes::Bytes;
use raft_kv::api::{KeyValue, RequestError};
use raft_kv::client::{
    AdminError, Cause, ConnectError, EndpointAnswer, Failure as ClientFailure, ReadError,
    WriteError,
};
use serde_json::{Value, json};

use crate::output::{Bytes64, add, kv_json};

/// The exit statuses of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Done = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    ConditionFailed = 4,
    Unavailable = 6,
    Unknown = 7,
    Refused = 9,
    Unhealthy = 10,
}

impl Exit {
    /// The code in JSON.
    fn code(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Other => "other",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::ConditionFailed => "condition_failed",
            Exit::Unavailable => "unavailable",
            Exit::Unknown => "unknown",
            Exit::Refused => "refused",
            Exit::Unhealthy => "unhealthy",
        }
    }
}

/// Why a command has not done what it was to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
    /// More fields for JSON.
    details: Option<(&'static str, Value)>,
    /// The answer itself was printed and says it all: no error object besides.
    pub(crate) answered: bool,
}

/// How commands end.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            hint: None,
            details: None,
            answered: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Failure {
        self.hint = Some(hint);
        self
    }

    /// The answer itself is printed, and says it all.
    pub(crate) fn answered(mut self) -> Failure {
        self.answered = true;
        self
    }

    /// Standard output was closed by whoever read it: there is nobody to tell.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.exit == Exit::Done
    }

    /// As `-o json` prints it.
    pub(crate) fn json(&self) -> Value {
        let mut error = json!({
            "code": self.exit.code(),
            "message": self.message,
            "maybe_applied": self.exit == Exit::Unknown,
        });
        if let Some((field, value)) = &self.details {
            add(&mut error, field, value.clone());
        }
        json!({ "error": error })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Done, "");
        }
        Failure::new(Exit::Other, format!("cannot write the output: {error}"))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        Failure::usage(error.to_string())
    }
}

/// What a write was to depend on, to say which part of it did not hold.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) absent: bool,
    pub(crate) revision: Option<u64>,
    pub(crate) value: Option<Bytes>,
}

impl Conditions {
    /// The failure of a write of `key` that was sent with these conditions.
    pub(crate) fn failure(&self, key: &[u8], error: WriteError) -> Failure {
        let why = match &error {
            WriteError::ConditionFailed { current, .. } => self.why(key, current.as_ref()),
            _ => None,
        };
        let mut failure = Failure::from(error);
        if let Some(why) = why {
            failure.message = format!("the condition does not hold: {why}");
        }
        failure
    }

    /// The first condition that does not hold of what stands there.
    fn why(&self, key: &[u8], current: Option<&KeyValue>) -> Option<String> {
        let key = Bytes64(key);
        let Some(current) = current else {
            let needed =
                self.revision.is_some_and(|revision| revision != 0) || self.value.is_some();
            return needed.then(|| format!("there is no key {key}"));
        };
        let at = current.mod_revision;
        if self.absent || self.revision == Some(0) {
            return Some(format!("key {key} exists already (revision {at})"));
        }
        match self.revision {
            Some(revision) if revision != at => {
                Some(format!("key {key} is at revision {at}, not {revision}"))
            }
            _ => (self.value.as_ref()? != &current.value)
                .then(|| format!("key {key} has another value (revision {at})")),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        match error {
            ReadError::Refused(error) => Failure::new(Exit::Refused, error.to_string()),
            ReadError::Unavailable(failure) => unavailable(&failure, failure.to_string()),
            error => Failure::new(Exit::Other, error.to_string()),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        let message = error.to_string();
        match error {
            WriteError::ConditionFailed { current, .. } => {
                let message = match &current {
                    Some(kv) => format!(
                        "the condition does not hold: key {} is at revision {}",
                        Bytes64(&kv.key),
                        kv.mod_revision
                    ),
                    None => "the condition does not hold: there is no such key".to_owned(),
                };
                let current = current.as_ref().map_or(Value::Null, kv_json);
                Failure { details: Some(("current", current)), ..Failure::new(Exit::ConditionFailed, message) }
            }
            WriteError::Refused(_) => Failure::new(Exit::Refused, message),
            WriteError::NotApplied(failure) => unavailable(&failure, message),
            WriteError::Unknown(_) => Failure::new(Exit::Unknown, message)
                .hint("look at the key before you try again: the write may have been applied, or may yet be"),
            _ => Failure::new(Exit::Other, message),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        let message = error.to_string();
        match error {
            AdminError::Refused(_) => Failure::new(Exit::Refused, message),
            AdminError::NotApplied(failure) => unavailable(&failure, message),
            AdminError::Unknown(_) => Failure::new(Exit::Unknown, message)
                .hint("see `raft-cli member list`; asking again is safe"),
            _ => Failure::new(Exit::Other, message),
        }
    }
}

/// Whether the cluster has a leader, as far as this endpoint said.
fn leader_known(answer: &EndpointAnswer) -> bool {
    matches!(
        answer,
        EndpointAnswer::Leads | EndpointAnswer::Follows(Some(_))
    )
}

fn disk_full(answer: &EndpointAnswer) -> bool {
    matches!(answer, EndpointAnswer::Error(RequestError::Full))
}

/// Whether nothing was heard from this endpoint about the cluster.
fn unanswered(answer: &EndpointAnswer) -> bool {
    matches!(
        answer,
        EndpointAnswer::Unreachable(_)
            | EndpointAnswer::Connecting
            | EndpointAnswer::NotAsked
            | EndpointAnswer::Silent
    )
}

fn unavailable(failure: &ClientFailure, message: String) -> Failure {
    let some = |says: fn(&EndpointAnswer) -> bool| {
        failure.endpoints.iter().any(|report| says(&report.answer))
    };
    let hint = if failure.cause != Cause::Deadline {
        None
    } else if some(disk_full) {
        Some(
            "make room on the disks that `raft-cli status` names, but delete nothing in a data directory; writes go on by themselves then, and reads all the time",
        )
    } else if some(leader_known) {
        Some(
            "there is a leader, but no answer came in time: raise --timeout, or see by `raft-cli status` whether a majority of the members runs",
        )
    } else if some(|answer| !unanswered(answer)) {
        Some(
            "without a leader nothing works: a majority of the members must run and reach each other; see `raft-cli status`",
        )
    } else if some(|answer| matches!(answer, EndpointAnswer::Silent | EndpointAnswer::Connecting)) {
        Some(
            "nobody answered in time: is --timeout long enough, and the cluster running there (--endpoints or RAFT_ENDPOINTS)?",
        )
    } else {
        Some("is the cluster running there? --endpoints or RAFT_ENDPOINTS names other addresses")
    };
    Failure {
        hint,
        ..Failure::new(Exit::Unavailable, message)
    }
}

#[cfg(test)]
mod tests {
    use raft_kv::client::EndpointReport;

    use super::*;

    #[test]
    fn the_json_of_an_error_says_whether_it_may_have_been_applied() {
        let failure = ClientFailure {
            cause: Cause::Deadline,
            endpoints: Vec::new(),
        };
        let unknown = Failure::from(WriteError::Unknown(failure.clone()));
        assert_eq!(unknown.exit as u8, 7);
        assert_eq!(
            unknown.json(),
            json!({"error": {
                "code": "unknown", "message": "unknown whether it was applied: no answer in time", "maybe_applied": true
            }})
        );
        let not_applied = Failure::from(WriteError::NotApplied(failure));
        assert_eq!(not_applied.exit as u8, 6);
        assert_eq!(not_applied.json()["error"]["maybe_applied"], json!(false));
    }

    #[test]
    fn the_condition_that_failed_is_the_one_that_is_named() {
        let current = KeyValue {
            key: Bytes::from_static(b"a"),
            value: Bytes::from_static(b"v"),
            create_revision: 2,
            mod_revision: 6,
            version: 3,
            lease: 0,
        };
        let cases = [
            (true, None, None, "key \"a\" exists already (revision 6)"),
            (
                false,
                Some(0),
                None,
                "key \"a\" exists already (revision 6)",
            ),
            (false, Some(4), None, "key \"a\" is at revision 6, not 4"),
            (
                false,
                Some(4),
                Some("x"),
                "key \"a\" is at revision 6, not 4",
            ),
            (
                false,
                Some(6),
                Some("x"),
                "key \"a\" has another value (revision 6)",
            ),
            (
                false,
                None,
                Some("x"),
                "key \"a\" has another value (revision 6)",
            ),
        ];
        for (absent, revision, value, said) in cases {
            let conditions = Conditions {
                absent,
                revision,
                value: value.map(Bytes::from),
            };
            assert_eq!(conditions.why(b"a", Some(&current)).as_deref(), Some(said));
        }
        let conditions = Conditions {
            revision: Some(6),
            ..Conditions::default()
        };
        assert_eq!(
            conditions.why(b"a", None).as_deref(),
            Some("there is no key \"a\"")
        );
    }

    #[test]
    fn the_hint_fits_what_the_endpoints_said() {
        let cases = [
            (EndpointAnswer::Leads, "raise --timeout"),
            (EndpointAnswer::Error(RequestError::Full), "make room"),
            (EndpointAnswer::Follows(None), "without a leader"),
            (
                EndpointAnswer::Unreachable(String::new()),
                "is the cluster running",
            ),
            (EndpointAnswer::Silent, "is --timeout long enough"),
            (EndpointAnswer::Connecting, "is --timeout long enough"),
        ];
        for (answer, hint) in cases {
            let endpoints = [EndpointAnswer::Unreachable(String::new()), answer]
                .into_iter()
                .map(|answer| EndpointReport {
                    address: "a:1".to_owned(),
                    answer,
                })
                .collect();
            let failure = ClientFailure {
                cause: Cause::Deadline,
                endpoints,
            };
            let failure = Failure::from(WriteError::NotApplied(failure));
            assert!(failure.hint.unwrap().contains(hint), "{failure:?}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_broken_pipe());
    }
}
