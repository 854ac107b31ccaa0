//! Transactions, leases, locks, and what is kept of the past.

use std::collections::BTreeMap;

use crate::store_machine::{Client, Machine, bytes, command, put, put_if};
use bytes::Bytes;
use proptest::prelude::*;
use raft_kv::api::*;
use raft_kv::store::{Settings, Store};

/// Keys and values.
type Pairs = Vec<(Bytes, Bytes)>;
/// The lease of each claim.
type Claims = BTreeMap<(Bytes, Token), LeaseId>;

impl Client {
    fn store(&self) -> &Store {
        &self.machine.store
    }

    fn lease(&mut self) -> LeaseId {
        match self.run(Operation::Grant { ttl_ms: 5000 }) {
            CommandReply::Granted { lease } => lease,
            reply => panic!("{reply:?}"),
        }
    }

    fn put_on(&mut self, key: &str, lease: LeaseId) -> CommandReply {
        self.run(Operation::Put {
            key: bytes(key),
            value: bytes("v"),
            lease,
            want_previous: false,
            conditions: vec![],
        })
    }

    fn claim(&mut self, lease: LeaseId, queue: bool) -> CommandReply {
        self.run(Operation::Claim {
            lock: bytes("lock"),
            lease,
            value: bytes("me"),
            queue,
        })
    }

    fn holder(&self) -> Option<Token> {
        let queue = self.store().lock(b"lock", 1);
        queue.claims.first().map(|claim| claim.token)
    }

    /// The keys and values as they were after a revision.
    fn at(&self, revision: Revision) -> Result<Vec<(Bytes, Bytes)>, RevisionError> {
        let reply = self.store().query(&all_at(revision), usize::MAX)?;
        assert_eq!(reply.count, reply.kvs.len() as u64);
        Ok(reply.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect())
    }

    fn changes(&self, from: Revision) -> Vec<Change> {
        let watched = Watched::Keys(KeyRange::Prefix(Bytes::new()));
        let found = self.store().changes(from, &watched, u64::MAX, usize::MAX);
        let (changes, next) = found.unwrap();
        assert_eq!(next, self.store().revision() + 1);
        changes
    }
}

fn all_at(revision: Revision) -> Query {
    Query {
        keys: KeyRange::Prefix(Bytes::new()),
        limit: 0,
        keys_only: false,
        count_only: false,
        reverse: false,
        revision,
    }
}

fn delete(key: &str) -> Operation {
    Operation::Delete {
        keys: KeyRange::Prefix(bytes(key)),
        want_previous: false,
        conditions: vec![],
    }
}

fn step_put(key: &str, value: &str) -> Step {
    Step::Put {
        key: bytes(key),
        value: bytes(value),
        lease: 0,
        want_previous: true,
    }
}

fn step_delete(key: &str) -> Step {
    Step::Delete {
        keys: KeyRange::Prefix(bytes(key)),
        want_previous: true,
    }
}

fn transact(conditions: Vec<Condition>, then: Vec<Step>, otherwise: Vec<Step>) -> Operation {
    Operation::Transaction(Transaction {
        conditions,
        then,
        otherwise,
    })
}

fn compare(key: &str, relation: Relation, field: Field) -> Condition {
    Condition::Compare {
        key: bytes(key),
        relation,
        field,
    }
}

