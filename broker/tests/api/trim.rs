//! Trimming topics on request.

use std::sync::Arc;
use std::time::Duration;

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::produce_response::Response;
use towpath_proto::wire::ProduceBatch;
use towpath_proto::wire::fetch_response::Response as Fetched;
use towpath_storage::{Environment, SimClock};

use crate::harness::{
    TestBroker, all_values, batch_of, check_facts, config, config_without_cache, position, refusal,
    simulated, soon, source,
};

/// A trim of all of `letters` before this place.
pub(crate) fn before(at: Position) -> v1::TrimTopicRequest {
    v1::TrimTopicRequest {
        name: "letters".to_owned(),
        before: Some(position(at)),
        ..v1::TrimTopicRequest::default()
    }
}

pub(crate) fn of(partitions: &[u32], request: v1::TrimTopicRequest) -> v1::TrimTopicRequest {
    v1::TrimTopicRequest {
        partitions: partitions.to_vec(),
        ..request
    }
}

async fn try_trim(
    broker: &TestBroker,
    request: v1::TrimTopicRequest,
) -> Result<v1::TrimTopicResponse, tonic::Status> {
    Ok(soon(broker.topics().trim_topic(request))
        .await?
        .into_inner())
}

/// Trims, and returns what went: partition, first offset, one past the last.
pub(crate) async fn trim(
    broker: &TestBroker,
    request: v1::TrimTopicRequest,
) -> Vec<(u32, u64, u64)> {
    let trimmed = try_trim(broker, request).await.unwrap();
    let trimmed = trimmed.partitions.into_iter().map(|it| {
        let range = it.trimmed.unwrap();
        (it.partition, range.start, range.end)
    });
    trimmed.collect()
}

/// Where the log of each partition starts and ends.
async fn bounds(broker: &TestBroker, name: &str) -> Vec<(u64, u64)> {
    let name = name.to_owned();
    let shown = soon(broker.topics().get_topic(v1::GetTopicRequest { name })).await;
    let partitions = shown.unwrap().into_inner().topic.unwrap().partitions;
    let bounds = partitions.iter();
    bounds
        .map(|it| (it.log_start_offset, it.end_offset))
        .collect()
}

/// Two partitions of `letters`: "a" to "e" in partition 0, "v" to "z" in partition 1.
pub(crate) async fn broker_with_letters() -> TestBroker {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("letters", 2).await;
    broker.publish("letters", 0, &["a", "b"]).await;
    broker
        .publish("letters", 1, &["v", "w", "x", "y", "z"])
        .await;
    broker.publish("letters", 0, &["c", "d", "e"]).await;
    broker
}

#[tokio::test]
async fn a_trim_goes_up_to_its_offset_and_no_further() {
    let broker = broker_with_letters().await;
    let first = trim(&broker, before(Position::Offset(2))).await;
    assert_eq!(first, [(0, 0, 2), (1, 0, 2)], "both partitions");
    let middle = of(&[0], before(Position::Offset(4)));
    assert_eq!(trim(&broker, middle).await, [(0, 2, 4)], "inside a batch");
    assert_eq!(bounds(&broker, "letters").await, [(4, 5), (2, 5)]);

    let request = v1::FetchRequest {
        sources: vec![source("letters")],
        ..v1::FetchRequest::default()
    };
    let reader = broker.reader(request).await;
    let starts = reader.opened.topics[0].partitions.iter();
    let starts: Vec<_> = starts.map(|it| it.start_offset).collect();
    assert_eq!(starts, [4, 2], "readers drop what lies below");
    let read = reader.rest().await;
    let mut values = all_values(&read);
    values.sort();
    let whole_batches = ["c", "d", "e", "v", "w", "x", "y", "z"];
    assert_eq!(values, whole_batches, "batches that reach beyond it");
    let gaps = read.iter().any(|it| matches!(it, Fetched::Gap(_)));
    assert!(!gaps, "nobody was overtaken: {read:?}");
}

#[tokio::test]
async fn below_the_log_start_there_is_nothing_to_trim() {
    let broker = broker_with_letters().await;
    trim(&broker, of(&[0], before(Position::Offset(3)))).await;
    let none: [(u32, u64, u64); 0] = [];
    for offset in [0, 2, 3] {
        let again = of(&[0], before(Position::Offset(offset)));
        assert_eq!(trim(&broker, again).await, none, "{offset}");
    }
    let beginning = before(Position::Beginning(v1::Beginning {}));
    assert_eq!(trim(&broker, beginning).await, none);
    assert_eq!(bounds(&broker, "letters").await, [(3, 5), (0, 5)]);
}

