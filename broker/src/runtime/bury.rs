//! Making dead letters: the record as it was, with what became of it in headers behind its own.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, message};
use towpath_proto::batch::Records;
use towpath_proto::names::SubscriptionName;
use towpath_proto::{dead_letter, v1};
use towpath_storage::{
    LogReader, Lsn, Offset, PartitionLog, PartitionRef, ReadCursor, ReadLimit, TailRead,
    with_causes,
};

use super::command::{DataCommand, Permits};
use super::command_queue::CommandQueue;
use super::inspected_frames::InspectedFrames;
use super::published::PublishedState;
use crate::core::{AppendRequest, BurialFailure, BurialWish, BuriedRecord, SubscriptionId};

/// Number of the field of a record in a batch, and of a header in a record.
const RECORD_TAG: u32 = 1;
const HEADER_TAG: u32 = 3;
/// Payloads that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// Records that go to the dead letters of a subscription.
#[derive(Debug, Clone)]
pub struct BurialJob {
    /// Of which.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: SubscriptionName,
    /// Where the records are.
    pub source: PartitionRef,
    /// Where their dead letters go.
    pub target: PartitionRef,
    /// Which records.
    pub wish: BurialWish,
}

/// Dead letters that are ready to be appended.
#[derive(Debug)]
pub struct Burial {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// Which records.
    pub wish: BurialWish,
    /// The batch, without its bytes.
    pub request: AppendRequest,
    /// Its bytes.
    pub payload: Bytes,
}

/// Dead letters of one job.
#[derive(Debug, Default)]
struct Made {
    /// Of these records.
    records: Vec<BuriedRecord>,
    /// Their bytes.
    payload: BytesMut,
    /// Records that have none: the first of each key cannot be read.
    left: Vec<BuriedRecord>,
    /// Why one of these cannot.
    problem: Option<String>,
}

/// Makes dead letters.
#[derive(Debug)]
pub(super) struct Undertaker<'a> {
    pub(super) reader: &'a LogReader,
    pub(super) published: &'a PublishedState,
    pub(super) commands: &'a CommandQueue,
    pub(super) inspected: &'a InspectedFrames,
}

impl Undertaker<'_> {
    /// Makes the dead letters of one job, and has them appended. Blocks on the disk.
    pub(super) fn bury(&self, job: BurialJob) {
        let BurialJob {
            subscription,
            ref wish,
            ..
        } = job;
        let made = match self.make(&job) {
            Ok(made) => made,
            Err(failure) => return self.fail(subscription, wish.clone(), failure),
        };
        let part = |records| BurialWish {
            records,
            ..BurialWish::clone(wish)
        };
        if let Some(reason) = made.problem {
            let failure = BurialFailure::Unreadable(reason);
            self.fail(subscription, part(made.left), failure);
        }
        if made.records.is_empty() {
            return;
        }
        let request = AppendRequest::plain(job.target, &made.payload, made.records.len());
        self.push(DataCommand::Bury {
            burial: Box::new(Burial {
                subscription,
                wish: part(made.records),
                request,
                payload: made.payload.freeze(),
            }),
            permits: Permits::default(),
        });
    }

    fn fail(&self, subscription: SubscriptionId, wish: BurialWish, failure: BurialFailure) {
        self.push(DataCommand::BuryFailed {
            subscription,
            wish: Box::new(wish),
            failure,
        });
    }

    fn push(&self, command: DataCommand) {
        // A broker that stops moves nothing any more: the records are where they were.
        drop(self.commands.push_data(command));
    }

    /// The dead letters of a job, but for those of keys of which a record cannot be read: from that one on.
    fn make(&self, job: &BurialJob) -> Result<Made, BurialFailure> {
        let topics = self.published.topics();
        let topic = topics.with_id(job.source.topic).map(Arc::clone);
        let log = topic.as_ref().and_then(|topic| {
            let handle = topic.partition(job.source.partition)?;
            Some((topic.name().as_str(), Arc::clone(handle.log())))
        });
        let (topic, log) =
            log.ok_or_else(|| BurialFailure::of_all("the topic of the subscription is gone"))?;
        let mut made = Made::default();
        let mut cursor = None;
        for buried in &job.wish.records {
            let is_behind = made.left.iter().any(|it| it.key == buried.key);
            let record = match is_behind {
                true => None,
                false => match self.record(&log, &mut cursor, buried.offset) {
                    Ok(record) => Some(record),
                    Err(reason) => {
                        made.problem = Some(reason);
                        None
                    }
                },
            };
            match record {
                Some(record) => {
                    put_record(&mut made.payload, &record, &headers(job, topic, buried));
                    made.records.push(buried.clone());
                }
                None => made.left.push(buried.clone()),
            }
        }
        Ok(made)
    }

    /// The encoded record at an offset, without its tag and length.
    fn record(
        &self,
        log: &PartitionLog,
        cursor: &mut Option<ReadCursor>,
        offset: Offset,
    ) -> Result<Bytes, String> {
        let limit = ReadLimit {
            bytes_max: READ_BYTES,
            lsn_max: Lsn::new(u64::MAX),
        };
        let frames = match log.read_tail(offset, limit) {
            TailRead::Frames(frames) => frames,
            TailRead::AtEnd => Vec::new(),
            TailRead::OnDisk { until } => {
                let read = self.reader.read(log, *cursor, offset, until, limit);
                let read = read.map_err(|error| with_causes(&error).to_string())?;
                *cursor = read.start;
                read.frames
            }
        };
        let unreadable = || format!("the record at offset {offset} cannot be read");
        let frame = frames.into_iter().next().ok_or_else(unreadable)?;
        let frame = self.inspected.plain(log.partition(), frame);
        let frame = frame.map_err(|_not_plain| unreadable())?;
        let mut records = Records::new(&frame.payload).map_while(Result::ok);
        let place = frame.place_of(offset);
        let record = place.and_then(|place| records.nth(place as usize));
        let record = record.ok_or_else(unreadable)?;
        let start = record.position();
        Ok(frame.payload.slice(start..start + record.bytes().len()))
    }
}

