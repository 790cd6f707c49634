//! Appends of a commit and what they rest on.

use towpath_proto::limits::{BATCH_BYTES_MAX, COMMIT_BYTES_MAX};
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use super::{all_of, append, append_records, commit, expecting};
use crate::harness::{TestBroker, check_facts, config, record, refusal};
use towpath_proto::v1::append_records::Expectation;
use towpath_proto::v1::operation::Operation as Kind;

#[tokio::test]
async fn records_are_appended_where_they_are_expected_or_nowhere() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    broker.create("audit", 1).await;
    broker.publish("orders", 1, &["a"]).await;
    let operations = vec![
        expecting(1, "orders", 1, &["b", "c"]),
        expecting(0, "orders", 0, &["x"]),
        // Behind what the same commit appends.
        expecting(3, "orders", 1, &["d"]),
        append("audit", 0, &["b to d"]),
    ];
    commit(&broker, operations).await.unwrap();
    let late = vec![
        append("audit", 0, &["late"]),
        expecting(1, "orders", 0, &["y"]),
        expecting(3, "orders", 1, &["e"]),
    ];
    let problem = refusal(
        commit(&broker, late).await,
        ErrorReason::ExpectedOffsetMismatch,
    );
    let facts = [
        ("operation", "2"),
        ("topic", "orders"),
        ("partition", "1"),
        ("expected_offset", "3"),
        ("end_offset", "4"),
    ];
    check_facts(&problem, &facts);
    assert_eq!(all_of(&broker, "orders").await, ["x", "a", "b", "c", "d"]);
    assert_eq!(all_of(&broker, "audit").await, ["b to d"], "nothing else");
}

#[tokio::test]
async fn of_writers_that_expect_the_same_offset_one_wins() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    for offset in 0..5 {
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..20 {
            let value = format!("{offset} of {number}");
            let mut client = super::client(&broker);
            let operation = Some(expecting(offset, "orders", 0, &[&value]));
            let operations = vec![v1::Operation { operation }];
            writers.spawn(async move {
                let committed = client
                    .commit(v1::CommitRequest {
                        operations,
                        ..v1::CommitRequest::default()
                    })
                    .await;
                (value, committed)
            });
        }
        let mut winners = Vec::new();
        while let Some(outcome) = writers.join_next().await {
            match outcome.unwrap() {
                (value, Ok(_)) => winners.push(value),
                (_, refused) => {
                    refusal(refused, ErrorReason::ExpectedOffsetMismatch);
                }
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(all_of(&broker, "orders").await.last(), winners.first());
    }
}

#[tokio::test]
async fn an_expected_offset_is_that_of_one_partition() {
    let broker = TestBroker::start().await;
    broker.create("orders", 8).await;
    let records = (0..20).map(|key| record(Some(&key.to_string()), "v"));
    let spread = Kind::Append(v1::AppendRecords {
        topic: "orders".to_owned(),
        records: records.collect(),
        partition: None,
        expectation: Some(Expectation::ExpectedOffset(0)),
    });
    let problem = refusal(
        commit(&broker, vec![spread]).await,
        ErrorReason::InvalidArgument,
    );
    check_facts(
        &problem,
        &[("field", "operations[0].append.expected_offset")],
    );
}

#[tokio::test]
async fn a_commit_is_as_large_as_its_limits_say() {
    let mut config = config();
    config.limits.receiving_bytes_max = 8 * 1024 * 1024;
    config.limits.in_flight_bytes_max = 9 * 1024 * 1024;
    config.limits.in_flight_bytes_per_stream_max = 9 * 1024 * 1024;
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 4).await;
    let value = "v".repeat(1024 * 1024 - 100);
    let full = |partition, count| append("orders", partition, &vec![&*value; count]);
    let committed = commit(&broker, vec![full(0, 3), full(1, 3), full(2, 2)]).await;
    assert_eq!(committed.unwrap().results.len(), 3, "7.99 MiB");

    let over = vec![full(0, 3), full(1, 3), full(2, 2), full(3, 1)];
    let problem = refusal(commit(&broker, over).await, ErrorReason::BatchTooLarge);
    let size_bytes_max = COMMIT_BYTES_MAX.to_string();
    let facts = [
        ("size_bytes_max", &*size_bytes_max),
        ("field", "operations"),
    ];
    check_facts(&problem, &facts);

    let small = "s".repeat(10_000);
    let rest = vec![
        full(0, 3),
        full(1, 3),
        full(2, 2),
        append("orders", 3, &[&*small]),
    ];
    let problem = refusal(commit(&broker, rest).await, ErrorReason::BatchTooLarge);
    let size_bytes_max = COMMIT_BYTES_MAX.to_string();
    check_facts(
        &problem,
        &[("size_bytes_max", &size_bytes_max), ("field", "operations")],
    );

    let one = commit(&broker, vec![full(0, 3), full(0, 2)]).await;
    let problem = refusal(one, ErrorReason::BatchTooLarge);
    let size_bytes_max = BATCH_BYTES_MAX.to_string();
    let facts = [
        ("size_bytes_max", &*size_bytes_max),
        ("field", "operations[0].append.records"),
    ];
    check_facts(&problem, &facts);
    assert_eq!(all_of(&broker, "orders").await.len(), 8, "nothing of those");
}

#[tokio::test]
async fn a_thousand_operations_are_one_entry() {
    let broker = TestBroker::start().await;
    broker.create("orders", 8).await;
    let operations: Vec<_> = (0..1_000)
        .map(|number| append("orders", number % 8, &[&number.to_string()]))
        .collect();
    let committed = commit(&broker, operations.clone()).await.unwrap();
    assert_eq!(committed.results.len(), 1_000);
    assert_eq!(committed.results[999].positions[0].offset, 124);
    let more = [operations, vec![append("orders", 0, &["more"])]].concat();
    let problem = refusal(commit(&broker, more).await, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "operations")]);
    assert_eq!(all_of(&broker, "orders").await.len(), 1_000);
}

#[tokio::test]
async fn readers_of_all_topics_see_a_commit_at_once() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    broker.create("audit", 2).await;
    for number in 0..50_u64 {
        let value = number.to_string();
        let operations = vec![
            append("orders", 0, &[&value]),
            append("orders", 1, &[&value]),
            append("audit", 1, &[&value]),
        ];
        let seen = async {
            let (orders, audit) = (
                all_of(&broker, "orders").await,
                all_of(&broker, "audit").await,
            );
            (orders.len(), audit.len())
        };
        let (committed, (orders, audit)) = tokio::join!(commit(&broker, operations), seen);
        committed.unwrap();
        assert!(orders.is_multiple_of(2), "two partitions: {orders}");
        assert!(
            audit >= orders / 2,
            "who reads later sees as much: {orders} {audit}"
        );
    }
    let mixed = Kind::Append(append_records("nowhere", 0, &["x"]));
    let refused = commit(&broker, vec![append("orders", 0, &["x"]), mixed]).await;
    refusal(refused, ErrorReason::TopicNotFound);
    assert_eq!(
        all_of(&broker, "orders").await.len(),
        100,
        "nothing was written"
    );
}
