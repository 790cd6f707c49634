//! The Fetch stream: from memory and from disk, to the end and onwards, one partition and many.

use std::time::Duration;

use towpath_broker::Config;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{
    TestBroker, all_values, check_facts, config, config_without_cache, refusal, soon, source,
    values,
};

fn following(topics: &[&str]) -> v1::FetchRequest {
    v1::FetchRequest {
        sources: topics.iter().map(|topic| source(topic)).collect(),
        follow: true,
        ..v1::FetchRequest::default()
    }
}

fn ending(sources: Vec<v1::FetchSource>) -> v1::FetchRequest {
    v1::FetchRequest {
        sources,
        ..v1::FetchRequest::default()
    }
}

#[tokio::test]
async fn a_reader_is_told_first_what_it_reads_and_last_that_it_has_caught_up() {
    let broker = TestBroker::start().await;
    let id = broker.create("orders", 2).await;
    broker.publish("orders", 1, &["a", "b"]).await;
    let last = broker.publish("orders", 1, &["c"]).await;
    let reader = broker.reader(ending(vec![source("orders")])).await;
    let partition = |partition, end_offset| v1::OpenedPartition {
        partition,
        start_offset: 0,
        log_start_offset: 0,
        end_offset,
    };
    let topic = v1::OpenedTopic {
        handle: 0,
        topic: "orders".to_owned(),
        topic_id: id,
        partitions: vec![partition(0, 0), partition(1, 3)],
    };
    assert_eq!(reader.opened.topics, [topic]);
    assert!(reader.opened.lsn >= last.lsn, "{}", reader.opened.lsn);
    let (lsn, messages) = (reader.opened.lsn, reader.rest().await);
    let caught_up: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Fetched::CaughtUp(caught_up) => Some(*caught_up),
            _ => None,
        })
        .collect();
    let expected = |partition, end_offset| v1::CaughtUp {
        handle: 0,
        partition,
        end_offset,
        lsn,
    };
    assert_eq!(caught_up, [expected(0, 0), expected(1, 3)]);
    let batches: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Fetched::Batch(batch) => Some((batch.base_offset, values(batch))),
            _ => None,
        })
        .collect();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(batches, [(0, words(&["a", "b"])), (2, words(&["c"]))]);
    assert_eq!(messages.len(), 4, "{messages:?}");
}

#[tokio::test]
async fn a_batch_carries_what_its_answer_said() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let published = broker.publish("orders", 0, &["a", "b"]).await;
    let mut reader = broker.reader(ending(vec![source("orders")])).await;
    let batch = reader.batch().await;
    assert_eq!((batch.handle, batch.partition), (0, 0));
    assert_eq!((batch.base_offset, batch.record_count), (0, 2));
    assert_eq!(batch.lsn, published.lsn);
    assert_eq!(batch.append_time_ms, published.append_time_ms);
    assert!(batch.offset_deltas.is_empty());
}

/// Writes through several partitions, with batches of many sizes, and reads everything back.
async fn check_everything_comes_back(config: Config, merge_by_lsn: bool) {
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 3).await;
    let large = "x".repeat(300_000);
    let mut written = vec![Vec::new(); 3];
    for number in 0..120_u32 {
        let partition = number % 3;
        let value = match number % 10 {
            0 => format!("{number}{large}"),
            _ => number.to_string(),
        };
        broker.publish("orders", partition, &[&value]).await;
        written[partition as usize].push(value);
    }
    let request = v1::FetchRequest {
        merge_by_lsn,
        ..ending(vec![source("orders")])
    };
    let messages = broker.reader(request).await.rest().await;
    let mut read = vec![Vec::new(); 3];
    let mut next_offset = [0; 3];
    let mut lsns = Vec::new();
    for message in &messages {
        if let Fetched::Batch(batch) = message {
            let next_offset = &mut next_offset[batch.partition as usize];
            assert_eq!(batch.base_offset, *next_offset, "dense");
            *next_offset += u64::from(batch.record_count);
            read[batch.partition as usize].extend(values(batch));
            lsns.push(batch.lsn);
        }
    }
    assert_eq!(read, written, "everything, in order");
    if merge_by_lsn {
        assert!(lsns.is_sorted(), "{lsns:?}");
    }
}

#[tokio::test]
async fn everything_comes_back_from_memory() {
    check_everything_comes_back(config(), false).await;
}

