//! Envelopes and disks that contradict themselves or come at an unlucky moment, each of which once panicked the core, deceived it, or made it
//! grow. (The random attack of `hostile.rs` had not found them.)
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use raft_core::{
    Boot, Change, ClusterId, Config, Effect, Entry, Envelope, HardState, Identity, Incarnation,
    Index, JobId, LogId, MemberId, Membership, Message, NodeId, Payload, Raft, RecoverError,
    Recovered, RequestId, RoleName, Seat, Sender, Snapshot, Step, Term,
};

const CLUSTER: ClusterId = ClusterId([1; 16]);

fn member(node: u64, incarnation: u64) -> MemberId {
    MemberId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
    }
}

fn identity(node: u64) -> Identity {
    Identity {
        cluster: CLUSTER,
        member: member(node, node),
        boot: Boot(1),
    }
}

fn config() -> Config {
    Config {
        election_timeout_ticks: 10,
        heartbeat_ticks: 3,
        ..Config::new(1)
    }
}

fn voters(nodes: &[u64]) -> Membership {
    let members = nodes.iter().map(|&node| (member(node, node), Bytes::new()));
    Membership::of_voters(members).unwrap()
}

fn envelope(from: u64, term: u64, message: Message) -> Envelope {
    Envelope {
        cluster: CLUSTER,
        from: Sender {
            member: member(from, from),
            boot: Boot(1),
        },
        to: member(1, 1),
        term: Term(term),
        message,
    }
}

fn request(number: u64) -> RequestId {
    RequestId {
        boot: Boot(1),
        number,
    }
}

fn promotable(incarnation: u64) -> Step {
    Step::Add {
        member: member(4, incarnation),
        context: Bytes::new(),
        seat: Seat::Promotable,
        priority: 0,
    }
}

/// Carries out all but what is sent, which it answers. With `held`, the disk is slow: the newest job is put there. With `applies` unset
/// the state machine is.
fn drive(raft: &mut Raft, mut held: Option<&mut Option<JobId>>, applies: bool) -> Vec<Envelope> {
    let mut sent = Vec::new();
    while let Some(effect) = raft.next_effect() {
        match effect {
            Effect::Persist(job) => match &mut held {
                Some(held) => **held = Some(job.id),
                None => raft.persisted(job.id).unwrap(),
            },
            Effect::Apply(job) if applies => {
                raft.applied(job.entries.last().unwrap().id.index).unwrap();
            }
            // Of the logs here only the founding entry is ever out of memory.
            Effect::FetchLog(job) => {
                let founding = Entry {
                    id: LogId::new(1, 1),
                    payload: Payload::Membership(voters(&[1])),
                };
                raft.fetched(job.id, vec![founding]);
            }
            Effect::Send(envelope) => sent.push(envelope),
            _ => {}
        }
    }
    sent
}

fn leader_alone() -> Raft {
    let mut raft = Raft::bootstrap(config(), identity(1), voters(&[1])).unwrap();
    drive(&mut raft, None, true);
    while raft.role() != RoleName::Leader {
        raft.tick(1);
        drive(&mut raft, None, true);
    }
    raft
}

/// A leader sends a snapshot that contradicts what it has appended: no panic.
#[test]
fn a_snapshot_inside_what_was_verified() {
    let mut raft = Raft::bootstrap(config(), identity(1), voters(&[1, 2, 3])).unwrap();
    drive(&mut raft, None, true);
    let command = |index| Entry {
        id: LogId::new(index, 5),
        payload: Payload::Command(Bytes::from_static(b"x")),
    };
    let append = Message::AppendRequest {
        id: request(1),
        prev: LogId::new(1, 1),
        entries: (2..=30).map(command).collect(),
        commit: Index(1),
    };
    raft.receive(envelope(2, 5, append)).unwrap();
    drive(&mut raft, None, true);
    let snapshot = Snapshot {
        last: LogId::new(20, 4),
        membership: voters(&[1, 2, 3]),
        membership_at: LogId::new(1, 1),
    };
    let id = request(2);
    // Taken or refused; what counts is that the node goes on.
    let _ = raft.receive(envelope(2, 5, Message::SnapshotRequest { id, snapshot }));
    drive(&mut raft, None, true);
    raft.tick(1);
}

