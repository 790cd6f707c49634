//! A consumer of a group and its connection: alive while its owner is busy, the same member after a cut.

mod for_each_commit;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use towpath_client::{
    ByKey, Drain, ErrorKind, ErrorReason, ForEachError, GroupConsumer, GroupRecord, Start,
};

use crate::fake::{FakeBroker, OnFetch};

fn consumer(broker: &FakeBroker) -> GroupConsumer {
    let client = broker.client();
    let builder = client.group("billing").topics(["orders"]);
    builder.start(Start::Beginning).build()
}

async fn values(consumer: &mut GroupConsumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let record = consumer.next_record().await.unwrap().unwrap();
        values.push(record.value_str().unwrap().to_owned());
    }
    values
}

#[tokio::test(start_paused = true)]
async fn a_member_is_alive_while_its_owner_is_busy() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a", "b"]);
    let mut consumer = consumer(&broker);
    let record = consumer.next_record().await.unwrap().unwrap();
    // As long as a handler may take: ten minutes in which nobody polls.
    sleep(Duration::from_mins(10)).await;
    consumer.commit(&record).await.unwrap();
    let state = broker.state();
    assert_eq!(state.group.joined.len(), 1, "it was never away");
    let heartbeats = state.group.heartbeat_count;
    assert!((119..=121).contains(&heartbeats), "{heartbeats} in 600 s");
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_and_doubles_nothing() {
    let (broker, _) = FakeBroker::with_topic("orders", 3);
    let mut expected = Vec::new();
    for number in 0..60 {
        let values = [format!("{number}a"), format!("{number}b")];
        broker.append("orders", number % 3, &values.each_ref().map(String::as_str));
        expected.extend(values);
    }
    let faults = [OnFetch::Send, OnFetch::Send, OnFetch::Cut];
    broker.on_fetches(faults.into_iter().cycle().take(30));
    let mut consumer = consumer(&broker);
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let record = consumer.next_record().await.unwrap().unwrap();
        read.push(record.value_str().unwrap().to_owned());
        consumer.commit(&record).await.unwrap();
    }
    read.sort_unstable();
    expected.sort_unstable();
    assert_eq!(read, expected, "each once");
    let state = broker.state();
    let ids = &state.group.joined;
    assert!(ids.len() >= 10, "{} joins", ids.len());
    assert!(ids.iter().all(|id| *id == ids[0]), "one member");
}

