//! Requests that cannot be taken apart: too large, not protobuf, not what the call takes.

use bytes::{Bytes, BytesMut};
use prost::Message;
use towpath_proto::limits::{BATCH_BYTES_MAX, MESSAGE_BYTES_MAX};
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

use crate::harness::{TestBroker, batch_of, check_facts, record, refusal, soon};
use crate::raw;

/// Every call that takes one request.
const UNARY: [&str; 10] = [
    "AdminService/GetServerInfo",
    "FetchService/Fetch",
    "FetchService/LookupOffsets",
    "ProduceService/Publish",
    "TopicService/CreateTopic",
    "TopicService/DeleteTopic",
    "TopicService/GetTopic",
    "TopicService/ListTopics",
    "TopicService/TrimTopic",
    "TopicService/UpdateTopic",
];
const STREAM: &str = "ProduceService/Produce";

/// Bodies that no call can read, by what is wrong with them.
fn unreadable() -> [(&'static str, Bytes); 5] {
    [
        ("garbage", raw::frame(&[0xff; 9])),
        // Field 3 of a kind that protobuf gave up, which no call skips.
        ("wire type", raw::frame(&[0x1f, 1])),
        // Field 1000 of ten bytes, of which two are there.
        ("cut in a field", raw::frame(&[0xc2, 0x3e, 10, 1, 2])),
        ("cut in a message", raw::frame(&[0; 100]).slice(..50)),
        ("cut in a prefix", Bytes::from_static(&[0, 0, 0])),
    ]
}

/// Checks that a call was refused as malformed and that its caller is told what to do.
#[track_caller]
fn check_malformed(what: &str, answered: &raw::Answered) -> Problem {
    let problem = refusal(answered.end(), ErrorReason::InvalidArgument);
    let hint = problem.hint().unwrap_or_default();
    assert!(hint.contains("proto/towpath/v1"), "{what}: {problem:?}");
    problem
}

#[tokio::test]
async fn what_is_not_protobuf_is_refused_by_every_call() {
    let broker = TestBroker::start().await;
    for method in UNARY {
        for (what, body) in unreadable() {
            let answered = raw::call(&broker, method, body).await;
            check_malformed(&format!("{method}: {what}"), &answered);
            assert_eq!(answered.messages, [""; 0], "{method}: {what}");
        }
    }
}

#[tokio::test]
async fn a_call_without_a_request_is_refused() {
    let broker = TestBroker::start().await;
    for method in UNARY {
        let answered = raw::call(&broker, method, Bytes::new()).await;
        check_malformed(method, &answered);
    }
}

#[tokio::test]
async fn a_field_of_another_type_is_named() {
    let broker = TestBroker::start().await;
    // The name as a number, and as text that is not UTF-8.
    for message in [&[0x08, 1][..], &[0x0a, 1, 0xff]] {
        let answered = raw::call(&broker, "TopicService/CreateTopic", raw::frame(message)).await;
        let problem = check_malformed("name", &answered);
        let named = problem.message().contains("CreateTopicRequest.name");
        assert!(named, "{problem}");
    }
    let topics = soon(
        broker
            .topics()
            .list_topics(v1::ListTopicsRequest::default()),
    )
    .await;
    assert_eq!(topics.unwrap().into_inner().topics, [], "nothing happened");
}

#[tokio::test]
async fn a_stream_answers_what_was_right_and_ends_at_what_cannot_be_read() {
    for (what, unreadable) in unreadable() {
        let broker = TestBroker::start().await;
        broker.create("orders", 1).await;
        let mut body = BytesMut::from(&opening_and_batch()[..]);
        body.extend_from_slice(&unreadable);
        let answered = raw::call(&broker, STREAM, body).await;
        check_malformed(what, &answered);
        let answers: Vec<v1::ProduceResponse> = answered.decode();
        let last = answers.last().and_then(|it| it.response.as_ref());
        assert!(
            matches!(last, Some(Response::Accepted(accepted)) if accepted.batches.len() == 1),
            "{what}: {answers:?}"
        );
    }
}

#[tokio::test]
async fn a_message_over_every_limit_ends_the_stream() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let too_large = ProduceRequest::produce(ProduceBatch {
        batch: vec![0; MESSAGE_BYTES_MAX].into(),
        ..batch_of(1, &[])
    });
    let too_large = too_large.encode_to_vec();
    let mut body = BytesMut::from(&opening_and_batch()[..]);
    body.extend_from_slice(&raw::frame(&too_large));
    let answered = raw::call(&broker, STREAM, body).await;
    let problem = refusal(answered.end(), ErrorReason::BatchTooLarge);
    check_too_large(&problem, "produce.batch", too_large.len(), BATCH_BYTES_MAX);
    assert_eq!(answered.messages.len(), 2, "opened and accepted");
}

#[tokio::test]
async fn a_publish_over_every_limit_is_too_large_a_batch() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let value = "v".repeat(1_000_000);
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![record(None, &value); 5],
        partition: None,
    };
    let size_bytes = request.encoded_len();
    let published = soon(broker.produce().publish(request)).await;
    let problem = refusal(published, ErrorReason::BatchTooLarge);
    check_too_large(&problem, "records", size_bytes, BATCH_BYTES_MAX);
}

#[tokio::test]
async fn any_other_request_over_the_limit_is_not_allowed() {
    let broker = TestBroker::start().await;
    let request = v1::CreateTopicRequest {
        name: "n".repeat(MESSAGE_BYTES_MAX),
        ..v1::CreateTopicRequest::default()
    };
    let size_bytes = request.encoded_len();
    for method in UNARY.iter().filter(|method| !method.ends_with("Publish")) {
        let body = raw::frame(&request.encode_to_vec());
        let answered = raw::call(&broker, method, body).await;
        let problem = refusal(answered.end(), ErrorReason::InvalidArgument);
        check_facts(
            &problem,
            &[
                ("size_bytes", &size_bytes.to_string()),
                ("size_bytes_max", &MESSAGE_BYTES_MAX.to_string()),
            ],
        );
        assert!(problem.hint().is_some(), "{method}: {problem:?}");
    }
}

#[track_caller]
fn check_too_large(problem: &Problem, field: &str, size_bytes: usize, size_bytes_max: usize) {
    check_facts(
        problem,
        &[
            ("field", field),
            ("size_bytes", &size_bytes.to_string()),
            ("size_bytes_max", &size_bytes_max.to_string()),
        ],
    );
    assert!(problem.hint().is_some(), "{problem:?}");
}

/// The beginning of a stream that is right: a topic under handle 1 and its first batch.
fn opening_and_batch() -> Vec<u8> {
    let open = ProduceRequest::open(v1::OpenTopic {
        handle: 1,
        topic: "orders".to_owned(),
        producer_id: vec![1; 16].into(),
        ..v1::OpenTopic::default()
    });
    let batch = ProduceRequest::produce(batch_of(0, &["v"]));
    [open, batch]
        .map(|it| raw::frame(&it.encode_to_vec()))
        .concat()
}
