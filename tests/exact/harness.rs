//! A broker that stops and starts again, and what is in its topics.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;
use towpath_broker::{Broker, Config};
use towpath_client::{Client, NewTopic, ReceivedRecord};
use towpath_tests::setting::number;

/// Longest time that anything may take; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// A broker with a folder of its own.
pub(crate) struct TestBroker {
    broker: Broker,
    folder: TempDir,
}

impl TestBroker {
    /// With one topic.
    pub(crate) async fn start(topic: NewTopic) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let broker = start_at(any, &folder).await;
        let broker = Self { broker, folder };
        let created = broker.client().admin().create_topic(topic).await;
        created.expect("a topic");
        broker
    }

    pub(crate) fn client(&self) -> Client {
        let url = format!("http://{}", self.broker.local_addr().expect("it listens"));
        let client = Client::builder().url(url).give_up_after(PATIENCE);
        client.build().expect("the URL of a broker")
    }

    /// Stops and starts again on the same port and folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { broker, folder } = self;
        let address = broker.local_addr().expect("it listens");
        broker.shutdown().await;
        drop(broker);
        let broker = start_at(address, &folder).await;
        Self { broker, folder }
    }

    /// Every record of a topic that is still there, in the order in which they were written.
    pub(crate) async fn records(&self, topic: &str) -> Vec<ReceivedRecord> {
        let mut reader = self.client().reader([topic]).merged().build();
        let mut records = Vec::new();
        while let Some(record) = reader.next_record().await.expect("it is read") {
            records.push(record);
        }
        records
    }
}

async fn start_at(listen: SocketAddr, folder: &TempDir) -> Broker {
    let config = Config {
        listen: Some(listen),
        data_dir: folder.path().join("data"),
        ..Config::default()
    };
    Broker::start(config).await.expect("a broker")
}

/// What a run draws from: `SEED`, or one that is drawn and told.
#[expect(clippy::print_stdout, reason = "a run says how to repeat it")]
pub(crate) fn random(what: &str) -> Rng {
    let seed = number("SEED", fastrand::u64(..1_000_000));
    println!("{what}: SEED={seed}");
    Rng::with_seed(seed)
}
