//! What happens to the names of files and folders.

use super::*;

/// The sets of paths that a power loss may leave.
fn all_trees(disk: &SimDisk) -> BTreeSet<Vec<String>> {
    let states = disk.crash_states(10_000);
    assert!(states.is_complete(), "few enough states");
    states.map(|state| state.disk.paths()).collect()
}

fn trees<const N: usize>(expected: [&[&str]; N]) -> BTreeSet<Vec<String>> {
    expected
        .map(|paths| paths.iter().map(|path| (*path).to_owned()).collect())
        .into()
}

fn rename(disk: &SimDisk, from: &str, to: &str) {
    disk.vfs().rename(Path::new(from), Path::new(to)).unwrap();
}

fn unlink(disk: &SimDisk, path: &str) {
    disk.vfs().unlink(Path::new(path)).unwrap();
}

fn create_dir(disk: &SimDisk, path: &str) {
    disk.vfs().create_dir(Path::new(path)).unwrap();
}

#[test]
fn changes_of_different_names_survive_in_any_combination() {
    let disk = disk();
    create(&disk, "a");
    create(&disk, "b");
    assert_eq!(all_trees(&disk), trees([&[], &["a"], &["b"], &["a", "b"]]));
    sync_dir(&disk, "");
    unlink(&disk, "a");
    unlink(&disk, "b");
    assert_eq!(all_trees(&disk), trees([&[], &["a"], &["b"], &["a", "b"]]));
    sync_dir(&disk, "");
    assert_eq!(all_trees(&disk), trees([&[]]));
}

#[test]
fn changes_of_one_name_survive_in_order() {
    let disk = disk();
    create_durable(&disk, "f", b"first");
    unlink(&disk, "f");
    let file = create(&disk, "f");
    write(&file, 0, b"second");
    file.sync_data().unwrap();
    let expected = [Some(b"first".to_vec()), None, Some(b"second".to_vec())].into();
    assert_eq!(all_outcomes(&disk, "f"), expected);
}

#[test]
fn a_name_is_given_anew_only_if_its_file_has_left_it() {
    let disk = disk();
    create_durable(&disk, "a", b"old");
    rename(&disk, "a", "b");
    create(&disk, "a");
    let states: BTreeSet<_> = disk
        .crash_states(100)
        .map(|state| (read(&state.disk, "a"), read(&state.disk, "b")))
        .collect();
    let old = || Some(b"old".to_vec());
    assert_eq!(
        states,
        [(old(), None), (None, old()), (Some(vec![]), old())].into()
    );
}

#[test]
fn a_name_survives_with_a_file_that_was_never_synced() {
    let disk = disk();
    let file = create(&disk, "f");
    write(&file, 0, b"bytes");
    sync_dir(&disk, "");
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), b"");
}

#[test]
fn a_rename_over_a_file_leaves_the_old_or_the_new_and_never_none() {
    let disk = disk();
    create_durable(&disk, "f", b"old");
    let file = create(&disk, "f.tmp");
    write(&file, 0, b"new");
    file.sync_data().unwrap();
    rename(&disk, "f.tmp", "f");
    for state in disk.crash_states(100) {
        let is_moved = read(&state.disk, "f").unwrap() == b"new";
        assert!(
            !is_moved || read(&state.disk, "f.tmp").is_none(),
            "a file has one name"
        );
    }
    assert_eq!(all_trees(&disk), trees([&["f"], &["f", "f.tmp"]]));
    assert_eq!(
        all_outcomes(&disk, "f"),
        [Some(b"old".to_vec()), Some(b"new".to_vec())].into()
    );
    sync_dir(&disk, "");
    assert_eq!(all_trees(&disk), trees([&["f"]]));
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), b"new");
}

#[test]
fn a_renamed_file_that_was_not_synced_may_be_empty() {
    let disk = disk();
    create_durable(&disk, "f", b"old");
    let file = create(&disk, "f.tmp");
    write(&file, 0, b"new");
    rename(&disk, "f.tmp", "f");
    sync_dir(&disk, "");
    assert_eq!(read(&disk.crash(&NOTHING_KEPT), "f").unwrap(), b"");
}

#[test]
fn a_rename_between_folders_may_leave_both_names_but_never_none() {
    let disk = disk();
    create_dir(&disk, "a");
    create_dir(&disk, "b");
    sync_dir(&disk, "");
    create_durable(&disk, "a/f", b"kept");
    rename(&disk, "a/f", "b/f");
    let (old, both, new): ([_; 3], [_; 4], [_; 3]) = (
        ["a", "a/f", "b"],
        ["a", "a/f", "b", "b/f"],
        ["a", "b", "b/f"],
    );
    assert_eq!(all_trees(&disk), trees([&old, &both, &new]));

    for seed in 0..100 {
        for mode in [
            LossMode::Prefix { seed },
            LossMode::Sectors { seed },
            LossMode::Mixed { seed },
        ] {
            let drawn = disk.crash(&CrashMode::PowerLoss(mode)).paths();
            assert!(
                all_trees(&disk).contains(&drawn),
                "mode={mode:?} left {drawn:?}"
            );
        }
    }

    let synced_to = disk.fork();
    sync_dir(&synced_to, "b");
    assert_eq!(all_trees(&synced_to), trees([&both, &new]));
    assert_eq!(
        read(&synced_to.crash(&NOTHING_KEPT), "b/f").unwrap(),
        b"kept"
    );
    assert_eq!(
        read(&synced_to.crash(&NOTHING_KEPT), "a/f").unwrap(),
        b"kept"
    );
    sync_dir(&disk, "a");
    assert_eq!(all_trees(&disk), trees([&new]));
}

