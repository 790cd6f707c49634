//! The Fetch response with its batch left as bytes.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};

use super::{
    BATCH_TAG, COMPRESSED_BATCH_TAG, EncodedBatch, EncodingFault, EndsWithBatch, encode_whole,
};
use crate::ids::Offset;

/// One message of a Fetch stream; the twin of [`crate::v1::FetchResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct FetchResponse {
    /// Which message. Absent is skipped: it is one that this version does not know.
    #[prost(oneof = "fetch_response::Response", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<fetch_response::Response>,
}

/// The messages of a Fetch stream.
pub mod fetch_response {
    use crate::v1;

    /// Which message a response is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Response {
        /// What is going to be read.
        #[prost(message, tag = "1")]
        Opened(v1::FetchOpened),
        /// Records.
        #[prost(message, tag = "2")]
        Batch(super::FetchedBatch),
        /// A partition was read to its end.
        #[prost(message, tag = "3")]
        CaughtUp(v1::CaughtUp),
        /// Offsets that hold no record any more.
        #[prost(message, tag = "4")]
        Gap(v1::Gap),
        /// Nothing new, but the stream is alive.
        #[prost(message, tag = "5")]
        Heartbeat(v1::Heartbeat),
        /// The broker is stopping.
        #[prost(message, tag = "6")]
        Draining(v1::Draining),
        /// A topic or partition cannot be read on.
        #[prost(message, tag = "7")]
        Failed(v1::SourceFailed),
    }
}

impl From<fetch_response::Response> for FetchResponse {
    fn from(response: fetch_response::Response) -> Self {
        Self {
            response: Some(response),
        }
    }
}

impl EndsWithBatch for FetchResponse {
    fn encode_head(&self, buf: &mut impl BufMut) -> Bytes {
        match &self.response {
            Some(fetch_response::Response::Batch(batch)) => batch.encode_head_as(2, buf),
            _ => encode_whole(self, buf),
        }
    }
}

/// Records of one partition as they were appended; the twin of [`crate::v1::FetchedBatch`].
#[derive(Clone, Default, PartialEq)]
pub struct FetchedBatch {
    /// Handle of the topic, from `OpenedTopic`.
    pub handle: u32,
    /// Number of the partition.
    pub partition: u32,
    /// Offset of the first record.
    pub base_offset: u64,
    /// Number of records.
    pub record_count: u32,
    /// Log sequence number of the entry that holds the batch.
    pub lsn: u64,
    /// When the batch was appended, by the broker's clock, in milliseconds since the Unix epoch.
    pub append_time_ms: i64,
    /// CRC-32 of `batch` or `compressed_batch`.
    pub crc: u32,
    /// Offset of each record minus `base_offset`; empty when record i has `base_offset` + i.
    pub offset_deltas: Vec<u32>,
    /// Number of the codec of `compressed_batch`, which may be unknown; 0 for none.
    pub codec: i32,
    /// The encoded `RecordBatch`. Decoded from the network it is a slice of the receive buffer.
    pub batch: Bytes,
    /// The compressed `RecordBatch`, a slice as well.
    pub compressed_batch: Bytes,
    /// Field 15 or 16 occurred more than once, so that `batch` is not what the typed view would show.
    /// Not encoded.
    pub is_batch_repeated: bool,
}

impl FetchedBatch {
    /// The records as they travel.
    ///
    /// # Errors
    /// [`EncodingFault`].
    pub fn encoded(&self) -> Result<EncodedBatch<'_>, EncodingFault> {
        let bytes = (&self.batch, &self.compressed_batch);
        EncodedBatch::new(bytes, self.codec, self.is_batch_repeated)
    }

    /// Returns the offset of the record at this place in the batch; none where there is no record.
    pub fn offset_of(&self, index: u32) -> Option<Offset> {
        let delta = if self.offset_deltas.is_empty() {
            (index < self.record_count).then_some(index)
        } else {
            self.offset_deltas.get(index as usize).copied()
        };
        delta.map(|delta| Offset::new(self.base_offset).advance(delta.into()))
    }

    /// Returns one past the offset of the last record, where reading goes on.
    pub fn next_offset(&self) -> Offset {
        let base = Offset::new(self.base_offset);
        match self.offset_deltas.last() {
            Some(&last) => base.advance(last.into()).next(),
            None => base.advance(self.record_count.into()),
        }
    }
}

/// Shows sizes only: keys and values belong in no log.
impl fmt::Debug for FetchedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedBatch")
            .field("handle", &self.handle)
            .field("partition", &self.partition)
            .field("base_offset", &self.base_offset)
            .field("record_count", &self.record_count)
            .field("lsn", &self.lsn)
            .field("append_time_ms", &self.append_time_ms)
            .field("crc", &self.crc)
            .field("is_sparse", &!self.offset_deltas.is_empty())
            .field("codec", &self.codec)
            .field("batch_bytes", &self.batch.len())
            .field("compressed_batch_bytes", &self.compressed_batch.len())
            .field("is_batch_repeated", &self.is_batch_repeated)
            .finish()
    }
}

