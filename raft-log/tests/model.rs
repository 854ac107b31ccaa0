//! Arbitrary steps without faults, against a vector; on the operating system's files too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use crate::harness::{Op, Step, check_recovery, dir, options, run};
use proptest::prelude::*;
use raft_log::sim_disk::{Keep, SimDisk};
use raft_log::{Options, OsFiles};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => any::<u8>().prop_map(Op::Metadata),
        1 => (0u64..6).prop_map(Op::Truncate),
        4 => (0usize..2000, prop::bool::weighted(0.2))
            .prop_map(|(bytes, new_term)| Op::Append { bytes, new_term }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(op(), 0..6).prop_map(Step::Commit),
        1 => (0u64..9).prop_map(Step::Purge),
        1 => Just(Step::Settle),
        1 => Just(Step::Reopen),
        1 => Just(Step::Drop),
        1 => (0u64..6).prop_map(Step::Snapshot),
        1 => (0u64..4, prop::collection::vec(op(), 0..3)).prop_map(|(ahead, ops)| Step::Reset(ahead, ops)),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// F-L7, S-L7, S-L9: the log is what the vector is, at the end and after a power loss.
    #[test]
    fn like_a_vector(steps in steps(), seed in any::<u64>()) {
        let disk = SimDisk::new();
        let history = run(&disk, &dir(), &options(), &steps, false);
        prop_assert_eq!(&history.error, &None);
        disk.restart(Keep::Some(seed));
        let checked = check_recovery(&disk, &dir(), &options(), &history);
        prop_assert_eq!(checked, Ok(None), "nothing was under way, so nothing is cut");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn like_a_vector_on_real_files(steps in steps()) {
        let temporary = tempfile::tempdir().unwrap();
        let options = Options { background: true, ..options() };
        let history = run(&OsFiles, temporary.path(), &options, &steps, true);
        prop_assert_eq!(&history.error, &None);
        let checked = check_recovery(&OsFiles, temporary.path(), &options, &history);
        prop_assert_eq!(checked, Ok(None));
    }
}
