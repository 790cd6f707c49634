//! Compressed batches: who gets them as they are, who gets them plain, and what is not taken.

mod looked_into;
mod refused;

use prost::Message;
use towpath_broker::Config;
use towpath_proto::compression::{Codec, Compression, compress, decompress};
use towpath_proto::limits::BATCH_BYTES_MAX;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response as Fetched;
use towpath_proto::wire::join_response::Response as Joined;
use towpath_proto::wire::{FetchedBatch, ProduceBatch};

use crate::group_member::{self, Member};
use crate::harness::{TestBroker, batch_of, config, config_without_cache, record, source, values};
use crate::scrape::{Scrape, scraped_config};

const COMPRESSIONS: [Compression; 2] = [Compression::Lz4, Compression::Zstd { level: 3 }];

/// From memory and from disk.
fn configs() -> [Config; 2] {
    [config(), config_without_cache()]
}

/// A record that compresses well.
fn padded(key: Option<&str>, value: &str) -> v1::Record {
    v1::Record {
        headers: vec![v1::Header {
            name: "padding".to_owned(),
            value: vec![b'-'; 100].into(),
        }],
        ..record(key, value)
    }
}

fn encode(records: Vec<v1::Record>) -> Vec<u8> {
    v1::RecordBatch { records }.encode_to_vec()
}

/// A compressed batch for partition 0 under handle 1.
fn batch(compression: Compression, sequence: u64, records: Vec<v1::Record>) -> ProduceBatch {
    let record_count = u32::try_from(records.len()).unwrap();
    let compressed_batch = compress(&encode(records), compression).expect("smaller");
    ProduceBatch {
        record_count,
        crc: Some(crc32fast::hash(&compressed_batch)),
        codec: compression.codec().number().into(),
        compressed_batch,
        ..batch_of(sequence, &[])
    }
}

fn padded_batch(compression: Compression, sequence: u64, values: &[&str]) -> ProduceBatch {
    let records = values.iter().map(|value| padded(None, value));
    batch(compression, sequence, records.collect())
}

/// Everything of a topic, for a reader who accepts these codecs.
async fn read(broker: &TestBroker, topic: &str, accepted: &[Codec]) -> Vec<FetchedBatch> {
    let request = v1::FetchRequest {
        sources: vec![source(topic)],
        accepted_codecs: numbers(accepted),
        ..v1::FetchRequest::default()
    };
    let messages = broker.reader(request).await.rest().await;
    let batches = messages.into_iter().filter_map(|message| match message {
        Fetched::Batch(batch) => Some(batch),
        _ => None,
    });
    batches.collect()
}

fn numbers(codecs: &[Codec]) -> Vec<i32> {
    codecs.iter().map(|it| i32::from(it.number())).collect()
}

/// The batch as a reader has it that decompresses.
fn decompressed(batch: &FetchedBatch, codec: Codec) -> FetchedBatch {
    assert_eq!(batch.codec, i32::from(codec.number()), "codec");
    assert!(batch.batch.is_empty(), "one of the two");
    let crc = crc32fast::hash(&batch.compressed_batch);
    assert_eq!(batch.crc, crc, "of the bytes that travel");
    let plain = decompress(codec, &batch.compressed_batch, BATCH_BYTES_MAX).expect("whole");
    FetchedBatch {
        crc: crc32fast::hash(&plain),
        codec: 0,
        batch: plain,
        compressed_batch: bytes::Bytes::new(),
        ..batch.clone()
    }
}

#[tokio::test]
async fn who_names_the_codec_gets_what_was_sent_and_others_get_it_plain() {
    for config in configs() {
        let mut broker = TestBroker::start_with(config).await;
        broker.create("orders", 1).await;
        let mut producer = broker.producer_of("orders", 1).await;
        let mut sent = Vec::new();
        for (sequence, compression) in (0..).zip(COMPRESSIONS) {
            let batch = padded_batch(compression, sequence, &["a", "b"]);
            producer.produce(batch.clone()).await;
            let accepted = producer.accepted().await;
            assert_eq!(accepted.base_offset, 2 * sequence);
            assert_eq!(accepted.record_count, 2);
            sent.push(batch);
        }
        // Sent again it is the same batch.
        producer.produce(sent[0].clone()).await;
        assert!(producer.accepted().await.is_duplicate);
        drop(producer);
        for _ in 0..2 {
            let both = read(&broker, "orders", &Codec::ALL).await;
            let plain = read(&broker, "orders", &[]).await;
            assert_eq!((both.len(), plain.len()), (2, 2));
            for (number, compression) in COMPRESSIONS.into_iter().enumerate() {
                let codec = compression.codec();
                let stored = &both[number];
                assert_eq!(stored.compressed_batch, sent[number].compressed_batch);
                assert_eq!(values(&decompressed(stored, codec)), ["a", "b"]);
                assert_eq!(plain[number], decompressed(stored, codec));
                let one = read(&broker, "orders", &[codec]).await;
                assert_eq!(one[number], *stored, "its codec");
                assert_eq!(one[1 - number], plain[1 - number], "the other codec");
            }
            broker = broker.restart().await;
        }
        broker.stop().await;
    }
}