fn steps(reply: CommandReply) -> (bool, Revision, Vec<StepReply>) {
    match reply {
        CommandReply::Transaction {
            succeeded,
            revision,
            steps,
        } => (succeeded, revision, steps),
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_transaction_does_all_at_one_revision_or_the_other_thing() {
    let mut client = Client::new(Settings::default());
    client.run(put("a", "1"));
    let swap = |expected: &str| {
        transact(
            vec![compare("a", Relation::Equal, Field::Value(bytes(expected)))],
            vec![step_put("a", "2"), step_put("b", "2")],
            vec![step_put("c", "other")],
        )
    };
    let (succeeded, revision, replies) = steps(client.run(swap("1")));
    assert_eq!((succeeded, revision, replies.len()), (true, 2, 2));
    let (succeeded, revision, replies) = steps(client.run(swap("1")));
    assert_eq!((succeeded, revision, replies.len()), (false, 3, 1));
    let found = client.store().query(&all_at(0), usize::MAX).unwrap().kvs;
    let seen: Vec<_> = found
        .iter()
        .map(|kv| (&kv.key[..], &kv.value[..], kv.mod_revision))
        .collect();
    assert_eq!(
        seen,
        [
            (&b"a"[..], &b"2"[..], 2),
            (b"b", b"2", 2),
            (b"c", b"other", 3)
        ]
    );
}

#[test]
fn a_step_sees_what_those_before_it_did_and_a_watcher_sees_only_the_end() {
    let mut client = Client::new(Settings::default());
    client.run(put("a", "0"));
    let reply = client.run(transact(
        vec![],
        vec![
            step_put("a", "1"),
            Step::Get(all_at(0)),
            step_put("b", "1"),
            step_delete("b"),
            step_put("a", "2"),
            step_delete("z"),
        ],
        vec![],
    ));
    let (_, revision, replies) = steps(reply);
    assert_eq!(revision, 2);
    let StepReply::Got(got) = &replies[1] else {
        panic!("{replies:?}");
    };
    assert_eq!(got.kvs[0].value, "1");
    let StepReply::Put {
        previous: Some(previous),
    } = &replies[4]
    else {
        panic!("{replies:?}");
    };
    assert_eq!(previous.value, "1");
    // One event: what stood before the command, and what stands behind it. It was written once more, not twice.
    let changes = client.changes(2);
    let [Change { events, .. }] = &changes[..] else {
        panic!("{changes:?}");
    };
    let [
        Event::Put {
            kv,
            previous: Some(previous),
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((&kv.value[..], kv.version), (&b"2"[..], 2));
    assert_eq!(previous.value, "0");
}

#[test]
fn a_transaction_that_changes_nothing_is_no_revision() {
    let mut client = Client::new(Settings::default());
    let nothing = transact(
        vec![],
        vec![step_put("a", "1"), step_delete("a"), step_delete("b")],
        vec![],
    );
    let (succeeded, revision, _) = steps(client.run(nothing));
    assert_eq!((succeeded, revision), (true, 0));
    assert_eq!(client.store().revision(), 0);
    assert_eq!(client.store().key_count(), 0);
}

#[test]
fn a_transactions_reply_has_what_fits_into_one() {
    let mut client = Client::new(Settings::default());
    let large = "x".repeat(VALUE_BYTES_MAX);
    for key in ["a", "b"] {
        client.run(put(key, &large));
    }
    let get = |key: &str| {
        Step::Get(Query {
            keys: KeyRange::Key(bytes(key)),
            ..all_at(0)
        })
    };
    let then = vec![
        get("a"),
        get("b"),
        step_put("a", ""),
        step_delete("b"),
        get("c"),
    ];
    let (.., replies) = steps(client.run(transact(vec![], then, vec![])));
    let [
        StepReply::Got(first),
        StepReply::Got(second),
        StepReply::Put { previous: None },
        StepReply::Deleted { count: 1, previous },
        StepReply::Got(nothing),
    ] = &replies[..]
    else {
        panic!("{replies:?}");
    };
    assert_eq!((first.kvs.len(), first.count, first.more), (1, 1, false));
    assert_eq!((second.kvs.len(), second.count, second.more), (0, 1, true));
    assert!(previous.is_empty());
    assert_eq!(
        (nothing.kvs.len(), nothing.count, nothing.more),
        (0, 0, false)
    );
}

#[test]
fn a_transaction_with_an_unknown_lease_leaves_nothing_behind() {
    let mut client = Client::new(Settings::default());
    let on_lease = Step::Put {
        key: bytes("b"),
        value: bytes("1"),
        lease: 99,
        want_previous: false,
    };
    let reply = client.run(transact(vec![], vec![step_put("a", "1"), on_lease], vec![]));
    assert_eq!(reply, CommandReply::Refused(Refusal::NoSuchLease));
    assert_eq!(client.store().key_count(), 0);
    assert_eq!(client.store().revision(), 0);
}

#[test]
fn a_comparison_is_of_what_stands_there_or_of_nothing() {
    use Relation::{Equal, Greater, Less, NotEqual};
    let mut client = Client::new(Settings::default());
    client.run(put("a", "5"));
    client.run(put("a", "6"));
    let lease = client.lease();
    client.put_on("b", lease);
    let value = |text| Field::Value(bytes(text));
    for (key, relation, field, holds) in [
        ("a", Equal, value("6"), true),
        ("a", Less, value("7"), true),
        ("a", Greater, value("7"), false),
        ("a", NotEqual, value("7"), true),
        ("none", Equal, value(""), false),
        ("none", NotEqual, value(""), true),
        ("none", Less, value("x"), false),
        ("none", Greater, value(""), false),
        ("a", Equal, Field::CreateRevision(1), true),
        ("a", Greater, Field::ModRevision(1), true),
        ("a", Equal, Field::ModRevision(2), true),
        ("a", Equal, Field::Version(2), true),
        ("none", Equal, Field::Version(0), true),
        ("none", Less, Field::CreateRevision(1), true),
        ("b", Equal, Field::Lease(lease), true),
        ("a", Equal, Field::Lease(0), true),
    ] {
        let conditions = vec![compare(key, relation, field.clone())];
        let (succeeded, ..) = steps(client.run(transact(conditions, vec![], vec![])));
        assert_eq!(succeeded, holds, "{key} {relation:?} {field:?}");
    }
}

#[test]
fn keys_and_claims_go_with_their_lease_at_one_revision() {
    for expires in [false, true] {
        let mut client = Client::new(Settings::default());
        let lease = client.lease();
        client.put_on("a", lease);
        client.put_on("b", lease);
        client.run(put("c", "stays"));
        client.claim(lease, true);
        // A key that is written without the lease does not live by it any more.
        client.run(put("b", "freed"));
        assert_eq!(client.store().revision(), 5);
        let end = if expires {
            let leases = vec![lease, 99];
            client
                .machine
                .apply(&command(0, 0, 0, Operation::Expire { leases }))
        } else {
            client.run(Operation::Revoke { lease })
        };
        assert_eq!(
            end,
            CommandReply::Revoked {
                count: 2,
                revision: 6
            }
        );
        assert_eq!(client.holder(), None);
        let left = client.at(0).unwrap();
        assert_eq!(
            left,
            [(bytes("b"), bytes("freed")), (bytes("c"), bytes("stays"))]
        );
        assert_eq!(client.store().lease(lease, 10), None);
        let again = client.run(Operation::Revoke { lease });
        assert_eq!(again, CommandReply::Refused(Refusal::NoSuchLease));
    }
}

#[test]
fn what_needs_a_lease_that_is_gone_is_refused() {
    let mut client = Client::new(Settings::default());
    let lease = client.lease();
    client.run(Operation::Revoke { lease });
    let refused = CommandReply::Refused(Refusal::NoSuchLease);
    assert_eq!(client.put_on("a", lease), refused);
    assert_eq!(client.claim(lease, true), refused);
    assert_eq!(client.store().revision(), 0);
}

#[test]
fn a_lock_passes_on_in_the_order_of_the_claims() {
    let mut client = Client::new(Settings::default());
    let leases: Vec<_> = (0..3).map(|_| client.lease()).collect();
    let tokens: Vec<_> = leases
        .iter()
        .enumerate()
        .map(|(ahead, &lease)| match client.claim(lease, true) {
            CommandReply::Claimed {
                token,
                ahead: found,
                ..
            } => {
                assert_eq!(found, ahead as u64);
                token
            }
            reply => panic!("{reply:?}"),
        })
        .collect();
    assert!(tokens.is_sorted_by(|a, b| a < b));
    assert_eq!(client.holder(), Some(tokens[0]));
    // Whoever asks again keeps its place, and changes its value only.
    let again = client.run(Operation::Claim {
        lock: bytes("lock"),
        lease: leases[0],
        value: bytes("new"),
        queue: false,
    });
    let revision = client.store().revision();
    let token = tokens[0];
    assert_eq!(
        again,
        CommandReply::Claimed {
            token,
            ahead: 0,
            revision
        }
    );
    // One that waits gives up, and the holder's lease ends: it is the third one's.
    let release = Operation::Release {
        lock: bytes("lock"),
        token: tokens[1],
    };
    let released = |reply| matches!(reply, CommandReply::Released { stood: true, .. });
    assert!(released(client.run(release.clone())));
    assert!(!released(client.run(release)));
    client.run(Operation::Revoke { lease: leases[0] });
    assert_eq!(client.holder(), Some(tokens[2]));
}

#[test]
fn whoever_does_not_queue_gets_a_lock_only_when_it_is_free() {
    let mut client = Client::new(Settings::default());
    let (first, second) = (client.lease(), client.lease());
    let CommandReply::Claimed { token, .. } = client.claim(first, false) else {
        panic!("it is free");
    };
    let revision = client.store().revision();
    let CommandReply::Taken {
        holder,
        revision: seen,
    } = client.claim(second, false)
    else {
        panic!("it is not free");
    };
    assert_eq!((holder.token, holder.lease, seen), (token, first, revision));
    assert_eq!(client.store().revision(), revision, "nothing has changed");
    client.run(Operation::Release {
        lock: bytes("lock"),
        token,
    });
    assert!(matches!(
        client.claim(second, false),
        CommandReply::Claimed { ahead: 0, .. }
    ));
}

#[test]
fn a_write_with_the_token_of_a_former_holder_is_refused() {
    let mut client = Client::new(Settings::default());
    let (first, second) = (client.lease(), client.lease());
    client.claim(first, true);
    client.claim(second, true);
    let old = client.holder().unwrap();
    let fenced = |token, value| {
        put_if(
            "resource",
            value,
            vec![Condition::Holds {
                lock: bytes("lock"),
                token,
            }],
        )
    };
    assert!(matches!(
        client.run(fenced(old, "first")),
        CommandReply::Put { .. }
    ));
    client.run(Operation::Revoke { lease: first });
    let new = client.holder().unwrap();
    assert!(new > old);
    assert!(matches!(
        client.run(fenced(old, "late")),
        CommandReply::ConditionFailed { current: None, .. }
    ));
    assert!(matches!(
        client.run(fenced(new, "second")),
        CommandReply::Put { .. }
    ));
}

#[test]
fn the_state_has_bounds_of_its_own() {
    let mut client = Client::new(Settings {
        leases_max: 3,
        claims_max: 3,
        queue_max: 2,
        ..Settings::default()
    });
    let leases: Vec<_> = (0..3).map(|_| client.lease()).collect();
    let fourth = client.run(Operation::Grant { ttl_ms: 5000 });
    assert_eq!(fourth, CommandReply::Refused(Refusal::TooManyLeases));
    let mut claim = |lock: &str, lease| {
        client.run(Operation::Claim {
            lock: bytes(lock),
            lease,
            value: Bytes::new(),
            queue: true,
        })
    };
    let taken = |reply| matches!(reply, CommandReply::Claimed { .. });
    assert!(taken(claim("a", leases[0])));
    assert!(taken(claim("a", leases[1])));
    let refused = CommandReply::Refused(Refusal::TooManyClaims);
    assert_eq!(claim("a", leases[2]), refused);
    assert!(taken(claim("b", leases[2])));
    assert_eq!(claim("c", leases[2]), refused);
    client.run(Operation::Revoke { lease: leases[0] });
    client.lease();
}

#[test]
fn what_is_compacted_is_told_from_what_is_yet_to_come() {
    let mut client = Client::new(Settings::default());
    for value in ["1", "2", "3", "4"] {
        client.run(put("a", value));
    }
    let compact = |revision| Operation::Compact { revision };
    let future = client.run(compact(5));
    assert_eq!(future, CommandReply::Refused(Refusal::FutureRevision));
    let done = client.run(compact(2));
    assert_eq!(done, CommandReply::Compacted { oldest: 2 });
    // It never goes back.
    let done = client.run(compact(1));
    assert_eq!(done, CommandReply::Compacted { oldest: 2 });
    assert_eq!(client.at(1), Err(RevisionError::Compacted { oldest: 2 }));
    assert_eq!(client.at(2).unwrap(), [(bytes("a"), bytes("2"))]);
    assert_eq!(client.at(5), Err(RevisionError::Future { newest: 4 }));
    let watched = Watched::Keys(KeyRange::Key(bytes("a")));
    let watch = |from| client.store().changes(from, &watched, u64::MAX, usize::MAX);
    assert_eq!(watch(2), Err(RevisionError::Compacted { oldest: 2 }));
    let (changes, next) = watch(3).unwrap();
    let revisions: Vec<_> = changes.iter().map(|change| change.revision).collect();
    assert_eq!((revisions, next), (vec![3, 4], 5));
    // Nothing yet is no error: whoever watches waits.
    assert_eq!(watch(9).unwrap(), (vec![], 9));
}

#[test]
fn the_history_is_kept_within_its_bounds_and_never_without_the_newest() {
    let mut client = Client::new(Settings {
        history_revisions_max: 3,
        ..Settings::default()
    });
    for number in 0..10 {
        client.run(put("a", &number.to_string()));
    }
    assert_eq!(client.store().oldest_revision(), 7);
    let mut client = Client::new(Settings {
        history_bytes_max: 1000,
        ..Settings::default()
    });
    for _ in 0..10 {
        client.run(put("a", &"x".repeat(2000)));
    }
    assert_eq!(client.store().oldest_revision(), 9);
    assert_eq!(client.changes(10).len(), 1);
}

#[derive(Clone, Debug)]
enum Deed {
    Put(u8, u8),
    Delete(u8),
    Both(u8, u8, u8),
    Grant,
    PutOn(u8, u8),
    Claim(u8, u8),
    Release(u8),
    Revoke(u8),
    Compact(u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = || 0..6_u8;
    prop_oneof![
        4 => (n(), any::<u8>()).prop_map(|(key, value)| Deed::Put(key, value)),
        2 => n().prop_map(Deed::Delete),
        2 => (n(), n(), any::<u8>()).prop_map(|(a, b, value)| Deed::Both(a, b, value)),
        1 => Just(Deed::Grant),
        2 => (n(), n()).prop_map(|(key, lease)| Deed::PutOn(key, lease)),
        2 => (n(), n()).prop_map(|(lock, lease)| Deed::Claim(lock, lease)),
        1 => n().prop_map(Deed::Release),
        1 => n().prop_map(Deed::Revoke),
        1 => (0..4_u8).prop_map(Deed::Compact),
    ]
}

fn name(number: u8) -> String {
    // Some are prefixes of others.
    ["a", "ab", "abc", "b", "ba", "c"][usize::from(number)].to_owned()
}

impl Client {
    fn deed(&mut self, deed: &Deed, leases: &mut Vec<LeaseId>) {
        let lease = |leases: &[LeaseId], number: u8| {
            leases
                .get(usize::from(number) % leases.len().max(1))
                .copied()
        };
        match *deed {
            Deed::Put(key, value) => drop(self.run(put(&name(key), &value.to_string()))),
            Deed::Delete(key) => drop(self.run(delete(&name(key)))),
            Deed::Both(a, b, value) => {
                let steps = vec![
                    step_delete(&name(a)),
                    step_put(&name(b), &value.to_string()),
                    step_put(&name(a), "again"),
                    step_delete(&name(b)),
                ];
                self.run(transact(vec![], steps, vec![]));
            }
            Deed::Grant => leases.push(self.lease()),
            Deed::PutOn(key, number) => {
                if let Some(lease) = lease(leases, number) {
                    self.put_on(&name(key), lease);
                }
            }
            Deed::Claim(lock, number) => {
                if let Some(lease) = lease(leases, number) {
                    self.run(Operation::Claim {
                        lock: bytes(&name(lock)),
                        lease,
                        value: bytes(&number.to_string()),
                        queue: true,
                    });
                }
            }
            Deed::Release(lock) => {
                let queue = self.store().lock(name(lock).as_bytes(), 9);
                if let Some(claim) = queue.claims.last() {
                    self.run(Operation::Release {
                        lock: bytes(&name(lock)),
                        token: claim.token,
                    });
                }
            }
            Deed::Revoke(number) => {
                if let Some(lease) = lease(leases, number) {
                    self.run(Operation::Revoke { lease });
                }
            }
            Deed::Compact(back) => {
                let revision = self.store().revision().saturating_sub(back.into());
                if revision > 0 {
                    self.run(Operation::Compact { revision });
                }
            }
        }
    }

    fn claims(&self) -> Claims {
        let locks = (0..6).map(name);
        locks
            .flat_map(|lock| {
                let queue = self.store().lock(lock.as_bytes(), 99);
                let lock = bytes(&lock);
                queue
                    .claims
                    .into_iter()
                    .map(move |claim| ((lock.clone(), claim.token), claim.lease))
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Every kept revision reads as it was; the changes lead from each to the next; and a snapshot keeps all of it, in the same bytes.
    #[test]
    fn the_past_stays_as_it_was(deeds in prop::collection::vec(deed(), 1..60)) {
        let mut client = Client::new(Settings { history_revisions_max: 20, ..Settings::default() });
        let mut leases = Vec::new();
        let mut states: BTreeMap<Revision, (Pairs, Claims)> =
            BTreeMap::from([(0, (vec![], BTreeMap::new()))]);
        for deed in &deeds {
            client.deed(deed, &mut leases);
            let now = (client.at(0).unwrap(), client.claims());
            let before = states.insert(client.store().revision(), now.clone());
            // Without a new revision nothing has changed.
            prop_assert!(before.is_none_or(|before| before == now));
        }
        let store = client.store();
        let oldest = store.oldest_revision();
        for (&revision, (keys, _)) in &states {
            if revision > 0 && revision >= oldest {
                prop_assert_eq!(&client.at(revision).unwrap(), keys);
            }
        }
        prop_assert!(store.revision() - oldest <= 20);
        let mut map: BTreeMap<Bytes, Bytes> = states[&oldest].0.iter().cloned().collect();
        let mut claims = states[&oldest].1.clone();
        let all = Watched::Keys(KeyRange::Prefix(Bytes::new()));
        let (mut changes, _) = store.changes(oldest + 1, &all, u64::MAX, usize::MAX).unwrap();
        for lock in (0..6).map(name) {
            let lock = Watched::Lock(bytes(&lock));
            changes.extend(store.changes(oldest + 1, &lock, u64::MAX, usize::MAX).unwrap().0);
        }
        changes.sort_by_key(|change| change.revision);
        for (at, change) in changes.iter().enumerate() {
            for event in &change.events {
                match event {
                    Event::Put { kv, previous } => {
                        let before = map.insert(kv.key.clone(), kv.value.clone());
                        prop_assert_eq!(before, previous.as_ref().map(|kv| kv.value.clone()));
                        prop_assert_eq!(kv.mod_revision, change.revision);
                    }
                    Event::Deleted { previous } => {
                        let before = map.remove(&previous.key);
                        prop_assert_eq!(before.as_ref(), Some(&previous.value));
                    }
                    Event::Claimed { lock, claim } => {
                        claims.insert((lock.clone(), claim.token), claim.lease);
                    }
                    Event::Released { lock, claim } => {
                        let before = claims.remove(&(lock.clone(), claim.token));
                        prop_assert_eq!(before, Some(claim.lease));
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let whole = changes.get(at + 1).is_none_or(|next| next.revision > change.revision);
            if let Some((keys, claimed)) = states.get(&change.revision).filter(|_| whole) {
                prop_assert_eq!(&map.clone().into_iter().collect::<Vec<_>>(), keys);
                prop_assert_eq!(&claims, claimed);
            }
        }

        let mut bytes = Vec::new();
        store.write_to(&mut bytes).unwrap();
        let restored = Store::read_from(&mut &bytes[..]).unwrap();
        prop_assert_eq!(restored.state_hash(), store.state_hash());
        let mut again = Vec::new();
        restored.write_to(&mut again).unwrap();
        prop_assert_eq!(&again, &bytes);
        // And it goes on alike: a lease that ends takes the same keys with it.
        let mut other = client.of(Machine::from(restored));
        for number in 0..6 {
            client.deed(&Deed::Revoke(number), &mut leases);
            other.deed(&Deed::Revoke(number), &mut leases);
            prop_assert_eq!(client.store().state_hash(), other.store().state_hash());
        }
    }
}
