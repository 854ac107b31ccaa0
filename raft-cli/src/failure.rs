//! How a command fails: exit status, words, and whether it may have done something.

use std::io;

use raft_kv::client::{
    Cause, ConnectError, EndpointAnswer, Failure as ClientFailure, ReadError, WriteError,
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
                        "the condition does not hold: key {} has another value, revision {}",
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

fn unavailable(failure: &ClientFailure, message: String) -> Failure {
    let unreachable = |answer: &EndpointAnswer| {
        matches!(
            answer,
            EndpointAnswer::Unreachable(_) | EndpointAnswer::Connecting | EndpointAnswer::NotAsked
        )
    };
    let hint = if failure.cause != Cause::Deadline {
        None
    } else if failure
        .endpoints
        .iter()
        .all(|report| unreachable(&report.answer))
    {
        Some("is the cluster running there? --endpoints or RAFT_ENDPOINTS names other addresses")
    } else {
        Some(
            "without a leader nothing works: a majority of the members must run and reach each other; see `raft-cli status`",
        )
    };
    Failure {
        hint,
        ..Failure::new(Exit::Unavailable, message)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_reader_that_went_away_is_no_error() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_broken_pipe());
    }
}
