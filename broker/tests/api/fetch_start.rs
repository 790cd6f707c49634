//! Where reading begins, and what a position stands for.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{
    TestBroker, all_values, check_facts, config_without_cache, position, refusal, soon, source,
};

/// Two partitions: "a" to "e" in partition 0 at offsets 0 to 4, "v" to "z" in partition 1, written in
/// turns, two at a time.
async fn broker_with_letters() -> (TestBroker, Vec<v1::PublishResponse>) {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("letters", 2).await;
    let mut published = Vec::new();
    for (partition, values) in [
        (0, &["a", "b"][..]),
        (1, &["v", "w"]),
        (0, &["c", "d"]),
        (1, &["x", "y"]),
        (0, &["e"]),
        (1, &["z"]),
    ] {
        published.push(broker.publish("letters", partition, values).await);
    }
    (broker, published)
}

async fn look_up(broker: &TestBroker, at: Position) -> Vec<u64> {
    let request = v1::LookupOffsetsRequest {
        topic: "letters".to_owned(),
        position: Some(position(at)),
        ..v1::LookupOffsetsRequest::default()
    };
    let found = soon(broker.fetch().lookup_offsets(request)).await.unwrap();
    let offsets = found.into_inner().offsets;
    assert!(
        offsets
            .iter()
            .all(|it| (it.log_start_offset, it.end_offset) == (0, 5)),
        "{offsets:?}"
    );
    offsets.iter().map(|it| it.offset).collect()
}

/// The offsets that a fetch starts at, and those it is told to drop below.
async fn start_offsets(broker: &TestBroker, at: Position) -> Vec<u64> {
    let request = v1::FetchRequest {
        sources: vec![v1::FetchSource {
            start: Some(position(at)),
            ..source("letters")
        }],
        ..v1::FetchRequest::default()
    };
    let reader = broker.reader(request).await;
    let partitions = reader.opened.topics[0].partitions.clone();
    let starts: Vec<_> = partitions.iter().map(|it| it.start_offset).collect();
    let mut read = vec![None; starts.len()];
    for message in reader.rest().await {
        if let Fetched::Batch(batch) = message {
            read[batch.partition as usize]
                .get_or_insert(batch.base_offset..batch.next_offset().get());
        }
    }
    for (start, first) in starts.iter().zip(read) {
        assert!(
            first.is_none_or(|first| first.contains(start)),
            "the first batch holds {start}"
        );
    }
    starts
}

async fn check(at: Position, expected: &[u64]) {
    let (broker, _) = broker_with_letters().await;
    assert_eq!(look_up(&broker, at).await, expected, "{at:?}");
    assert_eq!(start_offsets(&broker, at).await, expected, "{at:?}");
}

#[tokio::test]
async fn at_the_beginning_the_end_or_an_offset() {
    check(Position::Beginning(v1::Beginning {}), &[0, 0]).await;
    check(Position::End(v1::End {}), &[5, 5]).await;
    check(Position::Offset(3), &[3, 3]).await;
    check(Position::Offset(5), &[5, 5]).await;
}

#[tokio::test]
async fn the_last_records_count_in_the_order_of_writing_over_all_partitions() {
    check(Position::LastRecords(0), &[5, 5]).await;
    check(Position::LastRecords(1), &[5, 4]).await;
    check(Position::LastRecords(2), &[4, 4]).await;
    check(Position::LastRecords(3), &[4, 3]).await;
    check(Position::LastRecords(5), &[3, 2]).await;
    check(Position::LastRecords(10), &[0, 0]).await;
    check(Position::LastRecords(1_000_000), &[0, 0]).await;
}

#[tokio::test]
async fn the_last_records_are_found_far_back_in_one_partition() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("letters", 2).await;
    for _ in 0..30 {
        broker.publish("letters", 0, &["old"; 10]).await;
    }
    for _ in 0..200 {
        broker.publish("letters", 1, &["new", "new"]).await;
    }
    let request = |count| v1::LookupOffsetsRequest {
        topic: "letters".to_owned(),
        position: Some(position(Position::LastRecords(count))),
        ..v1::LookupOffsetsRequest::default()
    };
    for (count, expected) in [
        (300, [300, 100]),
        (399, [300, 1]),
        (400, [300, 0]),
        (401, [299, 0]),
        (700, [0, 0]),
        (701, [0, 0]),
    ] {
        let found = soon(broker.fetch().lookup_offsets(request(count))).await;
        let offsets = found.unwrap().into_inner().offsets;
        let offsets: Vec<_> = offsets.iter().map(|it| it.offset).collect();
        assert_eq!(offsets, expected, "the last {count}");
    }
    let found = soon(broker.fetch().lookup_offsets(request(1_000_001))).await;
    let problem = refusal(found, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "last_records")]);
}

