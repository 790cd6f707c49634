//! A rewrite, its swap and the removal of what was rewritten, with the power going off before every file
//! operation.

use towpath_storage::StorageError;
use towpath_storage::vfs::sim::{SimDisk, SimOptions, Trace};

use super::{Records, batch, keep, read};
use crate::driver::{Driver, P0};

/// States of the disk that are opened for each operation.
const STATES_MAX: usize = 12;
const SEGMENTS: u64 = 3;
const BATCHES: u64 = 4;

fn is_kept(at: u64) -> bool {
    at % 3 == 1 || at >= 6 * BATCHES
}

/// The power goes off before operation `k` of the rewrite. Returns what a reader may find then.
fn script(disk: &SimDisk, k: u64) -> (Vec<Records>, Result<(), StorageError>) {
    let (mut broker, mut records) = (Driver::open(disk).unwrap(), Records::new());
    broker.create(P0);
    for segment in 0..SEGMENTS {
        if segment > 0 {
            broker.roll(P0);
        }
        for number in 0..BATCHES {
            let first = 3 * (segment * BATCHES + number);
            let numbers = [first, first + 1, first + 2];
            broker.round([batch(&numbers)]);
            records.extend((first..).zip(numbers));
        }
    }
    broker.checkpoint();
    broker.provide(0);
    let begun = disk.operations();
    let mut reduced = records.clone();
    reduced.retain(|at, _| is_kept(*at));
    disk.stop_before(begun + k);
    let rewritten = match broker.rewrite(P0, 0..2, |frame| keep(frame, |at, _| is_kept(at))) {
        Ok(rewritten) => rewritten,
        Err(error) => return (vec![records], Err(error)),
    };
    if let Err(error) = broker.swap(&rewritten) {
        return (vec![records, reduced], Err(error));
    }
    let rest = (|| {
        broker.try_settle()?;
        broker.storage.dirty.sync(&broker.storage.files)?;
        let mut input = broker.checkpoint_input();
        broker.storage.checkpointer.write(&mut input)?;
        broker.remove_sources(&rewritten)
    })();
    (vec![reduced], rest)
}

#[test]
fn a_rewrite_survives_every_crash() {
    let mut state_count = 0;
    for k in 0.. {
        let disk = SimDisk::new(SimOptions {
            trace: Trace::Off,
            ..SimOptions::default()
        });
        let (allowed, outcome) = script(&disk, k);
        for state in disk.crash_states(STATES_MAX) {
            let what = format!("operation {k}, {}", state.description);
            let broker = Driver::open(&state.disk).unwrap();
            let found = read(&broker, 0);
            assert!(allowed.contains(&found), "{what}: {found:?}");
            drop(broker);
            let again = Driver::open(&state.disk).unwrap();
            assert_eq!(read(&again, 0), found, "{what}: again");
            state_count += 1;
        }
        if outcome.is_ok() {
            assert!(k > 10, "it has many operations");
            break;
        }
    }
    assert!(state_count > 100, "{state_count} states");
}
