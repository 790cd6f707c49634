//! Batches that are not what they should be: what is told, and whether the sequence is spent.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use towpath_proto::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

use crate::harness::{Producer, TestBroker, all_values, batch_of, check_facts, problem_of, source};
use crate::raw;

/// Tag of a record in a batch.
const RECORD: u8 = 0x0a;
/// Tag of a header in a record.
const HEADER: u8 = 0x1a;

/// A batch of bytes that are put together by hand.
fn of_bytes(sequence: u64, batch: impl Into<Bytes>) -> ProduceBatch {
    ProduceBatch {
        batch: batch.into(),
        ..batch_of(sequence, &[])
    }
}

/// A stream on which sequence 0 was accepted.
async fn producer(broker: &TestBroker) -> Producer {
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;
    producer
}

/// Sends a batch as sequence 1 that is refused for good, and shows that 2 is next.
async fn check_final(batch: ProduceBatch, reason: ErrorReason, field: &str) -> Problem {
    let broker = TestBroker::start().await;
    let mut producer = producer(&broker).await;
    producer.produce(batch.clone()).await;
    producer.produce(batch_of(2, &["after"])).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), reason, "{problem}");
    check_facts(&problem, &[("field", field)]);
    assert_eq!(
        (refused.sequence, refused.is_sequence_spent),
        (1, true),
        "{problem}"
    );
    assert_eq!(producer.accepted().await.sequence, 2, "the next one");
    producer.produce(batch).await;
    let again = producer.refused().await;
    assert_eq!(again, (refused, problem.clone()), "as the first time");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["before", "after"], "records");
    problem
}

#[tokio::test]
async fn unknown_fields_are_refused() {
    let in_batch = of_bytes(1, vec![0x12, 1, b'x']);
    check_final(in_batch, ErrorReason::InvalidArgument, "batch").await;
    let in_record = of_bytes(1, vec![RECORD, 3, 0x2a, 1, b'x']);
    check_final(in_record, ErrorReason::InvalidArgument, "batch.records[0]").await;
    let in_header = of_bytes(1, vec![RECORD, 8, HEADER, 6, 0x0a, 1, b'n', 0x1a, 1, b'x']);
    let field = "batch.records[0].headers[0]";
    check_final(in_header, ErrorReason::InvalidArgument, field).await;
}

#[tokio::test]
async fn a_field_of_a_record_that_is_given_twice_is_refused() {
    let twice = of_bytes(1, vec![RECORD, 6, 0x12, 1, b'a', 0x12, 1, b'b']);
    let problem = check_final(twice, ErrorReason::InvalidArgument, "batch.records[0]").await;
    assert!(problem.message().contains("twice"), "{problem}");
}

#[tokio::test]
async fn a_wrong_count_is_refused() {
    let wrong = ProduceBatch {
        record_count: 3,
        ..batch_of(1, &["a", "b"])
    };
    let problem = check_final(wrong, ErrorReason::InvalidArgument, "record_count").await;
    assert!(problem.message().contains("2 records"), "{problem}");
}

#[tokio::test]
async fn a_header_name_must_be_utf_8_and_not_empty() {
    let field = "batch.records[0].headers[0]";
    let not_utf8 = of_bytes(1, vec![RECORD, 5, HEADER, 3, 0x0a, 1, 0xff]);
    let problem = check_final(not_utf8, ErrorReason::InvalidArgument, field).await;
    assert!(problem.message().contains("UTF-8"), "{problem}");
    let empty = of_bytes(1, vec![RECORD, 2, HEADER, 0]);
    check_final(empty, ErrorReason::InvalidArgument, field).await;
}

#[tokio::test]
async fn bytes_that_end_inside_a_record_are_refused() {
    let in_value = of_bytes(1, vec![RECORD, 3, 0x12, 9, b'x']);
    check_final(in_value, ErrorReason::InvalidArgument, "batch.records[0]").await;
    let in_batch = of_bytes(1, vec![RECORD, 9, 0x12, 1, b'x']);
    check_final(in_batch, ErrorReason::InvalidArgument, "batch.records[0]").await;
}

