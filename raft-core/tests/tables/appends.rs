//! What a follower does with an append, and where the leader looks next (paper §5.3).

use raft_core::{AppendResult, Boot, Index, LogId, Message, RequestId};

use crate::harness::{Cluster, scripted_entry};
use crate::{config, last_of, logs, make_leader, say, status, terms_on_disk};

fn append(prev: LogId, terms: &[u64], commit: u64) -> Message {
    let ids = (prev.index.0 + 1..).zip(terms);
    Message::AppendRequest {
        id: RequestId {
            boot: Boot(1),
            number: 1,
        },
        prev,
        entries: ids
            .map(|(index, &term)| scripted_entry(LogId::new(index, term)))
            .collect(),
        commit: Index(commit),
    }
}

/// The last answer that is on its way to an append.
fn answer(cluster: &Cluster) -> AppendResult {
    match cluster.net.back().unwrap().message {
        Message::AppendResponse { result, .. } => result,
        ref other => panic!("{other:?}"),
    }
}

/// A follower n1 with this log, of which `commit` is committed, and the term of its log.
fn follower(log: &[u64], commit: u64) -> Cluster {
    let mut cluster = Cluster::scripted(config(), &[log.to_vec(), vec![], vec![]], &[]);
    if commit > 0 {
        let term = last_of(log).term.0;
        say(&mut cluster, 3, 1, term, append(last_of(log), &[], commit));
    }
    cluster.net.clear();
    cluster
}

/// S-C12, S-C13: an empty append to [1,2], of which 1 is committed.
#[test]
fn an_empty_append_verifies_or_is_refused() {
    let conflict = |prev, hint: (u64, u64)| AppendResult::Conflict {
        prev: Index(prev),
        hint: LogId::new(hint.0, hint.1),
    };
    for (prev, expected) in [
        (LogId::ZERO, AppendResult::Matched(Index(1))),
        (LogId::new(1, 1), AppendResult::Matched(Index(1))),
        (LogId::new(2, 2), AppendResult::Matched(Index(2))),
        (LogId::new(2, 1), conflict(2, (1, 1))),
        (LogId::new(3, 3), conflict(3, (2, 2))),
    ] {
        let mut cluster = follower(&[1, 2], 1);
        say(&mut cluster, 2, 1, 3, append(prev, &[], 0));
        assert_eq!(answer(&cluster), expected, "prev {prev}");
        assert_eq!(terms_on_disk(&cluster, 1), [1, 2]);
    }
}

/// S-C14, S-C17: what stays, what goes, and from where on something is written; nothing is, where nothing is new.
#[test]
fn only_what_differs_is_written() {
    for (log, prev, entries, after, cut, written) in [
        (&[1, 2][..], 2, &[3][..], &[1, 2, 3][..], None, 1),
        (&[1, 2], 1, &[3, 4], &[1, 3, 4], Some(2), 2),
        (&[1, 2], 0, &[1], &[1, 2], None, 0),
        (&[1, 2], 0, &[3], &[3], Some(1), 1),
        (&[1, 2, 3], 0, &[1, 2], &[1, 2, 3], None, 0),
        (&[1, 2, 3], 1, &[2, 3], &[1, 2, 3], None, 0),
        (&[1, 2, 3], 0, &[1, 2, 3, 4], &[1, 2, 3, 4], None, 1),
        (&[1, 2, 3], 0, &[1, 4, 4], &[1, 4, 4], Some(2), 2),
    ] {
        let mut cluster = follower(log, 0);
        cluster.node(1).hold = true;
        let prev = last_of(&log[..prev]);
        say(&mut cluster, 2, 1, 4, append(prev, entries, 0));
        let job = cluster.nodes[&1].jobs.back();
        let wrote = job.map_or(0, |job| job.entries.len());
        let cuts = job.and_then(|job| job.truncate_from);
        assert_eq!(
            (cuts, wrote),
            (cut.map(Index), written),
            "{entries:?} after {prev} in {log:?}"
        );
        cluster.save(1, usize::MAX);
        assert_eq!(terms_on_disk(&cluster, 1), after);
    }
}

