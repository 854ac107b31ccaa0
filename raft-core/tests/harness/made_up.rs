//! Messages made up by hand, for scripts.

use raft_core::*;

/// What a script may say about a message.
pub struct Fields {
    pub commit: Index,
    pub matched: Index,
    pub last: LogId,
    pub prev: LogId,
    pub hint: LogId,
    pub entries: Vec<Entry>,
    /// How many voters a snapshot's membership has; 0 for none at all.
    pub members: u64,
    /// What an answer to a candidate says.
    pub granted: bool,
    /// Whether a vote is asked for because the leader wants it so.
    pub transfer: bool,
}

/// A message of this kind; none when there is no such kind.
pub fn made_up(kind: &str, id: RequestId, fields: Fields) -> Option<Message> {
    let Fields {
        commit,
        matched,
        last,
        prev,
        hint,
        entries,
        members,
        granted,
        transfer,
    } = fields;
    Some(match kind {
        "append" => Message::AppendRequest {
            id,
            prev,
            entries: entries.into(),
            commit,
        },
        "snapshot" => Message::SnapshotRequest {
            id,
            snapshot: Snapshot {
                last,
                membership: match members {
                    0 => of_nobody(),
                    count => super::membership(1..=count),
                },
                membership_at: hint,
            },
        },
        "heartbeat" => Message::HeartbeatRequest { id, commit },
        "vote" => Message::VoteRequest { id, last, transfer },
        "timeout-now" => Message::TimeoutNow { id },
        "not-a-member" => Message::NotAMember { id, at: last },
        "read" => Message::ReadRequest { id },
        "read-response" => Message::ReadResponse {
            id,
            index: Some(commit),
        },
        "prevote" => Message::PreVoteRequest { id, last },
        "vote-response" => Message::VoteResponse { id, granted },
        "prevote-response" => Message::PreVoteResponse { id, granted },
        "append-response" => Message::AppendResponse {
            id,
            result: AppendResult::Matched(matched),
        },
        "conflict-response" => Message::AppendResponse {
            id,
            result: AppendResult::Conflict {
                prev: prev.index,
                hint,
            },
        },
        "heartbeat-response" => Message::HeartbeatResponse {
            id,
            matched,
            full: false,
        },
        _ => return None,
    })
}

/// A membership of no voters, as a node has it that knows of none, and no honest peer sends it.
fn of_nobody() -> Membership {
    let identity = Identity {
        cluster: ClusterId([1; 16]),
        member: super::member(1),
        boot: Boot(1),
    };
    let new = Raft::join(Config::new(1), identity).unwrap();
    new.membership().clone()
}
