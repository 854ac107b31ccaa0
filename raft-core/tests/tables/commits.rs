//! When a leader commits (paper §5.3, §5.4.2).

use raft_core::{AppendResult, Envelope, Index, LogId, Message, RequestId};

use crate::harness::Cluster;
use crate::{config, last_of, make_leader, say, status, terms_on_disk};

/// The number of a request of n1.
fn request(envelope: &Envelope) -> RequestId {
    match envelope.message {
        Message::AppendRequest { id, .. } => id,
        ref other => panic!("{other:?}"),
    }
}

fn acknowledge(cluster: &mut Cluster, from: u64, id: RequestId, index: u64) {
    let term = status(cluster, 1).term.0;
    let answer = Message::AppendResponse {
        id,
        result: AppendResult::Matched(Index(index)),
    };
    say(cluster, from, 1, term, answer);
}

/// S-C4, S-C6, F-P4: one, three and five voters; every set of disks that has the entry, the leader's own counted by the same rule.
/// It is committed when that is a majority, and applied when the leader's own disk has it as well.
#[test]
fn every_set_of_disks() {
    for voters in [1_u32, 3, 5] {
        for set in 0..1_u32 << voters {
            let mut cluster = Cluster::scripted(config(), &vec![Vec::new(); voters as usize], &[]);
            if voters == 1 {
                while cluster.leader().is_none() {
                    cluster.tick(1, 1);
                }
            } else {
                make_leader(&mut cluster, 1);
                cluster.settle();
            }
            cluster.node(1).hold = true;
            cluster.propose(1, &["x"]).unwrap();
            // What is acknowledged is there: the checker looks at the disks.
            let append: Vec<_> = std::mem::take(&mut cluster.net).into();
            let number = append.iter().map(request).max();
            for envelope in append {
                if set >> (envelope.to.node.0 - 1) & 1 == 1 {
                    cluster.deliver(envelope);
                }
            }
            cluster.net.clear();
            for other in (2..=voters).filter(|voter| set >> (voter - 1) & 1 == 1) {
                acknowledge(&mut cluster, other.into(), number.unwrap(), 2);
            }
            let own = set & 1 == 1;
            if own {
                cluster.save(1, 1);
            }
            let committed = 2 * set.count_ones() > voters;
            let status = status(&cluster, 1);
            assert_eq!(
                status.commit.0 == 2,
                committed,
                "{voters} voters, on disks {set:b}"
            );
            assert_eq!(status.applied.0 == 2, committed && own);
        }
    }
}

/// S-C8, F-P1: a leader of term 3 with the log [1,2] and its no-op. A majority that has entry 1, or 2, commits nothing; one that has
/// entry 3 commits all.
#[test]
fn only_entries_of_the_own_term_are_counted() {
    for (matched, commit) in [(1, 0), (2, 0), (3, 3)] {
        let mut cluster = Cluster::scripted(config(), &vec![vec![1, 2]; 3], &[]);
        make_leader(&mut cluster, 1);
        assert_eq!(status(&cluster, 1).last, LogId::new(3, 3));
        // n2 has all three entries; it is made to acknowledge fewer.
        let appends: Vec<_> = std::mem::take(&mut cluster.net).into();
        let number = appends.iter().map(request).max().unwrap();
        let to_n2 = appends.into_iter().filter(|e| e.to.node.0 == 2);
        to_n2.for_each(|envelope| cluster.deliver(envelope));
        cluster.net.clear();
        acknowledge(&mut cluster, 2, number, matched);
        assert_eq!(status(&cluster, 1).commit.0, commit, "matched {matched}");
    }
}

/// S-C7: whatever its log held, a new leader commits all of it with its no-op, and applies it in order, each entry once.
#[test]
fn all_before_the_noop_is_committed_with_it() {
    for log in [vec![], vec![2], vec![1, 2], vec![1]] {
        let mut cluster = Cluster::scripted(config(), &vec![log.clone(); 3], &[2, 2, 2]);
        make_leader(&mut cluster, 1);
        cluster.settle();
        for _ in 0..6 {
            cluster.tick(1, 1);
            cluster.settle();
        }
        let expected = [&log[..], &[3]].concat();
        for id in 1..=3 {
            assert_eq!(terms_on_disk(&cluster, id), expected);
            let applied = &cluster.nodes[&id].applied;
            let ids: Vec<LogId> = applied.iter().map(|entry| entry.id).collect();
            let wanted: Vec<LogId> = (1..)
                .zip(&expected)
                .map(|(i, &t)| LogId::new(i, t))
                .collect();
            assert_eq!(ids, wanted, "n{id}");
            assert_eq!(status(&cluster, id).last, last_of(&expected));
        }
    }
}
