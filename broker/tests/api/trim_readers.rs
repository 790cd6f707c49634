//! What readers are told of a trim, before they begin and while they read.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{
    TestBroker, check_facts, config_without_cache, position, refusal, soon, source, values,
};
use crate::trim::{before, broker_with_letters, of, trim};

async fn fetch(broker: &TestBroker, source: v1::FetchSource) -> Result<(), tonic::Status> {
    let request = v1::FetchRequest {
        sources: vec![source],
        ..v1::FetchRequest::default()
    };
    soon(broker.fetch().fetch(request)).await.map(drop)
}

#[tokio::test]
async fn a_reader_does_not_begin_below_the_log_start() {
    let broker = broker_with_letters().await;
    trim(&broker, of(&[1], before(Position::Offset(3)))).await;
    let everywhere = v1::FetchSource {
        start: Some(position(Position::Offset(2))),
        ..source("letters")
    };
    let resumed = v1::FetchSource {
        start_offsets: vec![v1::PartitionOffset {
            partition: 1,
            offset: 2,
        }],
        ..source("letters")
    };
    let facts = [
        ("topic", "letters"),
        ("partition", "1"),
        ("requested", "2"),
        ("log_start_offset", "3"),
        ("end_offset", "5"),
    ];
    for source in [everywhere, resumed] {
        let refused = fetch(&broker, source).await;
        check_facts(&refusal(refused, ErrorReason::OffsetOutOfRange), &facts);
    }
    let lookup = v1::LookupOffsetsRequest {
        topic: "letters".to_owned(),
        partitions: vec![1],
        position: Some(position(Position::Offset(2))),
    };
    let refused = soon(broker.fetch().lookup_offsets(lookup)).await;
    check_facts(&refusal(refused, ErrorReason::OffsetOutOfRange), &facts);
}

#[tokio::test]
async fn all_partitions_that_were_overtaken_are_named_at_once() {
    let broker = TestBroker::start().await;
    broker.create("letters", 120).await;
    for partition in 0..120 {
        broker.publish("letters", partition, &["a", "b"]).await;
    }
    trim(&broker, before(Position::Offset(2))).await;
    let resumed = |partitions: std::ops::Range<u32>| v1::FetchSource {
        start_offsets: partitions
            .map(|partition| v1::PartitionOffset {
                partition,
                // One of them is there.
                offset: if partition == 1 { 2 } else { 1 },
            })
            .collect(),
        ..source("letters")
    };
    let problem = refusal(
        fetch(&broker, resumed(0..4)).await,
        ErrorReason::OffsetOutOfRange,
    );
    let facts = [
        ("partition", "0"),
        ("log_start_offset", "2"),
        ("log_start_offsets", "0:2 2:2 3:2"),
    ];
    check_facts(&problem, &facts);
    let problem = refusal(
        fetch(&broker, resumed(0..120)).await,
        ErrorReason::OffsetOutOfRange,
    );
    let named = problem.metadata()["log_start_offsets"].split(' ');
    assert_eq!(named.count(), 100, "bounded");
}

/// Records of a batch that is longer than what a connection takes ahead, by a few times.
const LONG_BATCHES: u64 = 48;

/// A reader that follows and has not come far when records in front of it are trimmed, up to the middle
/// of a batch.
async fn check_overtaken(broker: TestBroker) {
    broker.create("letters", 1).await;
    let long = "l".repeat(64 * 1024);
    for _ in 0..LONG_BATCHES {
        broker.publish("letters", 0, &[long.as_str(); 4]).await;
    }
    let end = 4 * LONG_BATCHES;
    let request = v1::FetchRequest {
        sources: vec![source("letters")],
        follow: true,
        ..v1::FetchRequest::default()
    };
    let mut reader = broker.reader(request).await;
    let mut next = reader.batch().await.next_offset().get();
    let trimmed = trim(&broker, before(Position::Offset(end - 2))).await;
    assert_eq!(trimmed, [(0, 0, end - 2)], "trimmed");
    broker.publish("letters", 0, &["after"]).await;

    let mut gaps = Vec::new();
    loop {
        match reader.next_event().await {
            Fetched::Batch(batch) => {
                let is_behind_gap = gaps.last() == Some(&next);
                let base = if is_behind_gap { end - 4 } else { next };
                assert_eq!(batch.base_offset, base, "the batch that holds {next}");
                next = batch.next_offset().get();
                if values(&batch) == ["after"] {
                    break;
                }
            }
            Fetched::Gap(gap) => {
                assert_eq!(gap.reason(), v1::GapReason::Trimmed, "reason");
                let range = gap.range.unwrap();
                assert_eq!(range.start, next, "from where the reader was");
                next = range.end;
                gaps.push(range.end);
            }
            Fetched::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gaps, [end - 2], "one gap, up to where the log starts");
}

#[tokio::test]
async fn a_reader_that_is_overtaken_is_told_of_the_gap_and_goes_on() {
    check_overtaken(TestBroker::start().await).await;
}

#[tokio::test]
async fn a_reader_that_is_overtaken_on_disk_is_told_of_the_gap_and_goes_on() {
    check_overtaken(TestBroker::start_with(config_without_cache()).await).await;
}

#[tokio::test]
async fn a_reader_that_waits_at_the_end_misses_nothing_that_is_trimmed() {
    let broker = broker_with_letters().await;
    let request = v1::FetchRequest {
        sources: vec![v1::FetchSource {
            partitions: vec![0],
            ..source("letters")
        }],
        follow: true,
        ..v1::FetchRequest::default()
    };
    let mut reader = broker.reader(request).await;
    assert_eq!(values(&reader.batch().await), ["a", "b"]);
    assert_eq!(values(&reader.batch().await), ["c", "d", "e"]);
    assert!(matches!(reader.next_event().await, Fetched::CaughtUp(_)));
    trim(&broker, before(Position::End(v1::End {}))).await;
    broker.publish("letters", 0, &["f"]).await;
    assert_eq!(values(&reader.batch().await), ["f"], "and no gap before it");
}
