//! The request side of a Produce stream: whatever the lane has to send, when there is room for it.
//!
//! The connection asks for the next message when it can send one, so that nothing queues up between
//! the lane and the network.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use towpath_proto::compression::compress;
use towpath_proto::ids::TopicId;
use towpath_proto::names::TopicName;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};
use towpath_proto::{batch, v1};

use super::compression::Compression;
use super::lane::LaneRequest;
use super::partition::Sendable;
use super::shared_lane::SharedLane;
use crate::record::Expectation;

/// The messages of one stream.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) lane: Arc<SharedLane>,
    pub(super) epoch: u64,
    pub(super) topic: TopicName,
    pub(super) topic_id: TopicId,
    pub(super) broker_id: Arc<str>,
    pub(super) compression: Compression,
}

impl Requests {
    fn to_message(&self, request: LaneRequest) -> ProduceRequest {
        match request {
            LaneRequest::Open {
                handle,
                producer,
                epoch,
            } => ProduceRequest::open(v1::OpenTopic {
                handle,
                producer_epoch: epoch,
                topic: self.topic.as_str().to_owned(),
                producer_id: producer.to_bytes(),
                topic_id: Some(self.topic_id.get()),
                broker_id: Some(self.broker_id.to_string()),
            }),
            LaneRequest::Produce(sendable) => {
                ProduceRequest::produce(to_batch(sendable, self.compression))
            }
        }
    }
}

impl Stream for Requests {
    type Item = ProduceRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ProduceRequest>> {
        let request = ready!(self.lane.poll_request(self.epoch, cx));
        Poll::Ready(request.map(|request| self.to_message(request)))
    }
}

/// Compression and checksum are made here, where no lock is held. A batch that does not get smaller goes
/// plain.
fn to_batch(sendable: Sendable, compression: Compression) -> ProduceBatch {
    let compressed = compression.to_proto().and_then(|compression| {
        let compressed = compress(&sendable.bytes, compression)?;
        Some((compression.codec(), compressed))
    });
    let crc_of = compressed.as_ref().map_or(&sendable.bytes, |(_, it)| it);
    let crc = Some(batch::crc(crc_of));
    let (codec, batch, compressed_batch) = match compressed {
        Some((codec, compressed)) => (codec.number().into(), Bytes::new(), compressed),
        None => (0, sendable.bytes, Bytes::new()),
    };
    ProduceBatch {
        crc,
        handle: sendable.identity,
        partition: sendable.partition.get(),
        sequence: sendable.sequence.get(),
        record_count: sendable.record_count,
        expectation: sendable.expectation.map(Expectation::of_batch),
        codec,
        batch,
        compressed_batch,
        is_batch_repeated: false,
    }
}

#[cfg(test)]
mod tests {
    use towpath_proto::compression::{Codec, decompress};
    use towpath_proto::ids::{PartitionId, Sequence};

    use super::*;

    fn sendable(bytes: &[u8]) -> Sendable {
        Sendable {
            partition: PartitionId::new(3),
            identity: 1,
            sequence: Sequence::FIRST,
            record_count: 5,
            expectation: None,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    #[test]
    fn a_batch_goes_compressed_where_that_makes_it_smaller() {
        let bytes = [7; 1_000];
        for (compression, codec) in [
            (Compression::Lz4, Codec::Lz4),
            (Compression::ZSTD, Codec::Zstd),
            (Compression::Zstd { level: 99 }, Codec::Zstd),
        ] {
            let batch = to_batch(sendable(&bytes), compression);
            assert_eq!(batch.codec, i32::from(codec.number()), "{compression}");
            assert!(batch.batch.is_empty(), "in one of the two fields");
            let compressed = &batch.compressed_batch;
            assert_eq!(batch.crc, Some(batch::crc(compressed)), "what travels");
            let back = decompress(codec, compressed, bytes.len()).expect("whole");
            assert_eq!(back, bytes[..]);
            let again = to_batch(sendable(&bytes), compression);
            assert_eq!(again, batch, "sent again it is the same");
        }
        for (bytes, compression) in [
            (&bytes[..], Compression::None),
            (b"short", Compression::Lz4),
            (b"short", Compression::ZSTD),
        ] {
            let batch = to_batch(sendable(bytes), compression);
            assert_eq!((batch.codec, &batch.batch[..]), (0, bytes));
            assert_eq!(batch.crc, Some(batch::crc(bytes)));
            assert!(batch.compressed_batch.is_empty());
        }
    }
}