#[tokio::test]
async fn everything_comes_back_from_disk() {
    check_everything_comes_back(config_without_cache(), false).await;
}

#[tokio::test]
async fn everything_comes_back_merged_from_memory() {
    check_everything_comes_back(config(), true).await;
}

#[tokio::test]
async fn everything_comes_back_merged_from_disk() {
    check_everything_comes_back(config_without_cache(), true).await;
}

#[tokio::test]
async fn everything_comes_back_merged_across_memory_and_disk() {
    let mut config = config();
    // The last third of what is written.
    config.engine.sequencer.tail_cache_bytes = 1_200_000;
    check_everything_comes_back(config, true).await;
}

#[tokio::test]
async fn merging_more_partitions_than_fit_into_memory_keeps_the_order() {
    let broker = TestBroker::start_with(config_without_cache()).await;
    broker.create("orders", 60).await;
    for round in 0..4 {
        for partition in 0..60 {
            let value = format!("{round}.{partition}");
            broker.publish("orders", partition, &[&value]).await;
        }
    }
    let request = v1::FetchRequest {
        merge_by_lsn: true,
        ..ending(vec![source("orders")])
    };
    let messages = broker.reader(request).await.rest().await;
    let expected = (0..4).flat_map(|round| (0..60).map(move |it| format!("{round}.{it}")));
    assert_eq!(all_values(&messages), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn merging_goes_over_topics_too() {
    let broker = TestBroker::start().await;
    broker.create("a", 1).await;
    broker.create("b", 2).await;
    for number in 0..10 {
        let value = number.to_string();
        let (topic, partition) = [("a", 0), ("b", 1), ("b", 0)][number % 3];
        broker.publish(topic, partition, &[&value]).await;
    }
    let request = v1::FetchRequest {
        merge_by_lsn: true,
        ..ending(vec![source("b"), source("a")])
    };
    let reader = broker.reader(request).await;
    let handles: Vec<_> = reader.opened.topics.iter().map(|it| it.handle).collect();
    assert_eq!(handles, [0, 1]);
    let messages = reader.rest().await;
    let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(all_values(&messages), expected);
}

#[tokio::test]
async fn a_follower_gets_what_comes_later() {
    let broker = TestBroker::start().await;
    broker.create("orders", 2).await;
    let mut reader = broker.reader(following(&["orders"])).await;
    for partition in 0..2 {
        match reader.next_event().await {
            Fetched::CaughtUp(caught_up) => assert_eq!(caught_up.partition, partition),
            other => panic!("{other:?}"),
        }
    }
    for number in 0..50_u32 {
        let published = broker.publish("orders", number % 2, &["v"]).await;
        match reader.next_event().await {
            Fetched::Batch(batch) => {
                assert_eq!(batch.lsn, published.lsn);
                assert_eq!(batch.partition, number % 2);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn many_followers_are_all_woken_at_once() {
    // A heartbeat would look for records as well.
    let config = Config {
        heartbeat_interval: Duration::from_secs(10),
        ..config()
    };
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(broker.reader(following(&["orders"])).await);
    }
    broker.publish("orders", 0, &["v"]).await;
    let woken = async {
        for reader in &mut readers {
            assert_eq!(values(&reader.batch().await), ["v"]);
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(5), woken).await;
    assert!(in_time.is_ok(), "before any heartbeat");
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_alive() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    broker.create("others", 1).await;
    let mut reader = broker.reader(following(&["orders"])).await;
    assert!(
        matches!(reader.next_event().await, Fetched::CaughtUp(_)),
        "first"
    );
    // What others write moves the LSN, though nothing of it is read here.
    let published = broker.publish("others", 0, &["v"]).await;
    loop {
        match reader.next().await {
            Some(Fetched::Heartbeat(heartbeat)) => {
                if heartbeat.lsn >= published.lsn {
                    let time_ms = heartbeat.broker_time_ms;
                    assert!(time_ms >= published.append_time_ms, "{heartbeat:?}");
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_for_its_reader_and_the_others_go_on() {
    let broker = TestBroker::start().await;
    broker.create("a", 2).await;
    broker.create("b", 1).await;
    let mut reader = broker.reader(following(&["a", "b"])).await;
    for _ in 0..3 {
        assert!(
            matches!(reader.next_event().await, Fetched::CaughtUp(_)),
            "first"
        );
    }
    broker.delete("a").await;
    match reader.next_event().await {
        Fetched::Failed(failed) => {
            assert_eq!((failed.handle, failed.partition), (0, None));
            let error = failed.error.unwrap();
            assert_eq!(error.reason(), v1::ErrorReason::TopicNotFound);
        }
        other => panic!("{other:?}"),
    }
    broker.publish("b", 0, &["still here"]).await;
    assert_eq!(values(&reader.batch().await), ["still here"]);
    broker.delete("b").await;
    assert!(
        matches!(reader.next_event().await, Fetched::Failed(_)),
        "the last"
    );
    assert_eq!(reader.rest().await, [], "nothing is left to read");
}

#[tokio::test]
async fn only_the_partitions_that_are_named_are_read() {
    let broker = TestBroker::start().await;
    broker.create("orders", 4).await;
    for partition in 0..4 {
        broker
            .publish("orders", partition, &[&partition.to_string()])
            .await;
    }
    let some = v1::FetchSource {
        partitions: vec![3, 1],
        ..source("orders")
    };
    let reader = broker.reader(ending(vec![some])).await;
    let partitions = &reader.opened.topics[0].partitions;
    let numbers: Vec<_> = partitions.iter().map(|it| it.partition).collect();
    assert_eq!(numbers, [1, 3]);
    let mut read = all_values(&reader.rest().await);
    read.sort();
    assert_eq!(read, ["1", "3"]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_on_holds_nobody_up() {
    let broker = TestBroker::start().await;
    broker.create("orders", 1).await;
    let value = "x".repeat(500_000);
    let _stuck = broker.reader(following(&["orders"])).await;
    for _ in 0..60 {
        broker.publish("orders", 0, &[&value]).await;
    }
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read).len(), 60);
}

#[tokio::test]
async fn a_request_says_what_is_wrong_with_it() {
    let broker = TestBroker::start().await;
    let id = broker.create("orders", 2).await;
    let invalid = ErrorReason::InvalidArgument;
    let partitions = |partitions: Vec<u32>| v1::FetchSource {
        partitions,
        ..source("orders")
    };
    let own = |offsets: &[(u32, u64)]| v1::FetchSource {
        partitions: vec![1],
        start_offsets: offsets
            .iter()
            .map(|(partition, offset)| v1::PartitionOffset {
                partition: *partition,
                offset: *offset,
            })
            .collect(),
        ..source("orders")
    };
    let with_id = |topic_id| v1::FetchSource {
        topic_id: Some(topic_id),
        ..source("orders")
    };
    let twice = vec![source("orders"), partitions(vec![0])];
    let place = "sources[0].start_offsets[0].partition";
    let second = "sources[0].start_offsets[1].partition";
    let cases = [
        (vec![], invalid, ("field", "sources")),
        (vec![source("")], invalid, ("field", "sources[0].topic")),
        (twice, invalid, ("field", "sources[1].topic")),
        (
            vec![source("ordres")],
            ErrorReason::TopicNotFound,
            ("topic", "ordres"),
        ),
        (
            vec![with_id(id + 1)],
            ErrorReason::TopicNotFound,
            ("topic", "orders"),
        ),
        (
            vec![partitions(vec![0, 2])],
            ErrorReason::PartitionNotFound,
            ("partition", "2"),
        ),
        (
            vec![partitions(vec![0, 0])],
            invalid,
            ("field", "sources[0].partitions"),
        ),
        (vec![own(&[(0, 0)])], invalid, ("field", place)),
        (vec![own(&[(1, 0), (1, 0)])], invalid, ("field", second)),
    ];
    for (sources, reason, fact) in cases {
        let opened = soon(broker.fetch().fetch(ending(sources))).await;
        check_facts(&refusal(opened, reason), &[fact]);
    }
    broker.reader(ending(vec![with_id(id)])).await;
}

#[tokio::test]
async fn a_stream_reads_a_bounded_number_of_partitions() {
    let broker = TestBroker::start().await;
    broker.create("wide", 10_000).await;
    broker.create("narrow", 1).await;
    let both = ending(vec![source("wide"), source("narrow")]);
    let problem = refusal(
        soon(broker.fetch().fetch(both)).await,
        ErrorReason::InvalidArgument,
    );
    check_facts(&problem, &[("field", "sources")]);
    let reader = broker.reader(ending(vec![source("wide")])).await;
    assert_eq!(reader.rest().await.len(), 10_000, "one caught up for each");
}
