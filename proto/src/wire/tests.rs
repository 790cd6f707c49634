//! Both views read and write the same bytes, and the wire view notices what it cannot merge.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use tonic::Streaming;
use tonic::codec::{Codec, EncodeBody, Encoder};
use tonic::codegen::tokio_stream;

use super::*;
use crate::ids::Offset;
use crate::limits::{BATCH_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::testing::seeded;
use crate::v1;

type ProduceCodec = DataCodec<ProduceRequest, v1::ProduceResponse>;

fn any_records() -> impl Strategy<Value = v1::RecordBatch> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    let record = (
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        any::<i64>(),
    )
        .prop_map(|(key, value, time)| v1::Record {
            key,
            value,
            event_time_ms: Some(time),
            ..v1::Record::default()
        });
    proptest::collection::vec(record, 1..5).prop_map(|records| v1::RecordBatch { records })
}

/// Small numbers often, so that defaults, which are not encoded, occur.
fn any_u32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..300_u32, any::<u32>()]
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300_u64, any::<u64>()]
}

/// A codec, known or not, and bytes.
fn any_compressed() -> impl Strategy<Value = (i32, Bytes)> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
    (prop_oneof![Just(0), 1..4_i32, any::<i32>()], bytes)
}

prop_compose! {
    fn any_produce()(
        (handle, partition, record_count) in (any_u32(), any_u32(), any_u32()),
        sequence in any_u64(),
        crc in proptest::option::of(any_u32()),
        expectation in proptest::option::of((any::<bool>(), any_u64())),
        batch in proptest::option::of(any_records()),
        (codec, compressed_batch) in any_compressed(),
    ) -> v1::ProduceBatch {
        use v1::produce_batch::Expectation::{ExpectedOffset, ExpectedVersion};
        let expectation = expectation.map(|(is_offset, number)| match is_offset {
            true => ExpectedOffset(number),
            false => ExpectedVersion(number),
        });
        v1::ProduceBatch {
            handle, partition, sequence, record_count, crc, expectation, codec, batch, compressed_batch,
        }
    }
}

prop_compose! {
    fn any_fetched()(
        (handle, partition, record_count, crc) in (any_u32(), any_u32(), any_u32(), any_u32()),
        (base_offset, lsn) in (any_u64(), any_u64()),
        append_time_ms in any::<i64>(),
        offset_deltas in proptest::collection::vec(any_u32(), 0..4),
        batch in proptest::option::of(any_records()),
        (codec, compressed_batch) in any_compressed(),
    ) -> v1::FetchedBatch {
        v1::FetchedBatch {
            handle, partition, base_offset, record_count, lsn, append_time_ms, crc, offset_deltas, codec,
            batch, compressed_batch,
        }
    }
}

fn any_produce_request() -> impl Strategy<Value = v1::ProduceRequest> {
    use v1::produce_request::Request;
    let open = (
        any_u32(),
        "[a-z]{0,9}",
        any::<[u8; 16]>(),
        proptest::option::of(any_u64()),
        proptest::option::of("[0-9a-f]{0,9}"),
        any_u32(),
    )
        .prop_map(
            |(handle, topic, producer_id, topic_id, broker_id, producer_epoch)| v1::OpenTopic {
                handle,
                topic,
                producer_id: Bytes::from_owner(producer_id),
                topic_id,
                broker_id,
                producer_epoch,
            },
        );
    prop_oneof![
        any_produce().prop_map(|batch| Some(Request::Produce(batch))),
        open.prop_map(|open| Some(Request::Open(open))),
        Just(None),
    ]
    .prop_map(|request| v1::ProduceRequest { request })
}

