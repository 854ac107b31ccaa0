//! What the nodes say of themselves, each asked for itself.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::failure::{Cause, EndpointAnswer, Failure};
use super::handle::Client;
use super::machine::{Ask, End};
use crate::api::{LeaderHint, MemberStatus, NodeStatus, Reply};

/// How many addresses are asked at most.
const MEMBERS_MAX: usize = 64;

/// One node, as far as it could be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The address that was asked.
    pub address: String,
    /// Its node id: from itself, or else from what the others say of the address.
    pub id: Option<u64>,
    /// What the leader, or else another node, says of it; none: nobody knows it as a member.
    pub seen: Option<MemberStatus>,
    /// What it says itself.
    pub status: Result<NodeStatus, EndpointAnswer>,
}

/// All nodes that are known, at about one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Overview {
    /// By id; those without one last.
    pub members: Vec<Member>,
}

impl Overview {
    /// The node that leads, in the newest term in which one says so.
    pub fn leader(&self) -> Option<&NodeStatus> {
        let leads =
            |member: &'_ Member| matches!(&member.status, Ok(status) if status.role == "leader");
        let statuses = self
            .members
            .iter()
            .filter(|member| leads(member))
            .filter_map(|m| m.status.as_ref().ok());
        statuses.max_by_key(|status| status.term)
    }

    /// How many voters there are, and how many of them answered; as the leader has it, or else the node with the
    /// highest commit index.
    pub fn voters(&self) -> Option<(usize, usize)> {
        let answered = || {
            self.members
                .iter()
                .filter_map(|member| member.status.as_ref().ok())
        };
        let knows = self
            .leader()
            .or_else(|| answered().max_by_key(|status| status.commit))?;
        let voters: BTreeSet<(u64, u64)> = knows
            .members
            .iter()
            .filter(|member| member.voter)
            .map(|member| (member.id, member.incarnation))
            .collect();
        let reached: BTreeSet<(u64, u64)> = answered()
            .map(|status| (status.id, status.incarnation))
            .filter(|who| voters.contains(who))
            .collect();
        Some((voters.len(), reached.len()))
    }
}

impl Client {
    /// What the node at `address` says of itself. It is asked once, and not by way of another node.
    ///
    /// # Errors
    /// What became of it instead.
    pub async fn status(&self, address: &str) -> Result<NodeStatus, EndpointAnswer> {
        match self
            .ask(Ask::Status {
                address: address.to_owned(),
            })
            .await
        {
            End::Answered {
                reply: Reply::Status(status),
                ..
            } => Ok(status),
            End::NotApplied(Failure {
                cause: Cause::Endpoint(answer),
                ..
            }) => Err(answer),
            End::NotApplied(failure) | End::Unknown(failure) => {
                Err(EndpointAnswer::Lost(failure.cause.to_string()))
            }
            End::Answered { .. } => Err(EndpointAnswer::Lost(Cause::Protocol.to_string())),
        }
    }

    /// What every node says of itself: all endpoints are asked at once, and with them every member that an answer
    /// tells of. Ends by the client's deadline, with whatever there is then.
    pub async fn overview(&self) -> Overview {
        let client = self.until(self.deadline());
        let mut asked = BTreeSet::new();
        let mut questions = JoinSet::new();
        let mut answers: Vec<(String, Result<NodeStatus, EndpointAnswer>)> = Vec::new();
        let mut to_ask: Vec<String> = client.endpoints().to_vec();
        loop {
            for address in to_ask.drain(..) {
                if asked.len() < MEMBERS_MAX && asked.insert(address.clone()) {
                    let client = client.clone();
                    questions.spawn(async move {
                        let status = client.status(&address).await;
                        (address, status)
                    });
                }
            }
            let Some(joined) = questions.join_next().await else {
                break;
            };
            let Ok((address, status)) = joined else {
                continue;
            };
            if let Ok(status) = &status {
                let known: BTreeSet<u64> = answers
                    .iter()
                    .filter_map(|(_, s)| s.as_ref().ok())
                    .map(|s| s.id)
                    .collect();
                let others = status
                    .members
                    .iter()
                    .filter(|m| m.id != status.id && !known.contains(&m.id));
                to_ask.extend(others.map(|member| member.address.clone()));
            }
            answers.push((address, status));
        }
        Overview {
            members: merge(answers),
        }
    }

