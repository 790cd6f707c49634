//! The Produce stream: handles, sequences, duplicates, the order of answers.

use towpath_proto::limits::OPEN_TOPICS_PER_STREAM_MAX;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

use crate::harness::{
    Producer, TestBroker, all_values, batch_of, check_facts, problem_of, refusal, soon, source,
};

#[tokio::test]
async fn batches_are_accepted_in_order_and_told_where_they_are() {
    let broker = TestBroker::start().await;
    let topic_id = broker.create("orders", 2).await;
    let mut producer = broker.producer().await;
    producer.open(7, "orders", 1).await;
    let Response::Opened(opened) = producer.next().await else {
        panic!("not opened");
    };
    assert_eq!((opened.handle, opened.topic_id), (7, topic_id));
    assert_eq!(opened.partition_count, 2);
    assert_eq!(opened.last_sequences, []);
    assert!(opened.limits.is_some(), "limits");
    let mut lsn = 0;
    for (sequence, values, base_offset) in [(0, &["a", "b"][..], 0), (1, &["c"], 2)] {
        let batch = ProduceBatch {
            handle: 7,
            partition: 1,
            ..batch_of(sequence, values)
        };
        producer.produce(batch).await;
        let accepted = producer.accepted().await;
        assert_eq!((accepted.handle, accepted.partition), (7, 1));
        assert_eq!(
            (accepted.sequence, accepted.base_offset),
            (sequence, base_offset)
        );
        assert_eq!(accepted.record_count as usize, values.len());
        assert!(
            accepted.lsn > lsn && accepted.append_time_ms > 0,
            "{accepted:?}"
        );
        assert!(!accepted.is_duplicate, "{accepted:?}");
        lsn = accepted.lsn;
    }
    assert_eq!(producer.finish().await, []);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["a", "b", "c"]);
}

#[tokio::test]
async fn batches_need_not_wait_for_the_topic_to_be_opened() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let producer = broker.producer().await;
    producer.open(1, "orders", 1).await;
    for sequence in 0..100 {
        producer.produce(batch_of(sequence, &["v"])).await;
    }
    let mut producer = producer;
    assert!(
        matches!(producer.next().await, Response::Opened(_)),
        "opened comes first"
    );
    let expected: Vec<_> = (0..100).map(|sequence| (sequence, true)).collect();
    assert_eq!(producer.finish().await, expected);
}

#[tokio::test]
async fn a_repeated_batch_is_answered_as_it_was_the_first_time() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["a", "b"])).await;
    let first = producer.accepted().await;
    producer.produce(batch_of(1, &["c"])).await;
    producer.accepted().await;
    let mut other = broker.producer().await;
    other.open(9, "orders", 1).await;
    let Response::Opened(opened) = other.next().await else {
        panic!("not opened");
    };
    let last = v1::LastSequence {
        partition: 0,
        sequence: 1,
    };
    assert_eq!(opened.last_sequences, [last]);
    let again = ProduceBatch {
        handle: 9,
        ..batch_of(0, &["a", "b"])
    };
    other.produce(again).await;
    let expected = v1::AcceptedBatch {
        handle: 9,
        is_duplicate: true,
        ..first
    };
    assert_eq!(other.accepted().await, expected);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_batch_behind_a_missing_one_is_refused_without_effect() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["a"])).await;
    producer.accepted().await;
    producer.produce(batch_of(2, &["c"])).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(
        (refused.handle, refused.partition, refused.sequence),
        (1, 0, 2)
    );
    assert!(!refused.is_sequence_spent, "the broker waits for 1");
    assert_eq!(problem.reason(), ErrorReason::SequenceGap);
    check_facts(
        &problem,
        &[("topic", "orders"), ("expected", "1"), ("received", "2")],
    );
    producer.produce(batch_of(1, &["b"])).await;
    producer.produce(batch_of(2, &["c"])).await;
    assert_eq!(producer.finish().await, [(1, true), (2, true)]);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["a", "b", "c"]);
}

#[tokio::test]
async fn an_unknown_producer_begins_at_its_first_batch() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(5, &["a"])).await;
    let (refused, problem) = producer.refused().await;
    assert!(!refused.is_sequence_spent, "nothing is known of it");
    assert_eq!(problem.reason(), ErrorReason::ProducerUnknown);
    check_facts(
        &problem,
        &[("topic", "orders"), ("partition", "0"), ("received", "5")],
    );
}

