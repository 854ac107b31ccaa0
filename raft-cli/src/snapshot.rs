//! snapshot save, verify: a backup of the whole cluster, as a file.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use raft_kv::backup::{Backup, BackupError, Draft, DraftError, Summary};
use raft_kv::client::{BackupFailure, BackupStream};
use serde_json::json;

use crate::args::SnapshotCommand;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};

pub(crate) async fn snapshot(context: &mut Context, command: SnapshotCommand) -> Outcome {
    match command {
        SnapshotCommand::Save { file, force } => save(context, &file, force).await,
        SnapshotCommand::Verify { file } => {
            let backup = blocking(move || Backup::read(&file)).await?;
            print(context, &backup?.summary())
        }
    }
}

async fn save(context: &mut Context, file: &Path, force: bool) -> Outcome {
    if file == Path::new("-") {
        let why = "a backup goes into a file, and not to standard output; give its name";
        return Err(Failure::new(Exit::Usage, why));
    }
    // Asked first: nobody wants to hear at the end that it was for nothing.
    let mut draft = Draft::create(file, force)?;
    let caught = context.interrupt.catch();
    // For the beginning, and then for each piece: how long a whole one takes depends on its size.
    let client = context.client();
    let fetched = async {
        let mut stream = client.backup().await?;
        fetch(&mut stream, &mut draft, file).await
    };
    tokio::select! {
        fetched = fetched => fetched?,
        () = caught.typed() => {
            return Err(Failure::new(Exit::Other, "interrupted; nothing was saved"));
        }
    }
    drop(caught);
    let backup = blocking(move || draft.finish()).await??;
    print(context, &backup.summary())
}

async fn fetch(stream: &mut BackupStream, draft: &mut Draft, file: &Path) -> Result<(), Failure> {
    let bar = bar();
    while let Some(bytes) = stream.next().await? {
        draft.write_all(&bytes).map_err(|error| {
            let file = file.display();
            Failure::new(Exit::Other, format!("{file} cannot be written: {error}"))
        })?;
        bar.set_position(stream.received());
    }
    bar.finish_and_clear();
    Ok(())
}

/// How much has come, for who watches. How much will come, nobody knows before.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} ({bytes_per_sec}) {elapsed}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What may wait for the disk, or take long.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(run).await;
    done.map_err(|error| Failure::new(Exit::Other, format!("it cannot be read back: {error}")))
}

fn print(context: &mut Context, summary: &Summary) -> Outcome {
    let Summary {
        cluster,
        last,
        revision,
        keys,
        bytes,
        checksum,
        state_hash,
    } = *summary;
    let (state_hash, checksum) = (format!("{state_hash:016x}"), format!("{checksum:08x}"));
    if context.output.is_json() {
        context.output.json(&json!({
            "cluster": cluster.to_string(),
            "index": last.index.0,
            "term": last.term.0,
            "revision": revision,
            "keys": keys,
            "bytes": bytes,
            "checksum": checksum,
            "state_hash": state_hash,
        }))?;
        return Ok(());
    }
    let lines = [
        ("cluster", cluster.to_string()),
        ("last entry", last.to_string()),
        ("revision", revision.to_string()),
        ("keys", keys.to_string()),
        ("bytes", bytes.to_string()),
        ("checksum", checksum),
        ("state hash", state_hash),
    ];
    for (name, value) in lines {
        context.output.line(format_args!("{name:<11} {value}"))?;
    }
    Ok(())
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        let exit = match error {
            BackupError::Missing { .. } => Exit::NotFound,
            _ => Exit::Other,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<DraftError> for Failure {
    fn from(error: DraftError) -> Failure {
        Failure::new(Exit::Other, error.to_string())
    }
}

impl From<BackupFailure> for Failure {
    fn from(error: BackupFailure) -> Failure {
        match error {
            BackupFailure::NotBegun(error) => Failure::from(error),
            error => Failure::new(Exit::Unavailable, error.to_string())
                .hint("begin it again; --timeout is how long the node may be silent"),
        }
    }
}
