//! Setting up a reader.

use std::sync::Arc;
use std::time::Duration;

use towpath_proto::ids::PartitionId;

use super::connection::Connection;
use super::progress::Progress;
use super::{Reader, Source, Start};
use crate::client::Shared;

/// Settings of a [`Reader`]; ends in [`ReaderBuilder::build`].
#[derive(Debug, Clone)]
#[must_use = "does nothing before `build`"]
pub struct ReaderBuilder {
    client: Arc<Shared>,
    options: ReaderOptions,
}

#[derive(Debug, Clone)]
pub(super) struct ReaderOptions {
    pub(super) sources: Vec<Source>,
    pub(super) start: Start,
    pub(super) partitions: Vec<PartitionId>,
    pub(super) follow: bool,
    pub(super) merged: bool,
    pub(super) skip_data_loss: bool,
    pub(super) give_up_after: Option<Duration>,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Arc<Shared>, sources: Vec<Source>) -> Self {
        Self {
            client,
            options: ReaderOptions {
                sources,
                start: Start::Beginning,
                partitions: Vec::new(),
                follow: false,
                merged: false,
                skip_data_loss: false,
                give_up_after: None,
            },
        }
    }

    /// Sets where reading begins in sources that do not say. Default: the beginning.
    pub fn from(mut self, start: Start) -> Self {
        self.options.start = start;
        self
    }

    /// Sets which partitions are read of sources that do not say. Default: all.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.options.partitions = partitions.into_iter().collect();
        self
    }

    /// Goes on with new records as they become durable. Default: the reader ends at the end that
    /// the partitions have when reading starts.
    pub fn follow(mut self) -> Self {
        self.options.follow = true;
        self
    }

    /// Delivers the batches of all partitions in the order of their LSN, so that what was written
    /// together is read together. Default: in offset order within each partition only, which is
    /// faster.
    pub fn merged(mut self) -> Self {
        self.options.merged = true;
        self
    }

    /// Goes on behind records that are damaged, after a [`Gap`](super::Gap). Default: the partition
    /// is given up with an error.
    pub fn skip_data_loss(mut self) -> Self {
        self.options.skip_data_loss = true;
        self
    }

    /// Sets how long the broker may be out of reach before the reader fails. Default: for ever.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.options.give_up_after = Some(duration);
        self
    }

    /// Makes the reader. Connects nothing before it is first asked for something.
    pub fn build(self) -> Reader {
        let progress = Progress::new(&self.options);
        let connection = Connection::new(self.client, self.options.give_up_after);
        Reader::new(progress, connection)
    }
}
