//! status, health, leader.

use std::io::{self, IsTerminal};
use std::time::Duration;

use raft_kv::api::NodeStatus;
use raft_kv::client::{Member, Overview};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::StatusArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::table;

/// A member that has not answered by then is shown as unreachable: the whole takes less than a second.
const ASK_MAX: Duration = Duration::from_millis(900);
/// Between two looks for a leader, and two pictures of `--watch`.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn status(context: &mut Context, args: &StatusArgs) -> Outcome {
    loop {
        let begun = Instant::now();
        if args.watch {
            context.start();
        }
        let overview = overview(context).await;
        if context.output.is_json() {
            context.output.json(&overview_json(&overview))?;
        } else {
            if args.watch && io::stdout().is_terminal() {
                // Home, and clear the screen.
                context.output.raw(b"\x1b[H\x1b[2J")?;
            }
            context.output.raw(overview_text(&overview).as_bytes())?;
        }
        context.output.flush()?;
        if !args.watch {
            let reached = overview.members.iter().any(|member| member.status.is_ok());
            return if reached {
                Ok(())
            } else {
                Err(nobody(&overview).answered())
            };
        }
        sleep_until(begun + WATCH_EVERY).await;
    }
}

pub(crate) async fn overview(context: &Context) -> Overview {
    context
        .client()
        .until(context.deadline.min(Instant::now() + ASK_MAX))
        .overview()
        .await
}

fn nobody(overview: &Overview) -> Failure {
    let answers: Vec<String> = overview
        .members
        .iter()
        .map(|m| format!("{}: {}", m.address, error_of(m)))
        .collect();
    let failure = Failure::new(
        Exit::Unavailable,
        format!("no member answered ({})", answers.join("; ")),
    );
    failure
        .hint("is the cluster running there? --endpoints or RAFT_ENDPOINTS names other addresses")
}

pub(crate) async fn health(context: &mut Context) -> Outcome {
    let overview = overview(context).await;
    let leader = overview.leader().map(|status| status.id);
    let mut reasons = Vec::new();
    if leader.is_none() {
        reasons.push("no member leads".to_owned());
    }
    let voters = overview.voters();
    match voters {
        None => reasons.push(nobody(&overview).message),
        Some((voters, reached)) if reached <= voters / 2 => {
            reasons.push(format!(
                "only {reached} of {voters} voters answer, and a majority is needed"
            ));
        }
        Some(_) => {}
    }
    // A key that nobody writes will do: what counts is that the read is confirmed by a majority.
    if voters.is_some()
        && let Err(error) = context.client().get(&b"\0raft-cli health"[..]).await
    {
        reasons.push(format!("a linearizable read fails: {error}"));
    }
    let healthy = reasons.is_empty();
    let (voters, reached) = voters.unwrap_or_default();
    if context.output.is_json() {
        context.output.json(&json!({
            "healthy": healthy, "leader": leader, "voters": voters, "voters_reachable": reached, "reasons": reasons,
        }))?;
    }
    if !healthy {
        let failure = Failure::new(
            Exit::Unhealthy,
            format!("unhealthy: {}", reasons.join("; ")),
        );
        return Err(failure
            .hint("`raft-cli status` shows every member")
            .answered());
    }
    if !context.output.is_json() {
        let leader = leader.unwrap_or_default();
        context.output.line(format_args!(
            "healthy: node {leader} leads, {reached} of {voters} voters answer"
        ))?;
    }
    Ok(())
}

