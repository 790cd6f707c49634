//! What groups are asked for that cannot be, and members that have nothing to do or get in each other's
//! way.

use std::collections::{BTreeMap, BTreeSet};

use towpath_client::{
    ByKey, Client, Drain, Error, ErrorReason, GroupConsumer, GroupItem, GroupOffset, GroupSeek,
    GroupState, NewTopic, Offset, PartitionId, Revoking, Start, TopicTrim,
};

use crate::harness::{GROUP, TOPIC, TestBroker, consumer, soon};

const OTHER_TOPIC: &str = "payments";

async fn item(consumer: &mut GroupConsumer) -> GroupItem {
    let item = soon(consumer.next_item()).await;
    item.expect("it goes on").expect("no error")
}

/// A consumer joins when it is first asked for something.
async fn ask_once(consumer: &mut GroupConsumer) {
    tokio::select! {
        biased;
        item = consumer.next_item() => panic!("too early: {item:?}"),
        () = std::future::ready(()) => {}
    }
}

/// Waits until so many partitions are assigned, and returns them.
async fn assigned(consumer: &mut GroupConsumer, count: usize) -> BTreeSet<(String, PartitionId)> {
    let mut owned = BTreeSet::new();
    while owned.len() < count {
        if let GroupItem::Assigned(partitions) = item(consumer).await {
            let places = partitions.into_iter().map(|it| it.assignment);
            owned.extend(places.map(|it| (it.topic.to_string(), it.partition)));
        }
    }
    owned
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, reason: ErrorReason) {
    let refused = result.expect_err("refused");
    assert_eq!(refused.reason(), Some(reason), "{refused}");
}

#[tokio::test]
async fn a_group_that_is_not_there_is_not_shown_moved_or_deleted() {
    let broker = TestBroker::start(1).await;
    let admin = broker.client().admin();
    assert_refused(
        soon(admin.group("nobody")).await,
        ErrorReason::GroupNotFound,
    );
    let seek = GroupSeek::to("nobody", Start::Beginning);
    assert_refused(
        soon(admin.seek_group(seek)).await,
        ErrorReason::GroupNotFound,
    );
    let deleted = soon(admin.delete_group("nobody")).await;
    assert_refused(deleted, ErrorReason::GroupNotFound);
}

#[tokio::test]
async fn a_group_is_neither_moved_nor_committed_beyond_the_end() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 3).await;
    let client = broker.client();
    let mut consumer = consumer(&client).build();
    let assignment = loop {
        if let GroupItem::Assigned(partitions) = item(&mut consumer).await {
            break partitions[0].assignment.clone();
        }
    };
    let seek = GroupSeek::to(GROUP, Start::Offset(Offset::new(11)));
    let sought = soon(client.admin().seek_group(seek)).await;
    assert_refused(sought, ErrorReason::OffsetOutOfRange);
    let beyond = GroupOffset::new(&assignment, Offset::new(11));
    let committed = soon(consumer.commit(&beyond)).await;
    assert_refused(committed, ErrorReason::OffsetOutOfRange);
    assert_eq!(broker.lag().await, 10, "nothing has happened");
    let end = GroupOffset::new(&assignment, Offset::new(10));
    soon(consumer.commit(&end)).await.expect("committed");
    assert_eq!(broker.lag().await, 0, "the end itself is no record");
}

#[tokio::test]
async fn each_member_gets_partitions_of_the_topics_that_it_reads() {
    let broker = TestBroker::start(3).await;
    let client = broker.client();
    let other = NewTopic::new(OTHER_TOPIC).partitions(2);
    client.admin().create_topic(other).await.expect("a topic");
    let reading = |topics: &[&str]| {
        let topics = topics.iter().copied();
        client.group(GROUP).topics(topics).start(Start::Beginning)
    };
    let mut first = reading(&[TOPIC]).build();
    let mut second = reading(&[OTHER_TOPIC]).build();
    let places = |topic: &str, count| {
        let partitions = (0..count).map(PartitionId::new);
        partitions
            .map(|it| (topic.to_owned(), it))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(assigned(&mut first, 3).await, places(TOPIC, 3));
    assert_eq!(assigned(&mut second, 2).await, places(OTHER_TOPIC, 2));
    // Nobody else reads the other topic: it is free until somebody comes who does.
    drop(second);
    let mut third = reading(&[TOPIC, OTHER_TOPIC]).build();
    assert_eq!(assigned(&mut third, 2).await, places(OTHER_TOPIC, 2));
}

#[tokio::test]
async fn a_member_that_is_left_over_waits_and_takes_over() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 3).await;
    let client = broker.client();
    let mut first = consumer(&client).build();
    assigned(&mut first, 1).await;
    let mut second = consumer(&client).build();
    ask_once(&mut second).await;
    await_group(&client, |group| group.member_count == 2).await;
    drop(first);
    assigned(&mut second, 1).await;
    let record = soon(second.next_record()).await.expect("no error");
    assert_eq!(
        record.expect("a record").offset().get(),
        0,
        "nothing was committed"
    );
}