fn any_fetch_response() -> impl Strategy<Value = v1::FetchResponse> {
    use v1::fetch_response::Response;
    let caught_up = (any_u32(), any_u32(), any_u64(), any_u64()).prop_map(
        |(handle, partition, end_offset, lsn)| v1::CaughtUp {
            handle,
            partition,
            end_offset,
            lsn,
        },
    );
    let gap = (any_u32(), any_u64(), any_u64()).prop_map(|(handle, start, end)| v1::Gap {
        handle,
        partition: 7,
        range: Some(v1::OffsetRange { start, end }),
        reason: v1::GapReason::DataLoss.into(),
    });
    let heartbeat = (any_u64(), any::<i64>()).prop_map(|(lsn, broker_time_ms)| v1::Heartbeat {
        lsn,
        broker_time_ms,
    });
    let opened = (any_u64(), "[a-z]{0,9}").prop_map(|(lsn, topic)| v1::FetchOpened {
        topics: vec![v1::OpenedTopic {
            topic,
            ..v1::OpenedTopic::default()
        }],
        lsn,
        broker_id: "0f".to_owned(),
    });
    let failed = any_u32().prop_map(|handle| v1::SourceFailed {
        handle,
        partition: Some(0),
        error: Some(v1::Error::default()),
    });
    prop_oneof![
        4 => any_fetched().prop_map(|batch| Some(Response::Batch(batch))),
        1 => caught_up.prop_map(|message| Some(Response::CaughtUp(message))),
        1 => gap.prop_map(|message| Some(Response::Gap(message))),
        1 => heartbeat.prop_map(|message| Some(Response::Heartbeat(message))),
        1 => opened.prop_map(|message| Some(Response::Opened(message))),
        1 => failed.prop_map(|message| Some(Response::Failed(message))),
        1 => any_u64().prop_map(|close_after_ms| {
            Some(Response::Draining(v1::Draining { close_after_ms }))
        }),
        1 => Just(None),
    ]
    .prop_map(|response| v1::FetchResponse { response })
}

/// Checks that `typed` reads as `W`, that `W` writes what it read, and that this reads as `typed`.
fn check_both_views<T, W>(typed: &T)
where
    T: Message + Default + PartialEq + std::fmt::Debug,
    W: Message + Default,
{
    let encoded = typed.encode_to_vec();
    let wire = W::decode(&encoded[..]).expect("the wire view decodes what the typed one wrote");
    let again = wire.encode_to_vec();
    assert_eq!(
        wire.encoded_len(),
        again.len(),
        "announced and written length"
    );
    let back = T::decode(&again[..]).expect("the typed view decodes what the wire view wrote");
    assert_eq!(&back, typed, "there and back");
}

fn produce_of(encoded: &[u8]) -> ProduceBatch {
    match ProduceRequest::decode(encoded).unwrap().request {
        Some(produce_request::Request::Produce(batch)) => batch,
        other => panic!("not a batch: {other:?}"),
    }
}

/// Encodes a request that holds these encoded `ProduceBatch` messages, one field after the other.
fn request_of(batches: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    for batch in batches {
        request.extend([0x12, u8::try_from(batch.len()).unwrap()]);
        request.extend_from_slice(batch);
    }
    request
}

prop_compose! {
    fn any_delivered()(
        (delivery, partition, crc) in (any_u64(), any_u32(), any_u32()),
        spans in proptest::collection::vec((any_u64(), any_u32(), any_u32(), any_u64()), 0..4),
        batch in proptest::option::of(any_records()),
        is_dead_letter in proptest::bool::ANY,
    ) -> v1::Delivered {
        let spans = spans.into_iter().map(|(first_offset, record_count, attempt, lsn)| {
            v1::DeliveredSpan { first_offset, record_count, attempt, lsn, append_time_ms: -1 }
        });
        v1::Delivered { delivery, partition, crc, spans: spans.collect(), is_dead_letter, batch }
    }
}

