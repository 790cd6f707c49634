//! Setting up a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Client, Shared};
use crate::Error;
use crate::outage::Outage;
use crate::producer::Lives;
use crate::transport::{Dial, Transport, TransportOptions};

const URL_DEFAULT: &str = "http://127.0.0.1:7600";
/// More connections than this only cost memory.
const DATA_CONNECTIONS_MAX: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Settings of a [`Client`]; ends in [`ClientBuilder::build`].
#[derive(Debug, Clone)]
#[must_use = "does nothing before `build`"]
pub struct ClientBuilder {
    options: TransportOptions,
    source: Option<String>,
    give_up_after: Duration,
}

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: TransportOptions {
                url: URL_DEFAULT.to_owned(),
                data_connections: default_data_connections(),
                connect_timeout: CONNECT_TIMEOUT,
                dial: None,
            },
            source: None,
            give_up_after: GIVE_UP_AFTER,
        }
    }

    /// Sets the broker: `http://host:port`, or `host:port`. Default: `http://127.0.0.1:7600`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.options.url = url.into();
        self
    }

    /// Takes what the environment says: `TOWPATH_URL` for [`ClientBuilder::url`] and
    /// `TOWPATH_SOURCE` for [`ClientBuilder::source`]. Unset or empty changes nothing.
    #[expect(
        clippy::wrong_self_convention,
        reason = "reads as what it does, beside `Client::from_env`"
    )]
    pub fn from_env(mut self) -> Self {
        if let Some(url) = variable("TOWPATH_URL") {
            self.options.url = url;
        }
        self.source = variable("TOWPATH_SOURCE").or(self.source);
        self
    }

    /// Sets `ce-source`, where events come from that do not say so themselves: a URI reference such
    /// as `/orders`. Default: the name of the running program.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets how many connections producers share; at least 1. A partition always uses the same one.
    /// Beside them there is one for short calls, and each reader has one of its own. Default: one for
    /// each processor, at most 4.
    pub fn data_connections(mut self, count: usize) -> Self {
        self.options.data_connections = count;
        self
    }

    /// Sets how long a single attempt to connect may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// Sets how long a call goes on, with all its repetitions, before it fails; also the default of
    /// producers. Readers go on for ever unless told otherwise. Default: 30 s.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.give_up_after = duration;
        self
    }

    /// Makes connections by calling `dial` instead of connecting to the URL by TCP: for a broker in
    /// the same process, a Unix socket or a proxy.
    pub fn dial_with<F, Fut, C>(mut self, dial: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<C>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.options.dial = Some(Dial::new(dial));
        self
    }

    /// Makes the client. Connects nothing yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected) if the URL is not one of a broker.
    pub fn build(self) -> Result<Client, Error> {
        let shared = Shared {
            url: self.options.url.clone(),
            transport: Transport::new(self.options)?,
            outage: Outage::default(),
            source: self.source.unwrap_or_else(program_name),
            give_up_after: self.give_up_after,
            limits: OnceCell::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            lives: Lives::default(),
        };
        Ok(Client {
            inner: Arc::new(shared),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn default_data_connections() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.min(DATA_CONNECTIONS_MAX)
}

fn program_name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&program).file_stem();
    match name.and_then(|name| name.to_str()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "towpath-client".to_owned(),
    }
}
