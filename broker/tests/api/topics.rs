//! Creating, showing, listing and deleting topics.

use towpath_proto::limits;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;

use crate::harness::{TestBroker, check_facts, refusal, soon};

fn create(name: &str) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest {
        name: name.to_owned(),
        ..v1::CreateTopicRequest::default()
    }
}

fn get(name: &str) -> v1::GetTopicRequest {
    let name = name.to_owned();
    v1::GetTopicRequest { name }
}

fn delete(name: &str) -> v1::DeleteTopicRequest {
    v1::DeleteTopicRequest {
        name: name.to_owned(),
        ..v1::DeleteTopicRequest::default()
    }
}

#[tokio::test]
async fn a_topic_has_eight_partitions_unless_told_otherwise() {
    let broker = TestBroker::start().await;
    let created = soon(broker.topics().create_topic(create("orders"))).await;
    let topic = created.unwrap().into_inner().topic.unwrap();
    assert_eq!((topic.name.as_str(), topic.partition_count), ("orders", 8));
    assert_eq!((topic.topic_id, topic.record_count), (1, 0));
    assert!(topic.create_time_ms > 0, "a time");
    broker.create("few", 3).await;
    let shown = soon(broker.topics().get_topic(get("few"))).await.unwrap();
    let partitions = shown.into_inner().topic.unwrap().partitions;
    let numbers: Vec<_> = partitions.iter().map(|it| it.partition).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[tokio::test]
async fn a_topic_shows_where_its_partitions_begin_and_end() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    let published = broker.publish("orders", 1, &["a", "b", "c"]).await;
    let shown = soon(broker.topics().get_topic(get("orders"))).await;
    let shown = shown.unwrap().into_inner();
    let topic = shown.topic.unwrap();
    assert!(shown.lsn >= published.lsn, "lsn {}", shown.lsn);
    assert_eq!(topic.record_count, 3);
    let [empty, full] = topic.partitions.as_slice() else {
        panic!("{topic:?}");
    };
    assert_eq!((empty.log_start_offset, empty.end_offset), (0, 0));
    assert_eq!((full.log_start_offset, full.end_offset), (0, 3));
    assert_eq!(full.last_append_time_ms, Some(published.append_time_ms));
    assert_eq!(empty.last_append_time_ms, None);
    assert!(
        full.size_bytes > 0 && topic.size_bytes == full.size_bytes,
        "{topic:?}"
    );
}

#[tokio::test]
async fn what_is_only_validated_does_not_exist() {
    let broker = TestBroker::start().await;
    let validate = v1::CreateTopicRequest {
        validate_only: true,
        ..create("orders")
    };
    let answer = soon(broker.topics().create_topic(validate.clone())).await;
    let topic = answer.unwrap().into_inner().topic.unwrap();
    assert_eq!((topic.partition_count, topic.topic_id), (8, 0));
    let shown = soon(broker.topics().get_topic(get("orders"))).await;
    refusal(shown, ErrorReason::TopicNotFound);
    broker.create("orders", 1).await;
    let again = soon(broker.topics().create_topic(validate)).await;
    refusal(again, ErrorReason::TopicExists);
    let delete = v1::DeleteTopicRequest {
        validate_only: true,
        ..delete("orders")
    };
    soon(broker.topics().delete_topic(delete)).await.unwrap();
    soon(broker.topics().get_topic(get("orders")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_is_given_once() {
    let broker = TestBroker::start().await;
    let id = broker.create("orders", 5).await.to_string();
    let again = soon(broker.topics().create_topic(create("orders"))).await;
    let problem = refusal(again, ErrorReason::TopicExists);
    check_facts(
        &problem,
        &[
            ("topic", "orders"),
            ("topic_id", &id),
            ("partition_count", "5"),
        ],
    );
}

#[tokio::test]
async fn names_keep_to_the_rules() {
    let broker = TestBroker::start().await;
    let long = "n".repeat(201);
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a b",
        "preis-\u{20ac}",
        "a\0",
        &long,
    ] {
        let created = soon(broker.topics().create_topic(create(name))).await;
        let problem = refusal(created, ErrorReason::InvalidArgument);
        check_facts(&problem, &[("field", "name")]);
        let shown = soon(broker.topics().get_topic(get(name))).await;
        refusal(shown, ErrorReason::InvalidArgument);
    }
    for name in ["a", "A.b_c-9", &"n".repeat(200)] {
        broker.create(name, 1).await;
    }
}

#[tokio::test]
async fn the_number_of_partitions_has_a_limit() {
    let broker = TestBroker::start().await;
    let too_many = v1::CreateTopicRequest {
        partition_count: limits::PARTITIONS_PER_TOPIC_MAX + 1,
        ..create("orders")
    };
    let created = soon(broker.topics().create_topic(too_many)).await;
    let problem = refusal(created, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "partition_count")]);
}

#[tokio::test]
async fn the_number_of_topics_has_a_limit() {
    let mut config = crate::harness::config();
    config.engine.core.topic_count_max = 1;
    let broker = TestBroker::start_with(config).await;
    broker.create("first", 1).await;
    let second = soon(broker.topics().create_topic(create("second"))).await;
    let problem = refusal(second, ErrorReason::LimitReached);
    check_facts(&problem, &[("limit", "topics_max"), ("limit_value", "1")]);
}

