//! The simulated disk answers as the machine's file systems do.
//!
//! The same random operations run on a [`SimDisk`] and on a [`RealVfs`] over a temporary folder.
//! After each the results are compared, errors by kind; in the end all names, lengths and contents.
//! Crashes and faults have no counterpart here: they are tested beside the simulator.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unwrap_in_result,
    reason = "a failed step is a failed test"
)]

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use towpath_storage::vfs::sim::{SimDisk, SimOptions};
use towpath_storage::vfs::{
    BLOCK_BYTES, DirEntry, EntryKind, LockError, LockGuard, OpenMode, RealVfs, Vfs, VfsFile,
    read_full_at,
};
use towpath_storage::{Entropy, SystemEntropy};

#[test]
fn the_simulated_disk_answers_as_the_file_systems_of_the_machine() {
    let seed = seed();
    println!("SEED={seed}");
    let config = Config {
        cases: 250,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            let steps = [prepared(), steps].concat();
            for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
                if parent.is_dir() {
                    compare(&steps, &parent)?;
                }
            }
            Ok(())
        })
        .unwrap();
}

/// One call, on a path or on one of a few files that are kept open.
#[derive(Debug, Clone)]
enum Step {
    Open {
        slot: usize,
        path: PathBuf,
        mode: OpenMode,
    },
    Close {
        slot: usize,
    },
    Read {
        slot: usize,
        position: u64,
        length: usize,
    },
    Write {
        slot: usize,
        position: u64,
        pieces: Vec<(u8, usize)>,
    },
    Allocate {
        slot: usize,
        position: u64,
        length: u64,
    },
    SetLen {
        slot: usize,
        length: u64,
    },
    SyncData {
        slot: usize,
    },
    DropCache {
        slot: usize,
        position: u64,
        length: u64,
    },
    StartWriteBack {
        slot: usize,
        position: u64,
        length: u64,
    },
    Len {
        slot: usize,
    },
    CreateDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    List {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    Lock {
        path: PathBuf,
    },
    Unlock,
}

const SLOTS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    let position = prop_oneof![0..20_000_u64, (0..6_u64).prop_map(|block| block * 4096)];
    let length = prop_oneof![0..10_000_u64, (0..4_u64).prop_map(|block| block * 4096)];
    let piece = (1..4_u8, prop_oneof![0..3_000_usize, Just(4096), Just(8192)]);
    let pieces = prop_oneof![
        8 => prop::collection::vec(piece, 0..4),
        1 => Just(vec![(1, 1); 1030]),
    ];
    let file = (slot.clone(), position.clone(), length.clone());
    prop_oneof![
        10 => (slot.clone(), path(), mode())
            .prop_map(|(slot, path, mode)| Step::Open { slot, path, mode }),
        3 => slot.clone().prop_map(|slot| Step::Close { slot }),
        10 => file.clone().prop_map(|(slot, position, length)| {
            Step::Read { slot, position, length: usize::try_from(length).unwrap() }
        }),
        20 => (slot.clone(), position, pieces)
            .prop_map(|(slot, position, pieces)| Step::Write { slot, position, pieces }),
        5 => file.clone()
            .prop_map(|(slot, position, length)| Step::Allocate { slot, position, length }),
        5 => (slot.clone(), 0..30_000_u64).prop_map(|(slot, length)| Step::SetLen { slot, length }),
        2 => slot.clone().prop_map(|slot| Step::SyncData { slot }),
        2 => file.clone()
            .prop_map(|(slot, position, length)| Step::DropCache { slot, position, length }),
        2 => file
            .prop_map(|(slot, position, length)| Step::StartWriteBack { slot, position, length }),
        3 => slot.prop_map(|slot| Step::Len { slot }),
        5 => path().prop_map(|path| Step::CreateDir { path }),
        8 => (path(), path()).prop_map(|(from, to)| Step::Rename { from, to }),
        5 => path().prop_map(|path| Step::Unlink { path }),
        3 => path().prop_map(|path| Step::RemoveDir { path }),
        4 => path().prop_map(|path| Step::List { path }),
        2 => path().prop_map(|path| Step::SyncDir { path }),
        2 => path().prop_map(|path| Step::Lock { path }),
        1 => Just(Step::Unlock),
    ]
}

/// Folders and files in each other, so that few steps are refused for want of them.
fn prepared() -> Vec<Step> {
    let file = |slot, path: &str| Step::Open {
        slot,
        path: path.into(),
        mode: OpenMode::CreateNew,
    };
    vec![
        Step::CreateDir { path: "a".into() },
        Step::CreateDir { path: "a/b".into() },
        file(0, "b"),
        file(1, "a/a"),
        file(2, "a/b/a"),
    ]
}

fn mode() -> impl Strategy<Value = OpenMode> {
    prop_oneof![
        2 => Just(OpenMode::Read),
        3 => Just(OpenMode::Write),
        2 => Just(OpenMode::WriteDirect),
        5 => Just(OpenMode::CreateNew),
    ]
}

/// Few names, so that steps meet; folders and files share them.
fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop_oneof![
        20 => prop::collection::vec(name, 1..4).prop_map(|names| names.iter().collect()),
        2 => Just(PathBuf::new()),
        1 => Just(PathBuf::from("../a")),
        1 => Just(PathBuf::from("/a")),
        1 => Just(PathBuf::from("n".repeat(256))),
        1 => Just(PathBuf::from("a\0b")),
    ]
}

/// What a step gave back, as far as callers may rely on it.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Count(u64),
    Bytes(Vec<u8>),
    Entries(Vec<DirEntry>),
    Held(Option<u32>),
    Error(io::ErrorKind),
}

