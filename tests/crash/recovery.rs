//! Recovery, interrupted by a crash at each of its own operations.

use towpath_storage::StorageError;
use towpath_storage::vfs::sim::{CrashMode, Fault, Injection, LossMode, SimDisk};
use towpath_tests::model::Model;
use towpath_tests::stepper::{Stepper, small_options};

use super::{ENTROPY_SEED, blank_disk, check_recovery, run, states_max};

/// States with a round in flight from which recovery is interrupted: torn in some way, or whole.
const TORN_STATES_MAX: usize = 4;

#[test]
fn an_interrupted_recovery_starts_over() {
    let options = small_options();
    for sector_bytes in [512, 4096] {
        for (what, crashed, model) in bases(sector_bytes) {
            let probe = crashed.fork();
            let before = probe.operations();
            drop(Stepper::open(&probe, ENTROPY_SEED, &options, Model::default()).unwrap());
            let operations = probe.operations() - before;
            let mut state_count = 0;
            for k in 0..operations {
                let disk = crashed.fork();
                disk.stop_before(before + k);
                // It may succeed all the same: files that cannot be removed stay for a while.
                drop(Stepper::open(
                    &disk,
                    ENTROPY_SEED,
                    &options,
                    Model::default(),
                ));
                assert!(disk.is_stopped(), "the power went off during recovery");
                for state in disk.crash_states(states_max()) {
                    let what = format!(
                        "after {what}, recovery operation {k}, {}",
                        state.description
                    );
                    check_recovery(&state.disk, &model, &options, &what);
                    state_count += 1;
                }
            }
            println!(
                "recovery after {what}: {operations} operations, sectors of {sector_bytes}, \
                {state_count} states"
            );
        }
    }
}

/// Crashed disks with something to recover, and what is known of each.
fn bases(sector_bytes: u64) -> Vec<(String, SimDisk, Model)> {
    let options = small_options();
    let whole = blank_disk(sector_bytes);
    let model = run(&whole, work, &options);
    let lost = CrashMode::PowerLoss(LossMode::Everything);
    let mut bases = vec![
        (
            "kill".to_owned(),
            whole.crash(&CrashMode::Kill),
            model.clone(),
        ),
        ("power loss".to_owned(), whole.crash(&lost), model),
    ];
    // The last operation is the sync of a round: before it nothing of that is known.
    let torn = blank_disk(sector_bytes);
    torn.stop_before(whole.operations() - 1);
    let model = run(&torn, work, &options);
    bases.extend(torn.crash_states(TORN_STATES_MAX).map(|state| {
        let what = format!("power loss in a round, {}", state.description);
        (what, state.disk, model.clone())
    }));
    bases
}

#[test]
fn a_recovery_without_room_leaves_the_folder_as_good_as_it_was() {
    let options = small_options();
    let whole = blank_disk(512);
    let model = run(&whole, work, &options);
    let crashed = whole.crash(&CrashMode::PowerLoss(LossMode::Everything));
    let probe = crashed.fork();
    drop(Stepper::open(&probe, ENTROPY_SEED, &options, Model::default()).unwrap());
    let mut refused = 0;
    for k in crashed.operations()..probe.operations() {
        let disk = crashed.fork();
        disk.inject(Injection::new(Fault::NoSpace).at_operation(k));
        let opened = Stepper::open(&disk, ENTROPY_SEED, &options, Model::default());
        refused += u32::from(opened.is_err());
        drop(opened);
        disk.heal();
        for mode in [CrashMode::Kill, CrashMode::PowerLoss(LossMode::Everything)] {
            let what = format!("no room for recovery operation {k}, then {mode:?}");
            check_recovery(&disk.crash(&mode), &model, &options, &what);
        }
    }
    assert!(refused > 0, "there are operations that need room");
}

#[test]
fn a_disk_without_any_room_refuses_a_start_again_and_again_until_there_is_some() {
    let options = small_options();
    let whole = blank_disk(512);
    let model = run(&whole, work, &options);
    let disk = whole.crash(&CrashMode::Kill);
    let space = disk.vfs().space().unwrap();
    let used_bytes = space.total_bytes - space.available_bytes;
    disk.set_total_bytes(used_bytes);
    for attempt in 0..3 {
        let opened = Stepper::open(&disk, ENTROPY_SEED + attempt, &options, Model::default());
        assert!(opened.is_err(), "there is no room for a checkpoint");
    }
    disk.set_total_bytes(space.total_bytes);
    check_recovery(&disk, &model, &options, "a disk that had no room");
}

/// Leaves inline and referenced frames, settled and not, a deleted topic and a trim behind a checkpoint.
fn work(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.create_topic("gone", 1)?;
    broker.send("gone", 0, 700);
    broker.send("orders", 0, 900);
    broker.send("orders", 1, 900);
    broker.settle_down()?;
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()?;
    for length in [13_000, 400, 50_000] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, 120);
        broker.settle_down()?;
    }
    broker.delete_topic("gone")?;
    broker.trim("orders", 1, 2)?;
    broker.send("orders", 1, 2500);
    broker.engine.step_round()?;
    broker.note_answers();
    Ok(())
}
