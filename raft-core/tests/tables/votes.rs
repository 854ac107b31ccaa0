//! Who is elected, and who gets a vote (paper §5.2, §5.4.1).

use raft_core::{LogId, Message, RequestId, RoleName};

use crate::harness::{Cluster, member};
use crate::{config, last_of, logs, make_candidate, say, status, vote_request};

/// S-B3, S-B4, S-B5: a candidate of one, three and five voters, with every answer that the others can give: it leads with a majority,
/// follows at once when none can come any more, and else goes on asking.
#[test]
fn every_outcome_of_one_round() {
    for voters in [1_u32, 3, 5] {
        for code in 0..3_u32.pow(voters - 1) {
            let mut cluster = Cluster::scripted(config(), &vec![Vec::new(); voters as usize], &[]);
            cluster.node(1).hold = true;
            if voters == 1 {
                while status(&cluster, 1).role != RoleName::Candidate {
                    cluster.tick(1, 1);
                }
                cluster.save(1, 1);
                assert_eq!(status(&cluster, 1).role, RoleName::Leader);
                continue;
            }
            while status(&cluster, 1).role != RoleName::Candidate {
                cluster.tick(1, 1);
                (0..cluster.net.len()).for_each(|_| {
                    let envelope = cluster.net.pop_front().unwrap();
                    cluster.deliver(envelope);
                });
            }
            cluster.save(1, 1);
            let id = vote_request(&cluster, 1);
            cluster.net.clear();
            let (mut yes, mut no) = (1, 0);
            for voter in 2..=voters {
                let granted = match code / 3_u32.pow(voter - 2) % 3 {
                    0 => continue,
                    answer => answer == 1,
                };
                if granted {
                    yes += 1;
                } else {
                    no += 1;
                }
                let answer = Message::VoteResponse { id, granted };
                say(&mut cluster, voter.into(), 1, 1, answer);
            }
            let expected = if 2 * yes > voters {
                RoleName::Leader
            } else if 2 * (voters - no) <= voters {
                RoleName::Follower
            } else {
                RoleName::Candidate
            };
            let status = status(&cluster, 1);
            assert_eq!(
                (status.role, status.term.0),
                (expected, 1),
                "{voters} voters, {yes} yes, {no} no"
            );
        }
    }
}

/// Paper §5.4.1, word for word: "If the logs have last entries with different terms, then the log with the later term is more up-to-date.
/// If the logs end with the same term, then whichever log is longer is more up-to-date."
fn as_up_to_date(candidate: LogId, voter: LogId) -> bool {
    if candidate.term != voter.term {
        candidate.term > voter.term
    } else {
        candidate.index >= voter.index
    }
}

/// S-B7, S-B8, S-B9, F-P5: every log of up to three entries in three terms asks every other for its vote, and for its pre-vote. The term is
/// taken either way.
#[test]
fn every_log_asks_every_other() {
    let term = 9;
    for voter in logs(3, 3) {
        for candidate in logs(3, 3) {
            let (has, last) = (last_of(&voter), last_of(&candidate));
            let mut cluster =
                Cluster::scripted(config(), &[voter.clone(), Vec::new(), Vec::new()], &[]);
            let id = RequestId {
                boot: raft_core::Boot(1),
                number: 1,
            };
            say(
                &mut cluster,
                2,
                1,
                term,
                Message::PreVoteRequest { id, last },
            );
            let before = status(&cluster, 1);
            assert_eq!(before.term, has.term, "a pre-vote changes nothing");
            let transfer = false;
            let request = Message::VoteRequest { id, last, transfer };
            say(&mut cluster, 2, 1, term, request);
            let after = status(&cluster, 1);
            assert_eq!(after.term.0, term);
            let expected = as_up_to_date(last, has);
            assert_eq!(
                after.voted_for,
                expected.then_some(member(2)),
                "{voter:?} votes for {candidate:?}"
            );
            let answers: Vec<bool> = cluster
                .net
                .iter()
                .map(|envelope| match envelope.message {
                    Message::PreVoteResponse { granted, .. }
                    | Message::VoteResponse { granted, .. } => granted,
                    ref other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(answers, [expected, expected], "{voter:?}, {candidate:?}");
        }
    }
}

/// S-B6: who has a vote to give: whoever has given none in this term, or gave it to the same candidate.
#[test]
fn a_vote_is_given_once() {
    for (before, asks, granted) in [
        (None, 2, true),
        (None, 3, true),
        (Some(2), 2, true),
        (Some(3), 3, true),
        (Some(2), 3, false),
        (Some(3), 2, false),
    ] {
        let mut cluster = Cluster::scripted(config(), &vec![vec![1]; 3], &[2, 2, 2]);
        let request = |number| Message::VoteRequest {
            id: RequestId {
                boot: raft_core::Boot(1),
                number,
            },
            last: LogId::new(1, 1),
            transfer: false,
        };
        if let Some(first) = before {
            say(&mut cluster, first, 1, 2, request(1));
        }
        cluster.net.clear();
        say(&mut cluster, asks, 1, 2, request(2));
        let answer = &cluster.net[0].message;
        assert!(
            matches!(answer, Message::VoteResponse { granted: said, .. } if *said == granted),
            "voted for {before:?}, asked by {asks}: {answer:?}"
        );
    }
}

/// A sanity check of the helper that the other tables begin with.
#[test]
fn a_candidate_has_asked_everyone() {
    let mut cluster = Cluster::scripted(config(), &vec![Vec::new(); 5], &[]);
    make_candidate(&mut cluster, 3);
    assert_eq!(cluster.net.len(), 4);
    assert_eq!(status(&cluster, 3).role, RoleName::Candidate);
}
