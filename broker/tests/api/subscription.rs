//! Durable subscriptions over the wire.

mod caught_up;
mod filter;
mod pending;
mod repeat;
mod unreadable;

use std::collections::BTreeMap;

use towpath_proto::batch::Records;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::receive_request::Request;

use crate::consumer::{
    Consumer, ack, client, create, create_as, dead, get, nack, publish, records_of, settlement,
    wish,
};
use crate::harness::{
    TestBroker, check_facts, config_without_cache, position, refusal, soon, source,
};
use crate::trim::{before, trim};

#[tokio::test]
async fn every_record_is_delivered_and_gone_when_it_is_acknowledged() {
    let broker = TestBroker::start().await;
    broker.create("orders", 4).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    publish(&broker, &[("a", "4")]).await;
    consumer.ack_all().await;
    consumer.receive(1).await;
    assert_eq!(consumer.values(), ["4"], "with the key free again");
    consumer.ack_all().await;
    let shown = get(&broker).await;
    let lag: u64 = shown.partitions.iter().map(|it| it.lag_records).sum();
    assert_eq!((lag, shown.consumer_count), (0, 1));
    let broker = broker.restart().await;
    publish(&broker, &[("a", "5")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    assert_eq!(consumer.values(), ["5"]);
    broker.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_after_a_restart_without_an_attempt() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(4).await;
    let old = consumer.has.clone();
    assert!(consumer.settle((0, 1), ack()).await);
    assert!(consumer.settle((0, 2), nack("no")).await);
    let broker = broker.restart().await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    assert_eq!(consumer.values(), ["1", "3", "4"]);
    let attempts: Vec<_> = consumer.has.values().map(|it| it.attempt).collect();
    assert_eq!(
        attempts,
        [1, 2, 1],
        "the failure is remembered, and counts alone"
    );
    let late = consumer
        .settle_of((0, 0), old[&(0, 0)].delivery, ack())
        .await;
    assert!(!late, "the broker that delivered it is gone");
    assert!(consumer.settle((0, 0), ack()).await, "it has the new lease");
    broker.stop().await;
}

#[tokio::test]
async fn behind_a_failed_record_its_key_waits() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("a", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    assert!(consumer.settle((0, 0), nack("no")).await);
    // The one behind it is taken back.
    consumer.receive_values(&["1", "2"]).await;
    assert!(consumer.settle((0, 0), ack()).await);
    consumer.receive_values(&["2", "3"]).await;
    broker.stop().await;
}

#[tokio::test]
async fn what_a_consumer_leaves_behind_goes_to_others() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2")]).await;
    let mut first = Consumer::open(&broker, 1).await;
    first.receive(2).await;
    first.send(Request::Leave(v1::LeaveReceive {})).await;
    assert!(first.try_next().await.unwrap().is_none(), "the stream ends");
    let mut second = Consumer::open(&broker, 2).await;
    second.receive(2).await;
    drop(second);
    let mut third = Consumer::open(&broker, 3).await;
    third.receive(2).await;
    let attempts: Vec<_> = third.has.values().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 1], "nobody had begun with them");
    broker.stop().await;
}

