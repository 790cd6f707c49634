//! Several things as one entry.

mod appends;
mod refused;
mod repeated;

use std::collections::BTreeMap;

use tonic::Status;
use tonic::transport::Channel;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::append_records::Expectation;
use towpath_proto::v1::commit_service_client::CommitServiceClient;
use towpath_proto::v1::join_request::Request;
use towpath_proto::v1::operation::Operation as Kind;
use towpath_proto::v1::position::Position;
use towpath_proto::v1::settlement::Outcome;

use crate::consumer::{Consumer, ack, nack, settlement};
use crate::group_member::Member;
use crate::harness::{TestBroker, all_values, record, refusal, soon, source};
use crate::scrape::{Scrape, scraped_config};
use crate::trim::{before, trim};

fn client(broker: &TestBroker) -> CommitServiceClient<Channel> {
    CommitServiceClient::new(broker.channel.clone())
}

async fn commit(broker: &TestBroker, operations: Vec<Kind>) -> Result<v1::CommitResponse, Status> {
    let operations = operations.into_iter().map(|operation| v1::Operation {
        operation: Some(operation),
    });
    let request = v1::CommitRequest {
        operations: operations.collect(),
        ..v1::CommitRequest::default()
    };
    let committed = soon(client(broker).commit(request)).await?;
    Ok(committed.into_inner())
}

/// Appends values without keys to a partition.
fn append(topic: &str, partition: u32, values: &[&str]) -> Kind {
    Kind::Append(append_records(topic, partition, values))
}

fn append_records(topic: &str, partition: u32, values: &[&str]) -> v1::AppendRecords {
    v1::AppendRecords {
        topic: topic.to_owned(),
        records: values.iter().map(|value| record(None, value)).collect(),
        partition: Some(partition),
        expectation: None,
    }
}

/// The same where the first of them is to get an offset.
fn expecting(offset: u64, topic: &str, partition: u32, values: &[&str]) -> Kind {
    Kind::Append(v1::AppendRecords {
        expectation: Some(Expectation::ExpectedOffset(offset)),
        ..append_records(topic, partition, values)
    })
}

/// Settles what a consumer has at a place.
fn settle(consumer: &Consumer, place: (u32, u64), outcome: Outcome) -> Kind {
    let delivery = consumer.has[&place].delivery;
    Kind::Settle(v1::SettleRecords {
        subscription: "billing".to_owned(),
        settlement: Some(settlement(place, delivery, outcome)),
    })
}

/// Commits offsets of partitions that a member owns.
fn offsets(member: &Member, id: u8, offsets: &[(u32, u64)]) -> Kind {
    let offsets = offsets.iter().map(|(partition, offset)| v1::GroupOffset {
        topic: "orders".to_owned(),
        partition: *partition,
        generation: member.owned.get(partition).copied().unwrap_or_default(),
        offset: *offset,
    });
    Kind::Offsets(v1::CommitGroupOffsets {
        group: "billing".to_owned(),
        member_id: vec![id; 16].into(),
        offsets: offsets.collect(),
    })
}

async fn all_of(broker: &TestBroker, topic: &str) -> Vec<String> {
    all_values(&broker.read_all(source(topic)).await)
}

#[tokio::test]
async fn inputs_are_settled_with_what_was_made_of_them() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("invoices", 2).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a", "b", "c"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(3).await;
    let operations = vec![
        append("invoices", 0, &["a1", "a2"]),
        append("invoices", 1, &["b1"]),
        settle(&consumer, (0, 0), ack()),
        settle(&consumer, (0, 1), ack()),
        settle(&consumer, (0, 2), nack("later")),
        append("invoices", 0, &["c1"]),
    ];
    let committed = commit(&broker, operations).await.unwrap();
    let positions: Vec<Vec<_>> = { committed.results.iter() }
        .map(|it| {
            it.positions
                .iter()
                .map(|at| (at.partition, at.offset))
                .collect()
        })
        .collect();
    let none = Vec::new();
    let expected = [
        vec![(0, 0), (0, 1)],
        vec![(1, 0)],
        none.clone(),
        none.clone(),
        none,
        vec![(0, 2)],
    ];
    assert_eq!(positions, expected);
    assert!(
        committed.lsn > 0 && committed.commit_time_ms > 0,
        "{committed:?}"
    );
    assert_eq!(all_of(&broker, "invoices").await, ["a1", "a2", "c1", "b1"]);

    consumer.has = BTreeMap::new();
    consumer.receive_values(&["c"]).await;
    assert_eq!(consumer.has[&(0, 2)].attempt, 2, "the others are settled");

    // All of it is still so after a restart.
    let broker = broker.restart().await;
    assert_eq!(all_of(&broker, "invoices").await, ["a1", "a2", "c1", "b1"]);
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["c"]).await;
    consumer.ack_all().await;
    assert_eq!(
        crate::consumer::get(&broker).await.partitions[0].lag_records,
        0
    );
}

