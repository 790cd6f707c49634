//! Messages, method paths, transport settings and codec, the same on both ends.
//!
//! Written by hand: two methods of three fields need no generated code.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::size::{KIB, MIB};

/// Largest HTTP/2 frame that each end accepts, in bytes.
pub(super) const FRAME_BYTES_MAX: u32 = 256 << 10;
/// HTTP/2 windows of the server in bytes: one stream, whole connection.
pub(super) const SERVER_WINDOWS_BYTES: (u32, u32) = (2 << 20, 8 << 20);
/// HTTP/2 windows of the client in bytes: one stream, whole connection.
pub(super) const CLIENT_WINDOWS_BYTES: (u32, u32) = (4 << 20, 16 << 20);
/// Largest payload of one message in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 * MIB;

pub(super) const SERVICE: &str = "towpath.bench.BareModel";
pub(super) const PRODUCE_PATH: &str = "/towpath.bench.BareModel/Produce";
pub(super) const FETCH_PATH: &str = "/towpath.bench.BareModel/Fetch";

/// What a batch would be: opaque bytes with a sequence, from 0, and a checksum. Flows up in
/// `Produce` and down in `Fetch`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Parcel {
    #[prost(uint64, tag = "1")]
    pub(super) sequence: u64,
    #[prost(fixed32, tag = "2")]
    pub(super) crc: u32,
    #[prost(bytes = "bytes", tag = "15")]
    pub(super) payload: Bytes,
}

/// Cumulative: every parcel below `end_sequence` is as durable as the server was asked for.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Acknowledgement {
    #[prost(uint64, tag = "1")]
    pub(super) end_sequence: u64,
}

/// Asks for `parcel_count` parcels of `payload_bytes` each.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FetchRequest {
    #[prost(uint64, tag = "1")]
    pub(super) parcel_count: u64,
    #[prost(uint32, tag = "2")]
    pub(super) payload_bytes: u32,
}

/// Prost over tonic, with the one change that large messages need: room is reserved for the whole
/// message before it is encoded, where the stock codec doubles its buffer on the way.
#[derive(Debug)]
pub(super) struct ReservingCodec<E, D>(PhantomData<fn() -> (E, D)>);

impl<E, D> ReservingCodec<E, D> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for ReservingCodec<E, D>
where
    E: Message + 'static,
    D: Message + Default + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Self {
        Self::new()
    }
}

impl<E: Message, D> Encoder for ReservingCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES)
    }
}

impl<E, D: Message + Default> Decoder for ReservingCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        D::decode(buffer)
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES)
    }
}

/// First allocation of a stream, and how much of ready messages goes into one write.
const BUFFER_BYTES: usize = 64 * KIB;
