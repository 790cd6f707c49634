//! What a commit does not do.

use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::operation::Operation as Kind;
use towpath_proto::v1::settlement::Outcome;

use super::{all_of, append, commit, offsets, settle};
use crate::consumer::{Consumer, ack};
use crate::group_member::Member;
use crate::harness::{TestBroker, check_facts, refusal};

/// Checks that operations are refused, and that nothing was written beside them.
#[track_caller]
fn check(
    refused: Result<v1::CommitResponse, tonic::Status>,
    reason: ErrorReason,
    facts: &[(&str, &str)],
) {
    check_facts(&refusal(refused, reason), facts);
}

#[tokio::test]
async fn one_operation_that_does_not_hold_refuses_all() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    broker.create("invoices", 1).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a", "b"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(2).await;
    let written = || append("invoices", 0, &["x"]);
    let acked = settle(&consumer, (0, 0), ack());

    let nowhere = append("nowhere", 0, &["y"]);
    let refused = commit(&broker, vec![written(), acked.clone(), nowhere]).await;
    check(refused, ErrorReason::TopicNotFound, &[("operation", "2")]);

    let beyond = append("invoices", 7, &["y"]);
    let refused = commit(&broker, vec![written(), acked.clone(), beyond]).await;
    check(
        refused,
        ErrorReason::PartitionNotFound,
        &[("operation", "2")],
    );

    let letters = append("billing.dlq", 0, &["y"]);
    let refused = commit(&broker, vec![written(), letters]).await;
    check(refused, ErrorReason::TopicInUse, &[("operation", "1")]);

    let mut stranger = settle(&consumer, (0, 1), ack());
    if let Kind::Settle(settle) = &mut stranger {
        settle.settlement.as_mut().unwrap().delivery += 1_000;
    }
    let refused = commit(&broker, vec![written(), acked.clone(), stranger]).await;
    let facts = [("operation", "2"), ("partition", "0"), ("offset", "1")];
    check(refused, ErrorReason::LeaseExpired, &facts);

    let mut nobody = acked.clone();
    if let Kind::Settle(settle) = &mut nobody {
        settle.subscription = "billin".to_owned();
    }
    let refused = commit(&broker, vec![written(), nobody]).await;
    check(
        refused,
        ErrorReason::SubscriptionNotFound,
        &[("operation", "1")],
    );

    let mut half = acked.clone();
    if let Kind::Settle(settle) = &mut half {
        settle.settlement.as_mut().unwrap().ranges[0].end = 3;
    }
    let refused = commit(&broker, vec![written(), half]).await;
    check(refused, ErrorReason::LeaseExpired, &[("offset", "2")]);

    assert_eq!(
        all_of(&broker, "invoices").await,
        [""; 0],
        "nothing was written"
    );
    // And nothing was settled: the same ack holds now.
    commit(&broker, vec![written(), acked]).await.unwrap();
    assert_eq!(all_of(&broker, "invoices").await, ["x"]);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_makes_no_sense_is_told_by_its_field() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a"]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    let mut member = Member::join(&broker, 1).await;
    while member.owned.is_empty() {
        member.next().await;
    }
    let acked = || settle(&consumer, (0, 0), ack());
    let settled = |change: &dyn Fn(&mut v1::SettleRecords)| {
        let mut operation = acked();
        if let Kind::Settle(settle) = &mut operation {
            change(settle);
        }
        operation
    };
    let to_offset = |change: &dyn Fn(&mut v1::CommitGroupOffsets)| {
        let mut operation = offsets(&member, 1, &[(0, 1)]);
        if let Kind::Offsets(offsets) = &mut operation {
            change(offsets);
        }
        operation
    };
    let cases: Vec<(Vec<Kind>, &str)> = vec![
        (vec![], "operations"),
        (
            vec![append("orders", 0, &[])],
            "operations[0].append.records",
        ),
        (vec![append("", 0, &["x"])], "operations[0].append.topic"),
        (
            vec![settled(&|it| it.settlement = None)],
            "operations[0].settle.settlement",
        ),
        (
            vec![settled(&|it| {
                it.settlement.as_mut().unwrap().ranges.clear();
            })],
            "operations[0].settle.settlement.ranges",
        ),
        (
            vec![settled(&|it| {
                it.settlement.as_mut().unwrap().ranges[0].end = 20_000;
            })],
            "operations[0].settle.settlement.ranges",
        ),
        (
            vec![settled(&|it| {
                it.settlement.as_mut().unwrap().outcome = None;
            })],
            "operations[0].settle.settlement.outcome",
        ),
        (
            vec![settled(&|it| {
                let outcome = Some(Outcome::Start(v1::Start {}));
                it.settlement.as_mut().unwrap().outcome = outcome;
            })],
            "operations[0].settle.settlement.outcome",
        ),
        (
            vec![acked(), acked()],
            "operations[1].settle.settlement.ranges",
        ),
        (
            vec![to_offset(&|it| it.member_id.clear())],
            "operations[0].offsets.member_id",
        ),
        (
            vec![to_offset(&|it| it.offsets.clear())],
            "operations[0].offsets.offsets",
        ),
        (
            vec![to_offset(&|_| {}), to_offset(&|_| {})],
            "operations[1].offsets.offsets[0]",
        ),
    ];
    for (operations, field) in cases {
        let refused = commit(&broker, operations).await;
        check(refused, ErrorReason::InvalidArgument, &[("field", field)]);
    }
    let unknown = v1::CommitRequest {
        operations: vec![v1::Operation { operation: None }],
        ..v1::CommitRequest::default()
    };
    let refused = crate::harness::soon(super::client(&broker).commit(unknown)).await;
    let problem = refusal(refused, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "operations[0]")]);
}

