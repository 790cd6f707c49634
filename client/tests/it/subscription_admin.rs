//! Administration of durable subscriptions.

use std::time::Duration;

use towpath_client::{
    Client, ErrorReason, NewSubscription, Offset, OnDeadLetter, PartitionId, Start, Subscription,
    SubscriptionDeletion, SubscriptionMode, SubscriptionSeek, SubscriptionUpdate,
};

use crate::fake::FakeBroker;

fn broker() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    broker.state().log.create("bills", 1);
    (broker, client)
}

fn email() -> NewSubscription {
    NewSubscription::new("email", "orders", Start::End)
        .mode(SubscriptionMode::Exclusive)
        .ack_deadline(Duration::from_mins(1))
        .backoff(Duration::from_secs(2), Duration::from_mins(1))
        .attempts_max(5)
}

#[tokio::test(start_paused = true)]
async fn creating_the_same_again_tells_that_it_existed() {
    let (_broker, client) = broker();
    let admin = client.admin();
    admin.create_subscription(email().dry_run()).await.unwrap();
    let created = admin.create_subscription(email()).await.unwrap();
    assert!(!created.existed, "new");
    let config = &created.subscription.config;
    assert_eq!(config.mode, SubscriptionMode::Exclusive, "mode");
    assert_eq!(config.on_dead_letter, OnDeadLetter::Park, "default");
    assert_eq!(config.ack_deadline, Duration::from_mins(1), "deadline");
    let backoff = (config.backoff_min, config.backoff_max);
    assert_eq!(backoff, (Duration::from_secs(2), Duration::from_mins(1)));
    assert_eq!((config.attempts_max, config.age_max), (5, None), "limits");
    let again = admin.create_subscription(email()).await.unwrap();
    assert!(again.existed, "the same");
    assert_eq!(again.subscription, created.subscription, "the same");
    let other = admin.create_subscription(email().attempts_max(6)).await;
    let error = other.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::SubscriptionExists),
        "{error}"
    );
    let offsets = Start::Offsets(vec![(PartitionId::new(0), Offset::ZERO)]);
    let single = NewSubscription::new("x", "orders", offsets);
    let error = admin.create_subscription(single).await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::InvalidArgument),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn creating_is_repeated_whatever_may_have_happened() {
    let (broker, client) = broker();
    let reasons = [ErrorReason::ShuttingDown, ErrorReason::Overloaded];
    broker.state().on_call.extend(reasons);
    client.admin().create_subscription(email()).await.unwrap();
    let calls = broker.state().calls.len();
    assert_eq!(calls, 3, "until it succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_shown_with_who_receives_and_how_far_it_is() {
    let (broker, client) = broker();
    broker.append("orders", 0, &["a"]);
    let admin = client.admin();
    admin.create_subscription(email()).await.unwrap();
    let shown = admin.subscription("email").await.unwrap();
    assert_eq!((shown.lsn.get(), shown.topic.as_str()), (1, "orders"));
    let consumer = &shown.consumers[0];
    assert_eq!(consumer.consumer_id, "01".repeat(16), "as digits");
    assert_eq!(
        (consumer.client_name.as_str(), consumer.is_active),
        ("/tests", true)
    );
    let partition = &shown.partitions[0];
    assert_eq!(partition.lag, Duration::from_millis(1_500), "lag");
    assert_eq!(partition.halt_reason.as_deref(), Some("damaged"), "halt");
    assert_eq!(partition.parked_keys, 2, "parked");
    let dead_letters = shown.dead_letter_topic.as_ref().map(|it| it.as_str());
    assert_eq!(dead_letters, Some("email.dlq"), "of dead letters");
    let problem = shown.dead_letter_problem.as_deref();
    assert_eq!(problem, Some("it is full"), "problem");
    let error = admin.subscription("emial").await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::SubscriptionNotFound),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_listed_over_several_pages() {
    let (_broker, client) = broker();
    let admin = client.admin();
    for (name, topic) in [
        ("a1", "orders"),
        ("a2", "bills"),
        ("a3", "orders"),
        ("b", "orders"),
    ] {
        let new = NewSubscription::new(name, topic, Start::Beginning);
        admin.create_subscription(new).await.unwrap();
    }
    let names = |listed: Vec<Subscription>| -> Vec<String> {
        listed.iter().map(|it| it.name.to_string()).collect()
    };
    let all = admin.subscriptions_with_prefix("", None).await.unwrap();
    assert_eq!(names(all), ["a1", "a2", "a3", "b"]);
    let some = admin
        .subscriptions_with_prefix("a", Some("orders"))
        .await
        .unwrap();
    assert_eq!(names(some), ["a1", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_an_update_names_is_changed_and_only_if_nobody_else_did() {
    let (_broker, client) = broker();
    let admin = client.admin();
    let created = admin
        .create_subscription(email())
        .await
        .unwrap()
        .subscription;
    let update = SubscriptionUpdate::new("email")
        .ack_deadline(Duration::from_secs(5))
        .age_max(Duration::from_hours(1))
        .if_unchanged(&created.etag);
    let updated = admin.update_subscription(update.clone()).await.unwrap();
    assert_eq!(
        updated.config.ack_deadline,
        Duration::from_secs(5),
        "changed"
    );
    assert_eq!(
        updated.config.age_max,
        Some(Duration::from_hours(1)),
        "changed"
    );
    assert_eq!(updated.config.attempts_max, 5, "as it was");
    let error = admin.update_subscription(update).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::EtagMismatch), "{error}");
    let update = SubscriptionUpdate::new("email")
        .unset_age_max()
        .attempts_max(7)
        .backoff(Duration::from_secs(1), Duration::from_secs(3));
    let updated = admin.update_subscription(update).await.unwrap().config;
    let changed = (updated.age_max, updated.attempts_max, updated.backoff_max);
    assert_eq!(changed, (None, 7, Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_paused_moved_and_deleted() {
    let (_broker, client) = broker();
    let admin = client.admin();
    admin.create_subscription(email()).await.unwrap();
    admin.pause_subscription("email").await.unwrap();
    assert!(
        admin.subscription("email").await.unwrap().is_paused,
        "paused"
    );
    admin.resume_subscription("email").await.unwrap();
    assert!(
        !admin.subscription("email").await.unwrap().is_paused,
        "resumed"
    );

    let seek = SubscriptionSeek::to("email", Start::Offset(Offset::new(7)));
    let seek = seek.partitions([PartitionId::new(1)]);
    for (seek, lag) in [(seek.clone().dry_run(), 1), (seek, 0)] {
        let sought = admin.seek_subscription(seek).await.unwrap();
        let found = (sought[0].partition.get(), sought[0].to_offset.get());
        assert_eq!((found, sought[0].lag_records), ((1, 7), lag), "sought");
    }
    let offsets = Start::Offsets(Vec::new());
    let error = admin
        .seek_subscription(SubscriptionSeek::to("email", offsets))
        .await;
    let error = error.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::InvalidArgument),
        "{error}"
    );

    let deletion = SubscriptionDeletion::new("email").dry_run();
    admin.delete_subscription(deletion).await.unwrap();
    admin.delete_subscription("email").await.unwrap();
    let error = admin.delete_subscription("email").await.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::SubscriptionNotFound),
        "{error}"
    );
}
