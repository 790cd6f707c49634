//! A record as it was read.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use towpath_proto::address::Address;
use towpath_proto::batch::{Headers, OwnedRecord};
use towpath_proto::ids::{Lsn, Offset, PartitionId};
use towpath_proto::names::TopicName;
use towpath_proto::wire::FetchedBatch;

use crate::time::from_ms;
use crate::{Error, event};

/// Where the records of a batch come from; one for all of them.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) topic: TopicName,
    pub(crate) batch: FetchedBatch,
}

impl Origin {
    pub(crate) const fn partition(&self) -> PartitionId {
        PartitionId::new(self.batch.partition)
    }

    pub(crate) const fn lsn(&self) -> Lsn {
        Lsn::new(self.batch.lsn)
    }

    pub(crate) fn append_time(&self) -> SystemTime {
        from_ms(self.batch.append_time_ms)
    }
}

/// A record that was read, with its place in the log.
///
/// It is a slice of the batch it came in: nothing is copied, and the batch's memory lives as long
/// as any of its records. A copy of a few bytes that is kept for long is better taken with
/// `to_vec`.
#[derive(Clone)]
pub struct ReceivedRecord {
    origin: Arc<Origin>,
    offset: Offset,
    record: OwnedRecord,
}

impl ReceivedRecord {
    pub(crate) const fn new(origin: Arc<Origin>, offset: Offset, record: OwnedRecord) -> Self {
        Self {
            origin,
            offset,
            record,
        }
    }

    /// Name of the topic.
    pub fn topic(&self) -> &TopicName {
        &self.origin.topic
    }

    /// Partition of the topic.
    pub fn partition(&self) -> PartitionId {
        self.origin.partition()
    }

    /// Offset in the partition.
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// Where the record is; prints as `orders/5@17`.
    pub fn address(&self) -> Address {
        Address {
            topic: self.origin.topic.clone(),
            partition: self.origin.partition(),
            offset: self.offset,
        }
    }

    /// Place of the record's batch in the one order over all topics.
    pub fn lsn(&self) -> Lsn {
        self.origin.lsn()
    }

    /// When the record was appended, by the broker's clock.
    pub fn append_time(&self) -> SystemTime {
        self.origin.append_time()
    }

    /// When the event happened, as its producer says.
    pub fn event_time(&self) -> Option<SystemTime> {
        self.record.event_time_ms().map(from_ms)
    }

    /// The key; absent is not empty.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key()
    }

    /// The key as text; none also if it is not UTF-8.
    pub fn key_str(&self) -> Option<&str> {
        as_text(self.key())
    }

    /// The key as a slice that shares the batch's memory.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.record.key_bytes()
    }

    /// The value; absent is not empty.
    pub fn value(&self) -> Option<&[u8]> {
        self.record.value()
    }

    /// The value as text; none also if it is not UTF-8.
    pub fn value_str(&self) -> Option<&str> {
        as_text(self.value())
    }

    /// The value as a slice that shares the batch's memory.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.record.value_bytes()
    }

    /// Whether the record says that the entity of its key is gone.
    pub fn is_tombstone(&self) -> bool {
        self.key().is_some() && self.value().is_none()
    }

    /// Reads the value as JSON; an absent value is read like `null`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) if the value is not the JSON of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let value = self.value().unwrap_or(b"null");
        serde_json::from_slice(value).map_err(|error| {
            Error::invalid("value", "the value is not JSON of the expected form")
                .with("record", self.address())
                .because(error)
        })
    }

    /// Names and values of the headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs()
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.pairs()
            .find(|(header, _)| *header == name)
            .map(|(_, value)| value)
    }

    /// The value of the first header of this name as text; none also if it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        as_text(self.header(name))
    }

    /// Id of the event: what it is recognised by when it comes twice.
    pub fn ce_id(&self) -> Option<&str> {
        self.header_str(event::ID)
    }

    /// Type of the event, such as `order.placed`.
    pub fn ce_type(&self) -> Option<&str> {
        self.header_str(event::TYPE)
    }

    /// Where the event comes from.
    pub fn ce_source(&self) -> Option<&str> {
        self.header_str(event::SOURCE)
    }

    /// When the event happened, as RFC 3339 text.
    pub fn ce_time(&self) -> Option<&str> {
        self.header_str(event::TIME)
    }

    /// Id that all events of one business operation share.
    pub fn ce_correlation_id(&self) -> Option<&str> {
        self.header_str(event::CORRELATION_ID)
    }

    /// Id of the event that caused this one.
    pub fn ce_causation_id(&self) -> Option<&str> {
        self.header_str(event::CAUSATION_ID)
    }

    /// Which version of its entity the record brings: that of [`Record::entity_version`]; none also if the
    /// header is not a number.
    ///
    /// [`Record::entity_version`]: crate::Record::entity_version
    pub fn entity_version(&self) -> Option<u64> {
        self.header_str(event::ENTITY_VERSION)?.parse().ok()
    }

    /// The version of the entity that its topic had already when the record came with one that is not
    /// greater: none of a record that is not stale. Only where such records are
    /// [marked](crate::StaleRecords::Mark).
    pub fn stale_behind(&self) -> Option<u64> {
        // What its producer wrote under the name stands before what the broker has added.
        let marks = self.pairs().filter(|(name, _)| *name == event::STALE);
        let (_, newest) = marks.last()?;
        as_text(Some(newest))?.parse().ok()
    }

    /// Media type of the value.
    pub fn content_type(&self) -> Option<&str> {
        self.header_str(event::CONTENT_TYPE)
    }

    /// Size of the encoded record in bytes.
    pub const fn encoded_len(&self) -> usize {
        self.record.encoded_len()
    }

    fn pairs(&self) -> Headers<'_> {
        self.record.headers()
    }
}

/// Shows place and sizes only: keys and values belong in no log.
impl fmt::Debug for ReceivedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

fn as_text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| str::from_utf8(bytes).ok())
}
