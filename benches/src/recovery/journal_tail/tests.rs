//! Against what the broker itself says that it has replayed.

use towpath_broker::{Broker, Config};
use towpath_client::{Client, NewTopic, Record};

use super::*;

const RECORD_BYTES: usize = 100_000;

async fn start(data_dir: &Path) -> (Broker, Client) {
    let config = Config {
        data_dir: data_dir.to_owned(),
        listen: Some(([127, 0, 0, 1], 0).into()),
        ..Config::default()
    };
    let broker = Broker::start(config).await.unwrap();
    let address = broker.local_addr().unwrap();
    let client = Client::connect(format!("http://{address}")).unwrap();
    (broker, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_what_the_next_start_replays() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path()).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("events").partitions(2))
        .await
        .unwrap();
    let producer = client.producer("events").build();
    for _ in 0..7 {
        producer
            .send(Record::new(vec![7; RECORD_BYTES]))
            .await
            .unwrap();
    }
    client.close().await;
    broker.shutdown().await;
    drop(broker);

    let tail = JournalTail::measure(dir.path()).unwrap();
    assert_eq!(tail.referenced_bytes, 0, "a single record goes inline");
    let inline_bytes = 7 * RECORD_BYTES as u64;
    let plausible = inline_bytes..inline_bytes + 64 * BLOCK_BYTES as u64;
    assert!(plausible.contains(&tail.journal_bytes), "{tail:?}");

    let (broker, _client) = start(dir.path()).await;
    assert_eq!(tail.entry_count, broker.report().entry_count);
    broker.shutdown().await;
    drop(broker);
    let behind_the_start = JournalTail::measure(dir.path()).unwrap();
    assert_eq!(
        behind_the_start.entry_count, 0,
        "recovery ends with a checkpoint"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_only_in_segments_count_as_referenced() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path()).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("events").partitions(1))
        .await
        .unwrap();
    let producer = client.producer("events").batch_bytes(1 << 20).build();
    producer.send(Record::new(vec![7; 900_000])).await.unwrap();
    client.close().await;
    broker.shutdown().await;
    drop(broker);

    let tail = JournalTail::measure(dir.path()).unwrap();
    assert!(
        (900_000..901_000).contains(&tail.referenced_bytes),
        "{tail:?}"
    );
    assert!(tail.journal_bytes < 100_000, "{tail:?}");
}
