//! What may be seen, and when: nothing before it is on disk, and what was written as one, as one.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use towpath_proto::partitioner::partition_of;
use towpath_proto::v1;
use towpath_proto::wire::ProduceRequest;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::gated_disk::gated_broker;
use crate::harness::{TestBroker, all_values, batch_of, config, record, soon, source, values};

/// Long enough for an answer that is wrongly sent to arrive.
const A_WHILE: Duration = Duration::from_millis(100);

/// Where the partitions of "orders" end, three times told.
async fn ends(broker: &TestBroker) -> [Vec<u64>; 3] {
    let name = "orders".to_owned();
    let shown = soon(broker.topics().get_topic(v1::GetTopicRequest { name })).await;
    let topic = shown.unwrap().into_inner().topic.unwrap();
    let request = v1::LookupOffsetsRequest {
        topic: "orders".to_owned(),
        ..v1::LookupOffsetsRequest::default()
    };
    let found = soon(broker.fetch().lookup_offsets(request)).await.unwrap();
    let request = v1::FetchRequest {
        sources: vec![source("orders")],
        ..v1::FetchRequest::default()
    };
    let opened = broker.reader(request).await.opened;
    [
        topic.partitions.iter().map(|it| it.end_offset).collect(),
        found
            .into_inner()
            .offsets
            .iter()
            .map(|it| it.end_offset)
            .collect(),
        opened.topics[0]
            .partitions
            .iter()
            .map(|it| it.end_offset)
            .collect(),
    ]
}

#[tokio::test]
async fn nothing_is_answered_or_seen_before_it_is_on_disk() {
    let (broker, _disk, gate) = gated_broker(config()).await;
    broker.create("orders", 1).await;
    broker.publish("orders", 0, &["before"]).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let mut follower = broker
        .reader(v1::FetchRequest {
            sources: vec![source("orders")],
            follow: true,
            ..v1::FetchRequest::default()
        })
        .await;
    assert_eq!(values(&follower.batch().await), ["before"]);

    gate.close();
    producer.produce(batch_of(0, &["v"])).await;
    gate.held().await;
    let answer = tokio::time::timeout(A_WHILE, producer.next()).await;
    assert!(answer.is_err(), "{answer:?}");
    let seen = tokio::time::timeout(A_WHILE, follower.batch()).await;
    assert!(seen.is_err(), "{seen:?}");
    assert_eq!(ends(&broker).await, [[1], [1], [1]]);
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["before"]);

    gate.open();
    let accepted = producer.accepted().await;
    assert_eq!(accepted.base_offset, 1);
    assert_eq!(
        ends(&broker).await,
        [[2], [2], [2]],
        "what is answered is seen"
    );
    assert_eq!(values(&follower.batch().await), ["v"]);
}

/// So many that showing one commit takes the broker a while.
const PARTITION_COUNT: u32 = 256;