#[tokio::test]
async fn large_batches_are_delivered_in_parts_and_whole() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    create_as(
        &broker,
        v1::CreateSubscriptionRequest {
            config: Some(v1::SubscriptionConfig {
                mode: v1::SubscriptionMode::Shared.into(),
                ..v1::SubscriptionConfig::default()
            }),
            ..wish()
        },
    )
    .await
    .unwrap();
    let mut producer = broker.producer_of("orders", 1).await;
    let large = "x".repeat(300_000);
    for sequence in 0..3 {
        let batch = crate::harness::batch_of(sequence, &[&large, &large, "small"]);
        producer.produce(batch).await;
        producer.accepted().await;
    }
    let mut consumer = Consumer::try_open(&broker, 1).await.unwrap();
    consumer.credit(2).await;
    consumer.receive(2).await;
    consumer.credit(7).await;
    consumer.receive(9).await;
    let lengths: Vec<_> = consumer.values().iter().map(|it| it.len()).collect();
    assert_eq!(lengths, [300_000, 300_000, 5].repeat(3));
    consumer.ack_all().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_call_receives_and_another_one_settles() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut client = client(&broker);
    let pull = |records_max| v1::PullRequest {
        subscription: "billing".to_owned(),
        records_max,
        wait_ms: 20_000,
    };
    let pulled = soon(client.pull(pull(2))).await.unwrap().into_inner();
    let had: Vec<_> = pulled.deliveries.iter().flat_map(records_of).collect();
    let places: Vec<_> = had.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [(0, 0), (0, 1)]);
    let rest = soon(client.pull(pull(10))).await.unwrap().into_inner();
    let rest: Vec<_> = rest.deliveries.iter().flat_map(records_of).collect();
    assert_eq!(rest[0].1.value, "3", "the others are taken");
    let settle = |settlements| v1::SettleRequest {
        subscription: "billing".to_owned(),
        settlements,
    };
    let settlements = vec![
        settlement((0, 0), had[0].1.delivery, ack()),
        settlement((0, 1), had[1].1.delivery, nack("no")),
        settlement((0, 2), had[1].1.delivery, ack()),
    ];
    let settled = soon(client.settle(settle(settlements))).await.unwrap();
    let expired: Vec<_> = settled.into_inner().results;
    let expired: Vec<_> = expired.iter().map(|it| it.expired.len()).collect();
    assert_eq!(expired, [0, 0, 1], "the last one is of another delivery");
    let again = soon(client.pull(pull(10))).await.unwrap().into_inner();
    let again: Vec<_> = again.deliveries.iter().flat_map(records_of).collect();
    assert_eq!((again[0].1.value.as_str(), again[0].1.attempt), ("2", 2));
    broker.stop().await;
}

#[tokio::test]
async fn a_subscription_that_moves_back_delivers_again() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    assert!(consumer.settle((0, 0), ack()).await);
    assert!(consumer.settle((0, 1), nack("no")).await);
    let seek = |validate_only| v1::SeekSubscriptionRequest {
        name: "billing".to_owned(),
        partitions: Vec::new(),
        position: Some(position(Position::Beginning(v1::Beginning {}))),
        validate_only,
    };
    let mut client = client(&broker);
    let dry = soon(client.seek_subscription(seek(true))).await.unwrap();
    let dry = dry.into_inner().partitions;
    assert_eq!(
        (dry[0].from_offset, dry[0].to_offset, dry[0].lag_records),
        (2, 0, 3)
    );
    soon(client.seek_subscription(seek(false))).await.unwrap();
    consumer.receive(3).await;
    let attempts: Vec<_> = consumer.has.values().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 1, 1], "attempts begin anew");
    consumer.ack_all().await;
    let broker = broker.restart().await;
    assert_eq!(get(&broker).await.partitions[0].floor_offset, 3);
    broker.stop().await;
}

#[tokio::test]
async fn nothing_is_delivered_while_a_subscription_is_paused() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let mut client = client(&broker);
    let name = || "billing".to_owned();
    let pause = v1::PauseSubscriptionRequest { name: name() };
    soon(client.pause_subscription(pause)).await.unwrap();
    let broker = broker.restart().await;
    let mut client = self::client(&broker);
    let mut consumer = Consumer::open(&broker, 1).await;
    publish(&broker, &[("a", "1")]).await;
    let pull = v1::PullRequest {
        subscription: name(),
        records_max: 1,
        wait_ms: 0,
    };
    let pulled = soon(client.pull(pull)).await.unwrap().into_inner();
    assert_eq!(pulled.deliveries, []);
    assert!(get(&broker).await.is_paused);
    let resume = v1::ResumeSubscriptionRequest { name: name() };
    soon(client.resume_subscription(resume)).await.unwrap();
    consumer.receive(1).await;
    broker.stop().await;
}

#[tokio::test]
async fn records_that_were_trimmed_are_passed_over() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(&broker, &[("a", "1")]).await;
    publish(&broker, &[("b", "2")]).await;
    let cut = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(1))
    };
    trim(&broker, cut).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    assert_eq!(consumer.values(), ["2"]);
    consumer.ack_all().await;
    let shown = get(&broker).await;
    assert_eq!(shown.partitions[0].lag_records, 0);
    assert_eq!(shown.partitions[0].floor_offset, 2);
    broker.stop().await;
}

