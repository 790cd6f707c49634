//! A client that knows gRPC's frames and no message.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::time::timeout;
use towpath_broker::Broker;

use super::Method;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a stream that goes on is listened to.
const LISTENING: Duration = Duration::from_millis(10);
/// Bytes that the client is ready to take.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Codes of gRPC that no request may lead to: unknown, unimplemented, internal, data loss.
const WRONG: [&str; 4] = ["2", "12", "13", "15"];

pub(super) struct Caller {
    requests: SendRequest<Bytes>,
}

impl Caller {
    pub(super) async fn connect(broker: &Broker) -> Self {
        let stream = broker.connector().connect().await.expect("a connection");
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await
            .expect("HTTP/2");
        // Ends with the broker, and has nothing to say that the calls do not tell.
        tokio::spawn(async move { drop(connection.await) });
        Self { requests }
    }

    /// Sends the messages and the end, and checks how the broker ends the call.
    pub(super) async fn call(&mut self, method: &Method, messages: &[&[u8]]) {
        let uri = format!("http://fuzz/towpath.v1.{}", method.name);
        let request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = request.body(()).expect("a request");
        let mut requests = self
            .requests
            .clone()
            .ready()
            .await
            .expect("the connection lasts");
        let (answer, mut sending) = requests.send_request(request, false).expect("sent");
        let body: Vec<u8> = messages.iter().copied().flat_map(frame).collect();
        // A broker that has refused a call reads no more of it.
        let _refused = sending.send_data(body.into(), true).is_err();
        let answered = match method.is_open_ended {
            true => timeout(LISTENING, read(answer)).await.ok(),
            false => {
                let answered = timeout(PATIENCE, read(answer)).await;
                Some(answered.unwrap_or_else(|_late| panic!("no answer to {}", method.name)))
            }
        };
        if let Some(trailers) = answered {
            check(method, &trailers);
        }
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    let [a, b, c, d] = length.to_le_bytes();
    [&[0, d, c, b, a], message].concat()
}

/// All that comes; returns where the status is.
async fn read(answer: ResponseFuture) -> HeaderMap {
    let response = answer.await.expect("an answer");
    assert_eq!(response.status(), 200, "gRPC");
    let (head, mut body) = response.into_parts();
    while let Some(data) = body.data().await {
        let data = data.expect("whole");
        // The window is open as long as the stream is.
        drop(body.flow_control().release_capacity(data.len()));
    }
    let trailers = body.trailers().await.expect("an end");
    trailers.unwrap_or(head.headers)
}

fn check(method: &Method, trailers: &HeaderMap) {
    let text = |name| {
        trailers
            .get(name)
            .map_or("", |it| it.to_str().expect("text"))
    };
    let (code, message) = (text("grpc-status"), text("grpc-message"));
    assert!(!code.is_empty(), "{}: no status", method.name);
    assert!(!WRONG.contains(&code), "{}: {code} {message}", method.name);
}
