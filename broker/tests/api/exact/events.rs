//! Events that are sent again.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use super::{batch, config_with_checkpoints, create, event, header, repeated, with_dedupe};
use crate::harness::{TestBroker, all_values, check_facts, record, refusal, soon, source};

const HOUR_MS: u64 = 3_600_000;

async fn all_of(broker: &TestBroker) -> Vec<String> {
    all_values(&broker.read_all(source("orders")).await)
}

async fn publish(broker: &TestBroker, records: Vec<v1::Record>) -> Vec<(u32, u64, bool)> {
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records,
        partition: None,
    };
    let published = soon(broker.produce().publish(request)).await.unwrap();
    let positions = published.into_inner().positions.into_iter();
    positions
        .map(|it| (it.partition, it.offset, it.is_repeated))
        .collect()
}

#[tokio::test]
async fn an_event_is_written_once_and_told_where_it_is() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "orders", 1, with_dedupe(HOUR_MS)).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer
        .produce(batch(
            0,
            vec![event("1", "a"), event("2", "b"), record(None, "c")],
        ))
        .await;
    let first = producer.accepted().await;
    assert_eq!(
        (first.base_offset, first.record_count, first.unwritten.len()),
        (0, 3, 0)
    );
    let mixed = || {
        vec![
            event("3", "d"),
            event("2", "b2"),
            event("3", "d2"),
            record(None, "e"),
            event("1", "a2"),
        ]
    };
    producer.produce(batch(1, mixed())).await;
    let second = producer.accepted().await;
    assert_eq!((second.base_offset, second.record_count), (3, 2));
    let left_out = [repeated(1, 0, 1), repeated(2, 0, 3), repeated(4, 0, 0)];
    assert_eq!(second.unwritten, left_out, "also within the batch");
    producer
        .produce(batch(2, vec![event("3", "d3"), event("1", "a3")]))
        .await;
    let nothing = producer.accepted().await;
    assert_eq!((nothing.base_offset, nothing.record_count), (5, 0));
    assert_eq!(nothing.unwritten, [repeated(0, 0, 3), repeated(1, 0, 0)]);
    assert_eq!(all_of(&broker).await, ["a", "b", "c", "d", "e"]);

    // What was left out is told again, and sequences go on.
    let broker = broker.restart().await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer.produce(batch(1, mixed())).await;
    let again = v1::AcceptedBatch {
        is_duplicate: true,
        ..second
    };
    assert_eq!(producer.accepted().await, again);
    producer
        .produce(batch(2, vec![event("3", "d3"), event("1", "a3")]))
        .await;
    let again = v1::AcceptedBatch {
        is_duplicate: true,
        ..nothing
    };
    assert_eq!(producer.accepted().await, again);
    producer
        .produce(batch(3, vec![event("1", "a4"), event("4", "f")]))
        .await;
    let third = producer.accepted().await;
    assert_eq!((third.base_offset, third.record_count), (5, 1));
    assert_eq!(third.unwritten, [repeated(0, 0, 0)], "over a restart");
    assert_eq!(all_of(&broker).await, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn an_event_is_known_by_its_source_and_id_together() {
    let broker = TestBroker::start().await;
    create(&broker, "orders", 1, with_dedupe(HOUR_MS)).await;
    let of = |source: &str, id: &str, value: &str| v1::Record {
        headers: vec![header("ce-id", id), header("ce-source", source)],
        ..record(None, value)
    };
    let half = v1::Record {
        headers: vec![header("ce-id", "1")],
        ..record(None, "half")
    };
    let records = vec![
        of("ab", "c", "1"),
        of("a", "bc", "2"),
        half.clone(),
        half,
        of("", "c", "3"),
        of("", "c", "4"),
    ];
    publish(&broker, records).await;
    assert_eq!(all_of(&broker).await, ["1", "2", "half", "half", "3", "4"]);
    let positions = publish(&broker, vec![of("a", "bc", "5"), of("ab", "c", "6")]).await;
    assert_eq!(
        positions,
        [(0, 1, true), (0, 0, true)],
        "nothing is left to write"
    );
    let long = of("a", &"i".repeat(1_025), "7");
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![of("a", &"i".repeat(1_024), "8"), long],
        partition: None,
    };
    let refused = soon(broker.produce().publish(request)).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "records[1]")]);
}