/// Asks for the group until it is as it should be.
async fn await_group(client: &Client, is_reached: impl Fn(&towpath_client::Group) -> bool) {
    soon(async {
        loop {
            if let Ok(group) = client.admin().group(GROUP).await
                && group.state != GroupState::Rebalancing
                && is_reached(&group)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_200_members_8_have_a_partition_each() {
    let broker = TestBroker::start(8).await;
    // A connection has a bounded number of streams.
    let clients: Vec<_> = (0..10).map(|_| broker.client()).collect();
    let members = clients.iter().flat_map(|client| {
        let members = (0..20).map(|_| consumer(client).build());
        members.collect::<Vec<_>>()
    });
    let mut members: Vec<_> = members.collect();
    for member in &mut members {
        ask_once(member).await;
    }
    let client = broker.client();
    let reached = await_group(&client, |group| {
        let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
        for partition in &group.partitions {
            let owner = partition.member_id.as_deref().unwrap_or_default();
            *shares.entry(owner).or_default() += 1;
        }
        group.member_count == 200 && shares.len() == 8
    });
    reached.await;
    drop(members);
    await_group(&client, |group| group.state == GroupState::Empty).await;
}

async fn revoking(consumer: &mut GroupConsumer) -> Revoking {
    loop {
        if let GroupItem::Revoking(revoking) = item(consumer).await {
            return revoking;
        }
    }
}

#[tokio::test]
async fn what_a_member_keeps_goes_on_while_the_rest_moves() {
    let broker = TestBroker::start(4).await;
    let client = broker.client();
    let mut first = consumer(&client).build();
    assigned(&mut first, 4).await;
    let mut second = consumer(&client).build();
    ask_once(&mut second).await;
    let revoking = revoking(&mut first).await;
    let moving: BTreeSet<_> = revoking.partitions.iter().map(|it| it.partition).collect();
    assert_eq!(moving.len(), 2, "half of them");
    // It is busy with those, and does not give them back.
    broker.produce(0..100, 20).await;
    let mut kept = BTreeSet::new();
    while kept.len() < 2 {
        match item(&mut first).await {
            GroupItem::Batch(batch) => {
                assert!(!moving.contains(&batch.partition()), "its records wait");
                kept.insert(batch.partition());
                soon(first.commit(&batch)).await.expect("committed");
            }
            GroupItem::CaughtUp(_) => {}
            other => panic!("it is not disturbed: {other:?}"),
        }
    }
    let group = broker.group().await;
    assert_eq!(group.state, GroupState::Rebalancing, "all that time");
    first.give_back(&revoking);
    let given: BTreeSet<_> = assigned(&mut second, 2).await;
    let given: BTreeSet<_> = given.into_iter().map(|(_, partition)| partition).collect();
    assert_eq!(given, moving, "and nothing else has moved");
}

#[tokio::test]
async fn a_topic_that_was_deleted_is_left_out_when_the_broker_is_back() {
    let broker = TestBroker::start(2).await;
    let client = broker.client();
    let other = || NewTopic::new(OTHER_TOPIC).partitions(1);
    client.admin().create_topic(other()).await.expect("a topic");
    let topics = [TOPIC, OTHER_TOPIC];
    let builder = client.group(GROUP).topics(topics).start(Start::Beginning);
    let mut consumer = builder.build();
    assigned(&mut consumer, 3).await;
    let deleted = client.admin().delete_topic(OTHER_TOPIC).await;
    deleted.expect("deleted");
    // One of the same name is another topic.
    client.admin().create_topic(other()).await.expect("a topic");
    let broker = broker.restart().await;
    broker.produce(0..10, 3).await;
    let mut gone = Vec::new();
    let mut records = Vec::new();
    while records.len() < 10 {
        match soon(consumer.next_record()).await {
            Ok(record) => records.push(record.expect("it goes on")),
            Err(error) => gone.push(error),
        }
    }
    let [gone] = &gone[..] else {
        panic!("told once: {gone:?}");
    };
    assert_eq!(gone.reason(), Some(ErrorReason::TopicNotFound), "{gone}");
    assert_eq!(gone.metadata("topic"), Some(OTHER_TOPIC), "{gone}");
    soon(consumer.commit(records.last().expect("ten")))
        .await
        .expect("committed");
    let deleted = broker.client().admin().delete_topic(TOPIC).await;
    deleted.expect("deleted");
    assert_refused(
        soon(consumer.next_record()).await,
        ErrorReason::TopicNotFound,
    );
    let end = soon(consumer.next_record()).await.expect("told");
    assert!(end.is_none(), "nothing is left to read");
}

/// Ten records of one partition, the first four of which a group has never come to and never will.
async fn overtaken() -> TestBroker {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 3).await;
    let client = broker.client();
    let mut first = consumer(&client).build();
    assigned(&mut first, 1).await;
    soon(first.close()).await;
    let trim = TopicTrim::before(TOPIC, Start::Offset(Offset::new(4)));
    soon(client.admin().trim_topic(trim))
        .await
        .expect("trimmed");
    broker
}

#[tokio::test]
async fn a_partition_stops_where_the_group_was_overtaken_if_asked_to() {
    let broker = overtaken().await;
    let client = broker.client();
    let mut stopping = consumer(&client).stop_at_trimmed().build();
    let error = loop {
        if let GroupItem::Stopped(stopped) = item(&mut stopping).await {
            break stopped.error;
        }
    };
    soon(stopping.close()).await;
    assert_eq!(
        error.reason(),
        Some(ErrorReason::OffsetOutOfRange),
        "{error}"
    );
    let partition = &broker.group().await.partitions[0];
    let there = (partition.committed_offset, partition.skipped_records);
    assert_eq!(there, (Offset::new(0), 0), "nothing is passed over");

    let going_on = consumer(&client).build();
    let stop = going_on.shutdown_handle();
    let handling = going_on.for_each(ByKey(2), move |record| {
        if record.offset().get() == 9 {
            stop.shutdown(Drain::FinishWithin(std::time::Duration::MAX));
        }
        async { Ok::<_, std::convert::Infallible>(()) }
    });
    soon(handling).await.expect("no error");
    let partition = &broker.group().await.partitions[0];
    let there = (partition.committed_offset, partition.skipped_records);
    assert_eq!(there, (Offset::new(10), 4), "counted");
}
