//! What happens to the bytes and the length of one file.

use super::*;

#[test]
fn a_kill_keeps_what_is_not_synced_and_a_power_loss_may_not() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"old");
    write(&file, 0, b"new!");
    assert_eq!(read(&disk.crash(&CrashMode::Kill), "f").unwrap(), b"new!");
    assert_eq!(read(&disk.crash(&ALL_KEPT), "f").unwrap(), b"new!");
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), b"old");
}

#[test]
fn what_a_killed_process_left_unsynced_can_still_be_lost() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"old");
    write(&file, 0, b"new");
    let restarted = disk.crash(&CrashMode::Kill);
    assert_eq!(read(&restarted, "f").unwrap(), b"new");
    assert_eq!(read(&restarted.crash(&NOTHING_KEPT), "f").unwrap(), b"old");

    open(&restarted, "f").sync_data().unwrap();
    assert_eq!(read(&restarted.crash(&NOTHING_KEPT), "f").unwrap(), b"new");
}

#[test]
fn a_second_power_loss_takes_nothing_more() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"old");
    write(&file, 0, b"new");
    let crashed = disk.crash(&ALL_KEPT);
    assert_eq!(read(&crashed.crash(&NOTHING_KEPT), "f").unwrap(), b"new");
    write(&open(&crashed, "f"), 0, b"newer");
    assert_eq!(read(&crashed.crash(&NOTHING_KEPT), "f").unwrap(), b"new");
}

#[test]
fn a_sync_is_a_barrier_for_one_file_only() {
    let disk = disk();
    let (one, other) = (
        create_durable(&disk, "one", b""),
        create_durable(&disk, "other", b""),
    );
    write(&one, 0, b"1");
    write(&other, 0, b"2");
    one.sync_data().unwrap();
    let crashed = disk.crash(&NOTHING_KEPT);
    assert_eq!(read(&crashed, "one").unwrap(), b"1");
    assert_eq!(read(&crashed, "other").unwrap(), b"");
}

#[test]
fn a_sync_covers_writes_allocations_and_lengths_but_not_the_name() {
    let disk = disk();
    let file = create(&disk, "f");
    file.allocate(0, 10_000).unwrap();
    write(&file, 9_998, b"end");
    file.set_len(20_000).unwrap();
    file.sync_data().unwrap();
    assert_eq!(
        read(&disk.crash(&NOTHING_KEPT), "f"),
        None,
        "the name is not durable"
    );
    sync_dir(&disk, "");
    let bytes = read(&disk.crash(&NOTHING_KEPT), "f").unwrap();
    assert_eq!((bytes.len(), &bytes[9_998..10_001]), (20_000, &b"end"[..]));
}

#[test]
fn each_sector_keeps_a_prefix_of_its_writes_and_none_is_torn() {
    let disk = disk();
    let file = create_durable(&disk, "f", &sectors(0xa, 2));
    write(&file, 100, &[0xb; 512]);
    write(&file, 0, &sectors(0xc, 1));
    let mut first = sectors(0xa, 1);
    first[100..].fill(0xb);
    let mut second = sectors(0xa, 1);
    second[..100].fill(0xb);
    let mut expected = BTreeSet::new();
    for one in [sectors(0xa, 1), first, sectors(0xc, 1)] {
        for two in [sectors(0xa, 1), second.clone()] {
            expected.insert(Some([one.clone(), two].concat()));
        }
    }
    assert_eq!(all_outcomes(&disk, "f"), expected);
    let drawn = outcomes(&disk, |seed| LossMode::Sectors { seed }, "f");
    assert_eq!(drawn, expected, "every outcome is drawn sooner or later");
}

#[test]
fn a_larger_sector_is_kept_or_lost_as_a_whole() {
    let disk = disk_with_sectors(4096);
    let file = create_durable(&disk, "f", &[0xa; 8192]);
    write(&file, 0, &[0xb; 8192]);
    let expected: BTreeSet<_> = [(0xa, 0xa), (0xa, 0xb), (0xb, 0xa), (0xb, 0xb)]
        .map(|(one, two)| Some([[one; 4096], [two; 4096]].concat()))
        .into();
    assert_eq!(all_outcomes(&disk, "f"), expected);
    assert_eq!(
        outcomes(&disk, |seed| LossMode::Sectors { seed }, "f"),
        expected
    );
}

#[test]
fn a_prefix_keeps_writes_in_order_and_tears_the_next() {
    let disk = disk();
    let file = create_durable(&disk, "f", &sectors(0, 4));
    write(&file, 2 * SECTOR_AT, &sectors(1, 2));
    write(&file, 0, &sectors(2, 2));
    let expected: BTreeSet<_> = [
        [0, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1],
        [2, 0, 1, 1],
        [2, 2, 1, 1],
    ]
    .map(|values| Some(values.map(|value| sectors(value, 1)).concat()))
    .into();
    assert_eq!(
        outcomes(&disk, |seed| LossMode::Prefix { seed }, "f"),
        expected
    );
}

#[test]
fn a_file_may_have_grown_before_its_bytes_arrive() {
    let disk = disk();
    create_durable(&disk, "other", &[7; 6000]);
    let file = create_durable(&disk, "f", &[1; 4096]);
    write(&file, 4096, &[2; 1000]);
    let mut grown = vec![1; 4096];
    grown.resize(5096, 0);
    assert_eq!(
        after(&disk, LossMode::SizeFirst(Filling::Zeros), "f").unwrap(),
        grown
    );

    let noisy = after(&disk, LossMode::SizeFirst(Filling::Noise(1)), "f").unwrap();
    assert_eq!((noisy.len(), &noisy[..4096]), (5096, &grown[..4096]));
    assert!(
        !noisy[4096..].windows(4).any(|bytes| bytes == [0; 4]),
        "noise is not zeros"
    );

    let stale = after(&disk, LossMode::SizeFirst(Filling::Stale), "f").unwrap();
    assert_eq!(
        stale[4096..],
        [7; 1000],
        "what the other file holds at that place"
    );
}

