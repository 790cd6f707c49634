//! Each fault, where it hits, and what it leaves.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;

use super::*;
use crate::vfs::{BLOCK_BYTES, LockError};

/// Disks that draw differently what a failed sync loses.
fn disks(sync_failure: SyncFailure) -> impl Iterator<Item = SimDisk> {
    let options = move |seed| SimOptions {
        sync_failure,
        seed,
        ..SimOptions::default()
    };
    (0..30).map(move |seed| SimDisk::new(options(seed)))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

/// Overwrites eight sectors of a durable file and fails the sync; returns the file.
fn after_failed_sync(disk: &SimDisk) -> Arc<dyn VfsFile> {
    let file = create_durable(disk, "f", &sectors(1, 8));
    write(&file, 0, &sectors(2, 8));
    disk.inject(Injection::new(Fault::Io).on(OperationKind::SyncData).nth(0));
    assert!(
        is(&file.sync_data().unwrap_err(), Errno::IO),
        "the sync fails"
    );
    file
}

#[test]
fn after_a_failed_sync_the_next_one_lies_and_the_cache_hides_it() {
    for disk in disks(SyncFailure::CacheKept) {
        let file = after_failed_sync(&disk);
        let lost = read(&disk.crash(&ALL_KEPT), "f").unwrap();
        assert_ne!(lost, sectors(2, 8), "nothing brings it back");
        file.sync_data().unwrap();
        assert_eq!(
            read_open(&file),
            sectors(2, 8),
            "the cache shows what was lost"
        );
        assert_eq!(
            read(&disk.crash(&CrashMode::Kill), "f").unwrap(),
            sectors(2, 8)
        );
        assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), lost);

        let evicted = disk.fork();
        evicted.evict_cache();
        assert_eq!(read(&evicted, "f").unwrap(), lost);
        file.drop_cache(0, 4095);
        assert_eq!(
            read_open(&file),
            sectors(2, 8),
            "only whole pages are dropped"
        );
        file.drop_cache(0, 4096);
        assert_eq!(read_open(&file), lost);
    }
}

#[test]
fn what_a_failed_sync_lost_is_durable_once_it_is_written_again() {
    for disk in disks(SyncFailure::CacheKept) {
        let file = after_failed_sync(&disk);
        let bytes = read_open(&file);
        write(&file, 0, &bytes[..1]);
        file.drop_cache(0, 4096);
        assert_eq!(read_open(&file), bytes, "a dirty page is not dropped");
        write(&file, 0, &bytes);
        file.sync_data().unwrap();
        assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), bytes);
    }
}

#[test]
fn a_direct_read_sees_past_the_cache() {
    let disk = disk();
    let file = create_durable(&disk, "f", &[1; BLOCK_BYTES]);
    disk.inject(Injection::new(Fault::LostWrite));
    write(&file, 0, &[2; BLOCK_BYTES]);
    let direct = disk
        .vfs()
        .open(Path::new("f"), OpenMode::WriteDirect)
        .unwrap();
    let mut memory = vec![0; 2 * BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = &mut memory[start..start + BLOCK_BYTES];
    direct.read_at(block, 0).unwrap();
    assert_eq!(block, [1; BLOCK_BYTES]);
    assert_eq!(read_open(&file), [2; BLOCK_BYTES]);
}

#[test]
fn a_failed_sync_may_put_some_bytes_on_the_disk() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(SimOptions {
            seed,
            ..SimOptions::default()
        });
        drop(after_failed_sync(&disk));
        outcomes.insert(read(&disk.crash(&NOTHING_KEPT), "f").unwrap());
    }
    assert!(outcomes.contains(&sectors(1, 8)), "none");
    assert!(
        outcomes.len() > 10,
        "and many subsets, outcomes={}",
        outcomes.len()
    );
}

#[test]
fn a_failed_sync_may_revert_the_cache() {
    for disk in disks(SyncFailure::CacheReverted) {
        let file = after_failed_sync(&disk);
        assert_ne!(read_open(&file), sectors(2, 8));
        assert_eq!(read(&disk, "f"), read(&disk.crash(&NOTHING_KEPT), "f"));
        file.sync_data().unwrap();
        assert_eq!(read(&disk, "f"), read(&disk.crash(&NOTHING_KEPT), "f"));
    }
}

#[test]
fn a_failed_sync_keeps_the_length_that_the_cache_shows() {
    for disk in disks(SyncFailure::CacheKept) {
        let file = create_durable(&disk, "f", b"");
        write(&file, 0, &sectors(1, 2));
        disk.inject(
            Injection::new(Fault::NoSpace)
                .on(OperationKind::SyncData)
                .nth(0),
        );
        assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::StorageFull);
        file.sync_data().unwrap();
        let left = read(&disk.crash(&NOTHING_KEPT), "f").unwrap();
        assert_eq!(
            left.len(),
            2 * SECTOR,
            "the second sync had only the length to write"
        );
    }
}

