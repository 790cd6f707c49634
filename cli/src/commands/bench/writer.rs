//! The clients that write.

use std::num::NonZeroU32;

use tokio::time::Instant;
use towpath_client::{Client, Producer, Record};

use super::keys::Keys;
use super::payload::Payload;
use crate::args::BenchLoad;
use crate::failure::Failure;

/// What the records of a run are, beside their values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content {
    /// How many keys they have, drawn at random; none if they have none.
    pub(super) keys: Option<NonZeroU32>,
    /// If set, a record's mark is when it was due, in nanoseconds since then.
    pub(super) epoch: Option<Instant>,
}

/// One client's share of the records.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) producer: Producer,
    /// How many records it sends.
    pub(super) records: u64,
    payload: Payload,
    epoch: Option<Instant>,
}

impl Writer {
    /// A producer that is connected, which has sent a record without a value, and the share of the client
    /// with this number.
    ///
    /// # Errors
    ///
    /// The broker does not take the record.
    pub(super) async fn connect(
        client: &Client,
        topic: &str,
        load: &BenchLoad,
        (number, records): (usize, u64),
        (content, payload): (Content, Payload),
    ) -> Result<Self, Failure> {
        let producer = client
            .producer(topic)
            .batch_bytes(load.batch_bytes)
            .compression(load.compression)
            .max_in_flight_bytes(load.in_flight_bytes())
            .build();
        producer.send(Record::tombstone("ready")).await?;
        let start = usize::try_from(records).unwrap_or(usize::MAX);
        let keys = content.keys.map(|count| Keys::new(count, number as u64));
        Ok(Self {
            producer,
            records,
            payload: payload
                .starting_at(start.saturating_mul(number))
                .with_keys(keys),
            epoch: content.epoch,
        })
    }

    /// The next record, due now, and its mark.
    pub(super) fn next_record(&mut self) -> (u64, Record) {
        match self.epoch {
            None => self.payload.next_record(),
            Some(_) => self.next_record_due(Instant::now()),
        }
    }

    /// The next record, due then, and its mark.
    pub(super) fn next_record_due(&mut self, due: Instant) -> (u64, Record) {
        let Some(epoch) = self.epoch else {
            return self.payload.next_record();
        };
        let nanos = due.saturating_duration_since(epoch).as_nanos();
        let mark = u64::try_from(nanos).unwrap_or(u64::MAX);
        (mark, self.payload.marked_record(mark))
    }
}