#[tokio::test]
async fn producers_and_partitions_count_apart() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.open(2, "orders", 2).await;
    assert!(
        matches!(producer.next().await, Response::Opened(_)),
        "opened"
    );
    for (handle, partition) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let batch = ProduceBatch {
            handle,
            partition,
            ..batch_of(0, &["v"])
        };
        producer.produce(batch).await;
        let accepted = producer.accepted().await;
        assert_eq!((accepted.handle, accepted.partition), (handle, partition));
        assert!(!accepted.is_duplicate, "{accepted:?}");
    }
}

#[tokio::test]
async fn a_partition_that_is_not_there_refuses_the_batch_only() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let batch = ProduceBatch {
        partition: 2,
        ..batch_of(0, &["v"])
    };
    producer.produce(batch).await;
    let (_, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::PartitionNotFound);
    check_facts(
        &problem,
        &[
            ("topic", "orders"),
            ("partition", "2"),
            ("partition_count", "2"),
        ],
    );
    producer.produce(batch_of(0, &["v"])).await;
    producer.accepted().await;
}

#[tokio::test]
async fn what_is_sent_under_a_handle_that_was_refused_is_refused_alike() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer().await;
    producer.open(1, "ordres", 1).await;
    producer.produce(batch_of(0, &["v"])).await;
    let problem = open_refused(&mut producer).await;
    assert_eq!(problem.reason(), ErrorReason::TopicNotFound);
    assert_eq!(problem.hint(), Some("did you mean \"orders\"?"));
    let (refused, of_batch) = producer.refused().await;
    assert_eq!(of_batch, problem);
    assert!(!refused.is_sequence_spent, "no sequence there");
    producer.open(1, "orders", 1).await;
    assert!(
        matches!(producer.next().await, Response::Opened(_)),
        "the handle is free again"
    );
    producer.produce(batch_of(0, &["v"])).await;
    producer.accepted().await;
}

#[tokio::test]
async fn a_batch_under_a_handle_that_was_never_opened_is_refused() {
    let broker = TestBroker::start().await;
    let mut producer = broker.producer().await;
    producer.produce(batch_of(0, &["v"])).await;
    let (_, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "produce.handle")]);
}

#[tokio::test]
async fn opening_says_what_is_wrong_with_it() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer().await;
    let open = |topic: &str, producer_id: Vec<u8>, topic_id| v1::OpenTopic {
        handle: 1,
        topic: topic.to_owned(),
        producer_id: producer_id.into(),
        topic_id,
        ..v1::OpenTopic::default()
    };
    let wrong = [
        (open("", vec![1; 16], None), "open.topic"),
        (open("a b", vec![1; 16], None), "open.topic"),
        (open("orders", vec![], None), "open.producer_id"),
        (open("orders", vec![1; 17], None), "open.producer_id"),
    ];
    for (open, field) in wrong {
        producer.send(ProduceRequest::open(open)).await;
        let problem = open_refused(&mut producer).await;
        assert_eq!(problem.reason(), ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", field)]);
    }
    let stale = open("orders", vec![1; 16], Some(99));
    producer.send(ProduceRequest::open(stale)).await;
    let problem = open_refused(&mut producer).await;
    assert_eq!(problem.reason(), ErrorReason::TopicNotFound);
}

#[tokio::test]
async fn a_topic_that_is_meant_on_another_broker_is_not_written_to() {
    let broker = TestBroker::start().await;
    let topic_id = broker.create("orders", 1).await;
    let broker_id = broker.id().await;
    let mut producer = broker.producer().await;
    let open = |broker_id: &str| {
        ProduceRequest::open(v1::OpenTopic {
            handle: 1,
            topic: "orders".to_owned(),
            producer_id: vec![1; 16].into(),
            topic_id: Some(topic_id),
            broker_id: Some(broker_id.to_owned()),
            ..v1::OpenTopic::default()
        })
    };
    producer.send(open(&"0".repeat(32))).await;
    // Sent at once, as docs/protocol.md allows.
    producer.produce(batch_of(0, &["v"])).await;
    let problem = open_refused(&mut producer).await;
    assert_eq!(problem.reason(), ErrorReason::TopicNotFound, "{problem}");
    check_facts(&problem, &[("topic", "orders"), ("broker_id", &broker_id)]);
    assert!(problem.hint().is_some(), "{problem:?}");
    assert_eq!(producer.refused().await.1, problem, "the batch as well");
    producer.send(open(&broker_id)).await;
    producer.produce(batch_of(0, &["w"])).await;
    let opened = producer.next().await;
    assert!(matches!(opened, Response::Opened(_)), "{opened:?}");
    producer.accepted().await;
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["w"]);
}

