//! Setting up a consumer of a group.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::GroupConsumer;
use super::connection::Connection;
use super::membership::Membership;
use super::seat::Seat;
use crate::client::Shared;
use crate::{Error, Start};

/// Default of [`GroupConsumerBuilder::max_in_flight`]: several batches of small records, since a member that
/// has room for less than two is sent one at a time.
const RECORDS_MAX: u64 = 10_000;
/// Default of [`GroupConsumerBuilder::max_in_flight_bytes`].
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest name of a client that the broker takes.
const CLIENT_NAME_BYTES_MAX: usize = 200;

/// Settings of a [`GroupConsumer`]; ends in [`GroupConsumerBuilder::build`].
#[derive(Debug, Clone)]
#[must_use = "does nothing before `build`"]
pub struct GroupConsumerBuilder {
    client: Arc<Shared>,
    options: GroupOptions,
    give_up_after: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct GroupOptions {
    pub(super) group: String,
    pub(super) client_name: String,
    pub(super) topics: Vec<String>,
    pub(super) start: Option<Start>,
    pub(super) skip_data_loss: bool,
    pub(super) stop_at_trimmed: bool,
    pub(super) records_max: u64,
    pub(super) bytes_max: u64,
}

impl GroupOptions {
    /// Refuses what no broker needs to be asked about.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.topics.is_empty() {
            return Err(Error::invalid("topics", "a consumer needs a topic"));
        }
        if matches!(self.start, Some(Start::Offsets(_))) {
            let text = "a group does not begin at single offsets";
            return Err(Error::invalid("start", text)
                .with_hint("move it there with Admin::seek_group once it exists"));
        }
        Ok(())
    }
}

impl GroupConsumerBuilder {
    pub(crate) fn new(client: Arc<Shared>, group: String) -> Self {
        let mut client_name = client.source.clone();
        client_name.truncate(client_name.floor_char_boundary(CLIENT_NAME_BYTES_MAX));
        Self {
            options: GroupOptions {
                group,
                client_name,
                topics: Vec::new(),
                start: None,
                skip_data_loss: false,
                stop_at_trimmed: false,
                records_max: RECORDS_MAX,
                bytes_max: BYTES_MAX,
            },
            client,
            give_up_after: None,
        }
    }

    /// Sets the topics to read, each once. Members of one group may read different ones. Default: none,
    /// which is an error.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.options.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Sets where the group begins in those of the topics that it has never read; without effect on the
    /// others. Default: it is not said, and a group that has never read one of the topics is refused
    /// with [`ErrorReason::StartUnset`](crate::ErrorReason::StartUnset).
    pub fn start(mut self, start: Start) -> Self {
        self.options.start = Some(start);
        self
    }

    /// Sets what people see this member as, up to 200 bytes. Default: the client's
    /// [`source`](crate::ClientBuilder::source).
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.options.client_name = name.into();
        self
    }

    /// Goes on behind records that are damaged, after a [`Gap`](crate::Gap). Default: the partition
    /// is given up with an error, and nothing behind the damage is committed.
    pub fn skip_data_loss(mut self) -> Self {
        self.options.skip_data_loss = true;
        self
    }

    /// Stops in front of records that retention or a trim has removed before the group came to them: after
    /// the [`Gap`](crate::Gap) the partition is given up with
    /// [`ErrorReason::OffsetOutOfRange`](crate::ErrorReason::OffsetOutOfRange), and nothing behind it is
    /// committed. Default: the gap is all that is told, and the partition goes on behind it.
    pub fn stop_at_trimmed(mut self) -> Self {
        self.options.stop_at_trimmed = true;
        self
    }

    /// Sets how many records may wait for their owner, at least 1; a last batch may go beyond that.
    /// [`GroupConsumer::for_each`] holds as many again. Default: 10,000.
    pub fn max_in_flight(mut self, records: u64) -> Self {
        self.options.records_max = records;
        self
    }

    /// Sets how many bytes of batches may wait for their owner, at least 1; a last batch may go beyond
    /// that. [`GroupConsumer::for_each`] holds as many again. Default: 16 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: u64) -> Self {
        self.options.bytes_max = bytes;
        self
    }

    /// Sets how long the broker may be out of reach before the consumer fails. Default: for ever.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.give_up_after = Some(duration);
        self
    }

    /// Makes the consumer. Joins the group when it is first asked for something.
    pub fn build(self) -> GroupConsumer {
        let membership = Membership::new(self.options.clone(), new_member_id());
        let seat = Arc::new(Seat::new(membership));
        let client = Arc::clone(&self.client);
        let connection = Connection::new(self.client, Arc::clone(&seat), self.give_up_after);
        GroupConsumer::new(client, seat, connection, &self.options)
    }
}

/// From the operating system: two members of the same id end each other, and a generator that is seeded
/// with the time gives programs which begin alike, such as copies of a machine, the same one.
fn new_member_id() -> [u8; 16] {
    Uuid::new_v4().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_begin_alike_are_different_members() {
        let first_id = || {
            fastrand::seed(1);
            new_member_id()
        };
        assert_ne!(first_id(), first_id());
    }
}
