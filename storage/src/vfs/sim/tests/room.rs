//! Room on the disk: what takes it, what gives it back, what fails without it.

use std::io::ErrorKind;

use super::*;

const BLOCK: u64 = 4096;

fn small_disk(blocks: u64) -> SimDisk {
    SimDisk::new(SimOptions {
        total_bytes: blocks * BLOCK,
        ..SimOptions::default()
    })
}

fn free_blocks(disk: &SimDisk) -> u64 {
    disk.vfs().space().unwrap().available_bytes / BLOCK
}

#[test]
fn files_folders_and_blocks_take_room() {
    let disk = small_disk(100);
    assert_eq!(disk.vfs().space().unwrap().total_bytes, 100 * BLOCK);
    disk.vfs().create_dir(Path::new("d")).unwrap();
    let file = create(&disk, "d/f");
    assert_eq!(free_blocks(&disk), 98);
    file.allocate(1, 2 * BLOCK).unwrap();
    assert_eq!(free_blocks(&disk), 95);
    write(&file, 0, &[1; 4096]);
    assert_eq!(free_blocks(&disk), 95, "inside the allocation");
    file.set_len(50 * BLOCK).unwrap();
    assert_eq!(free_blocks(&disk), 95, "an extension is not allocated");
    write(&file, 40 * BLOCK, &[1]);
    assert_eq!(free_blocks(&disk), 94);
    file.set_len(1).unwrap();
    assert_eq!(free_blocks(&disk), 97);
}

#[test]
fn a_full_disk_refuses_and_room_comes_back() {
    let disk = small_disk(10);
    let file = create(&disk, "f");
    file.allocate(0, 4 * BLOCK).unwrap();
    let error = file.allocate(4 * BLOCK, 6 * BLOCK).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(
        file.len().unwrap(),
        9 * BLOCK,
        "extended as far as there was room"
    );
    assert_eq!(free_blocks(&disk), 0);

    let error = disk
        .vfs()
        .open(Path::new("g"), OpenMode::CreateNew)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(
        write_all_at(&*file, &[1], 9 * BLOCK).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    write(&file, 0, &vec![1; 9 * 4096]);
    file.sync_data().unwrap();

    disk.vfs().unlink(Path::new("f")).unwrap();
    assert_eq!(free_blocks(&disk), 0, "still open");
    drop(file);
    assert_eq!(free_blocks(&disk), 10);
}

#[test]
fn a_write_takes_what_room_there_is() {
    let disk = small_disk(4);
    let file = create(&disk, "f");
    let count = file
        .write_vectored_at(&[io::IoSlice::new(&vec![1; 30_000])], 100)
        .unwrap();
    assert_eq!(count, 3 * 4096 - 100);
    assert_eq!(file.len().unwrap(), 3 * BLOCK);
}

#[test]
fn a_replaced_file_gives_its_room_back() {
    let disk = small_disk(10);
    create_durable(&disk, "f", &[1; 8192]);
    create_durable(&disk, "g", &[1; 4096]);
    disk.vfs().rename(Path::new("g"), Path::new("f")).unwrap();
    assert_eq!(free_blocks(&disk), 8);
}

#[test]
fn room_is_counted_anew_after_a_crash() {
    let disk = small_disk(20);
    let file = create_durable(&disk, "f", &[1; 4096]);
    file.allocate(0, 5 * BLOCK).unwrap();
    let open = create_durable(&disk, "open", &[1; 4096]);
    disk.vfs().unlink(Path::new("open")).unwrap();
    sync_dir(&disk, "");
    assert_eq!(free_blocks(&disk), 12);
    assert_eq!(free_blocks(&disk.crash(&CrashMode::Kill)), 14);
    assert_eq!(free_blocks(&disk.fork()), 14);
    assert_eq!(free_blocks(&disk.crash(&ALL_KEPT)), 14);
    assert_eq!(free_blocks(&disk.crash(&NOTHING_KEPT)), 18);
    drop(open);
}

#[test]
fn descriptors_do_not_outlive_a_crash() {
    let disk = small_disk(10);
    let _open = create_durable(&disk, "f", &[1; 4096]);
    for crashed in [
        disk.crash(&NOTHING_KEPT),
        disk.crash(&CrashMode::Kill),
        disk.fork(),
    ] {
        crashed.vfs().unlink(Path::new("f")).unwrap();
        assert_eq!(free_blocks(&crashed), 10);
    }
}

#[test]
fn a_disk_can_fill_up_from_outside_and_be_enlarged() {
    let disk = small_disk(10);
    let file = create_durable(&disk, "f", &[1; 4096]);
    disk.set_total_bytes(BLOCK);
    assert_eq!(free_blocks(&disk), 0);
    write(&file, 0, b"in place");
    assert_eq!(
        write_all_at(&*file, b"x", 4096).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    disk.set_total_bytes(10 * BLOCK);
    write(&file, 4096, b"x");
}

#[test]
fn only_so_many_files_may_be_open() {
    let disk = SimDisk::new(SimOptions {
        descriptors_max: 2,
        ..SimOptions::default()
    });
    let one = create(&disk, "a");
    let _two = create(&disk, "b");
    disk.vfs().open(Path::new("a"), OpenMode::Read).unwrap_err();
    disk.vfs()
        .open(Path::new("c"), OpenMode::CreateNew)
        .unwrap_err();
    assert_eq!(disk.paths(), ["a", "b"]);
    drop(one);
    disk.vfs().open(Path::new("a"), OpenMode::Read).unwrap();
}