#[test]
fn a_lying_sync_makes_nothing_durable() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"old");
    disk.inject(Injection::new(Fault::LyingSync));
    write(&file, 0, b"new");
    file.sync_data().unwrap();
    create(&disk, "g");
    sync_dir(&disk, "");
    let crashed = disk.crash(&NOTHING_KEPT);
    assert_eq!(
        (read(&crashed, "f").unwrap(), read(&crashed, "g")),
        (b"old".to_vec(), None)
    );
    disk.heal();
    file.sync_data().unwrap();
    sync_dir(&disk, "");
    let crashed = disk.crash(&NOTHING_KEPT);
    assert_eq!(
        (read(&crashed, "f").unwrap(), read(&crashed, "g")),
        (b"new".to_vec(), Some(vec![]))
    );
}

#[test]
fn a_lost_write_is_read_until_the_cache_drops_it() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"old");
    disk.inject(Injection::new(Fault::LostWrite).nth(0));
    write(&file, 0, b"new");
    file.sync_data().unwrap();
    assert_eq!(read_open(&file), b"new");
    assert_eq!(read(&disk.crash(&ALL_KEPT), "f").unwrap(), b"old");
    disk.evict_cache();
    assert_eq!(read_open(&file), b"old");
}

#[test]
fn a_failed_write_has_written_some_of_its_bytes() {
    let mut lengths = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(SimOptions {
            seed,
            ..SimOptions::default()
        });
        let file = create(&disk, "f");
        disk.inject(Injection::new(Fault::Io).on(OperationKind::Write));
        write_all_at(&*file, &[1; 10], 0).unwrap_err();
        lengths.insert(file.len().unwrap());
    }
    assert_eq!(lengths, (0..=10).collect());
}

#[test]
fn short_transfers_are_continued_by_careful_callers() {
    let disk = disk();
    disk.inject(Injection::new(Fault::Short));
    let file = create(&disk, "f");
    let bytes: Vec<_> = (0..=255).cycle().take(5_000).collect();
    let count = file
        .write_vectored_at(&[io::IoSlice::new(&bytes)], 0)
        .unwrap();
    assert!((1..5_000).contains(&count), "short, count={count}");
    write(&file, 0, &bytes);
    assert_eq!(read_open(&file), bytes);
    assert!(disk.count(OperationKind::Write) > 3, "in several writes");
}

#[test]
fn faults_have_the_errors_of_the_system() {
    let cases = [
        (Fault::Io, Errno::IO),
        (Fault::NoSpace, Errno::NOSPC),
        (Fault::NoQuota, Errno::DQUOT),
        (Fault::ReadOnly, Errno::ROFS),
    ];
    for (fault, errno) in cases {
        let disk = disk();
        let file = create(&disk, "f");
        disk.inject(Injection::new(fault));
        let vfs = disk.vfs();
        let errors = [
            write_all_at(&*file, b"x", 0).unwrap_err(),
            file.allocate(0, 1).unwrap_err(),
            vfs.open(Path::new("g"), OpenMode::CreateNew).unwrap_err(),
            vfs.create_dir(Path::new("d")).unwrap_err(),
            vfs.rename(Path::new("f"), Path::new("h")).unwrap_err(),
        ];
        for error in errors {
            assert!(is(&error, errno), "fault={fault:?}");
        }
        assert_eq!(disk.paths(), ["f"], "nothing was done, fault={fault:?}");
    }
}

#[test]
fn descriptors_run_out() {
    let disk = disk();
    create(&disk, "f");
    disk.inject(Injection::new(Fault::NoDescriptor));
    let vfs = disk.vfs();
    let errors = [
        vfs.open(Path::new("f"), OpenMode::Read).unwrap_err(),
        vfs.open(Path::new("g"), OpenMode::CreateNew).unwrap_err(),
        vfs.list(Path::new("")).unwrap_err(),
        vfs.sync_dir(Path::new("")).unwrap_err(),
    ];
    assert!(
        errors.iter().all(|error| is(error, Errno::MFILE)),
        "errors={errors:?}"
    );
    disk.heal();
    sync_dir(&disk, "");
    assert_eq!(
        disk.crash(&NOTHING_KEPT).paths(),
        ["f"],
        "a sync that did not start loses nothing"
    );
}

