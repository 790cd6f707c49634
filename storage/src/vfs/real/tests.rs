#![expect(
    clippy::disallowed_methods,
    reason = "checks on the real file system what the seam does to it"
)]

use std::os::unix::fs::{MetadataExt, symlink};
use std::{env, io::IoSlice};

use tempfile::TempDir;

use super::*;
use crate::vfs::{BLOCK_BYTES, EntryKind, read_full_at, write_all_at};

fn vfs() -> (TempDir, RealVfs) {
    let folder = tempfile::tempdir().unwrap();
    let vfs = RealVfs::new(folder.path()).unwrap();
    (folder, vfs)
}

/// Memory that starts on a block boundary, cut out of a larger vector.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    &mut memory[start..start + BLOCK_BYTES]
}

fn mode(folder: &TempDir, path: &str) -> u32 {
    std::fs::metadata(folder.path().join(path)).unwrap().mode() & 0o7777
}

#[test]
fn new_refuses_a_missing_root_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    assert_eq!(
        RealVfs::new(&root).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert!(!root.exists(), "new creates nothing");
}

#[test]
fn create_makes_a_private_root_and_takes_an_existing_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    RealVfs::create(&root).unwrap();
    assert_eq!(mode(&folder, "root"), 0o700);
    RealVfs::create(&root).unwrap();
}

#[test]
fn files_and_folders_are_private() {
    let (folder, vfs) = vfs();
    vfs.create_dir(Path::new("d")).unwrap();
    vfs.open(Path::new("d/f"), OpenMode::CreateNew).unwrap();
    assert_eq!(mode(&folder, "d"), 0o700);
    assert_eq!(mode(&folder, "d/f"), 0o600);
}

#[test]
fn contents_lengths_and_allocation() {
    let (folder, vfs) = vfs();
    let file = vfs.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    let blocks = std::fs::metadata(folder.path().join("f")).unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "allocated, blocks={blocks}");

    let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
    assert_eq!(file.write_vectored_at(&slices, 10).unwrap(), 4);
    file.sync_data().unwrap();
    file.start_write_back(0, 1 << 20);
    file.drop_cache(0, 1 << 20);
    let mut bytes = [9; 6];
    assert_eq!(read_full_at(&*file, &mut bytes, 9).unwrap(), 6);
    assert_eq!(&bytes, b"\0abcd\0");

    file.set_len(11).unwrap();
    assert_eq!(read_full_at(&*file, &mut bytes, 9).unwrap(), 2);
    assert_eq!(file.read_at(&mut bytes, 11).unwrap(), 0, "zero at the end");
}

#[test]
fn more_slices_than_the_kernel_takes_are_a_short_write() {
    let (_folder, vfs) = vfs();
    let file = vfs.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    let slices = vec![IoSlice::new(b"x"); 1500];
    assert_eq!(file.write_vectored_at(&slices, 0).unwrap(), 1024);
}

#[test]
fn direct_transfers_reach_the_file_and_keep_the_alignment_rule() {
    // The second folder is usually in memory, where direct transfers are refused.
    for parent in [env::temp_dir(), PathBuf::from("/dev/shm")] {
        if !parent.is_dir() {
            continue;
        }
        let folder = tempfile::tempdir_in(&parent).unwrap();
        let vfs = RealVfs::new(folder.path()).unwrap();
        vfs.open(Path::new("f"), OpenMode::CreateNew).unwrap();
        let file = vfs.open(Path::new("f"), OpenMode::WriteDirect).unwrap();
        let mut memory = vec![0; 3 * BLOCK_BYTES];
        let block = aligned(&mut memory);
        block.fill(7);
        write_all_at(&*file, block, 0).unwrap();
        block.fill(0);
        assert_eq!(file.read_at(block, 0).unwrap(), BLOCK_BYTES);
        assert!(
            block.iter().all(|byte| *byte == 7),
            "read back in {}",
            parent.display()
        );

        for error in [
            file.write_vectored_at(&[IoSlice::new(&block[..512])], 0)
                .unwrap_err(),
            file.write_vectored_at(&[IoSlice::new(block)], 512)
                .unwrap_err(),
            file.read_at(&mut block[..100], 0).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}

#[test]
fn links_are_not_followed_and_folders_are_not_files() {
    let (folder, vfs) = vfs();
    vfs.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    vfs.create_dir(Path::new("d")).unwrap();
    symlink("f", folder.path().join("link")).unwrap();
    symlink("d", folder.path().join("dirlink")).unwrap();
    vfs.open(Path::new("link"), OpenMode::Read).unwrap_err();
    vfs.list(Path::new("dirlink")).unwrap_err();
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::WriteDirect] {
        let error = vfs.open(Path::new("d"), mode).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "mode={mode:?}");
    }
    let kinds: Vec<_> = vfs
        .list(Path::new(""))
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, entry.kind))
        .collect();
    let expected = [
        ("d", EntryKind::Dir),
        ("dirlink", EntryKind::Other),
        ("f", EntryKind::File),
        ("link", EntryKind::Other),
    ];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn a_second_lock_names_the_holder_until_the_first_is_dropped() {
    let (folder, vfs) = vfs();
    std::fs::write(folder.path().join("LOCK"), "4294967295\nolder and longer\n").unwrap();
    let guard = vfs.lock(Path::new("LOCK")).unwrap();
    match RealVfs::new(folder.path()).unwrap().lock(Path::new("LOCK")) {
        Err(LockError::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("locked twice: {other:?}"),
    }
    drop(guard);
    let holder = || vfs.lock_holder(Path::new("LOCK")).unwrap();
    assert_eq!(holder(), None, "dropped");
    let guard = vfs.lock(Path::new("LOCK")).unwrap();
    assert_eq!(holder(), Some(std::process::id()));
    let text = std::fs::read_to_string(folder.path().join("LOCK")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    drop(guard);
    assert_eq!(vfs.lock_holder(Path::new("NONE")).unwrap(), None);
}

#[test]
fn space_is_that_of_the_file_system() {
    let (_folder, vfs) = vfs();
    let space = vfs.space().unwrap();
    assert!(
        space.total_bytes >= space.available_bytes,
        "space={space:?}"
    );
    assert!(space.total_bytes > 0, "space={space:?}");
}

#[test]
fn ways_out_of_the_root_are_refused_by_every_call() {
    let (_folder, vfs) = vfs();
    let out = Path::new("../f");
    let kinds = [
        vfs.open(out, OpenMode::CreateNew).unwrap_err().kind(),
        vfs.create_dir(out).unwrap_err().kind(),
        vfs.rename(out, Path::new("f")).unwrap_err().kind(),
        vfs.rename(Path::new("f"), out).unwrap_err().kind(),
        vfs.unlink(out).unwrap_err().kind(),
        vfs.remove_dir(out).unwrap_err().kind(),
        vfs.list(out).unwrap_err().kind(),
        vfs.sync_dir(out).unwrap_err().kind(),
    ];
    assert!(
        kinds
            .iter()
            .all(|kind| *kind == io::ErrorKind::InvalidInput),
        "kinds={kinds:?}"
    );
    assert!(matches!(vfs.lock(out), Err(LockError::Io(_))), "lock");
}