impl FetchedBatch {
    /// As [`EndsWithBatch::encode_head`] of a message that has it as its field `tag` and nothing else.
    pub(super) fn encode_head_as(&self, tag: u32, buf: &mut impl BufMut) -> Bytes {
        encoding::encode_key(tag, WireType::LengthDelimited, buf);
        encoding::encode_varint(self.encoded_len() as u64, buf);
        self.encode_head(buf).clone()
    }

    /// Encodes everything but the bytes of the batch, which end the message, and returns these.
    fn encode_head(&self, buf: &mut impl BufMut) -> &Bytes {
        if self.handle != 0 {
            encoding::uint32::encode(1, &self.handle, buf);
        }
        if self.partition != 0 {
            encoding::uint32::encode(2, &self.partition, buf);
        }
        if self.base_offset != 0 {
            encoding::uint64::encode(3, &self.base_offset, buf);
        }
        if self.record_count != 0 {
            encoding::uint32::encode(4, &self.record_count, buf);
        }
        if self.lsn != 0 {
            encoding::uint64::encode(5, &self.lsn, buf);
        }
        if self.append_time_ms != 0 {
            encoding::int64::encode(6, &self.append_time_ms, buf);
        }
        if self.crc != 0 {
            encoding::fixed32::encode(7, &self.crc, buf);
        }
        encoding::uint32::encode_packed(8, &self.offset_deltas, buf);
        if self.codec != 0 {
            encoding::int32::encode(9, &self.codec, buf);
        }
        if self.compressed_batch.is_empty() {
            return begin_bytes(BATCH_TAG, &self.batch, buf);
        }
        if !self.batch.is_empty() {
            encoding::bytes::encode(BATCH_TAG, &self.batch, buf);
        }
        begin_bytes(COMPRESSED_BATCH_TAG, &self.compressed_batch, buf)
    }
}

/// Encodes the tag and the length of bytes that follow, unless there are none.
fn begin_bytes<'a>(tag: u32, bytes: &'a Bytes, buf: &mut impl BufMut) -> &'a Bytes {
    if !bytes.is_empty() {
        encoding::encode_key(tag, WireType::LengthDelimited, buf);
        encoding::encode_varint(bytes.len() as u64, buf);
    }
    bytes
}

/// Written by hand because a derived one would take the last of several batches in silence.
impl Message for FetchedBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        let bytes = self.encode_head(buf);
        buf.put_slice(bytes);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::uint32::merge(wire_type, &mut self.handle, buf, ctx),
            2 => encoding::uint32::merge(wire_type, &mut self.partition, buf, ctx),
            3 => encoding::uint64::merge(wire_type, &mut self.base_offset, buf, ctx),
            4 => encoding::uint32::merge(wire_type, &mut self.record_count, buf, ctx),
            5 => encoding::uint64::merge(wire_type, &mut self.lsn, buf, ctx),
            6 => encoding::int64::merge(wire_type, &mut self.append_time_ms, buf, ctx),
            7 => encoding::fixed32::merge(wire_type, &mut self.crc, buf, ctx),
            8 => encoding::uint32::merge_repeated(wire_type, &mut self.offset_deltas, buf, ctx),
            9 => encoding::int32::merge(wire_type, &mut self.codec, buf, ctx),
            BATCH_TAG => {
                self.is_batch_repeated |= !self.batch.is_empty();
                encoding::bytes::merge(wire_type, &mut self.batch, buf, ctx)
            }
            COMPRESSED_BATCH_TAG => {
                self.is_batch_repeated |= !self.compressed_batch.is_empty();
                encoding::bytes::merge(wire_type, &mut self.compressed_batch, buf, ctx)
            }
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let mut len = encoding::uint32::encoded_len_packed(8, &self.offset_deltas);
        if self.handle != 0 {
            len += encoding::uint32::encoded_len(1, &self.handle);
        }
        if self.partition != 0 {
            len += encoding::uint32::encoded_len(2, &self.partition);
        }
        if self.base_offset != 0 {
            len += encoding::uint64::encoded_len(3, &self.base_offset);
        }
        if self.record_count != 0 {
            len += encoding::uint32::encoded_len(4, &self.record_count);
        }
        if self.lsn != 0 {
            len += encoding::uint64::encoded_len(5, &self.lsn);
        }
        if self.append_time_ms != 0 {
            len += encoding::int64::encoded_len(6, &self.append_time_ms);
        }
        if self.crc != 0 {
            len += encoding::fixed32::encoded_len(7, &self.crc);
        }
        if !self.batch.is_empty() {
            len += encoding::bytes::encoded_len(BATCH_TAG, &self.batch);
        }
        if self.codec != 0 {
            len += encoding::int32::encoded_len(9, &self.codec);
        }
        if !self.compressed_batch.is_empty() {
            len += encoding::bytes::encoded_len(COMPRESSED_BATCH_TAG, &self.compressed_batch);
        }
        len
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
