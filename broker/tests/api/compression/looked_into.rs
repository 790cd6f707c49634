//! Compressed batches where the broker needs their records.

use tokio::task::JoinSet;

use super::*;
use crate::compaction::{compact_to, compacted};
use crate::consumer::{self, Consumer, dead, nack};
use crate::exact::histories::latest;
use crate::exact::{create, event, repeated, with_dedupe, with_versions};
use crate::gated_disk::{GateKeeper, gated_broker};
use crate::harness::batch_of;
use crate::subscription::letters;

/// A record of an event that compresses well.
fn padded_event(id: &str, value: &str) -> v1::Record {
    let mut record = event(id, value);
    record.headers.extend(padded(None, "").headers);
    record
}

#[tokio::test]
async fn a_subscription_delivers_single_records_of_compressed_batches() {
    for config in configs() {
        let broker = TestBroker::start_with(config).await;
        broker.create("orders", 1).await;
        consumer::create(&broker).await;
        let mut producer = broker.producer_of("orders", 1).await;
        for (sequence, compression) in (0..).zip(COMPRESSIONS) {
            let value = |number: u64| (3 * sequence + number).to_string();
            let records = [("a", 0), ("b", 1), ("a", 2)]
                .map(|(key, number)| padded(Some(key), &value(number)));
            producer
                .produce(batch(compression, sequence, records.into()))
                .await;
            producer.accepted().await;
        }
        let mut consumer = Consumer::open(&broker, 1).await;
        consumer.receive(6).await;
        assert!(consumer.settle((0, 0), nack("try again")).await);
        consumer.receive_values(&["0", "1", "4"]).await;
        assert!(consumer.settle((0, 0), dead("no such customer")).await);
        let found = letters(&broker, 4).await;
        let values: Vec<_> = found.iter().map(|(value, _)| value.as_str()).collect();
        assert_eq!(values, ["0", "2", "3", "5"], "it and those behind it");
        assert!(
            found
                .iter()
                .all(|(_, headers)| headers["padding"].len() == 100)
        );
        consumer.ack_all().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_filter_sees_the_records_of_compressed_batches() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    let mut wish = consumer::wish();
    if let Some(config) = &mut wish.config {
        config.filter = "key == 'b'".to_owned();
    }
    consumer::create_as(&broker, wish).await.unwrap();
    let mut producer = broker.producer_of("orders", 1).await;
    let records = ["a", "b", "c", "b"].map(|key| padded(Some(key), key));
    producer
        .produce(batch(Compression::Zstd { level: 3 }, 0, records.into()))
        .await;
    producer.accepted().await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["b", "b"]).await;
}

#[tokio::test]
async fn repeated_events_are_left_out_of_a_compressed_batch() {
    for compression in COMPRESSIONS {
        let broker = TestBroker::start().await;
        create(&broker, "orders", 1, with_dedupe(60_000)).await;
        let mut producer = broker.producer_of("orders", 1).await;
        let first = [padded_event("1", "a"), padded_event("2", "b")];
        let first = batch(compression, 0, first.into());
        producer.produce(first.clone()).await;
        assert_eq!(producer.accepted().await.unwritten, []);
        let second = ["2", "3", "1"].map(|id| padded_event(id, id));
        let second = batch(compression, 1, second.into());
        producer.produce(second.clone()).await;
        let accepted = producer.accepted().await;
        let left_out = [repeated(0, 0, 1), repeated(2, 0, 0)];
        assert_eq!(accepted.unwritten, left_out);
        assert_eq!((accepted.base_offset, accepted.record_count), (2, 1));
        let found = read(&broker, "orders", &Codec::ALL).await;
        assert_eq!(found[0].compressed_batch, first.compressed_batch, "whole");
        assert_eq!(found[1].codec, 0, "what is left is plain");
        assert_eq!(values(&found[1]), ["3"]);
        let broker = broker.restart().await;
        let mut producer = broker.producer_of("orders", 1).await;
        producer.produce(second).await;
        let again = producer.accepted().await;
        assert!(
            again.is_duplicate && again.unwritten == left_out,
            "{again:?}"
        );
    }
}