#[tokio::test]
async fn at_a_time_means_the_first_record_appended_then_or_later() {
    let (broker, published) = broker_with_letters().await;
    let first_at = |time_ms: i64| -> Vec<u64> {
        let bases = [[0, 2, 4], [0, 2, 4]];
        let of = |partition: usize| {
            (0..3)
                .find(|batch| published[2 * batch + partition].append_time_ms >= time_ms)
                .map_or(5, |batch| bases[partition][batch])
        };
        vec![of(0), of(1)]
    };
    let times = published.iter().map(|it| it.append_time_ms);
    for time_ms in times
        .flat_map(|time| [time - 1, time, time + 1])
        .chain([0, i64::MAX])
    {
        let found = look_up(&broker, Position::TimeMs(time_ms)).await;
        assert_eq!(found, first_at(time_ms), "{time_ms}");
    }
}

#[tokio::test]
async fn an_offset_out_of_range_brings_the_range() {
    let (broker, _) = broker_with_letters().await;
    let start = |start, start_offsets| v1::FetchRequest {
        sources: vec![v1::FetchSource {
            start,
            start_offsets,
            ..source("letters")
        }],
        ..v1::FetchRequest::default()
    };
    let own = v1::PartitionOffset {
        partition: 1,
        offset: 6,
    };
    let cases = [
        (start(Some(position(Position::Offset(6))), vec![]), "0"),
        (start(None, vec![own]), "1"),
    ];
    for (request, partition) in cases {
        let problem = refusal(
            soon(broker.fetch().fetch(request)).await,
            ErrorReason::OffsetOutOfRange,
        );
        let facts = [
            ("topic", "letters"),
            ("partition", partition),
            ("requested", "6"),
            ("log_start_offset", "0"),
            ("end_offset", "5"),
        ];
        check_facts(&problem, &facts);
    }
}

#[tokio::test]
async fn single_partitions_may_begin_at_offsets_of_their_own() {
    let (broker, _) = broker_with_letters().await;
    let resumed = v1::FetchSource {
        start: Some(position(Position::End(v1::End {}))),
        start_offsets: vec![v1::PartitionOffset {
            partition: 1,
            offset: 3,
        }],
        ..source("letters")
    };
    let read = broker.read_all(resumed).await;
    assert_eq!(
        all_values(&read),
        ["x", "y", "z"],
        "the batch that holds offset 3, whole"
    );
}

#[tokio::test]
async fn what_is_looked_up_must_be_there() {
    let (broker, _) = broker_with_letters().await;
    let request = |topic: &str, partitions| v1::LookupOffsetsRequest {
        topic: topic.to_owned(),
        partitions,
        position: None,
    };
    let unknown = soon(broker.fetch().lookup_offsets(request("leters", vec![]))).await;
    let problem = refusal(unknown, ErrorReason::TopicNotFound);
    assert_eq!(problem.hint(), Some("did you mean \"letters\"?"));
    let missing = soon(broker.fetch().lookup_offsets(request("letters", vec![2]))).await;
    refusal(missing, ErrorReason::PartitionNotFound);
    let one = soon(broker.fetch().lookup_offsets(request("letters", vec![1]))).await;
    let offsets = one.unwrap().into_inner().offsets;
    let numbers: Vec<_> = offsets.iter().map(|it| it.partition).collect();
    assert_eq!(numbers, [1]);
}

#[tokio::test]
async fn a_position_that_says_no_place_is_not_the_beginning() {
    let (broker, _) = broker_with_letters().await;
    let nowhere = Some(v1::Position { position: None });
    let request = v1::FetchRequest {
        sources: vec![v1::FetchSource {
            start: nowhere,
            ..source("letters")
        }],
        ..v1::FetchRequest::default()
    };
    let refused = soon(broker.fetch().fetch(request)).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "sources[0].start")]);
    let request = v1::LookupOffsetsRequest {
        topic: "letters".to_owned(),
        position: nowhere,
        ..v1::LookupOffsetsRequest::default()
    };
    let refused = soon(broker.fetch().lookup_offsets(request)).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "position")]);
}

#[tokio::test]
async fn a_topic_that_is_meant_on_another_broker_is_not_read() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.publish("orders", 0, &["v"]).await;
    let broker_id = broker.id().await;
    let request = |broker_id: &str| v1::FetchRequest {
        sources: vec![source("orders")],
        broker_id: Some(broker_id.to_owned()),
        ..v1::FetchRequest::default()
    };
    let other = soon(broker.fetch().fetch(request(&"0".repeat(32)))).await;
    let problem = refusal(other, ErrorReason::TopicNotFound);
    check_facts(&problem, &[("broker_id", &broker_id)]);
    assert!(problem.hint().is_some(), "{problem:?}");
    let reader = broker.reader(request(&broker_id)).await;
    assert_eq!(
        reader.opened.broker_id, broker_id,
        "told to whoever resumes"
    );
    assert_eq!(all_values(&reader.rest().await), ["v"]);
}
