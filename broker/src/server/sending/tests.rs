//! The body is the one that tonic would have made, in other pieces.

use std::io::IoSlice;
use std::task::Waker;
use std::time::Duration;

use bytes::Buf;
use futures_util::{StreamExt as _, stream};
use proptest::prelude::*;
use tonic::codec::{Codec, EncodeBody, SingleMessageCompressionOverride};
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response;
use towpath_proto::wire::{FetchCodec, FetchResponse, FetchedBatch, JoinResponse, join_response};
use towpath_storage::Backing;

use super::*;
use crate::memory::{Budget, Share};

/// Bytes and trailers of a whole body.
type Read = (Vec<u8>, HeaderMap);

fn unread() -> (Budget, Arc<Unread>) {
    let budget = Budget::new(1 << 30, Duration::from_secs(10));
    let unread = Unread::new(&Share::new(&budget, budget.bytes()));
    (budget, unread)
}

/// What a future or a body gives that never has to wait.
fn ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        // Whoever has nothing for once has something the next time.
        if let Poll::Ready(it) = poll(&mut cx) {
            return it;
        }
    }
}

fn begin_turn(unread: &Unread) {
    let mut turn = std::pin::pin!(unread.begin_turn());
    ready(|cx| turn.as_mut().poll(cx));
}

/// Reads a body to its end as a connection does: some slices at a time, of which some bytes are written.
fn read<B>(body: B, slice_count: usize, bytes_max: usize) -> Read
where
    B: Body<Error = Status>,
{
    let mut body = std::pin::pin!(body);
    let mut read = Read::default();
    while let Some(frame) = ready(|cx| body.as_mut().poll_frame(cx)) {
        let frame = frame.expect("the stream's status comes in trailers");
        match frame.into_data() {
            Ok(data) => write(data, slice_count, bytes_max, &mut read.0),
            Err(frame) => read.1 = frame.into_trailers().unwrap_or_default(),
        }
    }
    read
}

fn write(mut data: impl Buf, slice_count: usize, bytes_max: usize, written: &mut Vec<u8>) {
    while data.has_remaining() {
        let mut slices = vec![IoSlice::new(&[]); slice_count];
        let count = data.chunks_vectored(&mut slices);
        let bytes = slices[..count].iter().flat_map(|it| it.iter().copied());
        let before = written.len();
        written.extend(bytes.take(bytes_max));
        assert!(written.len() > before, "something is written each time");
        data.advance(written.len() - before);
    }
    assert_eq!(data.remaining(), 0);
    assert!(data.chunk().is_empty(), "nothing is left");
}

fn batch(bytes: usize, is_compressed: bool) -> FetchedBatch {
    let payload: Bytes = (0..bytes).map(|it| it.to_le_bytes()[0]).collect();
    let (batch, compressed_batch) = match is_compressed {
        false => (payload, Bytes::new()),
        true => (Bytes::new(), payload),
    };
    FetchedBatch {
        partition: 7,
        base_offset: bytes as u64,
        record_count: 1,
        lsn: 300,
        append_time_ms: 1_700_000_000_000,
        crc: 77,
        offset_deltas: vec![0; usize::from(is_compressed)],
        codec: i32::from(is_compressed),
        batch,
        compressed_batch,
        ..FetchedBatch::default()
    }
}

/// Sends messages, batches from where they lie as far as they are large enough; between two of them there
/// is nothing for once.
fn send<T>(messages: Vec<(T, Bytes)>, end: Option<Status>, pauses: usize) -> Sending<T>
where
    T: EndsWithBatch + 'static,
{
    let (_budget, unread) = unread();
    let of_stream = Arc::clone(&unread);
    let mut messages = messages.into_iter();
    let mut end = end;
    let mut number = 0;
    let stream = stream::poll_fn(move |_cx| {
        number += 1;
        if pauses > 0 && number % (pauses + 1) == 0 {
            return Poll::Pending;
        }
        let Some((message, batch)) = messages.next() else {
            return Poll::Ready(end.take().map(Err));
        };
        begin_turn(&of_stream);
        let pinned = of_stream.pin(Backing::of_all(&batch), batch.len());
        Poll::Ready(Some(Ok(Told { message, pinned })))
    });
    Sending::new(Box::pin(stream), unread)
}

fn fetched(batch: FetchedBatch) -> (FetchResponse, Bytes) {
    let bytes = [&batch.batch, &batch.compressed_batch];
    let bytes = bytes.into_iter().find(|it| !it.is_empty()).cloned();
    (Response::Batch(batch).into(), bytes.unwrap_or_default())
}

