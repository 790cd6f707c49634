//! How long a record is waited for: for its topic, for room and for its outcome together.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use towpath_client::{
    Client, Error, ErrorKind, ErrorReason, Producer, ProducerBuilder, Record, SendError,
};

use crate::fake::{FakeBroker, OnBatch};

const PATIENCE: Duration = Duration::from_secs(10);
/// Timers go off at the next whole millisecond.
const DELAY: Duration = Duration::from_millis(2);
/// Two of these do not fit into the room of a producer.
const LARGE: usize = 800_000;

fn producer(client: &Client) -> Producer {
    builder(client).build()
}

/// There is room for one record of the largest size.
fn builder(client: &Client) -> ProducerBuilder {
    let builder = client.producer("orders").give_up_after(PATIENCE);
    builder.max_in_flight_bytes(1)
}

/// Checks that something fails in time, and returns how.
async fn check_in_time<T>(
    since: Instant,
    what: impl Future<Output = Result<T, SendError>>,
) -> Error {
    let error = what.await.err().unwrap().into_parts().1;
    let waited = since.elapsed();
    assert!(waited <= PATIENCE + DELAY, "{waited:?}: {error}");
    error
}

/// A producer whose room is taken by a record that is not answered.
async fn without_room(broker: &FakeBroker, producer: Producer) -> Producer {
    producer.ready().await.unwrap();
    broker.hold_answers(true);
    let first = producer.enqueue(Record::new(vec![b'a'; LARGE])).await;
    let _unanswered = first.unwrap();
    producer
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_topic_counts() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.go_down();
    broker.hold_answers(true);
    let producer = producer(&client);
    let start = Instant::now();
    let sent = tokio::spawn(async move { producer.send(Record::new("v")).await });
    tokio::time::sleep(PATIENCE * 2 / 3).await;
    broker.go_up();
    let error = check_in_time(start, async { sent.await.unwrap() }).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.may_have_happened(), "it was sent: {error}");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_room_counts() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = without_room(&broker, producer(&client)).await;
    let start = Instant::now();
    let sent = tokio::spawn(async move { producer.send(Record::new(vec![b'b'; LARGE])).await });
    tokio::time::sleep(PATIENCE * 2 / 3).await;
    broker.on_batches([OnBatch::AppendInSilence]);
    broker.hold_answers(false);
    let error = check_in_time(start, async { sent.await.unwrap() }).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.may_have_happened(), "it was sent: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_only_waits_for_room_is_not_taken() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = without_room(&broker, producer(&client)).await;
    let start = Instant::now();
    let error = check_in_time(start, producer.enqueue(Record::new(vec![b'b'; LARGE]))).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.has_no_side_effects(), "nothing happened: {error}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_topic_and_then_for_room_is_one_wait() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.go_down();
    broker.hold_answers(true);
    let producer = producer(&client);
    let start = Instant::now();
    let enqueued = tokio::spawn(async move {
        let records = [b'a', b'b'].map(|byte| Record::new(vec![byte; LARGE]));
        join_all(records.map(|record| producer.enqueue(record))).await
    });
    tokio::time::sleep(PATIENCE * 2 / 3).await;
    broker.go_up();
    let mut outcomes = enqueued.await.unwrap();
    let second = outcomes.pop().unwrap();
    let error = check_in_time(start, async { second }).await;
    assert!(error.has_no_side_effects(), "not taken: {error}");
    assert!(outcomes.pop().unwrap().is_ok(), "the first is taken");
}

#[tokio::test(start_paused = true)]
async fn many_that_wait_for_the_topic_give_up_together() {
    let broker = FakeBroker::start();
    broker.go_down();
    let client = broker.client();
    let producer = producer(&client);
    let start = Instant::now();
    let records = (0..20).map(|number| Record::new(number.to_string()));
    let sends = records.map(|record| check_in_time(start, producer.send(record)));
    for error in join_all(sends).await {
        assert!(error.has_no_side_effects(), "nothing happened: {error}");
        let causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |it| it.source());
        let text = causes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(text.contains("cannot connect to the broker"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_waited_and_was_refused_fails_without_doubt() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = without_room(&broker, producer(&client)).await;
    let start = Instant::now();
    let waiting = producer.clone();
    let sent = tokio::spawn(async move { waiting.send(Record::new(vec![b'b'; LARGE])).await });
    tokio::time::sleep(PATIENCE * 2 / 3).await;
    broker.on_batches([OnBatch::Refuse(ErrorReason::StorageFull)].repeat(1_000));
    broker.hold_answers(false);
    let error = check_in_time(start, async { sent.await.unwrap() }).await;
    assert_eq!(error.reason(), Some(ErrorReason::StorageFull), "{error}");
    assert!(error.has_no_side_effects(), "nothing happened: {error}");
    broker.state().on_batch.clear();
    producer.send(Record::new("c")).await.unwrap();
    let values = broker.values("orders", 0);
    assert_eq!((values.len(), &*values[1]), (2, "c"), "what was given up");
}

#[tokio::test(start_paused = true)]
async fn who_waited_longer_gives_up_earlier_and_takes_nobody_along() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let sharing = builder(&client).batch_bytes(1_000_000);
    let sharing = sharing.linger(Duration::from_millis(100)).build();
    let producer = without_room(&broker, sharing).await;
    let start = Instant::now();
    let send = |value: u8, size| {
        let producer = producer.clone();
        tokio::spawn(async move { producer.send(Record::new(vec![value; size])).await })
    };
    let early = send(b'b', 400_000);
    tokio::time::sleep(PATIENCE / 2).await;
    let late = send(b'c', 400_000);
    tokio::time::sleep(PATIENCE / 4).await;
    broker.on_batches([OnBatch::Refuse(ErrorReason::StorageFull)].repeat(1_000));
    broker.hold_answers(false);
    let error = check_in_time(start, async { early.await.unwrap() }).await;
    assert!(error.may_have_happened(), "may yet be written: {error}");
    broker.state().on_batch.clear();
    late.await.unwrap().unwrap();
    let values = broker.values("orders", 0);
    let first_bytes: Vec<_> = values.iter().map(|value| &value[..1]).collect();
    assert_eq!(first_bytes, ["a", "b", "c"], "one batch for both");
}
