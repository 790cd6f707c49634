//! The Produce request with its batch left as bytes.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};

use super::{BATCH_TAG, COMPRESSED_BATCH_TAG, EncodedBatch, EncodingFault};
use crate::v1::produce_batch::Expectation;

/// One step of a Produce stream; the twin of [`crate::v1::ProduceRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct ProduceRequest {
    /// Which step. Absent is refused.
    #[prost(oneof = "produce_request::Request", tags = "1, 2")]
    pub request: Option<produce_request::Request>,
}

impl ProduceRequest {
    /// Opens a topic.
    pub fn open(open: crate::v1::OpenTopic) -> Self {
        Self {
            request: Some(produce_request::Request::Open(open)),
        }
    }

    /// Writes a batch.
    pub fn produce(batch: ProduceBatch) -> Self {
        Self {
            request: Some(produce_request::Request::Produce(batch)),
        }
    }
}

/// The steps of a Produce stream.
pub mod produce_request {
    /// Which step a request is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Request {
        /// Opens a topic under a handle.
        #[prost(message, tag = "1")]
        Open(crate::v1::OpenTopic),
        /// Writes a batch to a topic that was opened before.
        #[prost(message, tag = "2")]
        Produce(super::ProduceBatch),
    }
}

/// A batch for one partition; the twin of [`crate::v1::ProduceBatch`].
#[derive(Clone, Default, PartialEq)]
pub struct ProduceBatch {
    /// Handle of the topic, from `OpenTopic`.
    pub handle: u32,
    /// Number of the partition.
    pub partition: u32,
    /// Number of the batch among those of this producer for this partition, from 0.
    pub sequence: u64,
    /// Number of records in the batch; 0 when the sender does not say.
    pub record_count: u32,
    /// CRC-32 of `batch` or `compressed_batch`; absent when the sender does not say.
    pub crc: Option<u32>,
    /// What the batch rests on.
    pub expectation: Option<Expectation>,
    /// Number of the codec of `compressed_batch`, which may be unknown; 0 for none.
    pub codec: i32,
    /// The encoded `RecordBatch`. Decoded from the network it is a slice of the receive buffer.
    pub batch: Bytes,
    /// The compressed `RecordBatch`, a slice as well.
    pub compressed_batch: Bytes,
    /// Field 15 or 16 occurred more than once. `batch` is then the last of them, where the typed view
    /// would merge them all: what the sender means is not certain, and the batch must be refused.
    /// Not encoded.
    pub is_batch_repeated: bool,
}

impl ProduceBatch {
    /// The records as they travel.
    ///
    /// # Errors
    /// [`EncodingFault`].
    pub fn encoded(&self) -> Result<EncodedBatch<'_>, EncodingFault> {
        let bytes = (&self.batch, &self.compressed_batch);
        EncodedBatch::new(bytes, self.codec, self.is_batch_repeated)
    }
}

/// Shows sizes only: keys and values belong in no log.
impl fmt::Debug for ProduceBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProduceBatch")
            .field("handle", &self.handle)
            .field("partition", &self.partition)
            .field("sequence", &self.sequence)
            .field("record_count", &self.record_count)
            .field("crc", &self.crc)
            .field("expectation", &self.expectation)
            .field("codec", &self.codec)
            .field("batch_bytes", &self.batch.len())
            .field("compressed_batch_bytes", &self.compressed_batch.len())
            .field("is_batch_repeated", &self.is_batch_repeated)
            .finish()
    }
}

/// Written by hand because a derived one would take the last of several batches in silence.
impl Message for ProduceBatch {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.handle != 0 {
            encoding::uint32::encode(1, &self.handle, buf);
        }
        if self.partition != 0 {
            encoding::uint32::encode(2, &self.partition, buf);
        }
        if self.sequence != 0 {
            encoding::uint64::encode(3, &self.sequence, buf);
        }
        if self.record_count != 0 {
            encoding::uint32::encode(4, &self.record_count, buf);
        }
        if let Some(crc) = &self.crc {
            encoding::fixed32::encode(5, crc, buf);
        }
        // Generated code writes the fields of a oneof where the first of its numbers belongs.
        if let Some(expectation) = &self.expectation {
            expectation.encode(buf);
        }
        if self.codec != 0 {
            encoding::int32::encode(7, &self.codec, buf);
        }
        if !self.batch.is_empty() {
            encoding::bytes::encode(BATCH_TAG, &self.batch, buf);
        }
        if !self.compressed_batch.is_empty() {
            encoding::bytes::encode(COMPRESSED_BATCH_TAG, &self.compressed_batch, buf);
        }
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
            3 => encoding::uint64::merge(wire_type, &mut self.sequence, buf, ctx),
            4 => encoding::uint32::merge(wire_type, &mut self.record_count, buf, ctx),
            5 => encoding::fixed32::merge(wire_type, self.crc.get_or_insert_default(), buf, ctx),
            6 | 8 => Expectation::merge(&mut self.expectation, tag, wire_type, buf, ctx),
            7 => encoding::int32::merge(wire_type, &mut self.codec, buf, ctx),
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
        let mut len = 0;
        if self.handle != 0 {
            len += encoding::uint32::encoded_len(1, &self.handle);
        }
        if self.partition != 0 {
            len += encoding::uint32::encoded_len(2, &self.partition);
        }
        if self.sequence != 0 {
            len += encoding::uint64::encoded_len(3, &self.sequence);
        }
        if self.record_count != 0 {
            len += encoding::uint32::encoded_len(4, &self.record_count);
        }
        if let Some(crc) = &self.crc {
            len += encoding::fixed32::encoded_len(5, crc);
        }
        if let Some(expectation) = &self.expectation {
            len += expectation.encoded_len();
        }
        if self.codec != 0 {
            len += encoding::int32::encoded_len(7, &self.codec);
        }
        if !self.batch.is_empty() {
            len += encoding::bytes::encoded_len(BATCH_TAG, &self.batch);
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