#[tokio::test]
async fn a_batch_without_records_is_refused() {
    let none = of_bytes(1, Bytes::new());
    check_final(none, ErrorReason::InvalidArgument, "batch").await;
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused() {
    let value = "v".repeat(RECORD_BYTES_MAX);
    let batch = batch_of(1, &["small", &value]);
    let problem = check_final(batch, ErrorReason::RecordTooLarge, "batch.records[1]").await;
    // Tag and length of the value come on top.
    let size = (RECORD_BYTES_MAX + 4).to_string();
    let max = RECORD_BYTES_MAX.to_string();
    check_facts(&problem, &[("size_bytes", &size), ("size_bytes_max", &max)]);
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused() {
    let value = "v".repeat(BATCH_BYTES_MAX / 4 - 8);
    let batch = batch_of(1, &[&value, &value, &value, &value, "too much"]);
    let size = batch.batch.len().to_string();
    let problem = check_final(batch, ErrorReason::BatchTooLarge, "batch").await;
    let max = BATCH_BYTES_MAX.to_string();
    check_facts(&problem, &[("size_bytes", &size), ("size_bytes_max", &max)]);
}

#[tokio::test]
async fn a_wrong_crc_spends_nothing() {
    let broker = TestBroker::start().await;
    let mut producer = producer(&broker).await;
    let right = batch_of(1, &["v"]);
    let crc = towpath_proto::batch::crc(&right.batch);
    let wrong = ProduceBatch {
        crc: Some(crc ^ 1),
        ..right.clone()
    };
    producer.produce(wrong).await;
    let (refused, problem) = producer.refused().await;
    assert!(!refused.is_sequence_spent, "the way here may have done it");
    assert_eq!(problem.reason(), ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "crc")]);
    let right = ProduceBatch {
        crc: Some(crc),
        ..right
    };
    producer.produce(right).await;
    assert_eq!(producer.accepted().await.sequence, 1);
}

#[tokio::test]
async fn a_sequence_is_spent_in_its_turn_only() {
    let broker = TestBroker::start().await;
    let mut producer = producer(&broker).await;
    let wrong = ProduceBatch {
        record_count: 9,
        ..batch_of(2, &["v"])
    };
    producer.produce(wrong.clone()).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::SequenceGap, "{problem}");
    assert!(!refused.is_sequence_spent, "1 is missing");
    producer.produce(batch_of(1, &["v"])).await;
    producer.produce(wrong).await;
    assert_eq!(producer.accepted().await.sequence, 1);
    assert!(producer.refused().await.0.is_sequence_spent, "now");
}

#[tokio::test]
async fn a_spent_sequence_stays_spent_after_a_restart() {
    let broker = TestBroker::start().await;
    let mut producer = producer(&broker).await;
    let wrong = ProduceBatch {
        record_count: 9,
        ..batch_of(1, &["v"])
    };
    producer.produce(wrong).await;
    producer.refused().await;
    drop(producer);
    let broker = broker.restart().await;
    let mut producer = broker.producer_of("orders", 1).await;
    // What is right with the second attempt does not matter: the answer stands.
    check_spent_before(&mut producer, batch_of(1, &["v"])).await;
    producer.produce(batch_of(2, &["v"])).await;
    producer.accepted().await;
}

#[tokio::test]
async fn a_spent_sequence_keeps_its_reason_whatever_is_sent_under_it() {
    let broker = TestBroker::start().await;
    let mut producer = producer(&broker).await;
    producer.produce(of_bytes(1, Bytes::new())).await;
    producer.refused().await;
    let too_large = batch_of(1, &[&"v".repeat(RECORD_BYTES_MAX)]);
    check_spent_before(&mut producer, too_large).await;
    check_spent_before(&mut producer, batch_of(1, &["v"])).await;
}

/// Sends another batch as sequence 1, which was spent for `INVALID_ARGUMENT`.
async fn check_spent_before(producer: &mut Producer, batch: ProduceBatch) {
    producer.produce(batch).await;
    let (refused, problem) = producer.refused().await;
    assert!(refused.is_sequence_spent, "{problem}");
    assert_eq!(problem.reason(), ErrorReason::InvalidArgument, "{problem}");
    let facts = [("topic", "orders"), ("partition", "0"), ("received", "1")];
    check_facts(&problem, &facts);
    let hint = problem.hint().unwrap_or_default();
    assert!(hint.contains("next sequence"), "{problem:?}");
}

#[tokio::test]
async fn a_batch_field_that_occurs_twice_is_refused() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let open = ProduceRequest::open(v1::OpenTopic {
        handle: 1,
        topic: "orders".to_owned(),
        producer_id: vec![1; 16].into(),
        ..v1::OpenTopic::default()
    });
    let once = ProduceRequest::produce(batch_of(0, &["v"])).encode_to_vec();
    // The length of the embedded message, and then the field once more.
    let field = [0x7a, 5, RECORD, 3, 0x12, 1, b'w'];
    let mut twice = BytesMut::from(&once[..]);
    twice[1] += u8::try_from(field.len()).unwrap();
    twice.put_slice(&field);
    let requests = [raw::frame(&open.encode_to_vec()), raw::frame(&twice)];
    let answered = raw::call(&broker, "ProduceService/Produce", requests.concat()).await;
    let answers: Vec<v1::ProduceResponse> = answered.decode();
    let [opened, refused] = &answers[..] else {
        panic!("{answered:?}");
    };
    assert!(
        matches!(opened.response, Some(Response::Opened(_))),
        "{opened:?}"
    );
    let Some(Response::Refused(refused)) = &refused.response else {
        panic!("{refused:?}");
    };
    let problem = problem_of(refused.error.as_ref());
    assert_eq!(problem.reason(), ErrorReason::InvalidArgument);
    assert!(refused.is_sequence_spent, "final");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), [""; 0]);
}
