//! Single records of durable subscriptions.

use std::time::{Duration, SystemTime};

use towpath_client::{
    Client, ErrorReason, FilterVerdict, NewSubscription, ObstacleKind, Offset, OnFilterError,
    PartitionId, PendingList, RecordState, Start, SubscriptionUpdate,
};

use crate::fake::FakeBroker;

async fn broker() -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    let wish = NewSubscription::new("billing", "orders", Start::End)
        .filter("size > 1")
        .on_filter_error(OnFilterError::DeadLetter);
    let created = client.admin().create_subscription(wish).await.unwrap();
    let config = created.subscription.config;
    assert_eq!(config.filter.as_deref(), Some("size > 1"), "filter");
    assert_eq!(config.on_filter_error, OnFilterError::DeadLetter, "rule");
    (broker, client)
}

fn at_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn pending_records_are_listed_page_by_page() {
    let (_broker, client) = broker().await;
    let mut next = Some(
        PendingList::new("billing")
            .partitions([PartitionId::new(1)])
            .state(RecordState::Waiting),
    );
    let mut pages = Vec::new();
    while let Some(list) = next {
        let page = client.admin().list_pending(list).await.unwrap();
        let is_right = |it: &towpath_client::PendingRecord| {
            it.state == RecordState::Waiting && it.partition.get() == 1 && it.holder.is_none()
        };
        assert!(page.records.iter().all(is_right), "{page:?}");
        pages.push(
            page.records
                .iter()
                .map(|it| it.offset.get())
                .collect::<Vec<_>>(),
        );
        next = page.next;
    }
    assert_eq!(pages, [vec![1, 2], vec![], vec![3]]);
    let missing = client.admin().list_pending(PendingList::new("other")).await;
    let error = missing.unwrap_err();
    assert_eq!(
        error.reason(),
        Some(ErrorReason::SubscriptionNotFound),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_is_explained_with_all_that_is_known() {
    let (_broker, client) = broker().await;
    let (partition, offset) = (PartitionId::new(1), Offset::new(5));
    let explained = client
        .admin()
        .explain_record("billing", partition, offset)
        .await
        .unwrap();
    let record = &explained.record;
    assert_eq!((record.partition, record.offset), (partition, offset));
    assert_eq!((record.state, record.attempt), (RecordState::InFlight, 3));
    let holder = record.holder.as_ref().unwrap();
    assert_eq!(holder.consumer_id, "ab".repeat(16));
    assert_eq!(
        (holder.delivery_time, holder.deadline),
        (at_ms(1_000), at_ms(2_000))
    );
    assert!(holder.is_started);
    assert_eq!(record.next_attempt, Some(at_ms(3_000)));
    assert!(record.is_suspect);
    assert_eq!(record.failures[0].time, at_ms(500));
    assert_eq!(record.behind, Some(Offset::new(4)));
    assert_eq!(explained.obstacles[0].kind, ObstacleKind::Key);
    assert_eq!(explained.filter_verdict, Some(FilterVerdict::Unjudged));
    assert_eq!(
        explained.dead_letter,
        Some(("billing.dlq".to_owned(), Offset::ZERO))
    );
    assert!(explained.redriven.is_some_and(|it| it.is_redriven));
}

#[tokio::test(start_paused = true)]
async fn a_filter_is_changed_and_taken_away() {
    let (_broker, client) = broker().await;
    let update = SubscriptionUpdate::new("billing")
        .filter("size > 2")
        .on_filter_error(OnFilterError::Deliver);
    let changed = client.admin().update_subscription(update).await.unwrap();
    assert_eq!(changed.config.filter.as_deref(), Some("size > 2"));
    assert_eq!(changed.config.on_filter_error, OnFilterError::Deliver);
    let update = SubscriptionUpdate::new("billing").unset_filter();
    let changed = client.admin().update_subscription(update).await.unwrap();
    assert_eq!(changed.config.filter, None);
}
