//! What the nodes say: the last lines are kept, and shown on a terminal as they come.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How many of a node's last lines are kept for whoever has to find out why it ended.
const LINES_KEPT: usize = 2_000;

/// Whether a node's lines are also written to standard error as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Only kept.
    Off,
    /// Written as `n1 | line`.
    Plain,
    /// The same, `n1 |` in a colour of the node's own.
    Coloured,
}

/// The last lines that a node wrote, of all its lives.
#[derive(Clone)]
pub struct Journal {
    id: u8,
    echo: Echo,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Journal {
    /// An empty journal for node `id`.
    #[must_use]
    pub fn new(id: u8, echo: Echo) -> Journal {
        Journal {
            id,
            echo,
            lines: Arc::default(),
        }
    }

    /// Reads lines from `source` on a thread until it ends.
    pub(super) fn follow(&self, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let journal = self.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            // A process that writes something other than UTF-8 is still worth reading.
            while source
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                journal.add(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        })
    }

    fn add(&self, line: &str) {
        let id = self.id;
        let shown = match self.echo {
            Echo::Off => None,
            Echo::Plain => Some(format!("n{id} | {line}\n")),
            Echo::Coloured => Some(format!("\x1b[{}mn{id} |\x1b[0m {line}\n", colour(id))),
        };
        if let Some(shown) = shown {
            // In one piece, so that nobody else's output gets in between. Whoever closed standard error wants no logs.
            let _ = io::stderr().lock().write_all(shown.as_bytes());
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The kept lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// The newest line that says something.
    #[must_use]
    pub fn last_line(&self) -> Option<String> {
        self.lines()
            .into_iter()
            .rev()
            .find(|line| !line.trim().is_empty())
    }
}

/// A colour that reads well on dark and on light, one a node.
fn colour(id: u8) -> u8 {
    [36, 33, 35, 32, 34, 31]
        .get(usize::from(id.saturating_sub(1)) % 6)
        .copied()
        .unwrap_or(36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_lines_whatever_bytes_they_are() {
        let journal = Journal::new(1, Echo::Off);
        let mut text: Vec<u8> = (0..LINES_KEPT + 5)
            .flat_map(|n| format!("line {n}\n").into_bytes())
            .collect();
        text.extend(b"not \xff UTF-8\n\n");
        journal.follow(io::Cursor::new(text)).join().unwrap();
        let lines = journal.lines();
        assert_eq!(lines.len(), LINES_KEPT);
        assert_eq!(lines[0], "line 7");
        assert_eq!(journal.last_line().unwrap(), "not \u{fffd} UTF-8");
    }
}
