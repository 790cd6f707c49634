//! Records that are delivered later.

use std::time::{Duration, SystemTime};

use towpath_client::{
    Due, ErrorReason, PartitionId, Record, Schedule, ScheduleList, ScheduledRecord,
};

use crate::fake::{FakeBroker, OnCommit};

fn at_ms(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

async fn list(client: &towpath_client::Client, topic: &str) -> Vec<ScheduledRecord> {
    let mut next = Some(ScheduleList::new().topic(topic));
    let mut records = Vec::new();
    while let Some(list) = next {
        let page = client.admin().list_schedules(list).await.unwrap();
        records.extend(page.records);
        next = page.next;
    }
    records
}

#[tokio::test(start_paused = true)]
async fn a_record_is_scheduled_once_however_often_it_is_sent() {
    let (broker, client) = FakeBroker::with_topic("reminders", 2);
    let cut = [OnCommit::CommitAndCut, OnCommit::Cut];
    broker.state().on_commit.extend(cut);
    let record = Record::new("v").key("k").partition(PartitionId::new(1));
    let call = client
        .schedule("reminders", record)
        .after(Duration::from_secs(60));
    let scheduled = call.id("one").send().await.unwrap();
    assert_eq!(
        (scheduled.id.as_str(), scheduled.partition.get()),
        ("one", 1)
    );
    assert_eq!(scheduled.due_time, at_ms(61_000));
    let again = client
        .schedule("reminders", Record::new("v"))
        .at(at_ms(5))
        .id("one")
        .send()
        .await;
    assert_eq!(
        again.unwrap_err().reason(),
        Some(ErrorReason::ScheduleExists)
    );
    let unnamed = client
        .schedule("reminders", Record::new("w"))
        .due(at_ms(9_000))
        .send()
        .await;
    assert_eq!(unnamed.unwrap().id, "@1");
    let listed = list(&client, "reminders").await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[1].key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(
        (listed[1].due_time, listed[1].accept_time),
        (at_ms(61_000), at_ms(1_000))
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_schedules_with_what_else_it_does() {
    let (broker, client) = FakeBroker::with_topic("reminders", 1);
    broker.state().log.create("orders", 1);
    let later =
        |value: &'static str| Schedule::new("reminders", Record::new(value)).after(Duration::ZERO);
    let commit = client
        .commit()
        .schedule(later("a").id("first"))
        .append("orders", Record::new("now"))
        .schedule(later("b"));
    let committed = commit.send().await.unwrap();
    let ids: Vec<_> = committed.scheduled().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["first", "@1"]);
    assert_eq!(committed.scheduled_of(1), None, "it appends");
    assert_eq!(
        committed.scheduled_of(2).map(|it| it.id.as_str()),
        Some("@1")
    );
    assert_eq!(committed.positions().count(), 1);

    // It is said which operation has no time, or an id that is taken.
    let untimed = client
        .commit()
        .append("orders", Record::new("x"))
        .schedule(Schedule::new("reminders", Record::new("c")));
    let failed = untimed.send().await.unwrap_err();
    assert_eq!(
        (failed.operation(), failed.error().metadata("field")),
        (Some(1), Some("time"))
    );
    let taken = client
        .commit()
        .append("orders", Record::new("x"))
        .schedule(later("c").id("first"));
    let failed = taken.send().await.unwrap_err();
    assert_eq!(failed.error().reason(), Some(ErrorReason::ScheduleExists));
    assert_eq!(failed.operation(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_scheduled_is_cancelled_and_rescheduled() {
    let (broker, client) = FakeBroker::with_topic("reminders", 1);
    for number in 1..=5 {
        let call = client
            .schedule("reminders", Record::new("v"))
            .at(at_ms(number * 10_000));
        call.id(number.to_string()).send().await.unwrap();
    }
    let admin = client.admin();
    broker.state().on_call.push_back(ErrorReason::Overloaded);
    assert_eq!(
        admin.cancel_schedule("reminders", "2").await.unwrap(),
        at_ms(20_000)
    );
    let gone = admin.cancel_schedule("reminders", "2").await.unwrap_err();
    assert_eq!(gone.reason(), Some(ErrorReason::ScheduleNotFound));
    let moved = admin
        .reschedule("reminders", "1", Duration::from_secs(99))
        .await;
    assert_eq!(moved.unwrap(), at_ms(100_000));
    let moved = admin
        .reschedule("reminders", "4", Due::At(at_ms(1_500)))
        .await;
    assert_eq!(moved.unwrap(), at_ms(1_500));
    let ids = list(&client, "").await.into_iter().map(|it| it.id);
    assert_eq!(ids.collect::<Vec<_>>(), ["4", "3", "5", "1"]);
    let page = admin
        .list_schedules(ScheduleList::new().page_size(2))
        .await
        .unwrap();
    assert_eq!((page.records.len(), page.scheduled_count), (2, 4));
}
