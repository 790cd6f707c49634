//! The load generator: one connection, one stream at a time, and a check that nothing was lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::outgoing::Outgoing;
use super::watermark::Watermark;
use super::wire::{
    Acknowledgement, CLIENT_WINDOWS_BYTES, FETCH_PATH, FRAME_BYTES_MAX, FetchRequest,
    MESSAGE_BYTES_MAX, PRODUCE_PATH, Parcel, ReservingCodec,
};
use crate::payload::Payloads;
use crate::{Error, Result};

/// How much to send or to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Number of messages.
    pub message_count: u64,
    /// Payload of each in bytes, at most 2 MiB.
    pub message_bytes: usize,
}

/// A connection to a server of the model. After an error it is not to be used any more.
#[derive(Debug)]
pub struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Transport`] when nothing listens there.
    pub async fn connect(server: SocketAddr) -> Result<Self> {
        let (stream_window_bytes, connection_window_bytes) = CLIENT_WINDOWS_BYTES;
        let channel = Endpoint::from_shared(format!("http://{server}"))?
            .initial_stream_window_size(stream_window_bytes)
            .initial_connection_window_size(connection_window_bytes)
            .max_frame_size(FRAME_BYTES_MAX)
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self {
            grpc: Grpc::new(channel),
        })
    }

    /// Sends the load with at most `in_flight_bytes` (one message at least) not acknowledged, and
    /// returns when all of it is.
    ///
    /// # Errors
    /// [`Error::Status`] from the server; [`Error::Void`] when not everything was acknowledged.
    pub async fn produce(&mut self, load: Load, in_flight_bytes: usize) -> Result<()> {
        let window = (in_flight_bytes / check(load)?).max(1) as u64;
        let permit = Arc::new(Watermark::default());
        permit.raise(window);
        let mut acks = self.open(load, Arc::clone(&permit)).await?;
        let mut acked = 0;
        while let Some(Acknowledgement { end_sequence }) = acks.message().await? {
            acked = end_sequence;
            permit.raise(acked + window);
        }
        expect_count("acknowledged", load.message_count, acked)
    }

    /// Sends the load one message after the other, each after the acknowledgement of the one before,
    /// and returns the time of each in nanoseconds. The first tenth is not counted.
    ///
    /// # Errors
    /// Those of [`Client::produce`].
    pub async fn ping_pong(&mut self, load: Load) -> Result<Histogram<u64>> {
        check(load)?;
        let mut nanoseconds = Histogram::new(3)?;
        let permit = Arc::new(Watermark::default());
        let mut acks = self.open(load, Arc::clone(&permit)).await?;
        for sequence in 0..load.message_count {
            let start = Instant::now();
            permit.raise(sequence + 1);
            let acked = acks.message().await?.map_or(0, |ack| ack.end_sequence);
            let elapsed = start.elapsed();
            expect_count("acknowledged", sequence + 1, acked)?;
            if sequence >= load.message_count / 10 {
                nanoseconds.record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))?;
            }
        }
        Ok(nanoseconds)
    }

    /// Asks for the load and checks order and checksum of what comes.
    ///
    /// # Errors
    /// [`Error::Status`] from the server; [`Error::Void`] when something is missing, out of order or
    /// damaged.
    pub async fn consume(&mut self, load: Load) -> Result<()> {
        let payload_bytes = u32::try_from(check(load)?).unwrap_or(u32::MAX);
        let request = FetchRequest {
            parcel_count: load.message_count,
            payload_bytes,
        };
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static(FETCH_PATH);
        let codec = ReservingCodec::<FetchRequest, Parcel>::new();
        let response = self
            .grpc
            .server_streaming(Request::new(request), path, codec)
            .await?;
        let mut parcels = response.into_inner();
        let mut received = 0;
        while let Some(Parcel {
            sequence,
            crc,
            payload,
        }) = parcels.message().await?
        {
            if sequence != received || payload.len() != load.message_bytes {
                return Err(Error::Void(format!(
                    "unexpected message sequence={sequence}"
                )));
            }
            if crc32fast::hash(&payload) != crc {
                return Err(Error::Void(format!("wrong checksum sequence={sequence}")));
            }
            received += 1;
        }
        expect_count("received", load.message_count, received)
    }

    async fn open(
        &mut self,
        load: Load,
        permit: Arc<Watermark>,
    ) -> Result<tonic::Streaming<Acknowledgement>> {
        let outgoing = Outgoing::new(Payloads::of(load.message_bytes), load.message_count, permit);
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static(PRODUCE_PATH);
        let codec = ReservingCodec::<Parcel, Acknowledgement>::new();
        let response = self
            .grpc
            .streaming(Request::new(outgoing), path, codec)
            .await?;
        Ok(response.into_inner())
    }
}

fn check(load: Load) -> Result<usize> {
    if load.message_count == 0 || !(1..=MESSAGE_BYTES_MAX).contains(&load.message_bytes) {
        return Err(Error::Void(format!(
            "a load must be 1 or more messages of 1 byte to 2 MiB: {load:?}"
        )));
    }
    Ok(load.message_bytes)
}

fn expect_count(what: &str, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Void(format!(
        "not all messages were {what} expected={expected} found={found}"
    )))
}
