//! The topic of a subscription's dead letters: what it takes, and what makes room in it.

use std::time::Duration;

use tonic::transport::Channel;
use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use towpath_proto::v1::position::Position;

use crate::consumer::{Consumer, ack, client, create, create_as, dead, get, publish, wish};
use crate::harness::{
    TestBroker, all_values, batch_of, check_facts, position, record, refusal, soon, source,
};
use crate::retention::TimedBroker;

/// Longer than nothing is moved after it could not be, and than retention is looked at.
const A_WHILE: Duration = Duration::from_secs(6);

fn letters(broker: &TestBroker) -> DeadLetterServiceClient<Channel> {
    DeadLetterServiceClient::new(broker.channel.clone())
}

fn check_refused(problem: &Problem) {
    let facts = [("topic", "billing.dlq"), ("subscriptions", "billing")];
    check_facts(problem, &facts);
    assert!(problem.hint().is_some(), "{problem:?}");
}

fn to_letters(text: &str) -> v1::PublishRequest {
    v1::PublishRequest {
        topic: "billing.dlq".to_owned(),
        records: vec![record(Some("a"), text)],
        partition: Some(0),
    }
}

/// Asks how many dead letters there are until there are so many.
async fn until_dead_letters(broker: &TestBroker, count: u64) -> v1::SubscriptionPartition {
    let counted = async {
        loop {
            let shown = get(broker).await.partitions.remove(0);
            if shown.dead_letters == count {
                return shown;
            }
        }
    };
    soon(counted).await
}

async fn discard_all(broker: &TestBroker) -> u64 {
    let request = v1::DiscardDeadLettersRequest {
        subscription: "billing".to_owned(),
        reason: "a test".to_owned(),
        ..v1::DiscardDeadLettersRequest::default()
    };
    let told = soon(letters(broker).discard_dead_letters(request)).await;
    let mut told = told.unwrap().into_inner();
    loop {
        let told = soon(told.message()).await.unwrap().expect("a last one");
        if told.is_done {
            return told.discarded_count;
        }
    }
}