/// One of the two file systems, with the files that are open on it.
struct Side {
    vfs: Arc<dyn Vfs>,
    files: [Option<(Arc<dyn VfsFile>, OpenMode)>; SLOTS],
    lock: Option<Box<dyn LockGuard>>,
}

fn compare(steps: &[Step], parent: &Path) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir_in(parent).unwrap();
    let options = SimOptions {
        pid: std::process::id(),
        ..SimOptions::default()
    };
    let mut real = Side::new(Arc::new(RealVfs::new(folder.path()).unwrap()));
    let mut sim = Side::new(SimDisk::new(options).vfs());
    for (index, step) in steps.iter().enumerate() {
        let (expected, found) = (real.run(step), sim.run(step));
        prop_assert_eq!(expected, found, "step {} of {:#?}", index, steps);
    }
    prop_assert_eq!(real.content(), sim.content(), "content after {:#?}", steps);
    Ok(())
}

impl Side {
    fn new(vfs: Arc<dyn Vfs>) -> Self {
        Self {
            vfs,
            files: [const { None }; SLOTS],
            lock: None,
        }
    }

    fn run(&mut self, step: &Step) -> Answer {
        self.try_run(step)
            .unwrap_or_else(|error| Answer::Error(error.kind()))
    }

    fn try_run(&mut self, step: &Step) -> io::Result<Answer> {
        match step {
            Step::Open { slot, path, mode } => {
                self.files[*slot] = None;
                self.files[*slot] = Some((self.vfs.open(path, *mode)?, *mode));
            }
            Step::Close { slot } => self.files[*slot] = None,
            Step::CreateDir { path } => self.vfs.create_dir(path)?,
            Step::Rename { from, to } => self.vfs.rename(from, to)?,
            Step::Unlink { path } => self.vfs.unlink(path)?,
            Step::RemoveDir { path } => self.vfs.remove_dir(path)?,
            Step::List { path } => return Ok(Answer::Entries(self.vfs.list(path)?)),
            Step::SyncDir { path } => self.vfs.sync_dir(path)?,
            Step::Lock { path } => return self.lock(path),
            Step::Unlock => self.lock = None,
            Step::Read { slot, .. }
            | Step::Write { slot, .. }
            | Step::Allocate { slot, .. }
            | Step::SetLen { slot, .. }
            | Step::SyncData { slot }
            | Step::DropCache { slot, .. }
            | Step::StartWriteBack { slot, .. }
            | Step::Len { slot } => {
                if let Some((file, mode)) = &self.files[*slot] {
                    return run_on_file(&**file, *mode, step);
                }
            }
        }
        Ok(Answer::Done)
    }

    fn lock(&mut self, path: &Path) -> io::Result<Answer> {
        match self.vfs.lock(path) {
            Ok(lock) => self.lock = Some(lock),
            Err(LockError::Held { pid }) => return Ok(Answer::Held(pid)),
            Err(LockError::Io(error)) => return Err(error),
        }
        Ok(Answer::Done)
    }

    /// Every path with its content; none for folders.
    fn content(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut content = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in self.vfs.list(&folder).unwrap() {
                let path = folder.join(&entry.name);
                if entry.kind == EntryKind::Dir {
                    folders.push(path.clone());
                    content.push((path, None));
                } else {
                    let file = self.vfs.open(&path, OpenMode::Read).unwrap();
                    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                    read_full_at(&*file, &mut bytes, 0).unwrap();
                    content.push((path, Some(bytes)));
                }
            }
        }
        content
    }
}

fn run_on_file(file: &dyn VfsFile, mode: OpenMode, step: &Step) -> io::Result<Answer> {
    // The alignment of direct transfers is the caller's duty, so a step is fitted to it.
    let unit = if mode == OpenMode::WriteDirect {
        BLOCK_BYTES
    } else {
        1
    };
    let fit = |position: u64| position - position % unit as u64;
    match step {
        Step::Read {
            position, length, ..
        } => {
            let length = length - length % unit;
            let mut memory = vec![0; length + BLOCK_BYTES];
            let buffer = aligned(&mut memory, length);
            let count = file.read_at(buffer, fit(*position))?;
            return Ok(Answer::Bytes(buffer[..count].to_vec()));
        }
        Step::Write {
            position, pieces, ..
        } => {
            let mut memories: Vec<_> = pieces
                .iter()
                .map(|(byte, length)| vec![*byte; length + BLOCK_BYTES])
                .collect();
            let slices: Vec<_> = memories
                .iter_mut()
                .zip(pieces)
                .map(|(memory, (_, length))| IoSlice::new(aligned(memory, length - length % unit)))
                .collect();
            let count = file.write_vectored_at(&slices, fit(*position))?;
            return Ok(Answer::Count(count as u64));
        }
        Step::Allocate {
            position, length, ..
        } => file.allocate(*position, *length)?,
        Step::SetLen { length, .. } => file.set_len(*length)?,
        Step::SyncData { .. } => file.sync_data()?,
        Step::DropCache {
            position, length, ..
        } => file.drop_cache(*position, *length),
        Step::StartWriteBack {
            position, length, ..
        } => file.start_write_back(*position, *length),
        Step::Len { .. } => return Ok(Answer::Count(file.len()?)),
        other => unreachable!("not a step on a file: {other:?}"),
    }
    Ok(Answer::Done)
}

/// So many bytes of a larger memory, from a block boundary on.
fn aligned(memory: &mut [u8], length: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    &mut memory[start..start + length]
}

fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(text) => text.parse().expect("SEED is a number"),
        Err(_) => SystemEntropy.next_u64(),
    }
}
