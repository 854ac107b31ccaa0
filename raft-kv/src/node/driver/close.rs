//! Closing the log when the node was told to stop.

use std::time::Duration;

use raft_log::writer::CloseError;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use crate::node::exit::Exit;

/// How long the log may take to write what it was given and to close: beyond it the disk hangs, and a node that was told to
/// stop must not wait for ever.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Closes the log with `close`, on a thread of its own: one that hangs in the disk must hold up neither the runtime's end nor
/// the process's.
pub(super) async fn close_within(
    limit: Duration,
    close: impl FnOnce() -> Result<(), CloseError> + Send + 'static,
) -> Exit {
    let (done, closed) = oneshot::channel();
    let thread = std::thread::Builder::new().name("raft-log-close".into());
    if let Err(error) = thread.spawn(move || drop(done.send(close()))) {
        return Exit::Log(format!("no thread can be started to close it: {error}"));
    }
    match timeout(limit, closed).await {
        Ok(Ok(Ok(()))) => Exit::Stopped,
        // Nobody was told that what was given up is written.
        Ok(Ok(Err(error @ CloseError::Full { .. }))) => {
            warn!(%error, "stopped on a full disk");
            Exit::Stopped
        }
        Ok(Ok(Err(error))) => Exit::Log(error.to_string()),
        Ok(Err(_)) => Exit::Log("the thread that writes the log has ended".into()),
        Err(_) => Exit::Log(format!(
            "the disk hangs: the log was not written and closed within {limit:?}; what was acknowledged is on the disk"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_hangs_does_not_keep_the_node() {
        let (_hold, hangs) = mpsc::channel::<()>();
        let exit = close_within(Duration::from_millis(20), move || {
            let _ = hangs.recv();
            Ok(())
        })
        .await;
        assert!(
            matches!(&exit, Exit::Log(why) if why.contains("hangs")),
            "{exit}"
        );
    }

    #[tokio::test]
    async fn a_full_disk_is_no_failure_and_anything_else_is() {
        let full = CloseError::Full {
            dir: PathBuf::from("dir"),
            job: 7,
        };
        assert_eq!(
            close_within(CLOSE_MAX, move || Err(full)).await,
            Exit::Stopped
        );
        assert_eq!(close_within(CLOSE_MAX, || Ok(())).await, Exit::Stopped);
        let exit = close_within(CLOSE_MAX, || panic!("as the callback might")).await;
        assert!(matches!(exit, Exit::Log(_)), "{exit}");
    }
}
