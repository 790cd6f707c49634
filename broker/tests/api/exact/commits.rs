//! Commits to topics that look at records.

use bytes::Bytes;
use tonic::Status;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::append_records::Expectation;
use towpath_proto::v1::commit_service_client::CommitServiceClient;

use super::{config_with_checkpoints, create, event, with_dedupe, with_versions};
use crate::harness::{TestBroker, all_values, check_facts, record, refusal, soon, source};

fn append(
    topic: &str,
    records: Vec<v1::Record>,
    expectation: Option<Expectation>,
) -> v1::AppendRecords {
    v1::AppendRecords {
        topic: topic.to_owned(),
        records,
        partition: None,
        expectation,
    }
}

async fn commit(
    broker: &TestBroker,
    key: &str,
    appends: Vec<v1::AppendRecords>,
) -> Result<v1::CommitResponse, Status> {
    let operations = appends.into_iter().map(|append| v1::Operation {
        operation: Some(v1::operation::Operation::Append(append)),
    });
    let request = v1::CommitRequest {
        operations: operations.collect(),
        idempotency_key: Bytes::copy_from_slice(key.as_bytes()),
    };
    let mut client = CommitServiceClient::new(broker.channel.clone());
    Ok(soon(client.commit(request)).await?.into_inner())
}

async fn all_of(broker: &TestBroker, topic: &str) -> Vec<String> {
    all_values(&broker.read_all(source(topic)).await)
}

fn positions(committed: &v1::CommitResponse) -> Vec<(u64, bool)> {
    let positions = committed.results.iter().flat_map(|it| &it.positions);
    positions.map(|it| (it.offset, it.is_repeated)).collect()
}

#[tokio::test]
async fn operations_rest_on_versions_behind_each_other_or_nothing_happens() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "accounts", 1, with_versions()).await;
    broker.create("log", 1).await;
    let version = |version| Some(Expectation::ExpectedVersion(version));
    let of = |key: &str, value: &str| vec![record(Some(key), value)];
    let transfer = vec![
        append("accounts", of("a", "-5"), version(0)),
        append("log", of("l", "a to b"), None),
        append("accounts", of("b", "+5"), version(0)),
        append("accounts", of("a", "fee"), version(1)),
    ];
    commit(&broker, "", transfer.clone()).await.unwrap();
    let refused = commit(&broker, "", transfer).await;
    let problem = refusal(refused, ErrorReason::ExpectedVersionMismatch);
    let facts = [
        ("operation", "0"),
        ("expected_version", "0"),
        ("current_version", "2"),
        ("topic", "accounts"),
    ];
    check_facts(&problem, &facts);
    let half = vec![
        append("accounts", of("a", "-7"), version(2)),
        append("log", of("l", "never"), None),
        append("accounts", of("b", "+7"), version(2)),
    ];
    let refused = commit(&broker, "", half).await;
    let problem = refusal(refused, ErrorReason::ExpectedVersionMismatch);
    check_facts(
        &problem,
        &[
            ("operation", "2"),
            ("current_version", "1"),
            ("topic", "accounts"),
        ],
    );
    assert_eq!(all_of(&broker, "accounts").await, ["-5", "+5", "fee"]);
    assert_eq!(all_of(&broker, "log").await, ["a to b"]);
    for bad in [
        append("log", of("l", "1"), version(0)),
        append(
            "accounts",
            vec![record(Some("a"), "1"), record(Some("b"), "1")],
            version(2),
        ),
        append("accounts", vec![record(None, "1")], version(0)),
    ] {
        let refused = commit(
            &broker,
            "",
            vec![append("log", of("l", "never"), None), bad],
        )
        .await;
        let problem = refusal(refused, ErrorReason::InvalidArgument);
        check_facts(
            &problem,
            &[("field", "operations[1].append.expected_version")],
        );
    }
}

