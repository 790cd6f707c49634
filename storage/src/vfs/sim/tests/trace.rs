//! The trace, the counts, and that the same seed repeats the same run.

use std::time::Duration;

use super::*;
use crate::environment::random::SplitMix;
use crate::{Clock, SimClock};

#[test]
fn every_mutation_is_one_line() {
    let disk = disk();
    let vfs = disk.vfs();
    vfs.create_dir(Path::new("d")).unwrap();
    let file = create(&disk, "d/f.tmp");
    file.allocate(0, 8192).unwrap();
    write(&file, 4096, b"bytes");
    file.read_at(&mut [0; 10], 0).unwrap();
    file.set_len(100).unwrap();
    file.sync_data().unwrap();
    vfs.rename(Path::new("d/f.tmp"), Path::new("d/f")).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir(Path::new("")).unwrap();
    vfs.unlink(Path::new("g")).unwrap_err();
    disk.inject(Injection::new(Fault::Io).on(OperationKind::SyncDir).nth(0));
    vfs.sync_dir(Path::new("d")).unwrap_err();
    disk.inject(Injection::new(Fault::Short));
    file.write_vectored_at(&[io::IoSlice::new(b"abcdef")], 0)
        .unwrap();
    disk.stop_before(disk.operations());
    vfs.unlink(Path::new("d/f")).unwrap_err();
    vfs.remove_dir(Path::new("d")).unwrap_err();
    let expected = [
        "create_dir d",
        "create d/f.tmp",
        "allocate d/f.tmp @0 +8192",
        "write d/f.tmp @4096 +5 crc=b19943ce",
        "set_len d/f.tmp =100",
        "sync d/f.tmp",
        "rename d/f.tmp -> d/f",
        "sync d/f",
        "sync_dir .",
        "unlink g -> NotFound",
        "sync_dir d -> EIO",
        "write d/f @0 +6 crc=4b8e39ef -> 1",
        "unlink d/f -> power off",
        "remove_dir d -> power off",
    ];
    assert_eq!(disk.take_trace(), expected);
    assert!(disk.trace().is_empty(), "taken");
    assert_eq!(disk.count(OperationKind::SyncData), 2);
    assert_eq!(disk.count(OperationKind::Read), 1);
    assert_eq!(
        disk.operations(),
        12,
        "neither reads nor what happens without power"
    );
}

#[test]
fn reads_are_traced_on_request() {
    let trace_of = |trace| {
        let disk = SimDisk::new(SimOptions {
            trace,
            ..SimOptions::default()
        });
        let file = create(&disk, "f");
        file.read_at(&mut [0; 10], 5).unwrap();
        file.len().unwrap();
        disk.vfs().list(Path::new("")).unwrap();
        disk.trace()
    };
    assert!(trace_of(Trace::Off).is_empty(), "off");
    assert_eq!(trace_of(Trace::Mutations), ["create f"]);
    assert_eq!(
        trace_of(Trace::All),
        ["create f", "read f @5 +10 -> 0", "len f", "list ."]
    );
}

/// A run of random calls under random faults; returns its trace and all its crash states.
fn random_run(seed: u64) -> (Vec<String>, Vec<(String, u64)>) {
    let options = SimOptions {
        seed,
        trace: Trace::All,
        total_bytes: 60 * 4096,
        ..SimOptions::default()
    };
    let disk = SimDisk::new(options);
    for fault in [
        Fault::Io,
        Fault::NoSpace,
        Fault::Short,
        Fault::LyingSync,
        Fault::LostWrite,
    ] {
        disk.inject(Injection::new(fault).per_million(50_000));
    }
    let random = &mut SplitMix::new(seed ^ 1);
    let vfs = disk.vfs();
    for _ in 0..150 {
        let name = format!("f{}", random.below(4));
        let path = Path::new(&name);
        let mode = if random.one_in(3) {
            OpenMode::CreateNew
        } else {
            OpenMode::Write
        };
        if let Ok(file) = vfs.open(path, mode) {
            let bytes = vec![random.below(256) as u8; random.below(9_000) as usize];
            // Failures are part of the run: they are in the trace.
            drop(write_all_at(&*file, &bytes, random.below(9_000)));
            drop(file.read_at(&mut [0; 100], random.below(9_000)));
            if random.one_in(3) {
                drop(file.sync_data());
            }
        }
        match random.below(6) {
            0 => drop(vfs.unlink(path)),
            1 => drop(vfs.rename(path, Path::new("g"))),
            2 => drop(vfs.sync_dir(Path::new(""))),
            _ => {}
        }
    }
    let states = disk.crash_states(50);
    let states = states
        .map(|state| (state.description, state.disk.content_hash()))
        .collect();
    (disk.trace(), states)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_crashes() {
    for seed in 0..10 {
        let (first, second) = (random_run(seed), random_run(seed));
        assert_eq!(first.0, second.0, "trace of seed {seed}");
        assert_eq!(first.1, second.1, "crash states of seed {seed}");
        assert!(
            first.0.len() > 300,
            "the run does something, lines={}",
            first.0.len()
        );
        assert!(
            first.1.len() > 20,
            "and leaves something pending, states={}",
            first.1.len()
        );
    }
    assert_ne!(random_run(1).0, random_run(2).0);
}

#[test]
fn operations_move_the_clock() {
    let disk = disk();
    let clock = Arc::new(SimClock::new(0));
    let ms = Duration::from_millis;
    let latency = Latency {
        read: ms(1),
        write: ms(10),
        sync: ms(100),
        other: ms(1000),
    };
    disk.set_clock(Arc::clone(&clock), latency);
    let file = create(&disk, "f");
    assert_eq!(clock.boot(), ms(1000));
    write(&file, 0, b"x");
    file.read_at(&mut [0], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(clock.boot(), ms(1111));
    disk.inject(Injection::new(Fault::Slow(ms(5000))).on(OperationKind::SyncData));
    file.sync_data().unwrap();
    assert_eq!((clock.boot(), clock.wall_ms()), (ms(6211), 6211));
}