#[test]
fn an_injection_hits_where_and_when_it_says() {
    let disk = disk();
    let (a, b) = (create(&disk, "a"), create(&disk, "b"));
    disk.inject(
        Injection::new(Fault::Io)
            .on(OperationKind::Write)
            .under("b")
            .nth(1),
    );
    disk.inject(Injection::new(Fault::NoSpace).at_operation(disk.operations() + 4));
    write(&a, 0, b"0");
    write(&b, 0, b"1");
    b.sync_data().unwrap();
    assert_eq!(
        write_all_at(&*b, b"3", 0).unwrap_err().raw_os_error(),
        Some(5)
    );
    b.read_at(&mut [0], 0).unwrap();
    assert_eq!(
        write_all_at(&*a, b"4", 0).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    write(&a, 0, b"5");
    write(&b, 0, b"6");
}

#[test]
fn of_two_faults_the_one_injected_first_counts() {
    let disk = disk();
    disk.inject(Injection::new(Fault::NoSpace).nth(1));
    disk.inject(Injection::new(Fault::Io).on(OperationKind::CreateDir));
    let create_dir = || disk.vfs().create_dir(Path::new("d")).unwrap_err();
    assert!(is(&create_dir(), Errno::IO), "the first does not hit");
    assert!(is(&create_dir(), Errno::NOSPC), "both hit");
    assert!(is(&create_dir(), Errno::IO), "the first is over");
}

#[test]
fn a_rate_hits_about_so_often() {
    let disk = disk();
    let file = create(&disk, "f");
    disk.inject(
        Injection::new(Fault::Io)
            .on(OperationKind::Read)
            .per_million(100_000),
    );
    let failed = (0..2_000)
        .filter(|_| file.read_at(&mut [0], 0).is_err())
        .count();
    assert!(
        (100..300).contains(&failed),
        "about 200 of 2,000, failed={failed}"
    );
}

#[test]
fn bits_flip_at_rest() {
    let disk = disk();
    let file = create_durable(&disk, "f", &[0; 5000]);
    disk.flip_bit(Path::new("f"), 4999, 3).unwrap();
    assert_eq!(read_open(&file)[4999], 8);
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap()[4999], 8);
    let error = disk.flip_bit(Path::new("f"), 5000, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn without_power_every_call_fails_and_changes_nothing() {
    let script = |disk: &SimDisk| -> io::Result<()> {
        let vfs = disk.vfs();
        vfs.create_dir(Path::new("d"))?;
        let file = vfs.open(Path::new("d/f"), OpenMode::CreateNew)?;
        file.allocate(0, 100)?;
        write_all_at(&*file, b"bytes", 0)?;
        file.set_len(50)?;
        file.sync_data()?;
        vfs.rename(Path::new("d/f"), Path::new("d/g"))?;
        vfs.sync_dir(Path::new("d"))?;
        vfs.unlink(Path::new("d/g"))?;
        vfs.remove_dir(Path::new("d"))
    };
    let whole = disk();
    script(&whole).unwrap();
    assert_eq!(whole.operations(), 10);
    for k in 0..10 {
        let disk = disk();
        disk.stop_before(k);
        assert!(is_power_off(&script(&disk).unwrap_err()), "k={k}");
        assert!(disk.is_stopped(), "k={k}");
        assert_eq!(disk.operations(), k);
        let before = disk.content_hash();
        assert!(is_power_off(&disk.vfs().space().unwrap_err()), "k={k}");
        assert!(
            is_power_off(&disk.vfs().list(Path::new("")).unwrap_err()),
            "k={k}"
        );
        assert!(
            is_power_off(&disk.vfs().create_dir(Path::new("x")).unwrap_err()),
            "k={k}"
        );
        assert_eq!(disk.content_hash(), before, "k={k}");
        assert!(
            !disk.crash(&CrashMode::Kill).is_stopped(),
            "the power comes back"
        );
    }
}

#[test]
fn an_unaligned_direct_transfer_is_a_bug_of_the_caller() {
    let disk = disk();
    create(&disk, "f");
    let file = disk
        .vfs()
        .open(Path::new("f"), OpenMode::WriteDirect)
        .unwrap();
    let mut memory = vec![0; 3 * BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let (block, next) = memory[start..].split_at_mut(BLOCK_BYTES);
    write(&file, 0, block);
    assert_eq!(file.read_at(block, 4096).unwrap(), 0, "aligned at the end");
    let panics = |act: &mut dyn FnMut()| {
        let message = catch_unwind(AssertUnwindSafe(act)).unwrap_err();
        let message = message.downcast::<String>().unwrap();
        assert!(
            message.starts_with("unaligned direct transfer"),
            "message={message}"
        );
    };
    panics(&mut || drop(file.write_vectored_at(&[io::IoSlice::new(block)], 512)));
    panics(&mut || drop(file.write_vectored_at(&[io::IoSlice::new(&block[..512])], 0)));
    panics(&mut || drop(file.read_at(&mut next[1..], 0)));
    assert_eq!(file.len().unwrap(), 4096, "the disk can still be used");
}

#[test]
fn a_lock_is_held_until_it_is_dropped_or_its_process_dies() {
    let disk = SimDisk::new(SimOptions {
        pid: 4711,
        ..SimOptions::default()
    });
    let holder = || disk.vfs().lock_holder(Path::new("LOCK")).unwrap();
    assert_eq!(holder(), None, "no file");
    let lock = disk.vfs().lock(Path::new("LOCK")).unwrap();
    assert_eq!(holder(), Some(4711));
    match disk.vfs().lock(Path::new("LOCK")) {
        Err(LockError::Held { pid }) => assert_eq!(pid, Some(4711)),
        other => panic!("locked twice: {other:?}"),
    }
    drop(
        disk.crash(&CrashMode::Kill)
            .vfs()
            .lock(Path::new("LOCK"))
            .unwrap(),
    );
    drop(disk.fork().vfs().lock(Path::new("LOCK")).unwrap());
    drop(lock);
    drop(disk.vfs().lock(Path::new("LOCK")).unwrap());
    assert_eq!(read(&disk, "LOCK").unwrap(), b"4711\n");
}
