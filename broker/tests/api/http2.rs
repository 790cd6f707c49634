//! Connections that are legal HTTP/2, or nearly, and mean no good.

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{TestBroker, config, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Method POST, scheme http, path /, each as a number of the static table.
const HEADERS: [u8; 3] = [0x83, 0x86, 0x84];

const KIND_HEADERS: u8 = 1;
const KIND_RST_STREAM: u8 = 3;
const KIND_SETTINGS: u8 = 4;
const KIND_PING: u8 = 6;
const KIND_GOAWAY: u8 = 7;
const KIND_WINDOW_UPDATE: u8 = 8;
const KIND_CONTINUATION: u8 = 9;
const FLAG_END_HEADERS: u8 = 4;

const SETTING_STREAM_COUNT_MAX: u16 = 3;
const SETTING_FRAME_BYTES_MAX: u16 = 5;
const SETTING_HEADER_BYTES_MAX: u16 = 6;

/// The reason of a connection that does too much of what is allowed.
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

/// More than any limit allows.
const FLOOD: u32 = 2_000;

/// One frame.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    fn put(&self, bytes: &mut BytesMut) {
        bytes.put_uint(self.payload.len() as u64, 3);
        bytes.put_u8(self.kind);
        bytes.put_u8(self.flags);
        bytes.put_u32(self.stream);
        bytes.put_slice(&self.payload);
    }
}

/// A connection whose frames are put together by hand.
struct Raw(TcpStream);

impl Raw {
    async fn connect(broker: &TestBroker) -> Self {
        let stream = TcpStream::connect(broker.broker.local_addr().unwrap()).await;
        let mut raw = Self(stream.unwrap());
        let mut bytes = BytesMut::from(PREFACE);
        Frame::new(KIND_SETTINGS, 0, 0, []).put(&mut bytes);
        raw.0.write_all(&bytes).await.unwrap();
        raw
    }

    /// Sends frames; the broker may have closed the connection before it took them all.
    async fn send(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.put(&mut bytes);
        }
        drop(soon(self.0.write_all(&bytes)).await);
    }

    /// The next frame; none once the connection is closed.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon(self.0.read_exact(&mut head)).await.ok()?;
        let mut head = &head[..];
        let len = usize::try_from(head.get_uint(3)).unwrap();
        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
        let mut payload = vec![0; len];
        soon(self.0.read_exact(&mut payload)).await.ok()?;
        Some(Frame::new(kind, flags, stream, payload))
    }

    /// Everything up to the end of the connection.
    async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Checks that the connection was given up because there was too much, and that others are served.
async fn check_given_up(broker: &TestBroker, raw: Raw) {
    let frames = raw.rest().await;
    let last = frames.iter().rfind(|frame| frame.kind == KIND_GOAWAY);
    let last = last.unwrap_or_else(|| panic!("{frames:?}"));
    // The last stream, and then why.
    assert_eq!(last.payload[4..8], ENHANCE_YOUR_CALM, "{last:?}");
    broker.id().await;
}

#[tokio::test]
async fn clients_are_told_the_limits_of_a_connection() {
    let mut config = config();
    config.limits.stream_count_max = 17;
    let broker = TestBroker::start_with(config).await;
    let mut raw = Raw::connect(&broker).await;
    let settings = raw.next().await.unwrap();
    assert_eq!(settings.kind, KIND_SETTINGS, "first");
    let mut payload = &settings.payload[..];
    let mut found = std::collections::BTreeMap::new();
    while payload.has_remaining() {
        found.insert(payload.get_u16(), payload.get_u32());
    }
    assert_eq!(found[&SETTING_STREAM_COUNT_MAX], 17, "{found:?}");
    assert_eq!(found[&SETTING_FRAME_BYTES_MAX], 256 * 1024, "{found:?}");
    assert_eq!(found[&SETTING_HEADER_BYTES_MAX], 8 * 1024, "{found:?}");
}

#[tokio::test]
async fn a_connection_that_opens_streams_to_reset_them_is_given_up() {
    let broker = TestBroker::start().await;
    let mut raw = Raw::connect(&broker).await;
    let streams = (0..FLOOD).map(|number| 2 * number + 1);
    let cancel = [0, 0, 0, 8];
    raw.send(streams.flat_map(|stream| {
        [
            Frame::new(KIND_HEADERS, FLAG_END_HEADERS, stream, HEADERS),
            Frame::new(KIND_RST_STREAM, 0, stream, cancel),
        ]
    }))
    .await;
    check_given_up(&broker, raw).await;
}

#[tokio::test]
async fn a_connection_whose_headers_never_end_is_given_up() {
    let broker = TestBroker::start().await;
    let mut raw = Raw::connect(&broker).await;
    // A header of its own name and value, over and over.
    let header = [&[0, 4][..], b"name", &[0x7f, 0x81, 0x07], &[b'v'; 1024]].concat();
    let first = Frame::new(KIND_HEADERS, 0, 1, HEADERS);
    let more = (0..FLOOD).map(|_| Frame::new(KIND_CONTINUATION, 0, 1, header.clone()));
    raw.send(std::iter::once(first).chain(more)).await;
    check_given_up(&broker, raw).await;
}

#[tokio::test]
async fn a_connection_that_breaks_its_streams_again_and_again_is_given_up() {
    let broker = TestBroker::start().await;
    let mut raw = Raw::connect(&broker).await;
    // A window beyond the largest is an error of its stream.
    let streams = (0..FLOOD).map(|number| 2 * number + 1);
    raw.send(streams.flat_map(|stream| {
        [
            Frame::new(KIND_HEADERS, FLAG_END_HEADERS, stream, HEADERS),
            Frame::new(KIND_WINDOW_UPDATE, 0, stream, [0x7f, 0xff, 0xff, 0xff]),
        ]
    }))
    .await;
    check_given_up(&broker, raw).await;
}

#[tokio::test]
async fn a_client_that_pings_and_does_not_read_is_given_up() {
    let broker = TestBroker::start().await;
    let mut raw = Raw::connect(&broker).await;
    let mut pings = BytesMut::new();
    for _ in 0..100_000 {
        Frame::new(KIND_PING, 0, 0, [0; 8]).put(&mut pings);
    }
    // It reads none of the answers: they must not pile up.
    let flood = async { while raw.0.write_all(&pings).await.is_ok() {} };
    soon(flood).await;
    broker.id().await;
}
