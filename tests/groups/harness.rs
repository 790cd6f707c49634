//! A broker, a topic, and consumers of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use towpath_broker::{Broker, Config};
use towpath_client::{Client, Group, GroupConsumerBuilder, NewTopic, Record, Start};

/// Longest time that anything may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "billing";

/// A broker with a folder of its own.
pub(crate) struct TestBroker {
    broker: Broker,
    folder: TempDir,
}

impl TestBroker {
    /// With a topic of so many partitions.
    pub(crate) async fn start(partitions: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let broker = start_at(any, &folder).await;
        let broker = Self { broker, folder };
        let topic = NewTopic::new(TOPIC).partitions(partitions);
        let created = broker.client().admin().create_topic(topic).await;
        created.expect("a topic");
        broker
    }

    pub(crate) fn client(&self) -> Client {
        let url = format!("http://{}", self.broker.local_addr().expect("it listens"));
        Client::connect(url).expect("the URL of a broker")
    }

    /// Stops and starts again on the same port and folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { broker, folder } = self;
        let address = broker.local_addr().expect("it listens");
        soon(broker.shutdown()).await;
        drop(broker);
        let broker = start_at(address, &folder).await;
        Self { broker, folder }
    }

    /// Writes records with the numbers of a range; the key is the number modulo `key_count`.
    pub(crate) async fn produce(&self, numbers: std::ops::Range<u32>, key_count: u32) {
        let producer = self.client().producer(TOPIC).build();
        for number in numbers {
            let record = Record::new(number.to_string()).key((number % key_count).to_string());
            drop(producer.enqueue(record).await.expect("room"));
        }
        producer.close().await.expect("all on disk");
    }

    pub(crate) async fn group(&self) -> Group {
        let group = self.client().admin().group(GROUP).await;
        group.expect("a group")
    }

    /// Records that the group has not committed.
    pub(crate) async fn lag(&self) -> u64 {
        let group = self.group().await;
        group.partitions.iter().map(|it| it.lag_records).sum()
    }
}

/// A consumer of the group that begins at the beginning.
pub(crate) fn consumer(client: &Client) -> GroupConsumerBuilder {
    client.group(GROUP).topics([TOPIC]).start(Start::Beginning)
}

async fn start_at(listen: SocketAddr, folder: &TempDir) -> Broker {
    let config = Config {
        listen: Some(listen),
        data_dir: folder.path().join("data"),
        ..Config::default()
    };
    Broker::start(config).await.expect("a broker")
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it comes in time")
}
