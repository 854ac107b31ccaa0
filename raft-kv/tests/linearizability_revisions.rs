//! What answers say of the store's revision, by itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail so"
)]

use raft_kv::sim::linearizability::revisions::{
    Claim, RevisionFault, check_missing, check_revisions,
};

/// `made`: number, revision, from, to.
fn made(number: u64, revision: u64, invoked: u64, returned: u64) -> Claim {
    Claim {
        operation: (1, number),
        invoked,
        returned,
        revision,
        made: true,
    }
}

fn saw(number: u64, revision: u64, invoked: u64, returned: u64) -> Claim {
    Claim {
        made: false,
        ..made(number, revision, invoked, returned)
    }
}

fn fault(claims: &[Claim]) -> Option<RevisionFault> {
    check_revisions(claims).err().map(|violation| {
        assert!(!violation.to_string().is_empty());
        violation.fault
    })
}

#[test]
fn revisions_rise_with_time() {
    assert_eq!(fault(&[]), None);
    assert_eq!(fault(&[made(1, 1, 0, 1), made(2, 2, 2, 3)]), None);
    assert_eq!(
        fault(&[made(1, 2, 0, 1), made(2, 1, 2, 3)]),
        Some(RevisionFault::Backwards)
    );
    // They overlap.
    assert_eq!(fault(&[made(1, 2, 0, 2), made(2, 1, 2, 3)]), None);
}

#[test]
fn a_read_sees_what_was_acknowledged_before_it_was_asked() {
    assert_eq!(fault(&[made(1, 5, 0, 1), saw(2, 5, 2, 3)]), None);
    assert_eq!(
        fault(&[made(1, 5, 0, 1), saw(2, 4, 2, 3)]),
        Some(RevisionFault::Backwards)
    );
    assert_eq!(fault(&[made(1, 5, 0, 3), saw(2, 4, 2, 4)]), None);
}

#[test]
fn a_read_does_not_see_what_is_asked_later() {
    assert_eq!(
        fault(&[saw(1, 5, 0, 1), made(2, 5, 2, 3)]),
        Some(RevisionFault::Backwards)
    );
    assert_eq!(fault(&[saw(1, 5, 0, 1), made(2, 6, 2, 3)]), None);
}

#[test]
fn reads_do_not_go_back() {
    assert_eq!(
        fault(&[saw(1, 5, 0, 1), saw(2, 4, 2, 3)]),
        Some(RevisionFault::Backwards)
    );
    assert_eq!(
        fault(&[saw(1, 5, 0, 1), saw(2, 5, 2, 3), saw(3, 5, 0, 9)]),
        None
    );
}

#[test]
fn it_is_seen_past_any_number_between() {
    let mut claims: Vec<Claim> = (0..50).map(|n| made(n, n + 1, 0, 100)).collect();
    assert_eq!(fault(&claims), None);
    claims[40].invoked = 60;
    claims[45].returned = 59;
    assert_eq!(fault(&claims), Some(RevisionFault::Backwards));
}

#[test]
fn a_write_that_was_tried_again_has_one_revision() {
    assert_eq!(fault(&[made(1, 3, 0, 5), made(1, 3, 2, 9)]), None);
    assert_eq!(
        fault(&[made(1, 3, 0, 5), made(1, 4, 2, 9)]),
        Some(RevisionFault::TwoRevisions)
    );
    // It was done by the first answer, whichever try that was to.
    assert_eq!(
        fault(&[made(1, 3, 0, 9), made(1, 3, 2, 5), saw(2, 2, 6, 7)]),
        Some(RevisionFault::Backwards)
    );
}

#[test]
fn two_writes_have_two_revisions() {
    assert_eq!(
        fault(&[made(1, 3, 0, 5), made(2, 3, 0, 5)]),
        Some(RevisionFault::OneRevision)
    );
}

#[test]
fn revisions_that_nobody_made_need_unanswered_writes_in_time() {
    let missing = |claims: &[Claim], unanswered: &[u64]| {
        check_missing(claims, unanswered).err().map(|missing| {
            assert!(!missing.to_string().is_empty());
            (missing.revision, missing.missing, missing.unanswered)
        })
    };
    let all = [made(1, 1, 0, 1), made(2, 2, 2, 3), saw(3, 2, 4, 5)];
    assert_eq!(missing(&all, &[]), None);
    assert_eq!(
        missing(&[made(1, 1, 0, 1), made(2, 3, 2, 3)], &[]),
        Some((3, 1, 0))
    );
    assert_eq!(missing(&[made(1, 1, 0, 1), made(2, 3, 2, 3)], &[3]), None);
    assert_eq!(
        missing(&[made(1, 1, 0, 1), made(2, 3, 2, 3)], &[4]),
        Some((3, 1, 0))
    );
    assert_eq!(missing(&[saw(1, 2, 0, 1)], &[0, 0]), None);
    assert_eq!(missing(&[saw(1, 2, 0, 1)], &[0, 2]), Some((2, 2, 1)));
    // A later answer does not help the earlier one.
    assert_eq!(
        missing(&[saw(1, 1, 0, 1), saw(2, 2, 0, 9)], &[5, 6]),
        Some((1, 1, 0))
    );
}
