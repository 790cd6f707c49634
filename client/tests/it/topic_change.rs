//! Settings of topics, and trims, as the SDK asks for them and tells of them.

use std::time::{Duration, UNIX_EPOCH};

use towpath_client::{
    Admin, Client, Error, ErrorReason, NewTopic, Offset, PartitionId, StaleRecords, Start, Topic,
    TopicId, TopicTrim, TopicUpdate, TrimmedTopic,
};

use crate::fake::FakeBroker;

const DAY: Duration = Duration::from_hours(24);

/// A broker with the topic `orders`, which keeps a day and 1,000 bytes.
async fn orders() -> (FakeBroker, Admin) {
    let broker = FakeBroker::start();
    let admin = broker.client().admin();
    let orders = NewTopic::new("orders").partitions(1);
    let orders = orders.retention_age(DAY).retention_bytes(1000);
    admin.create_topic(orders).await.unwrap();
    (broker, admin)
}

fn settings(topic: &Topic) -> (Option<Duration>, Option<u64>) {
    (topic.retention_age, topic.retention_bytes)
}

#[tokio::test(start_paused = true)]
async fn a_topic_has_the_settings_it_is_created_with() {
    let (_broker, admin) = orders().await;
    let topic = admin.topic("orders").await.unwrap();
    assert_eq!(settings(&topic), (Some(DAY), Some(1000)), "as asked for");
    let plain = admin.create_topic("plain").await.unwrap();
    assert_eq!(settings(&plain), (None, None), "nothing was asked for");
}

#[tokio::test(start_paused = true)]
async fn what_a_topic_compares_is_asked_for_and_shown() {
    let broker = FakeBroker::start();
    let admin = broker.client().admin();
    let minute = Duration::from_mins(1);
    let accounts = || NewTopic::new("accounts");
    let wanted = accounts()
        .dedupe_window(minute)
        .key_versions()
        .stale_records(StaleRecords::Mark);
    let compared = |topic: &Topic| {
        let (window, stale) = (topic.dedupe_window, topic.stale_records);
        (window, topic.has_key_versions, stale)
    };
    let created = admin.create_topic(wanted.clone()).await.unwrap();
    let as_asked = (Some(minute), true, Some(StaleRecords::Mark));
    assert_eq!(compared(&created), as_asked, "as asked for");
    let plain = admin.create_topic("plain").await.unwrap();
    assert_eq!(compared(&plain), (None, false, None), "nothing");
    // Ensured are what is asked for, and nothing else.
    admin.ensure_topic(wanted.clone()).await.unwrap();
    admin.ensure_topic("accounts").await.unwrap();
    let refuse = accounts().stale_records(StaleRecords::Refuse);
    let differences = [
        (
            accounts().dedupe_window(2 * minute),
            "dedupe_window_ms=60000",
        ),
        (refuse, "stale_records=mark"),
        (NewTopic::new("plain").key_versions(), "key_versions=false"),
    ];
    for (topic, difference) in differences {
        let error = admin.ensure_topic(topic).await.unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::TopicExists), "{error}");
        assert!(error.to_string().contains(difference), "{error}");
    }
    let longer = TopicUpdate::new("accounts").dedupe_window(2 * minute);
    let changed = admin.update_topic(longer).await.unwrap();
    let expected = (Some(2 * minute), true, Some(StaleRecords::Mark));
    assert_eq!(compared(&changed), expected, "only the window");
    let unset = TopicUpdate::new("accounts").unset_dedupe_window();
    let changed = admin.update_topic(unset).await.unwrap();
    assert_eq!(changed.dedupe_window, None, "unset");
}

