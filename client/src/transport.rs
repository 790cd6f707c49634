//! The connections of a client: one for short calls, a few for producers, one for the histories of keys, one
//! for each reader and each consumer of a group or subscription.
//!
//! A connection is made when it is first used and made again when it is used after it broke. The
//! only place that knows how: nothing of it is seen outside the crate.

mod dial;
mod produce_body;
mod substitute;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_core::Stream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use towpath_proto::limits::MESSAGE_BYTES_MAX;
use towpath_proto::v1::ProduceResponse;
use towpath_proto::v1::fetch_service_client::FetchServiceClient;
use towpath_proto::v1::group_service_client::GroupServiceClient;
use towpath_proto::v1::key_service_client::KeyServiceClient;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;
use towpath_proto::v1::subscription_service_client::SubscriptionServiceClient;
use towpath_proto::wire::ProduceRequest;

use crate::Error;

pub(crate) use dial::Dial;
use produce_body::ProduceBody;
use substitute::Substitute;

const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Larger frames mean fewer system calls; beyond this size nothing is gained any more.
const FRAME_BYTES: u32 = 256 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("towpath-client/", env!("CARGO_PKG_VERSION"));

/// How to reach the broker.
#[derive(Debug, Clone)]
pub(crate) struct TransportOptions {
    pub(crate) url: String,
    pub(crate) data_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) dial: Option<Dial>,
}

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Transport {
    endpoint: Endpoint,
    dial: Option<Dial>,
    control: OnceLock<Channel>,
    /// For the histories of keys.
    keys: OnceLock<Channel>,
    data: Box<[OnceLock<Channel>]>,
    /// Which data connection the next stream begins with; counts up for ever.
    next_data: AtomicU32,
}

impl Transport {
    /// Prepares connections without making one.
    ///
    /// # Errors
    ///
    /// `Rejected` if the URL is not one of a broker.
    pub(crate) fn new(options: TransportOptions) -> Result<Self, Error> {
        let endpoint = endpoint(&options)?;
        let data = std::iter::repeat_with(OnceLock::new).take(options.data_connections.max(1));
        Ok(Self {
            endpoint,
            dial: options.dial,
            control: OnceLock::new(),
            keys: OnceLock::new(),
            data: data.collect(),
            next_data: AtomicU32::new(0),
        })
    }

    /// Number of connections that producers share.
    pub(crate) fn data_connections(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }

    /// Returns a data connection to begin with, so that producers spread over all of them. Any number
    /// stands for one.
    pub(crate) fn next_data_connection(&self) -> u32 {
        self.next_data.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection for short calls. Must be called within a tokio runtime.
    pub(crate) fn control(&self) -> Channel {
        self.control.get_or_init(|| self.open()).clone()
    }

    /// Opens a Produce stream on a data connection. Must be called within a tokio runtime. Dropping
    /// the future ends the stream.
    pub(crate) async fn produce(
        &self,
        connection: u32,
        requests: impl Stream<Item = ProduceRequest> + Send + Unpin + 'static,
    ) -> Result<Streaming<ProduceResponse>, Status> {
        let service = Substitute {
            channel: self.data_channel(connection),
            body: Some(Body::new(ProduceBody::new(requests))),
        };
        let mut stub = ProduceServiceClient::new(service);
        let response = stub.produce(tokio_stream::empty()).await?;
        Ok(response.into_inner())
    }

    /// A stub for Fetch on a connection of its own: records that are not taken from it fill its window
    /// and nobody else's. Must be called within a tokio runtime.
    pub(crate) fn fetch(&self) -> FetchServiceClient<Channel> {
        FetchServiceClient::new(self.open()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A stub for `ReadKey` on the connection that all readers of keys share: a history is mostly short, and
    /// one that is not taken stands in the way of others like it alone. Must be called within a tokio
    /// runtime.
    pub(crate) fn keys(&self) -> KeyServiceClient<Channel> {
        let channel = self.keys.get_or_init(|| self.open()).clone();
        KeyServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A stub for Join on a connection of its own, for the same reason.
    pub(crate) fn group(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.open()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A stub for Receive on a connection of its own, for the same reason.
    pub(crate) fn subscription(&self) -> SubscriptionServiceClient<Channel> {
        SubscriptionServiceClient::new(self.open()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn data_channel(&self, connection: u32) -> Channel {
        let slot = self.data.get(connection as usize % self.data.len());
        slot.unwrap_or(&self.control)
            .get_or_init(|| self.open())
            .clone()
    }

    fn open(&self) -> Channel {
        match &self.dial {
            None => self.endpoint.connect_lazy(),
            Some(dial) => self.endpoint.connect_with_connector_lazy(dial.connector()),
        }
    }
}

fn endpoint(options: &TransportOptions) -> Result<Endpoint, Error> {
    let refused = || Error::invalid("url", "not the URL of a broker").with("url", &options.url);
    let hint = "a URL has the form http://host:port, such as http://127.0.0.1:7600";
    let url = if options.url.contains("://") {
        options.url.clone()
    } else {
        format!("http://{}", options.url)
    };
    let endpoint = Endpoint::from_shared(url)
        .map_err(|error| refused().with_hint(hint).because(error.to_string()))?;
    let uri = endpoint.uri();
    // Without a port it would be that of web servers, which is never meant.
    let is_whole = uri.host().is_some() && uri.port_u16().is_some();
    if uri.scheme_str() != Some("http") || !is_whole {
        return Err(refused().with_hint(hint));
    }
    Ok(endpoint
        .user_agent(USER_AGENT)
        .map_err(|error| refused().because(error.to_string()))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_INTERVAL))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES))
}
