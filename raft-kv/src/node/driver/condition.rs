//! What keeps the node from its work and is not for its peers to mend: said once in the log, and to whoever asks for the status.

use tracing::{info, warn};

/// How long an unformed node waits before it says so: most clusters form at once.
const PATIENCE_TICKS: u64 = 100;

/// The node's own condition.
#[derive(Debug, Default)]
pub(super) struct Condition {
    no_space: bool,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    what_for: String,
    since_ticks: u64,
    said: bool,
}

impl Condition {
    /// Whether the disk has no room for the log.
    pub(super) fn full(&mut self, full: bool) {
        match (std::mem::replace(&mut self.no_space, full), full) {
            (false, true) => warn!("the disk is full: no commands are taken until there is room"),
            (true, false) => info!("the disk has room again"),
            _ => {}
        }
    }

    /// What an unformed node waits for at this moment; none once the cluster is formed.
    pub(super) fn waits_for(&mut self, what_for: Option<String>, now_ticks: u64) {
        let Some(what_for) = what_for else {
            self.waiting = None;
            return;
        };
        match &mut self.waiting {
            Some(waiting) if waiting.what_for == what_for => {
                if !waiting.said && now_ticks - waiting.since_ticks >= PATIENCE_TICKS {
                    waiting.said = true;
                    warn!("the cluster is not formed yet: {what_for}");
                }
            }
            _ => {
                self.waiting = Some(Waiting {
                    what_for,
                    since_ticks: now_ticks,
                    said: false,
                });
            }
        }
    }

    /// In words, for the status.
    pub(super) fn troubles(&self) -> impl Iterator<Item = String> {
        self.no_space
            .then(|| "the disk is full".to_owned())
            .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_shows_until_there_is_room_again() {
        let mut condition = Condition::default();
        condition.full(false);
        assert_eq!(condition.troubles().count(), 0);
        condition.full(true);
        assert_eq!(
            condition.troubles().collect::<Vec<_>>(),
            ["the disk is full"]
        );
        condition.full(false);
        assert_eq!(condition.troubles().count(), 0);
    }

    #[test]
    fn waiting_is_said_once_and_only_when_it_lasts() {
        let mut condition = Condition::default();
        let mut said = |what_for: Option<&str>, ticks| {
            condition.waits_for(what_for.map(str::to_owned), ticks);
            condition
                .waiting
                .as_ref()
                .is_some_and(|waiting| waiting.said)
        };
        assert!(!said(Some("n2"), 0));
        assert!(!said(Some("n2"), 99));
        assert!(said(Some("n2"), 100));
        assert!(!said(Some("n3"), 150), "something else");
        assert!(said(Some("n3"), 250));
        assert!(!said(None, 260));
    }
}
