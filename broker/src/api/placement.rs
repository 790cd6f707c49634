//! Placing records that came without a partition, and copying them into the batches of theirs.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::{Bytes, BytesMut};
use prost::Message;
use towpath_proto::batch::{BatchError, BatchLimits, Fault, NewRecord};
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::v1;
use towpath_storage::{PartitionRef, TopicId};

use super::{convert, status, unreadable};
use crate::core::AppendRequest;
use crate::runtime::published::TopicView;

/// What a batch takes in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 1024;

/// Where records go: to at most one batch for each partition.
#[derive(Debug, Default)]
pub(super) struct Placement {
    batches: BTreeMap<PartitionRef, BatchSize>,
    /// Encoded records and what batches add to them.
    size_bytes: usize,
}

#[derive(Debug, Default)]
struct BatchSize {
    size_bytes: usize,
    record_count: u32,
}

/// A topic that records are placed in.
#[derive(Debug)]
pub(super) struct Target<'a> {
    topic: &'a TopicView,
    partition_count: NonZeroU32,
    /// Where all of them go, if that is given.
    partition: Option<u32>,
    /// Where those without a key go otherwise.
    keyless: u32,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) partition: PartitionRef,
    /// Its number in the batch.
    pub(super) index: u32,
}

impl<'a> Target<'a> {
    /// A topic, or one partition of it, for records without a key in turn.
    ///
    /// # Errors
    /// The topic has no such partition.
    pub(super) fn new(
        topic: &'a TopicView,
        partition: Option<u32>,
        turn: u32,
    ) -> Result<Self, Problem> {
        let count = convert::partition_count(topic);
        if let Some(partition) = partition.filter(|it| *it >= count) {
            return Err(status::partition_not_found(topic.name(), partition, count));
        }
        let partition_count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Ok(Self {
            topic,
            partition_count,
            partition,
            keyless: turn % partition_count,
        })
    }

    fn topic_id(&self) -> TopicId {
        self.topic.id()
    }

    /// The partition of a record with this key.
    pub(super) fn partition_of(&self, key: Option<&[u8]>) -> u32 {
        let by_key = || {
            key.map_or(self.keyless, |key| {
                partition_of(key, self.partition_count).get()
            })
        };
        self.partition.unwrap_or_else(by_key)
    }
}

impl Placement {
    /// Checks a record as a walk over its batch would, and gives it a place. It is number `index` of the
    /// field `field` of the request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn add(
        &mut self,
        target: &Target<'_>,
        encoded: &Bytes,
        (field, index): (&str, u32),
    ) -> Result<Placed, Problem> {
        let record = decode(encoded)
            .map_err(|problem| problem.with(FIELD, format_args!("{field}[{index}]")))?;
        let new = new_record(&record);
        new.check(&BatchLimits::default())
            .map_err(|error| in_record(error, field, index))?;
        let partition = PartitionRef {
            topic: target.topic_id(),
            partition: target.partition_of(record.key.as_deref()),
        };
        let batch = self.batches.entry(partition).or_default();
        let index = batch.record_count;
        batch.record_count += 1;
        batch.size_bytes += new.batch_len();
        self.size_bytes += new.batch_len();
        Ok(Placed { partition, index })
    }

    /// Bytes of the batches.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Memory that the batches take, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.size_bytes + self.batches.len() * OVERHEAD_BYTES
    }

    /// Records in all batches.
    pub(super) fn all_records(&self) -> u64 {
        let counts = self.batches.values().map(|it| u64::from(it.record_count));
        counts.sum()
    }

    /// The first partition whose batch is larger than any may be, and what is wrong with it.
    pub(super) fn oversized(&self) -> Option<(PartitionRef, Fault)> {
        let fault = |it: &BatchSize| match it {
            it if it.record_count > RECORDS_PER_BATCH_MAX => Some(Fault::TooManyRecords {
                records_max: RECORDS_PER_BATCH_MAX,
            }),
            it if it.size_bytes > BATCH_BYTES_MAX => Some(Fault::BatchTooLarge {
                size_bytes: it.size_bytes,
                size_bytes_max: BATCH_BYTES_MAX,
            }),
            _ => None,
        };
        let mut faults = self.batches.iter();
        faults.find_map(|(partition, it)| Some((*partition, fault(it)?)))
    }

    /// Copies the records, which are those that were added, in that order, into their batches.
    ///
    /// # Errors
    /// A record that cannot be read, which none is that was added.
    pub(super) fn encode<'a>(
        self,
        records: impl Iterator<Item = (&'a Bytes, Placed)>,
    ) -> Result<Vec<(AppendRequest, Bytes)>, Problem> {
        let sizes = self.batches.iter();
        let mut payloads: BTreeMap<PartitionRef, BytesMut> = sizes
            .map(|(partition, batch)| (*partition, BytesMut::with_capacity(batch.size_bytes)))
            .collect();
        for (encoded, placed) in records {
            let record = decode(encoded)?;
            if let Some(payload) = payloads.get_mut(&placed.partition) {
                new_record(&record).put(payload);
            }
        }
        let batches = payloads.into_iter().zip(self.batches.into_values());
        let appends = batches.map(|((partition, payload), BatchSize { record_count, .. })| {
            let payload = payload.freeze();
            let request = AppendRequest::plain(partition, &payload, record_count as usize);
            (request, payload)
        });
        Ok(appends.collect())
    }
}

/// Decodes a single record of the field `field`, and checks it as a walk over its batch would.
///
/// # Errors
/// What is wrong with it.
pub(super) fn checked_record(encoded: &Bytes, field: &str) -> Result<v1::Record, Problem> {
    let record = decode(encoded).map_err(|problem| problem.with(FIELD, field))?;
    let checked = new_record(&record).check(&BatchLimits::default());
    checked.map_err(|error| {
        let path = BatchError {
            record: Some(0),
            ..error
        };
        let path = path.field_path();
        let path = path.strip_prefix("batch.records[0]").unwrap_or_default();
        Problem::from(error).with(FIELD, format_args!("{field}{path}"))
    })?;
    Ok(record)
}

/// Decoded records take many times their bytes, so there is one at a time.
fn decode(bytes: &Bytes) -> Result<v1::Record, Problem> {
    v1::Record::decode(bytes.clone()).map_err(|error| unreadable::malformed(&error.to_string()))
}

/// The key of an encoded record.
///
/// # Errors
/// It is no record.
pub(super) fn key_of(encoded: &Bytes) -> Result<Option<Bytes>, Problem> {
    Ok(decode(encoded)?.key)
}

/// Names the record within the request instead of within a batch.
fn in_record(error: BatchError, field: &str, index: u32) -> Problem {
    let error = BatchError {
        record: Some(index),
        ..error
    };
    let path = error.field_path();
    let path = path.strip_prefix("batch.records").unwrap_or_default();
    Problem::from(error).with(FIELD, format_args!("{field}{path}"))
}

/// A record as it is written into a batch.
pub(in crate::api) fn new_record(
    record: &v1::Record,
) -> NewRecord<'_, impl Iterator<Item = (&str, &[u8])> + Clone> {
    let headers = record.headers.iter();
    NewRecord {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: headers.map(|header| (header.name.as_str(), header.value.as_ref())),
        event_time_ms: record.event_time_ms,
    }
}
