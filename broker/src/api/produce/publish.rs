//! Publishing a few records: placed by key, written as one entry.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::sync::oneshot;
use towpath_proto::batch::{BatchError, BatchLimits, Fault, NewRecord};
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use towpath_proto::partitioner::partition_of;
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::wire::PublishRequest;
use towpath_proto::{batch, v1};
use towpath_storage::PartitionRef;

use super::{InFlight, Shared, convert, status, unreadable};
use crate::core::AppendRequest;
use crate::memory::MessageMemory;
use crate::runtime::command::{CommandError, DataCommand, Permits};
use crate::runtime::published::TopicView;

/// What a batch takes in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 1024;

/// Writes records to one topic: all of them or none. `received` is the memory of the request.
pub(super) async fn publish(
    shared: &Shared,
    request: PublishRequest,
    received: Option<MessageMemory>,
) -> Result<v1::PublishResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = convert::topic_name("topic", &request.topic)?;
    let topic = shared.topic(&name)?;
    let placed = place(&topic, &request, shared)?;
    let sizes = placed.batches.values();
    let bytes: usize = sizes.map(|it| it.size_bytes + OVERHEAD_BYTES).sum();
    let permit = InFlight::take(&shared.in_flight.all, bytes).await;
    let appends = encode(&topic, &request, &placed)?;
    // The batches are copies: from here on the permit stands for all that is held.
    drop((request, received));
    let held = Vec::from_iter(permit);
    let partitions: Vec<u32> = appends
        .iter()
        .map(|(request, _)| request.partition.partition)
        .collect();
    let counts = appends.iter().map(|(request, _)| request.record_count);
    let tally = Some(shared.tally(counts.map(u64::from).sum()));
    let (answer, published) = oneshot::channel();
    shared.push(DataCommand::Publish {
        appends,
        letters: None,
        answer,
        permits: Permits { held, tally },
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

/// Where the records of a request go.
#[derive(Default)]
struct Placed {
    batches: BTreeMap<u32, BatchSize>,
    /// Of each record of the request, its partition and its number in the batch.
    records: Vec<(u32, u32)>,
}

#[derive(Default)]
struct BatchSize {
    size_bytes: usize,
    record_count: u32,
}

/// Checks the records as a walk over their batch would, and gives each its partition.
fn place(topic: &TopicView, request: &PublishRequest, shared: &Shared) -> Result<Placed, Problem> {
    check_count(request.records.len())?;
    let limits = BatchLimits::default();
    let partition_count = convert::partition_count(topic);
    let count = NonZeroU32::new(partition_count).unwrap_or(NonZeroU32::MIN);
    let keyless = shared.next_turn() % count;
    let mut placed = Placed::default();
    let mut size_bytes = 0;
    for (index, bytes) in (0..).zip(&request.records) {
        let record = decode(bytes, index)?;
        let new = new_record(&record);
        new.check(&limits)
            .map_err(|error| in_record(error, index))?;
        let by_key = || {
            let key = record.key.as_deref();
            key.map_or(keyless, |key| partition_of(key, count).get())
        };
        let partition = request.partition.unwrap_or_else(by_key);
        let batch = placed.batches.entry(partition).or_default();
        placed.records.push((partition, batch.record_count));
        batch.record_count += 1;
        batch.size_bytes += new.batch_len();
        size_bytes += new.batch_len();
    }
    check_size(size_bytes)?;
    match request.partition {
        Some(partition) if partition >= partition_count => Err(status::partition_not_found(
            topic.name(),
            partition,
            partition_count,
        )),
        _ => Ok(placed),
    }
}

fn check_count(record_count: usize) -> Result<(), Problem> {
    if record_count == 0 {
        return Err(Problem::invalid_field("records", "there is no record"));
    }
    if record_count > RECORDS_PER_BATCH_MAX as usize {
        let fault = Fault::TooManyRecords {
            records_max: RECORDS_PER_BATCH_MAX,
        };
        return Err(Problem::invalid_field("records", fault.to_string()));
    }
    Ok(())
}

fn check_size(size_bytes: usize) -> Result<(), Problem> {
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

/// Decoded records take many times their bytes, so there is one at a time.
fn decode(bytes: &Bytes, index: u32) -> Result<v1::Record, Problem> {
    v1::Record::decode(bytes.clone()).map_err(|error| {
        unreadable::malformed(&error.to_string()).with(FIELD, format_args!("records[{index}]"))
    })
}

/// Copies the records into the batches of their partitions.
fn encode(
    topic: &TopicView,
    request: &PublishRequest,
    placed: &Placed,
) -> Result<Vec<(AppendRequest, Bytes)>, Problem> {
    let sizes = placed.batches.iter();
    let mut batches: BTreeMap<u32, BytesMut> = sizes
        .map(|(partition, batch)| (*partition, BytesMut::with_capacity(batch.size_bytes)))
        .collect();
    for ((index, bytes), (partition, _)) in (0..).zip(&request.records).zip(&placed.records) {
        let record = decode(bytes, index)?;
        if let Some(batch) = batches.get_mut(partition) {
            new_record(&record).put(batch);
        }
    }
    let batches = batches.into_iter().zip(placed.batches.values());
    let appends = batches.map(|((partition, payload), BatchSize { record_count, .. })| {
        let payload = payload.freeze();
        let request = AppendRequest {
            partition: PartitionRef {
                topic: topic.id(),
                partition,
            },
            producer: None,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: batch::crc(&payload),
            record_count: *record_count,
        };
        (request, payload)
    });
    Ok(appends.collect())
}
