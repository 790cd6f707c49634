//! Recovery, interrupted by a crash at each of its own operations.

use towpath_storage::StorageError;
use towpath_storage::vfs::sim::{CrashMode, LossMode};
use towpath_tests::model::Model;
use towpath_tests::stepper::{Stepper, small_options};

use super::{ENTROPY_SEED, blank_disk, check_recovery, run, states_max};

#[test]
fn an_interrupted_recovery_starts_over() {
    let options = small_options();
    let whole = blank_disk(512);
    let model = run(&whole, work, &options);
    for (what, crashed) in [
        ("kill", whole.crash(&CrashMode::Kill)),
        (
            "power loss",
            whole.crash(&CrashMode::PowerLoss(LossMode::Everything)),
        ),
    ] {
        let probe = crashed.fork();
        let before = probe.operations();
        drop(Stepper::open(&probe, ENTROPY_SEED, &options, Model::default()).unwrap());
        let operations = probe.operations() - before;
        let mut state_count = 0;
        for k in 0..operations {
            let disk = crashed.fork();
            disk.stop_before(before + k);
            let opened = Stepper::open(&disk, ENTROPY_SEED, &options, Model::default());
            assert!(opened.is_err(), "the power went off during recovery");
            for state in disk.crash_states(states_max()) {
                let what = format!(
                    "after {what}, recovery operation {k}, {}",
                    state.description
                );
                check_recovery(&state.disk, &model, &options, &what);
                state_count += 1;
            }
        }
        println!("recovery after {what}: {operations} operations, {state_count} states");
    }
}

/// Leaves inline and referenced frames, settled and not, behind a checkpoint.
fn work(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
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
    broker.send("orders", 1, 2500);
    broker.engine.step_round()?;
    broker.note_answers();
    Ok(())
}
