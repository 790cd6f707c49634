//! Client and server of the model over a real connection: what would make a figure a lie is refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use super::client::{Client, Load};
use super::server;
use super::wire::{
    Acknowledgement, FETCH_PATH, FetchRequest, PRODUCE_PATH, Parcel, ReservingCodec,
};
use crate::round_file::{Durability, FileKind, RoundFile, RoundFileOptions, WriteMode};

/// Runs a test against a server of its own, and fails when either does not come to an end.
async fn with_server(test: impl AsyncFnOnce(SocketAddr)) {
    let file = RoundFile::create(RoundFileOptions {
        dir: std::env::temp_dir(),
        write: WriteMode::Direct,
        kind: FileKind::Fresh,
        durability: Durability::Fdatasync,
        file_bytes: 1,
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = oneshot::channel();
    let shutdown = async { drop(ended.await) };
    let serving = tokio::spawn(server::serve(listener, file.unwrap(), shutdown));
    timeout(PATIENCE, test(address))
        .await
        .expect("the test does not end");
    end.send(()).unwrap();
    let served = timeout(PATIENCE, serving)
        .await
        .expect("the server does not end");
    served.unwrap().unwrap();
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Sends parcels as they are and returns the last acknowledgement.
async fn send(address: SocketAddr, parcels: Vec<Parcel>) -> Result<u64, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec = ReservingCodec::<Parcel, Acknowledgement>::new();
    let request = tonic::Request::new(tonic::codegen::tokio_stream::iter(parcels));
    let path = PathAndQuery::from_static(PRODUCE_PATH);
    let mut acks = grpc.streaming(request, path, codec).await?.into_inner();
    let mut acked = 0;
    while let Some(ack) = acks.message().await? {
        acked = ack.end_sequence;
    }
    Ok(acked)
}

fn parcel(sequence: u64) -> Parcel {
    let payload = Bytes::from(vec![7; 1000]);
    Parcel {
        sequence,
        crc: crc32fast::hash(&payload),
        payload,
    }
}

#[tokio::test]
async fn every_message_is_acknowledged_whatever_is_in_flight() {
    with_server(async |address| {
        let mut client = Client::connect(address).await.unwrap();
        let load = Load {
            message_count: 50,
            message_bytes: 100_000,
        };
        for in_flight_bytes in [1, 300_000, usize::MAX] {
            client.produce(load, in_flight_bytes).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn latency_counts_each_message_but_the_first_tenth() {
    with_server(async |address| {
        let mut client = Client::connect(address).await.unwrap();
        let load = Load {
            message_count: 50,
            message_bytes: 1024,
        };
        let nanoseconds = client.ping_pong(load).await.unwrap();
        assert_eq!(nanoseconds.len(), 45);
        assert!(nanoseconds.min() > 0, "a round trip took no time");
    })
    .await;
}

#[tokio::test]
async fn what_is_consumed_is_checked_to_the_last_message() {
    with_server(async |address| {
        let mut client = Client::connect(address).await.unwrap();
        client
            .consume(Load {
                message_count: 70,
                message_bytes: 1 << 20,
            })
            .await
            .unwrap();
        let beyond = Load {
            message_count: 1,
            message_bytes: 3 << 20,
        };
        client.consume(beyond).await.unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn acknowledgements_are_cumulative_and_end_with_the_last_message() {
    with_server(async |address| {
        assert_eq!(
            send(address, (0..10).map(parcel).collect()).await.unwrap(),
            10
        );
        assert_eq!(send(address, Vec::new()).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_checksum_ends_the_stream() {
    with_server(async |address| {
        let damaged = Parcel {
            crc: 1,
            ..parcel(1)
        };
        let status = send(address, vec![parcel(0), damaged]).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss);
    })
    .await;
}

#[tokio::test]
async fn a_sequence_gap_ends_the_stream() {
    with_server(async |address| {
        let status = send(address, vec![parcel(0), parcel(2)]).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
    })
    .await;
}

#[tokio::test]
async fn a_fetch_of_no_or_too_many_bytes_is_refused() {
    with_server(async |address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
        for payload_bytes in [0, u32::MAX] {
            grpc.ready().await.unwrap();
            let codec = ReservingCodec::<FetchRequest, Parcel>::new();
            let request = tonic::Request::new(FetchRequest {
                parcel_count: 1,
                payload_bytes,
            });
            let path = PathAndQuery::from_static(FETCH_PATH);
            let status = grpc
                .server_streaming(request, path, codec)
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    })
    .await;
}