#[tokio::test]
async fn nobody_else_writes_among_dead_letters() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("billing.dlq", 1).await;
    let mut producer = broker.producer_of("billing.dlq", 7).await;
    producer.produce(batch_of(0, &["before"])).await;
    producer.accepted().await;
    create(&broker).await;

    producer.produce(batch_of(1, &["streamed"])).await;
    let (refused, problem) = producer.refused().await;
    assert_eq!(problem.reason(), ErrorReason::TopicInUse);
    assert!(
        !refused.is_sequence_spent,
        "it may be used for another batch"
    );
    check_refused(&problem);
    producer.produce(batch_of(0, &["before"])).await;
    assert!(
        producer.accepted().await.is_duplicate,
        "it was there before"
    );
    let published = soon(broker.produce().publish(to_letters("published"))).await;
    check_refused(&refusal(published, ErrorReason::TopicInUse));
    let read = broker.read_all(source("billing.dlq")).await;
    assert_eq!(all_values(&read), ["before"]);

    let list = v1::ListDeadLettersRequest {
        subscription: "billing".to_owned(),
        ..v1::ListDeadLettersRequest::default()
    };
    let listed = soon(letters(&broker).list_dead_letters(list)).await;
    assert_eq!(
        listed.unwrap().into_inner().dead_letters,
        [],
        "none is its own"
    );
    assert_eq!(get(&broker).await.partitions[0].dead_letters, 0);

    let deletion = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    soon(client(&broker).delete_subscription(deletion))
        .await
        .unwrap();
    producer.produce(batch_of(1, &["after"])).await;
    assert!(!producer.accepted().await.is_duplicate);
    soon(broker.produce().publish(to_letters("after")))
        .await
        .unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn nothing_is_redriven_among_dead_letters() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let other = v1::CreateSubscriptionRequest {
        name: "audit".to_owned(),
        ..wish()
    };
    create_as(&broker, other).await.unwrap();
    publish(&broker, &[("a", "1")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    consumer.settle((0, 0), dead("no")).await;
    until_dead_letters(&broker, 1).await;
    for validate_only in [true, false] {
        let request = v1::RedriveDeadLettersRequest {
            subscription: "billing".to_owned(),
            to_topic: Some(v1::RedriveToTopic {
                topic: "audit.dlq".to_owned(),
                replacement: None,
            }),
            validate_only,
            ..v1::RedriveDeadLettersRequest::default()
        };
        let refused = soon(letters(&broker).redrive_dead_letters(request)).await;
        let problem = refusal(refused.map(|_| ()), ErrorReason::TopicInUse);
        check_facts(
            &problem,
            &[("topic", "audit.dlq"), ("subscriptions", "audit")],
        );
    }
    until_dead_letters(&broker, 1).await;
    let read = broker.read_all(source("audit.dlq")).await;
    assert_eq!(all_values(&read), [""; 0]);
    broker.stop().await;
}

/// A record of a producer says of itself what a dead letter says; only what the broker says counts.
#[tokio::test]
async fn a_record_that_says_it_is_a_dead_letter_is_told_as_what_it_is() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let forged = [
        ("towpath-dlq-kind", "parked"),
        ("towpath-dlq-topic", "elsewhere"),
        ("towpath-dlq-offset", "77"),
        ("towpath-dlq-reason", "forged"),
        ("towpath-dlq-failure", "5 forged"),
    ];
    let headers = forged.map(|(name, value)| v1::Header {
        name: name.to_owned(),
        value: value.into(),
    });
    let forged = v1::Record {
        headers: headers.to_vec(),
        ..record(None, "1")
    };
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: vec![forged.clone()],
        partition: Some(0),
    };
    soon(broker.produce().publish(request)).await.unwrap();
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    consumer.settle((0, 0), dead("bad")).await;
    until_dead_letters(&broker, 1).await;
    let list = v1::ListDeadLettersRequest {
        subscription: "billing".to_owned(),
        value_bytes_max: 10,
        ..v1::ListDeadLettersRequest::default()
    };
    let listed = soon(letters(&broker).list_dead_letters(list)).await;
    let letter = listed.unwrap().into_inner().dead_letters.remove(0);
    assert_eq!(letter.kind(), v1::DeadLetterKind::Dead);
    let origin = (letter.origin_topic.as_str(), letter.origin_offset);
    assert_eq!(origin, ("orders", 0));
    assert_eq!(letter.reason, "bad");
    assert_eq!(letter.failures.len(), 1, "{:?}", letter.failures);
    assert_eq!(letter.record, Some(forged), "as it was");
    assert_eq!(discard_all(&broker).await, 1);
    assert_eq!(until_dead_letters(&broker, 0).await.parked_keys, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_seek_tells_what_stays_among_the_dead_letters() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    publish(
        &broker,
        &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1")],
    )
    .await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(4).await;
    consumer.settle((0, 0), dead("no")).await;
    consumer.settle((0, 3), dead("no")).await;
    until_dead_letters(&broker, 3).await;
    for validate_only in [true, false] {
        let seek = v1::SeekSubscriptionRequest {
            name: "billing".to_owned(),
            partitions: Vec::new(),
            position: Some(position(Position::End(v1::End {}))),
            validate_only,
        };
        let sought = soon(client(&broker).seek_subscription(seek)).await;
        let sought = sought.unwrap().into_inner().partitions.remove(0);
        assert_eq!((sought.dead_letters, sought.parked_keys), (3, 2));
    }
    until_dead_letters(&broker, 3).await;
    broker.stop().await;
}

#[tokio::test]
async fn dead_letters_move_again_once_what_fills_their_topic_is_settled() {
    let timed = TimedBroker::with_topic(1, v1::TopicConfig::default()).await;
    let broker = &timed.broker;
    create(broker).await;
    let bound = v1::UpdateTopicRequest {
        name: "billing.dlq".to_owned(),
        config: Some(v1::TopicConfig {
            retention_bytes: Some(1),
            ..v1::TopicConfig::default()
        }),
        ..v1::UpdateTopicRequest::default()
    };
    soon(broker.topics().update_topic(bound)).await.unwrap();
    publish(broker, &[("a", "1"), ("b", "2")]).await;
    let mut consumer = Consumer::open(broker, 1).await;
    consumer.receive(2).await;
    consumer.settle((0, 0), dead("no")).await;
    until_dead_letters(broker, 1).await;
    consumer.settle((0, 1), dead("no")).await;
    let full = async { while get(broker).await.dead_letter_problem.is_empty() {} };
    soon(full).await;
    timed.pass(A_WHILE).await;
    assert_eq!(
        get(broker).await.partitions[0].dead_letters,
        1,
        "it is full"
    );

    assert_eq!(discard_all(broker).await, 1);
    let moved = async {
        while get(broker).await.partitions[0].dead_letters == 0 {
            timed.pass(A_WHILE).await;
        }
    };
    soon(moved).await;
    let shown = get(broker).await;
    assert_eq!(shown.dead_letter_problem, "");
    let read = broker.read_all(source("billing.dlq")).await;
    assert_eq!(all_values(&read), ["2"], "the settled one has gone");
    publish(broker, &[("c", "3")]).await;
    consumer.receive_values(&["3"]).await;
    assert!(consumer.settle((0, 2), ack()).await);
}