#[tokio::test]
async fn events_that_are_there_are_left_out_and_told_again() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    create(&broker, "orders", 1, with_dedupe(3_600_000)).await;
    broker.create("log", 1).await;
    let first = vec![append(
        "orders",
        vec![event("1", "a"), event("2", "b")],
        None,
    )];
    commit(&broker, "", first).await.unwrap();
    let second = || {
        vec![
            append(
                "orders",
                vec![event("2", "b2"), event("3", "c"), event("3", "c2")],
                None,
            ),
            append("log", vec![record(None, "l")], None),
            append("orders", vec![event("4", "d")], None),
        ]
    };
    let committed = commit(&broker, "k", second()).await.unwrap();
    let expected = [(1, true), (2, false), (2, true), (0, false), (3, false)];
    assert_eq!(positions(&committed), expected);
    let broker = broker.restart().await;
    let again = commit(&broker, "k", second()).await.unwrap();
    assert!(again.is_repeated, "{again:?}");
    assert_eq!(positions(&again), expected, "as the first time");
    let only = vec![append("orders", vec![event("4", "d2")], None)];
    let committed = commit(&broker, "", only).await.unwrap();
    assert_eq!(positions(&committed), [(3, true)], "nothing is left");
    assert_eq!(all_of(&broker, "orders").await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn an_offset_is_expected_behind_what_is_really_written() {
    let broker = TestBroker::start().await;
    create(&broker, "orders", 1, with_dedupe(3_600_000)).await;
    let offset = |offset| Some(Expectation::ExpectedOffset(offset));
    commit(
        &broker,
        "",
        vec![append("orders", vec![event("1", "a")], offset(0))],
    )
    .await
    .unwrap();
    let operations = |third| {
        vec![
            append("orders", vec![event("1", "a2"), event("2", "b")], None),
            append("orders", vec![event("3", "c")], offset(third)),
        ]
    };
    let refused = commit(&broker, "", operations(3)).await;
    refusal(refused, ErrorReason::ExpectedOffsetMismatch);
    commit(&broker, "", operations(2)).await.unwrap();
    // What is there rests on nothing: this is the first commit again.
    let again = commit(
        &broker,
        "",
        vec![append("orders", vec![event("1", "a")], offset(0))],
    )
    .await;
    assert_eq!(positions(&again.unwrap()), [(0, true)]);
    assert_eq!(all_of(&broker, "orders").await, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_is_there_rests_on_its_version_if_anything_is_written_beside_it() {
    let broker = TestBroker::start().await;
    let config = v1::TopicConfig {
        dedupe_window_ms: Some(3_600_000),
        ..with_versions()
    };
    create(&broker, "accounts", 1, config).await;
    broker.create("audit", 1).await;
    let of = |id: &str, version| {
        let record = v1::Record {
            key: Some("a".into()),
            ..event(id, id)
        };
        let expected = Some(Expectation::ExpectedVersion(version));
        append("accounts", vec![record], expected)
    };
    let audit = || append("audit", vec![record(None, "a")], None);
    commit(&broker, "", vec![of("1", 0), audit()])
        .await
        .unwrap();
    let again = commit(&broker, "", vec![of("1", 0), audit()]).await;
    let problem = refusal(again, ErrorReason::ExpectedVersionMismatch);
    check_facts(&problem, &[("operation", "0"), ("current_version", "1")]);
    assert_eq!(all_of(&broker, "audit").await, ["a"], "once");
    let alone = commit(&broker, "", vec![of("1", 0)]).await.unwrap();
    assert_eq!(positions(&alone), [(0, true)], "nothing is left to write");
}

#[tokio::test]
async fn a_key_goes_to_one_partition_and_an_entry_has_so_many_records() {
    let broker = TestBroker::start().await;
    create(&broker, "accounts", 2, with_versions()).await;
    let to = |partition| v1::AppendRecords {
        partition: Some(partition),
        ..append("accounts", vec![record(Some("a"), "1")], None)
    };
    let refused = commit(&broker, "", vec![to(0), to(1)]).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "partition")]);
    let many = |count| append("accounts", vec![record(None, ""); count], None);
    let refused = commit(&broker, "", vec![many(20_000), many(12_769)]).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    assert!(problem.message().contains("32768"), "{problem}");
    commit(&broker, "", vec![many(20_000), many(12_768)])
        .await
        .unwrap();
}
