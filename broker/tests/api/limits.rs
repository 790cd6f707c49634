//! How many connections and streams there may be.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use towpath_proto::v1;
use towpath_proto::v1::admin_service_client::AdminServiceClient;

use crate::harness::{TestBroker, config, connect, soon, source};

/// Long enough for an answer that must not come.
const A_WHILE: Duration = Duration::from_millis(200);

async fn is_served(channel: Channel) -> bool {
    let mut admin = AdminServiceClient::new(channel);
    let asked = admin.get_server_info(v1::GetServerInfoRequest {});
    tokio::time::timeout(A_WHILE, asked)
        .await
        .is_ok_and(|answer| answer.is_ok())
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_others_to_close() {
    let mut config = config();
    config.limits.connection_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    let second = connect(&broker.broker).await.unwrap();
    assert!(is_served(second.clone()).await, "the second");
    // The operating system accepts it, and nobody answers.
    let address = broker.broker.local_addr().unwrap();
    let mut third = TcpStream::connect(address).await.unwrap();
    third
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut byte = [0];
    let answer = tokio::time::timeout(A_WHILE, third.read_exact(&mut byte)).await;
    assert!(answer.is_err(), "{answer:?}");
    drop(second);
    soon(third.read_exact(&mut byte)).await.unwrap();
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_streams() {
    let mut config = config();
    config.limits.stream_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let following = v1::FetchRequest {
        sources: vec![source("orders")],
        follow: true,
        ..v1::FetchRequest::default()
    };
    let first = broker.reader(following.clone()).await;
    let _second = broker.reader(following.clone()).await;
    assert!(!is_served(broker.channel.clone()).await, "the third waits");
    drop(first);
    soon(async { while !is_served(broker.channel.clone()).await {} }).await;
}

#[tokio::test]
async fn other_protocols_are_not_answered() {
    let broker = TestBroker::start().await;
    let mut stream = TcpStream::connect(broker.broker.local_addr().unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The connection is closed or reset, after some HTTP/2 or none.
    drop(soon(stream.read_to_end(&mut answer)).await);
    assert!(!answer.starts_with(b"HTTP/1"), "{answer:?}");
    assert!(is_served(broker.channel.clone()).await, "others are");
}