#[tokio::test]
async fn what_is_written_plain_has_room_in_the_journal_for_that() {
    let mut config = config_without_cache();
    config.engine.storage.journal_file_bytes = Some(1024 * 1024);
    for compression in COMPRESSIONS {
        let broker = TestBroker::start_with(config.clone()).await;
        create(&broker, "orders", 1, with_dedupe(60_000)).await;
        let mut producer = broker.producer_of("orders", 1).await;
        let long = "x".repeat(900_000);
        for sequence in 0..4 {
            // A few kilobytes as it comes, and two megabytes and a half without the one that is repeated.
            let ids = [0, 3 * sequence + 1, 3 * sequence + 2, 3 * sequence + 3];
            let records = ids.map(|id| event(&id.to_string(), &long));
            producer
                .produce(batch(compression, sequence, records.into()))
                .await;
            let accepted = producer.accepted().await;
            let new = if sequence == 0 { 4 } else { 3 };
            assert_eq!(accepted.record_count, new, "batch {sequence}");
        }
        broker.stop().await;
    }
}

#[tokio::test]
async fn keys_of_a_compressed_batch_have_versions_and_are_found() {
    let broker = TestBroker::start().await;
    create(&broker, "accounts", 1, with_versions()).await;
    let mut producer = broker.producer_of("accounts", 1).await;
    let records = ["1", "2"].map(|value| padded(Some("alice"), value));
    let compressed = batch(Compression::Lz4, 0, records.into());
    let expecting = |version, sequence| ProduceBatch {
        sequence,
        expectation: Some(v1::produce_batch::Expectation::ExpectedVersion(version)),
        ..compressed.clone()
    };
    producer.produce(expecting(0, 0)).await;
    producer.accepted().await;
    let found = latest(&broker, "accounts", "alice").await;
    assert_eq!(found.as_deref(), Some("2"));
    producer.produce(expecting(1, 1)).await;
    producer.refused().await;
    producer.produce(expecting(2, 2)).await;
    assert_eq!(producer.accepted().await.base_offset, 2);
    let mixed = ["alice", "bob"].map(|key| padded(Some(key), "1"));
    producer
        .produce(ProduceBatch {
            expectation: Some(v1::produce_batch::Expectation::ExpectedVersion(4)),
            ..batch(Compression::Lz4, 3, mixed.into())
        })
        .await;
    let (refused, problem) = producer.refused().await;
    assert!(refused.is_sequence_spent, "not one key: {problem}");
}

#[tokio::test]
async fn compaction_leaves_records_out_of_a_compressed_batch_and_compresses_the_rest() {
    for compression in COMPRESSIONS {
        let broker = TestBroker::start_with(config_without_cache()).await;
        create(&broker, "orders", 1, compacted()).await;
        let mut producer = broker.producer_of("orders", 1).await;
        let keyed = |keys: &[&str], value: &str| {
            let records = keys.iter().map(|key| padded(Some(key), value));
            records.collect::<Vec<_>>()
        };
        let batches = [
            keyed(&["a", "b", "c", "d"], "first"),
            keyed(&["e", "f"], "whole"),
            keyed(&["b"], "second"),
        ];
        for (sequence, records) in (0..).zip(batches) {
            producer
                .produce(batch(compression, sequence, records))
                .await;
            producer.accepted().await;
        }
        producer
            .produce(ProduceBatch {
                batch: encode(vec![padded(Some("c"), "last")]).into(),
                ..batch_of(3, &[])
            })
            .await;
        producer.accepted().await;
        compact_to(&broker, 6).await;
        let codec = compression.codec();
        let number = i32::from(codec.number());
        let found = read(&broker, "orders", &[codec]).await;
        let codecs: Vec<_> = found.iter().map(|it| it.codec).collect();
        assert_eq!(codecs, [number, number, number, 0]);
        let left = decompressed(&found[0], codec);
        assert_eq!(left.offset_deltas, [0, 3], "a and d");
        assert_eq!(values(&left), ["first"; 2]);
        assert_eq!(values(&decompressed(&found[1], codec)), ["whole"; 2]);
        let plain = read(&broker, "orders", &[]).await;
        assert_eq!(plain[0], left);
        let broker = broker.restart().await;
        assert_eq!(read(&broker, "orders", &[]).await, plain);
    }
}

