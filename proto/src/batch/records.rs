//! Borrowed views of the records in an encoded batch.

use super::fields::{Fields, tag};
use super::{BatchError, BatchLimits, Fault};

/// The records of an encoded batch, one after the other; ends after the first fault.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    batch_bytes: usize,
    fields: Fields<'a>,
    limits: BatchLimits,
    record_count: u32,
}

impl<'a> Records<'a> {
    /// Starts at the first record of a batch, of any size.
    pub const fn new(batch: &'a [u8]) -> Self {
        Self::with_limits(batch, BatchLimits::NONE)
    }

    /// Starts at the first record of a batch whose records must keep to the limits.
    pub const fn with_limits(batch: &'a [u8], limits: BatchLimits) -> Self {
        Self {
            batch_bytes: batch.len(),
            fields: Fields::new(batch),
            limits,
            record_count: 0,
        }
    }

    /// Number of records returned so far.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Where the next record begins within the batch, with its tag and length, in bytes.
    pub const fn next_position(&self) -> usize {
        self.batch_bytes.saturating_sub(self.fields.remaining())
    }

    /// Passes over a record without looking into it; false at the end, and where there is no record.
    pub fn pass(&mut self) -> bool {
        let mut behind = self.fields;
        let is_record = behind.next_tag() == Some(tag::RECORD) && behind.take_bytes().is_ok();
        if is_record {
            self.fields = behind;
            self.record_count = self.record_count.saturating_add(1);
        }
        is_record
    }

    fn next_record(&mut self, first_byte: u8) -> Result<RecordView<'a>, BatchError> {
        let index = self.record_count;
        if index >= self.limits.records_max {
            return Err(BatchError::of_batch(Fault::TooManyRecords {
                records_max: self.limits.records_max,
            }));
        }
        let of_record = |fault| BatchError {
            record: Some(index),
            header: None,
            fault,
        };
        if first_byte != tag::RECORD {
            return Err(BatchError::of_batch(Fault::UnknownField {
                tag: first_byte,
            }));
        }
        let record = self.fields.take_bytes().map_err(of_record)?;
        self.limits.check_record(record.len()).map_err(of_record)?;
        let position = self.next_position().saturating_sub(record.len());
        let view =
            RecordView::parse(record, position, &self.limits).map_err(|error| BatchError {
                record: Some(index),
                ..error
            })?;
        self.record_count = index.saturating_add(1);
        Ok(view)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let first_byte = self.fields.next_tag()?;
        let record = self.next_record(first_byte);
        if record.is_err() {
            self.fields = Fields::new(&[]);
        }
        Some(record)
    }
}

/// One record of an encoded batch, checked.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    position: usize,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: u32,
    event_time_ms: Option<i64>,
}

impl<'a> RecordView<'a> {
    fn parse(bytes: &'a [u8], position: usize, limits: &BatchLimits) -> Result<Self, BatchError> {
        let mut view = Self {
            bytes,
            position,
            key: None,
            value: None,
            header_count: 0,
            event_time_ms: None,
        };
        let mut fields = Fields::new(bytes);
        while let Some(first_byte) = fields.next_tag() {
            if first_byte == tag::HEADER {
                fields
                    .take_bytes()
                    .and_then(parse_header)
                    .and_then(|(name, value)| limits.check_header(view.header_count, name, value))
                    .map_err(|fault| BatchError {
                        header: Some(view.header_count),
                        ..BatchError::of_batch(fault)
                    })?;
                view.header_count = view.header_count.saturating_add(1);
            } else {
                view.take_field(first_byte, &mut fields, limits)
                    .map_err(BatchError::of_batch)?;
            }
        }
        Ok(view)
    }

    fn take_field(
        &mut self,
        first_byte: u8,
        fields: &mut Fields<'a>,
        limits: &BatchLimits,
    ) -> Result<(), Fault> {
        match first_byte {
            tag::KEY => {
                let key = fields.take_bytes()?;
                limits.check_key(key.len())?;
                set_once(&mut self.key, key, "key")
            }
            tag::VALUE => set_once(&mut self.value, fields.take_bytes()?, "value"),
            tag::EVENT_TIME => {
                set_once(&mut self.event_time_ms, fields.take_i64()?, "event_time_ms")
            }
            tag => Err(Fault::UnknownField { tag }),
        }
    }

    /// The encoded record, without its own tag and length.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where [`RecordView::bytes`] begins within the batch, in bytes.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The key; absent is not empty.
    pub const fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; absent is not empty.
    pub const fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// When the event happened, as its producer says, in milliseconds since the Unix epoch.
    pub const fn event_time_ms(&self) -> Option<i64> {
        self.event_time_ms
    }

    /// Number of headers.
    pub const fn header_count(&self) -> u32 {
        self.header_count
    }

    /// The headers, in the order they were given.
    pub const fn headers(&self) -> Headers<'a> {
        Headers::of_checked(self.bytes)
    }
}

/// Shows sizes only: keys and values belong in no log.
impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordView")
            .field("position", &self.position)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .field("header_count", &self.header_count)
            .field("event_time_ms", &self.event_time_ms)
            .finish()
    }
}

/// The headers of a record that was checked, as name and value.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    fields: Fields<'a>,
}

impl<'a> Headers<'a> {
    /// `record` is what a [`RecordView`] was made from, so none of the calls in `next` fails.
    pub(super) const fn of_checked(record: &'a [u8]) -> Self {
        Self {
            fields: Fields::new(record),
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.fields.next_tag()? {
                tag::HEADER => return parse_header(self.fields.take_bytes().ok()?).ok(),
                tag::EVENT_TIME => {
                    self.fields.take_i64().ok()?;
                }
                _ => {
                    self.fields.take_bytes().ok()?;
                }
            }
        }
    }
}

fn parse_header(header: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let mut name = None;
    let mut value = None;
    let mut fields = Fields::new(header);
    while let Some(first_byte) = fields.next_tag() {
        match first_byte {
            tag::HEADER_NAME => set_once(&mut name, fields.take_bytes()?, "name")?,
            tag::HEADER_VALUE => set_once(&mut value, fields.take_bytes()?, "value")?,
            tag => return Err(Fault::UnknownField { tag }),
        }
    }
    let name = str::from_utf8(name.unwrap_or_default());
    let name = name.map_err(|_position| Fault::HeaderNameNotUtf8)?;
    Ok((name, value.unwrap_or_default()))
}

fn set_once<T>(slot: &mut Option<T>, value: T, field: &'static str) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::RepeatedField { field }),
    }
}
