//! member list, add, promote, update, remove; leader move.

use raft_kv::api::{Admin, AdminReply, MemberStatus, NodeStatus};
use raft_kv::client::Overview;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::args::MemberCommand;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::status::{LOOK_AGAIN, leader_of, overview};
use crate::table;

pub(crate) async fn member(context: &mut Context, command: MemberCommand) -> Outcome {
    match command {
        MemberCommand::List => {
            let (_, leader) = leader_of(context).await?;
            print(context, None, &leader.members)
        }
        MemberCommand::Add { id, address, voter } => {
            let (changed, members) = ask(context, Admin::AddMember { id, address, voter }).await?;
            // A wiped voter that is added again is to vote again, whether `--voter` was said or not.
            let promotes = |member: &MemberStatus| member.id == id && member.promotes;
            let waits = voter || members.iter().any(promotes);
            match waits {
                true => print_once_it_votes(context, id, changed, members).await,
                false => print(context, Some(changed), &members),
            }
        }
        MemberCommand::Promote { id } => {
            let (changed, members) = ask(context, Admin::PromoteMember { id }).await?;
            print_once_it_votes(context, id, changed, members).await
        }
        MemberCommand::Update { id, address } => {
            let (changed, members) = ask(context, Admin::UpdateMember { id, address }).await?;
            print(context, Some(changed), &members)
        }
        MemberCommand::Remove { id, force } => {
            let (changed, members) = ask(context, Admin::RemoveMember { id, force }).await?;
            print(context, Some(changed), &members)
        }
    }
}

async fn ask(context: &Context, admin: Admin) -> Result<(bool, Vec<MemberStatus>), Failure> {
    match context.client().admin(admin).await? {
        AdminReply::Members { changed, members } => Ok((changed, members)),
        other => Err(nonsense(&other)),
    }
}

fn nonsense(reply: &AdminReply) -> Failure {
    Failure::new(
        Exit::Unknown,
        format!("the leader's answer does not fit: {reply:?}"),
    )
}

/// The leader makes it a voter once it has caught up. When there is no time to wait for that the members are printed as they were last, and it is
/// no success: whoever stops another node next must know.
async fn print_once_it_votes(
    context: &mut Context,
    id: u64,
    changed: bool,
    mut members: Vec<MemberStatus>,
) -> Outcome {
    let votes =
        |members: &[MemberStatus]| members.iter().any(|member| member.id == id && member.voter);
    while !votes(&members) && Instant::now() + LOOK_AGAIN < context.deadline {
        sleep(LOOK_AGAIN).await;
        if let Some(leader) = overview(context).await.leader() {
            members.clone_from(&leader.members);
        }
    }
    print(context, Some(changed), &members)?;
    if votes(&members) {
        return Ok(());
    }
    let message = format!("node {id} does not vote yet: it has not caught up");
    Err(Failure::new(Exit::Other, message).hint(
        "the leader makes it a voter by itself, see `raft-cli member list`; a longer --timeout waits longer",
    ))
}

fn seat(member: &MemberStatus) -> &'static str {
    match (member.voter, member.promotes) {
        (true, _) => "voter",
        (false, true) => "learner, votes once it has caught up",
        (false, false) => "learner",
    }
}

fn print(context: &mut Context, changed: Option<bool>, members: &[MemberStatus]) -> Outcome {
    if context.output.is_json() {
        let member = |member: &MemberStatus| {
            json!({
                "id": member.id,
                "address": member.address,
                "voter": member.voter,
                "promotes": member.promotes,
                "incarnation": format!("{:016x}", member.incarnation),
            })
        };
        let members: Vec<Value> = members.iter().map(member).collect();
        let mut object = json!({ "members": members });
        if let Some(changed) = changed {
            crate::output::add(&mut object, "changed", json!(changed));
        }
        context.output.json(&object)?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            vec![
                member.id.to_string(),
                member.address.clone(),
                seat(member).to_owned(),
            ]
        })
        .collect();
    let text = table::render(&["ID", "ADDRESS", "SEAT"], &["ID"], &rows);
    context.output.raw(text.as_bytes())?;
    Ok(())
}

/// Hands the lead over, and waits until the new leader says that it leads.
pub(crate) async fn move_lead(context: &mut Context, to: Option<u64>) -> Outcome {
    let admin = Admin::MoveLead {
        to: to.unwrap_or(0),
    };
    let to = match context.client().admin(admin).await? {
        AdminReply::Moving { to } => to,
        other => return Err(nonsense(&other)),
    };
    loop {
        let overview = overview(context).await;
        if let Some(leader) = leads(&overview, to) {
            let address = address_of(&leader.members, to);
            return crate::status::print_leader(context, to, &address, leader.term);
        }
        if Instant::now() + LOOK_AGAIN >= context.deadline {
            let leads = overview.leader().map(|leader| leader.id);
            let message = match leads {
                Some(id) => format!("node {to} did not take over; node {id} leads"),
                None => format!("node {to} did not take over in time, and no member leads yet"),
            };
            return Err(Failure::new(Exit::Other, message)
                .hint("`raft-cli status` shows how far behind each member is"));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn leads(overview: &Overview, id: u64) -> Option<NodeStatus> {
    let leader = overview.leader()?;
    (leader.id == id).then(|| leader.clone())
}

fn address_of(members: &[MemberStatus], id: u64) -> String {
    let found = members.iter().find(|member| member.id == id);
    found.map_or_else(String::new, |member| member.address.clone())
}
