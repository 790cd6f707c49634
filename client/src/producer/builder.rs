//! Setting up a producer.

use std::sync::Arc;
use std::time::Duration;

use towpath_proto::limits::SDK_BATCH_BYTES;

use super::{Compression, Producer};
use crate::client::Shared;

const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Settings of a [`Producer`]; ends in [`ProducerBuilder::build`].
#[derive(Debug, Clone)]
#[must_use = "does nothing before `build`"]
pub struct ProducerBuilder {
    client: Arc<Shared>,
    options: ProducerOptions,
}

#[derive(Debug, Clone)]
pub(super) struct ProducerOptions {
    pub(super) topic: String,
    pub(super) name: Option<String>,
    pub(super) in_flight_bytes_max: usize,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) compression: Compression,
    pub(super) give_up_after: Duration,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Arc<Shared>, topic: String) -> Self {
        let give_up_after = client.give_up_after;
        Self {
            client,
            options: ProducerOptions {
                topic,
                name: None,
                in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
                batch_bytes: SDK_BATCH_BYTES,
                linger: Duration::ZERO,
                compression: Compression::None,
                give_up_after,
            },
        }
    }

    /// Gives the producer a name that outlives it, such as that of the relay whose place it takes: made
    /// like a topic name.
    ///
    /// Of the programs that use a name only the one writes that began last. When the topic is looked up,
    /// by the first record or [`Producer::ready`], a life of the name begins at the broker; from then on
    /// the broker takes nothing of any older one, on no partition, also not what is under way. There
    /// everything fails for good, with an error of which
    /// [`Error::is_fenced`](crate::Error::is_fenced) is true, and only a new producer begins a life
    /// again. A producer that reconnects stays the same life.
    ///
    /// Producers of one [`Client`](crate::Client) and its clones that have the same name lead one life
    /// together, to any number of topics. Default: no name; such producers know nothing of each other.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Sets how many bytes of records may be taken and not answered; a record of the largest size
    /// always has room. Default: 16 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.options.in_flight_bytes_max = bytes;
        self
    }

    /// Sets the size at which a batch is sent without waiting for more records. Default: 128 KiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.options.batch_bytes = bytes;
        self
    }

    /// Sets how long a batch that is not full waits for more records. Default: not at all.
    pub fn linger(mut self, duration: Duration) -> Self {
        self.options.linger = duration;
        self
    }

    /// Sets how batches are compressed. Sizes of this builder are those before that. Default: not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Sets how long [`Producer::send`] waits at most: for the topic, for room and for the outcome
    /// together. [`Producer::enqueue`] waits so long until the record is taken, and from then on so
    /// long again for its outcome. Default: the client's, 30 s.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.options.give_up_after = duration;
        self
    }

    /// Makes the producer. Connects nothing before the first record.
    pub fn build(self) -> Producer {
        Producer::new(self.client, self.options)
    }
}
