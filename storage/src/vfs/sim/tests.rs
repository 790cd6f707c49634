//! The simulated disk against what it promises: that it loses what may be lost, in every way that
//! it may, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::vfs::{OpenMode, VfsFile, read_full_at, write_all_at};

mod bytes;
mod faults;
mod names;
mod room;
mod states;
mod trace;

const NOTHING_KEPT: CrashMode = CrashMode::PowerLoss(LossMode::Everything);
const ALL_KEPT: CrashMode = CrashMode::PowerLoss(LossMode::Nothing);
const SECTOR: usize = 512;
const SECTOR_AT: u64 = 512;

fn disk() -> SimDisk {
    SimDisk::new(SimOptions::default())
}

fn disk_with_sectors(sector_bytes: u64) -> SimDisk {
    SimDisk::new(SimOptions {
        sector_bytes,
        ..SimOptions::default()
    })
}

fn create(disk: &SimDisk, path: &str) -> Arc<dyn VfsFile> {
    disk.vfs()
        .open(Path::new(path), OpenMode::CreateNew)
        .unwrap()
}

fn open(disk: &SimDisk, path: &str) -> Arc<dyn VfsFile> {
    disk.vfs().open(Path::new(path), OpenMode::Write).unwrap()
}

fn write(file: &Arc<dyn VfsFile>, position: u64, bytes: &[u8]) {
    write_all_at(&**file, bytes, position).unwrap();
}

fn sync_dir(disk: &SimDisk, path: &str) {
    disk.vfs().sync_dir(Path::new(path)).unwrap();
}

/// Creates a file of which nothing is pending, its name included.
fn create_durable(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = create(disk, path);
    write(&file, 0, bytes);
    file.sync_data().unwrap();
    let parent = Path::new(path).parent().unwrap().to_str().unwrap();
    sync_dir(disk, parent);
    file
}

/// The content of a file, none if it is missing.
fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.read(Path::new(path)).ok()
}

/// What a reader sees through an open file.
fn read_open(file: &Arc<dyn VfsFile>) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    let count = read_full_at(&**file, &mut bytes, 0).unwrap();
    assert_eq!(count, bytes.len(), "read to the end");
    bytes
}

fn after(disk: &SimDisk, mode: LossMode, path: &str) -> Option<Vec<u8>> {
    read(&disk.crash(&CrashMode::PowerLoss(mode)), path)
}

/// The different outcomes for a file over many seeds of a mode.
fn outcomes(disk: &SimDisk, mode: fn(u64) -> LossMode, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..300).map(|seed| after(disk, mode(seed), path)).collect()
}

/// The outcomes for a file among all crash states, which must be few enough to visit.
fn all_outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    let states = disk.crash_states(10_000);
    assert!(states.is_complete(), "few enough states");
    states.map(|state| read(&state.disk, path)).collect()
}

/// Bytes of one value, as many sectors as asked.
fn sectors(value: u8, count: usize) -> Vec<u8> {
    vec![value; count * SECTOR]
}
