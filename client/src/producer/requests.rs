//! The request side of a Produce stream: whatever the lane has to send, when there is room for it.
//!
//! The connection asks for the next message when it can send one, so that nothing queues up between
//! the lane and the network.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use towpath_proto::ids::TopicId;
use towpath_proto::names::TopicName;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};
use towpath_proto::{batch, v1};

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
            LaneRequest::Produce(sendable) => ProduceRequest::produce(to_batch(sendable)),
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

/// The checksum is made here, where no lock is held.
fn to_batch(sendable: Sendable) -> ProduceBatch {
    ProduceBatch {
        handle: sendable.identity,
        partition: sendable.partition.get(),
        sequence: sendable.sequence.get(),
        record_count: sendable.record_count,
        crc: Some(batch::crc(&sendable.bytes)),
        expectation: sendable.expectation.map(Expectation::of_batch),
        batch: sendable.bytes,
        is_batch_repeated: false,
    }
}
