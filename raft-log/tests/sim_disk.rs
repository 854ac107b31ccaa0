//! The simulated disk does to a file what it says, fault by fault.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use raft_log::sim_disk::{Change, Fate, Fault, Keep, Operation, SimDisk, SimFile, Tear};
use raft_log::{FileHandle, Files};

fn dir() -> &'static Path {
    Path::new("/d")
}

fn path() -> &'static Path {
    Path::new("/d/f")
}

/// A file of this length full of ones, durable with its name.
fn ones(bytes: usize) -> (SimDisk, SimFile) {
    let disk = SimDisk::new();
    disk.create_dir(dir()).unwrap();
    let file = disk.create(path()).unwrap();
    file.write_all_at(&vec![1; bytes], 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(dir()).unwrap();
    assert_eq!(disk.pending(), 0);
    (disk, file)
}

/// What stands in the file after a power loss now.
fn after(disk: &SimDisk, keep: Keep) -> Vec<u8> {
    let disk = disk.fork();
    disk.restart(keep);
    disk.content(path()).unwrap()
}

fn seen(disk: &SimDisk) -> Vec<u8> {
    disk.content(path()).unwrap()
}

#[test]
fn what_is_synced_stays_and_what_is_not_may_go() {
    let (disk, file) = ones(4);
    file.write_all_at(&[2], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[3], 1).unwrap();
    assert_eq!(seen(&disk), [2, 3, 1, 1], "a reader sees both");
    assert_eq!(after(&disk, Keep::Nothing), [2, 1, 1, 1]);
    assert_eq!(after(&disk, Keep::All), [2, 3, 1, 1]);
}

#[test]
fn any_subset_of_the_pending_writes_can_survive() {
    let (disk, file) = ones(3);
    for at in 0..3 {
        file.write_all_at(&[2], at).unwrap();
    }
    // The later of two writes to one place may be the one that is there.
    file.write_all_at(&[3], 0).unwrap();
    for subset in 0..16_u8 {
        let disk = disk.fork();
        let kept = |nth: usize| subset >> nth & 1 == 1;
        disk.restart_with(|nth, _| if kept(nth) { Fate::Kept } else { Fate::Lost });
        let first = if kept(3) { 3 } else { 1 + u8::from(kept(0)) };
        let expected = [first, 1 + u8::from(kept(1)), 1 + u8::from(kept(2))];
        assert_eq!(seen(&disk), expected, "{subset:04b}");
    }
    assert_eq!(after(&disk, Keep::First(2)), [2, 2, 1]);
    assert_eq!(after(&disk, Keep::Without(1)), [3, 1, 2]);
    assert_eq!(after(&disk, Keep::Zeroed(1)), [3, 0, 2]);
    let (disk, file) = ones(1);
    file.write_all_at(&[1], 0).unwrap();
    let same = after(&disk, Keep::Zeroed(0));
    assert_eq!(
        same,
        [1],
        "what a write does not change is no prey of zeros"
    );
}

#[test]
fn a_write_is_torn_at_sectors_and_at_bytes() {
    let (disk, file) = ones(2048);
    // Half of sector 0, sectors 1 and 2, and one byte of sector 3.
    file.write_all_at(&[2; 1281], 256).unwrap();
    let torn = |tear, zeroed| {
        let keep = if zeroed {
            Keep::TornZeroed(0, tear)
        } else {
            Keep::Torn(0, tear)
        };
        let bytes = after(&disk, keep);
        assert!(
            bytes[..256]
                .iter()
                .chain(&bytes[1537..])
                .all(|&byte| byte == 1)
        );
        // Where the content changes: (from, byte).
        let mut runs: Vec<(usize, u8)> = Vec::new();
        for (at, &byte) in bytes.iter().enumerate() {
            if runs.last().is_none_or(|run| run.1 != byte) {
                runs.push((at, byte));
            }
        }
        runs
    };
    assert_eq!(torn(Tear::Front, false), [(0, 1), (256, 2), (1024, 1)]);
    assert_eq!(torn(Tear::Back, false), [(0, 1), (1024, 2), (1537, 1)]);
    let alternate = [(0, 1), (512, 2), (1024, 1), (1536, 2), (1537, 1)];
    assert_eq!(torn(Tear::Alternate, false), alternate);
    assert_eq!(torn(Tear::Sectors(1), false), [(0, 1), (256, 2), (512, 1)]);
    assert_eq!(torn(Tear::Bytes(700), false), [(0, 1), (256, 2), (956, 1)]);
    let zeroed = [(0, 1), (256, 2), (956, 0), (1537, 1)];
    assert_eq!(
        torn(Tear::Bytes(700), true),
        zeroed,
        "zeros in its own bytes only"
    );
    let zeroed = [(0, 1), (256, 0), (1024, 2), (1537, 1)];
    assert_eq!(torn(Tear::Back, true), zeroed);
    let coins: Vec<_> = (0..32).map(|seed| torn(Tear::Coin(seed), false)).collect();
    assert_eq!(
        torn(Tear::Coin(3), false),
        coins[3],
        "the same for the same seed"
    );
    assert!((0..4).all(|sector| {
        let at = [256, 512, 1024, 1536][sector];
        let arrives =
            |runs: &Vec<(usize, u8)>| runs.iter().rfind(|run| run.0 <= at).unwrap().1 == 2;
        coins.iter().any(arrives) && !coins.iter().all(arrives)
    }));
}

/// The list that a sweep tries holds what its documentation says, and seeds change it.
#[test]
fn the_power_losses_of_a_sweep() {
    let (disk, file) = ones(2048);
    file.write_all_at(&[2; 2048], 0).unwrap();
    file.write_all_at(&[3; 10], 0).unwrap();
    let losses = disk.power_losses(4, 9);
    let boundary = |keep: &Keep| matches!(keep, Keep::Torn(0, Tear::Sectors(1..=3)));
    assert!(losses.iter().any(boundary), "{losses:?}");
    let byte = |keep: &Keep| matches!(keep, Keep::TornZeroed(1, Tear::Bytes(2..9)));
    let salts: Vec<_> = (0..40).map(|salt| disk.power_losses(4, salt)).collect();
    assert!(salts.iter().flatten().any(byte));
    for keep in [
        Keep::Nothing,
        Keep::All,
        Keep::First(1),
        Keep::Without(0),
        Keep::Without(1),
        Keep::Zeroed(1),
        Keep::Torn(0, Tear::Front),
        Keep::TornZeroed(0, Tear::Alternate),
        Keep::Some(9003),
    ] {
        assert!(losses.contains(&keep), "{keep:?} is not in {losses:?}");
    }
    assert_eq!(losses, disk.power_losses(4, 9));
    assert_ne!(salts[1], salts[2]);
}

#[test]
fn a_length_is_durable_apart_from_the_bytes() {
    let (disk, file) = ones(1);
    file.write_all_at(&[2; 2], 0).unwrap();
    let write = disk.changes()[0].clone();
    assert!(matches!(
        write,
        Change::Write {
            offset: 0,
            bytes: 2,
            ..
        }
    ));
    assert!(matches!(disk.changes()[1], Change::Length { len: 2, .. }));
    assert_eq!(after(&disk, Keep::Without(0)), [1, 0], "the length alone");
    assert_eq!(after(&disk, Keep::Without(1)), [2], "the bytes alone");
    file.sync_data().unwrap();
    assert_eq!(
        after(&disk, Keep::Nothing),
        [2],
        "sync_data keeps no length"
    );
    file.sync_all().unwrap();
    assert_eq!(after(&disk, Keep::Nothing), [2, 2]);
}

#[test]
fn names_are_durable_one_by_one_with_their_directory() {
    let (disk, _) = ones(1);
    let [old, new, made] = ["/d/f", "/d/g", "/d/h"].map(Path::new);
    let file = disk.create(made).unwrap();
    file.write_all_at(&[7], 0).unwrap();
    file.sync_all().unwrap();
    disk.rename(old, new).unwrap();
    disk.remove(made).unwrap();
    let names = |fates: [bool; 3]| {
        let disk = disk.fork();
        let fate = |nth: usize, _: &Change| if fates[nth] { Fate::Kept } else { Fate::Lost };
        disk.restart_with(fate);
        disk.files()
    };
    assert_eq!(names([false; 3]), [old], "syncing a file keeps no name");
    assert_eq!(names([true, false, false]), [old, made]);
    assert_eq!(
        names([false, true, false]),
        [new],
        "old or new, never both or neither"
    );
    assert_eq!(names([true, true, false]), [new, made]);
    assert_eq!(names([true, false, true]), [old]);
    disk.sync_dir(dir()).unwrap();
    disk.restart(Keep::Nothing);
    assert_eq!(disk.files(), [new]);
    assert_eq!(
        disk.content(new).unwrap(),
        [1],
        "a renamed file keeps its bytes"
    );
}

/// A directory is durable when its making returns, and may be there or not after a power loss in it.
#[test]
fn a_directory_may_be_lost_while_it_is_made() {
    for keep in [Keep::Nothing, Keep::All] {
        let disk = SimDisk::new();
        disk.fail(1, Fault::PowerLoss);
        disk.create_dir(dir()).unwrap_err();
        disk.restart(keep);
        assert_eq!(disk.list(dir()).is_ok(), keep == Keep::All);
        disk.create_dir(dir()).unwrap();
        disk.restart(Keep::Nothing);
        assert!(disk.list(dir()).is_ok());
    }
}

#[test]
fn a_power_loss_within_an_operation() {
    let (disk, file) = ones(1);
    let next = disk.operations() + 1;
    let lost = disk.fork();
    lost.fail(next, Fault::PowerLoss);
    let open = lost.open(path()).unwrap();
    open.write_all_at(&[2], 0).unwrap_err();
    assert_eq!(
        lost.last_operation().unwrap(),
        (Operation::Write, path().to_path_buf())
    );
    assert!(open.read_at(&mut [0], 0).is_err(), "the machine is off");
    assert!(lost.open(path()).is_err() && lost.lock(dir()).is_err());
    assert_eq!(after(&lost, Keep::Nothing), [1]);
    assert_eq!(
        after(&lost, Keep::All),
        [2],
        "the write may have got through"
    );
    lost.restart(Keep::Nothing);
    assert!(open.len().is_err(), "the handle is of a former life");
    assert_eq!(lost.open(path()).unwrap().len().unwrap(), 1);

    file.write_all_at(&[2], 0).unwrap();
    disk.fail(disk.operations() + 1, Fault::PowerLoss);
    file.sync_data().unwrap_err();
    assert_eq!(
        after(&disk, Keep::Nothing),
        [1],
        "the sync has done nothing"
    );
}

/// What is recorded at each operation is what a power loss in it leaves, in every variant.
#[test]
fn a_recording_is_what_power_losses_meet() {
    let work = |disk: &SimDisk| -> std::io::Result<()> {
        disk.create_dir(dir())?;
        let file = disk.create(path())?;
        file.write_all_at(&[2; 1000], 0)?;
        file.sync_data()?;
        file.write_all_at(&[3; 700], 900)?;
        disk.rename(path(), Path::new("/d/g"))?;
        file.sync_all()?;
        disk.remove(Path::new("/d/g"))?;
        disk.sync_dir(dir())
    };
    let disk = SimDisk::new();
    disk.record();
    work(&disk).unwrap();
    let recorded = disk.recorded();
    assert_eq!(recorded.len(), 9);
    for (recorded, operation) in recorded.iter().zip(1..) {
        let lost = SimDisk::new();
        lost.fail(operation, Fault::PowerLoss);
        work(&lost).unwrap_err();
        let losses = lost.power_losses(8, operation);
        assert_eq!(recorded.power_losses(8, operation), losses);
        for keep in losses {
            let (one, other) = (recorded.fork(), lost.fork());
            one.restart(keep);
            other.restart(keep);
            assert_eq!(
                one.fingerprint(),
                other.fingerprint(),
                "{operation} {keep:?}"
            );
        }
    }
}

#[test]
fn errors_at_every_kind_of_operation() {
    for (fault, kind) in [
        (Fault::Io, ErrorKind::Other),
        (Fault::NoSpace, ErrorKind::StorageFull),
    ] {
        let (disk, file) = ones(4);
        let fail = || disk.fail(disk.operations() + 1, fault);
        fail();
        assert_eq!(disk.create(Path::new("/d/g")).unwrap_err().kind(), kind);
        fail();
        assert_eq!(
            disk.rename(path(), Path::new("/d/g")).unwrap_err().kind(),
            kind
        );
        fail();
        assert_eq!(disk.remove(path()).unwrap_err().kind(), kind);
        fail();
        assert_eq!(disk.create_dir(Path::new("/e")).unwrap_err().kind(), kind);
        assert_eq!(disk.files(), [path()], "none was done");
        assert!(disk.list(Path::new("/e")).is_err());
        disk.create(Path::new("/d/g")).unwrap();
        fail();
        assert_eq!(disk.sync_dir(dir()).unwrap_err().kind(), kind);
        assert_eq!(disk.pending(), 1, "the name is still pending");
        fail();
        assert_eq!(file.write_all_at(&[2; 4], 0).unwrap_err().kind(), kind);
        assert_eq!(seen(&disk), [2, 2, 1, 1], "half of it");
        fail();
        assert_eq!(file.sync_all().unwrap_err().kind(), kind);
    }
    let (disk, file) = ones(4);
    let fail = || disk.fail_read(disk.reads() + 1);
    fail();
    file.read_at(&mut [0], 0).unwrap_err();
    fail();
    file.len().unwrap_err();
    fail();
    disk.list(dir()).unwrap_err();
    fail();
    disk.open(path()).unwrap_err();
    fail();
    disk.lock(dir()).map(|_| ()).unwrap_err();
    assert!(disk.lock(dir()).unwrap().is_some(), "a fault strikes once");
}

/// The trap behind F-L8: a failed sync drops the pages, and the next one says "done". The page cache may show them or not.
#[test]
fn a_failed_sync_drops_its_pages() {
    let (disk, file) = ones(1);
    file.write_all_at(&[2; 3], 0).unwrap();
    disk.fail(disk.operations() + 1, Fault::Io);
    file.sync_all().unwrap_err();
    file.sync_all().unwrap();
    assert_eq!(seen(&disk), [2, 2, 2], "still in sight");
    assert_eq!(after(&disk, Keep::All), [1], "and not on the disk");
    file.write_all_at(&[3], 0).unwrap();
    disk.evict();
    assert_eq!(seen(&disk), [3], "out of sight but for what is dirty");
    file.write_all_at(&[4; 2], 0).unwrap();
    disk.evict();
    assert_eq!(seen(&disk), [4, 4]);
}

#[test]
fn a_handle_for_reading_changes_nothing() {
    let (disk, _) = ones(1);
    let before = disk.operations();
    let file = disk.open_read(path()).unwrap();
    assert_eq!(file.len().unwrap(), 1);
    let refused = [
        file.write_all_at(&[2], 0),
        file.sync_data(),
        file.sync_all(),
    ];
    let kinds = refused.map(|result| result.unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::PermissionDenied; 3]);
    assert_eq!((seen(&disk), disk.operations()), (vec![1], before));
}

