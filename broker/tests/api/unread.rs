//! Memory of readers that stop reading, and of those that go away in the middle.

use towpath_broker::Config;
use towpath_proto::v1;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{TestBroker, connect, soon, source, values};
use crate::scrape::{Scrape, scraped_config};

const UNREAD: &str = "towpath_unread_bytes";
const RECORD_BYTES: usize = 900_000;
/// More than windows take, and than is made ahead.
const RECORD_COUNT: usize = 24;

/// A broker with a topic of large batches, which its readers get from memory or from disk.
async fn broker_with_records(is_cached: bool) -> TestBroker {
    let mut config: Config = scraped_config();
    if !is_cached {
        config.engine.sequencer.tail_cache_bytes = 0;
    }
    let broker = TestBroker::start_with(config).await;
    broker.create("large", 1).await;
    let value = "v".repeat(RECORD_BYTES);
    for _ in 0..RECORD_COUNT {
        broker.publish("large", 0, &[&value]).await;
    }
    broker
}

#[tokio::test]
async fn a_reader_that_goes_away_in_a_batch_leaves_no_memory_behind() {
    for is_cached in [true, false] {
        let broker = broker_with_records(is_cached).await;
        for read_count in [0, 1, 4] {
            // A connection of its own, which goes with its reader.
            let channel = connect(&broker.broker).await.unwrap();
            let request = v1::FetchRequest {
                sources: vec![source("large")],
                follow: true,
                ..v1::FetchRequest::default()
            };
            let mut client = FetchServiceClient::new(channel);
            let responses = soon(client.fetch(request)).await.unwrap();
            drop(client);
            let mut responses = responses.into_inner();
            for _ in 0..read_count {
                soon(responses.message()).await.unwrap();
            }
            let is_stuck = |it: &Scrape| it.number(UNREAD) >= RECORD_BYTES as u64;
            let held = Scrape::until(&broker, is_stuck).await.number(UNREAD);
            assert!(
                held < 16 * 1024 * 1024,
                "{held} bytes for one that stands still"
            );
            drop(responses);
            Scrape::until(&broker, |it| it.number(UNREAD) == 0).await;
        }
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_to_its_stream_gets_everything_and_leaves_nothing() {
    for is_cached in [true, false] {
        let broker = broker_with_records(is_cached).await;
        let request = v1::FetchRequest {
            sources: vec![source("large")],
            ..v1::FetchRequest::default()
        };
        let mut client = broker.fetch();
        let responses = soon(client.fetch(request)).await.unwrap();
        let mut responses = responses.into_inner();
        Scrape::until(&broker, |it| it.number(UNREAD) >= RECORD_BYTES as u64).await;
        let mut batch_count = 0;
        while let Some(response) = soon(responses.message()).await.unwrap() {
            if let Some(Fetched::Batch(batch)) = response.response {
                let expected = "v".repeat(RECORD_BYTES);
                assert!(values(&batch) == [expected], "batch {batch_count}");
                batch_count += 1;
            }
        }
        assert_eq!(batch_count, RECORD_COUNT);
        Scrape::until(&broker, |it| it.number(UNREAD) == 0).await;
    }
}