/// F-M4: a learner catches up, and is replaced by another incarnation before anyone looks: that one has never said a word, and is not
/// made a voter for what the other did.
#[test]
fn catching_up_is_not_inherited() {
    let mut raft = leader_alone();
    let joined = Identity {
        member: member(4, 4),
        ..identity(4)
    };
    let mut four = Raft::join(config(), joined).unwrap();
    let at = raft.status().membership_at;
    raft.change_membership(Change::of(promotable(4)), at)
        .unwrap();
    let mut held = None;
    for _ in 0..10 {
        for sent in drive(&mut raft, Some(&mut held), true) {
            let _ = four.receive(sent);
        }
        for sent in drive(&mut four, None, true) {
            let _ = raft.receive(sent);
        }
    }
    drive(&mut raft, Some(&mut held), true);
    let status = raft.status();
    assert_eq!(
        status.peers[0].matched, status.last.index,
        "n4 has all of it"
    );
    assert!(!status.membership_committed);
    // In one batch of inputs: the disk answers, and n4 is replaced.
    raft.persisted(held.unwrap()).unwrap();
    let at = raft.status().membership_at;
    let steps = vec![Step::Remove(member(4, 4)), promotable(40)];
    raft.change_membership(Change { steps }, at).unwrap();
    for _ in 0..50 {
        drive(&mut raft, None, true);
        raft.tick(1);
    }
    assert_eq!(raft.membership().voters(), [NodeId(1)]);
    assert_eq!(raft.role(), RoleName::Leader);
}

/// A disk whose snapshot knows of a membership that comes after it is refused, and so is one with a snapshot in which nobody decides.
#[test]
fn a_snapshot_that_cannot_be_is_not_recovered() {
    let disk = |membership: Membership, membership_at| Recovered {
        identity: identity(1),
        hard_state: HardState {
            term: Term(3),
            voted_for: None,
            commit: Index(10),
        },
        base: LogId::new(10, 2),
        snapshot: Some(Snapshot {
            last: LogId::new(10, 2),
            membership,
            membership_at,
        }),
        runs: Vec::new(),
        last: Index(10),
        memberships: Vec::new(),
        applied: Index(10),
    };
    let recover = |membership, at| Raft::recover(config(), disk(membership, at)).map(|_| ());
    let refused = Err(RecoverError::BadSnapshot(LogId::new(10, 2)));
    let new = Raft::join(config(), identity(4)).unwrap();
    let nobody = new.membership().clone();
    assert_eq!(recover(voters(&[1, 2]), LogId::new(10, 2)), Ok(()));
    assert_eq!(recover(voters(&[1, 2]), LogId::new(50, 2)), refused);
    assert_eq!(recover(nobody, LogId::new(10, 2)), refused);
}

/// Members ask for the index to read at while the leader's state machine stands still: what is answered leaves nothing behind.
#[test]
fn rounds_for_others_do_not_pile_up() {
    let mut raft = leader_alone();
    let at = raft.status().membership_at;
    raft.change_membership(Change::of(promotable(4)), at)
        .unwrap();
    drive(&mut raft, None, true);
    raft.propose(vec![Bytes::from_static(b"x")]).unwrap();
    drive(&mut raft, None, false);
    // There is no other measure of what it keeps.
    let size = |raft: &Raft| format!("{raft:?}").len();
    let before = size(&raft);
    for number in 1..=1000 {
        let term = raft.term().0;
        let id = request(number);
        let _ = raft.receive(envelope(4, term, Message::ReadRequest { id }));
        drive(&mut raft, None, false);
    }
    assert!(
        size(&raft) < before + 1000,
        "{before}, and now {}",
        size(&raft)
    );
}
