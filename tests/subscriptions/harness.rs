//! A broker, a topic, and a subscription to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;
use towpath_broker::{Broker, Config};
use towpath_client::{
    Client, NewSubscription, NewTopic, Record, Start, Subscription, SubscriptionMode,
};

/// Longest time that anything may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const NAME: &str = "email";
const TOPIC: &str = "orders";

/// A broker with a folder of its own.
pub(crate) struct TestBroker {
    broker: Broker,
    _folder: TempDir,
}

impl TestBroker {
    /// With a topic of so many partitions, and a subscription that tries again soon.
    pub(crate) async fn start(partitions: u32, mode: SubscriptionMode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            data_dir: folder.path().join("data"),
            ..Config::default()
        };
        let broker = Broker::start(config).await.expect("a broker");
        let broker = Self {
            broker,
            _folder: folder,
        };
        let admin = broker.client().admin();
        let topic = NewTopic::new(TOPIC).partitions(partitions);
        admin.create_topic(topic).await.expect("a topic");
        let subscription = NewSubscription::new(NAME, TOPIC, Start::Beginning)
            .mode(mode)
            .backoff(Duration::from_millis(20), Duration::from_millis(50));
        let created = admin.create_subscription(subscription).await;
        created.expect("a subscription");
        broker
    }

    pub(crate) fn client(&self) -> Client {
        let url = format!("http://{}", self.broker.local_addr().expect("it listens"));
        Client::connect(url).expect("the URL of a broker")
    }

    /// Writes so many records of so many bytes, of one key after the other.
    pub(crate) async fn produce(&self, count: u32, key_count: u32, bytes: usize) {
        let producer = self.client().producer(TOPIC).build();
        for number in 0..count {
            let record = Record::new(vec![b'v'; bytes]).key((number % key_count).to_string());
            drop(producer.enqueue(record).await.expect("room"));
        }
        producer.close().await.expect("all on disk");
    }

    async fn shown(&self) -> Subscription {
        let shown = self.client().admin().subscription(NAME).await;
        shown.expect("a subscription")
    }

    /// Records that are not settled.
    pub(crate) async fn lag(&self) -> u64 {
        let shown = self.shown().await;
        shown.partitions.iter().map(|it| it.lag_records).sum()
    }

    pub(crate) async fn wait_until_all_is_settled(&self) {
        soon(async { while self.lag().await > 0 {} }).await;
    }

    /// Waits until consumers have so many records.
    pub(crate) async fn wait_until_in_flight(&self, count: u64) {
        let is_so = |shown: Subscription| {
            let partitions = shown.partitions.iter();
            partitions.map(|it| it.in_flight_records).sum::<u64>() == count
        };
        soon(async { while !is_so(self.shown().await) {} }).await;
    }
}

/// Waits for something that is bound to happen.
pub(crate) async fn soon<T>(waited: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waited).await.expect("it hangs")
}