fn any_receive_response() -> impl Strategy<Value = v1::ReceiveResponse> {
    use v1::receive_response::Response;
    let lost = (any_u32(), any_u64()).prop_map(|(partition, start)| {
        let end = start.saturating_add(1);
        let ranges = vec![v1::OffsetRange { start, end }];
        v1::DeliveryLost {
            partition,
            ranges,
            is_dead_letter: start % 2 == 0,
        }
    });
    let caught_up =
        (any_u64(), any_u32(), any_u64()).prop_map(|(lsn, halted, due)| v1::SubscriptionCaughtUp {
            lsn,
            elsewhere_in_flight_records: due,
            next_due_ms: i64::try_from(due).ok(),
            halted_partitions: halted,
            is_paused: lsn % 2 == 0,
            ..v1::SubscriptionCaughtUp::default()
        });
    prop_oneof![
        any_delivered().prop_map(|delivered| Some(Response::Delivered(delivered))),
        caught_up.prop_map(|caught_up| Some(Response::CaughtUp(caught_up))),
        lost.prop_map(|lost| Some(Response::Lost(lost))),
        Just(Some(Response::Settled(v1::Settled::default()))),
        Just(None),
    ]
    .prop_map(|response| v1::ReceiveResponse { response })
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn a_produce_request_reads_the_same_in_both_views(typed in any_produce_request()) {
        check_both_views::<v1::ProduceRequest, ProduceRequest>(&typed);
    }

    #[test]
    fn a_fetch_response_reads_the_same_in_both_views(typed in any_fetch_response()) {
        check_both_views::<v1::FetchResponse, FetchResponse>(&typed);
    }

    #[test]
    fn a_receive_response_reads_the_same_in_both_views(typed in any_receive_response()) {
        check_both_views::<v1::ReceiveResponse, ReceiveResponse>(&typed);
    }

    #[test]
    fn a_pull_response_reads_the_same_in_both_views(
        deliveries in proptest::collection::vec(any_delivered(), 0..3),
        ack_deadline_ms in any_u64(),
    ) {
        let dead_letter_topic = "orders.dlq".to_owned();
        let typed = v1::PullResponse { deliveries, ack_deadline_ms, dead_letter_topic };
        check_both_views::<v1::PullResponse, PullResponse>(&typed);
    }

    #[test]
    fn a_produce_batch_carries_exactly_the_encoded_records(typed in any_produce()) {
        let wire = ProduceBatch::decode(&typed.encode_to_vec()[..]).unwrap();
        let records = typed.batch.map(|batch| batch.encode_to_vec()).unwrap_or_default();
        prop_assert_eq!(&wire.batch[..], &records[..]);
        prop_assert!(!wire.is_batch_repeated);
    }

    #[test]
    fn the_wire_view_reads_whatever_the_typed_one_reads(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let typed = v1::ProduceRequest::decode(&bytes[..]).is_ok();
        prop_assert!(ProduceRequest::decode(&bytes[..]).is_ok() || !typed, "produce");
        let typed = v1::FetchResponse::decode(&bytes[..]).is_ok();
        prop_assert!(FetchResponse::decode(&bytes[..]).is_ok() || !typed, "fetch");
    }
}

#[test]
fn a_batch_is_a_slice_of_the_receive_buffer() {
    let batch = ProduceBatch {
        batch: Bytes::from(vec![7; 1000]),
        ..ProduceBatch::default()
    };
    let received = Bytes::from(ProduceRequest::produce(batch).encode_to_vec());
    let buffer = received.as_ptr_range();
    let decoded = ProduceRequest::decode(received.clone()).unwrap();
    let Some(produce_request::Request::Produce(decoded)) = decoded.request else {
        panic!("not a batch");
    };
    assert!(buffer.contains(&decoded.batch.as_ptr()), "no copy was made");
}

#[test]
fn a_batch_field_that_occurs_twice_is_noticed() {
    let twice = b"\x7a\x02\x0a\x00\x7a\x02\x0a\x00";
    assert!(
        produce_of(&request_of(&[twice])).is_batch_repeated,
        "within one message"
    );
    let once = b"\x7a\x02\x0a\x00";
    assert!(
        produce_of(&request_of(&[once, once])).is_batch_repeated,
        "messages merge"
    );
    assert!(!produce_of(&request_of(&[once])).is_batch_repeated, "once");
    assert!(
        !produce_of(&request_of(&[b"\x08\x01", once])).is_batch_repeated,
        "other fields merge"
    );
    assert!(
        FetchedBatch::decode(&twice[..]).unwrap().is_batch_repeated,
        "fetch"
    );
    assert!(
        !FetchedBatch::decode(&once[..]).unwrap().is_batch_repeated,
        "fetch, once"
    );
    let compressed = b"\x82\x01\x01z";
    for (count, is_repeated) in [(1, false), (2, true)] {
        let bytes = compressed.repeat(count);
        let produce = produce_of(&request_of(&[&bytes]));
        assert_eq!(produce.is_batch_repeated, is_repeated, "compressed");
        let fetched = FetchedBatch::decode(&bytes[..]).unwrap();
        assert_eq!(fetched.is_batch_repeated, is_repeated, "fetch, compressed");
    }
}

