//! Several things at once: what is asked, what the subscriber and the consumer of a group make of the
//! answer, and what there is when it does not come.

use std::time::Duration;

use towpath_client::{
    Assignment, Client, CommitError, Delivery, DeliveryOutcome, ErrorReason, Generation,
    GroupOffset, NewSubscription, Offset, OffsetRange, PartitionId, PulledRecords, Record, Start,
    Subscriber, TopicName,
};
use towpath_proto::v1;
use towpath_proto::v1::settlement::Outcome;

use crate::fake::{FakeBroker, FakeSubscription, OnCommit};

const NAME: &str = "billing";

/// Orders with these keys, a subscription to them, somewhere to write to, and nobody handling them yet.
async fn broker(keys: &[&str]) -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.state().log.create("bills", 2);
    let new = NewSubscription::new(NAME, "orders", Start::Beginning);
    client.admin().create_subscription(new).await.unwrap();
    let records: Vec<_> = keys.iter().map(|key| (*key, *key)).collect();
    broker.append_keyed("orders", &records);
    (broker, client)
}

async fn next(subscriber: &mut Subscriber) -> Delivery {
    subscriber.next_delivery().await.unwrap().unwrap()
}

fn look<T>(broker: &FakeBroker, look: impl FnOnce(&FakeSubscription) -> T) -> T {
    look(&broker.state().subscriptions[NAME])
}

fn commits(broker: &FakeBroker) -> Vec<Vec<String>> {
    broker.state().commits.clone()
}

/// Takes a record from the consumer that has it.
fn give_back(broker: &FakeBroker, offset: u64) {
    let mut state = broker.state();
    let subscription = state.subscriptions.get_mut(NAME).unwrap();
    let released = v1::Settlement {
        delivery: subscription.delivery_of((0, offset)),
        ranges: vec![v1::OffsetRange {
            start: offset,
            end: offset + 1,
        }],
        outcome: Some(Outcome::Release(v1::Release {})),
        ..v1::Settlement::default()
    };
    subscription.settle(&released);
}