#[tokio::test]
async fn a_zombie_of_a_group_lands_nothing() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("invoices", 1).await;
    broker.publish("orders", 0, &["a", "b"]).await;
    let mut zombie = Member::join(&broker, 1).await;
    while zombie.owned.is_empty() {
        zombie.next().await;
    }
    let late = |offset| {
        vec![
            append("invoices", 0, &["late"]),
            offsets(&zombie, 1, &[(0, offset)]),
        ]
    };
    let refused = commit(&broker, late(3)).await;
    check(
        refused,
        ErrorReason::OffsetOutOfRange,
        &[("operation", "1")],
    );
    let nobody = vec![
        append("invoices", 0, &["late"]),
        offsets(&zombie, 9, &[(0, 1)]),
    ];
    check(
        commit(&broker, nobody).await,
        ErrorReason::GenerationStale,
        &[("operation", "1")],
    );
    // Its partition goes to another one.
    let late = late(1);
    drop(zombie);
    let mut member = Member::join(&broker, 2).await;
    while member.owned.is_empty() {
        member.next().await;
    }
    let refused = commit(&broker, late).await;
    check(refused, ErrorReason::GenerationStale, &[("operation", "1")]);
    let operations = vec![
        append("invoices", 0, &["once"]),
        offsets(&member, 2, &[(0, 1)]),
    ];
    commit(&broker, operations).await.unwrap();
    assert_eq!(all_of(&broker, "invoices").await, ["once"]);
}

#[tokio::test]
async fn a_delivery_of_a_deleted_subscription_is_none_of_its_namesake() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("invoices", 1).await;
    crate::consumer::create(&broker).await;
    broker.publish("orders", 0, &["a"]).await;
    let mut before = Consumer::open(&broker, 1).await;
    before.receive(1).await;
    let late = settle(&before, (0, 0), ack());
    let request = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        with_dlq: true,
        ..v1::DeleteSubscriptionRequest::default()
    };
    let mut subscriptions = crate::consumer::client(&broker);
    let deleted = crate::harness::soon(subscriptions.delete_subscription(request)).await;
    deleted.unwrap();
    crate::consumer::create(&broker).await;
    let mut after = Consumer::open(&broker, 2).await;
    after.receive(1).await;
    let refused = commit(&broker, vec![append("invoices", 0, &["late"]), late]).await;
    check(refused, ErrorReason::LeaseExpired, &[("operation", "1")]);
    assert_eq!(all_of(&broker, "invoices").await, [""; 0]);
}
