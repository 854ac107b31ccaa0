//! Raft by example: each script in `tests/golden` shows one behaviour: inputs above a line, their effects below it. After an intended
//! change, `UPDATE_GOLDENFILES=1 cargo test -p raft-core --test all golden::` writes the effects anew; what a script `expect`s stays as it is.
//!
//! The commands and the notation are explained in `tests/golden/README.md`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::error::Error;
use std::fmt::Write as _;

use crate::harness::{Cluster, describe_envelope};
use goldenscript::Command;
use raft_core::{
    Boot, Config, Entry, Envelope, Incarnation, Index, LogId, RequestId, RoleName, Sender,
    SnapshotPolicy, Term,
};

type Res<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Script {
    cluster: Option<Cluster>,
    kept: Vec<Envelope>,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Res<String> {
        let mut output = match command.name.as_str() {
            "cluster" | "found" => self.create(command)?,
            "tick" | "pause" | "campaign" | "elect" => self.time(command)?,
            "run" => self.run_all(command)?,
            "propose" | "read" => self.ask(command)?,
            "deliver" | "settle" | "drop" | "keep" | "replay" | "inject" => {
                self.network(command)?
            }
            "hold" | "save" | "crash" | "restart" | "slow" | "chore" | "full" | "room"
            | "damaged" => self.disk(command)?,
            "join" | "wipe" => self.arrive(command)?,
            "change" | "transfer" => self.rule(command)?,
            "isolate" | "cut" | "heal" => self.links(command)?,
            "messages" | "status" | "log" => self.show(command)?,
            "expect" => self.expect(command)?,
            other => return Err(format!("unknown command {other}").into()),
        };
        if let Some(cluster) = &mut self.cluster {
            output.insert_str(0, &cluster.take_trace());
        }
        Ok(output)
    }

    fn end_script(&mut self) -> Res<()> {
        if let Some(cluster) = &self.cluster {
            crate::harness::Checker::check_log_matching(&cluster.nodes);
            crate::harness::Checker::check_memberships(&cluster.nodes);
        }
        Ok(())
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Res<T> {
    text.parse()
        .map_err(|_| format!("cannot read {text}").into())
}

fn node_arg(args: &mut goldenscript::ArgumentConsumer<'_>) -> Res<u64> {
    parse(args.next_pos().ok_or("which node?")?)
}

/// `ENTRIES/TAIL`, `ENTRIES/TAIL/BYTES`, or `ENTRIES/TAIL/BYTES/TAIL-BYTES`.
fn snapshot_policy(text: &str) -> Res<SnapshotPolicy> {
    let mut parts = text.split('/');
    let mut next = |or: u64| parts.next().map_or(Ok(or), parse::<u64>);
    Ok(SnapshotPolicy {
        entries_max: next(1)?,
        tail_entries: next(0)?,
        bytes_max: next(1 << 30)? as usize,
        tail_bytes: next(1 << 30)? as usize,
    })
}

fn log_id(text: &str) -> Res<LogId> {
    let (index, term) = text.split_once('@').ok_or("a log id is index@term")?;
    Ok(LogId::new(parse(index)?, parse(term)?))
}

impl Script {
    fn cluster(&mut self) -> &mut Cluster {
        self.cluster
            .as_mut()
            .expect("a script begins with cluster or found")
    }

    fn create(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let mut config = Config::new(1);
        config.election_timeout_ticks = args.take_key("T").map_or(Ok(10), parse)?;
        config.heartbeat_ticks = args.take_key("H").map_or(Ok(3), parse)?;
        config.tail_bytes_max = args.take_key("tail").map_or(Ok(1 << 20), parse)?;
        config.batch_bytes_max = args.take_key("batch").map_or(Ok(1 << 20), parse)?;
        config.inflight_appends_max = args.take_key("inflight").map_or(Ok(64), parse)?;
        config.inflight_bytes_max = args.take_key("window").map_or(Ok(1 << 20), parse)?;
        config.uncommitted_bytes_max = args.take_key("uncommitted").map_or(Ok(1 << 20), parse)?;
        config.disk_stall_ticks = args.take_key("stall").map_or(Ok(20), parse)?;
        config.snapshots = args
            .take_key("snapshots")
            .map(snapshot_policy)
            .transpose()?;
        let list = |text: &str| -> Res<Vec<u64>> {
            text.split(',')
                .filter(|part| !part.is_empty())
                .map(parse)
                .collect()
        };
        let logs = args
            .take_key("logs")
            .map(|logs| logs.split(';').map(list).collect::<Res<Vec<_>>>())
            .transpose()?;
        let terms = args
            .take_key("terms")
            .map(|terms| terms.split(';').map(parse).collect::<Res<Vec<u64>>>())
            .transpose()?;
        let nodes = args.take_key("nodes").map(parse::<u64>).transpose()?;
        args.reject_next()?;
        self.cluster = Some(if command.name == "found" {
            Cluster::founded(config, nodes.unwrap_or(3))
        } else {
            let logs = logs.unwrap_or_else(|| vec![Vec::new(); nodes.unwrap_or(3) as usize]);
            Cluster::scripted(config, &logs, &terms.unwrap_or_default())
        });
        Ok(String::new())
    }

    fn time(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let ticks: Option<u32> = args.next_pos().map(parse).transpose()?;
        args.reject_next()?;
        let cluster = self.cluster();
        match command.name.as_str() {
            "tick" => (0..ticks.unwrap_or(1)).for_each(|_| cluster.tick(id, 1)),
            "pause" => cluster.tick(id, ticks.unwrap_or(1000)),
            "campaign" => campaign(cluster, id)?,
            _ => {
                for _ in 0..20 {
                    // Time passes for all; whoever else would campaign is not heard.
                    campaign(cluster, id)?;
                    cluster.settle();
                    if cluster.leader() == Some(id) {
                        return Ok(String::new());
                    }
                    for other in cluster.ids() {
                        if other != id && cluster.is_up(other) {
                            cluster.tick(other, 1);
                            cluster
                                .net
                                .retain(|envelope| envelope.from.member.node.0 != other);
                        }
                    }
                }
                return Err(format!("n{id} does not win").into());
            }
        }
        Ok(String::new())
    }

    fn run_all(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let ticks: u32 = parse(args.next_pos().ok_or("for how long?")?)?;
        args.reject_next()?;
        let cluster = self.cluster();
        for _ in 0..ticks {
            for id in cluster.ids() {
                if cluster.is_up(id) {
                    cluster.tick(id, 1);
                }
            }
            cluster.settle();
        }
        Ok(String::new())
    }

    fn ask(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let values: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        args.reject_next()?;
        let cluster = self.cluster();
        if command.name == "read" {
            return Ok(match cluster.read(id) {
                Ok(number) => format!("read {number}\n"),
                Err(error) => format!("refused: {error}\n"),
            });
        }
        Ok(match cluster.propose(id, &values) {
            Ok(numbers) => {
                cluster.node(id).refused = None;
                format!("proposals {numbers:?}\n")
            }
            Err(error) => {
                cluster.node(id).refused = Some(format!("{error:?}"));
                format!("refused: {error}\n")
            }
        })
    }

    fn arrive(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let incarnation = args.next_pos().map_or(Ok(id), parse)?;
        args.reject_next()?;
        match command.name.as_str() {
            "join" => self.cluster().join(id, incarnation),
            _ => self.cluster().wipe(id, incarnation),
        }
        Ok(String::new())
    }

    /// Asks a leader to change the membership, or to hand over.
    fn rule(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let cluster = self.cluster();
        let (done, refused) = if command.name == "transfer" {
            let to = args.next_pos().map(parse).transpose()?;
            match cluster.transfer(id, to) {
                Ok(to) => (format!("transfer to n{to}"), None),
                Err(error) => (format!("refused: {error}"), Some(format!("{error:?}"))),
            }
        } else {
            let at = args.take_key("at").map(log_id).transpose()?;
            let mut steps = Vec::new();
            while let Some((key, value)) = args.next_key() {
                steps.push(crate::harness::parse_step(key, value).ok_or("cannot read a step")?);
            }
            match cluster.change(id, steps, at) {
                Ok(number) => (format!("change {number}"), None),
                Err(error) => (format!("refused: {error}"), Some(format!("{error:?}"))),
            }
        };
        args.reject_next()?;
        cluster.node(id).refused = refused;
        Ok(format!("{done}\n"))
    }

    fn network(&mut self, command: &Command) -> Res<String> {
        if command.name == "inject" {
            return self.inject(command);
        }
        let mut args = command.consume_args();
        let from: Option<u64> = args.take_key("from").map(parse).transpose()?;
        let to: Option<u64> = args.take_key("to").map(parse).transpose()?;
        args.reject_next()?;
        let matches = |envelope: &Envelope| {
            from.is_none_or(|from| envelope.from.member.node.0 == from)
                && to.is_none_or(|to| envelope.to.node.0 == to)
        };
        let kept = std::mem::take(&mut self.kept);
        let cluster = self.cluster.as_mut().ok_or("no cluster")?;
        if command.name == "settle" {
            cluster.settle();
            self.kept = kept;
            return Ok(String::new());
        }
        if command.name == "replay" {
            kept.into_iter()
                .for_each(|envelope| cluster.deliver(envelope));
            return Ok(String::new());
        }
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut cluster.net)
            .into_iter()
            .partition(matches);
        cluster.net = rest.into();
        let mut output = String::new();
        match command.name.as_str() {
            "deliver" => taken
                .into_iter()
                .for_each(|envelope| cluster.deliver(envelope)),
            "drop" => taken.iter().for_each(|envelope| {
                cluster.lose(envelope);
                writeln!(output, "lost: {}", describe_envelope(envelope)).unwrap();
            }),
            _ => {
                self.kept = kept;
                self.kept.extend(taken);
                return Ok(output);
            }
        }
        self.kept = kept;
        Ok(output)
    }

    /// A message made up by hand: what no honest peer would say, or what one said long ago.
    fn inject(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let kind = args.next_pos().ok_or("what kind?")?;
        let mut number = |key: &str, or: u64| args.take_key(key).map_or(Ok(or), parse::<u64>);
        let (from, to, term) = (number("from", 0)?, number("to", 0)?, number("term", 0)?);
        let (incarnation, boot) = (number("incarnation", from)?, number("boot", 1)?);
        let members = number("members", 3)?;
        let (commit, matched, id) = (
            number("commit", 0)?,
            number("matched", 0)?,
            number("id", 1)?,
        );
        let granted = args.take_key("granted").is_none_or(|text| text != "no");
        let transfer = args.take_key("transfer").is_some_and(|text| text == "yes");
        let mut entry_id = |key: &str| args.take_key(key).map_or(Ok(LogId::ZERO), log_id);
        let (last, prev, hint) = (entry_id("last")?, entry_id("prev")?, entry_id("hint")?);
        let entries: Vec<Entry> = args
            .take_key("entries")
            .map(|list| {
                list.split(',')
                    .map(|id| Ok(crate::harness::scripted_entry(log_id(id)?)))
                    .collect::<Res<_>>()
            })
            .transpose()?
            .unwrap_or_default();
        args.reject_next()?;
        let asker = match kind.ends_with("response") {
            true => self.cluster().nodes[&to].boot,
            false => boot,
        };
        let id = RequestId {
            boot: Boot(asker),
            number: id,
        };
        let fields = crate::harness::made_up::Fields {
            commit: Index(commit),
            matched: Index(matched),
            last,
            prev,
            hint,
            entries,
            members,
            granted,
            transfer,
        };
        let message =
            crate::harness::made_up::made_up(kind, id, fields).ok_or("unknown message")?;
        let mut sender = crate::harness::member(from);
        sender.incarnation = Incarnation(incarnation);
        let envelope = Envelope {
            cluster: crate::harness::CLUSTER,
            from: Sender {
                member: sender,
                boot: Boot(boot),
            },
            to: crate::harness::member(to),
            term: Term(term),
            message,
        };
        let cluster = self.cluster();
        if kind == "snapshot" {
            let ids = (1..=last.index.0).map(|index| LogId::new(index, last.term.0));
            let content = ids.map(crate::harness::scripted_entry).collect();
            cluster
                .cargo
                .insert((from, id), crate::harness::Content::new(content));
        }
        cluster.deliver(envelope);
        Ok(String::new())
    }

    fn disk(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let count: Option<usize> = args.next_pos().map(parse).transpose()?;
        let kept = args.take_key("kept").map_or(Ok(0), parse)?;
        let fails = args.take_key("fails").is_some();
        args.reject_next()?;
        let cluster = self.cluster();
        match command.name.as_str() {
            "hold" => cluster.node(id).hold = true,
            "save" => {
                cluster.save(id, count.unwrap_or(usize::MAX));
                if count.is_none() {
                    cluster.node(id).hold = false;
                }
            }
            "crash" => cluster.crash(id, kept),
            "slow" => cluster.node(id).slow = true,
            "full" | "room" => {
                cluster.raft(id).storage_full(command.name == "full");
                cluster.drain(id);
            }
            "damaged" => {
                let newest = cluster.raft(id).status().snapshot;
                cluster.raft(id).snapshot_damaged(newest);
                cluster.drain(id);
            }
            "chore" => cluster.chore(id, !fails),
            _ => cluster.start(id),
        }
        Ok(String::new())
    }

    fn links(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let cluster = self.cluster();
        match command.name.as_str() {
            "heal" => cluster.cut.clear(),
            "cut" => {
                let link = (node_arg(&mut args)?, node_arg(&mut args)?);
                cluster.cut.insert(link);
            }
            _ => {
                let id = node_arg(&mut args)?;
                for other in cluster.ids() {
                    cluster.cut.extend([(id, other), (other, id)]);
                }
            }
        }
        args.reject_next()?;
        Ok(String::new())
    }

    fn show(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let mut output = String::new();
        let cluster = self.cluster();
        match command.name.as_str() {
            "messages" => cluster
                .net
                .iter()
                .for_each(|envelope| writeln!(output, "{}", describe_envelope(envelope)).unwrap()),
            "log" => {
                let id = node_arg(&mut args)?;
                writeln!(output, "n{id} on disk: [{}]", disk_terms(cluster, id))?;
            }
            _ => {
                for node in cluster.nodes.values() {
                    let Some(raft) = &node.raft else {
                        writeln!(output, "n{} down", node.id)?;
                        continue;
                    };
                    let s = raft.status();
                    write!(
                        output,
                        "n{}@{} {} last={} durable={} ",
                        node.id,
                        s.term,
                        s.role.as_str(),
                        s.last,
                        s.durable
                    )?;
                    write!(output, "commit={} applied={}", s.commit, s.applied)?;
                    if s.withheld > 0 {
                        write!(output, " withheld={}", s.withheld)?;
                    }
                    for peer in &s.peers {
                        let mode = peer.state.as_str();
                        write!(
                            output,
                            " n{}:{}/{}/{mode}",
                            peer.member.node, peer.matched, peer.next
                        )?;
                    }
                    output.push('\n');
                }
            }
        }
        args.reject_next()?;
        Ok(output)
    }

    /// What must be so, however the effects are written.
    fn expect(&mut self, command: &Command) -> Res<String> {
        let mut args = command.consume_args();
        let id = node_arg(&mut args)?;
        let cluster = self.cluster();
        while let Some((key, wanted)) = args.next_key() {
            let node = &cluster.nodes[&id];
            let found = match (key, &node.raft) {
                ("log", _) => disk_terms(cluster, id),
                ("outcomes", _) => node.outcomes.len().to_string(),
                ("outcome", _) => match node.outcomes.last_key_value() {
                    Some((_, raft_core::Outcome::Committed(at))) => at.to_string(),
                    Some((_, raft_core::Outcome::Unknown)) => "unknown".into(),
                    None => "open".into(),
                },
                ("answered", _) => node
                    .reads
                    .values()
                    .filter(|&&answered| answered)
                    .count()
                    .to_string(),
                ("read", _) => match node.reads.last_key_value() {
                    Some((_, true)) => "answered".into(),
                    Some((_, false)) => "failed".into(),
                    None => "open".into(),
                },
                ("state-machine", _) => node.applied.len().to_string(),
                ("snapshots-sent", _) => cluster
                    .cargo
                    .keys()
                    .filter(|(from, _)| *from == id)
                    .count()
                    .to_string(),
                // What it was last refused: the error's name.
                ("refused", _) => node.refused.as_deref().map_or("none".into(), name),
                // How often it told this in this life: `Removed=1`.
                (key, _) if key.starts_with(char::is_uppercase) => {
                    let told = |event: &&raft_core::Event| name(&format!("{event:?}")) == key;
                    node.events.iter().filter(told).count().to_string()
                }
                // How many messages of a kind are on their way from it: `sends_TimeoutNow=1`.
                (key, _) if key.starts_with("sends_") => {
                    let kind = key.trim_start_matches("sends_");
                    let sent = |envelope: &&Envelope| {
                        envelope.from.member.node.0 == id
                            && name(&format!("{:?}", envelope.message)) == kind
                    };
                    cluster.net.iter().filter(sent).count().to_string()
                }
                ("sends", _) => cluster
                    .net
                    .iter()
                    .filter(|envelope| envelope.from.member.node.0 == id)
                    .count()
                    .to_string(),
                (_, None) => return Err(format!("n{id} is down").into()),
                (_, Some(raft)) => status_field(&raft.status(), key)?,
            };
            if found != wanted {
                return Err(format!("n{id}: {key} is {found}, not {wanted}").into());
            }
        }
        args.reject_next()?;
        Ok(String::new())
    }
}

/// The name of a variant, without its fields.
fn name(debug: &str) -> String {
    debug
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

fn status_field(status: &raft_core::Status, key: &str) -> Res<String> {
    let node =
        |member: Option<raft_core::NodeId>| member.map_or("none".into(), |node| node.to_string());
    let peer = |prefix: &str| -> Res<raft_core::PeerStatus> {
        let id: u64 = parse(key.trim_start_matches(prefix))?;
        Ok(*status
            .peers
            .iter()
            .find(|peer| peer.member.node.0 == id)
            .ok_or("no such peer")?)
    };
    Ok(match key {
        "role" => status.role.as_str().into(),
        "term" => status.term.to_string(),
        "leader" => node(status.leader),
        "vote" => node(status.voted_for.map(|vote| vote.node)),
        "commit" => status.commit.to_string(),
        "applied" => status.applied.to_string(),
        "durable" => status.durable.to_string(),
        "last" => status.last.to_string(),
        "withheld" => status.withheld.to_string(),
        "open_reads" => status.open_reads.to_string(),
        "open_proposals" => status.open_proposals.to_string(),
        "config" => crate::harness::describe_membership(&status.membership),
        "voters" => crate::harness::list(status.membership.voters().iter().copied()),
        "learners" => crate::harness::list(status.membership.learners()),
        "seat" => status
            .seat
            .map_or("none".into(), |seat| format!("{seat:?}").to_lowercase()),
        "config_at" => status.membership_at.to_string(),
        "config_committed" => status.membership_committed.to_string(),
        "transfer" => node(status.transfer_to),
        "peers" => crate::harness::list(status.peers.iter().map(|peer| peer.member.node)),
        "members" => status.membership.voters().len().to_string(),
        key if key.starts_with("match") => peer("match")?.matched.to_string(),
        key if key.starts_with("next") => peer("next")?.next.to_string(),
        key if key.starts_with("state") => peer("state")?.state.as_str().into(),
        "full" => status.full.to_string(),
        key if key.starts_with("inflight") => {
            let peer = peer("inflight")?;
            format!("{}/{}", peer.inflight_appends, peer.inflight_bytes)
        }
        key if key.starts_with("full") => peer("full")?.full.to_string(),
        "first" => status.first.to_string(),
        "snapshot" => status.snapshot.to_string(),
        "installing" => status
            .installing
            .map_or("none".into(), |last| last.to_string()),
        key => return Err(format!("unknown field {key}").into()),
    })
}

fn disk_terms(cluster: &Cluster, id: u64) -> String {
    let disk = &cluster.nodes[&id].disk;
    let terms = disk.log.iter().map(|entry| entry.id.term.to_string());
    let base = (disk.base != LogId::ZERO).then(|| format!("({})", disk.base));
    base.into_iter().chain(terms).collect::<Vec<_>>().join(",")
}

fn campaign(cluster: &mut Cluster, id: u64) -> Res<()> {
    // One that the others outrank waits for up to three timeouts more.
    let limit = 5 * cluster.config.election_timeout_ticks;
    for _ in 0..=limit {
        cluster.tick(id, 1);
        let status = cluster.raft(id).status();
        if status.role != RoleName::Follower && status.leader != Some(raft_core::NodeId(id))
            || status.role == RoleName::Leader
        {
            return Ok(());
        }
    }
    Err(format!("n{id} does not campaign").into())
}

#[test]
fn scripts() {
    let mut paths: Vec<_> = std::fs::read_dir("tests/golden")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "only {} scripts", paths.len());
    let mut failed = Vec::new();
    for path in &paths {
        let run = || goldenscript::run(&mut Script::default(), path);
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed.push(format!("{}: {error}", path.display())),
            Err(_) => failed.push(format!(
                "{}: the effects differ, or the core panicked (see above)",
                path.display()
            )),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} scripts failed:\n{}",
        failed.len(),
        paths.len(),
        failed.join("\n")
    );
    println!("{} scripts", paths.len());
}
