//! Handlers whose commits settle what they handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use towpath_client::{ByKey, Commit, DeliveredRecord, DeliveryOutcome, Drain, Record};
use towpath_proto::v1;
use towpath_proto::v1::settlement::Outcome;

use super::*;
use crate::fake::OnCommit;

const PATIENCE: Duration = Duration::from_mins(1);

async fn finish(broker: &FakeBroker, handle: &towpath_client::SubscriberShutdownHandle) {
    wait_until(broker, "all is done", FakeSubscription::is_done).await;
    handle.shutdown(Drain::FinishWithin(PATIENCE));
}

/// Orders with these keys and values, and somewhere to write bills to.
async fn orders(values: &[&str]) -> (FakeBroker, Client) {
    let (broker, client) = broker(SubscriptionMode::KeyShared).await;
    broker.state().log.create("bills", 1);
    let records: Vec<_> = values.iter().map(|value| (*value, *value)).collect();
    broker.append_keyed("orders", &records);
    (broker, client)
}

fn bill(order: &DeliveredRecord) -> Record {
    Record::new(order.value().unwrap().to_vec())
}

/// Writes a bill for each order until all are settled, and says how often the handler was called.
async fn bill_all(broker: &FakeBroker, subscriber: Subscriber) -> u32 {
    let handle = subscriber.shutdown_handle();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |order: DeliveredRecord, commit: Commit| {
        counted.fetch_add(1, Ordering::Relaxed);
        let commit = commit.give_up_after(Duration::from_secs(1));
        async move { commit.append("bills", bill(&order)) }
    };
    let (outcome, ()) = tokio::join!(
        subscriber.for_each_commit(ByKey(2), handler),
        finish(broker, &handle)
    );
    outcome.unwrap();
    calls.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_returns_happens_with_the_outcome_of_its_record() {
    let values = ["ack", "dead", "error", "nothing", "other", "release"];
    let (broker, client) = orders(&values).await;
    let subscriber = client.subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let mut releases = 0;
    let handler = |order: DeliveredRecord, commit: Commit| {
        let value = order.value_str().unwrap().to_owned();
        releases += u32::from(value == "release");
        let is_released = releases == 1;
        async move {
            if value == "nothing" {
                return Ok((commit, DeliveryOutcome::Ack));
            }
            let billed = commit.append("bills", bill(&order));
            match value.as_str() {
                "dead" => Ok((billed, DeliveryOutcome::dead_letter("poison"))),
                "error" if order.attempt() == 1 => Err("not now"),
                "release" if is_released => Ok((billed, DeliveryOutcome::Release)),
                _ => Ok((billed, DeliveryOutcome::Ack)),
            }
        }
    };
    let (outcome, ()) = tokio::join!(
        subscriber.for_each_commit(ByKey(1), handler),
        finish(&broker, &handle)
    );
    outcome.unwrap();
    let mut bills = broker.values("bills", 0);
    bills.sort_unstable();
    assert_eq!(
        bills,
        ["ack", "dead", "error", "other", "release", "release"],
        "written"
    );
    let mut settled = settled(&broker);
    settled.sort_unstable();
    let expected = [
        "ack 0/0",
        "ack 0/2",
        "ack 0/3",
        "ack 0/4",
        "ack 0/5",
        "dead-letter 0/1 poison",
        "nack 0/2 not now",
        "release 0/5",
    ];
    assert_eq!(settled, expected, "settled");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_is_a_nack_and_another_call() {
    let (broker, client) = orders(&["a"]).await;
    let reason = ErrorReason::ExpectedVersionMismatch;
    let refuse = OnCommit::Refuse(reason);
    broker.state().on_commit.push_back(refuse);
    let subscriber = client.subscriber(NAME).build();
    assert_eq!(bill_all(&broker, subscriber).await, 2, "calls");
    assert_eq!(broker.values("bills", 0), ["a"], "once");
    let settled = settled(&broker);
    assert_eq!(settled.len(), 2, "{settled:?}");
    assert!(settled[0].starts_with("nack 0/0 no"), "{settled:?}");
    assert_eq!(settled[1], "ack 0/0", "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_sent_until_its_outcome_is_known() {
    let (broker, client) = orders(&["a", "b"]).await;
    let on_commits = [
        OnCommit::Later(PATIENCE),
        OnCommit::Later(PATIENCE),
        OnCommit::CommitAndCut,
        OnCommit::Cut,
    ];
    broker.state().on_commit.extend(on_commits);
    let subscriber = client.subscriber(NAME).build();
    assert_eq!(bill_all(&broker, subscriber).await, 2, "calls");
    let mut bills = broker.values("bills", 0);
    bills.sort_unstable();
    assert_eq!(bills, ["a", "b"], "once each");
}

/// Takes the first record from the consumer that has it.
fn take_back(broker: &FakeBroker) {
    look(broker, |it| {
        let released = v1::Settlement {
            delivery: it.delivery_of((0, 0)),
            ranges: vec![v1::OffsetRange { start: 0, end: 1 }],
            outcome: Some(Outcome::Release(v1::Release {})),
            ..v1::Settlement::default()
        };
        it.settle(&released);
    });
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_record_writes_nothing() {
    let (broker, client) = orders(&["a"]).await;
    let subscriber = client.subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let taking = broker.clone();
    let handler = |order: DeliveredRecord, commit: Commit| {
        let broker = taking.clone();
        async move {
            if order.attempt() == 1 && broker.state().commits.is_empty() {
                take_back(&broker);
            }
            commit.append("bills", bill(&order))
        }
    };
    let (outcome, ()) = tokio::join!(
        subscriber.for_each_commit(ByKey(1), handler),
        finish(&broker, &handle)
    );
    outcome.unwrap();
    assert_eq!(broker.state().commits.len(), 2, "tried");
    assert_eq!(broker.values("bills", 0), ["a"], "written");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_stays_away_keeps_nobody_from_ending() {
    let (broker, client) = orders(&["a"]).await;
    let subscriber = client.subscriber(NAME).build();
    let handle = subscriber.shutdown_handle();
    let gone = broker.clone();
    let handler = |order: DeliveredRecord, commit: Commit| {
        gone.go_down();
        async move { commit.append("bills", bill(&order)) }
    };
    let ending = async {
        sleep(Duration::from_mins(5)).await;
        handle.shutdown(Drain::FinishWithin(PATIENCE));
    };
    let both = async { tokio::join!(subscriber.for_each_commit(ByKey(1), handler), ending) };
    let (ended, ()) = tokio::time::timeout(Duration::from_mins(10), both)
        .await
        .unwrap();
    drop(ended);
    assert!(broker.values("bills", 0).is_empty(), "nothing is written");
}
