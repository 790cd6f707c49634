//! Handlers whose commits say how far the group is.

use std::sync::{Arc, Mutex};

use towpath_client::{ByPartition, Commit, Record};

use super::*;
use crate::fake::OnCommit;

const PATIENCE: Duration = Duration::from_mins(1);

/// Orders of two partitions, and somewhere to write bills to.
fn orders() -> (FakeBroker, GroupConsumer) {
    let (broker, _) = FakeBroker::with_topic("orders", 2);
    broker.state().log.create("bills", 1);
    broker.append("orders", 0, &["a", "b", "c"]);
    broker.append("orders", 1, &["x"]);
    let consumer = consumer(&broker);
    (broker, consumer)
}

fn committed(broker: &FakeBroker, partition: u32) -> Option<u64> {
    let place = ("orders".to_owned(), partition);
    broker.state().group.committed.get(&place).copied()
}

/// Writes a bill for each order, but an empty commit for "b", until so much is committed.
async fn bill_all(
    broker: &FakeBroker,
    consumer: GroupConsumer,
    expected: (Option<u64>, Option<u64>),
) -> Result<(), ForEachError<&'static str>> {
    let stop = consumer.shutdown_handle();
    let handler = |order: GroupRecord, commit: Commit| async move {
        let commit = commit.give_up_after(Duration::from_secs(1));
        match order.value_str() {
            Some("b") => Ok(commit),
            value => Ok(commit.append("bills", Record::new(value.unwrap().to_owned()))),
        }
    };
    let stopping = async {
        let of = |state: &crate::fake::State, partition| {
            let place = ("orders".to_owned(), partition);
            state.group.committed.get(&place).copied()
        };
        broker
            .wait_until("all is committed", |state| {
                (of(state, 0), of(state, 1)) == expected
            })
            .await;
        stop.shutdown(Drain::FinishWithin(PATIENCE));
    };
    let both = async { tokio::join!(consumer.for_each_commit(ByPartition(2), handler), stopping) };
    timeout(PATIENCE, both).await.unwrap().0
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_writes_is_one_with_how_far_the_group_is() {
    let (broker, consumer) = orders();
    bill_all(&broker, consumer, (Some(3), Some(1)))
        .await
        .unwrap();
    let mut bills = broker.values("bills", 0);
    bills.sort_unstable();
    assert_eq!(bills, ["a", "c", "x"], "once each");
    let mut commits = broker.state().commits.clone();
    commits.sort_unstable();
    let expected = ["orders/0@1", "orders/0@3", "orders/1@1"];
    let expected =
        expected.map(|offset| ["append bills x1".to_owned(), format!("offsets {offset}")]);
    assert_eq!(commits, expected, "commits");
}

#[tokio::test(start_paused = true)]
async fn records_of_a_partition_come_one_after_the_other_whatever_their_keys() {
    let (broker, _) = FakeBroker::with_topic("orders", 1);
    broker.state().log.create("bills", 1);
    broker.append_keyed("orders", &[("a", "1"), ("b", "2"), ("c", "3")]);
    let consumer = consumer(&broker);
    let stop = consumer.shutdown_handle();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let handler = |order: GroupRecord, commit: Commit| {
        let seen = Arc::clone(&seen);
        let note = move |what: &str| {
            let text = format!("{what} {}", order.value_str().unwrap());
            seen.lock().unwrap().push(text);
        };
        async move {
            note("begin");
            sleep(Duration::from_millis(10)).await;
            note("end");
            Ok::<_, &str>(commit.append("bills", Record::new("bill")))
        }
    };
    let stopping = async {
        let place = ("orders".to_owned(), 0);
        let all = broker.wait_until("all", |it| it.group.committed.get(&place) == Some(&3));
        all.await;
        stop.shutdown(Drain::FinishWithin(PATIENCE));
    };
    let (ended, ()) = tokio::join!(consumer.for_each_commit(ByPartition(8), handler), stopping);
    ended.unwrap();
    let expected = ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_sent_until_its_outcome_is_known() {
    let (broker, consumer) = orders();
    let on_commits = [
        OnCommit::Later(PATIENCE),
        OnCommit::CommitAndCut,
        OnCommit::Cut,
        OnCommit::Refuse(ErrorReason::StorageFailed),
        OnCommit::Refuse(ErrorReason::Overloaded),
    ];
    broker.state().on_commit.extend(on_commits);
    bill_all(&broker, consumer, (Some(3), Some(1)))
        .await
        .unwrap();
    let mut bills = broker.values("bills", 0);
    bills.sort_unstable();
    assert_eq!(bills, ["a", "c", "x"], "once each");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it_and_leaves_the_record_to_others() {
    let (broker, consumer) = orders();
    let reason = ErrorReason::ExpectedVersionMismatch;
    let handler = |order: GroupRecord, commit: Commit| {
        let is_last = order.value_str() == Some("c");
        if is_last {
            broker.state().on_commit.push_back(OnCommit::Refuse(reason));
        }
        async move { Ok::<_, &str>(commit.append("bills", Record::new("bill"))) }
    };
    let ended = consumer.for_each_commit(ByPartition(1), handler).await;
    let Err(ForEachError::Commit { record, error }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(record.to_string(), "orders/0@2");
    assert_eq!(error.reason(), Some(reason), "{error}");
    assert_eq!(committed(&broker, 0), Some(2), "up to it");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_others_have_is_left_to_them() {
    let (broker, consumer) = orders();
    let stale = OnCommit::Refuse(ErrorReason::GenerationStale);
    broker.append("orders", 1, &["y"]);
    let stop = consumer.shutdown_handle();
    let (handled, mut seen) = mpsc::unbounded_channel();
    let handler = |order: GroupRecord, commit: Commit| {
        let value = order.value_str().unwrap().to_owned();
        if value == "a" {
            broker.state().on_commit.push_back(stale);
        }
        let told = handled.send(value.clone());
        async move { told.map(|()| commit.append("bills", Record::new(value))) }
    };
    let stopping = async {
        let place = ("orders".to_owned(), 1);
        let all = broker.wait_until("all", |it| it.group.committed.get(&place) == Some(&2));
        all.await;
        stop.shutdown(Drain::FinishWithin(PATIENCE));
    };
    let (ended, ()) = tokio::join!(consumer.for_each_commit(ByPartition(1), handler), stopping);
    ended.unwrap();
    assert_eq!(broker.values("bills", 0), ["x", "y"], "of the other one");
    assert_eq!(committed(&broker, 0), None, "nothing of the lost one");
    let mut order = Vec::new();
    while let Ok(value) = seen.try_recv() {
        order.push(value);
    }
    order.sort_unstable();
    assert_eq!(order, ["a", "x", "y"], "handled");
}
