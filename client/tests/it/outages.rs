//! The end of an outage: whoever notices it first tells all others, who would wait for up to two
//! seconds more.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use towpath_client::{PartitionId, Record};

use crate::fake::FakeBroker;

/// Longer than waits take to reach their largest value.
const OUTAGE: Duration = Duration::from_secs(20);
/// How far apart parts of a client come back: the shortest pause, and some messages.
const APART: Duration = Duration::from_millis(50);

/// Checks that what ended at these times ended together.
#[track_caller]
fn check_together(times: &[Instant]) {
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let apart = *last - *first;
    assert!(apart <= APART, "{apart:?} apart");
}

#[tokio::test(start_paused = true)]
async fn all_lanes_go_on_when_one_is_connected_again() {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    let producer = client.producer("orders").build();
    producer.ready().await.unwrap();
    for _ in 0..10 {
        broker.go_down();
        let lanes = [0, 1].map(|partition| {
            let record = Record::new("v").partition(PartitionId::new(partition));
            let producer = producer.clone();
            tokio::spawn(async move {
                producer.send(record).await.unwrap();
                Instant::now()
            })
        });
        sleep(OUTAGE).await;
        broker.go_up();
        let times = join_all(lanes).await.into_iter().map(Result::unwrap);
        let times: Vec<_> = times.collect();
        check_together(&times);
    }
}

#[tokio::test(start_paused = true)]
async fn readers_and_calls_go_on_with_the_lanes() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let producer = client.producer("orders").build();
    producer.send(Record::new("v")).await.unwrap();
    let mut reader = client.reader(["orders"]).follow().build();
    reader.next_record().await.unwrap().unwrap();
    for _ in 0..10 {
        broker.go_down();
        let call = tokio::spawn({
            let admin = client.admin();
            async move {
                admin.server_info().await.unwrap();
                Instant::now()
            }
        });
        let send = tokio::spawn({
            let producer = producer.clone();
            async move {
                producer.send(Record::new("v")).await.unwrap();
                Instant::now()
            }
        });
        let read = tokio::spawn(async move {
            reader.next_record().await.unwrap().unwrap();
            (Instant::now(), reader)
        });
        sleep(OUTAGE).await;
        broker.go_up();
        let (read, returned) = read.await.unwrap();
        reader = returned;
        check_together(&[call.await.unwrap(), send.await.unwrap(), read]);
    }
}
