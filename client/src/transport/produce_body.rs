//! The bytes of a Produce stream, with batches that are not copied on their way to the socket.
//!
//! tonic encodes each message into a buffer of its own. Here only what stands around a batch is
//! encoded; the batch itself follows as it is. Small messages are still gathered, because a frame and
//! a system call for each would cost more than the copy.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Body, Frame};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use towpath_proto::wire::{ProduceBatch, ProduceRequest, produce_request};

/// Batches below this size are copied behind what stands around them.
const SMALL_BYTES: usize = 4 * 1024;
/// Small messages are gathered up to this size.
const GATHER_BYTES: usize = 64 * 1024;
/// A message begins with a byte that says "not compressed" and its length in four bytes.
const PREFIX_BYTES: usize = 5;
/// Number of the field of `ProduceRequest` that holds a batch.
const PRODUCE_TAG: u32 = 2;
/// Number of the field of `ProduceBatch` that holds the records.
const RECORDS_TAG: u32 = 15;
/// The same of records that are compressed.
const COMPRESSED_RECORDS_TAG: u32 = 16;

/// The body of a Produce call: whatever its requests are, as soon as they come.
#[derive(Debug)]
pub(super) struct ProduceBody<R> {
    requests: R,
    gathered: BytesMut,
    /// A batch whose surroundings were sent.
    records: Option<Bytes>,
}

impl<R> ProduceBody<R> {
    pub(super) fn new(requests: R) -> Self {
        Self {
            requests,
            gathered: BytesMut::new(),
            records: None,
        }
    }

    fn take_gathered(&mut self) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let gathered = self.gathered.split().freeze();
        Poll::Ready(Some(Ok(Frame::data(gathered))))
    }
}

impl<R: Stream<Item = ProduceRequest> + Unpin> Body for ProduceBody<R> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(records) = this.records.take() {
            return Poll::Ready(Some(Ok(Frame::data(records))));
        }
        loop {
            let request = match Pin::new(&mut this.requests).poll_next(cx) {
                Poll::Ready(Some(request)) => request,
                // What was gathered goes first; the rest is asked for again.
                Poll::Ready(None) | Poll::Pending if !this.gathered.is_empty() => {
                    return this.take_gathered();
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            let records = put_message(request, &mut this.gathered);
            if records.len() < SMALL_BYTES {
                this.gathered.put(records);
                if this.gathered.len() >= GATHER_BYTES {
                    return this.take_gathered();
                }
            } else {
                this.records = Some(records);
                return this.take_gathered();
            }
        }
    }
}

/// Writes a message up to the records that end it, and returns those.
fn put_message(request: ProduceRequest, buffer: &mut BytesMut) -> Bytes {
    match request.request {
        Some(produce_request::Request::Produce(batch)) => put_batch(batch, buffer),
        other => {
            let request = ProduceRequest { request: other };
            let len = request.encoded_len();
            put_prefix(len, buffer);
            buffer.reserve(len);
            request.encode_raw(buffer);
            Bytes::new()
        }
    }
}

fn put_batch(mut batch: ProduceBatch, buffer: &mut BytesMut) -> Bytes {
    let (tag, records) = match batch.compressed_batch.is_empty() {
        true => (RECORDS_TAG, mem::take(&mut batch.batch)),
        false => (
            COMPRESSED_RECORDS_TAG,
            mem::take(&mut batch.compressed_batch),
        ),
    };
    let records_len = match records.len() {
        // An empty field is left out.
        0 => 0,
        len => key_len(tag) + encoded_len_varint(len as u64) + len,
    };
    let batch_len = batch.encoded_len() + records_len;
    let message_len = key_len(PRODUCE_TAG) + encoded_len_varint(batch_len as u64) + batch_len;
    put_prefix(message_len, buffer);
    buffer.reserve(message_len - records.len());
    encode_key(PRODUCE_TAG, WireType::LengthDelimited, buffer);
    encode_varint(batch_len as u64, buffer);
    batch.encode_raw(buffer);
    if !records.is_empty() {
        encode_key(tag, WireType::LengthDelimited, buffer);
        encode_varint(records.len() as u64, buffer);
    }
    records
}

