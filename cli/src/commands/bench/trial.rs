//! One run of a measurement: its topics, its clients, and what it leaves behind, which is nothing.

use std::sync::{Mutex, OnceLock, PoisonError};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use towpath_client::{
    Admin, Client, NewSubscription, NewTopic, ServerInfo, SubscriptionDeletion, Topic,
    TopicDeletion,
};

use super::Session;
use super::checkpoints::checkpoint_count;
use super::meter::{Meter, Pulse};
use super::payload::Payload;
use super::room::make_room;
use super::usage::usage_of;
use super::verify::expect_count;
use super::writer::{Content, Writer};
use crate::args::BenchLoad;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Progress;

/// Clients that connect at the same time.
const CONNECTING_MAX: usize = 32;
/// Clients from which on each has one connection to write through: a broker takes 1,024 by default.
const MANY_CLIENTS: u32 = 32;

/// One run of a measurement.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) load: &'a BenchLoad,
    /// What the broker says about itself.
    pub(super) info: ServerInfo,
    /// Everything that is done.
    pub(super) pulse: Pulse,
    session: &'a Session<'a>,
    admin: Admin,
    topic: Topic,
    /// Topics beside that one.
    others: Mutex<Vec<Topic>>,
    /// That the broker had written before, where that can be asked.
    checkpoints: Option<u64>,
    /// Set once there is a subscription of the topic's name.
    subscription: OnceLock<()>,
}

impl<'a> Trial<'a> {
    /// Checks that there is a broker and gives the run a topic.
    ///
    /// # Errors
    ///
    /// There is no broker, it refuses the topic, the process or the admin listener to be looked at is not
    /// there, or this process may not have as many connections as are needed.
    pub(super) async fn prepare(
        load: &'a BenchLoad,
        clients: u32,
        session: &'a Session<'a>,
    ) -> Result<Self, Failure> {
        if let Some(pid) = load.server_pid
            && usage_of(pid).is_none()
        {
            let message = format!("cannot look at process {pid}");
            return Err(Failure::new(Exit::NotFound, message));
        }
        make_room(clients)?;
        let checkpoints = match &load.server_admin {
            Some(address) => Some(checkpoint_count(address).await?),
            None => None,
        };
        let admin = session.client()?.admin();
        let info = admin.server_info().await?;
        let name = format!("bench-{:08x}", fastrand::u32(..));
        let topic = NewTopic::new(name).partitions(load.partitions.get());
        let topic = admin.create_topic(topic).await?;
        Ok(Self {
            load,
            info,
            pulse: Pulse::default(),
            session,
            admin,
            topic,
            others: Mutex::default(),
            checkpoints,
            subscription: OnceLock::new(),
        })
    }

    /// How many checkpoints the broker has written since the run began; none where that cannot be asked.
    ///
    /// # Errors
    ///
    /// Its admin listener is not reached any more.
    pub(super) async fn checkpoint_count(&self) -> Result<Option<u64>, Failure> {
        let Some((address, before)) = self.load.server_admin.as_deref().zip(self.checkpoints)
        else {
            return Ok(None);
        };
        let now = checkpoint_count(address).await?;
        Ok(Some(now.saturating_sub(before)))
    }

    /// Name of the topic.
    pub(super) fn topic(&self) -> &str {
        self.topic.name.as_str()
    }

    /// Creates another topic, which has this behind its name and as many partitions; returns its name.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn add_topic(&self, suffix: &str) -> Result<String, Failure> {
        let name = format!("{}-{suffix}", self.topic());
        let topic = NewTopic::new(&name).partitions(self.load.partitions.get());
        let topic = self.admin.create_topic(topic).await?;
        let others = self.others.lock();
        others.unwrap_or_else(PoisonError::into_inner).push(topic);
        Ok(name)
    }

    /// Deletes a topic that was added.
    ///
    /// # Errors
    ///
    /// The broker refuses.
    pub(super) async fn remove_topic(&self, name: &str) -> Result<(), Failure> {
        self.admin.delete_topic(TopicDeletion::new(name)).await?;
        let others = self.others.lock();
        let mut others = others.unwrap_or_else(PoisonError::into_inner);
        others.retain(|topic| topic.name.as_str() != name);
        Ok(())
    }

    /// A client with connections of its own, one of many.
    ///
    /// # Errors
    ///
    /// The URL is not that of a broker.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        if self.load.clients.get() >= MANY_CLIENTS {
            return self.session.client_of_many();
        }
        self.session.client()
    }

    /// As many clients as there are to be, each with connections of its own.
    ///
    /// # Errors
    ///
    /// As [`Trial::client`].
    pub(super) fn clients(&self) -> Result<Vec<Client>, Failure> {
        (0..self.load.clients.get())
            .map(|_| self.client())
            .collect()
    }

    /// A producer for each share of the records, connected.
    ///
    /// # Errors
    ///
    /// The broker does not take the record that each is made ready with.
    pub(super) async fn writers(&self, content: Content) -> Result<Vec<Writer>, Failure> {
        let payload = Payload::new(self.load.values, self.load.size, self.load.records.get());
        let clients = self.clients()?.into_iter().zip(self.load.shares());
        let writers = clients.enumerate().map(|(number, (client, records))| {
            let payload = payload.clone();
            async move {
                let share = (number, records);
                Writer::connect(&client, self.topic(), self.load, share, (content, payload)).await
            }
        });
        let writers = stream::iter(writers).buffered(CONNECTING_MAX);
        let writers = writers.inspect_ok(|_| self.pulse.beat(1));
        writers.try_collect().await
    }

    /// Counts what is done of so many records, and shows it.
    pub(super) fn meter(&self, what: &'static str, records: u64) -> Meter {
        let progress = self.session.output.progress(what, Some(records));
        Meter::new(progress, self.pulse.clone(), self.load.server_pid)
    }

    /// Counts what is done while something else is shown.
    pub(super) fn hidden_meter(&self) -> Meter {
        Meter::new(Progress::hidden(), self.pulse.clone(), None)
    }

    /// Whether the broker has as many records as were written, with those that writers were made
    /// ready with.
    ///
    /// # Errors
    ///
    /// It has not: the run is void.
    pub(super) async fn verify(&self) -> Result<(), Failure> {
        let there = self.admin.topic(self.topic()).await?.record_count;
        let written = self.load.records.get() + u64::from(self.load.clients.get());
        expect_count("the broker has", there, written)
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

    /// Deletes the subscription, and the topics unless they are to stay.
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
        let others = self.others.lock();
        let mut topics = std::mem::take(&mut *others.unwrap_or_else(PoisonError::into_inner));
        topics.push(self.topic.clone());
        for topic in topics {
            let deletion = TopicDeletion::new(topic.name.as_str()).only(topic.topic_id);
            self.admin.delete_topic(deletion).await?;
        }
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