#[tokio::test(start_paused = true)]
async fn a_drain_may_be_told_to_end_sooner() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    let consumer = consumer(&broker);
    let stop = consumer.shutdown_handle();
    let (begin, mut begun) = mpsc::unbounded_channel();
    let handling = consumer.for_each(ByKey(1), |_| {
        let told = begin.send(());
        async move {
            std::future::pending::<()>().await;
            told
        }
    });
    let stopping = async {
        begun.recv().await;
        stop.shutdown(Drain::FinishWithin(Duration::from_hours(1)));
        sleep(Duration::from_secs(1)).await;
        stop.shutdown(Drain::FinishWithin(Duration::from_secs(30)));
        Instant::now()
    };
    let both = async { tokio::join!(handling, stopping) };
    let (ended, stopped_at) = timeout(Duration::from_hours(2), both).await.unwrap();
    ended.unwrap();
    assert_eq!(stopped_at.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_left_after_15_seconds() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    broker.append("orders", 0, &["b"]);
    broker.on_fetches([OnFetch::Send, OnFetch::FallSilent]);
    let mut consumer = consumer(&broker);
    let start = Instant::now();
    assert_eq!(values(&mut consumer, 2).await, ["a", "b"], "records");
    let waited = start.elapsed().as_secs_f64();
    assert!((15.0..17.0).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_the_broker_to_come_back() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    let mut consumer = consumer(&broker);
    let record = consumer.next_record().await.unwrap().unwrap();
    broker.go_down();
    let committing = consumer.commit(&record);
    sleep(Duration::from_mins(1)).await;
    broker.go_up();
    committing.await.unwrap();
    let committed = broker.state().group.committed.clone();
    assert_eq!(committed[&("orders".to_owned(), 0)], 1, "once it was back");
}

#[tokio::test(start_paused = true)]
async fn commits_that_nobody_waits_for_are_sent_soon_and_together() {
    const RECORDS: u64 = 100;
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    for _ in 0..RECORDS {
        broker.append("orders", 0, &["a"]);
    }
    let mut consumer = consumer(&broker);
    for _ in 0..RECORDS {
        let record = consumer.next_record().await.unwrap().unwrap();
        drop(consumer.commit(&record));
    }
    let place = ("orders".to_owned(), 0);
    let last = broker.wait_until("the last commit", |state| {
        state.group.committed.get(&place) == Some(&RECORDS)
    });
    timeout(Duration::from_secs(10), last).await.unwrap();
    let count = broker.state().group.commit_count;
    assert!(count < 10, "{count} commits");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_leaves() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    let mut consumer = consumer(&broker);
    let record = consumer.next_record().await.unwrap().unwrap();
    drop(consumer.commit(&record));
    drop(consumer);
    broker
        .wait_until("leaving", |state| state.group.left_count == 1)
        .await;
    let committed = broker.state().group.committed.clone();
    assert_eq!(committed[&("orders".to_owned(), 0)], 1, "committed before");
}

#[tokio::test(start_paused = true)]
async fn for_each_goes_on_beside_a_damaged_partition_and_tells_of_it_at_the_end() {
    let (broker, _) = FakeBroker::with_topic("orders", 2);
    for value in ["intact", "damaged", "behind"] {
        broker.append("orders", 0, &[value]);
    }
    broker.append("orders", 1, &["other"]);
    broker.state().group.damaged = vec![(0, 1)];
    let consumer = consumer(&broker);
    let stop = consumer.shutdown_handle();
    let (handled, mut seen) = mpsc::unbounded_channel();
    let handler = move |record: GroupRecord| {
        let value = record.value_str().unwrap().to_owned();
        let handled = handled.clone();
        async move { handled.send(value) }
    };
    let stopping = async {
        assert_eq!(seen.recv().await.as_deref(), Some("intact"), "before it");
        assert_eq!(seen.recv().await.as_deref(), Some("other"), "beside it");
        broker.append("orders", 1, &["later"]);
        assert_eq!(seen.recv().await.as_deref(), Some("later"), "beside it");
        stop.shutdown(Drain::FinishWithin(Duration::from_mins(1)));
    };
    let both = async { tokio::join!(consumer.for_each(ByKey(1), handler), stopping) };
    let (ended, ()) = timeout(Duration::from_mins(1), both).await.unwrap();
    let Err(ForEachError::Consumer(error)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(error.reason(), Some(ErrorReason::LogCorrupt), "{error}");
    let committed = broker.state().group.committed.clone();
    let of = |partition| committed[&("orders".to_owned(), partition)];
    assert_eq!((of(0), of(1)), (1, 2), "up to the damage, and all");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_told_once_and_ends_the_consumer() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.state().refuse_opening = Some(ErrorReason::TopicNotFound);
    let mut consumer = consumer(&broker);
    let refused = consumer.next_record().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
    assert!(consumer.next_record().await.unwrap().is_none(), "ended");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_deleted_meanwhile_ends_its_consumers() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    let mut consumer = consumer(&broker);
    let record = consumer.next_record().await.unwrap().unwrap();
    broker.go_down();
    let committing = consumer.commit(&record);
    // Deleted, and made again by somebody else.
    broker.state().group.id += 1;
    broker.go_up();
    let ended = timeout(Duration::from_mins(1), consumer.next_record());
    let ended = ended.await.expect("it does not go on").unwrap_err();
    assert_eq!(ended.reason(), Some(ErrorReason::GroupNotFound), "{ended}");
    assert!(consumer.next_record().await.unwrap().is_none(), "ended");
    committing.await.expect_err("not committed");
    let committed = &broker.state().group.committed;
    assert!(committed.is_empty(), "not in another group: {committed:?}");
}

#[tokio::test(start_paused = true)]
async fn another_broker_at_the_url_is_not_joined() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["a"]);
    let mut consumer = consumer(&broker);
    consumer.next_record().await.unwrap().unwrap();
    broker.replace();
    let refused = timeout(Duration::from_mins(1), consumer.next_record());
    let refused = refused.await.expect("it does not go on").unwrap_err();
    assert_eq!(
        refused.reason(),
        Some(ErrorReason::TopicNotFound),
        "{refused}"
    );
}