fn put_prefix(message_len: usize, buffer: &mut BytesMut) {
    buffer.reserve(PREFIX_BYTES);
    buffer.put_u8(0);
    // A batch is at most 4 GiB long, or its length would not fit into its own field.
    buffer.put_u32(u32::try_from(message_len).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use futures_util::{FutureExt, StreamExt, stream};
    use towpath_proto::v1::OpenTopic;

    use super::*;

    fn batch(size: usize) -> ProduceRequest {
        ProduceRequest::produce(ProduceBatch {
            handle: 3,
            partition: 700,
            sequence: 1 << 40,
            record_count: 5,
            crc: Some(0),
            batch: vec![7; size].into(),
            ..ProduceBatch::default()
        })
    }

    fn compressed(size: usize) -> ProduceRequest {
        ProduceRequest::produce(ProduceBatch {
            handle: 3,
            codec: 2,
            compressed_batch: vec![7; size].into(),
            ..ProduceBatch::default()
        })
    }

    fn open() -> ProduceRequest {
        ProduceRequest::open(OpenTopic {
            handle: 1,
            topic: "orders".to_owned(),
            ..OpenTopic::default()
        })
    }

    async fn frames(requests: Vec<ProduceRequest>) -> Vec<Bytes> {
        let mut body = ProduceBody::new(stream::iter(requests));
        let mut frames = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            frames.push(frame.unwrap().into_data().unwrap());
        }
        frames
    }

    /// Reads messages as any gRPC server does.
    fn messages(frames: &[Bytes]) -> Vec<ProduceRequest> {
        let mut bytes = Bytes::from(frames.concat());
        let mut messages = Vec::new();
        while bytes.has_remaining() {
            assert_eq!(bytes.get_u8(), 0, "not compressed");
            let len = bytes.get_u32() as usize;
            messages.push(ProduceRequest::decode(bytes.split_to(len)).unwrap());
        }
        messages
    }

    #[tokio::test]
    async fn every_message_is_read_as_it_was() {
        let sizes = [0, 1, 127, 128, 4095, 4096, 16_383, 200_000, 4 * 1024 * 1024];
        let mut requests = vec![open()];
        requests.extend(sizes.map(batch));
        requests.extend(sizes.map(compressed));
        requests.push(open());
        let frames = frames(requests.clone()).await;
        assert!(messages(&frames) == requests, "messages differ");
    }

    #[tokio::test]
    async fn large_batches_are_not_copied() {
        let request = batch(128 * 1024);
        let Some(produce_request::Request::Produce(sent)) = request.request.clone() else {
            panic!("not a batch");
        };
        let frames = frames(vec![request]).await;
        assert_eq!(frames.len(), 2, "surroundings and batch");
        assert!(frames[0].len() < 64, "{} bytes around it", frames[0].len());
        assert_eq!(frames[1].as_ptr(), sent.batch.as_ptr(), "the same memory");
    }

    #[tokio::test]
    async fn small_messages_share_a_frame() {
        let frames = frames(vec![batch(100); 2_000]).await;
        assert_eq!(messages(&frames).len(), 2_000, "messages");
        assert!(frames.len() < 8, "{} frames", frames.len());
        let (last, others) = frames.split_last().unwrap();
        assert!(others.iter().all(|it| it.len() >= GATHER_BYTES), "full");
        assert!(!last.is_empty(), "none is empty");
    }

    #[tokio::test]
    async fn what_was_gathered_does_not_wait_for_more() {
        let requests = stream::iter([batch(1)]).chain(stream::pending());
        let mut body = ProduceBody::new(Box::pin(requests));
        let mut next =
            || std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).now_or_never();
        assert!(next().is_some(), "the first message");
        assert!(next().is_none(), "nothing more yet");
    }
}