#[tokio::test]
async fn what_is_released_comes_again_as_it_was() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("notes", 1).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a", "b"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(2).await;
    let release = || Outcome::Release(v1::Release {});
    let operations = vec![
        append("notes", 0, &["not now"]),
        settle(&consumer, (0, 0), release()),
        settle(&consumer, (0, 1), ack()),
    ];
    commit(&broker, operations).await.unwrap();
    let again = vec![
        append("notes", 0, &["again"]),
        settle(&consumer, (0, 0), release()),
    ];
    refusal(commit(&broker, again).await, ErrorReason::LeaseExpired);
    assert_eq!(all_of(&broker, "notes").await, ["not now"]);

    consumer.has = BTreeMap::new();
    consumer.credit(2).await;
    consumer.receive_values(&["a"]).await;
    assert_eq!(consumer.has[&(0, 0)].attempt, 1, "it counts no attempt");
    consumer.ack_all().await;
}

#[tokio::test]
async fn a_commit_that_is_sent_again_is_refused_as_a_whole() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("invoices", 1).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    let operations = vec![
        append("invoices", 0, &["a1"]),
        settle(&consumer, (0, 0), ack()),
    ];
    commit(&broker, operations.clone()).await.unwrap();
    let again = commit(&broker, operations).await;
    let problem = refusal(again, ErrorReason::LeaseExpired);
    crate::harness::check_facts(&problem, &[("operation", "1"), ("subscription", "billing")]);
    assert_eq!(all_of(&broker, "invoices").await, ["a1"], "once");
}

#[tokio::test]
async fn a_group_comes_further_with_what_was_made_of_its_records() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    broker.create("invoices", 1).await;
    broker.publish("orders", 0, &["a", "b"]).await;
    broker.publish("orders", 1, &["c"]).await;
    let mut member = Member::join(&broker, 1).await;
    while member.owned.len() < 2 {
        member.next().await;
    }
    let operations = vec![
        append("invoices", 0, &["a1"]),
        offsets(&member, 1, &[(0, 2), (1, 1)]),
    ];
    commit(&broker, operations.clone()).await.unwrap();
    let again = commit(&broker, operations).await;
    let reason = ErrorReason::ExpectedOffsetMismatch;
    let problem = refusal(again, reason);
    let facts = [
        ("operation", "1"),
        ("committed_offset", "2"),
        ("topic", "orders"),
    ];
    crate::harness::check_facts(&problem, &facts);
    assert_eq!(all_of(&broker, "invoices").await, ["a1"], "once");

    let group = group(&broker).await;
    let committed = group.partitions.iter().map(|it| it.committed_offset);
    assert_eq!(committed.collect::<Vec<_>>(), [2, 1]);
}

async fn group(broker: &TestBroker) -> v1::Group {
    let request = v1::GetGroupRequest {
        name: "billing".to_owned(),
    };
    let shown = soon(crate::group_member::groups(broker).get_group(request)).await;
    shown.unwrap().into_inner().group.unwrap()
}

#[tokio::test]
async fn what_a_group_passes_over_and_has_in_flight_is_counted() {
    let broker = TestBroker::start_with(scraped_config()).await;
    broker.create("orders", 1).await;
    for value in ["a", "b", "c"] {
        broker.publish("orders", 0, &[value]).await;
    }
    let mut member = Member::join(&broker, 1).await;
    member.owns(1).await;
    member.send(Request::Leave(v1::LeaveGroup {})).await;
    while member.try_next().await.unwrap().is_some() {}
    let orders = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        ..before(Position::Offset(2))
    };
    trim(&broker, orders).await;
    let mut member = Member::join(&broker, 2).await;
    member.owns(1).await;
    let in_flight = "towpath_group_in_flight_records{group=\"billing\"}";
    Scrape::until(&broker, |it| it.number(in_flight) == 1).await;

    let stale = offsets(&member, 1, &[(0, 3)]);
    refusal(
        commit(&broker, vec![stale]).await,
        ErrorReason::GenerationStale,
    );
    assert_eq!(group(&broker).await.partitions[0].skipped_records, 0);
    let offsets = offsets(&member, 2, &[(0, 3)]);
    commit(&broker, vec![offsets]).await.unwrap();
    assert_eq!(group(&broker).await.partitions[0].skipped_records, 2);
    assert_eq!(Scrape::of(&broker).await.number(in_flight), 0);
}
