//! What the broker says of itself: whether it is ready, from the start to the end of a stop.

use std::time::Duration;

use tempfile::TempDir;
use towpath_broker::config::Listener;
use towpath_broker::{Broker, Config, StartError};
use towpath_proto::v1::produce_response::Response;
use towpath_storage::vfs::sim::{Fault, Injection, OperationKind};

use crate::harness::{TestBroker, batch_of, config, simulated, soon};
use crate::scrape::{Scrape, get, scraped_config};

#[tokio::test]
async fn nobody_listens_unless_told_so() {
    let broker = TestBroker::start().await;
    assert_eq!(broker.broker.admin_addr(), None);
}

#[tokio::test]
async fn a_broker_is_ready_until_it_drains_and_alive_to_the_end() {
    let mut config = scraped_config();
    // Longer than any test waits.
    config.drain_deadline = Duration::from_secs(600);
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let mut producer = broker.producer_of("orders", 1).await;
    let address = broker.broker.admin_addr().expect("an address");
    assert!(
        address.ip().is_loopback() && address.port() != 0,
        "{address}"
    );
    let ready = get(address, "/readyz").await.unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    assert_eq!(Scrape::of(&broker).await.number("towpath_ready"), 1);

    let stopping = broker.broker.shutdown();
    let watching = async {
        assert!(
            matches!(producer.next().await, Response::Draining(_)),
            "told"
        );
        let drained = get(address, "/readyz").await.unwrap();
        assert_eq!(drained.status, 503, "{}", drained.body);
        assert_eq!(drained.body, "not ready: the broker is stopping\n");
        assert_eq!(get(address, "/livez").await.unwrap().status, 200);
        assert_eq!(Scrape::of(&broker).await.number("towpath_ready"), 0);
        assert_eq!(producer.finish().await, []);
    };
    soon(async { tokio::join!(stopping, watching) }).await;
    assert!(get(address, "/livez").await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_broker_whose_disk_failed_says_so_and_wants_to_be_started_again() {
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(scraped_config(), environment).await;
    broker.create("orders", 1).await;
    let producer = broker.producer_of("orders", 1).await;
    let failing = Injection::new(Fault::Io).on(OperationKind::SyncData);
    disk.inject(failing.under("journal"));
    producer.produce(batch_of(0, &["lost"])).await;
    soon(broker.broker.failed()).await;
    let address = broker.broker.admin_addr().expect("an address");
    for (path, what) in [("/readyz", "not ready: "), ("/livez", "not alive: ")] {
        let answer = get(address, path).await.unwrap();
        assert_eq!(answer.status, 503, "{path}");
        let begin = format!("{what}the broker cannot go on: ");
        assert!(answer.body.starts_with(&begin), "{}", answer.body);
    }
    let scrape = Scrape::of(&broker).await;
    assert_eq!(scrape.number("towpath_ready"), 0);
    assert_eq!(scrape.number("towpath_scrape_complete"), 0);
}

#[tokio::test]
async fn an_admin_address_that_cannot_be_had_is_named() {
    let first = TestBroker::start_with(scraped_config()).await;
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("data");
    let start = async |admin_listen: &str| {
        let config = Config {
            admin_listen: Some(admin_listen.parse().unwrap()),
            data_dir: data_dir.clone(),
            ..config()
        };
        let started = soon(Broker::start(config)).await;
        started.expect_err("it does not start")
    };
    let taken = first.broker.admin_addr().expect("an address").to_string();
    let error = start(&taken).await;
    let listener = Listener::Admin;
    assert!(
        matches!(&error, StartError::PortInUse { listener: of, .. } if *of == listener),
        "{error:?}"
    );
    assert!(error.to_string().contains(&taken), "{error}");
    assert!(error.hint().contains("--admin-listen"), "{}", error.hint());
    let error = start("0.0.0.0:0").await;
    assert!(
        matches!(&error, StartError::RemoteRefused { listener: of, .. } if *of == listener),
        "{error:?}"
    );
    let hint = error.hint();
    assert!(hint.contains("--insecure-allow-remote"), "{hint}");
    assert!(!data_dir.exists(), "nothing was made");
}