/// S-C16, F-P7: every log against every append: nothing that is committed is ever cut, nothing that matches is rewritten, and what is there
/// afterwards is what Log Matching says.
#[test]
fn every_append_to_every_log() {
    for log in logs(3, 3) {
        for leader in logs(3, 4) {
            for prev in 0..=leader.len() {
                let commit = log.len().min(1) as u64;
                let mut cluster = follower(&log, commit);
                let prev_id = last_of(&leader[..prev]);
                say(&mut cluster, 2, 1, 4, append(prev_id, &leader[prev..], 0));
                let has_prev = prev == 0 || log.get(prev - 1) == leader.get(prev - 1);
                let agree = (prev..leader.len().min(log.len()))
                    .find(|&at| log[at] != leader[at])
                    .unwrap_or(leader.len().min(log.len()));
                let conflicts = agree < log.len() && agree < leader.len();
                let refused = !has_prev || conflicts && (agree as u64) < commit;
                let grows = conflicts || leader.len() > log.len();
                let expected = match !refused && grows {
                    true => [&log[..agree], &leader[agree..]].concat(),
                    false => log.clone(),
                };
                assert_eq!(
                    terms_on_disk(&cluster, 1),
                    expected,
                    "{leader:?} from {prev} to {log:?}"
                );
            }
        }
    }
}

/// S-C19 to S-C23: a new leader (n1) probes at the end of the log it had; the follower (n2) refuses with a hint; the next probe is where
/// the two may agree. Whole terms are skipped from either side.
#[test]
fn hints_skip_whole_terms() {
    let long = |first: &[u64], term: u64, count: usize| [first, &vec![term; count]].concat();
    for (leader, follower, hint, next) in [
        (vec![1, 2, 2, 4, 4, 4, 4], long(&[1, 2, 2], 3, 8), (7, 3), 3),
        (
            vec![1, 2, 2, 3, 4, 4, 4, 5],
            long(&[1, 2, 2], 3, 8),
            (8, 3),
            4,
        ),
        (vec![1, 1, 1, 1], vec![1, 2, 2, 4], (1, 1), 1),
        (vec![1, 1, 1, 1, 1, 1], vec![1, 2, 2, 4], (1, 1), 1),
        (vec![1, 1, 1, 1], vec![1, 2, 2, 4, 4, 4], (1, 1), 1),
        (vec![1, 1, 1, 4, 5], vec![1, 1, 1, 4], (4, 4), 4),
        (long(&[2], 5, 8), long(&[2], 4, 5), (6, 4), 1),
        (vec![2; 5], long(&[2], 4, 7), (1, 2), 1),
    ] {
        let logs = [leader.clone(), follower.clone(), leader.clone()];
        let mut cluster = Cluster::scripted(config(), &logs, &[5, 5, 5]);
        make_leader(&mut cluster, 1);
        let (probe, others): (Vec<_>, Vec<_>) = std::mem::take(&mut cluster.net)
            .into_iter()
            .partition(|envelope| envelope.to.node.0 == 2);
        assert_eq!(others.len(), 1, "one append to n3");
        probe
            .into_iter()
            .for_each(|envelope| cluster.deliver(envelope));
        let (hint, prev) = (LogId::new(hint.0, hint.1), last_of(&leader).index);
        assert_eq!(
            answer(&cluster),
            AppendResult::Conflict { prev, hint },
            "{follower:?} refuses {leader:?}"
        );
        let refusal = cluster.net.pop_back().unwrap();
        cluster.deliver(refusal);
        let Message::AppendRequest { prev, .. } = cluster.net.back().unwrap().message else {
            panic!("no probe follows");
        };
        assert_eq!(prev.index.0, next, "after {hint} from {follower:?}");
        // From there it is a matter of a few exchanges (S-C18).
        cluster.net.clear();
        for _ in 0..12 {
            cluster.tick(1, 1);
            cluster.settle();
        }
        assert_eq!(terms_on_disk(&cluster, 2), [&leader[..], &[6]].concat());
        assert_eq!(status(&cluster, 2).commit, status(&cluster, 1).commit);
    }
}
