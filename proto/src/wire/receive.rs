//! What a subscription delivers, with its records left as bytes.

use std::fmt;

use bytes::{BufMut, Bytes};
use prost::Message;

use super::{EndsWithBatch, encode_whole};
use crate::v1;

/// One message of a Receive stream; the twin of [`crate::v1::ReceiveResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct ReceiveResponse {
    /// Which message. Absent is skipped: it is one that this version does not know.
    #[prost(oneof = "receive_response::Response", tags = "1, 2, 3, 4, 5, 6, 7, 10")]
    pub response: Option<receive_response::Response>,
}

/// The messages of a Receive stream.
pub mod receive_response {
    use crate::v1;

    /// Which message a response is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Response {
        /// The consumer receives.
        #[prost(message, tag = "1")]
        Opened(v1::ReceiveOpened),
        /// Records.
        #[prost(message, tag = "2")]
        Delivered(super::Delivered),
        /// What became of a `SettleDeliveries`.
        #[prost(message, tag = "3")]
        Settled(v1::Settled),
        /// The consumer has records no more.
        #[prost(message, tag = "4")]
        Lost(v1::DeliveryLost),
        /// Nothing new, but the stream is alive.
        #[prost(message, tag = "5")]
        Heartbeat(v1::Heartbeat),
        /// The broker is stopping.
        #[prost(message, tag = "6")]
        Draining(v1::Draining),
        /// Nothing can be handed out to the consumer now.
        #[prost(message, tag = "7")]
        CaughtUp(v1::SubscriptionCaughtUp),
        /// Records are gone that were not settled.
        #[prost(message, tag = "10")]
        Gap(v1::DeliveryGap),
    }
}

impl From<receive_response::Response> for ReceiveResponse {
    fn from(response: receive_response::Response) -> Self {
        Self {
            response: Some(response),
        }
    }
}

/// Its records are often picked out of batches, so they are sent as a copy.
impl EndsWithBatch for ReceiveResponse {
    fn encode_head(&self, buf: &mut impl BufMut) -> Bytes {
        encode_whole(self, buf)
    }
}

/// Records of one partition that a consumer has from now on; the twin of [`crate::v1::Delivered`].
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Delivered {
    /// To be named when they are settled.
    #[prost(uint64, tag = "1")]
    pub delivery: u64,
    /// Number of the partition.
    #[prost(uint32, tag = "2")]
    pub partition: u32,
    /// Which records, in the order of `batch`.
    #[prost(message, repeated, tag = "3")]
    pub spans: Vec<v1::DeliveredSpan>,
    /// These are dead letters that were redriven.
    #[prost(bool, tag = "4")]
    pub is_dead_letter: bool,
    /// CRC-32 of `batch`.
    #[prost(fixed32, tag = "7")]
    pub crc: u32,
    /// The encoded `RecordBatch`. Decoded from the network it is a slice of the receive buffer.
    #[prost(bytes = "bytes", tag = "15")]
    pub batch: Bytes,
}

/// Shows sizes only: keys and values belong in no log.
impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("delivery", &self.delivery)
            .field("partition", &self.partition)
            .field("spans", &self.spans)
            .field("is_dead_letter", &self.is_dead_letter)
            .field("crc", &self.crc)
            .field("batch_bytes", &self.batch.len())
            .finish()
    }
}

/// What was received with one call; the twin of [`crate::v1::PullResponse`].
#[derive(Clone, PartialEq, Message)]
pub struct PullResponse {
    /// The records.
    #[prost(message, repeated, tag = "1")]
    pub deliveries: Vec<Delivered>,
    /// How long they may be kept, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub ack_deadline_ms: u64,
    /// Name of the topic of the subscription's dead letters.
    #[prost(string, tag = "3")]
    pub dead_letter_topic: String,
}
