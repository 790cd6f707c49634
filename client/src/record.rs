//! Records on their way in and on their way out.

mod expectation;
mod header;
mod received;

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use towpath_proto::batch::NewRecord;
use towpath_proto::ids::{Offset, PartitionId};

use crate::event;
use crate::time::to_ms;

pub(crate) use expectation::Expectation;
pub use header::Header;
pub(crate) use received::Origin;
pub use received::ReceivedRecord;

/// A record to be written: optional key, value, headers, time.
///
/// ```
/// use towpath_client::Record;
///
/// let record = Record::new(r#"{"order":42}"#).key("42").header("origin", "web");
/// # let _ = record;
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<Header>,
    event_time_ms: Option<i64>,
    partition: Option<PartitionId>,
    expectation: Option<Expectation>,
    /// An event that has not been told where it comes from: the client adds it when it sends.
    wants_source: bool,
}

impl Record {
    /// A record with a value and nothing else.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// A record with a key and no value: the entity that the key names is gone.
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self::default().key(key)
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Sets the key, which picks the partition and names the entity the record is about. Records of
    /// one key keep their order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header; a name may occur more than once.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Names the event that the record tells of: where it comes from and its id there, in the headers
    /// `ce-source` and `ce-id`, in place of any that are there. A topic with a
    /// [dedupe window](crate::NewTopic::dedupe_window) keeps one record of each event, however often it is
    /// sent.
    #[must_use]
    pub fn event(mut self, source: impl Into<Bytes>, id: impl Into<Bytes>) -> Self {
        self.wants_source = false;
        let is_other = |it: &Header| it.name() != event::SOURCE && it.name() != event::ID;
        self.headers.retain(is_other);
        self.header(event::SOURCE, source).header(event::ID, id)
    }

    /// Names the event by its id alone, as [`Record::event`] does: it comes from where the client's events
    /// [come from](crate::ClientBuilder::source), unless the record has a `ce-source` already.
    #[must_use]
    pub fn event_id(mut self, id: impl Into<Bytes>) -> Self {
        self.headers.retain(|it| it.name() != event::ID);
        self.wants_source = self.headers.iter().all(|it| it.name() != event::SOURCE);
        self.header(event::ID, id)
    }

    /// Says which version of its entity, the one that the key names, the record brings: the header
    /// `towpath-entity-version`, in place of any that is there. A topic that
    /// [compares them](crate::NewTopic::stale_records) refuses or marks what is not newer than what it has.
    #[must_use]
    pub fn entity_version(mut self, version: u64) -> Self {
        self.headers.retain(|it| it.name() != event::ENTITY_VERSION);
        self.header(event::ENTITY_VERSION, version.to_string())
    }

    /// Sets when the event happened, in whole milliseconds. It plays no part in order or retention.
    #[must_use]
    pub fn event_time(mut self, time: SystemTime) -> Self {
        self.event_time_ms = Some(to_ms(time));
        self
    }

    /// Sets the partition, whatever the key says.
    #[must_use]
    pub const fn partition(mut self, partition: PartitionId) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Ties the record to the event that it follows from, as
    /// [`Event::caused_by`](crate::Event::caused_by) does; headers that are there already stay as they
    /// are.
    #[must_use]
    pub fn caused_by(mut self, cause: &ReceivedRecord) -> Self {
        self.inherit(event::inherited(cause).collect());
        self
    }

    /// Adds headers of a cause, as far as there are none of their names. What tracing systems add goes
    /// only with the trace that it belongs to.
    pub(crate) fn inherit(&mut self, headers: Vec<Header>) {
        let has = |name: &str| self.headers.iter().any(|it| it.name() == name);
        let has_trace = has(event::TRACE_PARENT);
        let missing = headers
            .into_iter()
            .filter(|it| !has(it.name()))
            .filter(|it| !has_trace || it.name() != event::TRACE_STATE)
            .collect::<Vec<_>>();
        self.headers.extend(missing);
    }

