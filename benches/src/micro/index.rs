//! Looking rows up in a sorted run whose blocks are in memory.

use bytes::{BufMut, Bytes, BytesMut};
use towpath_storage::{
    CheckpointInput, INDEX_TABLES, IndexOptions, Lookup, Row, RowKey, StorageOptions,
};

use super::broker::storage;
use super::outside::folder;
use super::wire::{expect, void};
use super::{Shape, Subject, Work};
use crate::Result;

const ROWS: u64 = 10_000;
/// Topic, partition and hash of a key: what its versions have in common.
const FILTER_KEY_BYTES: usize = 28;

/// As many look-ups as the batch has records.
pub(super) const LOOK_UP: Subject = Subject {
    name: "index look-up",
    prepare: |shape, _| looking_up(shape),
};

fn looking_up(shape: &'static Shape) -> Result<Work> {
    let folder = folder()?;
    let options = StorageOptions {
        index: IndexOptions {
            filter_key_bytes: |_| FILTER_KEY_BYTES,
            ..IndexOptions::default()
        },
        ..StorageOptions::default()
    };
    let mut storage = storage(&folder, &options)?;
    let rows = (0..ROWS).map(|number| Row {
        key: key(number),
        value: Some(Bytes::copy_from_slice(&number.to_le_bytes())),
    });
    let mut input = CheckpointInput {
        lsn: storage.lsn.next(),
        continuation: storage.journal.position(),
        time_ms: 0,
        changed: rows.collect(),
    };
    let written = storage.checkpointer.write(&mut input);
    written.map_err(|error| void(&error))?;
    let set = storage.index.current();
    let keys: Vec<_> = (0..u64::from(shape.record_count)).map(key).collect();
    for key in &keys {
        set.get(key).map_err(|error| void(&error))?;
    }
    Ok(Box::new(move || {
        let _alive = (&folder, &storage);
        let is_there = |key| matches!(set.get_cached(key), Some(Lookup::Value(_)));
        expect(keys.iter().all(is_there), "a row is missing")
    }))
}

/// Topic, partition, hash of a key and version.
fn key(number: u64) -> RowKey {
    let hash = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mut key = BytesMut::with_capacity(FILTER_KEY_BYTES + 8);
    key.put_u32_le(7);
    key.put_u64_le(number % 8);
    key.put_u128_le(hash);
    key.put_u64_le(1);
    RowKey {
        table: INDEX_TABLES,
        key: key.freeze(),
    }
}
