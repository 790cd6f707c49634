//! Compaction against its definition: of each key the last record stays, at its offset.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use towpath_broker::runtime::engine::EngineOptions;
use towpath_storage::vfs::sim::{CrashMode, SimDisk};
use towpath_storage::{Entropy, SystemEntropy};
use towpath_tests::model::Model;
use towpath_tests::setting::asked;
use towpath_tests::stepper::{KeyedRecord, Stepper, small_options};

use super::disk;

/// A tombstone is old then.
const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

#[derive(Debug, Clone)]
enum Step {
    /// A batch to one of two partitions: keys, and which are tombstones; bytes of each value.
    Publish(bool, Vec<(u8, bool)>, usize),
    Checkpoint,
    Compact,
    /// The process is killed, and starts again.
    Kill,
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let record = || (0..12_u8, prop::bool::weighted(0.2));
    let records = || prop::collection::vec(record(), 1..8);
    prop_oneof![
        20 => (any::<bool>(), records(), 0..4_000_usize)
            .prop_map(|(second, keys, padding)| Step::Publish(second, keys, padding)),
        3 => Just(Step::Checkpoint),
        3 => Just(Step::Compact),
        1 => Just(Step::Kill),
        1 => Just(Step::Pass(TWO_DAYS)),
    ]
}

/// No reader is to find in memory what is not on disk any more.
fn options() -> EngineOptions {
    let mut options = small_options();
    options.sequencer.tail_cache_bytes = 0;
    options.core.segment_bytes_max = 24 * 1024;
    options
}

fn open(disk: &SimDisk, model: Model) -> Stepper {
    Stepper::open(disk, 1, &options(), model).unwrap()
}

/// What is left by definition, tombstones among it.
fn left(stepper: &Stepper) -> BTreeMap<(u32, u64), KeyedRecord> {
    let known = &stepper.model.keyed;
    let of = |partition| {
        let last = known.last_of_keys(partition).into_values();
        last.map(move |offset| ((partition, offset), known.records[&(partition, offset)]))
    };
    of(0).chain(of(1)).collect()
}

fn check_compacted(stepper: &Stepper, has_old_tombstones: bool) {
    let (found, left) = (stepper.check_keyed(), left(stepper));
    for (place, record) in &found {
        assert_eq!(left.get(place), Some(record), "passed over, at {place:?}");
    }
    for (place, record) in left {
        let may_go = has_old_tombstones && record.value.is_none();
        assert!(found.contains_key(&place) || may_go, "gone from {place:?}");
    }
}

#[test]
fn what_is_left_is_the_last_record_of_each_key() {
    let seed = asked("SEED").unwrap_or_else(|| SystemEntropy.next_u64());
    println!("SEED={seed}");
    let config = Config {
        cases: 100,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        run(&steps);
        Ok(())
    });
    outcome.unwrap();
}

/// A key belongs to one partition, as the partition of a key does.
fn keys_of(second: bool, keys: &[(u8, bool)]) -> Vec<(u8, bool)> {
    let key = |key: u8| 2 * key + u8::from(second);
    let keys = keys.iter();
    keys.map(|(it, tombstone)| (key(*it), *tombstone)).collect()
}

fn run(steps: &[Step]) {
    let mut disk = disk();
    let mut stepper = open(&disk, Model::default());
    stepper.create_compacted(2).unwrap();
    let mut has_old_tombstones = false;
    for step in steps {
        match step {
            Step::Publish(second, keys, padding) => {
                let keys = keys_of(*second, keys);
                let partition = u32::from(*second);
                stepper.publish_keyed(partition, &keys, *padding).unwrap();
            }
            Step::Checkpoint => {
                stepper.engine.sequencer.take_checkpoint();
                stepper.settle_down().unwrap();
            }
            Step::Compact => {
                stepper.compact().unwrap();
                check_compacted(&stepper, has_old_tombstones);
            }
            Step::Kill => {
                let model = stepper.model.clone();
                drop(stepper);
                disk = disk.crash(&CrashMode::Kill);
                stepper = open(&disk, model);
                towpath_tests::orphans::check_none(stepper.engine.sequencer.state(), &disk);
            }
            Step::Pass(time) => {
                stepper.pass(*time).unwrap();
                has_old_tombstones = true;
            }
        }
        stepper.check_keyed();
    }
    // The first lets go of what was passed over, the second of tombstones behind what it rewrote.
    stepper.pass(TWO_DAYS).unwrap();
    stepper.compact().unwrap();
    stepper.compact().unwrap();
    let mut expected = left(&stepper);
    expected.retain(|_, record| record.value.is_some());
    assert_eq!(stepper.check_keyed(), expected, "values of live keys");
    stepper.compact().unwrap();
    towpath_tests::orphans::check_none(stepper.engine.sequencer.state(), &disk);
}