/// Goes down, and comes back with other topics of the same names.
fn recreate(broker: &FakeBroker, topics: &[&str]) {
    broker.go_down();
    for topic in topics {
        broker.state().log.create(topic, 1);
        broker.append(topic, 0, &["of another topic"]);
    }
    broker.go_up();
}

fn consumer_of_two(broker: &FakeBroker) -> GroupConsumer {
    broker.state().log.create("payments", 1);
    let client = broker.client();
    let builder = client.group("billing").topics(["orders", "payments"]);
    builder.start(Start::Beginning).build()
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_meanwhile_is_told_once_and_the_others_go_on() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    let mut consumer = consumer_of_two(&broker);
    broker.append("orders", 0, &["a"]);
    broker.append("payments", 0, &["1"]);
    let mut first = values(&mut consumer, 2).await;
    first.sort_unstable();
    assert_eq!(first, ["1", "a"]);
    recreate(&broker, &["payments"]);
    let gone = consumer.next_record().await.unwrap_err();
    assert_eq!(gone.reason(), Some(ErrorReason::TopicNotFound), "{gone}");
    assert_eq!(gone.metadata("topic"), Some("payments"), "{gone}");
    broker.append("orders", 0, &["b"]);
    assert_eq!(values(&mut consumer, 1).await, ["b"], "the other one");
    broker.cut();
    broker.append("orders", 0, &["c"]);
    assert_eq!(values(&mut consumer, 1).await, ["c"], "not told again");
    recreate(&broker, &["orders"]);
    let gone = consumer.next_record().await.unwrap_err();
    assert_eq!(gone.metadata("topic"), Some("orders"), "{gone}");
    assert!(consumer.next_record().await.unwrap().is_none(), "ended");
}

#[tokio::test(start_paused = true)]
async fn handlers_go_on_with_the_topics_that_are_left() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    let consumer = consumer_of_two(&broker);
    broker.append("orders", 0, &["a"]);
    broker.append("payments", 0, &["1"]);
    let (sender, mut handled) = mpsc::unbounded_channel();
    let handler = move |record: GroupRecord| {
        let sender = sender.clone();
        async move {
            sender.send(record.value_str().unwrap().to_owned()).unwrap();
            Ok::<_, std::convert::Infallible>(())
        }
    };
    let handling = tokio::spawn(consumer.for_each(ByKey(2), handler));
    let mut first = [handled.recv().await.unwrap(), handled.recv().await.unwrap()];
    first.sort_unstable();
    assert_eq!(first, ["1", "a"]);
    recreate(&broker, &["payments"]);
    broker.append("orders", 0, &["b"]);
    assert_eq!(handled.recv().await.unwrap(), "b", "the other one");
    recreate(&broker, &["orders"]);
    let ended = handling.await.unwrap().unwrap_err();
    let ForEachError::Consumer(error) = ended else {
        panic!("{ended}");
    };
    assert_eq!(error.metadata("topic"), Some("orders"), "{error}");
    assert_eq!(handled.recv().await, None, "nothing of another topic");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_ends_by_an_error_leaves() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    let mut consumer = consumer(&broker);
    broker.append("orders", 0, &["a"]);
    values(&mut consumer, 1).await;
    recreate(&broker, &["orders"]);
    let gone = consumer.next_record().await.unwrap_err();
    assert_eq!(gone.reason(), Some(ErrorReason::TopicNotFound), "{gone}");
    consumer.close().await;
    assert_eq!(broker.state().group.left_count, 1, "others need not wait");
}