/// Compares the members' states, at the last entry at which all that answer can be compared.
pub(crate) async fn check(context: &mut Context) -> Outcome {
    loop {
        let overview = overview(context).await;
        let answered: Vec<&NodeStatus> = overview
            .members
            .iter()
            .filter_map(|member| member.status.as_ref().ok())
            .filter(|status| status.applied > 0)
            .collect();
        if answered.is_empty() {
            return Err(nobody(&overview));
        }
        if let Some((index, hashes)) = comparable(&answered) {
            return say_check(context, &overview, index, &hashes);
        }
        if Instant::now() + LOOK_AGAIN >= context.deadline {
            let message = "the members were not found at one entry at which to compare them";
            return Err(Failure::new(Exit::Unavailable, message)
                .hint("one that is far behind catches up first; see LAG in `raft-cli status`"));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The last entry after which all of these gave a hash, and each one's.
fn comparable(statuses: &[&NodeStatus]) -> Option<(u64, Vec<(u64, u64)>)> {
    let at = |status: &NodeStatus, index: u64| {
        let found = status.hashes.iter().find(|(at, _)| *at == index);
        found.map(|(_, hash)| *hash)
    };
    let indexes = statuses.first()?.hashes.iter().rev();
    let index = indexes
        .map(|(index, _)| *index)
        .find(|index| statuses.iter().all(|status| at(status, *index).is_some()))?;
    let hashes = statuses
        .iter()
        .filter_map(|status| Some((status.id, at(status, index)?)));
    Some((index, hashes.collect()))
}

/// What there is to say when the hashes after one entry are not all the same.
fn difference(index: u64, hashes: &[(u64, u64)]) -> Option<Failure> {
    let (_, first) = hashes.first()?;
    if hashes.iter().all(|(_, hash)| hash == first) {
        return None;
    }
    let hashes: Vec<String> = hashes
        .iter()
        .map(|(id, hash)| format!("node {id}: {hash:016x}"))
        .collect();
    let message = format!(
        "the members' states differ after entry {index} ({}): this must never be",
        hashes.join(", ")
    );
    let failure = Failure::new(Exit::Unhealthy, message);
    Some(failure.hint(
        "keep every data directory as it is, stop writing, and report it; a member that is in the minority can be taken in anew",
    ))
}

fn say_check(
    context: &mut Context,
    overview: &Overview,
    index: u64,
    hashes: &[(u64, u64)],
) -> Outcome {
    let difference = difference(index, hashes);
    let missing = overview.members.len() - hashes.len();
    if context.output.is_json() {
        let members: Vec<Value> = hashes
            .iter()
            .map(|(id, hash)| json!({ "id": id, "hash": format!("{hash:016x}") }))
            .collect();
        context.output.json(&json!({
            "equal": difference.is_none(), "index": index, "members": members, "not_compared": missing,
        }))?;
    }
    if let Some(failure) = difference {
        return Err(failure.answered());
    }
    if !context.output.is_json() {
        let rest = match missing {
            0 => String::new(),
            missing => format!("; {missing} could not be asked"),
        };
        context.output.line(format_args!(
            "{} members have the same state after entry {index}{rest}",
            hashes.len()
        ))?;
    }
    Ok(())
}

pub(crate) async fn leader(context: &mut Context) -> Outcome {
    let (address, status) = leader_of(context).await?;
    print_leader(context, status.id, &address, status.term)
}

pub(crate) fn print_leader(context: &mut Context, id: u64, address: &str, term: u64) -> Outcome {
    if context.output.is_json() {
        let leader = json!({ "id": id, "address": address, "term": term });
        context.output.json(&leader)?;
    } else {
        context.output.line(format_args!("{id} {address}"))?;
    }
    Ok(())
}

/// The leader, once there is one, and where it is.
pub(crate) async fn leader_of(context: &Context) -> Result<(String, NodeStatus), Failure> {
    loop {
        let overview = overview(context).await;
        if let Some(status) = overview.leader() {
            let known = status.members.iter().find(|member| member.id == status.id);
            let asked = overview
                .members
                .iter()
                .find(|member| member.id == Some(status.id));
            let address = known
                .map(|known| &known.address)
                .or(asked.map(|asked| &asked.address))
                .cloned()
                .unwrap_or_default();
            return Ok((address, status.clone()));
        }
        if Instant::now() + LOOK_AGAIN >= context.deadline {
            let failure = nobody(&overview);
            let reached = overview.members.iter().any(|member| member.status.is_ok());
            let failure = if reached {
                let answers: Vec<String> = overview
                    .members
                    .iter()
                    .map(|m| format!("{}: {}", m.address, words_of(m)))
                    .collect();
                Failure::new(Exit::Unavailable, format!("no member leads ({})", answers.join("; ")))
                    .hint("a majority of the members must run and reach each other; see `raft-cli status`")
            } else {
                failure
            };
            return Err(failure);
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn words_of(member: &Member) -> String {
    member
        .status
        .as_ref()
        .map_or_else(ToString::to_string, |status| status.role.clone())
}

fn error_of(member: &Member) -> String {
    member
        .status
        .as_ref()
        .map_or_else(ToString::to_string, |status| status.error.clone())
}

fn role_of(member: &Member) -> &str {
    member
        .status
        .as_ref()
        .map_or("unreachable", |status| &status.role)
}

/// How many of the leader's committed entries a member lacks: applied, or, as the leader knows it, stored.
fn lag_of(overview: &Overview, member: &Member) -> Option<u64> {
    let leader = overview.leader()?;
    let has = match (&member.status, &member.seen) {
        (Ok(status), _) => status.applied,
        (Err(_), Some(seen)) => seen.matched,
        (Err(_), None) => return None,
    };
    Some(leader.commit.saturating_sub(has))
}

fn overview_text(overview: &Overview) -> String {
    const HEADING: [&str; 12] = [
        "ID", "ADDRESS", "ROLE", "TERM", "COMMIT", "APPLIED", "LOG", "LAG", "DISK", "VERSION",
        "CLUSTER", "ERROR",
    ];
    const RIGHT: [&str; 6] = ["ID", "TERM", "COMMIT", "APPLIED", "LAG", "DISK"];
    let dash = || "-".to_owned();
    let row = |member: &Member| {
        let status = member.status.as_ref().ok();
        let number = |of: fn(&NodeStatus) -> u64| status.map_or_else(dash, |s| of(s).to_string());
        vec![
            member
                .id
                .map_or_else(|| "?".to_owned(), |id| id.to_string()),
            member.address.clone(),
            role_of(member).to_owned(),
            number(|s| s.term),
            number(|s| s.commit),
            number(|s| s.applied),
            status.map_or_else(dash, |s| format!("{}..{}", s.first, s.last)),
            lag_of(overview, member).map_or_else(dash, |lag| lag.to_string()),
            status.map_or_else(dash, |s| bytes_text(s.disk_bytes)),
            status.map_or_else(dash, |s| printable(&s.version)),
            status.map_or_else(dash, |s| format!("{} of {}", s.cluster_version, s.follows)),
            printable(&error_of(member)),
        ]
    };
    let rows: Vec<Vec<String>> = overview.members.iter().map(row).collect();
    let mut text = table::render(&HEADING, &RIGHT, &rows);
    if let Some((leader, why)) = held_back(overview) {
        text.push_str(&format!(
            "cluster version {} is in force, and not {}: {}\n",
            leader.cluster_version,
            leader.follows,
            printable(why)
        ));
    }
    text
}

/// What keeps the cluster version from being the newest that the leader follows.
fn held_back(overview: &Overview) -> Option<(&NodeStatus, &str)> {
    let leader = overview.leader()?;
    let why = leader.held_back.as_str();
    (!why.is_empty()).then_some((leader, why))
}

/// What a node says must not play with the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {unit}")
    }
}

fn overview_json(overview: &Overview) -> Value {
    let member = |member: &Member| {
        let status = member.status.as_ref().ok();
        let seen = member.seen.as_ref();
        let number = |of: fn(&NodeStatus) -> u64| status.map(of);
        json!({
            "id": member.id,
            "address": member.address,
            "role": role_of(member),
            "reachable": status.is_some(),
            "term": number(|s| s.term),
            "commit": number(|s| s.commit),
            "applied": number(|s| s.applied),
            "first": number(|s| s.first),
            "last": number(|s| s.last),
            "lag": lag_of(overview, member),
            "disk_bytes": number(|s| s.disk_bytes),
            "keys": number(|s| s.keys),
            "syncs": number(|s| s.syncs),
            "boot": number(|s| s.boot),
            "incarnation": status.map(|s| s.incarnation).or(seen.map(|s| s.incarnation)).map(|i| format!("{i:016x}")),
            "voter": seen.map(|seen| seen.voter),
            "matched": seen.map(|seen| seen.matched),
            "silent_ms": seen.and_then(|seen| seen.silent_ms),
            "version": status.map(|s| s.version.as_str()),
            "cluster_version": status.map(|s| s.cluster_version),
            "follows": status.map(|s| s.follows),
            "leader": status.and_then(|s| s.leader.as_ref()).map(|leader| leader.node),
            "error": Some(error_of(member)).filter(|error| !error.is_empty()),
        })
    };
    json!({
        "members": overview.members.iter().map(member).collect::<Vec<_>>(),
        "leader": overview.leader().map(|status| status.id),
        "cluster_version": overview.leader().map(|status| status.cluster_version),
        "cluster_version_held_back": held_back(overview).map(|(_, why)| why),
    })
}

#[cfg(test)]
mod tests {
    use raft_kv::api::{MemberStatus, NodeStatus};
    use raft_kv::client::EndpointAnswer;

    use super::*;

    fn overview() -> Overview {
        let seen = |id: u64, matched| {
            Some(MemberStatus {
                id,
                address: format!("n{id}:1"),
                voter: true,
                matched,
                ..MemberStatus::default()
            })
        };
        let leader = NodeStatus {
            id: 1,
            role: "leader".into(),
            term: 3,
            commit: 90,
            applied: 88,
            first: 1,
            last: 91,
            disk_bytes: 3 << 20,
            version: "0.1.0".into(),
            cluster_version: 1,
            follows: 2,
            held_back: "node 2 does not answer".into(),
            ..NodeStatus::default()
        };
        let down = Err(EndpointAnswer::Unreachable("connection refused".into()));
        Overview {
            members: vec![
                Member {
                    address: "n1:1".into(),
                    id: Some(1),
                    seen: seen(1, 91),
                    status: Ok(leader),
                },
                Member {
                    address: "n2:1".into(),
                    id: Some(2),
                    seen: seen(2, 40),
                    status: down.clone(),
                },
                Member {
                    address: "x:1".into(),
                    id: None,
                    seen: None,
                    status: down,
                },
            ],
        }
    }

    #[test]
    fn a_row_a_member_unreachable_ones_too() {
        assert_eq!(
            overview_text(&overview()),
            "ID  ADDRESS  ROLE         TERM  COMMIT  APPLIED  LOG    LAG     DISK  VERSION  CLUSTER  ERROR\n \
             1  n1:1     leader          3      90       88  1..91    2  3.0 MiB  0.1.0    1 of 2\n \
             2  n2:1     unreachable     -       -        -  -       50        -  -        -        connection refused\n \
             ?  x:1      unreachable     -       -        -  -        -        -  -        -        connection refused\n\
             cluster version 1 is in force, and not 2: node 2 does not answer\n"
        );
    }

    #[test]
    fn the_same_as_json() {
        let value = overview_json(&overview());
        assert_eq!(value["leader"], json!(1));
        assert_eq!(value["cluster_version"], json!(1));
        assert_eq!(
            value["cluster_version_held_back"],
            json!("node 2 does not answer")
        );
        assert_eq!(value["members"][0]["follows"], json!(2));
        assert_eq!(value["members"][0]["lag"], json!(2));
        assert_eq!(value["members"][0]["reachable"], json!(true));
        assert_eq!(value["members"][0]["error"], Value::Null);
        assert_eq!(value["members"][1]["role"], json!("unreachable"));
        assert_eq!(value["members"][1]["term"], Value::Null);
        assert_eq!(value["members"][1]["lag"], json!(50));
        assert_eq!(value["members"][1]["error"], json!("connection refused"));
        assert_eq!(value["members"][2]["id"], Value::Null);
    }

    /// F-O12.
    #[test]
    fn states_that_differ_are_status_10_and_each_is_named() {
        assert!(difference(512, &[(1, 8), (2, 8), (3, 8)]).is_none());
        let failure = difference(512, &[(1, 8), (2, 8), (3, 5)]).unwrap();
        assert_eq!(failure.exit as u8, 10);
        let said = format!("{failure:?}");
        for word in [
            "after entry 512",
            "node 2: 0000000000000008",
            "node 3: 0000000000000005",
        ] {
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn states_are_compared_at_the_last_entry_that_all_have() {
        let node = |id, hashes: &[(u64, u64)]| NodeStatus {
            id,
            hashes: hashes.to_vec(),
            ..NodeStatus::default()
        };
        let one = node(1, &[(256, 7), (512, 8), (600, 9)]);
        let two = node(2, &[(512, 8), (590, 1)]);
        let three = node(3, &[(256, 7), (512, 5), (600, 9)]);
        let hashes = vec![(1, 8), (2, 8), (3, 5)];
        assert_eq!(comparable(&[&one, &two, &three]), Some((512, hashes)));
        assert_eq!(
            comparable(&[&one, &three]),
            Some((600, vec![(1, 9), (3, 9)]))
        );
        assert_eq!(comparable(&[&one, &node(4, &[(100, 1)])]), None);
        assert_eq!(comparable(&[]), None);
    }

    #[test]
    fn sizes_are_for_people() {
        let sizes = [0, 1023, 1024, 1536, 5 << 30].map(bytes_text);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }
}
