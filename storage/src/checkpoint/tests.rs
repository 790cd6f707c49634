//! Checkpoints against a plain map of rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::environment::testing::seeded;
use crate::environment::{SimClock, SimEntropy};
use crate::format::row::RowKey;
use crate::runs::IndexOptions;
use crate::vfs::sim::{SimDisk, SimOptions, Trace};

type Rows = BTreeMap<RowKey, Bytes>;

fn environment() -> Environment {
    let disk = SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    });
    let vfs = disk.vfs();
    vfs.create_dir(Path::new(folder::CHECKPOINT)).unwrap();
    Environment {
        vfs,
        clock: Arc::new(SimClock::new(0)),
        entropy: Arc::new(SimEntropy::new(0)),
    }
}

fn row((table, key, value): (u16, u8, Option<usize>)) -> Row {
    let key = RowKey {
        table,
        key: vec![key; usize::from(key % 4)].into(),
    };
    // Up to more than a block takes, so that rows of every size fall on the borders of blocks.
    let value = value.map(|length| vec![7; length].into());
    Row { key, value }
}

/// Few keys, so that they are changed, dropped and made again.
fn changes() -> impl Strategy<Value = Vec<Row>> {
    let length = prop_oneof![8 => 0..200_usize, 1 => 20_000..70_000_usize];
    let value = prop_oneof![1 => Just(None), 3 => length.prop_map(Some)];
    prop::collection::vec((0..3_u16, 0..8_u8, value).prop_map(row), 0..40)
}

fn read(environment: &Environment, name: CheckpointName) -> Vec<Row> {
    let mut reader = CheckpointReader::open(environment, name).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row().unwrap() {
        rows.push(row);
    }
    assert_eq!(reader.footer().row_count, rows.len() as u64);
    rows
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn a_checkpoint_is_the_one_before_with_what_changed(steps in prop::collection::vec(changes(), 1..6)) {
        let environment = environment();
        let broker_id = BrokerId::new([1; 16]);
        let runs = RunKeeper::open(&environment, broker_id, &IndexOptions::default(), &[]).unwrap();
        let mut checkpointer = Checkpointer::new(environment.clone(), broker_id, 3, None, runs);
        let mut model = Rows::new();
        for (lsn, changes) in (1..).map(Lsn::new).zip(steps) {
            let last_of_each: BTreeMap<_, _> =
                changes.into_iter().map(|row| (row.key.clone(), row)).collect();
            for (key, row) in &last_of_each {
                match &row.value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            let mut input = CheckpointInput {
                lsn,
                continuation: JournalPosition { file: 1, position: 4096 },
                time_ms: 5,
                // In any order: the state takes them from a map of its own.
                changed: last_of_each.into_values().rev().collect(),
            };
            checkpointer.write(&mut input).unwrap();
            let expected: Vec<_> = model
                .iter()
                .map(|(key, value)| Row { key: key.clone(), value: Some(value.clone()) })
                .collect();
            let names = list(&environment).unwrap();
            prop_assert_eq!(names.len(), COPIES.len(), "the one before is gone");
            for name in names {
                prop_assert_eq!((name.lsn, name.incarnation), (lsn, 3));
                prop_assert_eq!(&read(&environment, name), &expected);
            }
        }
    }
}