#[test]
fn one_of_two_names_of_a_file_can_be_removed() {
    let disk = disk();
    create_dir(&disk, "a");
    sync_dir(&disk, "");
    create_durable(&disk, "f", b"kept");
    rename(&disk, "f", "a/f");
    sync_dir(&disk, "a");
    let crashed = disk.crash(&NOTHING_KEPT);
    unlink(&crashed, "f");
    assert_eq!(read(&crashed, "a/f").unwrap(), b"kept");
    unlink(&crashed, "a/f");
    sync_dir(&crashed, "");
    sync_dir(&crashed, "a");
    let space = crashed.vfs().space().unwrap();
    assert_eq!(
        space.total_bytes - space.available_bytes,
        4096,
        "only the folder is left"
    );
}

#[test]
fn a_folder_moves_as_a_whole() {
    let disk = disk();
    create_dir(&disk, "a");
    create_dir(&disk, "b");
    create_dir(&disk, "a/d");
    sync_dir(&disk, "");
    sync_dir(&disk, "a");
    create_durable(&disk, "a/d/f", b"kept");
    rename(&disk, "a/d", "b/d");
    let old: &[&str] = &["a", "a/d", "a/d/f", "b"];
    let new: &[&str] = &["a", "b", "b/d", "b/d/f"];
    assert_eq!(all_trees(&disk), trees([old, new]));
    assert_eq!(
        disk.vfs().describe(Path::new("b/d")),
        Path::new("/simulated/b/d")
    );
}

#[test]
fn a_folder_sync_is_a_barrier_for_one_folder_only() {
    let disk = disk();
    create_dir(&disk, "d");
    create(&disk, "d/f");
    sync_dir(&disk, "d");
    assert_eq!(
        all_trees(&disk),
        trees([&[], &["d", "d/f"]]),
        "the folder's own name is pending"
    );
    create(&disk, "g");
    sync_dir(&disk, "");
    create(&disk, "d/h");
    let with: &[&str] = &["d", "d/f", "d/h", "g"];
    assert_eq!(all_trees(&disk), trees([&["d", "d/f", "g"], with]));
}

#[test]
fn a_removed_file_may_come_back_with_what_was_written_to_it_last() {
    let disk = disk();
    let file = create_durable(&disk, "f", b"a");
    write(&file, 0, b"b");
    unlink(&disk, "f");
    write(&file, 0, b"c");
    assert_eq!(read_open(&file), b"c", "an open file outlives its name");
    let expected = [
        None,
        Some(b"a".to_vec()),
        Some(b"b".to_vec()),
        Some(b"c".to_vec()),
    ]
    .into();
    assert_eq!(all_outcomes(&disk, "f"), expected);
    sync_dir(&disk, "");
    assert_eq!(all_outcomes(&disk, "f"), [None].into());
    assert_eq!(read_open(&file), b"c", "an open file outlives its name");
}

#[test]
fn a_removed_folder_takes_its_pending_names_along() {
    let disk = disk();
    create_dir(&disk, "d");
    sync_dir(&disk, "");
    let names = ["d/a", "d/b", "d/c"];
    drop(names.map(|name| create_durable(&disk, name, b"")));
    for name in names {
        unlink(&disk, name);
    }
    disk.vfs().remove_dir(Path::new("d")).unwrap();
    assert_eq!(
        all_trees(&disk).len(),
        1 + 8,
        "the folder may come back with any of its files"
    );
    sync_dir(&disk, "");
    assert_eq!(all_trees(&disk), trees([&[]]));
    assert!(disk.crash_states(1).is_complete(), "nothing is pending");
}

#[test]
fn a_failed_folder_sync_loses_names_for_good() {
    let disk = disk();
    let names: Vec<_> = (0..20).map(|number| format!("f{number:02}")).collect();
    for name in &names {
        create(&disk, name);
    }
    disk.inject(Injection::new(Fault::Io).nth(0));
    disk.vfs().sync_dir(Path::new("")).unwrap_err();
    assert_eq!(disk.paths(), names, "processes go on seeing them");
    sync_dir(&disk, "");
    let left = disk.crash(&NOTHING_KEPT).paths();
    assert!(
        !left.is_empty() && left.len() < names.len(),
        "some are lost, left={left:?}"
    );
}
