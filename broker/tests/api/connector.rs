//! Clients in the broker's own process, which need no port.

use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tonic::transport::{Channel, Endpoint};
use towpath_broker::Broker;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::wire::fetch_response::Response as Fetched;

use crate::harness::{TestBroker, config, record, soon, source, values};
use towpath_proto::v1;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;
use towpath_proto::v1::topic_service_client::TopicServiceClient;

/// A channel over a connection in memory.
async fn channel(broker: &Broker) -> Channel {
    let connector = broker.connector();
    let dial = tower::service_fn(move |_uri| {
        let connector = connector.clone();
        async move { connector.connect().await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://in-process");
    soon(endpoint.connect_with_connector(dial)).await.unwrap()
}

#[tokio::test]
async fn a_broker_without_a_port_serves_its_own_process() {
    let config = towpath_broker::Config {
        listen: None,
        ..config()
    };
    let dir = tempfile::TempDir::new().unwrap();
    let config = towpath_broker::Config {
        data_dir: dir.path().join("data"),
        ..config
    };
    let broker = soon(Broker::start(config)).await.unwrap();
    assert_eq!(broker.local_addr(), None, "no port");
    let channel = channel(&broker).await;
    let create = v1::CreateTopicRequest {
        name: "orders".to_owned(),
        partition_count: 1,
        ..v1::CreateTopicRequest::default()
    };
    let mut topics = TopicServiceClient::new(channel.clone());
    soon(topics.create_topic(create)).await.unwrap();
    // More than the pipe holds at once.
    let value = "v".repeat(1_000_000);
    let publish = v1::PublishRequest {
        topic: "orders".to_owned(),
        records: (0..4).map(|_| record(None, &value)).collect(),
        partition: Some(0),
    };
    let mut produce = ProduceServiceClient::new(channel.clone());
    soon(produce.publish(publish)).await.unwrap();
    let request = v1::FetchRequest {
        sources: vec![source("orders")],
        ..v1::FetchRequest::default()
    };
    let mut fetch = FetchServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut responses = soon(fetch.fetch(request)).await.unwrap().into_inner();
    let mut read = Vec::new();
    while let Some(response) = soon(responses.message()).await.unwrap() {
        if let Some(Fetched::Batch(batch)) = response.response {
            read.extend(values(&batch));
        }
    }
    assert_eq!(read, [value.as_str(); 4].map(str::to_owned));
    soon(broker.shutdown()).await;
}

#[tokio::test]
async fn connections_in_memory_count_and_end_like_others() {
    let mut config = config();
    config.limits.connection_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    let connector = broker.broker.connector();
    let _first = soon(connector.connect()).await.unwrap();
    let second = soon(connector.connect()).await.unwrap();
    let third = connector.connect();
    let mut third = Box::pin(third);
    assert!(third.as_mut().now_or_never().is_none(), "no place");
    drop(second);
    let mut third = soon(third).await.unwrap();
    soon(broker.broker.shutdown()).await;
    let mut rest = Vec::new();
    // It is told of the end or broken off, as it has never spoken.
    drop(soon(third.read_to_end(&mut rest)).await);
    let refused = soon(connector.connect()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