fn message() -> impl Strategy<Value = (FetchResponse, Bytes)> {
    let bytes = prop_oneof![0..300_usize, 15_000..17_000_usize, 60_000..70_000_usize];
    prop_oneof![
        4 => (bytes, any::<bool>()).prop_map(|(bytes, is_compressed)| fetched(batch(bytes, is_compressed))),
        1 => any::<u64>().prop_map(|lsn| {
            let heartbeat = v1::Heartbeat { lsn, broker_time_ms: 5 };
            (Response::Heartbeat(heartbeat).into(), Bytes::new())
        }),
        1 => Just((FetchResponse::default(), Bytes::new())),
    ]
}

fn end() -> impl Strategy<Value = Option<Status>> {
    let details = Bytes::from_static(b"details");
    prop_oneof![
        Just(None),
        Just(Some(Status::with_details(
            tonic::Code::Unavailable,
            "the broker stops, \u{fc}",
            details
        ))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_and_trailers_are_those_of_tonic(
        messages in proptest::collection::vec(message(), 0..12),
        end in end(),
        pauses in 0..4_usize,
        slice_count in 1..20_usize,
        bytes_max in prop_oneof![1..50_usize, 1_000..100_000_usize],
    ) {
        let plain = messages.iter().map(|(message, _)| Ok(message.clone()));
        let plain = plain.chain(end.clone().map(Err)).collect::<Vec<_>>();
        let expected = EncodeBody::new_server(
            FetchCodec::<FetchResponse, ()>::default().encoder(),
            stream::iter(plain),
            None,
            SingleMessageCompressionOverride::default(),
            None,
        );
        let expected = read(expected, 1, usize::MAX);
        let sent = read(send(messages, end, pauses), slice_count, bytes_max);
        prop_assert!(sent.0 == expected.0, "{} bytes for {}", sent.0.len(), expected.0.len());
        prop_assert_eq!(sent.1, expected.1);
    }
}

#[test]
fn large_batches_are_not_copied_and_small_ones_share_a_piece() {
    let (large, small) = (batch(100_000, false), batch(1_000, false));
    let at = large.batch.as_ptr();
    let messages = [small.clone(), small.clone(), large, small].map(fetched);
    let mut body = send(messages.into(), None, 0);
    let frame = ready(|cx| Pin::new(&mut body).poll_frame(cx));
    let Some(Ok(Ok(pieces))) = frame.map(|it| it.map(Frame::into_data)) else {
        panic!("no data");
    };
    let mut slices = [IoSlice::new(&[]); 10];
    assert_eq!(pieces.chunks_vectored(&mut slices), 3, "before, it, behind");
    assert_eq!((slices[1].as_ptr(), slices[1].len()), (at, 100_000));
}

#[test]
fn a_batch_of_a_group_is_sent_as_it_lies() {
    let batch = batch(50_000, true);
    let bytes = batch.compressed_batch.clone();
    let message = JoinResponse::from(join_response::Response::Batch(batch));
    let encoded = prost::Message::encode_to_vec(&message);
    let (sent, _) = read(send(vec![(message, bytes)], None, 0), 16, usize::MAX);
    assert_eq!(sent.get(PREFIX_BYTES..), Some(&encoded[..]));
}

#[test]
fn memory_is_given_back_with_what_is_written_or_dropped() {
    let held = |budget: &Budget| budget.bytes() - budget.free_bytes();
    for is_written in [true, false] {
        let (budget, unread) = unread();
        let (message, bytes) = fetched(batch(100_000, false));
        begin_turn(&unread);
        let pinned = unread.pin(Backing::of_all(&bytes), bytes.len());
        assert!(pinned.is_some(), "it is large");
        let told = Told { message, pinned };
        let messages = stream::iter([Ok(told)]).chain(stream::pending());
        let mut body = Sending::new(Box::pin(messages), unread);
        let frame = ready(|cx| Pin::new(&mut body).poll_frame(cx));
        let Some(Ok(Ok(mut pieces))) = frame.map(|it| it.map(Frame::into_data)) else {
            panic!("no data");
        };
        assert!(held(&budget) > 100_000, "the batch and its head");
        assert!(held(&budget) < 101_000, "and nothing else");
        if is_written {
            pieces.advance(pieces.remaining());
        } else {
            pieces.advance(50_000);
        }
        drop(pieces);
        assert_eq!(held(&budget), 0, "written: {is_written}");
    }
}
