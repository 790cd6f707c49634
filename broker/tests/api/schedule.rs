//! Records that are delivered later.

mod exact;
mod refused;

use tonic::Status;
use tonic::transport::Channel;
use towpath_broker::Config;
use towpath_proto::reason::ErrorReason;
use towpath_proto::schedule;
use towpath_proto::v1;
use towpath_proto::v1::commit_service_client::CommitServiceClient;
use towpath_proto::v1::operation::Operation as Kind;
use towpath_proto::v1::schedule_service_client::ScheduleServiceClient;
use towpath_proto::v1::schedule_time::Time;

use crate::harness::{
    Reader, TestBroker, all_values, check_facts, config, record, refusal, soon, source, values,
};

const HOUR_MS: u64 = 3_600_000;

fn client(broker: &TestBroker) -> ScheduleServiceClient<Channel> {
    ScheduleServiceClient::new(broker.channel.clone())
}

fn time(time: Time) -> v1::ScheduleTime {
    v1::ScheduleTime { time: Some(time) }
}

/// A record of partition 0.
fn later(topic: &str, value: &str, id: &str, at: Time) -> v1::ScheduleRecord {
    v1::ScheduleRecord {
        topic: topic.to_owned(),
        record: Some(record(None, value)),
        partition: Some(0),
        time: Some(time(at)),
        schedule_id: id.to_owned(),
    }
}

async fn commit(
    broker: &TestBroker,
    key: &'static str,
    operations: Vec<Kind>,
) -> Result<v1::CommitResponse, Status> {
    let operations = operations.into_iter().map(|operation| v1::Operation {
        operation: Some(operation),
    });
    let request = v1::CommitRequest {
        operations: operations.collect(),
        idempotency_key: key.as_bytes().into(),
    };
    let mut client = CommitServiceClient::new(broker.channel.clone());
    Ok(soon(client.commit(request)).await?.into_inner())
}

/// Schedules records, and returns where they stand.
async fn schedule(
    broker: &TestBroker,
    records: Vec<v1::ScheduleRecord>,
) -> Result<Vec<v1::ScheduledPosition>, Status> {
    let operations = records.into_iter().map(Kind::Schedule).collect();
    let committed = commit(broker, "", operations).await?;
    let results = committed.results.into_iter();
    Ok(results.map(|it| it.scheduled.expect("scheduled")).collect())
}

/// Schedules a record for each delay, in milliseconds.
pub(crate) async fn schedule_in(broker: &TestBroker, topic: &str, delays: &[u64]) {
    let records = delays
        .iter()
        .map(|delay| later(topic, "v", "", Time::DelayMs(*delay)));
    schedule(broker, records.collect()).await.unwrap();
}

async fn cancel(broker: &TestBroker, topic: &str, id: &str) -> Result<i64, Status> {
    let request = v1::CancelScheduleRequest {
        topic: topic.to_owned(),
        schedule_id: id.to_owned(),
    };
    let cancelled = soon(client(broker).cancel_schedule(request)).await?;
    Ok(cancelled.into_inner().due_ms)
}

async fn reschedule(broker: &TestBroker, topic: &str, id: &str, at: Time) -> Result<i64, Status> {
    let request = v1::RescheduleRequest {
        topic: topic.to_owned(),
        schedule_id: id.to_owned(),
        time: Some(time(at)),
    };
    let moved = soon(client(broker).reschedule(request)).await?;
    Ok(moved.into_inner().due_ms)
}

/// All pages of so many records.
async fn list(broker: &TestBroker, topic: &str, page_size: u32) -> Vec<v1::ScheduledRecord> {
    let mut records = Vec::new();
    let mut request = v1::ListSchedulesRequest {
        topic: topic.to_owned(),
        page_size,
        ..v1::ListSchedulesRequest::default()
    };
    loop {
        let page = soon(client(broker).list_schedules(request.clone())).await;
        let page = page.unwrap().into_inner();
        assert!(page.records.len() <= page_size as usize, "{page:?}");
        records.extend(page.records);
        if page.next_page_token.is_empty() {
            return records;
        }
        request.page_token = page.next_page_token;
    }
}

/// The ids of a list.
async fn ids(broker: &TestBroker, topic: &str) -> Vec<String> {
    let records = list(broker, topic, 2).await.into_iter();
    records.map(|it| it.schedule_id).collect()
}

async fn follow(broker: &TestBroker, topic: &str) -> Reader {
    let request = v1::FetchRequest {
        sources: vec![source(topic)],
        follow: true,
        ..v1::FetchRequest::default()
    };
    broker.reader(request).await
}

