//! Going through the dead letters of a partition that are not settled.

use bytes::Bytes;
use towpath_proto::batch::Records;
use towpath_proto::problem::Problem;
use towpath_storage::{Frame, Offset, OffsetRange};

use super::letter::Letter;
use super::{Letters, status};
use crate::api::Shared;
use crate::core::{HashKey, OpenDeadLetter, OpenDeadLetters};
use crate::fetch::Readable;
use crate::runtime::command::ControlCommand;
use crate::runtime::subscription_command::SubscriptionCommand;

/// Bytes of records that are kept at once, about.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// A part of a partition that is gone through.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    shared: &'a Shared,
    letters: &'a Letters,
    partition: u32,
    /// What was not looked at.
    rest: OffsetRange,
    /// Frames that were read last.
    frames: Vec<Frame>,
}

/// Some dead letters, in their order.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) letters: Vec<Letter>,
    /// What keys are hashed with.
    pub(super) hash_key: HashKey,
    /// Everything before it was looked at.
    pub(super) next: Offset,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        letters: &'a Letters,
        partition: u32,
        range: OffsetRange,
    ) -> Self {
        Self {
            shared,
            letters,
            partition,
            rest: range,
            frames: Vec::new(),
        }
    }

    /// The next dead letters, at most `count_max`; none at the end.
    ///
    /// # Errors
    /// The subscription was deleted, the broker stops, or a record cannot be read.
    pub(super) async fn next(&mut self, count_max: usize) -> Result<Option<Page>, Problem> {
        if self.rest.start >= self.rest.end {
            return Ok(None);
        }
        let (partition, range) = (self.partition, self.rest);
        let found = look(self.shared, self.letters, partition, range, count_max).await?;
        let mut letters = Vec::with_capacity(found.letters.len());
        let (mut next, mut bytes) = (found.next, 0);
        for open in found.letters {
            let after = open.offset.advance(1);
            let letter = self.read(open).await?;
            bytes += letter.as_ref().map_or(0, |it| it.bytes as usize);
            letters.extend(letter);
            if bytes > PAGE_BYTES_MAX {
                next = after;
                break;
            }
        }
        self.rest.start = next;
        Ok(Some(Page {
            letters,
            hash_key: found.hash_key,
            next,
        }))
    }

    /// Reads one; none if it was trimmed.
    async fn read(&mut self, open: OpenDeadLetter) -> Result<Option<Letter>, Problem> {
        if let Some((frame, record)) = find(&self.frames, open.offset) {
            let time_ms = frame.header.append_time_ms;
            return Ok(Some(Letter::read(self.partition, open, time_ms, &record)));
        }
        let topic = &self.letters.topic;
        let handle = topic.partition(self.partition).ok_or_else(|| {
            let count = crate::api::convert::partition_count(topic);
            status::partition_not_found(topic.name(), self.partition, count)
        })?;
        let read = self.shared.reading.frames_at(handle.log(), open.offset);
        match read.await {
            Ok(Readable::Gone(_)) => Ok(None),
            Ok(Readable::Frames(frames)) => {
                self.frames = frames;
                Ok(find(&self.frames, open.offset).map(|(frame, record)| {
                    let time_ms = frame.header.append_time_ms;
                    Letter::read(self.partition, open, time_ms, &record)
                }))
            }
            Err(failure) => Err(status::read_failed(&failure, topic.name(), self.partition)),
        }
    }
}

/// Where dead letters of a part of a partition stand that are not settled, at most `count_max`.
///
/// # Errors
/// The subscription was deleted, or the broker stops.
pub(super) async fn look(
    shared: &Shared,
    letters: &Letters,
    partition: u32,
    range: OffsetRange,
    count_max: usize,
) -> Result<OpenDeadLetters, Problem> {
    let found = shared.control(|answer| {
        ControlCommand::Subscription(SubscriptionCommand::LookAtDeadLetters {
            subscription: letters.subscription,
            partition,
            range,
            count_max,
            answer,
        })
    });
    let found = found.await;
    let found = found.map_err(|error| status::command_failed(error, |never| match never {}))?;
    found.ok_or_else(|| status::subscription_gone(&letters.name))
}

/// The frame that holds an offset, and the encoded record there, without its tag and length.
pub(in crate::api) fn find(frames: &[Frame], offset: Offset) -> Option<(&Frame, Bytes)> {
    let found = frames.iter().find_map(|frame| {
        let place = frame.place_of(offset)?;
        Some((frame, place))
    });
    let (frame, place) = found?;
    // Every payload was walked when it came, and has its checksum.
    let mut records = Records::new(&frame.payload).map_while(Result::ok);
    let record = records.nth(place as usize)?;
    let start = record.position();
    Some((
        frame,
        frame.payload.slice(start..start + record.bytes().len()),
    ))
}