#[tokio::test(start_paused = true)]
async fn what_is_ensured_has_the_settings_that_are_asked_for() {
    let (_broker, admin) = orders().await;
    let orders = || NewTopic::new("orders").partitions(1);
    admin.ensure_topic("orders").await.unwrap();
    admin
        .ensure_topic(orders().retention_age(DAY))
        .await
        .unwrap();
    admin.create_topic("plain").await.unwrap();
    let check = async |topic: NewTopic, difference: &str| {
        let error = admin.ensure_topic(topic).await.unwrap_err();
        assert_eq!(error.reason(), Some(ErrorReason::TopicExists), "{error}");
        assert!(error.to_string().contains(difference), "{error}");
    };
    check(orders().retention_age(2 * DAY), "retention_age_ms=86400000").await;
    check(orders().retention_bytes(1), "retention_bytes=1000").await;
    check(
        NewTopic::new("plain").retention_age(DAY),
        "retention_age_ms=none",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_update_changes_what_it_names_and_nothing_else() {
    let update = || TopicUpdate::new("orders");
    let check = async |update: TopicUpdate, expected| {
        let (_broker, admin) = orders().await;
        let updated = admin.update_topic(update.clone()).await.unwrap();
        assert_eq!(settings(&updated), expected, "{update:?}");
        let topic = admin.topic("orders").await.unwrap();
        assert_eq!(settings(&topic), expected, "{update:?}");
        assert_eq!(topic.etag, updated.etag, "{update:?}");
    };
    check(update(), (Some(DAY), Some(1000))).await;
    check(update().retention_age(2 * DAY), (Some(2 * DAY), Some(1000))).await;
    check(update().retention_bytes(7), (Some(DAY), Some(7))).await;
    check(update().unset_retention_age(), (None, Some(1000))).await;
    check(update().unset_retention_bytes(), (Some(DAY), None)).await;
    let both = update().unset_retention_age().retention_bytes(7);
    check(both, (None, Some(7))).await;
    let last = update().unset_retention_age().retention_age(DAY / 2);
    check(last, (Some(DAY / 2), Some(1000))).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_can_be_bound_to_what_was_seen() {
    let (_broker, admin) = orders().await;
    let seen = admin.topic("orders").await.unwrap().etag;
    let update = |etag: &str, bytes| {
        let update = TopicUpdate::new("orders").retention_bytes(bytes);
        admin.update_topic(update.if_unchanged(etag))
    };
    let first = update(&seen, 2000).await.unwrap();
    assert_ne!(first.etag, seen, "changed");
    let error = update(&seen, 3000).await.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::EtagMismatch), "{error}");
    assert_eq!(error.metadata("etag"), Some(first.etag.as_str()), "now");
    assert!(error.has_no_side_effects(), "{error}");
    update(&first.etag, 4000).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_what_would_be() {
    let (broker, admin) = orders().await;
    broker.append("orders", 0, &["a", "b"]);
    let before = admin.topic("orders").await.unwrap();
    let update = TopicUpdate::new("orders").retention_bytes(7).dry_run();
    let would = admin.update_topic(update).await.unwrap();
    assert_eq!(settings(&would), (Some(DAY), Some(7)), "would be");
    let trim = TopicTrim::before("orders", Start::End).dry_run();
    assert_eq!(
        went(&admin.trim_topic(trim).await.unwrap()),
        ["0: 0..2"],
        "would go"
    );
    assert_eq!(
        admin.topic("orders").await.unwrap(),
        before,
        "nothing changed"
    );
}

/// A broker with `orders`, in two partitions with four records each.
fn eight_records() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    for partition in [0, 1, 0, 1] {
        broker.append("orders", partition, &["a", "b"]);
    }
    (broker, client)
}

fn went(trimmed: &TrimmedTopic) -> Vec<String> {
    let partitions = trimmed.partitions.iter();
    partitions
        .map(|it| format!("{}: {}", it.partition, it.offsets))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_trim_goes_up_to_any_place() {
    let check = async |trim: TopicTrim, expected: &[&str]| {
        let (_broker, client) = eight_records();
        let trimmed = client.admin().trim_topic(trim.clone()).await.unwrap();
        assert_eq!(went(&trimmed), expected, "{trim:?}");
        let again = client.admin().trim_topic(trim.clone()).await.unwrap();
        assert_eq!(went(&again), [""; 0], "{trim:?} again");
        let topic = client.admin().topic("orders").await.unwrap();
        let starts = topic.partitions.iter();
        let starts: Vec<_> = starts.map(|it| it.log_start_offset).collect();
        for partition in &trimmed.partitions {
            let start = starts[partition.partition.get() as usize];
            assert_eq!(start, partition.offsets.end(), "{trim:?}");
        }
    };
    let before = |start| TopicTrim::before("orders", start);
    let of = |number| [PartitionId::new(number)];
    check(before(Start::End), &["0: 0..4", "1: 0..4"]).await;
    check(before(Start::Beginning), &[]).await;
    let offset = Start::Offset(Offset::new(3));
    check(before(offset.clone()), &["0: 0..3", "1: 0..3"]).await;
    check(before(offset).partitions(of(1)), &["1: 0..3"]).await;
    // Append times are seconds, by LSN.
    let time = Start::Time(UNIX_EPOCH + Duration::from_secs(3));
    check(before(time), &["0: 0..2", "1: 0..2"]).await;
}

#[tokio::test(start_paused = true)]
async fn trims_that_cannot_be_are_refused() {
    let (_broker, client) = eight_records();
    let check = async |trim: TopicTrim, reason| -> Error {
        let error = client.admin().trim_topic(trim.clone()).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{trim:?}: {error}");
        error
    };
    let beyond = TopicTrim::before("orders", Start::Offset(Offset::new(5)));
    let error = check(beyond, ErrorReason::OffsetOutOfRange).await;
    assert_eq!(error.metadata("end_offset"), Some("4"), "{error}");
    let other_life = TopicTrim::before("orders", Start::End).only(TopicId::new(99));
    check(other_life, ErrorReason::TopicNotFound).await;
    let single = Start::Offsets(vec![(PartitionId::new(0), Offset::new(1))]);
    let single = TopicTrim::before("orders", single);
    let error = check(single, ErrorReason::InvalidArgument).await;
    assert_eq!(error.metadata("field"), Some("before"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn changes_are_repeated_only_while_nothing_can_have_happened() {
    let (broker, admin) = orders().await;
    let update = || admin.update_topic(TopicUpdate::new("orders").retention_bytes(7));
    let trim = || admin.trim_topic(TopicTrim::before("orders", Start::End));
    let busy = [ErrorReason::Overloaded, ErrorReason::ShuttingDown];
    broker.state().on_call.extend(busy);
    update().await.unwrap();
    broker.state().on_call.extend(busy);
    trim().await.unwrap();
    broker.state().on_call.extend([ErrorReason::Internal]);
    assert!(update().await.unwrap_err().may_have_happened(), "in doubt");
    broker.state().on_call.extend([ErrorReason::Internal]);
    assert!(trim().await.unwrap_err().may_have_happened(), "in doubt");
    let calls = broker.state().calls.clone();
    for name in ["update_topic", "trim_topic"] {
        let count = calls.iter().filter(|call| **call == name).count();
        assert_eq!(count, 4, "{name}: three times, and once in doubt");
    }
}
