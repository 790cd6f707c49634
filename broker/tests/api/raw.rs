//! Calls whose bytes are put together by hand.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::{CONTENT_TYPE, TE};
use tonic::codegen::http::{HeaderMap, Request};

use crate::harness::{TestBroker, soon};

/// What came back: whole messages, and how the call ended.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) messages: Vec<Bytes>,
    pub(crate) status: Status,
}

impl Answered {
    /// The messages, which must be of this type.
    pub(crate) fn decode<M: Message + Default>(&self) -> Vec<M> {
        let messages = self.messages.iter();
        messages.map(|it| M::decode(it.clone()).unwrap()).collect()
    }

    /// How the call ended, as other helpers take it.
    pub(crate) fn end(&self) -> Result<(), Status> {
        match self.status.code() {
            tonic::Code::Ok => Ok(()),
            _ => Err(self.status.clone()),
        }
    }
}

/// Puts a message into its gRPC frame.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.freeze()
}

/// Calls `method`, such as `TopicService/GetTopic`, with these bytes as the whole body.
pub(crate) async fn call(broker: &TestBroker, method: &str, body: impl Into<Bytes>) -> Answered {
    let request = Request::post(format!(
        "http://{}/towpath.v1.{method}",
        broker.broker.local_addr().unwrap()
    ));
    let request = request
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Body::new(Full::new(body.into())))
        .unwrap();
    let mut channel = broker.channel.clone();
    soon(std::future::poll_fn(|cx| channel.poll_ready(cx)))
        .await
        .unwrap();
    let response = soon(channel.call(request)).await.unwrap();
    let (head, body) = response.into_parts();
    let (bytes, trailers) = soon(read(body)).await;
    let status = Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers))
        .expect("a status comes");
    Answered {
        messages: unframe(bytes),
        status,
    }
}

/// Everything of a body: the bytes, and what follows them.
async fn read(body: Body) -> (Bytes, HeaderMap) {
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (collected.to_bytes(), trailers)
}

fn unframe(mut bytes: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        assert_eq!(bytes.get_u8(), 0, "not compressed");
        let len = bytes.get_u32() as usize;
        messages.push(bytes.split_to(len));
    }
    messages
}