#[test]
fn a_batch_after_an_open_begins_afresh() {
    let once = request_of(&[b"\x7a\x02\x0a\x00"]);
    let open = [0x0a, 0x00];
    let request = [&once[..], &open, &once].concat();
    assert!(
        !produce_of(&request).is_batch_repeated,
        "the last of a oneof replaces the others"
    );
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let newer = b"\x08\x05\x52\x01x\x8a\x01\x02zz";
    let batch = produce_of(&request_of(&[newer]));
    assert_eq!(
        (batch.handle, batch.batch.len()),
        (5, 0),
        "known fields only"
    );
}

#[test]
fn offsets_of_a_batch_are_dense_or_given() {
    let offset = |number| Some(Offset::new(number));
    let dense = FetchedBatch {
        base_offset: 10,
        record_count: 3,
        ..FetchedBatch::default()
    };
    assert_eq!(
        [0, 2, 3].map(|i| dense.offset_of(i)),
        [offset(10), offset(12), None],
        "dense"
    );
    assert_eq!(dense.next_offset(), Offset::new(13), "after a dense batch");
    let sparse = FetchedBatch {
        offset_deltas: vec![0, 4, 9],
        ..dense
    };
    assert_eq!(
        [1, 2, 3].map(|i| sparse.offset_of(i)),
        [offset(14), offset(19), None],
        "sparse"
    );
    assert_eq!(
        sparse.next_offset(),
        Offset::new(20),
        "after a sparse batch"
    );
}

#[test]
fn no_view_shows_what_is_in_a_batch() {
    let batch = Bytes::from_static(b"secret");
    let produce = ProduceBatch {
        batch: batch.clone(),
        ..ProduceBatch::default()
    };
    let fetched = FetchedBatch {
        batch,
        ..FetchedBatch::default()
    };
    let shown = format!("{:?} {fetched:?}", ProduceRequest::produce(produce));
    assert!(
        shown.contains("batch_bytes: 6") && !shown.contains("secret"),
        "{shown}"
    );
}

#[test]
fn the_data_codec_uses_buffers_of_64_kib() {
    let mut codec = ProduceCodec::default();
    let settings = format!("{:?}", codec.encoder().buffer_settings());
    assert_eq!(settings.matches("65536").count(), 2, "{settings}");
}

#[test]
fn messages_of_any_size_pass_through_the_codec() {
    let sent: Vec<_> = [0, 1, 100, 70_000, 300_000, BATCH_BYTES_MAX]
        .map(|size| ProduceBatch {
            batch: vec![7; size].into(),
            ..ProduceBatch::default()
        })
        .map(ProduceRequest::produce)
        .into();
    let mut codec = ProduceCodec::default();
    let source = tokio_stream::iter(sent.clone().into_iter().map(Ok));
    let body = EncodeBody::new_client(codec.encoder(), source, None, None);
    let mut decoder = BufferedCodec::<(), ProduceRequest, 1024, 1024>::default();
    let limit = Some(MESSAGE_BYTES_MAX);
    let mut stream = Streaming::new_request(decoder.decoder(), body, None, limit);
    let mut received = Vec::new();
    while let Some(request) = ready(stream.message()).expect("the message is read") {
        received.push(request);
    }
    assert!(received == sent, "every message arrives as it was sent");
}

/// Returns what a future gives that never has to wait.
fn ready<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}