#[test]
fn a_full_disk() {
    let (disk, file) = ones(4);
    disk.set_capacity(Some(6));
    file.write_all_at(&[2; 6], 0).unwrap();
    let full = file.write_all_at(&[3; 4], 6).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(
        seen(&disk),
        [2, 2, 2, 2, 2, 2, 3, 3],
        "half of it, as a real disk does"
    );
    file.write_all_at(&[4; 8], 0).unwrap();
    disk.remove(path()).unwrap();
    let other = disk.create(Path::new("/d/g")).unwrap();
    other.write_all_at(&[5; 6], 0).unwrap();
    disk.set_capacity(None);
    other.write_all_at(&[5; 600], 0).unwrap();
}

#[test]
fn lies() {
    let (disk, file) = ones(1);
    let lie = || disk.fail(disk.operations() + 1, Fault::Lie);
    file.write_all_at(&[2], 0).unwrap();
    lie();
    file.sync_data().unwrap();
    assert_eq!(after(&disk, Keep::Nothing), [1], "a sync that did nothing");
    file.sync_data().unwrap();
    assert_eq!(after(&disk, Keep::Nothing), [2], "the next one is honest");
    lie();
    file.write_all_at(&[3], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(seen(&disk), [3]);
    assert_eq!(after(&disk, Keep::All), [2], "a write that went nowhere");
    disk.evict();
    assert_eq!(seen(&disk), [2]);
    lie();
    disk.remove(path()).unwrap();
    disk.sync_dir(dir()).unwrap();
    assert!(disk.content(path()).is_none());
    assert_eq!(after(&disk, Keep::All), [2], "a name that was not removed");

    let (disk, file) = ones(1);
    let write = |byte| {
        file.write_all_at(&[byte], 0).unwrap();
        file.sync_all().unwrap();
    };
    disk.lie_from(disk.operations() + 3);
    write(2);
    write(3);
    disk.create(Path::new("/d/g")).unwrap();
    disk.sync_dir(dir()).unwrap();
    assert_eq!(
        after(&disk, Keep::Nothing),
        [2],
        "lies from the second sync on"
    );
    disk.set_lying(false);
    disk.sync_dir(dir()).unwrap();
    file.sync_data().unwrap();
    assert_eq!(after(&disk, Keep::Nothing), [3]);
    disk.set_lying(true);
    write(4);
    assert_eq!(after(&disk, Keep::Nothing), [3]);
}

#[test]
fn misdirected_writes_and_reads() {
    let (disk, file) = ones(4);
    let other = disk.create(Path::new("/d/g")).unwrap();
    other.write_all_at(&[7; 4], 0).unwrap();
    disk.misdirect_write(disk.operations() + 1, path(), 2);
    file.write_all_at(&[2], 0).unwrap();
    file.sync_all().unwrap();
    assert_eq!(
        after(&disk, Keep::All),
        [1, 1, 2, 1],
        "another place in its file"
    );
    disk.misdirect_write(disk.operations() + 1, Path::new("/d/g"), 3);
    file.write_all_at(&[3; 4], 0).unwrap();
    assert_eq!(seen(&disk), [3; 4], "the page cache knows better");
    assert_eq!(
        disk.content(Path::new("/d/g")).unwrap(),
        [7, 7, 7, 3],
        "within its length"
    );
    disk.evict();
    assert_eq!(seen(&disk), [1, 1, 2, 1]);
    let mut byte = [0];
    disk.misdirect_read(disk.reads() + 1, Path::new("/d/g"), 0);
    assert_eq!((file.read_at(&mut byte, 2).unwrap(), byte), (1, [7]));
    assert_eq!((file.read_at(&mut byte, 2).unwrap(), byte), (1, [2]));
}

#[test]
fn rot_and_loss_are_durable() {
    let (disk, file) = ones(2);
    file.write_all_at(&[2], 0).unwrap();
    disk.rot(path(), |bytes| bytes[1] ^= 0x80);
    assert_eq!(after(&disk, Keep::Nothing), [2, 0x81]);
    disk.lose(path());
    disk.restart(Keep::All);
    assert_eq!(disk.open(path()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_operation_stands_still_until_it_is_let_go() {
    let (disk, file) = ones(1);
    let hold = disk.hold(Operation::SyncData, Some(path()));
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            file.write_all_at(&[2], 0).unwrap();
            file.sync_data()
        });
        hold.wait();
        assert!(!syncing.is_finished());
        assert_eq!(seen(&disk), [2]);
        assert_eq!(disk.pending(), 1, "it has not begun");
        // All others go on: reads, syncs of another kind and of other files.
        assert_eq!(file.len().unwrap(), 1);
        let other = disk.create(Path::new("/d/g")).unwrap();
        other.sync_data().unwrap();
        disk.sync_dir(dir()).unwrap();
        hold.release();
        syncing.join().unwrap().unwrap();
    });
    assert_eq!(after(&disk, Keep::Nothing), [2]);

    let hold = disk.hold(Operation::Write, None);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| file.write_all_at(&[3], 0));
        hold.wait();
        disk.restart(Keep::Nothing);
        assert!(writing.join().unwrap().is_err(), "its machine is gone");
    });
    assert_eq!(seen(&disk), [2]);
}

