//! One run of a measurement: its topic, its clients, and whether it counts.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use towpath_client::{
    Admin, Batch, Client, NewSubscription, NewTopic, Producer, Record, ServerInfo,
    SubscriptionDeletion, Topic, TopicDeletion,
};

use super::Session;
use super::keys::Keys;
use super::payload::Payload;
use super::stopwatch::Stopwatch;
use super::usage::usage_of;
use crate::args::BenchLoad;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Progress, count};

/// One run of a measurement.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) load: &'a BenchLoad,
    /// What the broker says about itself.
    pub(super) info: ServerInfo,
    session: &'a Session<'a>,
    admin: Admin,
    topic: Topic,
    /// Set once there is a subscription of the topic's name.
    subscription: OnceLock<()>,
}

/// One client's share of the records.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) producer: Producer,
    pub(super) payload: Payload,
    pub(super) records: u64,
}

impl<'a> Trial<'a> {
    /// Checks that there is a broker and gives the run a topic.
    ///
    /// # Errors
    ///
    /// There is no broker, it refuses the topic, or the process to be looked at is not there.
    pub(super) async fn prepare(
        load: &'a BenchLoad,
        session: &'a Session<'a>,
    ) -> Result<Self, Failure> {
        if let Some(pid) = load.server_pid
            && usage_of(pid).is_none()
        {
            let message = format!("cannot look at process {pid}");
            return Err(Failure::new(Exit::NotFound, message));
        }
        let admin = session.client()?.admin();
        let info = admin.server_info().await?;
        let name = format!("bench-{:08x}", fastrand::u32(..));
        let topic = NewTopic::new(name).partitions(load.partitions.get());
        let topic = admin.create_topic(topic).await?;
        Ok(Self {
            load,
            info,
            session,
            admin,
            topic,
            subscription: OnceLock::new(),
        })
    }

    /// Name of the topic.
    pub(super) fn topic(&self) -> &str {
        self.topic.name.as_str()
    }

    /// Clients with connections of their own.
    ///
    /// # Errors
    ///
    /// The URL is not that of a broker.
    pub(super) fn clients(&self) -> Result<Vec<Client>, Failure> {
        (0..self.load.clients.get())
            .map(|_| self.session.client())
            .collect()
    }

    /// A producer for each share of the records, connected, with the values that it sends and so many keys.
    ///
    /// # Errors
    ///
    /// The broker does not take the record that each is made ready with.
    pub(super) async fn writers(&self, keys: Option<NonZeroU32>) -> Result<Vec<Writer>, Failure> {
        let payload = Payload::new(self.load.values, self.load.size, self.load.records.get());
        let mut writers = Vec::new();
        for (index, (client, records)) in self.clients()?.iter().zip(self.load.shares()).enumerate()
        {
            let builder = client
                .producer(self.topic())
                .compression(self.load.compression);
            let producer = match self.load.batch_bytes {
                Some(bytes) => builder.batch_bytes(bytes).build(),
                None => builder.build(),
            };
            producer.send(Record::tombstone("ready")).await?;
            let start = usize::try_from(records)
                .unwrap_or(usize::MAX)
                .saturating_mul(index);
            let keys = keys.map(|count| Keys::new(count, index as u64));
            writers.push(Writer {
                producer,
                payload: payload.starting_at(start).with_keys(keys),
                records,
            });
        }
        Ok(writers)
    }

    /// Begins to measure time, and the processes that take part.
    pub(super) fn stopwatch(&self) -> Stopwatch {
        Stopwatch::start(self.load.server_pid)
    }

    /// Shows how far it is.
    pub(super) fn progress(&self, what: &'static str) -> Progress {
        self.session
            .output
            .progress(what, Some(self.load.records.get()))
    }

    /// Whether the broker has as many records as were written, with those that writers were made
    /// ready with.
    ///
    /// # Errors
    ///
    /// It has not: the run is void.
    pub(super) async fn verify(&self) -> Result<(), Failure> {
        let there = self.admin.topic(self.topic()).await?.record_count;
        expect_count("the broker has", there, self.record_count())
    }

    /// Records that are there once all are written, with those that writers were made ready with.
    pub(super) fn record_count(&self) -> u64 {
        self.load.records.get() + u64::from(self.load.clients.get())
    }

    /// Deletes a group; returns how many records it had not committed.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn delete_group(&self, name: &str) -> Result<u64, Failure> {
        let group = self.admin.group(name).await?;
        self.admin.delete_group(name).await?;
        Ok(group.partitions.iter().map(|it| it.lag_records).sum())
    }

    /// The topic as it is now.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn described(&self) -> Result<Topic, Failure> {
        Ok(self.admin.topic(self.topic()).await?)
    }

    /// Creates a subscription that has the topic's name.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn subscribe(&self, subscription: NewSubscription) -> Result<(), Failure> {
        self.subscription.get_or_init(|| ());
        self.admin.create_subscription(subscription).await?;
        Ok(())
    }

    /// How many records the subscription has not settled.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn subscription_lag(&self) -> Result<u64, Failure> {
        let subscription = self.admin.subscription(self.topic()).await?;
        let partitions = subscription.partitions.iter();
        Ok(partitions.map(|it| it.lag_records).sum())
    }

    /// Deletes the subscription, and the topic unless it is to stay.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        if self.subscription.get().is_some() {
            self.unsubscribe().await?;
        }
        if self.load.keep_topic {
            return Ok(());
        }
        let deletion = TopicDeletion::new(self.topic()).only(self.topic.topic_id);
        self.admin.delete_topic(deletion).await?;
        Ok(())
    }

    /// Deletes the subscription and its dead letters, of which there are none.
    async fn unsubscribe(&self) -> Result<(), Failure> {
        let name = self.topic();
        let deletion = SubscriptionDeletion::new(name);
        self.admin.delete_subscription(deletion).await?;
        let dead_letters = TopicDeletion::new(format!("{name}.dlq"));
        self.admin.delete_topic(dead_letters).await?;
        Ok(())
    }
}

/// Records of a batch that were measured: what the clients were made ready with has no value.
pub(super) fn value_count(batch: &Batch, value_bytes: usize) -> u64 {
    let is_counted = |value: Option<&[u8]>| value.is_some_and(|it| it.len() == value_bytes);
    let counted = batch.records().filter(|record| is_counted(record.value()));
    counted.count() as u64
}

/// Whether as many records were counted as there must be.
///
/// # Errors
///
/// There were not: the run is void.
pub(super) fn expect_count(who: &str, found: u64, expected: u64) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (count(found), count(expected));
    let message = format!("void: {who} {found} records instead of {expected}");
    Err(Failure::new(Exit::Failed, message))
}
