//! Publishing a few records: placed by key, written as one entry.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::BytesMut;
use tokio::sync::oneshot;
use towpath_proto::batch::{BatchError, BatchLimits, Fault, NewRecord};
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::{batch, v1};
use towpath_storage::PartitionRef;

use super::{InFlight, Shared, convert, status};
use crate::core::AppendRequest;
use crate::memory::MessageMemory;
use crate::runtime::command::{CommandError, DataCommand, Permits};
use crate::runtime::published::TopicView;

/// What a batch takes in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 1024;

/// Writes records to one topic: all of them or none.
pub(super) async fn publish(
    shared: &Shared,
    request: v1::PublishRequest,
    received: Option<MessageMemory>,
) -> Result<v1::PublishResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = convert::topic_name("topic", &request.topic)?;
    let topic = shared.topic(&name)?;
    check(&request.records)?;
    let placed = place(&topic, &request, shared)?;
    let appends: Vec<_> = placed
        .batches
        .into_iter()
        .map(|(partition, building)| building.finish(&topic, partition))
        .collect();
    let bytes: usize = appends
        .iter()
        .map(|(_, payload)| payload.len() + OVERHEAD_BYTES)
        .sum();
    let permit = InFlight::take(&shared.in_flight.all, bytes).await;
    let held = Vec::from_iter(permit);
    drop(received);
    let partitions: Vec<u32> = appends
        .iter()
        .map(|(request, _)| request.partition.partition)
        .collect();
    let (answer, published) = oneshot::channel();
    shared.push(DataCommand::Publish {
        appends,
        answer,
        permits: Permits { held },
    });
    let published = published.await.unwrap_or(Err(CommandError::Failed));
    let published = published.map_err(|error| {
        status::command_failed(error, |refusal| {
            status::append_refused(refusal, &name, 0, 0)
        })
    })?;
    let base_offsets: BTreeMap<_, _> = partitions.into_iter().zip(published.base_offsets).collect();
    let positions = placed.records.into_iter().filter_map(|(partition, index)| {
        let base_offset = base_offsets.get(&partition)?;
        Some(v1::RecordPosition {
            partition,
            offset: base_offset.advance(index.into()).get(),
        })
    });
    Ok(v1::PublishResponse {
        positions: positions.collect(),
        lsn: published.lsn.get(),
        append_time_ms: published.append_time_ms,
    })
}

/// Checks the records as a walk over their batch would.
fn check(records: &[v1::Record]) -> Result<(), Problem> {
    let limits = BatchLimits::default();
    if records.is_empty() {
        return Err(Problem::invalid_field("records", "there is no record"));
    }
    if records.len() > RECORDS_PER_BATCH_MAX as usize {
        let fault = Fault::TooManyRecords {
            records_max: RECORDS_PER_BATCH_MAX,
        };
        return Err(Problem::invalid_field("records", fault.to_string()));
    }
    let mut size_bytes = 0;
    for (index, record) in (0..).zip(records) {
        let record = new_record(record);
        record
            .check(&limits)
            .map_err(|error| in_record(error, index))?;
        size_bytes += record.batch_len();
    }
    if size_bytes > BATCH_BYTES_MAX {
        let fault = Fault::BatchTooLarge {
            size_bytes,
            size_bytes_max: BATCH_BYTES_MAX,
        };
        let error = BatchError {
            record: None,
            header: None,
            fault,
        };
        return Err(Problem::from(error).with(FIELD, "records"));
    }
    Ok(())
}

/// Names the record within the request instead of within a batch.
fn in_record(error: BatchError, index: u32) -> Problem {
    let error = BatchError {
        record: Some(index),
        ..error
    };
    let path = error.field_path();
    let path = path.strip_prefix("batch.").unwrap_or(&path).to_owned();
    Problem::from(error).with(FIELD, path)
}

fn new_record(record: &v1::Record) -> NewRecord<'_, impl Iterator<Item = (&str, &[u8])> + Clone> {
    let headers = record.headers.iter();
    NewRecord {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: headers.map(|header| (header.name.as_str(), header.value.as_ref())),
        event_time_ms: record.event_time_ms,
    }
}

/// Records by partition.
struct Placed {
    batches: BTreeMap<u32, BuildingBatch>,
    /// Of each record of the request, its partition and its number in the batch.
    records: Vec<(u32, u32)>,
}

#[derive(Default)]
struct BuildingBatch {
    bytes: BytesMut,
    record_count: u32,
}

impl BuildingBatch {
    fn finish(self, topic: &TopicView, partition: u32) -> (AppendRequest, bytes::Bytes) {
        let payload = self.bytes.freeze();
        let request = AppendRequest {
            partition: PartitionRef {
                topic: topic.id(),
                partition,
            },
            producer: None,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: batch::crc(&payload),
            record_count: self.record_count,
        };
        (request, payload)
    }
}

/// Gives each record its partition and encodes the batches.
fn place(
    topic: &TopicView,
    request: &v1::PublishRequest,
    shared: &Shared,
) -> Result<Placed, Problem> {
    let partition_count = convert::partition_count(topic);
    if let Some(partition) = request.partition
        && partition >= partition_count
    {
        return Err(status::partition_not_found(
            topic.name(),
            partition,
            partition_count,
        ));
    }
    let count = NonZeroU32::new(partition_count).unwrap_or(NonZeroU32::MIN);
    let keyless = shared.next_turn() % count;
    let mut placed = Placed {
        batches: BTreeMap::new(),
        records: Vec::with_capacity(request.records.len()),
    };
    for record in &request.records {
        let by_key = || {
            let key = record.key.as_deref();
            key.map_or(keyless, |key| partition_of(key, count).get())
        };
        let partition = request.partition.unwrap_or_else(by_key);
        let batch = placed.batches.entry(partition).or_default();
        placed.records.push((partition, batch.record_count));
        new_record(record).put(&mut batch.bytes);
        batch.record_count += 1;
    }
    Ok(placed)
}
