//! Inputs from bytes, for a fuzzer: whatever the bytes are, they mean something, and small changes of them are small changes of the inputs.

use bytes::Bytes;
use raft_core::*;

use super::{CLUSTER, Fetched, Input, member};

/// At most so many inputs: a run takes no more than moments.
const INPUTS_MAX: usize = 400;

/// What is left of the bytes; zeros behind their end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    /// Mostly small, so that numbers meet; now and then huge.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 62,
            253 => (1 << 62) - 1,
            small => u64::from(small % 14),
        }
    }

    fn index(&mut self) -> Index {
        Index(self.number())
    }

    fn log_id(&mut self) -> LogId {
        LogId::new(self.number(), self.number())
    }

    fn member(&mut self) -> MemberId {
        let node = u64::from(self.below(6));
        let incarnation = if self.below(6) == 0 { 9 } else { node };
        member(node, incarnation)
    }

    fn membership(&mut self) -> Membership {
        let set = self.byte();
        let nodes = (1..=5).filter(|node| set >> (node - 1) & 1 == 1);
        let voters: Vec<NodeId> = nodes.map(NodeId).collect();
        let outgoing = self.byte();
        let half: Vec<NodeId> = match outgoing < 128 {
            true => Vec::new(),
            false => (1..=5)
                .filter(|node| outgoing >> (node - 1) & 1 == 1)
                .map(NodeId)
                .collect(),
        };
        let demoted = half.iter().filter(|node| !voters.contains(node));
        let demoted = demoted.take(self.below(3).into()).copied().collect();
        let members =
            (1..=5).map(|node| (NodeId(node), Member::new(Incarnation(node), Bytes::new())));
        let parts = MembershipParts {
            members: members.collect(),
            voters,
            outgoing: half,
            demoted,
            replaced: Vec::new(),
        };
        Membership::from_parts(parts).unwrap_or_else(|_| super::of_nobody())
    }

    fn payload(&mut self) -> Payload {
        match self.below(4) {
            0 => Payload::Noop,
            1 => Payload::Membership(self.membership()),
            _ => Payload::Command(Bytes::from_static(b"x")),
        }
    }

    /// Entries behind `prev`; now and then such that do not follow.
    fn entries(&mut self, prev: LogId) -> Vec<Entry> {
        let mut at = prev;
        let count = self.below(4);
        (0..count)
            .map(|_| {
                let shape = self.byte();
                at = match shape {
                    250.. => self.log_id(),
                    _ => LogId::new(
                        at.index.0.saturating_add(1),
                        at.term.0.saturating_add(u64::from(shape % 2)).max(1),
                    ),
                };
                let payload = self.payload();
                Entry { id: at, payload }
            })
            .collect()
    }

    fn message(&mut self) -> Message {
        let id = RequestId {
            boot: Boot(1 + u64::from(self.below(3))),
            number: u64::from(self.byte()),
        };
        let granted = self.below(2) == 1;
        match self.below(14) {
            0 => Message::PreVoteRequest {
                id,
                last: self.log_id(),
            },
            1 => Message::PreVoteResponse { id, granted },
            2 => Message::VoteRequest {
                id,
                last: self.log_id(),
                transfer: granted,
            },
            3 => Message::VoteResponse { id, granted },
            4..=6 => {
                let prev = self.log_id();
                Message::AppendRequest {
                    id,
                    prev,
                    entries: self.entries(prev).into(),
                    commit: self.index(),
                }
            }
            7 => Message::AppendResponse {
                id,
                result: match self.below(3) {
                    0 => AppendResult::Matched(self.index()),
                    1 => AppendResult::Full(self.index()),
                    _ => AppendResult::Conflict {
                        prev: self.index(),
                        hint: self.log_id(),
                    },
                },
            },
            8 => Message::HeartbeatRequest {
                id,
                commit: self.index(),
            },
            9 => Message::HeartbeatResponse {
                id,
                matched: self.index(),
                full: granted,
            },
            10 => Message::ReadRequest { id },
            11 => Message::ReadResponse {
                id,
                index: granted.then(|| self.index()),
            },
            12 => Message::SnapshotRequest {
                id,
                snapshot: Snapshot {
                    last: self.log_id(),
                    membership: self.membership(),
                    membership_at: self.log_id(),
                },
            },
            _ if granted => Message::NotAMember {
                id,
                at: self.log_id(),
            },
            _ => Message::TimeoutNow { id },
        }
    }

    fn envelope(&mut self) -> Envelope {
        let strange = self.byte();
        let sender = match strange {
            0..=7 => self.member(),
            _ => member(2 + u64::from(strange % 2), 2 + u64::from(strange % 2)),
        };
        Envelope {
            cluster: if strange == 8 {
                ClusterId::UNKNOWN
            } else {
                CLUSTER
            },
            from: Sender {
                member: sender,
                boot: Boot(if strange == 9 { self.number() } else { 1 }),
            },
            to: if strange == 10 {
                self.member()
            } else {
                member(1, 1)
            },
            term: Term(self.number()),
            message: self.message(),
        }
    }

    fn step(&mut self) -> Step {
        let id = self.member();
        let seat = match self.below(3) {
            0 => Seat::Voter,
            1 => Seat::Learner,
            _ => Seat::Promotable,
        };
        match self.below(8) {
            0..=1 => Step::Remove(id),
            2 => Step::Seat(id, seat),
            3 => Step::Context(id, Bytes::from(vec![0; 1023 + usize::from(self.below(3))])),
            4 => Step::Priority(id, self.byte()),
            _ => Step::Add {
                member: id,
                context: Bytes::new(),
                seat,
                priority: 0,
            },
        }
    }

    fn input(&mut self) -> Input {
        match self.below(32) {
            0..=3 => Input::Tick(u32::from(self.below(8))),
            4 => Input::Tick(u32::MAX),
            5..=6 => Input::Receive(self.envelope()),
            7..=10 => {
                let (node, ahead) = (2 + self.below(2), self.below(4) / 3);
                Input::Hear(node.into(), ahead.into(), self.message())
            }
            11 => Input::Propose(self.below(4).into(), self.byte().into()),
            12 => Input::Read,
            13 => {
                let steps = (0..1 + self.below(2)).map(|_| self.step()).collect();
                let at = (self.below(8) == 0).then(|| self.log_id());
                Input::Change(steps, at)
            }
            14 => Input::Transfer((self.below(2) == 0).then(|| self.below(6).into())),
            15 => Input::Full(self.below(2) == 0),
            16..=18 => Input::Drain(usize::MAX),
            19 => Input::Drain(self.below(4).into()),
            20..=21 => Input::Persist(usize::MAX),
            22 => Input::Persist(self.below(3).into()),
            23 => Input::Apply(1 + usize::from(self.below(3))),
            24 => Input::Fetched(match self.below(6) {
                0 => Fetched::Nothing,
                1 => {
                    let prev = self.log_id();
                    Fetched::Lies(self.entries(prev))
                }
                2 => Fetched::One,
                _ => Fetched::All,
            }),
            25 => Input::Taken(self.below(4) > 0),
            26 => Input::Installed,
            27 => Input::Sent(self.below(2) == 0),
            28 => Input::Agree(usize::MAX),
            29 => match self.below(4) {
                3 => Input::Refuse,
                count => Input::Agree(count.into()),
            },
            30 => Input::WrongAnswer(self.number()),
            _ => Input::Restart(self.below(3).into()),
        }
    }
}

/// The inputs that these bytes stand for.
pub fn decode(bytes: &[u8]) -> Vec<Input> {
    let mut source = Source(bytes);
    let mut inputs = Vec::new();
    while !source.0.is_empty() && inputs.len() < INPUTS_MAX {
        inputs.push(source.input());
    }
    inputs
}