/// Publishes to all partitions at once, again and again, until nobody listens.
async fn publish_for_ever(broker: &TestBroker) {
    let count = NonZeroU32::new(PARTITION_COUNT).unwrap();
    let mut keys = BTreeMap::new();
    for key in (0..100_000).map(|key: u32| key.to_string()) {
        keys.entry(partition_of(key.as_bytes(), count))
            .or_insert(key);
    }
    let records = keys.values().map(|key| record(Some(key), "v"));
    let request = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: records.collect(),
        partition: None,
    };
    assert_eq!(
        request.records.len(),
        PARTITION_COUNT as usize,
        "a key for each"
    );
    loop {
        soon(broker.produce().publish(request.clone()))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_as_one_over_partitions_is_seen_as_one() {
    let broker = TestBroker::start().await;
    broker.create("orders", PARTITION_COUNT).await;
    let reading = async {
        for round in 0..60 {
            for ends in ends(&broker).await {
                assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
            }
            let request = v1::FetchRequest {
                sources: vec![source("orders")],
                merge_by_lsn: round % 2 == 0,
                ..v1::FetchRequest::default()
            };
            let mut batches_of: BTreeMap<u64, u32> = BTreeMap::new();
            for message in broker.reader(request).await.rest().await {
                if let Fetched::Batch(batch) = message {
                    *batches_of.entry(batch.lsn).or_default() += 1;
                }
            }
            let is_whole = |count: &u32| *count == PARTITION_COUNT;
            assert!(batches_of.values().all(is_whole), "{batches_of:?}");
        }
    };
    tokio::select! {
        () = reading => {}
        () = publish_for_ever(&broker) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_has_everything_up_to_the_lsn_that_it_is_told() {
    let broker = TestBroker::start().await;
    broker.create("orders", PARTITION_COUNT).await;
    let following = async {
        let request = v1::FetchRequest {
            sources: vec![source("orders")],
            follow: true,
            merge_by_lsn: true,
            ..v1::FetchRequest::default()
        };
        let mut reader = broker.reader(request).await;
        // As many batches in a row as there are partitions have one LSN, and it rises from run to
        // run.
        let (mut lsn, mut run) = (0, PARTITION_COUNT);
        for _ in 0..50 * PARTITION_COUNT {
            match reader.next().await.unwrap() {
                Fetched::Batch(batch) if run == PARTITION_COUNT => {
                    assert!(batch.lsn > lsn, "{lsn} before {batch:?}");
                    (lsn, run) = (batch.lsn, 1);
                }
                Fetched::Batch(batch) => {
                    assert_eq!(batch.lsn, lsn, "the run has {run}");
                    run += 1;
                }
                Fetched::Heartbeat(heartbeat) => {
                    assert_eq!(run, PARTITION_COUNT, "{heartbeat:?} after {lsn}");
                }
                Fetched::CaughtUp(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = publish_for_ever(&broker) => {}
    }
}

#[tokio::test]
async fn a_producer_is_not_read_from_while_the_disk_does_not_keep_up() {
    const BATCH_COUNT: usize = 64;
    let (broker, _disk, gate) = gated_broker(config()).await;
    broker.create("orders", 1).await;
    let (requests, receiver) = mpsc::channel(1);
    let answers = broker
        .produce()
        .produce(ReceiverStream::new(receiver))
        .await;
    let mut answers = answers.unwrap().into_inner();
    let open = v1::OpenTopic {
        handle: 1,
        topic: "orders".to_owned(),
        producer_id: vec![1; 16].into(),
        ..v1::OpenTopic::default()
    };
    requests.send(ProduceRequest::open(open)).await.unwrap();
    soon(answers.message()).await.unwrap();
    gate.close();
    let value = "v".repeat(1024 * 1024 - 64);
    let mut sent = 0;
    // 16 MiB wait to be written, 2 MiB in the stream's window, the rest with the client.
    while sent < BATCH_COUNT {
        let batch = batch_of(sent as u64, &[&value]);
        let sending = requests.send(ProduceRequest::produce(batch));
        match tokio::time::timeout(Duration::from_secs(1), sending).await {
            Ok(result) => result.unwrap(),
            Err(_) if sent >= 16 => break,
            // The machine is busy.
            Err(_) => continue,
        }
        sent += 1;
    }
    assert!((16..32).contains(&sent), "{sent} MiB were taken");
    gate.open();
    let rest = async {
        for sequence in sent..BATCH_COUNT {
            let batch = batch_of(sequence as u64, &[&value]);
            requests.send(ProduceRequest::produce(batch)).await.unwrap();
        }
        drop(requests);
    };
    let accepting = async {
        let mut accepted = 0;
        while let Some(answer) = soon(answers.message()).await.unwrap() {
            match answer.response.unwrap() {
                v1::produce_response::Response::Accepted(it) => accepted += it.batches.len(),
                other => panic!("{other:?}"),
            }
        }
        accepted
    };
    let ((), accepted) = tokio::join!(rest, accepting);
    assert_eq!(accepted, BATCH_COUNT);
}