    /// Writes the record only if it gets this offset: if nothing was written to its partition since the
    /// partition was read up to there. Otherwise it is refused for good, with
    /// [`ErrorReason::ExpectedOffsetMismatch`](crate::ErrorReason::ExpectedOffsetMismatch), and with
    /// `expected_offset` and `end_offset` among the [`Error::metadata`](crate::Error::metadata).
    ///
    /// An offset belongs to a partition: the record needs a key or a [`Record::partition`]. It is a batch of
    /// its own, so that writing many such records one by one is slower; [`Client::commit`] takes several
    /// that rest on one offset.
    ///
    /// [`Client::commit`]: crate::Client::commit
    #[must_use]
    pub const fn expect_offset(mut self, offset: Offset) -> Self {
        self.expectation = Some(Expectation::Offset(offset));
        self
    }

    /// Writes the record only if its key has this version: if so many records were accepted for the key
    /// before, 0 for none. Otherwise it is refused for good, with
    /// [`ErrorReason::ExpectedVersionMismatch`](crate::ErrorReason::ExpectedVersionMismatch), and with
    /// `expected_version` and `current_version` among the [`Error::metadata`](crate::Error::metadata).
    ///
    /// Only on topics with [key versions](crate::NewTopic::key_versions). The record needs a key, and rests
    /// on a version or on an offset: what is said last holds. It is a batch of its own, as with
    /// [`Record::expect_offset`].
    #[must_use]
    pub const fn expect_version(mut self, version: u64) -> Self {
        self.expectation = Some(Expectation::Version(version));
        self
    }

    /// The key as it was set.
    pub const fn key_bytes(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// The value as it was set.
    pub const fn value_bytes(&self) -> Option<&Bytes> {
        self.value.as_ref()
    }

    /// The headers, in the order they were added.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The partition that was set.
    pub const fn chosen_partition(&self) -> Option<PartitionId> {
        self.partition
    }

    /// The offset that was expected.
    pub const fn expected_offset(&self) -> Option<Offset> {
        match self.expectation {
            Some(Expectation::Offset(offset)) => Some(offset),
            Some(Expectation::Version(_)) | None => None,
        }
    }

    /// The version of the key that was expected.
    pub const fn expected_version(&self) -> Option<u64> {
        match self.expectation {
            Some(Expectation::Version(version)) => Some(version),
            Some(Expectation::Offset(_)) | None => None,
        }
    }

    /// What the record rests on.
    pub(crate) const fn expectation(&self) -> Option<Expectation> {
        self.expectation
    }

    pub(crate) fn reserve_headers(&mut self, count: usize) {
        self.headers.reserve_exact(count);
    }

    pub(crate) const fn ask_for_source(&mut self) {
        self.wants_source = true;
    }

    /// The record as a batch takes it. `source` is added to events that do not have one.
    pub(crate) fn as_new_record<'a>(&'a self, source: &'a str) -> NewRecord<'a, RecordHeaders<'a>> {
        NewRecord {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: RecordHeaders {
                given: self.headers.iter(),
                source: self.wants_source.then_some(source),
            },
            event_time_ms: self.event_time_ms,
        }
    }

    pub(crate) fn from_proto(record: towpath_proto::v1::Record) -> Self {
        let headers = record.headers.into_iter();
        Self {
            key: record.key,
            value: record.value,
            headers: headers.map(|it| Header::new(it.name, it.value)).collect(),
            event_time_ms: record.event_time_ms,
            ..Self::default()
        }
    }

    /// The record as a unary call takes it.
    pub(crate) fn to_proto(&self, source: &str) -> towpath_proto::v1::Record {
        let mut headers: Vec<_> = self.headers.iter().map(Header::to_proto).collect();
        if self.wants_source {
            headers.push(Header::new(event::SOURCE, source.to_owned()).to_proto());
        }
        towpath_proto::v1::Record {
            key: self.key.clone(),
            value: self.value.clone(),
            headers,
            event_time_ms: self.event_time_ms,
        }
    }
}

/// Names and values of a record's headers as they are sent.
#[derive(Debug, Clone)]
pub(crate) struct RecordHeaders<'a> {
    given: std::slice::Iter<'a, Header>,
    source: Option<&'a str>,
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let given = self.given.next().map(Header::as_pair);
        given.or_else(|| Some((event::SOURCE, self.source.take()?.as_bytes())))
    }
}

/// Shows sizes only: keys and values belong in no log.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("header_count", &self.headers.len())
            .field("event_time_ms", &self.event_time_ms)
            .field("partition", &self.partition)
            .field("expectation", &self.expectation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
