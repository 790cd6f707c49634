//! A client that knows gRPC's frames and no message.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::time::timeout;
use towpath_broker::Broker;
use towpath_proto::v1;

use super::Method;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how many other calls a stream that goes on is listened to: each waits for the sequencer, and the broker
/// does in between what there is to be done.
const LISTENING_CALLS: u32 = 3;
/// Bytes that the client is ready to take.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// In front of each message: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;
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
        let answer = self.send(method.name, messages).await;
        let trailers = if method.is_open_ended {
            tokio::select! {
                biased;
                (trailers, _) = read(answer) => trailers,
                () = self.let_others_work() => return,
            }
        } else {
            answered(method.name, answer).await.0
        };
        check(method.name, &trailers);
    }

    /// Calls a unary method, which answers whatever it likes but for a fault of its own; returns the message, or
    /// nothing.
    pub(super) async fn ask(&mut self, name: &'static str, message: &impl Message) -> Bytes {
        let answer = self.send(name, &[&message.encode_to_vec()]).await;
        let (trailers, body) = answered(name, answer).await;
        check(name, &trailers);
        body.get(FRAME_HEAD_BYTES..)
            .map(Bytes::copy_from_slice)
            .unwrap_or_default()
    }

    async fn let_others_work(&mut self) {
        for _ in 0..LISTENING_CALLS {
            let request = v1::DeleteTopicRequest {
                name: "there-is-none".to_owned(),
                ..v1::DeleteTopicRequest::default()
            };
            self.ask("TopicService/DeleteTopic", &request).await;
        }
    }

    async fn send(&mut self, name: &str, messages: &[&[u8]]) -> ResponseFuture {
        let uri = format!("http://fuzz/towpath.v1.{name}");
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
        answer
    }
}

async fn answered(name: &str, answer: ResponseFuture) -> (HeaderMap, Vec<u8>) {
    let answered = timeout(PATIENCE, read(answer)).await;
    answered.unwrap_or_else(|_late| panic!("no answer to {name}"))
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    let [a, b, c, d] = length.to_le_bytes();
    [&[0, d, c, b, a], message].concat()
}

/// All that comes; returns where the status is, and the body.
async fn read(answer: ResponseFuture) -> (HeaderMap, Vec<u8>) {
    let response = answer.await.expect("an answer");
    assert_eq!(response.status(), 200, "gRPC");
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("whole");
        bytes.extend_from_slice(&data);
        // The window is open as long as the stream is.
        drop(body.flow_control().release_capacity(data.len()));
    }
    let trailers = body.trailers().await.expect("an end");
    (trailers.unwrap_or(head.headers), bytes)
}

fn check(name: &str, trailers: &HeaderMap) {
    let text = |header| {
        trailers
            .get(header)
            .map_or("", |it| it.to_str().expect("text"))
    };
    let (code, message) = (text("grpc-status"), text("grpc-message"));
    assert!(!code.is_empty(), "{name}: no status");
    assert!(!WRONG.contains(&code), "{name}: {code} {message}");
}
