//! Every crash state of every operation that changes the disk.
//!
//! A script runs once to count its file operations. Then it runs again for each operation, with the
//! power going off just before it, and every state that the disk may be left in is opened: what was
//! acknowledged must be there, once, at its offset; nothing may be there that was not sent; and the
//! broker must go on from there. Recovery is itself interrupted at each of its operations.
//!
//! `STATES=n` tries up to n states for each operation (default 12): all where there are no more, else the
//! characteristic ones and a sample. Each test says how often it was all of them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails by panicking and says what it did"
)]

mod commits;
mod recovery;
mod schedules;
mod scripts;
mod subscriptions;

use std::path::Path;
use std::time::Duration;

use towpath_broker::runtime::engine::EngineOptions;
use towpath_storage::StorageError;
use towpath_storage::format::segment_header::SegmentHeader;
use towpath_storage::vfs::sim::{SimDisk, SimOptions, Trace};
use towpath_tests::model::Model;
use towpath_tests::setting::number;
use towpath_tests::stepper::{Stepper, small_options};

/// Something to be interrupted.
type Script = fn(&mut Stepper) -> Result<(), StorageError>;

/// The topic to which dead letters are appended.
const TARGET: &str = "again";

const ENTROPY_SEED: u64 = 11;
/// After so long every record is due that a script schedules.
const ALL_ARE_DUE: Duration = Duration::from_secs(60);

fn states_max() -> usize {
    usize::try_from(number("STATES", 12)).unwrap()
}

fn blank_disk(sector_bytes: u64) -> SimDisk {
    SimDisk::new(SimOptions {
        sector_bytes,
        trace: Trace::Off,
        ..SimOptions::default()
    })
}

/// Runs a script until it ends or the power goes off; returns what is known afterwards.
fn run(disk: &SimDisk, script: Script, options: &EngineOptions) -> Model {
    let Ok(mut stepper) = Stepper::open(disk, ENTROPY_SEED, options, Model::default()) else {
        return Model::default();
    };
    let outcome = script(&mut stepper);
    assert!(
        outcome.is_ok() || disk.is_stopped(),
        "only the power stops the script: {outcome:?}"
    );
    stepper.note_answers();
    if !disk.is_stopped() {
        stepper.check();
    }
    stepper.model
}

/// Opens a crashed disk, compares, goes on, and compares again after a kill.
fn check_recovery(disk: &SimDisk, model: &Model, options: &EngineOptions, what: &str) {
    let opened = Stepper::open(disk, ENTROPY_SEED + 1, options, model.clone());
    let mut stepper = match opened {
        Ok(stepper) => stepper,
        Err(error) => panic!("{what}: cannot be opened: {error:?}"),
    };
    stepper.check();
    stepper.settle_groups();
    stepper.send_doubtful();
    stepper.settle_down().unwrap();
    stepper.note_answers();
    stepper.check();
    assert!(
        stepper.engine.report.losses.is_empty(),
        "{what}: nothing is damaged"
    );
    stepper.check_subscriptions(TARGET).unwrap();
    stepper.check_schedules().unwrap();
    stepper.settle_schedules().unwrap();
    check_segment_headers(disk, what);
    check_no_orphans(&mut stepper, disk, what);
    let model = stepper.model.clone();
    drop(stepper);
    let again = Stepper::open(disk, ENTROPY_SEED + 2, options, model);
    let mut again =
        again.unwrap_or_else(|error| panic!("{what}: cannot be opened again: {error:?}"));
    again.check();
    again.check_subscriptions(TARGET).unwrap();
    again.check_schedules().unwrap();
    if again.schedule_count() > 0 {
        again.pass(ALL_ARE_DUE).unwrap();
        again.check_schedules().unwrap();
        assert_eq!(again.schedule_count(), 0, "{what}: all were delivered");
    }
}

/// After a checkpoint nothing is left of what was deleted or trimmed.
fn check_no_orphans(stepper: &mut Stepper, disk: &SimDisk, what: &str) {
    for _ in 0..2 {
        // The second forgets what the first removed.
        stepper.engine.sequencer.take_checkpoint();
        stepper.settle_down().unwrap();
    }
    let state = stepper.engine.sequencer.state();
    let dropped = state.dropped().count() + state.dropped_segments().count();
    assert_eq!(
        dropped, 0,
        "{what}: everything that was dropped is forgotten"
    );
    towpath_tests::orphans::check_none(state, disk);
}

/// A segment that is written to has its header, or its partition would have to leave it.
fn check_segment_headers(disk: &SimDisk, what: &str) {
    for path in disk.paths().iter().filter(|path| path.ends_with(".log")) {
        let bytes = disk.read(Path::new(path)).unwrap();
        let head = bytes.get(..64).unwrap_or_default();
        let is_blank = bytes.iter().all(|byte| *byte == 0);
        assert!(
            is_blank || SegmentHeader::decode(head).is_some(),
            "{what}: header of {path}"
        );
    }
}

/// Interrupts a script before each of its operations and recovers from every state.
fn check_script(name: &str, script: Script) {
    let options = small_options();
    for sector_bytes in [512, 4096] {
        let whole = blank_disk(sector_bytes);
        run(&whole, script, &options);
        let operations = whole.operations();
        let (mut state_count, mut complete_count) = (0, 0);
        for k in 0..=operations {
            let disk = blank_disk(sector_bytes);
            disk.stop_before(k);
            let model = run(&disk, script, &options);
            let states = disk.crash_states(states_max());
            complete_count += u64::from(states.is_complete());
            for state in states {
                let what = format!("{name}, operation {k}, {}", state.description);
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    check_recovery(&state.disk, &model, &options, &what);
                }));
                assert!(caught.is_ok(), "failed: {what}");
                state_count += 1;
            }
        }
        println!(
            "{name}: {operations} operations, sectors of {sector_bytes}, {state_count} states, \
            all of {complete_count} operations"
        );
    }
}
