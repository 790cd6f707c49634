//! Records taken out of a batch to be kept.

use std::fmt;

use bytes::Bytes;

use super::{BatchError, Headers, RecordView, Records};

/// The records of a batch as owned views; ends after the first fault.
///
/// Each record is a slice of the batch: nothing is copied, and the batch's buffer lives as long as
/// any of its records.
#[derive(Debug, Clone)]
pub struct OwnedRecords {
    batch: Bytes,
    next_position: usize,
    record_count: u32,
}

impl OwnedRecords {
    /// Starts at the first record of a batch.
    pub const fn new(batch: Bytes) -> Self {
        Self {
            batch,
            next_position: 0,
            record_count: 0,
        }
    }
}

impl Iterator for OwnedRecords {
    type Item = Result<OwnedRecord, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.batch.get(self.next_position..)?;
        let index = self.record_count;
        match Records::new(rest).next()? {
            Ok(view) => {
                let start = self.next_position.saturating_add(view.position());
                self.next_position = start.saturating_add(view.bytes().len());
                self.record_count = index.saturating_add(1);
                Some(Ok(OwnedRecord::new(&self.batch, &view)))
            }
            Err(error) => {
                self.next_position = self.batch.len();
                Some(Err(BatchError {
                    record: error.record.and(Some(index)),
                    ..error
                }))
            }
        }
    }
}

/// One record, a slice of the batch it came in.
#[derive(Clone)]
pub struct OwnedRecord {
    bytes: Bytes,
    key: Option<Span>,
    value: Option<Span>,
    event_time_ms: Option<i64>,
}

/// Where a field's content lies within the bytes of its record.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    len: usize,
}

impl OwnedRecord {
    fn new(batch: &Bytes, view: &RecordView<'_>) -> Self {
        Self {
            bytes: batch.slice_ref(view.bytes()),
            key: view.key().map(|key| Span::within(view.bytes(), key)),
            value: view.value().map(|value| Span::within(view.bytes(), value)),
            event_time_ms: view.event_time_ms(),
        }
    }

    /// The key; absent is not empty.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|key| key.of(&self.bytes))
    }

    /// The value; absent is not empty.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.map(|value| value.of(&self.bytes))
    }

    /// The key as a slice that shares the batch's buffer.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key().map(|key| self.bytes.slice_ref(key))
    }

    /// The value as a slice that shares the batch's buffer.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value().map(|value| self.bytes.slice_ref(value))
    }

    /// When the event happened, as its producer says, in milliseconds since the Unix epoch.
    pub const fn event_time_ms(&self) -> Option<i64> {
        self.event_time_ms
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> Headers<'_> {
        Headers::of_checked(&self.bytes)
    }

    /// Size of the encoded record, in bytes.
    pub const fn encoded_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Shows sizes only: keys and values belong in no log.
impl fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedRecord")
            .field("key_bytes", &self.key.map(|key| key.len))
            .field("value_bytes", &self.value.map(|value| value.len))
            .field("event_time_ms", &self.event_time_ms)
            .field("encoded_len", &self.bytes.len())
            .finish()
    }
}

impl Span {
    /// Finds `part`, which must be a piece of `whole`.
    fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        Self {
            start,
            len: part.len(),
        }
    }

    fn of(self, whole: &[u8]) -> &[u8] {
        whole
            .get(self.start..)
            .and_then(|rest| rest.get(..self.len))
            .unwrap_or_default()
    }
}
