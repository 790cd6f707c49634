//! Taking items and committing them by hand.

use std::collections::BTreeSet;

use towpath_client::{
    Drain, ErrorReason, GroupConsumer, GroupItem, GroupRecord, GroupSeek, GroupState, Start,
};

use crate::harness::{GROUP, TOPIC, TestBroker, consumer, soon};

async fn next(consumer: &mut GroupConsumer) -> GroupRecord {
    let next = soon(consumer.next_record()).await;
    next.expect("no error").expect("there is more")
}

/// The number that a record holds.
fn number(record: &GroupRecord) -> u32 {
    let text = record.value_str().expect("text");
    text.parse().expect("a number")
}

#[tokio::test]
async fn the_next_consumer_goes_on_behind_the_last_commit() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 3).await;
    let client = broker.client();
    let mut first = consumer(&client).build();
    for expected in 0..4 {
        let record = next(&mut first).await;
        assert_eq!(number(&record), expected, "in order");
        soon(first.commit(&record)).await.expect("committed");
    }
    assert_eq!(broker.lag().await, 6, "four are done");
    // Read, and not committed.
    assert_eq!(number(&next(&mut first).await), 4, "in order");
    soon(first.close()).await;
    assert_eq!(broker.group().await.state, GroupState::Empty, "it has left");
    let mut second = client.group(GROUP).topics([TOPIC]).build();
    assert_eq!(number(&next(&mut second).await), 4, "once more");
}

#[tokio::test]
async fn a_commit_of_what_was_moved_is_stale() {
    let broker = TestBroker::start(1).await;
    broker.produce(0..10, 3).await;
    let client = broker.client();
    let mut consumer = consumer(&client).build();
    let record = next(&mut consumer).await;
    let seek = GroupSeek::to(GROUP, Start::Beginning);
    client.admin().seek_group(seek).await.expect("moved");
    let refused = soon(consumer.commit(&record)).await.expect_err("stale");
    assert_eq!(
        refused.reason(),
        Some(ErrorReason::GenerationStale),
        "{refused}"
    );
    let again = next(&mut consumer).await;
    assert!(
        number(&again) <= 1,
        "from the beginning, or what was on its way"
    );
}

#[tokio::test]
async fn a_group_without_a_start_is_refused() {
    let broker = TestBroker::start(1).await;
    let mut consumer = broker.client().group(GROUP).topics([TOPIC]).build();
    let refused = soon(consumer.next_record()).await.expect_err("refused");
    assert_eq!(refused.reason(), Some(ErrorReason::StartUnset), "{refused}");
    let ended = soon(consumer.next_record()).await.expect("told once");
    assert!(ended.is_none(), "it has ended");
}

#[tokio::test]
async fn a_restart_of_the_broker_repeats_and_leaves_out_nothing() {
    let broker = TestBroker::start(2).await;
    broker.produce(0..500, 7).await;
    let client = broker.client();
    let mut consumer = consumer(&client).max_in_flight(50).build();
    let mut seen = BTreeSet::new();
    for _ in 0..120 {
        assert!(seen.insert(number(&next(&mut consumer).await)), "once");
    }
    let broker = broker.restart().await;
    let mut last = None;
    while seen.len() < 500 {
        let record = next(&mut consumer).await;
        assert!(
            seen.insert(number(&record)),
            "{} came twice",
            number(&record)
        );
        last = Some(record);
    }
    let last = last.expect("some came after the restart");
    soon(consumer.commit(&last)).await.expect("committed");
    assert!(broker.lag().await < 500, "the generation is the same");
}

#[tokio::test]
async fn partitions_are_given_back_to_a_member_that_joins() {
    let broker = TestBroker::start(4).await;
    broker.produce(0..100, 20).await;
    let client = broker.client();
    let mut first = consumer(&client).build();
    let mut second = consumer(&client).build();
    let mut owned = 0;
    while owned < 4 {
        if let Some(Ok(GroupItem::Assigned(partitions))) = soon(first.next_item()).await {
            owned += partitions.len();
        }
    }
    // The first one takes no notice of its records, and gives back what it is asked for.
    let taking_part = async {
        loop {
            match first
                .next_item()
                .await
                .expect("it goes on")
                .expect("no error")
            {
                GroupItem::Revoking(revoking) => first.give_back(&revoking),
                GroupItem::Lost(lost) => panic!("{lost:?}"),
                _ => {}
            }
        }
    };
    let getting = async {
        loop {
            if let Some(Ok(GroupItem::Assigned(partitions))) = second.next_item().await {
                return partitions.len();
            }
        }
    };
    let count = soon(async {
        tokio::select! {
            () = taking_part => unreachable!("it goes on"),
            count = getting => count,
        }
    });
    assert!((1..=2).contains(&count.await), "up to half of four");
    drop(second);
    // Leaving is told at once: nobody waits for a member that was dropped.
    let mut back = 0;
    while back == 0 {
        if let GroupItem::Assigned(partitions) = soon(first.next_item())
            .await
            .expect("it goes on")
            .expect("no error")
        {
            back += partitions.len();
        }
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_stream() {
    let broker = TestBroker::start(1).await;
    let client = broker.client();
    let mut consumer = consumer(&client).build();
    let stop = consumer.shutdown_handle();
    let stopping = async {
        while broker.client().admin().group(GROUP).await.is_err() {}
        stop.shutdown(Drain::StopNow);
    };
    let (ended, ()) = soon(async { tokio::join!(consumer.next_record(), stopping) }).await;
    assert!(ended.expect("no error").is_none(), "ended");
}