    /// Who leads, as a node that says that it leads itself has it.
    pub async fn leader(&self) -> Option<LeaderHint> {
        let overview = self.overview().await;
        let status = overview.leader()?;
        let member = overview
            .members
            .iter()
            .find(|member| member.status.as_ref().is_ok_and(|s| s == status))?;
        let address = status
            .members
            .iter()
            .find(|known| known.id == status.id)
            .map_or_else(|| member.address.clone(), |known| known.address.clone());
        Some(LeaderHint {
            node: status.id,
            address,
        })
    }
}

/// A row for each node: one that answered under two addresses has one, and so has a member that did not answer.
fn merge(answers: Vec<(String, Result<NodeStatus, EndpointAnswer>)>) -> Vec<Member> {
    let mut known: Vec<MemberStatus> = Vec::new();
    let mut statuses: Vec<&NodeStatus> = answers
        .iter()
        .filter_map(|(_, status)| status.as_ref().ok())
        .collect();
    // Whose word counts most comes first.
    statuses.sort_by_key(|status| {
        std::cmp::Reverse((status.role == "leader", status.term, status.commit))
    });
    for member in statuses.iter().flat_map(|status| &status.members) {
        if !known.iter().any(|k| k.id == member.id) {
            known.push(member.clone());
        }
    }
    let seen = |id: Option<u64>, address: &str| {
        known
            .iter()
            .find(|k| id.map_or(k.address == address, |id| k.id == id))
            .cloned()
    };
    let (mut members, mut silent) = (Vec::<Member>::new(), Vec::<Member>::new());
    for (address, status) in &answers {
        let id = status.as_ref().ok().map(|status| status.id);
        let seen = seen(id, address);
        let id = id.or(seen.as_ref().map(|seen| seen.id));
        let member = Member {
            address: address.clone(),
            id,
            seen,
            status: status.clone(),
        };
        if member.status.is_err() {
            silent.push(member);
        } else if !members.iter().any(|other| other.id == id) {
            members.push(member);
        }
    }
    for member in silent {
        if member.id.is_none() || !members.iter().any(|other| other.id == member.id) {
            members.push(member);
        }
    }
    members.sort_by_key(|member| (member.id.is_none(), member.id));
    members
}

impl Client {
    /// The moment by which a request begun now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline_from(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, role: &str, term: u64) -> NodeStatus {
        let members = (1..=3)
            .map(|id| MemberStatus {
                id,
                incarnation: id * 10,
                address: format!("n{id}:1"),
                voter: true,
                ..MemberStatus::default()
            })
            .collect();
        NodeStatus {
            id,
            incarnation: id * 10,
            role: role.into(),
            term,
            members,
            ..NodeStatus::default()
        }
    }

    #[test]
    fn every_member_has_one_row_however_it_was_reached() {
        let answers = vec![
            ("proxy:1".to_owned(), Ok(node(1, "leader", 4))),
            ("n1:1".to_owned(), Ok(node(1, "leader", 4))),
            ("n3:1".to_owned(), Err(EndpointAnswer::Silent)),
            ("n2:1".to_owned(), Ok(node(2, "follower", 4))),
            (
                "x:1".to_owned(),
                Err(EndpointAnswer::Unreachable("refused".into())),
            ),
        ];
        let overview = Overview {
            members: merge(answers),
        };
        let rows: Vec<_> = overview
            .members
            .iter()
            .map(|m| (m.id, m.address.as_str(), m.status.is_ok()))
            .collect();
        assert_eq!(
            rows,
            [
                (Some(1), "proxy:1", true),
                (Some(2), "n2:1", true),
                (Some(3), "n3:1", false),
                (None, "x:1", false)
            ]
        );
        assert_eq!(overview.voters(), Some((3, 2)));
        assert_eq!(overview.leader().map(|status| status.id), Some(1));
    }

    #[test]
    fn of_two_leaders_the_later_term_counts_and_a_wiped_voter_does_not() {
        let mut wiped = node(3, "learner", 0);
        wiped.incarnation = 99;
        let answers = vec![
            ("n1:1".to_owned(), Ok(node(1, "leader", 4))),
            ("n2:1".to_owned(), Ok(node(2, "leader", 5))),
            ("n3:1".to_owned(), Ok(wiped)),
        ];
        let overview = Overview {
            members: merge(answers),
        };
        assert_eq!(overview.leader().map(|status| status.id), Some(2));
        assert_eq!(overview.voters(), Some((3, 2)));
        assert_eq!(Overview::default().voters(), None);
    }
}