/// Every round begins a checkpoint, so that schedules are on disk.
fn config_with_checkpoints() -> Config {
    let mut config = config();
    config.engine.sequencer.checkpoint_row_count = 1;
    config
}

#[tokio::test]
async fn a_record_comes_when_it_is_due_and_says_so() {
    let broker = TestBroker::start().await;
    broker.create("reminders", 1).await;
    let mut reader = follow(&broker, "reminders").await;
    let delays = [(30, "b", "id-b"), (1, "a", ""), (60, "c", "")];
    let records =
        delays.map(|(delay, value, id)| later("reminders", value, id, Time::DelayMs(delay)));
    let scheduled = schedule(&broker, records.into()).await.unwrap();
    assert_eq!(scheduled[0].schedule_id, "id-b");
    assert!(scheduled[1].schedule_id.starts_with('@'), "{scheduled:?}");
    let due = [1, 0, 2].map(|place: usize| scheduled[place].due_ms);
    let mut came = Vec::new();
    while came.len() < 3 {
        let batch = reader.batch().await;
        for record in towpath_proto::batch::Records::new(&batch.batch) {
            let record = record.unwrap();
            let headers = record
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_vec()));
            let headers: std::collections::BTreeMap<_, _> = headers.collect();
            let due_ms = due[came.len()];
            assert_eq!(headers[schedule::AT_MS], due_ms.to_string().into_bytes());
            assert!(batch.append_time_ms >= due_ms, "early: {batch:?}");
            came.push((
                record.value().unwrap().to_vec(),
                headers.get(schedule::ID).cloned(),
            ));
        }
    }
    let id = Some(b"id-b".to_vec());
    let expected = [("a", None), ("b", id), ("c", None)];
    assert_eq!(
        came,
        expected.map(|(value, id)| (value.as_bytes().to_vec(), id))
    );
    assert_eq!(list(&broker, "", 10).await, []);
}

