//! A snapshot brings its membership, whole (paper §7, thesis §5.1).

use bytes::Bytes;
use raft_core::{
    Boot, Incarnation, LogId, Member, Membership, MembershipParts, Message, NodeId, RequestId,
    RoleName, Snapshot,
};

use crate::harness::{Cluster, Content, describe_membership, scripted_entry};
use crate::{config, say, status};

fn parts(voters: &[u64], outgoing: &[u64], demoted: &[u64], learners: &[u64]) -> Membership {
    let ids = |list: &[u64]| list.iter().copied().map(NodeId).collect::<Vec<_>>();
    let mut members = ids(&[voters, outgoing, learners].concat());
    members.sort_unstable();
    members.dedup();
    let member = |node: NodeId| (node, Member::new(Incarnation(node.0), Bytes::new()));
    Membership::from_parts(MembershipParts {
        members: members.into_iter().map(member).collect(),
        voters: ids(voters),
        outgoing: ids(outgoing),
        demoted: ids(demoted),
        replaced: Vec::new(),
    })
    .unwrap()
}

/// S-G3: n1, a voter until then, is sent a snapshot: it is a learner in it, a voter still, a voter of one half of a joint configuration, or
/// not in it at all. It has exactly that membership afterwards, and in its next life too, and campaigns only where it votes.
#[test]
fn a_snapshot_brings_its_membership_whole() {
    for (membership, role, campaigns) in [
        (parts(&[1, 2, 3], &[], &[], &[4]), RoleName::Follower, true),
        (parts(&[2, 3], &[], &[], &[1]), RoleName::Learner, false),
        (parts(&[1, 2], &[2, 3], &[], &[4]), RoleName::Follower, true),
        (
            parts(&[2, 3], &[1, 2, 3], &[1], &[]),
            RoleName::Follower,
            true,
        ),
        (
            parts(&[2, 3], &[1, 2, 3], &[], &[]),
            RoleName::Follower,
            true,
        ),
        (parts(&[2, 3], &[], &[], &[]), RoleName::Learner, false),
    ] {
        let shown = describe_membership(&membership);
        let mut cluster = Cluster::scripted(config(), &vec![vec![1]; 3], &[2, 2, 2]);
        let id = RequestId {
            boot: Boot(1),
            number: 1,
        };
        let snapshot = Snapshot {
            last: LogId::new(6, 2),
            membership: membership.clone(),
            membership_at: LogId::new(5, 2),
        };
        let entries = (1..=6).map(|index| scripted_entry(LogId::new(index, 2)));
        cluster
            .cargo
            .insert((2, id), Content::new(entries.collect()));
        say(
            &mut cluster,
            2,
            1,
            2,
            Message::SnapshotRequest { id, snapshot },
        );
        for life in 1..=2 {
            let status = status(&cluster, 1);
            assert_eq!(status.membership, membership, "{shown}, life {life}");
            assert_eq!(status.role, role, "{shown}, life {life}");
            if life == 1 {
                cluster.crash(1, 0);
                cluster.start(1);
            }
        }
        cluster.net.clear();
        (0..60).for_each(|_| cluster.tick(1, 1));
        // A learner asks too, whether it was removed; but campaigns for nothing.
        let campaigned = status(&cluster, 1).role == RoleName::PreCandidate;
        assert_eq!(campaigned, campaigns, "{shown}");
    }
}
