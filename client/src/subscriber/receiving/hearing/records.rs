//! Taking the records out of what was delivered.

use std::sync::Arc;

use towpath_proto::batch::{self, BatchLimits, OwnedRecords};
use towpath_proto::ids::Offset;
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::{Delivered, FetchedBatch};

use crate::flow::Cost;
use crate::record::Origin;
use crate::subscriber::delivery::DeliveredRecord;
use crate::{Error, ReceivedRecord};

/// Checks what was delivered from end to end, and returns its records with what each takes.
pub(super) fn read(
    delivered: &Delivered,
    topic: &TopicName,
) -> Result<Vec<(DeliveredRecord, Cost)>, Error> {
    check(delivered)?;
    let mut left = OwnedRecords::new(delivered.batch.clone());
    let mut records = Vec::new();
    for span in &delivered.spans {
        let origin = Arc::new(origin(delivered, span, topic));
        let first = Offset::new(span.first_offset);
        for index in 0..span.record_count {
            // Walked before: there are as many, and none is at fault.
            let Some(Ok(record)) = left.next() else {
                return Err(Error::corrupt("a delivery is malformed"));
            };
            let cost = Cost {
                records: 1,
                bytes: u64::try_from(record.encoded_len()).unwrap_or(u64::MAX),
            };
            let offset = first.advance(index.into());
            let record = ReceivedRecord::new(Arc::clone(&origin), offset, record);
            let is_redriven = delivered.is_dead_letter;
            let record = DeliveredRecord::new(record, span.attempt, is_redriven);
            records.push((record, cost));
        }
    }
    Ok(records)
}

fn check(delivered: &Delivered) -> Result<(), Error> {
    let crc = batch::crc(&delivered.batch);
    if crc != delivered.crc {
        let text = "a delivery does not match its checksum";
        return Err(Error::corrupt(text)
            .with("crc", delivered.crc)
            .with("computed", crc));
    }
    let summary = batch::walk(&delivered.batch, &BatchLimits::NONE)
        .map_err(|error| Error::corrupt("a delivery is malformed").because(error))?;
    let spans = delivered.spans.iter();
    let count = spans.map(|it| u64::from(it.record_count)).sum::<u64>();
    if count != u64::from(summary.record_count) {
        let text = "a delivery has not as many records as it says";
        return Err(Error::corrupt(text));
    }
    let end_of = |it: &v1::DeliveredSpan| it.first_offset.saturating_add(it.record_count.into());
    let mut pairs = delivered.spans.windows(2);
    let rises = pairs.all(|pair| matches!(pair, [a, b] if end_of(a) <= b.first_offset));
    if !rises {
        return Err(Error::corrupt("a delivery has offsets that do not rise"));
    }
    Ok(())
}

fn origin(delivered: &Delivered, span: &v1::DeliveredSpan, topic: &TopicName) -> Origin {
    Origin {
        topic: topic.clone(),
        batch: FetchedBatch {
            partition: delivered.partition,
            base_offset: span.first_offset,
            record_count: span.record_count,
            lsn: span.lsn,
            append_time_ms: span.append_time_ms,
            ..FetchedBatch::default()
        },
    }
}