#[tokio::test]
async fn topics_of_dead_letters_are_counted_only_once_their_subscription_is_gone() {
    let mut config = crate::harness::config();
    config.engine.core.topic_count_max = 1;
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let subscribe = async |name: &str| {
        let wish = v1::CreateSubscriptionRequest {
            name: name.to_owned(),
            ..crate::consumer::wish()
        };
        crate::consumer::create_as(&broker, wish).await
    };
    subscribe("billing").await.unwrap();
    subscribe("audit").await.unwrap();
    let delete = v1::DeleteSubscriptionRequest {
        name: "billing".to_owned(),
        ..v1::DeleteSubscriptionRequest::default()
    };
    let mut client = crate::consumer::client(&broker);
    soon(client.delete_subscription(delete)).await.unwrap();
    let problem = refusal(subscribe("email").await, ErrorReason::LimitReached);
    check_facts(&problem, &[("limit", "topics_max"), ("limit_value", "1")]);
    // Its own is there still.
    subscribe("billing").await.unwrap();
    subscribe("email").await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_brings_the_one_that_was_probably_meant() {
    let broker = TestBroker::start().await;
    for name in ["orders", "payments", "x"] {
        broker.create(name, 1).await;
    }
    let check = async |name: &str, hint: Option<&str>| {
        let shown = soon(broker.topics().get_topic(get(name))).await;
        let problem = refusal(shown, ErrorReason::TopicNotFound);
        check_facts(&problem, &[("topic", name)]);
        assert_eq!(problem.hint(), hint, "{name}");
    };
    check("ordres", Some("did you mean \"orders\"?")).await;
    check("order", Some("did you mean \"orders\"?")).await;
    check("Payment", Some("did you mean \"payments\"?")).await;
    check("shipments-of-last-year", None).await;
}

#[tokio::test]
async fn a_list_comes_in_pages_in_the_order_of_names() {
    let broker = TestBroker::start().await;
    for name in ["b.2", "a", "b.1", "b.3", "c"] {
        broker.create(name, 1).await;
    }
    let list = async |page_size, page_token: &str, name_prefix: &str| {
        let request = v1::ListTopicsRequest {
            page_size,
            page_token: page_token.to_owned(),
            name_prefix: name_prefix.to_owned(),
        };
        let page = soon(broker.topics().list_topics(request)).await.unwrap();
        let page = page.into_inner();
        let names: Vec<_> = page.topics.iter().map(|topic| topic.name.clone()).collect();
        (names.join(" "), page.next_page_token)
    };
    let (all, end) = list(0, "", "").await;
    assert_eq!((all.as_str(), end.as_str()), ("a b.1 b.2 b.3 c", ""));
    let (first, token) = list(2, "", "b.").await;
    assert_eq!(first, "b.1 b.2");
    let (second, end) = list(2, &token, "b.").await;
    assert_eq!((second.as_str(), end.as_str()), ("b.3", ""));
    assert_eq!(list(5, "", "").await.1, "", "a full last page is the last");
    assert_eq!(list(9, "", "d").await.0, "");
}

#[tokio::test]
async fn a_page_token_of_someone_else_is_refused() {
    let broker = TestBroker::start().await;
    let request = v1::ListTopicsRequest {
        page_token: "/not ours/".to_owned(),
        ..v1::ListTopicsRequest::default()
    };
    let page = soon(broker.topics().list_topics(request)).await;
    let problem = refusal(page, ErrorReason::InvalidArgument);
    check_facts(&problem, &[("field", "page_token")]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_free_for_another() {
    let broker = TestBroker::start().await;
    let first = broker.create("orders", 2).await;
    broker.publish("orders", 0, &["old"]).await;
    broker.delete("orders").await;
    let shown = soon(broker.topics().get_topic(get("orders"))).await;
    refusal(shown, ErrorReason::TopicNotFound);
    let second = broker.create("orders", 1).await;
    assert!(second > first, "{second} after {first}");
    let shown = soon(broker.topics().get_topic(get("orders")))
        .await
        .unwrap();
    assert_eq!(shown.into_inner().topic.unwrap().record_count, 0);
    let stale = v1::DeleteTopicRequest {
        topic_id: Some(first),
        ..delete("orders")
    };
    let deleted = soon(broker.topics().delete_topic(stale)).await;
    refusal(deleted, ErrorReason::TopicNotFound);
    soon(broker.topics().get_topic(get("orders")))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_broker_tells_who_it_is_and_what_it_accepts() {
    let broker = TestBroker::start().await;
    let info = async |broker: &TestBroker| {
        let request = v1::GetServerInfoRequest {};
        let info = soon(broker.admin().get_server_info(request)).await;
        info.unwrap().into_inner()
    };
    let first = info(&broker).await;
    assert_eq!(first.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(
        first.broker_id,
        broker.broker.identity().broker_id.to_string()
    );
    assert_eq!(first.limits, Some(limits::published()));
    assert!(first.durability.contains("synced"), "{}", first.durability);
    let broker = broker.restart().await;
    let second = info(&broker).await;
    assert_eq!(second.broker_id, first.broker_id);
    assert!(second.incarnation > first.incarnation, "a life later");
}
