//! Setting up a subscriber.

use std::sync::Arc;
use std::time::Duration;

use super::Subscriber;
use super::connection::Connection;
use super::receiving::Receiving;
use super::seat::Seat;
use crate::client::Shared;

/// Default of [`SubscriberBuilder::max_in_flight`].
const RECORDS_MAX: u64 = 1_000;
/// Default of [`SubscriberBuilder::max_in_flight_bytes`].
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest name of a client that the broker takes.
const CLIENT_NAME_BYTES_MAX: usize = 200;

/// Settings of a [`Subscriber`]; ends in [`SubscriberBuilder::build`].
#[derive(Debug, Clone)]
#[must_use = "does nothing before `build`"]
pub struct SubscriberBuilder {
    client: Arc<Shared>,
    options: SubscriberOptions,
    give_up_after: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct SubscriberOptions {
    pub(super) subscription: String,
    pub(super) client_name: String,
    pub(super) records_max: u64,
    pub(super) bytes_max: u64,
    pub(super) refuses_to_wait: bool,
}

impl SubscriberBuilder {
    pub(crate) fn new(client: Arc<Shared>, subscription: String) -> Self {
        let mut client_name = client.source.clone();
        client_name.truncate(client_name.floor_char_boundary(CLIENT_NAME_BYTES_MAX));
        Self {
            options: SubscriberOptions {
                subscription,
                client_name,
                records_max: RECORDS_MAX,
                bytes_max: BYTES_MAX,
                refuses_to_wait: false,
            },
            client,
            give_up_after: None,
        }
    }

    /// Sets what people see this consumer as, up to 200 bytes. Default: the client's
    /// [`source`](crate::ClientBuilder::source).
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.options.client_name = name.into();
        self
    }

    /// Sets how many records this consumer may have that are not settled, at least 1. Default: 1,000.
    pub fn max_in_flight(mut self, records: u64) -> Self {
        self.options.records_max = records;
        self
    }

    /// Sets how many bytes of records this consumer may have that are not settled, at least 1; a last
    /// record may go beyond that. Default: 16 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: u64) -> Self {
        self.options.bytes_max = bytes;
        self
    }

    /// Fails with [`ErrorReason::SubscriptionBusy`](crate::ErrorReason::SubscriptionBusy) while another
    /// consumer has the exclusive subscription. Default: it waits for its turn.
    pub fn refuse_to_wait(mut self) -> Self {
        self.options.refuses_to_wait = true;
        self
    }

    /// Sets how long the broker may be out of reach before the subscriber fails. Default: for ever.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.give_up_after = Some(duration);
        self
    }

    /// Makes the subscriber. Connects when it is first asked for something.
    pub fn build(self) -> Subscriber {
        let consumer_id = fastrand::u128(..).to_le_bytes();
        let receiving = Receiving::new(self.options, consumer_id);
        let seat = Arc::new(Seat::new(receiving));
        let client = Arc::clone(&self.client);
        let connection = Connection::new(self.client, Arc::clone(&seat), self.give_up_after);
        Subscriber::new(client, seat, connection)
    }
}
