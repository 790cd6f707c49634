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
            let read = match reading.frames_at(&self.log, self.next).await? {
                Readable::Frames(frames) => match gone_until(&frames, self.next) {
                    Some(until) => Readable::Gone(until),
                    None => Readable::Frames(frames),
                },
                gone @ Readable::Gone(_) => gone,
            };
            match read {
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
            let mut walk = Walk::new(frame);
            while let Some(span) = self.delivery.spans.get(self.place).copied()
                && self.next < frame.header.next_offset()
            {
                let is_whole = !frame.is_sparse()
                    && self.next == frame.header.base_offset
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
                // A hole is told on its own.
                let Some((end, place)) = run_of(frame, self.next, end) else {
                    return false;
                };
                let count = end.since(self.next);
                let first = frame.header.base_offset.advance(place.into());
                let copied_to = walk.copy(first, first.advance(count), &mut collected.copied);
                let taken_to = self.next.advance(copied_to.since(first));
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

/// Where the next record is, if there is none at an offset any more.
fn gone_until(frames: &[Frame], offset: Offset) -> Option<Offset> {
    let frame = frames.first().filter(|frame| frame.is_sparse())?;
    let held = frame.next_held(offset);
    let until = held.unwrap_or(frame.header.next_offset());
    (until > offset).then_some(until)
}

/// Where the records of a frame from an offset on end, or have a hole, but at most `end`; and the place of
/// the first. None if that one is missing.
fn run_of(frame: &Frame, start: Offset, end: Offset) -> Option<(Offset, u32)> {
    let place = frame.place_of(start)?;
    if !frame.is_sparse() {
        return Some((end, place));
    }
    let offsets = (place..).map_while(|place| frame.offset_of(place));
    let mut run_end = start;
    for offset in offsets.take_while(|offset| *offset < end) {
        if offset > run_end {
            break;
        }
        run_end = offset.advance(1);
    }
    Some((run_end, place))
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

/// Goes through the records of a frame, once for all spans of a delivery.
#[derive(Debug)]
struct Walk<'a> {
    payload: &'a [u8],
    // Every payload was walked when it came, and has its checksum.
    records: batch::Records<'a>,
    /// Offset of the next record, counted as if there were no holes.
    next: Offset,
}

impl<'a> Walk<'a> {
    fn new(frame: &'a Frame) -> Self {
        Self {
            payload: &frame.payload,
            records: batch::Records::new(&frame.payload),
            next: frame.header.base_offset,
        }
    }

    /// Copies the encoded records from `start` up to `end`, with their tags and lengths, until there are
    /// enough for a message. Returns where it stopped. `start` is not before the end of what was copied.
    fn copy(&mut self, start: Offset, end: Offset, to: &mut BytesMut) -> Offset {
        while self.next < start && self.records.pass() {
            self.next = self.next.advance(1);
        }
        let first = self.records.next_position();
        while self.next < end {
            let mut behind = self.records.clone();
            if !behind.pass() {
                break;
            }
            let is_alone = to.is_empty() && self.records.next_position() == first;
            let message_bytes = to.len() + behind.next_position() - first;
            if message_bytes > MESSAGE_BYTES && !is_alone {
                break;
            }
            self.records = behind;
            self.next = self.next.advance(1);
        }
        to.extend_from_slice(&self.payload[first..self.records.next_position()]);
        self.next.max(start)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use towpath_proto::v1::{Record, RecordBatch};

    use super::*;

    /// Copies ranges of a batch whose records have values of these lengths; returns where each stopped, and
    /// the lengths that came together.
    fn copied(lengths: &[usize], ranges: &[(u64, u64)]) -> (Vec<u64>, Vec<usize>) {
        let value = |length: &usize| Some(vec![7; *length].into());
        let records = lengths.iter().map(|length| Record {
            value: value(length),
            ..Record::default()
        });
        let batch = RecordBatch {
            records: records.collect(),
        };
        let payload = batch.encode_to_vec();
        let mut walk = Walk {
            payload: &payload,
            records: batch::Records::new(&payload),
            next: Offset::new(100),
        };
        let mut to = BytesMut::new();
        let ends = ranges.iter().map(|(start, end)| {
            let stopped = walk.copy(Offset::new(*start), Offset::new(*end), &mut to);
            stopped.get()
        });
        let ends = ends.collect();
        let found = RecordBatch::decode(to.freeze()).expect("whole records");
        let lengths = { found.records.iter() }.map(|it| it.value.as_ref().map_or(0, |it| it.len()));
        (ends, lengths.collect())
    }

    #[test]
    fn what_is_wanted_of_a_frame_is_copied_in_one_go() {
        let lengths = [1, 200, 3, 4, 500, 6, 7];
        let found = copied(&lengths, &[(100, 101), (102, 104), (106, 107)]);
        assert_eq!(found, (vec![101, 104, 107], vec![1, 3, 4, 7]), "ranges");
        let found = copied(&lengths, &[(103, 103), (103, 107)]);
        assert_eq!(found, (vec![103, 107], vec![4, 500, 6, 7]), "nothing first");
    }

    #[test]
    fn a_message_is_not_longer_than_it_may_be_unless_one_record_is() {
        let (half, whole) = (MESSAGE_BYTES / 2, MESSAGE_BYTES + 1);
        let found = copied(&[half, 1, half], &[(100, 103)]);
        assert_eq!(found, (vec![102], vec![half, 1]), "two halves do not fit");
        let found = copied(&[whole, 1], &[(100, 102)]);
        assert_eq!(found, (vec![101], vec![whole]), "one that is too long");
        let found = copied(&[1, whole], &[(100, 102)]);
        assert_eq!(
            found,
            (vec![101], vec![1]),
            "one that is too long behind another"
        );
        let found = copied(&[1, 2, whole], &[(100, 101), (102, 103)]);
        assert_eq!(
            found,
            (vec![101, 102], vec![1]),
            "one that is too long behind a gap"
        );
    }
}
