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
use towpath_proto::batch::NewRecord;
use towpath_proto::v1;
use towpath_proto::wire::{ProduceBatch, ProduceRequest};

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
    /// Receive from a subscription with windows that let nothing come.
    NoReceiving(String),
    /// Write to the first partition of a topic, and let no answer come.
    NoAnswers(String),
}

/// Length of a value whose producer does not listen: data frames of 256 bytes and more cost nothing.
const UNHEARD_BYTES: usize = 256;

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
        Hoarding::NoWindow(_) | Hoarding::NoReceiving(_) | Hoarding::NoAnswers(_) => {
            builder.initial_window_size(0)
        }
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
        Hoarding::NoReceiving(_) => "SubscriptionService/Receive",
        Hoarding::NoAnswers(_) => "ProduceService/Produce",
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
            Hoarding::NoReceiving(subscription) => {
                for step in receive(subscription) {
                    drop(body.send_data(step, false));
                }
            }
            Hoarding::NoAnswers(topic) => produce(&mut body, topic, &counts).await,
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

/// Writes batches of one record for as long as the broker takes them, each large enough that HTTP/2 minds
/// no number of them.
async fn produce(body: &mut SendStream<Bytes>, topic: &str, counts: &Counts) {
    let open = ProduceRequest::open(v1::OpenTopic {
        handle: 1,
        topic: topic.to_owned(),
        producer_id: fastrand::u128(..).to_le_bytes().to_vec().into(),
        ..v1::OpenTopic::default()
    });
    let mut batch = BytesMut::new();
    let record = NewRecord {
        key: None,
        value: Some(&[b'n'; UNHEARD_BYTES]),
        headers: std::iter::empty(),
        event_time_ms: None,
    };
    record.put(&mut batch);
    let batch = batch.freeze();
    let mut next = framed(&open);
    for sequence in 0.. {
        while !next.is_empty() {
            body.reserve_capacity(next.len());
            let Some(Ok(capacity)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                return;
            };
            let part = next.split_to(capacity.min(next.len()));
            // ORDERING: a figure.
            counts.sent_bytes.fetch_add(part.len(), Ordering::Relaxed);
            if body.send_data(part, false).is_err() {
                return;
            }
        }
        next = framed(&ProduceRequest::produce(ProduceBatch {
            handle: 1,
            sequence,
            batch: batch.clone(),
            ..ProduceBatch::default()
        }));
    }
}

/// What a consumer says first, who takes all that there is.
fn receive(subscription: &str) -> [Bytes; 2] {
    let open = v1::receive_request::Request::Open(v1::OpenReceive {
        subscription: subscription.to_owned(),
        consumer_id: fastrand::u128(..).to_le_bytes().to_vec().into(),
        ..v1::OpenReceive::default()
    });
    let credit = v1::receive_request::Request::Credit(v1::ReceiveCredit {
        records: 1_000,
        bytes: 16 * 1024 * 1024,
    });
    [open, credit].map(|step| {
        framed(&v1::ReceiveRequest {
            request: Some(step),
        })
    })
}

/// A request for all of a topic, in its frame.
fn fetch(topic: &str) -> Bytes {
    framed(&v1::FetchRequest {
        sources: vec![v1::FetchSource {
            topic: topic.to_owned(),
            ..v1::FetchSource::default()
        }],
        ..v1::FetchRequest::default()
    })
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a short request"));
    framed.put_slice(&message);
    framed.freeze()
}
