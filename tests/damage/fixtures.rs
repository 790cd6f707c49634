//! Data folders that earlier releases have written: every later one reads all of them.
//!
//! `tests/fixtures/<name>.folder` is a folder as the script of this test made it at the time, its files one
//! behind the other, compressed; `<name>.txt` is what is in it. `FIXTURE=<name>` writes a new pair, when the
//! format has a new version; those that are there are never written again.

use std::path::{Path, PathBuf};

use bytes::{Buf as _, BufMut as _, Bytes};
use towpath_proto::compression::{Codec, Compression, compress, decompress};
use towpath_storage::OpenError;
use towpath_storage::vfs::sim::{SimDisk, SimOptions};

use crate::script::golden;
use crate::trial::write_file;
use crate::view::{View, open};

/// No folder is longer.
const FOLDER_BYTES_MAX: usize = 16 * 1024 * 1024;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// All files of a disk: each with the lengths of path and content.
fn pack(disk: &SimDisk) -> Bytes {
    let mut packed = Vec::new();
    for path in disk.paths() {
        // Folders come back with their files; an empty one matters as little as the lock.
        let Ok(bytes) = disk.read(Path::new(&path)) else {
            continue;
        };
        packed.put_u32_le(path.len() as u32);
        packed.put_u32_le(bytes.len() as u32);
        packed.put_slice(path.as_bytes());
        packed.put_slice(&bytes);
    }
    compress(&packed, Compression::Zstd { level: 19 }).unwrap()
}

fn unpack(packed: &[u8]) -> SimDisk {
    let disk = SimDisk::new(SimOptions::default());
    let mut bytes = decompress(Codec::Zstd, packed, FOLDER_BYTES_MAX).unwrap();
    while bytes.has_remaining() {
        let (path_bytes, file_bytes) = (bytes.get_u32_le(), bytes.get_u32_le());
        let path = bytes.copy_to_bytes(path_bytes as usize);
        let content = bytes.copy_to_bytes(file_bytes as usize);
        let path = str::from_utf8(&path).unwrap();
        let folders: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for folder in folders.into_iter().rev() {
            if !folder.as_os_str().is_empty() {
                // It may be there already.
                drop(disk.vfs().create_dir(folder));
            }
        }
        write_file(&disk, path, &content).unwrap();
    }
    // Whatever recovery sets aside goes there.
    drop(disk.vfs().create_dir(Path::new("quarantine")));
    disk
}

fn describe(disk: &SimDisk) -> String {
    let engine = open(disk, 90).unwrap();
    View::of(&engine, disk).unwrap().describe()
}

#[test]
fn what_earlier_releases_have_written_is_read() {
    if let Ok(name) = std::env::var("FIXTURE") {
        let disk = golden().disk;
        std::fs::write(fixtures().join(&name).with_extension("folder"), pack(&disk)).unwrap();
        std::fs::write(
            fixtures().join(&name).with_extension("txt"),
            describe(&disk),
        )
        .unwrap();
    }
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "folder") {
            let disk = unpack(&std::fs::read(&path).unwrap());
            let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
            assert_eq!(describe(&disk.fork()), expected, "{}", path.display());
            check_newer_is_refused(&disk);
            count += 1;
        }
    }
    assert!(count > 0, "there are fixtures");
}

/// The same folder of a later format is refused, and not a byte of it is touched.
fn check_newer_is_refused(disk: &SimDisk) {
    let format = String::from_utf8(disk.read(Path::new("FORMAT")).unwrap()).unwrap();
    let lines: Vec<_> = format
        .lines()
        .map(|line| match line.strip_prefix("format ") {
            Some(_) => "format 9999\nwhatever comes later",
            None => line,
        })
        .collect();
    write_file(disk, "FORMAT", lines.join("\n").as_bytes()).unwrap();
    let (before, operations) = (disk.content_hash(), disk.operations());
    let refused = open(disk, 91);
    assert!(
        matches!(refused, Err(OpenError::NewerFormat { found: 9999, .. })),
        "{refused:?}"
    );
    assert_eq!(disk.content_hash(), before, "every byte is as it was");
    assert_eq!(disk.operations(), operations, "nothing was even tried");
}
