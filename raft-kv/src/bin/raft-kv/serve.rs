//! Running a node until it ends.

use std::io::{IsTerminal, Read};

use raft_kv::node::formation::FormationError;
use raft_kv::node::replica::{Fatal, ReplicaError};
use raft_kv::node::server::Server;
use raft_kv::node::{Exit, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::flags::LogFormat;
use crate::settings::Settings;
use crate::{EXIT_DATA, EXIT_OTHER, EXIT_USAGE, Failure};

/// How many threads serve connections and the node's loop; the log has threads of its own.
const WORKERS_MAX: usize = 2;

/// Runs a node until it is told to stop.
pub(crate) fn serve(settings: Settings) -> Result<(), Failure> {
    start_log(settings.log_format);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .enable_all()
        .build()
        .map_err(|error| Failure::new(EXIT_OTHER, format!("no threads can be started: {error}")))?;
    let result = runtime.block_on(run(settings));
    // Whatever still runs has nothing to say any more; and a thread that hangs in a disk that failed must not keep the
    // process.
    runtime.shutdown_background();
    result
}

async fn run(settings: Settings) -> Result<(), Failure> {
    // Before anything that takes long, so that no signal is lost.
    let unable = |error| Failure::new(EXIT_OTHER, format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unable)?;
    let stdin_ended = stdin_ended(settings.exit_with_stdin);
    tokio::pin!(stdin_ended);
    let mut server = Server::start(settings.node)
        .await
        .map_err(|error| Failure::new(start_status(&error), error.to_string()))?;
    let mut stopping = false;
    let mut signalled = false;
    let exit = loop {
        let signal = tokio::select! {
            exit = server.ended() => break exit,
            _ = terminate.recv() => Some("SIGTERM"),
            _ = interrupt.recv() => Some("SIGINT"),
            () = &mut stdin_ended, if !stopping => None,
        };
        match signal {
            Some(name) if signalled => {
                return Err(Failure::new(
                    EXIT_OTHER,
                    format!(
                        "{name} again: ended at once, without closing the log; what was acknowledged is on the disk"
                    ),
                ));
            }
            Some(name) => info!("{name}: stopping; once more to end at once"),
            None => info!("standard input has ended: stopping"),
        }
        stopping = true;
        signalled |= signal.is_some();
        server.stop();
    };
    match exit {
        Exit::Stopped => {
            info!("stopped");
            Ok(())
        }
        exit => Err(Failure::new(exit_status(&exit), exit.to_string())),
    }
}

fn start_status(error: &StartError) -> u8 {
    match error {
        StartError::Config(_)
        | StartError::Replica(ReplicaError::Config(_) | ReplicaError::Founders(_)) => EXIT_USAGE,
        StartError::Directory(_) | StartError::Replica(_) => EXIT_DATA,
        _ => EXIT_OTHER,
    }
}

fn exit_status(exit: &Exit) -> u8 {
    match exit {
        Exit::Log(_)
        | Exit::Snapshot(_)
        | Exit::Fatal(
            Fatal::Formation(FormationError::OtherIncarnation { .. }) | Fatal::Apply { .. },
        ) => EXIT_DATA,
        _ => EXIT_OTHER,
    }
}

/// Ends when standard input does; never, when nobody wants to know.
async fn stdin_ended(wanted: bool) {
    let (sender, ended) = oneshot::channel::<()>();
    if wanted {
        // A thread of its own: reading standard input cannot be given up.
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
            drop(sender);
        });
        let _ = ended.await;
    } else {
        std::future::pending::<()>().await;
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written is lost: complaining about it on the same standard error would end the process.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => log.json().init(),
    }
}
