//! The records of a delivery, taken out of the frames that hold them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use towpath_proto::batch;
use towpath_proto::v1::DeliveredSpan;
use towpath_proto::wire;
use towpath_storage::{Frame, Offset, OffsetRange, PartitionLog};

use super::place::Place;
use crate::core::{DeliveredSpan as Span, Delivery};
use crate::fetch::{ReadFailure, Readable, Reading};

/// Records of one message, about: one that is longer has a message of its own.
const MESSAGE_BYTES: usize = 512 * 1024;

/// What of a delivery was not sent yet.
#[derive(Debug)]
pub(super) struct Sending {
    delivery: Delivery,
    log: Arc<PartitionLog>,
    /// Number of the span that is sent next, and where in it.
    place: usize,
    next: Offset,
}

/// What is sent next of a delivery.
#[derive(Debug)]
pub(super) enum Sent {
    /// Records.
    Records(Records),
    /// These are not there any more.
    Gone(OffsetRange),
    /// Nothing: all was sent.
    All,
}

/// The records of one message.
#[derive(Debug)]
pub(super) struct Records {
    spans: Vec<DeliveredSpan>,
    /// Encoded, as a batch.
    pub(super) batch: Bytes,
}

/// The records of one message, as they come together.
#[derive(Debug, Default)]
struct Collected {
    spans: Vec<DeliveredSpan>,
    /// A whole batch, which need not be copied.
    whole: Option<Bytes>,
    copied: BytesMut,
}

impl Collected {
    fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl Sending {
    pub(super) fn new(delivery: Delivery, log: Arc<PartitionLog>) -> Self {
        let next = delivery.spans.first().map(|span| span.range.start);
        Self {
            delivery,
            log,
            place: 0,
            next: next.unwrap_or(Offset::ZERO),
        }
    }

    /// Number of the delivery.
    pub(super) fn number(&self) -> u64 {
        self.delivery.number
    }

    /// Number of its partition.
    pub(super) fn partition(&self) -> u32 {
        self.delivery.partition
    }

    /// Reads what is sent next.
    pub(super) async fn next(&mut self, reading: &Reading) -> Result<Sent, ReadFailure> {
        let mut collected = Collected::default();
        while let Some(span) = self.delivery.spans.get(self.place).copied() {
            match reading.frames_at(&self.log, self.next).await? {
                Readable::Gone(until) if collected.is_empty() => {
                    let end = until.min(span.range.end);
                    let gone = OffsetRange {
                        start: self.next,
                        end,
                    };
                    self.go_on(end, span);
                    return Ok(Sent::Gone(gone));
                }
                Readable::Gone(_) => break,
                Readable::Frames(frames) => {
                    if !self.take(&frames, &mut collected) {
                        break;
                    }
                }
            }
        }
        if collected.is_empty() {
            return Ok(Sent::All);
        }
        let batch = collected.whole.unwrap_or_else(|| collected.copied.freeze());
        Ok(Sent::Records(Records {
            spans: collected.spans,
            batch,
        }))
    }

    /// The message for records of it. The topic has so many partitions.
    pub(super) fn delivered(&self, records: Records, partition_count: u32) -> wire::Delivered {
        let place = Place::of_number(self.delivery.partition, partition_count);
        wire::Delivered {
            delivery: self.delivery.number,
            partition: place.partition,
            spans: records.spans,
            is_dead_letter: place.is_dead_letter,
            crc: batch::crc(&records.batch),
            batch: records.batch,
        }
    }

    /// Takes from frames what is wanted of them. Returns whether the message has room for more.
    fn take(&mut self, frames: &[Frame], collected: &mut Collected) -> bool {
        for frame in frames {
            while let Some(span) = self.delivery.spans.get(self.place).copied()
                && self.next < frame.header.next_offset()
            {
                let is_whole = self.next == frame.header.base_offset
                    && span.range.end >= frame.header.next_offset();
                if is_whole && frame.payload.len() >= MESSAGE_BYTES / 4 {
                    if !collected.is_empty() {
                        return false;
                    }
                    let end = frame.header.next_offset();
                    collected.spans.push(described(frame, self.next, end, span));
                    collected.whole = Some(frame.payload.clone());
                    self.go_on(end, span);
                    return false;
                }
                let end = span.range.end.min(frame.header.next_offset());
                let taken_to = copy(frame, self.next, end, &mut collected.copied);
                if taken_to > self.next {
                    let described = described(frame, self.next, taken_to, span);
                    collected.spans.push(described);
                    self.go_on(taken_to, span);
                }
                if taken_to < end {
                    return false;
                }
            }
        }
        collected.copied.len() < MESSAGE_BYTES && self.place < self.delivery.spans.len()
    }

    /// Notes that the records before `offset` were sent.
    fn go_on(&mut self, offset: Offset, span: Span) {
        self.next = offset;
        if offset >= span.range.end {
            self.place += 1;
            if let Some(next) = self.delivery.spans.get(self.place) {
                self.next = next.range.start;
            }
        }
    }
}

fn described(frame: &Frame, start: Offset, end: Offset, span: Span) -> DeliveredSpan {
    DeliveredSpan {
        first_offset: start.get(),
        record_count: u32::try_from(end.since(start)).unwrap_or(u32::MAX),
        attempt: span.attempt,
        lsn: frame.header.lsn.get(),
        append_time_ms: frame.header.append_time_ms,
    }
}

/// Copies the encoded records from `start` up to `end` out of a frame, with their tags and lengths, until
/// there are enough for a message. Returns where it stopped.
fn copy(frame: &Frame, start: Offset, end: Offset, to: &mut BytesMut) -> Offset {
    let mut offset = frame.header.base_offset;
    let (mut record_start, mut copied) = (0, start);
    // Every payload was walked when it came, and has its checksum.
    for record in batch::Records::new(&frame.payload).map_while(Result::ok) {
        let record_end = record.position() + record.bytes().len();
        if offset >= end {
            break;
        }
        if offset >= start {
            if !to.is_empty() && to.len() + record_end - record_start > MESSAGE_BYTES {
                break;
            }
            to.extend_from_slice(&frame.payload[record_start..record_end]);
            copied = offset.advance(1);
        }
        (record_start, offset) = (record_end, offset.advance(1));
    }
    copied
}
