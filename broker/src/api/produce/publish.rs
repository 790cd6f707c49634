//! Publishing a few records: placed by key, written as one entry.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use towpath_proto::batch::{BatchError, Fault};
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use towpath_proto::problem::{FIELD, Problem};
use towpath_proto::v1;
use towpath_proto::wire::PublishRequest;

use super::{InFlight, Placement, Shared, Target, convert, status};
use crate::memory::MessageMemory;
use crate::runtime::command::{CommandError, DataCommand, Permits};

/// Writes records to one topic: all of them or none. `received` is the memory of the request.
pub(super) async fn publish(
    shared: &Shared,
    request: PublishRequest,
    received: Option<MessageMemory>,
) -> Result<v1::PublishResponse, Problem> {
    shared.refuse_when_draining()?;
    let name = convert::topic_name("topic", &request.topic)?;
    let topic = shared.topic(&name)?;
    check_count(request.records.len())?;
    let target = Target::new(&topic, request.partition, shared.next_turn())?;
    let mut placement = Placement::default();
    let records = (0..).zip(&request.records);
    let placed = records.map(|(index, bytes)| placement.add(&target, bytes, ("records", index)));
    let placed = placed.collect::<Result<Vec<_>, _>>()?;
    check_size(placement.size_bytes())?;
    let permit = InFlight::take(&shared.in_flight.all, placement.memory_bytes()).await;
    let appends = placement.encode(request.records.iter().zip(placed.iter().copied()))?;
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
    let positions = placed.into_iter().filter_map(|placed| {
        let partition = placed.partition.partition;
        let base_offset = base_offsets.get(&partition)?;
        Some(v1::RecordPosition {
            partition,
            offset: base_offset.advance(placed.index.into()).get(),
        })
    });
    Ok(v1::PublishResponse {
        positions: positions.collect(),
        lsn: published.lsn.get(),
        append_time_ms: published.append_time_ms,
    })
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