#[tokio::test]
async fn codecs_that_nobody_knows_mean_nothing() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer
        .produce(padded_batch(Compression::Lz4, 0, &["a"]))
        .await;
    producer.accepted().await;
    let request = v1::FetchRequest {
        sources: vec![source("orders")],
        accepted_codecs: vec![0, 7, -1, 2],
        ..v1::FetchRequest::default()
    };
    let mut reader = broker.reader(request).await;
    assert_eq!(values(&reader.batch().await), ["a"]);
}

#[tokio::test]
async fn members_of_a_group_get_batches_as_they_ask() {
    for config in configs() {
        let broker = TestBroker::start_with(config).await;
        broker.create("orders", 1).await;
        let mut producer = broker.producer_of("orders", 1).await;
        for (sequence, compression) in (0..).zip(COMPRESSIONS) {
            let batch = padded_batch(compression, sequence, &["a", "b", "c"]);
            producer.produce(batch).await;
            producer.accepted().await;
        }
        for accepted in [&[][..], &Codec::ALL] {
            let group = format!("group-{}", accepted.len());
            let wish = v1::JoinGroup {
                group,
                accepted_codecs: numbers(accepted),
                ..group_member::wish(1)
            };
            let mut member = Member::try_join(&broker, wish).await.unwrap();
            for compression in COMPRESSIONS {
                let found = loop {
                    if let Joined::Batch(batch) = member.next().await {
                        break batch;
                    }
                };
                let plain = match accepted {
                    [] => found,
                    _ => decompressed(&found, compression.codec()),
                };
                assert_eq!(values(&plain), ["a", "b", "c"]);
            }
        }
    }
}

#[tokio::test]
async fn large_batches_are_decompressed_one_by_one_for_a_reader() {
    for config in configs() {
        let broker = TestBroker::start_with(config).await;
        broker.create("orders", 1).await;
        let mut producer = broker.producer_of("orders", 1).await;
        let value = "z".repeat(1024 * 1024);
        for sequence in 0..12 {
            let values = [&*value, &value, &value];
            let batch = padded_batch(Compression::Zstd { level: 1 }, sequence, &values);
            assert!(batch.compressed_batch.len() < 8_000, "a small one");
            producer.produce(batch).await;
            producer.accepted().await;
        }
        let plain = read(&broker, "orders", &[]).await;
        let counts: Vec<_> = plain.iter().map(|batch| values(batch).len()).collect();
        assert_eq!(counts, [3; 12]);
    }
}

#[tokio::test]
async fn compressed_bytes_are_counted_by_codec() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let sent = padded_batch(Compression::Lz4, 0, &["a", "b"]);
    producer.produce(sent.clone()).await;
    producer.accepted().await;
    read(&broker, "orders", &[]).await;
    read(&broker, "orders", &[Codec::Lz4]).await;
    let scrape = Scrape::of(&broker).await;
    let of = |name: &str, codec: &str| {
        scrape.number(&format!("towpath_{name}_bytes_total{{codec=\"{codec}\"}}"))
    };
    let plain_bytes = encode(vec![padded(None, "a"), padded(None, "b")]).len() as u64;
    let compressed_bytes = sent.compressed_batch.len() as u64;
    assert_eq!(of("append_compressed", "lz4"), compressed_bytes);
    assert_eq!(of("append_decompressed", "lz4"), plain_bytes);
    assert_eq!(of("deliver_decompressed", "lz4"), plain_bytes, "once");
    assert_eq!(of("append_compressed", "zstd"), 0);
    let bytes = scrape.number("towpath_append_bytes_total{topic=\"orders\"}");
    assert_eq!(bytes, compressed_bytes, "as they are stored");
    Scrape::until(&broker, |it| {
        it.number("towpath_append_in_flight_bytes") == 0
    })
    .await;
}
