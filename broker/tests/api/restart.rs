//! What is there after a broker was dropped in the middle of its life.

use towpath_proto::v1;
use towpath_proto::v1::produce_response::Response;

use crate::harness::{TestBroker, all_values, batch_of, soon, source};

#[tokio::test]
async fn records_topics_and_sequences_survive() {
    let broker = TestBroker::start().await;
    let id = broker.create("orders", 2).await;
    broker.create("gone", 1).await;
    broker.delete("gone").await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch_of(0, &["a"])).await;
    let first = producer.accepted().await;
    producer.produce(batch_of(1, &["b", "c"])).await;
    producer.accepted().await;
    broker.publish("orders", 1, &["d"]).await;
    drop(producer);

    let broker = broker.restart().await;
    assert!(broker.broker.report().entry_count > 0, "replayed");
    let list = v1::ListTopicsRequest::default();
    let topics = soon(broker.topics().list_topics(list)).await.unwrap();
    let topics: Vec<_> = topics
        .into_inner()
        .topics
        .into_iter()
        .map(|it| (it.name, it.topic_id))
        .collect();
    assert_eq!(topics, [("orders".to_owned(), id)]);
    let read = broker.read_all(source("orders")).await;
    let mut read = all_values(&read);
    read.sort();
    assert_eq!(read, ["a", "b", "c", "d"]);

    let mut producer = broker.producer().await;
    producer.open(1, "orders", 1).await;
    let Response::Opened(opened) = producer.next().await else {
        panic!("not opened");
    };
    let last = v1::LastSequence {
        partition: 0,
        sequence: 1,
    };
    assert_eq!(opened.last_sequences, [last]);
    producer.produce(batch_of(0, &["a"])).await;
    let again = v1::AcceptedBatch {
        is_duplicate: true,
        ..first
    };
    assert_eq!(producer.accepted().await, again);
    producer.produce(batch_of(2, &["e"])).await;
    let next = producer.accepted().await;
    assert_eq!(next.base_offset, 3);
    assert!(
        next.lsn > first.lsn && next.append_time_ms >= first.append_time_ms,
        "{next:?}"
    );
}

#[tokio::test]
async fn a_topic_created_after_a_restart_gets_an_id_of_its_own() {
    let broker = TestBroker::start().await;
    let first = broker.create("orders", 1).await;
    broker.delete("orders").await;
    let broker = broker.restart().await;
    let second = broker.create("orders", 1).await;
    assert!(second > first, "{second} after {first}");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), [""; 0]);
}

#[tokio::test]
async fn many_lives_add_up() {
    let mut broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut expected = Vec::new();
    for life in 0..5 {
        let value = format!("life {life}");
        broker.publish("orders", 0, &[&value]).await;
        expected.push(value);
        broker = broker.restart().await;
        let read = broker.read_all(source("orders")).await;
        assert_eq!(all_values(&read), expected);
    }
}
