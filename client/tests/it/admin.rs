//! Administration, publishing, and how calls are repeated.

use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{
    Client, ErrorKind, ErrorReason, Event, NewTopic, Offset, Record, Source, Start, TopicDeletion,
};

use crate::fake::FakeBroker;

fn broker() -> (FakeBroker, Client) {
    let broker = FakeBroker::start();
    let client = broker.client();
    (broker, client)
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_shown_listed_and_deleted() {
    let (_broker, client) = broker();
    let admin = client.admin();
    for name in ["a", "b", "c", "other", "d"] {
        admin
            .create_topic(NewTopic::new(name).partitions(2))
            .await
            .unwrap();
    }
    let topic = admin.topic("c").await.unwrap();
    assert_eq!(
        (topic.name.as_str(), topic.partition_count),
        ("c", 2),
        "topic"
    );
    assert_eq!(topic.partitions.len(), 2, "partitions");
    let names = |topics: Vec<towpath_client::Topic>| {
        topics
            .iter()
            .map(|it| it.name.to_string())
            .collect::<Vec<_>>()
    };
    let all = admin.topics().await.unwrap();
    assert_eq!(
        names(all),
        ["a", "b", "c", "d", "other"],
        "over several pages"
    );
    let some = admin.topics_with_prefix("o").await.unwrap();
    assert_eq!(names(some), ["other"], "with a prefix");

    admin
        .delete_topic(TopicDeletion::new("c").dry_run())
        .await
        .unwrap();
    let topic = admin.topic("c").await.unwrap();
    let other_life = TopicDeletion::new("c").only(towpath_client::TopicId::new(99));
    let error = admin.delete_topic(other_life).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::TopicNotFound),
        "another life"
    );
    admin
        .delete_topic(TopicDeletion::new("c").only(topic.topic_id))
        .await
        .unwrap();
    let error = admin.topic("c").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "gone");
}

#[tokio::test(start_paused = true)]
async fn creating_again_is_refused_and_ensuring_is_not() {
    let (_broker, client) = broker();
    let admin = client.admin();
    let created = admin.ensure_topic("orders").await.unwrap();
    assert_eq!(created.partition_count, 8, "partitions");
    let error = admin.create_topic("orders").await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::TopicExists),
        "created again"
    );
    let ensured = admin.ensure_topic("orders").await.unwrap();
    assert_eq!(ensured.topic_id, created.topic_id, "the same topic");
    let other = NewTopic::new("orders").partitions(3);
    let error = admin.ensure_topic(other).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::TopicExists),
        "with other partitions"
    );
    assert!(error.to_string().contains("partition_count=8"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn offsets_are_looked_up() {
    let (broker, client) = broker();
    broker.state().log.create("orders", 2);
    broker.append("orders", 1, &["a", "b"]);
    let found = client
        .admin()
        .lookup_offsets(Source::new("orders").start(Start::End))
        .await;
    let found = found.unwrap();
    assert_eq!(found.lsn.get(), 1, "LSN");
    let offsets: Vec<_> = found.offsets.iter().map(|it| it.offset.get()).collect();
    assert_eq!(offsets, [0, 2], "offsets");
    let single = Start::Offsets(vec![(found.offsets[0].partition, Offset::ZERO)]);
    let error = client
        .admin()
        .lookup_offsets(Source::new("orders").start(single))
        .await;
    assert_eq!(
        error.unwrap_err().reason(),
        Some(ErrorReason::InvalidArgument),
        "single offsets"
    );
}

#[tokio::test(start_paused = true)]
async fn the_broker_tells_about_itself() {
    let (_broker, client) = broker();
    let info = client.admin().server_info().await.unwrap();
    assert_eq!(
        (info.version.as_str(), info.incarnation),
        ("0.1.0", 3),
        "version and life"
    );
    assert_eq!(info.limits, towpath_client::Limits::default(), "limits");
}

#[tokio::test(start_paused = true)]
async fn harmless_calls_are_repeated_until_patience_ends() {
    let (broker, client) = broker();
    broker.state().log.create("orders", 1);
    broker
        .state()
        .on_call
        .extend([ErrorReason::Overloaded, ErrorReason::ShuttingDown]);
    client.admin().topic("orders").await.unwrap();
    assert_eq!(broker.state().calls.len(), 3, "calls");

    broker.go_down();
    let start = Instant::now();
    let error = client.admin().topic("orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "kind");
    let waited = start.elapsed();
    let patience = Duration::from_secs(30);
    assert!(
        patience <= waited + Duration::from_millis(100) && waited <= patience,
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_are_repeated_only_while_nothing_can_have_happened() {
    let (broker, client) = broker();
    broker.state().on_call.extend([ErrorReason::Overloaded]);
    client.admin().create_topic("orders").await.unwrap();
    broker.state().on_call.extend([ErrorReason::Internal]);
    let error = client.admin().create_topic("payments").await.unwrap_err();
    assert!(error.may_have_happened(), "in doubt");
    let creations = broker
        .state()
        .calls
        .iter()
        .filter(|it| **it == "create_topic")
        .count();
    assert_eq!(creations, 3, "calls");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_does_not_pass_by_itself_is_told_at_once() {
    let (broker, client) = broker();
    broker.state().on_call.extend([ErrorReason::LimitReached]);
    let error = client.admin().create_topic("orders").await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::LimitReached), "{error}");
    assert_eq!(broker.state().calls, ["create_topic"], "one call");
}

#[tokio::test(start_paused = true)]
async fn records_are_published_at_once() {
    let (broker, client) = broker();
    broker.state().log.create("orders", 4);
    let records = [Record::new("a").key("42"), Record::new("b").key("42")];
    let positions = client.publish("orders", records).await.unwrap();
    assert_eq!(positions.len(), 2, "positions");
    assert_eq!(positions[0].partition, positions[1].partition, "partition");
    assert_eq!(positions[1].offset.get(), 1, "offset");
    let apart = [
        Record::new("a").partition(positions[0].partition),
        Record::new("b"),
    ];
    let error = client.publish("orders", apart).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::InvalidArgument),
        "different partitions"
    );
    let error = client
        .publish("ordres", [Record::new("a")])
        .await
        .unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::TopicNotFound),
        "unknown topic"
    );
}

#[tokio::test(start_paused = true)]
async fn events_keep_their_envelope_on_the_way() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct OrderPlaced {
        order: u64,
    }
    let (broker, client) = broker();
    broker.state().log.create("orders", 1);
    let event = Event::json("order.placed", &OrderPlaced { order: 42 }).unwrap();
    let event = event.key("42").correlation_id("c-1").id("e-1");
    client.producer("orders").build().send(event).await.unwrap();
    let mut reader = client.reader(["orders"]).build();
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!(
        record.json::<OrderPlaced>().unwrap(),
        OrderPlaced { order: 42 },
        "data"
    );
    assert_eq!(record.key_str(), Some("42"), "key");
    assert_eq!(record.ce_id(), Some("e-1"), "id");
    assert_eq!(record.ce_type(), Some("order.placed"), "type");
    assert_eq!(record.ce_source(), Some("/tests"), "source");
    assert_eq!(record.ce_correlation_id(), Some("c-1"), "correlation id");
    assert_eq!(
        record.content_type(),
        Some("application/json"),
        "content type"
    );
    assert!(
        record.ce_time().unwrap().ends_with('Z'),
        "{:?}",
        record.ce_time()
    );
    assert!(record.json::<String>().is_err(), "another type");
}