#[test]
fn a_durable_allocation_reads_as_zeros_until_its_bytes_arrive() {
    let disk = disk();
    let file = create(&disk, "f");
    file.allocate(0, 8192).unwrap();
    file.sync_data().unwrap();
    sync_dir(&disk, "");
    write(&file, 0, &[1; 8192]);
    let noisy = after(&disk, LossMode::SizeFirst(Filling::Noise(1)), "f").unwrap();
    assert_eq!(noisy, [0; 8192]);
}

#[test]
fn blocks_are_new_again_after_a_cut() {
    let disk = disk();
    let file = create(&disk, "f");
    file.allocate(0, 4096).unwrap();
    file.sync_data().unwrap();
    sync_dir(&disk, "");
    file.set_len(0).unwrap();
    write(&file, 0, &[1; 4096]);
    let noisy = after(&disk, LossMode::SizeFirst(Filling::Noise(1)), "f").unwrap();
    assert!(
        noisy != [0; 4096] && noisy != [1; 4096],
        "the cut gave the allocation back"
    );

    file.set_len(0).unwrap();
    file.set_len(4096).unwrap();
    let noisy = after(&disk, LossMode::SizeFirst(Filling::Noise(1)), "f").unwrap();
    assert_eq!(noisy, [0; 4096], "and an extension allocates nothing");
}

#[test]
fn bytes_that_survive_are_never_mixed_with_noise_in_one_sector() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"");
    write(&file, 0, &[1; 100]);
    write(&file, 1000, &[2; 100]);
    for outcome in outcomes(&disk, |seed| LossMode::Sectors { seed }, "f")
        .into_iter()
        .flatten()
    {
        let start = &outcome[..outcome.len().min(SECTOR)];
        if start.starts_with(&[1; 100]) {
            assert!(
                start[100..].iter().all(|byte| *byte == 0),
                "zeros behind what was written"
            );
        }
    }
}

#[test]
fn a_file_may_have_grown_by_part_of_a_write() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"");
    write(&file, 0, &vec![1; 20_000]);
    let drawn = outcomes(&disk, |seed| LossMode::Sectors { seed }, "f");
    let drawn: Vec<_> = drawn.into_iter().flatten().collect();
    let lengths: BTreeSet<_> = drawn.iter().map(Vec::len).collect();
    assert_eq!(lengths, [0, 4096, 8192, 16384, 20_000].into());
    let is_noisy = |bytes: &Vec<u8>| bytes.iter().any(|byte| *byte > 1);
    let has_noisy = |length| {
        drawn
            .iter()
            .any(|bytes| bytes.len() == length && is_noisy(bytes))
    };
    assert!(has_noisy(4096) && has_noisy(20_000), "of any length");
}

#[test]
fn a_cut_that_is_lost_brings_the_old_bytes_back_and_takes_the_new() {
    let disk = disk_with_sectors(4096);
    let file = create_durable(&disk, "f", &[1; 12288]);
    file.set_len(4096).unwrap();
    write(&file, 4096, &[2; 4096]);
    let noise = |outcome: &Option<Vec<u8>>| {
        let bytes = outcome.as_deref().unwrap_or_default();
        !bytes
            .chunks(4096)
            .all(|block| block.iter().all(|byte| *byte == block[0]))
    };
    let mut found = all_outcomes(&disk, "f");
    found.retain(|outcome| !noise(outcome));
    let with_block = |value| Some([[1; 4096], [value; 4096]].concat());
    let (old, cut) = (Some(vec![1; 12288]), Some(vec![1; 4096]));
    assert_eq!(found, [old, cut, with_block(0), with_block(2)].into());
    file.sync_data().unwrap();
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f"), with_block(2));
}

#[test]
fn what_was_cut_out_of_a_block_may_come_back_when_the_file_grows() {
    let disk = disk();
    let file = create_durable(&disk, "f", &sectors(1, 3));
    file.set_len(SECTOR_AT).unwrap();
    let cut_only = disk.fork();
    file.set_len(2 * SECTOR_AT).unwrap();
    let found = all_outcomes(&disk, "f");
    assert!(
        found.contains(&Some(sectors(1, 2))),
        "lengths survive, the zeros between do not"
    );
    assert!(
        found.contains(&Some([sectors(1, 1), sectors(0, 1)].concat())),
        "all survives"
    );

    let file = open(&cut_only, "f");
    file.sync_data().unwrap();
    file.set_len(2 * SECTOR_AT).unwrap();
    let expected = [sectors(1, 1), [sectors(1, 1), sectors(0, 1)].concat()].map(Some);
    assert_eq!(
        all_outcomes(&cut_only, "f"),
        expected.into(),
        "a sync covers the zeros"
    );
}

#[test]
fn a_write_past_the_end_leaves_zeros_between() {
    let disk = disk();
    let file = create(&disk, "f");
    write(&file, 0, b"abcdef");
    file.set_len(3).unwrap();
    write(&file, 5, b"x");
    assert_eq!(read_open(&file), b"abc\0\0x");
}

#[test]
fn a_process_killed_in_a_write_leaves_its_first_bytes() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"");
    disk.stop_within(disk.operations(), 4096);
    let error = write_all_at(&*file, &[1; 10_000], 0).unwrap_err();
    assert!(is_power_off(&error), "error={error}");
    assert_eq!(read(&disk.crash(&CrashMode::Kill), "f").unwrap(), [1; 4096]);
}
