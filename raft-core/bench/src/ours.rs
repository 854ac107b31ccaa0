//! raft-core with a driver that answers on the spot, and a log in memory.

use anyhow::{Result, bail};
use bytes::Bytes;
use raft_core::{
    Boot, ClusterId, Config, Effect, Entry, Envelope, HardState, Identity, Incarnation, MemberId,
    Membership, NodeId, Payload, PersistJob, Raft, RoleName,
};

use crate::workload::{
    APPENDS_IN_FLIGHT_MAX, Applied, COMMAND_BYTES, ELECTION_TICKS, KEPT_ENTRIES, MESSAGE_BYTES_MAX,
    Node, UNCOMMITTED_BYTES_MAX,
};

pub struct Ours {
    raft: Raft,
    disk: Disk,
    applied: Applied,
}

/// What a driver keeps: the log, and the hard state.
#[derive(Default)]
struct Disk {
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl Disk {
    fn write(&mut self, job: PersistJob) {
        if let Some(hard_state) = job.hard_state {
            self.hard_state = hard_state;
        }
        if let (Some(from), Some(first)) = (job.truncate_from, self.entries.first()) {
            let kept = from.0.saturating_sub(first.id.index.0) as usize;
            self.entries.truncate(kept);
        }
        if let (Some(last), Some(first)) = (self.entries.last(), job.entries.first()) {
            assert_eq!(first.id.index, last.id.index.next(), "the log has a gap");
        }
        self.entries.extend_from_slice(&job.entries);
    }

    fn cut(&mut self, applied: u64) {
        let Some(first) = self.entries.first() else {
            return;
        };
        if self.entries.len() as u64 > 2 * KEPT_ENTRIES && applied > KEPT_ENTRIES {
            let gone = (applied - KEPT_ENTRIES).saturating_sub(first.id.index.0) as usize;
            self.entries.drain(..gone);
        }
    }
}

impl Node for Ours {
    type Message = Envelope;

    fn found(nodes: u64, heartbeat_ticks: u32) -> Result<Vec<Ours>> {
        let member = |node| MemberId {
            node: NodeId(node),
            incarnation: Incarnation(node),
        };
        let members = Membership::of_voters((1..=nodes).map(|node| (member(node), Bytes::new())))?;
        let config = Config {
            election_timeout_ticks: ELECTION_TICKS,
            heartbeat_ticks,
            batch_bytes_max: MESSAGE_BYTES_MAX,
            inflight_appends_max: APPENDS_IN_FLIGHT_MAX,
            // As many bytes as the appends may have together: the other side has no such limit.
            inflight_bytes_max: APPENDS_IN_FLIGHT_MAX * MESSAGE_BYTES_MAX,
            uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
            tail_bytes_max: KEPT_ENTRIES as usize * (COMMAND_BYTES + Entry::OVERHEAD_BYTES),
            ..Config::new(1)
        };
        (1..=nodes)
            .map(|node| {
                let identity = Identity {
                    cluster: ClusterId([1; 16]),
                    member: member(node),
                    boot: Boot(1),
                };
                Ok(Ours {
                    raft: Raft::bootstrap(config.clone(), identity, members.clone())?,
                    disk: Disk::default(),
                    applied: Applied::default(),
                })
            })
            .collect()
    }

    fn tick(&mut self) {
        self.raft.tick(1);
    }

    fn leads(&self) -> bool {
        self.raft.status().role == RoleName::Leader
    }

    fn propose(&mut self, commands: impl ExactSizeIterator<Item = Bytes>) -> Result<()> {
        self.raft.propose(commands.collect())?;
        Ok(())
    }

    fn receive(&mut self, message: Envelope) -> Result<()> {
        Ok(self.raft.receive(message)?)
    }

    fn carry_out(&mut self, mut send: impl FnMut(u64, Envelope)) -> Result<()> {
        loop {
            match self.raft.next_effect() {
                None => return Ok(()),
                Some(Effect::Send(envelope)) => send(envelope.to.node.0, envelope),
                Some(Effect::Persist(job)) => {
                    let id = job.id;
                    self.disk.write(job);
                    self.raft.persisted(id)?;
                }
                Some(Effect::Apply(job)) => {
                    for entry in &job.entries {
                        let command: &[u8] = match &entry.payload {
                            Payload::Command(command) => command,
                            Payload::Noop | Payload::Membership(_) => &[],
                        };
                        self.applied.apply(entry.id.index.0, command);
                    }
                    if let Some(last) = job.entries.last() {
                        self.raft.applied(last.id.index)?;
                    }
                    self.disk.cut(self.applied.index);
                }
                Some(Effect::Outcome(..) | Effect::Event(_)) => {}
                Some(other) => bail!("nothing here asks for {other:?}"),
            }
        }
    }

    fn applied(&self) -> Applied {
        self.applied
    }
}
