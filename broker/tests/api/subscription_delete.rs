//! Topics that subscriptions need, and what is deleted with a subscription.

use tonic::Status;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::position::Position;

use crate::consumer::{Consumer, client, create, create_as, publish, wish};
use crate::harness::{TestBroker, check_facts, position, refusal, soon};
use crate::trim::before;

async fn delete_topic(broker: &TestBroker, name: &str) -> Result<(), Status> {
    let request = v1::DeleteTopicRequest {
        name: name.to_owned(),
        ..v1::DeleteTopicRequest::default()
    };
    soon(broker.topics().delete_topic(request)).await?;
    Ok(())
}

async fn delete(broker: &TestBroker, request: v1::DeleteSubscriptionRequest) -> Result<(), Status> {
    soon(client(broker).delete_subscription(request)).await?;
    Ok(())
}

fn with_letters() -> v1::DeleteSubscriptionRequest {
    v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        with_dlq: true,
        validate_only: false,
    }
}

async fn topics(broker: &TestBroker) -> Vec<String> {
    let request = v1::ListTopicsRequest::default();
    let topics = soon(broker.topics().list_topics(request)).await;
    let topics = topics.unwrap().into_inner().topics;
    topics.into_iter().map(|it| it.name).collect()
}

#[tokio::test]
async fn a_topic_that_subscriptions_need_is_not_deleted_and_they_are_named() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let second = v1::CreateSubscriptionRequest {
        name: "audit".to_owned(),
        ..wish()
    };
    create_as(&broker, second).await.unwrap();
    let problem = refusal(
        delete_topic(&broker, "orders").await,
        ErrorReason::TopicInUse,
    );
    check_facts(
        &problem,
        &[("topic", "orders"), ("subscriptions", "billing audit")],
    );
    let problem = refusal(
        delete_topic(&broker, "billing.dlq").await,
        ErrorReason::TopicInUse,
    );
    check_facts(&problem, &[("subscriptions", "billing")]);
    delete(&broker, with_letters()).await.unwrap();
    let audit = v1::DeleteSubscriptionRequest {
        name: "audit".to_owned(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    delete(&broker, audit).await.unwrap();
    assert_eq!(topics(&broker).await, ["audit.dlq", "orders"]);
    delete_topic(&broker, "orders").await.unwrap();
    delete_topic(&broker, "audit.dlq").await.unwrap();
    assert_eq!(topics(&broker).await, Vec::<String>::new());
    broker.stop().await;
}

#[tokio::test]
async fn dead_letters_go_with_their_subscription_if_asked_and_nobody_else_needs_them() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let of_letters = v1::CreateSubscriptionRequest {
        name: "repair".to_owned(),
        topic: "billing.dlq".to_owned(),
        start: Some(position(Position::Beginning(v1::Beginning {}))),
        ..v1::CreateSubscriptionRequest::default()
    };
    create_as(&broker, of_letters).await.unwrap();
    let refused = refusal(
        delete(&broker, with_letters()).await,
        ErrorReason::TopicInUse,
    );
    check_facts(
        &refused,
        &[("topic", "billing.dlq"), ("subscriptions", "repair")],
    );
    let repair = v1::DeleteSubscriptionRequest {
        name: "repair".to_owned(),
        with_dlq: true,
        validate_only: false,
    };
    delete(&broker, repair).await.unwrap();
    let only_asks = v1::DeleteSubscriptionRequest {
        validate_only: true,
        ..with_letters()
    };
    delete(&broker, only_asks).await.unwrap();
    assert_eq!(topics(&broker).await, ["billing.dlq", "orders"]);
    let mut consumer = Consumer::open(&broker, 1).await;
    delete(&broker, with_letters()).await.unwrap();
    refusal(consumer.try_next().await, ErrorReason::SubscriptionNotFound);
    assert_eq!(topics(&broker).await, ["orders"]);
    let gone = refusal(
        delete(&broker, with_letters()).await,
        ErrorReason::SubscriptionNotFound,
    );
    check_facts(&gone, &[("subscription", "billing")]);
    // The name is free again, with other numbers.
    create(&broker).await;
    let broker = broker.restart().await;
    assert_eq!(topics(&broker).await, ["billing.dlq", "orders"]);
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_of_dead_letters_keeps_what_is_not_settled() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create(&broker).await;
    let by_age = v1::UpdateTopicRequest {
        name: "billing.dlq".to_owned(),
        config: Some(v1::TopicConfig {
            retention_age_ms: Some(60_000),
            ..v1::TopicConfig::default()
        }),
        ..v1::UpdateTopicRequest::default()
    };
    let refused = soon(broker.topics().update_topic(by_age)).await;
    refusal(refused, ErrorReason::TopicInUse);
    publish(&broker, &[("a", "1")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive(1).await;
    let dead = v1::settlement::Outcome::DeadLetter(v1::ToDeadLetters::default());
    assert!(consumer.settle((0, 0), dead).await);
    let trimmed = async {
        loop {
            let request = v1::TrimTopicRequest {
                name: "billing.dlq".to_owned(),
                ..before(Position::Offset(1))
            };
            match broker.topics().trim_topic(request).await {
                // Until the letter is there.
                Err(status) if status.code() == tonic::Code::OutOfRange => {}
                other => return other,
            }
        }
    };
    let problem = refusal(soon(trimmed).await, ErrorReason::TopicInUse);
    check_facts(
        &problem,
        &[
            ("topic", "billing.dlq"),
            ("partition", "0"),
            ("settled_end_offset", "0"),
            ("subscriptions", "billing"),
        ],
    );
    broker.stop().await;
}
