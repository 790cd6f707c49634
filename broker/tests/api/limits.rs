//! How many connections and streams there may be.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use towpath_proto::reason::ErrorReason;
use towpath_proto::v1;
use towpath_proto::v1::admin_service_client::AdminServiceClient;

use crate::harness::{TestBroker, check_facts, config, connect, refusal, soon, source};

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
async fn connections_beyond_the_limit_are_told_so_until_others_close() {
    let mut config = config();
    config.limits.connection_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    let second = connect(&broker.broker).await.unwrap();
    assert!(is_served(second.clone()).await, "the second");
    // A client makes a new connection for each attempt, as each is closed behind the refusal.
    let third = connect(&broker.broker).await.unwrap();
    for _ in 0..3 {
        check_refused(third.clone(), "connection_count_max").await;
    }
    assert!(is_served(second.clone()).await, "nothing happens to others");
    drop(second);
    soon(async { while !is_served(third.clone()).await {} }).await;
}

#[tokio::test]
async fn connections_beyond_those_of_one_address_are_told_so() {
    let mut config = config();
    config.limits.connection_count_per_address_max = Some(1);
    let broker = TestBroker::start_with(config).await;
    assert!(is_served(broker.channel.clone()).await, "the first");
    let second = connect(&broker.broker).await.unwrap();
    check_refused(second, "connection_count_per_address_max").await;
    // Those of the same process have no address.
    soon(broker.broker.connector().connect()).await.unwrap();
}

#[tokio::test]
async fn more_refusals_than_there_is_room_for_end_without_a_word() {
    let mut config = config();
    config.limits.connection_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    let second = connect(&broker.broker).await.unwrap();
    assert!(is_served(second.clone()).await, "the second");
    let address = broker.broker.local_addr().unwrap();
    // One of them takes the only place and says nothing.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for mut stream in silent {
        let mut rest = Vec::new();
        drop(soon(stream.read_to_end(&mut rest)).await);
    }
    assert!(is_served(second).await, "nothing happens to others");
}

async fn check_refused(channel: Channel, limit: &str) {
    let mut admin = AdminServiceClient::new(channel);
    let asked = soon(admin.get_server_info(v1::GetServerInfoRequest {}));
    let problem = refusal(asked.await, ErrorReason::Overloaded);
    check_facts(&problem, &[("limit", limit)]);
    let is_helpful = problem.retry_after().is_some() && problem.hint().is_some();
    assert!(is_helpful, "{problem:?}");
}

/// Reads what there is and waits for more.
fn following() -> v1::FetchRequest {
    v1::FetchRequest {
        sources: vec![source("orders")],
        follow: true,
        ..v1::FetchRequest::default()
    }
}

#[tokio::test]
async fn a_connection_has_a_bounded_number_of_streams() {
    let mut config = config();
    config.limits.stream_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let first = broker.reader(following()).await;
    let _second = broker.reader(following()).await;
    assert!(!is_served(broker.channel.clone()).await, "the third waits");
    drop(first);
    soon(async { while !is_served(broker.channel.clone()).await {} }).await;
}

#[tokio::test]
async fn calls_beyond_those_of_all_are_refused_but_the_first_ones_of_each_connection() {
    let mut config = config();
    config.limits.call_count_max = 2;
    let broker = TestBroker::start_with(config).await;
    broker.create("orders", 1).await;
    let mut readers = Vec::new();
    for _ in 0..10 {
        readers.push(broker.reader(following()).await);
    }
    check_refused(broker.channel.clone(), "call_count_max").await;
    let other = connect(&broker.broker).await.unwrap();
    assert!(is_served(other).await, "another connection has its own");
    drop(readers.pop());
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