#[tokio::test]
async fn a_batch_that_does_not_count_its_records_takes_memory_for_those_that_there_are() {
    const MIB: usize = 1024 * 1024;
    let mut config = scraped_config();
    config.limits.in_flight_bytes_max = 9 * MIB;
    config.limits.in_flight_bytes_per_stream_max = 9 * MIB;
    let (broker, _disk, gate) = gated_broker(config).await;
    broker.create("plain", 1).await;
    create(&broker, "orders", 1, with_versions()).await;
    let mut plain = broker.producer_of("plain", 1).await;
    let mut uncounted = broker.producer_of("orders", 2).await;
    gate.close();
    let value = "x".repeat(MIB - 1_000);
    plain.produce(batch_of(0, &[&value, &value])).await;
    gate.held().await;
    // As long as it is there could be tens of thousands of records in it.
    let records = ["a", "b", "c"].map(|key| padded(Some(key), &"y".repeat(100_000)));
    let sent = batch(Compression::Lz4, 0, records.into());
    uncounted
        .produce(ProduceBatch {
            record_count: 0,
            ..sent
        })
        .await;
    let in_flight = "towpath_append_in_flight_records";
    Scrape::until(&broker, |it| it.number(in_flight) == 5).await;
    gate.open();
    plain.accepted().await;
    assert_eq!(uncounted.accepted().await.record_count, 3);
}

/// A broker whose read pool is held up by readers of what is on disk.
async fn held_pool(config: Config) -> (TestBroker, GateKeeper, JoinSet<()>) {
    let (broker, _disk, gate) = gated_broker(config).await;
    broker.create("cold", 1).await;
    broker.publish("cold", 0, &["a", "b"]).await;
    gate.close_reading();
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let mut fetch = broker.fetch();
        readers.spawn(async move {
            // It takes a while until they are read from the disk.
            loop {
                let sources = vec![source("cold")];
                let request = v1::FetchRequest {
                    sources,
                    ..v1::FetchRequest::default()
                };
                let mut told = fetch.fetch(request).await.unwrap().into_inner();
                while told.message().await.unwrap().is_some() {}
            }
        });
    }
    gate.held_reading(2).await;
    (broker, gate, readers)
}

/// A compressed batch of so many records of so many bytes, which does not say how many.
fn uncounted(record_count: usize, value_bytes: usize) -> ProduceBatch {
    let value = "y".repeat(value_bytes);
    let records = (0..record_count).map(|number| record(Some(&number.to_string()), &value));
    ProduceBatch {
        record_count: 0,
        ..batch(Compression::Lz4, 0, records.collect())
    }
}

#[tokio::test]
async fn a_large_compressed_batch_holds_up_nobody_while_it_is_decompressed() {
    let (broker, gate, _readers) = held_pool(config_without_cache()).await;
    create(&broker, "orders", 1, with_versions()).await;
    let mut large = broker.producer_of("orders", 1).await;
    let mut small = broker.producer_of("orders", 2).await;
    large.produce(uncounted(3, 400_000)).await;
    let counted = padded(Some("a"), "b");
    small
        .produce(batch(Compression::Lz4, 0, vec![counted]))
        .await;
    assert_eq!(small.accepted().await.base_offset, 0, "it is served before");
    gate.open_reading();
    let accepted = large.accepted().await;
    assert_eq!((accepted.base_offset, accepted.record_count), (1, 3));
}

#[tokio::test]
async fn batches_that_turn_out_to_take_more_memory_than_there_is_do_not_wait_for_each_other() {
    let mut config = Config {
        admin_listen: scraped_config().admin_listen,
        ..config_without_cache()
    };
    config.limits.in_flight_bytes_max = 9 * 1024 * 1024;
    config.limits.in_flight_bytes_per_stream_max = 9 * 1024 * 1024;
    let (broker, gate, _readers) = held_pool(config).await;
    create(&broker, "orders", 1, with_versions()).await;
    let mut producers = [
        broker.producer_of("orders", 1).await,
        broker.producer_of("orders", 2).await,
    ];
    // Each takes half of the memory as it is, and all of it with what is looked at.
    for producer in &producers {
        producer.produce(uncounted(16_000, 220)).await;
    }
    let in_flight = "towpath_append_in_flight_bytes";
    Scrape::until(&broker, |it| it.number(in_flight) > 7_000_000).await;
    gate.open_reading();
    for producer in &mut producers {
        assert_eq!(producer.accepted().await.record_count, 16_000);
    }
}