#[tokio::test]
async fn an_equal_wish_is_answered_and_another_one_refused_by_its_differences() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let first = create(&broker).await;
    let created = soon(client(&broker).create_subscription(wish())).await;
    let created = created.unwrap().into_inner();
    assert!(created.existed);
    assert_eq!(
        created.subscription.unwrap().subscription_id,
        first.subscription_id
    );
    let other = v1::CreateSubscriptionRequest {
        config: Some(v1::SubscriptionConfig {
            attempts_max: Some(3),
            ..wish().config.unwrap()
        }),
        ..wish()
    };
    let problem = refusal(
        create_as(&broker, other).await,
        ErrorReason::SubscriptionExists,
    );
    check_facts(&problem, &[("differing", "attempts_max")]);
    let unset = v1::CreateSubscriptionRequest {
        start: None,
        name: "email".to_owned(),
        ..wish()
    };
    publish(&broker, &[("a", "1")]).await;
    let problem = refusal(create_as(&broker, unset).await, ErrorReason::StartUnset);
    check_facts(
        &problem,
        &[("beginning_records", "1"), ("end_records", "0")],
    );
    broker.stop().await;
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_by_etag() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let before = create(&broker).await;
    let mut client = client(&broker);
    let update = |etag: &str| v1::UpdateSubscriptionRequest {
        name: "billing".to_owned(),
        config: Some(v1::SubscriptionConfig {
            attempts_max: Some(3),
            ..v1::SubscriptionConfig::default()
        }),
        update_mask: None,
        etag: etag.to_owned(),
        validate_only: false,
    };
    let updated = soon(client.update_subscription(update(&before.etag))).await;
    let updated = updated.unwrap().into_inner().subscription.unwrap();
    let config = updated.config.unwrap();
    assert_eq!(config.attempts_max, Some(3));
    assert_eq!(config.backoff_max_ms, Some(1), "others stay");
    let again = soon(client.update_subscription(update(&before.etag))).await;
    refusal(again, ErrorReason::EtagMismatch);
    let broker = broker.restart().await;
    let shown = get(&broker).await;
    assert_eq!(shown.config.unwrap().attempts_max, Some(3));
    assert_eq!(shown.etag, updated.etag);
    broker.stop().await;
}

#[tokio::test]
async fn consumers_are_told_when_their_subscription_is_deleted() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    let delete = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    soon(client(&broker).delete_subscription(delete))
        .await
        .unwrap();
    refusal(consumer.try_next().await, ErrorReason::SubscriptionNotFound);
    let gone = Consumer::try_open(&broker, 1).await.map(|_| ());
    refusal(gone, ErrorReason::SubscriptionNotFound);
    let first = create(&broker).await;
    assert_eq!(first.subscription_id, 2, "numbers are never used again");
    broker.stop().await;
}

#[tokio::test]
async fn an_exclusive_subscription_refuses_who_does_not_wait() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let exclusive = v1::CreateSubscriptionRequest {
        config: Some(v1::SubscriptionConfig {
            mode: v1::SubscriptionMode::Exclusive.into(),
            ..v1::SubscriptionConfig::default()
        }),
        ..wish()
    };
    create_as(&broker, exclusive).await.unwrap();
    publish(&broker, &[("a", "1")]).await;
    let mut first = Consumer::open(&broker, 1).await;
    first.receive(1).await;
    let busy = Consumer::try_open(&broker, 99).await.map(|_| ());
    refusal(busy, ErrorReason::SubscriptionBusy);
    let mut second = Consumer::open(&broker, 2).await;
    let shown = get(&broker).await;
    let active: Vec<_> = shown.consumers.iter().map(|it| it.is_active).collect();
    assert_eq!(active, [true, false]);
    first.send(Request::Leave(v1::LeaveReceive {})).await;
    second.receive(1).await;
    broker.stop().await;
}

/// The dead letters so far, as values with their headers, when there are so many.
pub(crate) async fn letters(
    broker: &TestBroker,
    count: usize,
) -> Vec<(String, BTreeMap<String, String>)> {
    let request = v1::FetchRequest {
        sources: vec![source("billing.dlq")],
        follow: true,
        ..v1::FetchRequest::default()
    };
    let mut reader = broker.reader(request).await;
    let mut letters = Vec::new();
    while letters.len() < count {
        let batch = reader.batch().await;
        for record in Records::new(&batch.batch) {
            let record = record.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers();
            let headers = headers.map(|(name, value)| (name.to_owned(), text(value)));
            let value = text(record.value().unwrap_or_default());
            letters.push((value, headers.collect()));
        }
    }
    letters
}

