//! Records that are events: the envelope of `CloudEvents` in the headers, the value untouched.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use towpath_proto::ids::{Offset, PartitionId};
use uuid::Uuid;

use crate::{Error, Header, ReceivedRecord, Record};

/// Header that holds the id of an event.
pub(crate) const ID: &str = "ce-id";
/// Header that holds the type of an event.
pub(crate) const TYPE: &str = "ce-type";
/// Header that holds when an event happened.
pub(crate) const TIME: &str = "ce-time";
/// Header that holds where an event comes from.
pub(crate) const SOURCE: &str = "ce-source";
/// Header that holds the id which all events of one operation share.
pub(crate) const CORRELATION_ID: &str = "ce-correlationid";
/// Header that holds the id of the event that caused this one.
pub(crate) const CAUSATION_ID: &str = "ce-causationid";
/// Header that holds the place of an operation in a trace (W3C Trace Context).
pub(crate) const TRACE_PARENT: &str = "traceparent";
/// Header that holds what tracing systems add to it.
pub(crate) const TRACE_STATE: &str = "tracestate";
/// Header that holds which version of its entity a record brings.
pub(crate) const ENTITY_VERSION: &str = "towpath-entity-version";
/// Header that the broker adds to a record that brings an older one than there is.
pub(crate) const STALE: &str = "towpath-stale";
/// Header that holds the schema of the value.
const DATA_SCHEMA: &str = "ce-dataschema";
/// Header that holds the media type of the value.
pub(crate) const CONTENT_TYPE: &str = "content-type";

/// Headers that every event has, without those that its owner adds.
const HEADER_COUNT: usize = 4;

/// A record with the envelope of an event.
///
/// Id (a UUID of version 7) and time are drawn when the event is made, so that it stays the same
/// event however often it is sent; the source is the client's unless it is set here.
///
/// ```
/// use towpath_client::Event;
///
/// #[derive(serde::Serialize)]
/// struct OrderPlaced { order: u64 }
///
/// # fn main() -> Result<(), towpath_client::Error> {
/// let event = Event::json("order.placed", &OrderPlaced { order: 42 })?.key("42");
/// # let _ = event;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Event {
    record: Record,
    kind: Cow<'static, str>,
    content_type: Option<Cow<'static, str>>,
    id: Cow<'static, str>,
    time: String,
    source: Option<Cow<'static, str>>,
    /// What the cause passes on, as far as it is not set here.
    inherited: Vec<Header>,
}

