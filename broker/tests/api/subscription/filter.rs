//! Filters of subscriptions over the wire.

use super::*;

fn filtered(filter: &str, on_filter_error: v1::OnFilterError) -> v1::CreateSubscriptionRequest {
    let mut config = wish().config.unwrap();
    filter.clone_into(&mut config.filter);
    config.set_on_filter_error(on_filter_error);
    v1::CreateSubscriptionRequest {
        config: Some(config),
        ..wish()
    }
}

fn update(filter: &str, paths: &[&str]) -> v1::UpdateSubscriptionRequest {
    let paths = paths.iter().map(ToString::to_string).collect();
    v1::UpdateSubscriptionRequest {
        name: "billing".to_owned(),
        config: Some(v1::SubscriptionConfig {
            filter: filter.to_owned(),
            ..v1::SubscriptionConfig::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..v1::UpdateSubscriptionRequest::default()
    }
}

async fn partition(broker: &TestBroker) -> v1::SubscriptionPartition {
    get(broker).await.partitions.remove(0)
}

#[tokio::test]
async fn only_what_the_filter_is_true_of_is_delivered() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 1).await;
    let wish = filtered("json.total > 100", v1::OnFilterError::Unspecified);
    let created = create_as(&broker, wish).await.unwrap();
    let config = created.config.unwrap();
    assert_eq!(config.filter, "json.total > 100");
    assert_eq!(config.on_filter_error(), v1::OnFilterError::Deliver);
    let records = [
        ("a", r#"{"total":50}"#),
        ("a", r#"{"total":150}"#),
        ("a", "no json"),
        ("b", r#"{"total":1}"#),
    ];
    publish(&broker, &records).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer
        .receive_values(&[r#"{"total":150}"#, "no json"])
        .await;
    let known = partition(&broker).await;
    assert_eq!((known.filtered_records, known.unjudged_records), (2, 1));
    assert_eq!(known.lag_records, 2, "those that are to be handled");
    consumer.ack_all().await;
    assert_eq!(partition(&broker).await.lag_records, 0);
    let broker = broker.restart().await;
    let mut consumer = Consumer::open(&broker, 1).await;
    publish(&broker, &[("c", r#"{"total":101}"#)]).await;
    consumer.receive_values(&[r#"{"total":101}"#]).await;
    let known = partition(&broker).await;
    assert_eq!((known.filtered_records, known.unjudged_records), (2, 1));
    broker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_judged_goes_to_the_dead_letters_by_choice() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let wish = filtered("json.total > 100", v1::OnFilterError::DeadLetter);
    let created = create_as(&broker, wish).await.unwrap();
    let told = created.config.unwrap().on_filter_error();
    assert_eq!(told, v1::OnFilterError::DeadLetter);
    publish(
        &broker,
        &[("a", "no json"), ("a", r#"{"total":150}"#), ("b", "{}")],
    )
    .await;
    let mut consumer = Consumer::open(&broker, 1).await;
    let found = letters(&broker, 3).await;
    let told = |letter: usize, name: &str| found[letter].1.get(name).map(String::as_str);
    let of = |offset: &str| {
        let is_of = |letter: &usize| told(*letter, "towpath-dlq-offset") == Some(offset);
        (0..3).find(is_of).expect("it is among them")
    };
    let reason = told(of("0"), "towpath-dlq-reason");
    assert_eq!(
        reason,
        Some("the filter cannot judge it: its body is not JSON")
    );
    assert_eq!(told(of("1"), "towpath-dlq-kind"), Some("parked"));
    let reason = told(of("2"), "towpath-dlq-reason");
    assert_eq!(
        reason,
        Some("the filter cannot judge it: the expression fails on it")
    );
    assert_eq!(partition(&broker).await.unjudged_records, 2);

    let mut delivered = update("", &["on_filter_error"]);
    let config = delivered.config.as_mut().unwrap();
    config.set_on_filter_error(v1::OnFilterError::Deliver);
    let changed = soon(client(&broker).update_subscription(delivered)).await;
    let changed = changed.unwrap().into_inner().subscription.unwrap();
    let changed = changed.config.unwrap();
    assert_eq!(changed.filter, "json.total > 100", "as it was");
    assert_eq!(changed.on_filter_error(), v1::OnFilterError::Deliver);
    publish(&broker, &[("d", "no json either")]).await;
    consumer.receive_values(&["no json either"]).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_with_the_place_where_it_goes_wrong() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let unknown = filtered("key == 'a' && nokey", v1::OnFilterError::Deliver);
    let problem = refusal(
        create_as(&broker, unknown).await,
        ErrorReason::InvalidFilter,
    );
    check_facts(&problem, &[("field", "config.filter"), ("position", "15")]);
    create_as(&broker, filtered("key == 'a'", v1::OnFilterError::Deliver))
        .await
        .unwrap();
    let changed = soon(client(&broker).update_subscription(update("1 + 1", &["filter"]))).await;
    let problem = refusal(changed, ErrorReason::InvalidFilter);
    check_facts(&problem, &[("field", "config.filter")]);
    let other = filtered("key == 'b'", v1::OnFilterError::DeadLetter);
    let problem = refusal(
        create_as(&broker, other).await,
        ErrorReason::SubscriptionExists,
    );
    check_facts(&problem, &[("differing", "filter on_filter_error")]);
    broker.stop().await;
}

#[tokio::test]
async fn a_changed_filter_holds_for_what_was_not_looked_at_also_after_a_restart() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    create_as(&broker, filtered("key == 'a'", v1::OnFilterError::Deliver))
        .await
        .unwrap();
    publish(&broker, &[("a", "1"), ("b", "2"), ("a", "3")]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["1", "3"]).await;
    let changed =
        soon(client(&broker).update_subscription(update("key == 'b'", &["filter"]))).await;
    let changed = changed.unwrap().into_inner().subscription.unwrap();
    assert_eq!(changed.config.unwrap().filter, "key == 'b'");
    publish(&broker, &[("a", "4"), ("b", "5")]).await;
    consumer.receive_values(&["1", "3", "5"]).await;
    let broker = broker.restart().await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&["1", "3", "5"]).await;
    consumer.ack_all().await;
    let changed = soon(client(&broker).update_subscription(update("", &["filter"]))).await;
    changed.unwrap();
    publish(&broker, &[("a", "6"), ("b", "7")]).await;
    consumer.receive_values(&["6", "7"]).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_long_stretch_that_nobody_wants_is_passed() {
    const BATCHES: usize = 100;
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let wish = filtered("json.wanted == true", v1::OnFilterError::Deliver);
    create_as(&broker, wish).await.unwrap();
    let unwanted = vec![("k", r#"{"wanted":false,"order":"o-1","total":150}"#); 1_000];
    for _ in 0..BATCHES {
        publish(&broker, &unwanted).await;
    }
    publish(&broker, &[("k", r#"{"wanted":true}"#)]).await;
    let mut consumer = Consumer::open(&broker, 1).await;
    consumer.receive_values(&[r#"{"wanted":true}"#]).await;
    let known = partition(&broker).await;
    assert_eq!(known.filtered_records, 100_000);
    assert!(known.floor_offset > 98_000, "{}", known.floor_offset);
    assert_eq!(known.lag_records, 1);
    consumer.ack_all().await;
    assert_eq!(partition(&broker).await.lag_records, 0);
    broker.stop().await;
}