#[test]
fn a_slow_disk_takes_virtual_time() {
    let (disk, file) = ones(1);
    assert_eq!(disk.elapsed(), Duration::ZERO);
    disk.set_latency(Operation::SyncData, Duration::from_millis(3));
    disk.fail(disk.operations() + 2, Fault::Slow(Duration::from_secs(100)));
    file.sync_data().unwrap();
    assert_eq!(disk.elapsed(), Duration::from_millis(3));
    file.write_all_at(&[2], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.elapsed(), Duration::from_millis(100_006));
    assert_eq!(after(&disk, Keep::Nothing), [2], "late is not lost");
}

#[test]
fn forks_and_lives_are_apart() {
    let (disk, file) = ones(1);
    let lock = disk.lock(dir()).unwrap().unwrap();
    assert!(disk.lock(dir()).unwrap().is_none());
    let fork = disk.fork();
    assert_eq!(fork.fingerprint(), disk.fingerprint());
    file.write_all_at(&[2], 0).unwrap();
    assert_eq!(seen(&fork), [1]);
    assert_ne!(fork.fingerprint(), disk.fingerprint());
    drop(lock);
    let old = disk.lock(dir()).unwrap().unwrap();
    disk.kill();
    assert_eq!(seen(&disk), [2], "a process that ends loses nothing");
    assert!(file.len().is_err(), "but its handles");
    let new = disk.lock(dir()).unwrap().unwrap();
    drop(old);
    assert!(
        disk.lock(dir()).unwrap().is_none(),
        "a dead lock frees nothing"
    );
    drop(new);
}