impl Event {
    /// An event of this type whose value is what `data` is in JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) if `data` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(
        event_type: impl Into<Cow<'static, str>>,
        data: &T,
    ) -> Result<Self, Error> {
        let value = serde_json::to_vec(data).map_err(|error| {
            Error::invalid("value", "the data cannot be written as JSON").because(error)
        })?;
        Ok(Self::new(event_type, value).content_type("application/json"))
    }

    /// An event of this type with any value.
    pub fn new(event_type: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        let id = Uuid::now_v7();
        Self {
            record: Record::new(value),
            kind: event_type.into(),
            content_type: None,
            id: Cow::Owned(id.to_string()),
            time: time_of(id).to_string(),
            source: None,
            inherited: Vec::new(),
        }
    }

    /// Sets the key; see [`Record::key`].
    #[must_use]
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        self.change(|record| record.key(key))
    }

    /// Adds a header; see [`Record::header`].
    #[must_use]
    pub fn header(self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.change(|record| record.header(name, value))
    }

    /// Sets the partition; see [`Record::partition`].
    #[must_use]
    pub fn partition(self, partition: PartitionId) -> Self {
        self.change(|record| record.partition(partition))
    }

    /// Writes the event only if it gets this offset; see [`Record::expect_offset`].
    #[must_use]
    pub fn expect_offset(self, offset: Offset) -> Self {
        self.change(|record| record.expect_offset(offset))
    }

    /// Writes the event only if its key has this version; see [`Record::expect_version`].
    #[must_use]
    pub fn expect_version(self, version: u64) -> Self {
        self.change(|record| record.expect_version(version))
    }

    /// Says which version of its entity the event brings; see [`Record::entity_version`].
    #[must_use]
    pub fn entity_version(self, version: u64) -> Self {
        self.change(|record| record.entity_version(version))
    }

    /// Sets the id, by which consumers recognise an event that comes twice, and, with the source, topics
    /// that have a [dedupe window](crate::NewTopic::dedupe_window).
    #[must_use]
    pub fn id(mut self, id: impl Into<Cow<'static, str>>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets where the event comes from, instead of what the client says.
    #[must_use]
    pub fn source(mut self, source: impl Into<Cow<'static, str>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets when the event happened; a time that RFC 3339 cannot write is left as it was.
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        if let Ok(time) = Timestamp::try_from(time) {
            self.time = time.to_string();
        }
        self
    }

    /// Sets the media type of the value.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the schema that the value follows.
    #[must_use]
    pub fn data_schema(self, schema: impl Into<Bytes>) -> Self {
        self.header(DATA_SCHEMA, schema)
    }

    /// Sets the id that all events of one operation share.
    #[must_use]
    pub fn correlation_id(self, id: impl Into<Bytes>) -> Self {
        self.header(CORRELATION_ID, id)
    }

    /// Sets the id of the event that caused this one.
    #[must_use]
    pub fn causation_id(self, id: impl Into<Bytes>) -> Self {
        self.header(CAUSATION_ID, id)
    }

    /// Ties the event to the one that it follows from: causation id is the id of that one, correlation
    /// id its correlation id or, where it began the operation, its id; `traceparent` goes on with
    /// `tracestate`. Whatever is set here, before or after, is left as it is. What the cause does not
    /// have is not passed on: without an id the event names no cause.
    ///
    /// Takes what readers, groups and subscriptions give: `caused_by(&record)`, `caused_by(&delivery)`.
    #[must_use]
    pub fn caused_by(mut self, cause: &ReceivedRecord) -> Self {
        self.inherited = inherited(cause).collect();
        self
    }

    fn change(mut self, change: impl FnOnce(Record) -> Record) -> Self {
        self.record = change(self.record);
        self
    }
}

/// Puts the envelope into headers.
impl From<Event> for Record {
    fn from(event: Event) -> Self {
        let mut record = event.record;
        record.reserve_headers(HEADER_COUNT + 1 + event.inherited.len());
        record = record
            .header(ID, to_bytes(event.id))
            .header(TYPE, to_bytes(event.kind))
            .header(TIME, event.time);
        if let Some(content_type) = event.content_type {
            record = record.header(CONTENT_TYPE, to_bytes(content_type));
        }
        record.inherit(event.inherited);
        if let Some(source) = event.source {
            return record.header(SOURCE, to_bytes(source));
        }
        record.ask_for_source();
        record
    }
}

/// What an event passes on to those that follow from it.
pub(crate) fn inherited(cause: &ReceivedRecord) -> impl Iterator<Item = Header> {
    let id = cause.header(ID);
    let correlation = cause.header(CORRELATION_ID).filter(|it| !it.is_empty());
    let trace = cause.header(TRACE_PARENT);
    let state = trace.and(cause.header(TRACE_STATE));
    let headers = [
        (CORRELATION_ID, correlation.or(id)),
        (CAUSATION_ID, id),
        (TRACE_PARENT, trace),
        (TRACE_STATE, state),
    ];
    let set = |value: &&[u8]| !value.is_empty();
    // Copied: a slice would keep the memory of all the batch.
    headers.into_iter().filter_map(move |(name, value)| {
        let value = value.filter(set)?;
        Some(Header::new(name, Bytes::copy_from_slice(value)))
    })
}

fn to_bytes(text: Cow<'static, str>) -> Bytes {
    match text {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// Returns when the id was drawn, which every id of version 7 says.
fn time_of(id: Uuid) -> Timestamp {
    let parts = id.get_timestamp().map(|time| time.to_unix());
    let (seconds, nanoseconds) = parts.unwrap_or_default();
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    Timestamp::new(seconds, nanoseconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
