//! Compressed batches that are not what they should be.

use bytes::Bytes;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::*;
use crate::harness::{all_values, check_facts, encode as plain};

/// Sends a batch as sequence 1 that is refused for good, and shows that 2 is next.
async fn check_final(batch: ProduceBatch, reason: ErrorReason, field: &str) -> Problem {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    producer
        .produce(padded_batch(Compression::Lz4, 0, &["before"]))
        .await;
    producer.accepted().await;
    producer
        .produce(ProduceBatch {
            sequence: 1,
            ..batch
        })
        .await;
    producer.produce(batch_of(2, &["after"])).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), reason, "{problem}");
    check_facts(&problem, &[("field", field)]);
    assert!(refused.is_sequence_spent, "{problem}");
    assert_eq!(producer.accepted().await.sequence, 2, "the next one");
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["before", "after"], "records");
    problem
}

async fn check_invalid(batch: ProduceBatch, field: &str) -> Problem {
    check_final(batch, ErrorReason::InvalidArgument, field).await
}

#[tokio::test]
async fn a_batch_comes_in_one_field_with_a_codec_that_goes_with_it() {
    let right = || padded_batch(Compression::Lz4, 1, &["a"]);
    let both = ProduceBatch {
        batch: plain(&["a"]),
        crc: None,
        ..right()
    };
    let problem = check_invalid(both, "batch").await;
    assert!(problem.hint().is_some(), "{problem}");
    let without_codec = ProduceBatch {
        codec: 0,
        ..right()
    };
    check_invalid(without_codec, "codec").await;
    let unknown = ProduceBatch {
        codec: 9,
        ..right()
    };
    let problem = check_invalid(unknown, "codec").await;
    assert!(problem.hint().unwrap().contains("zstd (2)"), "{problem}");
    let without_bytes = ProduceBatch {
        codec: 2,
        ..batch_of(1, &["a"])
    };
    check_invalid(without_bytes, "compressed_batch").await;
    let empty = ProduceBatch {
        compressed_batch: Bytes::new(),
        crc: None,
        ..right()
    };
    check_invalid(empty, "compressed_batch").await;
}

#[tokio::test]
async fn what_cannot_be_decompressed_is_refused() {
    for compression in COMPRESSIONS {
        let right = padded_batch(compression, 1, &["a", "b"]);
        let with = |bytes: Bytes| ProduceBatch {
            compressed_batch: bytes,
            crc: None,
            ..right.clone()
        };
        let whole = right.compressed_batch.clone();
        let cut = whole.slice(..whole.len() - 1);
        check_invalid(with(cut), "compressed_batch").await;
        let twice = [&whole[..], &whole].concat();
        check_invalid(with(twice.into()), "compressed_batch").await;
        let noise = Bytes::from_static(b"neither this nor that");
        check_invalid(with(noise), "compressed_batch").await;
        let no_record = compress(&[0xff; 100], compression).unwrap();
        check_invalid(with(no_record), "batch").await;
        let wrong_count = ProduceBatch {
            record_count: 3,
            ..right
        };
        check_invalid(wrong_count, "record_count").await;
    }
}

#[tokio::test]
async fn a_bomb_is_refused_with_the_bound() {
    for compression in COMPRESSIONS {
        let bomb = ProduceBatch {
            codec: compression.codec().number().into(),
            compressed_batch: compress(&vec![0; 256 << 20], compression).unwrap(),
            ..batch_of(1, &[])
        };
        let problem = check_final(bomb, ErrorReason::BatchTooLarge, "batch").await;
        let max = BATCH_BYTES_MAX.to_string();
        check_facts(&problem, &[("size_bytes_max", &max)]);
    }
}

#[tokio::test]
async fn a_wrong_crc_of_the_compressed_bytes_may_heal() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let right = padded_batch(Compression::Lz4, 0, &["a"]);
    // That of the records before they were compressed.
    let wrong = ProduceBatch {
        crc: Some(crc32fast::hash(&encode(vec![padded(None, "a")]))),
        ..right.clone()
    };
    producer.produce(wrong).await;
    let (refused, problem) = producer.refused().await;
    assert!(!refused.is_sequence_spent, "{problem}");
    producer.produce(right).await;
    assert_eq!(producer.accepted().await.sequence, 0);
}