#[track_caller]
fn check_failed(error: &CommitError, reason: ErrorReason, operation: Option<usize>) {
    assert_eq!(error.error().reason(), Some(reason), "{error}");
    assert_eq!(error.operation(), operation, "{error}");
    assert!(!error.may_have_happened(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn all_of_it_is_one_request_and_its_answer_says_where_the_records_are() {
    let (broker, client) = broker(&["a", "b", "c", "d"]).await;
    broker.append("bills", 0, &["before"]);
    let mut subscriber = client.subscriber(NAME).build();
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(next(&mut subscriber).await);
    }
    let mut deliveries = deliveries.into_iter();
    let mut delivery = || deliveries.next().unwrap();
    let at = |value: &'static str| Record::new(value).partition(PartitionId::new(0));
    let several = [at("x"), at("y").expect_offset(Offset::new(1)), at("z")];
    let commit = client
        .commit()
        .append("orders", Record::new("u").key("k"))
        .ack(delivery())
        .append_all("bills", [at("v"), at("w")])
        .ack(delivery())
        .dead_letter(delivery(), "broken")
        .append_all("bills", [] as [Record; 0])
        .ack(delivery());
    let committed = commit.send().await.unwrap();
    let expected = [[
        "append orders x1",
        "settle billing 0..2 3..4",
        "append bills x2",
        "settle billing 2..3",
    ]];
    assert_eq!(commits(&broker), expected, "asked");
    let offsets = |operation| -> Vec<u64> {
        let positions = committed.positions_of(operation).iter();
        positions.map(|it| it.offset.get()).collect()
    };
    assert_eq!(
        (offsets(0), offsets(1), offsets(2), offsets(5)),
        (vec![4], vec![], vec![1, 2], vec![]),
        "positions"
    );
    assert_eq!(committed.positions().count(), 3, "all positions");
    assert!(committed.positions().all(|it| it.lsn == committed.lsn));

    // What expects an offset is an operation of its own, whose number is that of its call.
    let failed = client.commit().append_all("bills", several).send().await;
    check_failed(
        &failed.unwrap_err(),
        ErrorReason::ExpectedOffsetMismatch,
        Some(0),
    );
    let asked = commits(&broker).pop().unwrap();
    assert_eq!(asked, ["append bills x1"; 3], "asked");
}

#[tokio::test(start_paused = true)]
async fn while_it_is_under_way_leases_are_extended_and_afterwards_nothing_is_said() {
    let (broker, client) = broker(&["a", "b"]).await;
    let mut subscriber = client.subscriber(NAME).max_in_flight(1).build();
    let delivery = next(&mut subscriber).await;
    // Four times the ack deadline.
    let on_commit = OnCommit::Later(Duration::from_mins(2));
    broker.state().on_commit.push_back(on_commit);
    let commit = client.commit().append("bills", Record::new("a"));
    let commit = commit.ack(delivery).give_up_after(Duration::from_mins(5));
    commit.send().await.unwrap();
    assert_eq!(broker.values("bills", 0), ["a"], "written");
    assert_eq!(look(&broker, |it| it.settled.clone()), ["ack 0/0"]);
    // Credit for the next one came back.
    let second = next(&mut subscriber).await;
    subscriber.confirmed().await.unwrap();
    assert_eq!(look(&broker, |it| it.said["ack"]), 1, "by the commit alone");
    second.ack();
    subscriber.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hold_is_named_and_the_deliveries_come_back() {
    let (broker, client) = broker(&["a", "b", "c"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    let mut commit = client.commit().append("bills", Record::new("x"));
    for _ in 0..3 {
        commit = commit.ack(next(&mut subscriber).await);
    }
    // The broker has given the second back.
    give_back(&broker, 1);
    let failed = commit.send().await.unwrap_err();
    check_failed(&failed, ErrorReason::LeaseExpired, Some(2));
    assert_eq!(failed.error().metadata("operation"), Some("2"), "{failed}");
    assert!(failed.to_string().ends_with("operation=2"), "{failed}");
    assert_eq!(broker.values("bills", 0), [] as [&str; 0], "nothing");
    assert_eq!(failed.deliveries().count(), 3, "deliveries");
    for delivery in failed.into_deliveries() {
        delivery.ack();
    }
    subscriber.confirmed().await.unwrap();
    let settled = look(&broker, |it| it.settled.clone());
    assert_eq!(settled, ["release 0/1", "ack 0/0", "ack 0/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_sent_again_and_happens_once() {
    for on_commit in [OnCommit::CommitAndCut, OnCommit::Cut] {
        let (broker, client) = broker(&["a"]).await;
        let mut subscriber = client.subscriber(NAME).build();
        let delivery = next(&mut subscriber).await;
        broker.state().on_commit.push_back(on_commit);
        let commit = client.commit().append("bills", Record::new("a"));
        let committed = commit.ack(delivery).send().await.unwrap();
        assert_eq!(committed.positions().count(), 1, "{committed:?}");
        assert_eq!(broker.values("bills", 0), ["a"], "once");
        subscriber.confirmed().await.unwrap();
        assert_eq!(look(&broker, |it| it.settled.clone()), ["ack 0/0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_given_up_goes_on_as_the_same_one() {
    let (broker, client) = broker(&["a"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    let delivery = next(&mut subscriber).await;
    let late = OnCommit::Later(Duration::from_mins(1));
    broker.state().on_commit.push_back(OnCommit::CommitAndCut);
    broker.state().on_commit.push_back(late);
    let commit = client.commit().append("bills", Record::new("a"));
    let commit = commit.ack(delivery).give_up_after(Duration::from_secs(5));
    let failed = commit.send().await.unwrap_err();
    assert!(failed.may_have_happened(), "{failed}");
    assert_eq!(failed.operation(), None, "{failed}");
    failed.into_commit().send().await.unwrap();
    assert_eq!(broker.values("bills", 0), ["a"], "once");
    subscriber.confirmed().await.unwrap();
    assert_eq!(look(&broker, |it| it.settled.clone()), ["ack 0/0"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_with_a_key_of_its_own_happens_once_and_one_without_each_time() {
    let (broker, client) = broker(&[]).await;
    for _ in 0..2 {
        let relayed = client.commit().append("bills", Record::new("relayed"));
        relayed.idempotency_key("order-1").send().await.unwrap();
        let nameless = client.commit().append("bills", Record::new("nameless"));
        nameless.idempotency_key("").send().await.unwrap();
    }
    assert_eq!(
        broker.values("bills", 0),
        ["relayed", "nameless", "nameless"]
    );

    broker.state().on_commit.push_back(OnCommit::CommitAndCut);
    let nameless = client.commit().append("bills", Record::new("in doubt"));
    let failed = nameless.idempotency_key("").send().await.unwrap_err();
    assert!(failed.may_have_happened(), "{failed}");
    assert_eq!(
        broker.values("bills", 0).len(),
        4,
        "not sent again by itself"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_now_is_sent_again() {
    let (broker, client) = broker(&[]).await;
    let reasons = [ErrorReason::Overloaded, ErrorReason::ShuttingDown];
    let refusals = reasons.map(OnCommit::Refuse);
    broker.state().on_commit.extend(refusals);
    let commit = client.commit().append("bills", Record::new("a"));
    commit.send().await.unwrap();
    assert_eq!(broker.values("bills", 0), ["a"], "once");
}

#[tokio::test(start_paused = true)]
async fn a_try_without_an_answer_is_in_doubt_whatever_came_before_it() {
    let (broker, client) = broker(&[]).await;
    for key in [None, Some("")] {
        let late = OnCommit::Later(Duration::from_mins(1));
        let refused = OnCommit::Refuse(ErrorReason::Overloaded);
        broker.state().on_commit.extend([refused, late]);
        let mut commit = client.commit().append("bills", Record::new("a"));
        if let Some(key) = key {
            commit = commit.idempotency_key(key);
        }
        let sent = commit.give_up_after(Duration::from_secs(5)).send().await;
        let failed = sent.unwrap_err();
        assert!(failed.may_have_happened(), "key {key:?}: {failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_are_dropped_with_the_commit_have_failed() {
    let (broker, client) = broker(&["a", "b", "c"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    // With a commit that was never sent, with an error, and with a future.
    drop(client.commit().ack(next(&mut subscriber).await));
    let nowhere = client.commit().append("nowhere", Record::new("x"));
    let failed = nowhere.ack(next(&mut subscriber).await).send().await;
    drop(failed.unwrap_err());
    let on_commit = OnCommit::Later(Duration::from_mins(2));
    broker.state().on_commit.push_back(on_commit);
    let commit = client.commit().ack(next(&mut subscriber).await);
    let sent = tokio::time::timeout(Duration::from_secs(1), commit.send()).await;
    sent.unwrap_err();
    subscriber.confirmed().await.unwrap();
    let settled = look(&broker, |it| it.settled.clone());
    let nacked = |offset: u32| format!("nack 0/{offset} dropped before it was settled");
    assert_eq!(settled, [0, 1, 2].map(nacked));
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_what_a_commit_gives_back() {
    let (broker, client) = broker(&["a", "a", "b"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    let first = next(&mut subscriber).await;
    let on_commit = OnCommit::Later(Duration::from_secs(1));
    broker.state().on_commit.push_back(on_commit);
    let commit = client.commit().append("bills", Record::new("not billed"));
    let delay = Some(Duration::from_secs(60));
    let sending = commit.nack(first, delay, "billing is down").send();
    let (sent, ()) = tokio::join!(sending, async {
        // The later one of the same key is there already, and waits.
        let other = next(&mut subscriber).await;
        assert_eq!(other.offset().get(), 2, "of another key");
        other.ack();
        let later = Duration::from_millis(500);
        let waited = tokio::time::timeout(later, subscriber.next_delivery()).await;
        waited.expect_err("not while it is under way");
    });
    sent.unwrap();
    let again = next(&mut subscriber).await;
    assert_eq!((again.offset().get(), again.attempt()), (0, 2), "again");
    again.ack();
    next(&mut subscriber).await.ack();
    subscriber.confirmed().await.unwrap();
    let settled = look(&broker, |it| it.settled.clone());
    let expected = ["ack 0/2", "nack 0/0 billing is down", "ack 0/0", "ack 0/1"];
    assert_eq!(settled, expected);
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_come_back_hold_nothing_up() {
    let (_broker, client) = broker(&["a", "a"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    let first = next(&mut subscriber).await;
    let nowhere = client.commit().append("nowhere", Record::new("x"));
    let failed = nowhere.nack(first, None, "down").send().await.unwrap_err();
    let later = Duration::from_millis(500);
    let waited = tokio::time::timeout(later, subscriber.next_delivery()).await;
    waited.expect_err("it may be sent again");
    // Who has taken a record knows himself what may follow it.
    let first = failed.into_deliveries();
    let second = next(&mut subscriber).await;
    assert_eq!(second.offset().get(), 1, "the next one");
    drop((first, second));
}

#[tokio::test(start_paused = true)]
async fn a_group_comes_further_and_its_consumer_says_nothing_more_of_it() {
    let (broker, client) = broker(&["a", "b", "c"]).await;
    let group = client.group("billing").topics(["orders"]);
    let mut consumer = group.start(Start::Beginning).build();
    let mut records = Vec::new();
    for _ in 0..3 {
        records.push(consumer.next_record().await.unwrap().unwrap());
    }
    // Gathered, and not sent yet.
    let earlier = consumer.commit(&records[0]);
    let commit = client.commit().append("bills", Record::new("abc"));
    let commit = commit.offsets(&consumer, &records[1]);
    commit.offsets(&consumer, &records[2]).send().await.unwrap();
    let expected = [["append bills x1", "offsets orders/0@3"]];
    assert_eq!(commits(&broker), expected, "asked");
    let place = ("orders".to_owned(), 0);
    assert_eq!(broker.state().group.committed[&place], 3, "committed");
    earlier.await.unwrap();
    consumer.close().await;
    assert_eq!(broker.state().group.commit_count, 0, "over the stream");

    // The group is so far already.
    let mut consumer = client.group("billing").topics(["orders"]).build();
    drop(tokio::time::timeout(Duration::from_secs(1), consumer.next_item()).await);
    let again = client.commit().append("bills", Record::new("abc"));
    let failed = again.offsets(&consumer, &records[2]).send().await;
    let failed = failed.unwrap_err();
    check_failed(&failed, ErrorReason::ExpectedOffsetMismatch, Some(1));
    assert_eq!(failed.error().metadata("committed_offset"), Some("3"));
    assert_eq!(broker.values("bills", 0), ["abc"], "once");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_or_nothing_is_refused_before_it_is_sent() {
    let (broker, client) = broker(&[]).await;
    let failed = client.commit().send().await.unwrap_err();
    check_failed(&failed, ErrorReason::InvalidArgument, None);
    let records = (0..9).map(|_| Record::new(vec![b'x'; 1 << 20]));
    let too_large = client.commit().append_all("bills", records);
    let failed = too_large.send().await.unwrap_err();
    check_failed(&failed, ErrorReason::BatchTooLarge, None);
    let max = failed.error().metadata("size_bytes_max");
    assert_eq!(max, Some("8388608"), "{failed}");
    let mut commit = client.commit();
    for _ in 0..1_001 {
        commit = commit.append("bills", Record::new("x"));
    }
    let failed = commit.send().await.unwrap_err();
    check_failed(&failed, ErrorReason::InvalidArgument, None);
    let nowhere = Record::new("x").expect_offset(Offset::new(0));
    let commit = client.commit().append("bills", Record::new("y"));
    let failed = commit.append("bills", nowhere).send().await.unwrap_err();
    check_failed(&failed, ErrorReason::InvalidArgument, Some(1));
    assert!(!broker.state().calls.contains(&"commit"), "not sent");
}

#[tokio::test(start_paused = true)]
async fn what_another_program_has_is_named_by_its_numbers() {
    let (broker, client) = broker(&["a", "b"]).await;
    let mut subscriber = client.subscriber(NAME).build();
    let held = next(&mut subscriber).await;
    let delivery = look(&broker, |it| it.delivery_of((0, 0)));
    let (zero, range) = (
        PartitionId::new(0),
        OffsetRange::new(Offset::new(0), Offset::new(1)),
    );
    let pulled = PulledRecords::new(NAME, delivery, zero, range);
    let topic = TopicName::new("orders").unwrap();
    let assignment = Assignment::new(topic, zero, Generation::new(1));
    let offset = GroupOffset::new(&assignment, Offset::new(2));
    let commit = client
        .commit()
        .settle_pulled(pulled.clone(), DeliveryOutcome::dead_letter("broken"))
        .offsets_of_member("audit", [7; 16], &offset);
    commit.send().await.unwrap();
    let expected = [["settle billing 0..1", "offsets orders/0@2"]];
    assert_eq!(commits(&broker), expected, "asked");
    let settled = look(&broker, |it| it.settled.clone());
    assert_eq!(settled, ["dead-letter 0/0 broken"]);
    let again = client.commit().settle_pulled(pulled, DeliveryOutcome::Ack);
    check_failed(
        &again.send().await.unwrap_err(),
        ErrorReason::LeaseExpired,
        Some(0),
    );
    held.ack();
}