#[tokio::test]
async fn a_dead_letter_brings_its_record_whole_and_those_behind_it() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    let created = create(&broker).await;
    assert_eq!(created.dead_letter_topic, "billing.dlq");
    publish(&broker, &[("a", "1"), ("b", "2"), ("a", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    assert!(consumer.settle((0, 0), nack("try again")).await);
    consumer.receive_values(&["1", "2"]).await;
    assert!(consumer.settle((0, 0), dead("no such customer")).await);
    let found = letters(&broker, 2).await;
    let values: Vec<_> = found.iter().map(|(value, _)| value.as_str()).collect();
    assert_eq!(values, ["1", "3"]);
    let header = |letter: usize, name: &str| found[letter].1.get(name).map(String::as_str);
    for (name, value) in [
        ("towpath-dlq-kind", "dead"),
        ("towpath-dlq-subscription", "billing"),
        ("towpath-dlq-topic", "orders"),
        ("towpath-dlq-partition", "0"),
        ("towpath-dlq-offset", "0"),
        ("towpath-dlq-attempts", "2"),
        ("towpath-dlq-reason", "no such customer"),
    ] {
        assert_eq!(header(0, name), Some(value), "{name}");
    }
    assert_eq!(header(1, "towpath-dlq-kind"), Some("parked"));
    assert_eq!(header(1, "towpath-dlq-reason"), None);
    let broker = broker.restart().await;
    publish(&broker, &[("a", "4"), ("c", "5")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["2", "5"]).await;
    assert_eq!(
        letters(&broker, 3).await[2].0,
        "4",
        "the key is parked still"
    );
    consumer.ack_all().await;
    let partition = &get(&broker).await.partitions[0];
    assert_eq!((partition.lag_records, partition.parked_keys), (0, 1));
    broker.stop().await;
}

#[tokio::test]
async fn dead_letters_that_would_come_back_are_refused() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let named = |name: &str, topic: &str| v1::CreateSubscriptionRequest {
        name: name.to_owned(),
        topic: topic.to_owned(),
        ..wish()
    };
    create_as(&broker, named("second", "billing.dlq"))
        .await
        .unwrap();
    for name in ["billing", "second"] {
        let delete = v1::DeleteSubscriptionRequest {
            name: name.to_owned(),
            ..v1::DeleteSubscriptionRequest::default()
        };
        soon(client(&broker).delete_subscription(delete))
            .await
            .unwrap();
    }
    let own = create_as(&broker, named("billing", "billing.dlq")).await;
    refusal(own, ErrorReason::InvalidArgument);
    create_as(&broker, named("second", "billing.dlq"))
        .await
        .unwrap();
    let round = create_as(&broker, named("billing", "second.dlq")).await;
    refusal(round, ErrorReason::InvalidArgument);
    broker.stop().await;
}

#[tokio::test]
async fn a_call_takes_no_more_than_it_returns() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let values: Vec<String> = (0..1_000).map(|it| it.to_string()).collect();
    let records: Vec<_> = values.iter().map(|it| (it.as_str(), it.as_str())).collect();
    publish(&broker, &records).await;
    let request = v1::PullRequest {
        subscription: "billing".to_owned(),
        records_max: 1_000,
        wait_ms: 10_000,
    };
    let pulled = soon(client(&broker).pull(request))
        .await
        .unwrap()
        .into_inner();
    let returned = pulled.deliveries.iter().flat_map(records_of).count() as u64;
    assert!(returned > 0, "there are some");
    let shown = get(&broker).await;
    assert_eq!(
        shown.partitions[0].in_flight_records, returned,
        "and no others"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_range_may_end_where_numbers_do() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let request = v1::SettleRequest {
        subscription: "billing".to_owned(),
        settlements: vec![settlement((0, u64::MAX - 1), 1, ack())],
    };
    let settled = soon(client(&broker).settle(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(settled.results[0].expired.len(), 1, "nobody has it");
    broker.stop().await;
}