#[tokio::test]
async fn what_is_not_there_yet_cannot_be_trimmed() {
    let broker = broker_with_letters().await;
    broker.publish("letters", 0, &["f"]).await;
    trim(&broker, of(&[1], before(Position::Offset(1)))).await;
    // Partition 0 reaches so far, partition 1 does not.
    let refused = try_trim(&broker, before(Position::Offset(6))).await;
    let problem = refusal(refused, ErrorReason::OffsetOutOfRange);
    let facts = [
        ("topic", "letters"),
        ("partition", "1"),
        ("requested", "6"),
        ("log_start_offset", "1"),
        ("end_offset", "5"),
    ];
    check_facts(&problem, &facts);
    assert_eq!(bounds(&broker, "letters").await, [(0, 6), (1, 5)]);
}

#[tokio::test]
async fn a_trim_to_the_end_leaves_nothing_and_offsets_go_on() {
    let broker = broker_with_letters().await;
    let end = || Position::End(v1::End {});
    let trimmed = trim(&broker, of(&[1], before(end()))).await;
    assert_eq!(trimmed, [(1, 0, 5)], "only the partition that was named");
    assert_eq!(trim(&broker, before(end())).await, [(0, 0, 5)]);
    assert_eq!(bounds(&broker, "letters").await, [(5, 5), (5, 5)]);
    let read = broker.read_all(source("letters")).await;
    assert_eq!(all_values(&read), [""; 0]);
    let published = broker.publish("letters", 0, &["f"]).await;
    assert_eq!(published.positions[0].offset, 5, "dense");
    let read = broker.read_all(source("letters")).await;
    assert_eq!(all_values(&read), ["f"]);
}

#[tokio::test]
async fn the_last_records_can_be_kept() {
    let broker = broker_with_letters().await;
    let trimmed = trim(&broker, before(Position::LastRecords(4))).await;
    assert_eq!(trimmed, [(0, 0, 2), (1, 0, 4)]);
}

#[tokio::test]
async fn a_trim_by_time_spares_what_was_appended_then_or_later() {
    let clock = Arc::new(SimClock::new(1_700_000_000_000));
    let (_disk, environment) = simulated(1 << 30);
    let environment = Environment {
        clock: Arc::clone(&clock) as Arc<_>,
        ..environment
    };
    let broker = TestBroker::start_in(config(), environment).await;
    broker.create("letters", 2).await;
    let mut times = Vec::new();
    for (partition, value) in [(0, "a"), (1, "v"), (0, "b"), (1, "w")] {
        clock.advance(Duration::from_secs(1));
        let published = broker.publish("letters", partition, &[value]).await;
        times.push(published.append_time_ms);
    }
    assert!(
        times.is_sorted_by(|one, next| *next == one + 1000),
        "{times:?}"
    );
    let at = |time_ms| before(Position::TimeMs(time_ms));
    let none: [(u32, u64, u64); 0] = [];
    assert_eq!(trim(&broker, at(0)).await, none, "before all");
    assert_eq!(trim(&broker, at(times[0])).await, none, "that of the first");
    assert_eq!(trim(&broker, at(times[0] + 1)).await, [(0, 0, 1)]);
    assert_eq!(trim(&broker, at(times[2])).await, [(1, 0, 1)]);
    let all = trim(&broker, at(i64::MAX)).await;
    assert_eq!(all, [(0, 1, 2), (1, 1, 2)], "all that is there");
}

#[tokio::test]
async fn a_trim_that_is_only_validated_changes_nothing() {
    let broker = broker_with_letters().await;
    let request = v1::TrimTopicRequest {
        validate_only: true,
        ..before(Position::Offset(2))
    };
    let would = trim(&broker, request.clone()).await;
    assert_eq!(would, [(0, 0, 2), (1, 0, 2)]);
    assert_eq!(bounds(&broker, "letters").await, [(0, 5), (0, 5)]);
    let too_far = v1::TrimTopicRequest {
        before: Some(position(Position::Offset(6))),
        ..request
    };
    refusal(
        try_trim(&broker, too_far).await,
        ErrorReason::OffsetOutOfRange,
    );
}

#[tokio::test]
async fn each_of_two_trims_at_once_is_answered_with_what_it_let_go_of() {
    let broker = TestBroker::start().await;
    broker.create("letters", 1).await;
    for first in (0..200).step_by(4) {
        broker.publish("letters", 0, &["a", "b", "c", "d"]).await;
        let near = trim(&broker, before(Position::Offset(first + 2)));
        let far = trim(&broker, before(Position::Offset(first + 4)));
        let (near, far) = tokio::join!(near, far);
        let together = [near, far].concat();
        let is_one_after_the_other = together == [(0, first, first + 2), (0, first + 2, first + 4)];
        let is_all_at_once = together == [(0, first, first + 4)];
        assert!(is_one_after_the_other || is_all_at_once, "{together:?}");
    }
}

