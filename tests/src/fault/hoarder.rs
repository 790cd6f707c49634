//! Clients that make a broker hold memory: they send parts of messages, or ask and do not read.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{self, ResponseFuture, SendRequest};
use http::Request;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use towpath_proto::v1;

/// Largest window that there is.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// Field 2 of a Publish request, with nothing in it.
const EMPTY_RECORD: [u8; 2] = [0x12, 0];

/// What the streams of a hoarder do.
#[derive(Debug, Clone)]
pub enum Hoarding {
    /// Publish a message of so many bytes, all of which are sent but the last one.
    HalfSent(u32),
    /// Publish a message of so many bytes, all of it records that are as small as can be, and do not end
    /// the request.
    NotEnded(u32),
    /// Read a topic with windows that let nothing come.
    NoWindow(String),
    /// Read a topic with windows that let everything come, and never read the socket.
    NoReading(String),
}

/// Connections that hold on to what they can get until this is dropped.
#[derive(Debug)]
pub struct Hoarder {
    runtime: Runtime,
    _streams: JoinSet<()>,
    counts: Arc<Counts>,
}

/// What has happened to the streams of a hoarder.
#[derive(Debug, Default)]
struct Counts {
    sent_bytes: AtomicUsize,
    ended: AtomicUsize,
}

impl Hoarder {
    /// Opens so many connections with so many streams each.
    ///
    /// # Panics
    ///
    /// The broker does not take a connection.
    pub fn start(
        url: &str,
        connection_count: usize,
        stream_count: usize,
        hoarding: &Hoarding,
    ) -> Self {
        let address = url.trim_start_matches("http://");
        let address: SocketAddr = address.parse().expect("an address");
        let runtime = Runtime::new().expect("threads for the clients");
        let counts = Arc::new(Counts::default());
        let mut streams = JoinSet::new();
        for _ in 0..connection_count {
            let (hoarding, counts) = (hoarding.clone(), Arc::clone(&counts));
            runtime.block_on(connect(
                address,
                stream_count,
                hoarding,
                counts,
                &mut streams,
            ));
        }
        Self {
            runtime,
            _streams: streams,
            counts,
        }
    }

    /// Lets it go on for so long.
    pub fn last(&self, duration: std::time::Duration) {
        let lasting = async { tokio::time::sleep(duration).await };
        self.runtime.block_on(lasting);
    }

    /// Bytes of messages that the broker has let it send.
    pub fn sent_bytes(&self) -> usize {
        // ORDERING: a figure.
        self.counts.sent_bytes.load(Ordering::Relaxed)
    }

    /// Streams that the broker has ended.
    pub fn ended_count(&self) -> usize {
        // ORDERING: a figure.
        self.counts.ended.load(Ordering::Relaxed)
    }
}

/// A connection that may be read from or not.
struct Socket {
    stream: TcpStream,
    is_deaf: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn connect(
    address: SocketAddr,
    stream_count: usize,
    hoarding: Hoarding,
    counts: Arc<Counts>,
    streams: &mut JoinSet<()>,
) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let mut builder = client::Builder::new();
    builder.initial_max_send_streams(stream_count);
    match hoarding {
        Hoarding::NoWindow(_) => builder.initial_window_size(0),
        Hoarding::NoReading(_) => builder
            .initial_window_size(WINDOW_BYTES_MAX)
            .initial_connection_window_size(WINDOW_BYTES_MAX),
        Hoarding::HalfSent(_) | Hoarding::NotEnded(_) => &mut builder,
    };
    let socket = Socket {
        stream,
        is_deaf: matches!(hoarding, Hoarding::NoReading(_)),
    };
    let (mut requests, connection) = builder.handshake(socket).await.expect("HTTP/2");
    streams.spawn(async move { drop(connection.await) });
    for _ in 0..stream_count {
        let Ok((response, body)) = open(&mut requests, &hoarding).await else {
            break;
        };
        streams.spawn(hold(response, body, hoarding.clone(), Arc::clone(&counts)));
    }
    // The connection lasts as long as somebody could send a request.
    streams.spawn(async move {
        let _requests = requests;
        std::future::pending::<()>().await;
    });
}

async fn open(
    requests: &mut SendRequest<Bytes>,
    hoarding: &Hoarding,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let method = match hoarding {
        Hoarding::HalfSent(_) | Hoarding::NotEnded(_) => "ProduceService/Publish",
        Hoarding::NoWindow(_) | Hoarding::NoReading(_) => "FetchService/Fetch",
    };
    let request = Request::post(format!("http://broker/towpath.v1.{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    std::future::poll_fn(|cx| requests.poll_ready(cx)).await?;
    requests.send_request(request, false)
}

/// Holds on to one stream until the broker ends it.
async fn hold(
    response: ResponseFuture,
    mut body: SendStream<Bytes>,
    hoarding: Hoarding,
    counts: Arc<Counts>,
) {
    let sending = async {
        match &hoarding {
            Hoarding::HalfSent(bytes) => send(&mut body, *bytes, *bytes - 1, &counts).await,
            Hoarding::NotEnded(bytes) => send(&mut body, *bytes, *bytes, &counts).await,
            Hoarding::NoWindow(topic) | Hoarding::NoReading(topic) => {
                drop(body.send_data(fetch(topic), true));
            }
        }
        std::future::pending::<()>().await;
    };
    let answered = async {
        // The body is never read; that the stream ends is seen by its reset or trailers.
        if let Ok(response) = response.await {
            let mut body = response.into_body();
            while let Some(Ok(_)) = body.data().await {}
        }
    };
    tokio::select! {
        () = sending => {}
        () = answered => {
            // ORDERING: a figure.
            counts.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends so much of a message of empty records, as the broker lets it.
async fn send(body: &mut SendStream<Bytes>, message_bytes: u32, sent_bytes: u32, counts: &Counts) {
    let mut prefix = BytesMut::with_capacity(5);
    prefix.put_u8(0);
    prefix.put_u32(message_bytes);
    if body.send_data(prefix.freeze(), false).is_err() {
        return;
    }
    let mut left = sent_bytes as usize;
    while left > 0 {
        body.reserve_capacity(left.min(64 * 1024));
        let Some(Ok(capacity)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
            return;
        };
        let position = sent_bytes as usize - left;
        let records = EMPTY_RECORD.iter().copied().cycle().skip(position % 2);
        let bytes: Bytes = records.take(capacity.min(left)).collect();
        left -= bytes.len();
        // ORDERING: a figure.
        counts.sent_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if body.send_data(bytes, false).is_err() {
            return;
        }
    }
}

/// A request for all of a topic, in its frame.
fn fetch(topic: &str) -> Bytes {
    let request = v1::FetchRequest {
        sources: vec![v1::FetchSource {
            topic: topic.to_owned(),
            ..v1::FetchSource::default()
        }],
        ..v1::FetchRequest::default()
    };
    let message = request.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a short request"));
    framed.put_slice(&message);
    framed.freeze()
}
