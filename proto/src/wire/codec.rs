//! How messages get into and out of tonic's buffers.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Messages are collected up to this size before they are handed to the connection.
const YIELD_BYTES: usize = 64 * 1024;

/// Codec of the service that writes batches.
pub type DataCodec<T, U> = BufferedCodec<T, U, { 64 * 1024 }, YIELD_BYTES>;

/// Codec of the services that read batches. Whoever makes the messages of a stream says how many are handed
/// over together, by having no more for a moment; the broker's own body, which sends batches from where they
/// lie, does the same.
pub type FetchCodec<T, U> = BufferedCodec<T, U, { 64 * 1024 }, { usize::MAX }>;

/// Codec of all other services, whose messages are small.
pub type ControlCodec<T, U> = BufferedCodec<T, U, { 2 * 1024 }, YIELD_BYTES>;

/// Encodes `T` and decodes `U` through buffers of `BUFFER_BYTES`, one for each direction of a call, and
/// hands over what it has encoded at `YIELD_BYTES`, or when there is no more.
#[derive(Debug, Clone, Copy)]
pub struct BufferedCodec<T, U, const BUFFER_BYTES: usize, const YIELD_BYTES: usize> {
    messages: PhantomData<fn(T) -> U>,
}

impl<T, U, const BUFFER_BYTES: usize, const YIELD_BYTES: usize>
    BufferedCodec<T, U, BUFFER_BYTES, YIELD_BYTES>
{
    fn buffer_settings() -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

impl<T, U, const BUFFER_BYTES: usize, const YIELD_BYTES: usize> Default
    for BufferedCodec<T, U, BUFFER_BYTES, YIELD_BYTES>
{
    fn default() -> Self {
        Self {
            messages: PhantomData,
        }
    }
}

impl<T, U, const BUFFER_BYTES: usize, const YIELD_BYTES: usize> Codec
    for BufferedCodec<T, U, BUFFER_BYTES, YIELD_BYTES>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = BufferedEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        BufferedEncoder {
            messages: PhantomData,
            settings: Self::buffer_settings(),
        }
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(Self::buffer_settings())
    }
}

/// Encodes a message into space that is reserved once.
///
/// prost never reserves, so a buffer would grow to a large batch by doubling and copying.
#[derive(Debug, Clone, Copy)]
pub struct BufferedEncoder<T> {
    messages: PhantomData<fn(T)>,
    settings: BufferSettings,
}

impl<T: Message> Encoder for BufferedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.settings
    }
}