#[tokio::test]
async fn only_the_topic_that_is_meant_is_trimmed() {
    let broker = broker_with_letters().await;
    let topic_id = try_trim(&broker, before(Position::Offset(1)))
        .await
        .unwrap()
        .topic_id;
    for at in [Position::Offset(2), Position::End(v1::End {})] {
        let other_life = v1::TrimTopicRequest {
            topic_id: Some(topic_id + 1),
            ..before(at)
        };
        refusal(
            try_trim(&broker, other_life).await,
            ErrorReason::TopicNotFound,
        );
    }
    assert_eq!(bounds(&broker, "letters").await, [(1, 5), (1, 5)]);
    let this = v1::TrimTopicRequest {
        topic_id: Some(topic_id),
        ..before(Position::Offset(2))
    };
    assert_eq!(trim(&broker, this).await.len(), 2);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_field() {
    let broker = broker_with_letters().await;
    let nothing = v1::TrimTopicRequest {
        before: None,
        ..before(Position::Offset(1))
    };
    let empty = v1::TrimTopicRequest {
        before: Some(v1::Position { position: None }),
        ..nothing.clone()
    };
    let strange = v1::TrimTopicRequest {
        name: "let ters".to_owned(),
        ..before(Position::Offset(1))
    };
    let cases = [
        (nothing, "before"),
        (empty, "before"),
        (strange, "name"),
        (of(&[0, 0], before(Position::Offset(1))), "partitions"),
        (before(Position::LastRecords(1_000_001)), "last_records"),
    ];
    for (request, field) in cases {
        let refused = try_trim(&broker, request).await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", field)]);
    }
    let missing = of(&[2], before(Position::Offset(1)));
    let problem = refusal(
        try_trim(&broker, missing).await,
        ErrorReason::PartitionNotFound,
    );
    check_facts(&problem, &[("partition", "2"), ("partition_count", "2")]);
    let unknown = v1::TrimTopicRequest {
        name: "leters".to_owned(),
        ..before(Position::Offset(1))
    };
    let problem = refusal(try_trim(&broker, unknown).await, ErrorReason::TopicNotFound);
    assert_eq!(problem.hint(), Some("did you mean \"letters\"?"));
    assert_eq!(bounds(&broker, "letters").await, [(0, 5), (0, 5)]);
}

#[tokio::test]
async fn what_was_trimmed_does_not_come_back_with_a_restart() {
    let broker = broker_with_letters().await;
    trim(&broker, before(Position::Offset(4))).await;
    let mut broker = broker.restart().await;
    for life in 0..2 {
        assert_eq!(bounds(&broker, "letters").await, [(4, 5), (4, 5)], "{life}");
        let below = v1::LookupOffsetsRequest {
            topic: "letters".to_owned(),
            position: Some(position(Position::Offset(3))),
            ..v1::LookupOffsetsRequest::default()
        };
        let below = soon(broker.fetch().lookup_offsets(below)).await;
        refusal(below, ErrorReason::OffsetOutOfRange);
        broker = broker.restart().await;
    }
    let published = broker.publish("letters", 0, &["f"]).await;
    assert_eq!(published.positions[0].offset, 5);
}

/// So many partitions of `letters`, of which all but the last hold a record.
async fn broker_with_partitions(count: u32, environment: Environment) -> TestBroker {
    let broker = TestBroker::start_in(config(), environment).await;
    broker.create("letters", count).await;
    let mut producer = broker.producer_of("letters", 1).await;
    for partition in 0..count - 1 {
        let batch = ProduceBatch {
            partition,
            ..batch_of(0, &["v"])
        };
        producer.produce(batch).await;
    }
    let mut accepted_count = 0;
    while accepted_count < count - 1 {
        match producer.next().await {
            Response::Accepted(accepted) => {
                accepted_count += u32::try_from(accepted.batches.len()).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    broker
}

#[tokio::test]
async fn many_partitions_are_trimmed_at_once() {
    let (_disk, environment) = simulated(1 << 30);
    let broker = broker_with_partitions(500, environment.clone()).await;
    broker.publish("letters", 499, &["v"]).await;
    let expected: Vec<_> = (0..500).map(|number| (number, 0, 1)).collect();
    let would = v1::TrimTopicRequest {
        validate_only: true,
        ..before(Position::Offset(1))
    };
    assert_eq!(trim(&broker, would).await, expected);
    assert_eq!(bounds(&broker, "letters").await, [(0, 1); 500]);
    let trimmed = trim(&broker, before(Position::Offset(1))).await;
    assert_eq!(trimmed, expected);
    assert_eq!(bounds(&broker, "letters").await, [(1, 1); 500]);
    let broker = TestBroker::start_in(broker.stop().await, environment).await;
    assert_eq!(bounds(&broker, "letters").await, [(1, 1); 500]);
}

#[tokio::test]
async fn of_many_partitions_all_are_trimmed_or_none() {
    let (_disk, environment) = simulated(1 << 30);
    let broker = broker_with_partitions(500, environment).await;
    // The last of them is empty.
    let refused = try_trim(&broker, before(Position::Offset(1))).await;
    let problem = refusal(refused, ErrorReason::OffsetOutOfRange);
    check_facts(&problem, &[("partition", "499"), ("end_offset", "0")]);
    let bounds = bounds(&broker, "letters").await;
    let is_trimmed = bounds.iter().any(|(log_start, _)| *log_start > 0);
    assert!(!is_trimmed, "{bounds:?}");
}