#[tokio::test]
async fn an_event_is_told_its_first_place_from_any_partition() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "orders", 4, with_dedupe(HOUR_MS)).await;
    let keyed = |key: &str, id: &str| v1::Record {
        key: Some(key.to_owned().into()),
        ..event(id, key)
    };
    let first = publish(
        &broker,
        vec![keyed("a", "1"), keyed("b", "2"), keyed("c", "3")],
    )
    .await;
    let again = publish(
        &broker,
        vec![keyed("x", "3"), keyed("y", "4"), keyed("z", "1")],
    )
    .await;
    let (first_place, third_place) = (first[0], first[2]);
    assert_eq!(again[0], (third_place.0, third_place.1, true));
    assert_eq!(again[2], (first_place.0, first_place.1, true));
    assert!(!again[1].2, "{again:?}");
    assert_eq!(all_of(&broker).await.len(), 4);
}

#[tokio::test]
async fn the_window_can_be_set_and_taken_away() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let change = |window_ms: Option<u64>| v1::UpdateTopicRequest {
        name: "orders".to_owned(),
        config: Some(v1::TopicConfig {
            dedupe_window_ms: window_ms,
            ..v1::TopicConfig::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["dedupe_window_ms".to_owned()],
        }),
        ..v1::UpdateTopicRequest::default()
    };
    publish(&broker, vec![event("1", "before"), event("1", "before")]).await;
    soon(broker.topics().update_topic(change(Some(HOUR_MS))))
        .await
        .unwrap();
    publish(&broker, vec![event("1", "during"), event("1", "again")]).await;
    for window_ms in [999, 604_800_001] {
        let refused = soon(broker.topics().update_topic(change(Some(window_ms)))).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "config.dedupe_window_ms")]);
    }
    soon(broker.topics().update_topic(change(None)))
        .await
        .unwrap();
    publish(&broker, vec![event("1", "after"), event("1", "after")]).await;
    assert_eq!(
        all_of(&broker).await,
        ["before", "before", "during", "after", "after"]
    );
}

#[tokio::test]
async fn what_is_there_has_its_offsets_and_what_is_left_goes_behind_them() {
    use towpath_proto::v1::produce_batch::Expectation;

    let broker = TestBroker::start().await;
    create(&broker, "orders", 1, with_dedupe(HOUR_MS)).await;
    let expecting = |offset, sequence, records| towpath_proto::wire::ProduceBatch {
        expectation: Some(Expectation::ExpectedOffset(offset)),
        ..batch(sequence, records)
    };
    let mut producer = broker.producer_of("orders", 1).await;
    producer
        .produce(expecting(0, 0, vec![event("1", "a")]))
        .await;
    producer.accepted().await;
    producer
        .produce(expecting(0, 1, vec![event("1", "a"), event("2", "b")]))
        .await;
    assert_eq!(producer.accepted().await.record_count, 1);
    producer
        .produce(expecting(0, 2, vec![event("1", "a"), event("3", "c")]))
        .await;
    let (_, problem) = producer.refused().await;
    check_facts(&problem, &[("end_offset", "2"), ("expected_offset", "1")]);
    producer
        .produce(expecting(0, 3, vec![event("1", "a")]))
        .await;
    assert_eq!(producer.accepted().await.record_count, 0, "nothing is left");
    assert_eq!(all_of(&broker).await, ["a", "b"]);
}

#[tokio::test]
async fn a_batch_that_comes_again_is_known_though_the_window_was_taken_away() {
    let broker = TestBroker::start().await;
    create(&broker, "orders", 1, with_dedupe(HOUR_MS)).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let records = || vec![event("1", "a"), event("1", "a"), event("2", "b")];
    producer.produce(batch(0, records())).await;
    let first = producer.accepted().await;
    assert_eq!(first.unwritten.len(), 1);
    let request = v1::UpdateTopicRequest {
        name: "orders".to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["dedupe_window_ms".to_owned()],
        }),
        ..v1::UpdateTopicRequest::default()
    };
    soon(broker.topics().update_topic(request)).await.unwrap();
    producer.produce(batch(0, records())).await;
    let again = v1::AcceptedBatch {
        is_duplicate: true,
        ..first
    };
    assert_eq!(producer.accepted().await, again);
}

#[tokio::test]
async fn what_is_left_out_is_counted() {
    let broker = TestBroker::start_with(crate::scrape::scraped_config()).await;
    create(&broker, "orders", 1, with_dedupe(HOUR_MS)).await;
    publish(&broker, vec![event("1", "a"), event("1", "a")]).await;
    publish(&broker, vec![event("1", "a"), event("2", "b")]).await;
    let scrape = crate::scrape::Scrape::of(&broker).await;
    let of = |reason: &str| {
        let series = format!("towpath_append_left_out_records_total{{reason=\"{reason}\"}}");
        scrape.number(&series)
    };
    assert_eq!((of("repeated_event"), of("stale_entity_version")), (2, 0));
    assert_eq!(scrape.number("towpath_append_marked_records_total"), 0);
}