#[tokio::test]
async fn a_stream_opens_a_bounded_number_of_topics() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer().await;
    for handle in 0..OPEN_TOPICS_PER_STREAM_MAX {
        producer.open(handle, "orders", 1).await;
        assert!(
            matches!(producer.next().await, Response::Opened(_)),
            "{handle}"
        );
    }
    producer.open(OPEN_TOPICS_PER_STREAM_MAX, "orders", 1).await;
    let problem = open_refused(&mut producer).await;
    assert_eq!(problem.reason(), ErrorReason::LimitReached);
    check_facts(
        &problem,
        &[
            ("limit", "open_topics_per_stream_max"),
            ("limit_value", "1000"),
        ],
    );
}

#[tokio::test]
async fn a_handle_that_is_in_use_ends_the_stream() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("others", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["v"])).await;
    producer.open(1, "others", 1).await;
    producer.accepted().await;
    let problem = refusal(producer.try_next().await, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "open.handle")]);
}

#[tokio::test]
async fn a_request_without_a_step_ends_the_stream_after_what_was_begun() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["v"])).await;
    producer.send(ProduceRequest { request: None }).await;
    producer.accepted().await;
    let problem = refusal(producer.try_next().await, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "request")]);
}

#[tokio::test]
async fn a_topic_that_is_deleted_refuses_what_comes_after() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["v"])).await;
    producer.accepted().await;
    broker.delete("orders").await;
    broker.create("orders", 1).await;
    producer.produce(batch_of(1, &["v"])).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::TopicNotFound);
    check_facts(&problem, &[("topic", "orders")]);
    assert!(!refused.is_sequence_spent, "there is nothing to spend");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), [""; 0], "nothing went to its successor");
}

#[tokio::test]
async fn answers_of_a_partition_come_in_the_order_of_its_batches() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let producer = broker.producer_of("orders", 1).await;
    let mut expected = Vec::new();
    let mut sequence = 0;
    for step in 0..300 {
        let good = batch_of(sequence, &["v"]);
        // Every third batch is wrong for good, every fifth only on its way here.
        let is_final = step % 3 == 0;
        let is_damaged = !is_final && step % 5 == 0;
        let batch = ProduceBatch {
            record_count: if is_final { 9 } else { 0 },
            crc: is_damaged.then_some(1),
            ..good
        };
        producer.produce(batch).await;
        expected.push((sequence, !is_final && !is_damaged));
        sequence += u64::from(!is_damaged);
    }
    assert_eq!(producer.finish().await, expected);
}

#[tokio::test]
async fn closing_ends_the_stream_after_everything_was_answered() {
    let broker = TestBroker::start().await;
    broker.create("orders", 8).await;
    let producer = broker.producer_of("orders", 1).await;
    for sequence in 0..50 {
        for partition in 0..8 {
            let batch = ProduceBatch {
                partition,
                ..batch_of(sequence, &["v", "w"])
            };
            producer.produce(batch).await;
        }
    }
    let answers = producer.finish().await;
    assert_eq!(answers.len(), 400);
    assert!(
        answers.iter().all(|(_, is_accepted)| *is_accepted),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let producer = broker.producer_of("orders", 1).await;
    for sequence in 0..20 {
        producer.produce(batch_of(sequence, &["v"])).await;
    }
    drop(producer);
    // A stop waits for every task of every stream.
    soon(broker.broker.shutdown()).await;
}

async fn open_refused(producer: &mut Producer) -> Problem {
    match producer.next().await {
        Response::OpenRefused(refused) => problem_of(refused.error.as_ref()),
        other => panic!("{other:?}"),
    }
}