#[tokio::test]
async fn what_is_scheduled_is_listed_cancelled_and_moved() {
    for config in [config(), config_with_checkpoints()] {
        let mut broker = TestBroker::start_with(config).await;
        broker.create("reminders", 2).await;
        broker.create("others", 1).await;
        let hours = [5, 3, 1, 4, 2];
        let records = hours.map(|hour| {
            let id = format!("in-{hour}");
            later("reminders", &id, &id, Time::DelayMs(hour * HOUR_MS))
        });
        let scheduled = schedule(&broker, records.into()).await.unwrap();
        let other = later("others", "other", "", Time::DelayMs(HOUR_MS / 2));
        let other = schedule(&broker, vec![other]).await.unwrap().remove(0);
        let first = ["in-1", "in-2", "in-3", "in-4", "in-5"];
        assert_eq!(ids(&broker, "reminders").await, first, "by time");
        let all = ids(&broker, "").await;
        assert_eq!((all.len(), &all[0]), (6, &other.schedule_id), "all topics");
        broker = broker.restart().await;

        assert_eq!(
            cancel(&broker, "reminders", "in-3").await.unwrap(),
            scheduled[1].due_ms
        );
        let again = refusal(
            cancel(&broker, "reminders", "in-3").await,
            ErrorReason::ScheduleNotFound,
        );
        check_facts(&again, &[("topic", "reminders"), ("schedule_id", "in-3")]);
        let moved = reschedule(&broker, "reminders", "in-1", Time::DelayMs(6 * HOUR_MS)).await;
        assert!(moved.unwrap() > scheduled[0].due_ms, "behind the last one");
        assert_eq!(
            ids(&broker, "reminders").await,
            ["in-2", "in-4", "in-5", "in-1"]
        );
        broker = broker.restart().await;

        let listed = list(&broker, "reminders", 100).await;
        let told: Vec<_> = listed.iter().map(|it| it.schedule_id.as_str()).collect();
        assert_eq!(told, ["in-2", "in-4", "in-5", "in-1"]);
        assert_eq!(
            (listed[0].topic.as_str(), listed[0].partition),
            ("reminders", 0)
        );
        assert!(listed[0].accept_time_ms < listed[0].due_ms, "{listed:?}");
        assert!(listed[0].record_bytes > 4, "{listed:?}");
        // What is made by the broker serves as well.
        reschedule(
            &broker,
            "others",
            &other.schedule_id,
            Time::AtMs(other.due_ms),
        )
        .await
        .unwrap();
        cancel(&broker, "others", &other.schedule_id).await.unwrap();
        let mut reader = follow(&broker, "reminders").await;
        for id in ["in-5", "in-2"] {
            reschedule(&broker, "reminders", id, Time::DelayMs(0))
                .await
                .unwrap();
            assert_eq!(values(&reader.batch().await), [id]);
        }
        let delivered = cancel(&broker, "reminders", "in-2").await;
        refusal(delivered, ErrorReason::ScheduleNotFound);
        broker = broker.restart().await;
        assert_eq!(ids(&broker, "").await, ["in-4", "in-1"]);
        let values = all_values(&broker.read_all(source("reminders")).await);
        assert_eq!(values, ["in-5", "in-2"], "each once");
        // An id is free again when its record was delivered.
        let again = later("reminders", "again", "in-2", Time::DelayMs(HOUR_MS));
        schedule(&broker, vec![again]).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_with_a_key_schedules_once_and_tells_the_same() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    broker.create("reminders", 4).await;
    let operations = || {
        let keyed = v1::ScheduleRecord {
            record: Some(record(Some("order-1"), "keyed")),
            partition: None,
            ..later("reminders", "", "", Time::DelayMs(HOUR_MS))
        };
        vec![
            Kind::Schedule(keyed),
            Kind::Append(v1::AppendRecords {
                topic: "reminders".to_owned(),
                records: vec![record(None, "now")],
                partition: Some(3),
                expectation: None,
            }),
            Kind::Schedule(later("reminders", "named", "one", Time::DelayMs(1))),
        ]
    };
    let first = commit(&broker, "key", operations()).await.unwrap();
    let mut reader = follow(&broker, "reminders").await;
    let mut values_seen = [values(&reader.batch().await), values(&reader.batch().await)].concat();
    values_seen.sort();
    assert_eq!(values_seen, ["named", "now"]);
    let broker = broker.restart().await;
    // Also when one of them was delivered since.
    let again = commit(&broker, "key", operations()).await.unwrap();
    assert!(again.is_repeated && !first.is_repeated, "{again:?}");
    assert_eq!(again.results, first.results);
    assert_eq!(again.results[1].scheduled, None);
    assert_eq!(list(&broker, "", 10).await.len(), 1);
}

#[tokio::test]
async fn what_a_deleted_topic_had_scheduled_is_gone() {
    let broker = TestBroker::start_with(config_with_checkpoints()).await;
    for _ in 0..2 {
        broker.create("reminders", 1).await;
        // The same id: it was another topic.
        let records = ["one", "two"].map(|id| later("reminders", id, id, Time::DelayMs(HOUR_MS)));
        schedule(&broker, records.into()).await.unwrap();
        assert_eq!(ids(&broker, "").await, ["one", "two"]);
        broker.delete("reminders").await;
        assert_eq!(list(&broker, "", 10).await, []);
        refusal(
            cancel(&broker, "reminders", "one").await,
            ErrorReason::TopicNotFound,
        );
    }
    let broker = broker.restart().await;
    assert_eq!(list(&broker, "", 10).await, []);
}

#[tokio::test]
async fn overdue_records_come_in_order_after_a_start() {
    const COUNT: usize = 1_500;
    let mut config = config_with_checkpoints();
    // Few are in memory, so most are read from the disk.
    config.engine.core.schedule_window_max = 100;
    let broker = TestBroker::start_with(config).await;
    broker.create("reminders", 1).await;
    // Scheduled in another order than they are due.
    let numbers = (0..COUNT).map(|number| (number * 7) % COUNT);
    let now_ms = schedule(
        &broker,
        vec![later("reminders", "first", "", Time::DelayMs(0))],
    )
    .await;
    let now_ms = now_ms.unwrap()[0].due_ms;
    let records = numbers.map(|number| {
        let at_ms = now_ms + 2_000 + i64::try_from(number / 3).unwrap();
        (
            number,
            later("reminders", &format!("{number:04}"), "", Time::AtMs(at_ms)),
        )
    });
    let mut records: Vec<_> = records.collect();
    for part in records.chunks_mut(750) {
        let part = part.iter().map(|(_, record)| record.clone()).collect();
        schedule(&broker, part).await.unwrap();
    }
    // In due order, those of one time as they were accepted.
    records.sort_by_key(|(number, _)| number / 3);
    let expected = records.iter().map(|(number, _)| format!("{number:04}"));
    let expected: Vec<_> = ["first".to_owned()].into_iter().chain(expected).collect();
    let broker = broker.restart().await;
    let mut reader = follow(&broker, "reminders").await;
    let mut came = Vec::new();
    while came.len() < expected.len() {
        came.extend(values(&reader.batch().await));
    }
    assert_eq!(came, expected);
}