/// What a dead letter says of its record.
fn headers(job: &BurialJob, topic: &str, buried: &BuriedRecord) -> Vec<v1::Header> {
    let header = |name: &str, value: String| v1::Header {
        name: name.to_owned(),
        value: value.into(),
    };
    let record = &buried.record;
    let kind = match buried.is_parked() {
        true => dead_letter::PARKED,
        false => dead_letter::DEAD,
    };
    let source = job.source.partition;
    let mut headers = vec![
        header(dead_letter::KIND, kind.to_owned()),
        header(dead_letter::SUBSCRIPTION, job.name.to_string()),
        header(dead_letter::TOPIC, topic.to_owned()),
        header(dead_letter::PARTITION, source.to_string()),
        header(dead_letter::OFFSET, buried.offset.to_string()),
        header(
            dead_letter::APPEND_TIME_MS,
            record.append_time_ms.to_string(),
        ),
        header(dead_letter::ATTEMPTS, record.attempts.to_string()),
    ];
    let death = record.death.clone();
    headers.extend(death.map(|death| header(dead_letter::REASON, death)));
    headers.extend(record.failures.iter().map(|it| {
        header(
            dead_letter::FAILURE,
            format!("{} {}", it.time_ms, it.reason),
        )
    }));
    headers
}

/// Adds a record with more headers to a batch.
pub(super) fn put_record(payload: &mut BytesMut, record: &[u8], headers: &[v1::Header]) {
    let added = headers
        .iter()
        .map(|it| message::encoded_len(HEADER_TAG, it));
    let bytes = record.len() + added.sum::<usize>();
    encode_key(RECORD_TAG, WireType::LengthDelimited, payload);
    encode_varint(bytes as u64, payload);
    payload.put_slice(record);
    for header in headers {
        message::encode(HEADER_TAG, header, payload);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_dead_letter_is_the_record_with_more_headers() {
        let original = v1::Record {
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: vec![v1::Header {
                name: "own".to_owned(),
                value: Bytes::from_static(b"1"),
            }],
            event_time_ms: Some(-5),
        };
        let more = v1::Header {
            name: "towpath-dlq-reason".to_owned(),
            value: Bytes::from_static(b"no"),
        };
        let mut payload = BytesMut::new();
        put_record(
            &mut payload,
            &original.encode_to_vec(),
            std::slice::from_ref(&more),
        );
        put_record(&mut payload, &original.encode_to_vec(), &[]);
        let read = v1::RecordBatch::decode(payload.freeze()).unwrap();
        let mut expected = original.clone();
        expected.headers.push(more);
        assert_eq!(read.records, [expected, original]);
    }
}
