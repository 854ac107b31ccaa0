//! put, cas, delete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::Bytes;
use raft_kv::api::{KeyRange, KeyValue};
use raft_kv::client::{Put, WriteError, Written};
use serde_json::{Value, json};

use crate::args::{CasArgs, DeleteArgs, PutArgs};
use crate::context::Context;
use crate::failure::{Conditions, Exit, Failure, Outcome};
use crate::output::{add, kv_json};

/// More than any server takes; what is longer need not be read to the end.
const VALUE_BYTES_MAX: u64 = 64 << 20;

pub(crate) async fn put(context: &mut Context, args: PutArgs) -> Outcome {
    let value = value(context, args.value)?;
    let key = Bytes::from(args.key.into_vec());
    let conditions = Conditions {
        absent: args.if_absent,
        revision: args.if_rev,
        value: args.if_value.map(|value| value.into_vec().into()),
    };
    let mut put: Put = context.client().put(key.clone(), value);
    if conditions.absent {
        put = put.if_absent();
    }
    if let Some(revision) = conditions.revision {
        put = put.if_revision(revision);
    }
    if let Some(value) = &conditions.value {
        put = put.if_value(value.clone());
    }
    if args.prev {
        put = put.previous();
    }
    let written = put.await.map_err(|error| conditions.failure(&key, error))?;
    print_written(context, &written, args.prev)
}

/// See `raft-kv/src/wire/next.rs`.
#[cfg(raft_kv_next)]
pub(crate) async fn append(context: &mut Context, key: OsString, value: OsString) -> Outcome {
    let key = Bytes::from(key.into_vec());
    let client = context.client();
    let appended = client.append(key.clone(), value.into_vec()).await;
    let written = appended.map_err(|error| Conditions::default().failure(&key, error))?;
    print_written(context, &written, false)
}

pub(crate) async fn cas(context: &mut Context, args: CasArgs) -> Outcome {
    let new = value(context, args.new)?;
    let (key, old) = (
        Bytes::from(args.key.into_vec()),
        Bytes::from(args.old.into_vec()),
    );
    let swap = context
        .client()
        .compare_and_swap(key.clone(), old.clone(), new);
    match swap.await {
        Ok(written) => print_written(context, &written, false),
        Err(error) => {
            if let (
                WriteError::ConditionFailed {
                    current: Some(current),
                    ..
                },
                false,
            ) = (&error, context.output.is_json())
            {
                context.output.raw(&current.value)?;
                context.output.raw(b"\n")?;
            }
            let conditions = Conditions {
                value: Some(old),
                ..Conditions::default()
            };
            Err(conditions.failure(&key, error))
        }
    }
}

pub(crate) async fn delete(context: &mut Context, args: DeleteArgs) -> Outcome {
    let key = Bytes::from(args.key.unwrap_or_default().into_vec());
    // An empty prefix is more often a variable that is not set than a wish.
    if args.prefix && key.is_empty() && !args.all {
        return Err(Failure::usage("an empty prefix is that of every key")
            .hint("is a variable not set? --all deletes every key"));
    }
    if args.all && !key.is_empty() {
        return Err(Failure::usage(
            "--all deletes every key, so no KEY goes with it",
        ));
    }
    let keys = if args.prefix || args.all {
        KeyRange::Prefix(key.clone())
    } else {
        KeyRange::Key(key.clone())
    };
    let mut delete = context.client().delete(keys);
    if let Some(revision) = args.if_rev {
        delete = delete.if_revision(key.clone(), revision);
    }
    if args.prev {
        delete = delete.previous();
    }
    let conditions = Conditions {
        revision: args.if_rev,
        ..Conditions::default()
    };
    let deleted = delete
        .await
        .map_err(|error| conditions.failure(&key, error))?;
    let output = &mut context.output;
    if output.is_json() {
        let mut answer = json!({ "deleted": deleted.count, "revision": deleted.revision });
        if args.prev {
            add(
                &mut answer,
                "previous",
                deleted.previous.iter().map(kv_json).collect(),
            );
        }
        output.json(&answer)?;
    } else {
        output.line(deleted.count)?;
        for kv in &deleted.previous {
            print_kv(context, kv)?;
        }
    }
    Ok(())
}

/// Key, tab, value.
pub(crate) fn print_kv(context: &mut Context, kv: &KeyValue) -> io::Result<()> {
    context.output.raw(&kv.key)?;
    context.output.raw(b"\t")?;
    context.output.raw(&kv.value)?;
    context.output.raw(b"\n")
}

fn print_written(context: &mut Context, written: &Written, previous: bool) -> Outcome {
    let output = &mut context.output;
    if output.is_json() {
        let mut answer = json!({ "revision": written.revision });
        if previous {
            add(
                &mut answer,
                "previous",
                written.previous.as_ref().map_or(Value::Null, kv_json),
            );
        }
        output.json(&answer)?;
        return Ok(());
    }
    output.line(format_args!("OK {}", written.revision))?;
    if let Some(kv) = &written.previous {
        output.raw(&kv.value)?;
        output.raw(b"\n")?;
    }
    Ok(())
}

/// The value that an argument stands for.
fn value(context: &Context, argument: OsString) -> Result<Bytes, Failure> {
    if argument == "-" {
        if context.owns_stdin {
            let message =
                "standard input holds the commands here, so a value cannot come from it; use @FILE";
            return Err(Failure::usage(message));
        }
        return read(io::stdin().lock(), "standard input");
    }
    match argument.as_bytes().strip_prefix(b"@") {
        Some(path) => {
            let path = OsStr::from_bytes(path);
            let file = File::open(path).map_err(|error| {
                Failure::usage(format!("cannot open {}: {error}", path.display()))
            })?;
            read(file, &path.display().to_string())
        }
        None => Ok(argument.into_vec().into()),
    }
}

fn read(from: impl Read, name: &str) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES_MAX + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::new(Exit::Other, format!("cannot read {name}: {error}")))?;
    if value.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::new(
            Exit::Refused,
            format!("{name} is longer than {VALUE_BYTES_MAX} bytes"),
        ));
    }
    Ok(value.into())
}
