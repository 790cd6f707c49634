//! Putting records into a batch, one after the other.

use bytes::{BufMut, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use super::fields::tag;
use super::{BatchError, BatchLimits};

/// A record that is going to be put into a batch.
///
/// `H` gives the headers as often as asked, for instance a slice's iterator with a `map`.
#[derive(Clone)]
pub struct NewRecord<'a, H> {
    /// The key; absent is not empty.
    pub key: Option<&'a [u8]>,
    /// The value; absent is not empty.
    pub value: Option<&'a [u8]>,
    /// Names and values of the headers.
    pub headers: H,
    /// When the event happened, in milliseconds since the Unix epoch.
    pub event_time_ms: Option<i64>,
}

impl<'a, H> NewRecord<'a, H>
where
    H: IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
{
    /// Size of the encoded record in bytes, which is what the limit for records is about.
    pub fn record_len(&self) -> usize {
        let optional = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| field_len(bytes.len()));
        let time = self
            .event_time_ms
            .map_or(0, |time| varint_field_len(time.cast_unsigned()));
        let headers: usize = self
            .headers
            .clone()
            .into_iter()
            .map(|(name, value)| field_len(header_len(name, value)))
            .fold(0, usize::saturating_add);
        optional(self.key)
            .saturating_add(optional(self.value))
            .saturating_add(headers)
            .saturating_add(time)
    }

    /// Bytes that the record adds to a batch: its own with tag and length before them.
    pub fn batch_len(&self) -> usize {
        field_len(self.record_len())
    }

    /// Checks the record against the limits that the broker will apply to it.
    ///
    /// # Errors
    ///
    /// Returns the first fault, as a [`super::walk`] over the encoded record would.
    pub fn check(&self, limits: &BatchLimits) -> Result<(), BatchError> {
        let of_record = |fault| BatchError {
            record: Some(0),
            header: None,
            fault,
        };
        limits.check_record(self.record_len()).map_err(of_record)?;
        limits
            .check_key(self.key.map_or(0, <[u8]>::len))
            .map_err(of_record)?;
        for (index, (name, value)) in (0..).zip(self.headers.clone()) {
            limits
                .check_header(index, name, value)
                .map_err(|fault| BatchError {
                    header: Some(index),
                    ..of_record(fault)
                })?;
        }
        Ok(())
    }

    /// Appends the record to an encoded batch, which grows by exactly [`NewRecord::batch_len`].
    pub fn put(&self, batch: &mut BytesMut) {
        let record_len = self.record_len();
        batch.reserve(field_len(record_len));
        put_length(batch, tag::RECORD, record_len);
        if let Some(key) = self.key {
            put_bytes(batch, tag::KEY, key);
        }
        if let Some(value) = self.value {
            put_bytes(batch, tag::VALUE, value);
        }
        for (name, value) in self.headers.clone() {
            put_header(batch, name, value);
        }
        if let Some(time) = self.event_time_ms {
            batch.put_u8(tag::EVENT_TIME);
            encode_varint(time.cast_unsigned(), batch);
        }
    }
}

/// Shows sizes only: keys and values belong in no log.
impl<H> std::fmt::Debug for NewRecord<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRecord")
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .field("event_time_ms", &self.event_time_ms)
            .finish_non_exhaustive()
    }
}

pub(super) fn put_header(batch: &mut BytesMut, name: &str, value: &[u8]) {
    put_length(batch, tag::HEADER, header_len(name, value));
    put_bytes(batch, tag::HEADER_NAME, name.as_bytes());
    if !value.is_empty() {
        put_bytes(batch, tag::HEADER_VALUE, value);
    }
}

pub(super) fn header_len(name: &str, value: &[u8]) -> usize {
    let value_len = if value.is_empty() {
        0
    } else {
        field_len(value.len())
    };
    field_len(name.len()).saturating_add(value_len)
}

/// Size of a field of one tag byte whose content has this many bytes.
pub(super) fn field_len(content_len: usize) -> usize {
    varint_field_len(content_len as u64).saturating_add(content_len)
}

fn varint_field_len(number: u64) -> usize {
    encoded_len_varint(number).saturating_add(1)
}

fn put_length(batch: &mut BytesMut, tag: u8, len: usize) {
    batch.put_u8(tag);
    encode_varint(len as u64, batch);
}

fn put_bytes(batch: &mut BytesMut, tag: u8, bytes: &[u8]) {
    put_length(batch, tag, bytes.len());
    batch.put_slice(bytes);
}
