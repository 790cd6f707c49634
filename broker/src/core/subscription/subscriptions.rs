//! All subscriptions: by number, by name and by topic; which have something to do, and when.

use std::collections::{BTreeMap, BTreeSet};

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{Offset, OffsetRange, PartitionRef, Row, TopicId};

use super::connect::{Connect, ConnectRefusal, ConsumerDeparture};
use super::consumer::ConsumerId;
use super::dead::BurialWish;
use super::keys::{HashKey, KeyHash};
use super::partition::{Halt, InspectFailure, Lane, SubscriptionPartition};
use super::rows::{
    ParkedKeyRow, SettledBlockRow, SubscriptionPartitionRow, SubscriptionRow, WaitingRecordRow,
};
use super::settle::Settlement;
use super::window::InspectedRecord;
use super::{
    Credit, Subscription, SubscriptionConfig, SubscriptionDecision, SubscriptionEvent,
    SubscriptionId, SubscriptionNotice,
};
use crate::core::group::SessionId;
use crate::core::row::{BrokerRow, RowId, decode};
use crate::core::{CreateTopic, CreateTopicRefusal, State, TopicConfig};

/// Subscriptions that a broker may have.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

/// Numbers of deliveries that one life of the broker may use.
const DELIVERIES_PER_INCARNATION_BITS: u32 = 40;

/// A wish for a new subscription.
#[derive(Debug, Clone)]
pub struct CreateSubscription {
    /// Its name.
    pub name: SubscriptionName,
    /// The topic whose records it gets.
    pub topic: TopicId,
    /// What it is to be.
    pub config: SubscriptionConfig,
    /// Where it begins: one offset for each partition of the topic.
    pub starts: Vec<Offset>,
    /// What keys are hashed with.
    pub hash_key: HashKey,
    /// Name of the topic of its dead letters, which is created unless it is there.
    pub dead_letter_topic: TopicName,
}

/// Why a subscription is not created. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateSubscriptionRefusal {
    /// There is another one of that name.
    #[error("subscription \"{name}\" exists already and differs in {}", differing.join(", "))]
    Exists {
        /// The name.
        name: SubscriptionName,
        /// The settings that differ.
        differing: Vec<&'static str>,
    },
    /// The topic was deleted meanwhile.
    #[error("topic {topic} not found")]
    TopicNotFound {
        /// Which.
        topic: TopicId,
    },
    /// There is a topic of the name for its dead letters, with another number of partitions.
    #[error("topic \"{topic}\" is there already and has not {partition_count} partitions")]
    DeadLetterPartitions {
        /// The topic.
        topic: TopicName,
        /// How many it would have to have.
        partition_count: u32,
    },
    /// Its dead letters would come back to it.
    #[error("dead letters in topic \"{topic}\" would come back to the subscription")]
    DeadLetterCycle {
        /// The topic.
        topic: TopicName,
    },
    /// The topic for its dead letters cannot be created.
    #[error(transparent)]
    DeadLetterTopic(#[from] CreateTopicRefusal),
    /// The broker has all the subscriptions that it may have.
    #[error("the broker has {SUBSCRIPTIONS_MAX} subscriptions, the most that it may have")]
    TooMany,
}

/// What becomes of a wish for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateDecision {
    /// It is created.
    Create {
        /// Its number.
        id: SubscriptionId,
        /// The topic for its dead letters, if there was none of its name.
        made_topic: Option<TopicId>,
        /// The rows of one entry.
        rows: Vec<Row>,
    },
    /// There is one of that name which is the same.
    Existing(SubscriptionId),
}

/// There is no subscription of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subscription \"{name}\" not found")]
pub struct SubscriptionNotFound {
    /// The name.
    pub name: SubscriptionName,
}

/// What was found where a subscription asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Number of the partition.
    pub partition: u32,
    /// The first record that was asked for.
    pub start: Offset,
    /// One past the last record that is gone, if the first one is.
    pub gone_until: Option<Offset>,
    /// Why there are none.
    pub failure: Option<InspectFailure>,
    /// The records from there on, one after the other.
    pub records: Vec<InspectedRecord>,
    /// When they were appended: first offsets of frames with their append times, milliseconds since the
    /// Unix epoch.
    pub append_times: Vec<(Offset, i64)>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(in crate::core) struct Subscriptions {
    by_id: BTreeMap<SubscriptionId, Subscription>,
    names: BTreeMap<SubscriptionName, SubscriptionId>,
    /// Those that have to be looked at. Volatile, as all below.
    active: BTreeSet<SubscriptionId>,
    /// Those that want the next record of a topic.
    hungry: BTreeSet<(TopicId, SubscriptionId)>,
    timers: BTreeSet<(i64, SubscriptionId)>,
    timer_of: BTreeMap<SubscriptionId, i64>,
    incarnation: u64,
}

impl Subscriptions {
    pub(in crate::core) fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.by_id.get(&id)
    }

    pub(in crate::core) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.by_id.get_mut(&id)
    }

    pub(in crate::core) fn named(&self, name: &SubscriptionName) -> Option<&Subscription> {
        self.by_id.get(self.names.get(name)?)
    }

    pub(in crate::core) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.by_id.values()
    }

    /// Puts or changes one. One that is new has no partitions yet.
    pub(in crate::core) fn put(
        &mut self,
        id: SubscriptionId,
        name: SubscriptionName,
        row: &SubscriptionRow,
    ) {
        if let Some(known) = self.by_id.get_mut(&id) {
            known.take_row(row);
        } else {
            self.names.insert(name.clone(), id);
            let next_delivery = self.incarnation << DELIVERIES_PER_INCARNATION_BITS;
            let new = Subscription::from_row(id, name, row, next_delivery);
            self.by_id.insert(id, new);
        }
        self.active.insert(id);
    }

    /// Returns it, so that its rows can be noted as gone.
    pub(in crate::core) fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let subscription = self.by_id.remove(&id)?;
        self.names.remove(&subscription.name);
        self.active.remove(&id);
        self.hungry.remove(&(subscription.topic, id));
        self.clear_timer(id);
        Some(subscription)
    }

    /// Something was appended to a topic.
    pub(in crate::core) fn note_append(&mut self, topic: TopicId) {
        let first = (topic, SubscriptionId::new(0));
        let last = (topic, SubscriptionId::new(u64::MAX));
        self.active
            .extend(self.hungry.range(first..=last).map(|(_, id)| *id));
    }

    /// Those that have something to do, each once.
    fn take_active(&mut self, now_ms: i64) -> BTreeSet<SubscriptionId> {
        while let Some((at_ms, id)) = self.timers.first().copied()
            && at_ms <= now_ms
        {
            self.clear_timer(id);
            self.active.insert(id);
        }
        std::mem::take(&mut self.active)
    }

    /// Notes for what a subscription waits.
    fn settle_down(&mut self, id: SubscriptionId) {
        self.clear_timer(id);
        let Some(subscription) = self.by_id.get(&id) else {
            return;
        };
        let hungry = (subscription.topic, id);
        match subscription.is_hungry() {
            true => self.hungry.insert(hungry),
            false => self.hungry.remove(&hungry),
        };
        if let Some(at_ms) = subscription.next_due_ms() {
            self.timers.insert((at_ms, id));
            self.timer_of.insert(id, at_ms);
        }
    }

    fn clear_timer(&mut self, id: SubscriptionId) {
        if let Some(at_ms) = self.timer_of.remove(&id) {
            self.timers.remove(&(at_ms, id));
        }
    }
}

impl Subscription {
    fn from_row(
        id: SubscriptionId,
        name: SubscriptionName,
        row: &SubscriptionRow,
        next_delivery: u64,
    ) -> Self {
        Self {
            id,
            name,
            topic: TopicId::new(row.topic),
            create_time_ms: row.create_time_ms,
            revision: row.revision,
            config: row.config(),
            hash_key: row.hash_key(),
            is_paused: row.is_paused,
            topic_partition_count: row.partition_count,
            partitions: Vec::new(),
            consumers: super::Consumers::default(),
            leases: super::Leases::default(),
            outage: super::OutageWatch::default(),
            next_delivery,
            next_partition: 0,
            suspect: None,
            reserved: None,
            dead_letter_topic: TopicId::new(row.dead_letter_topic),
            burial_pause_until_ms: None,
            burial_problem: None,
        }
    }

    /// Names of what another one of its name would have different.
    fn differing(&self, wish: &CreateSubscription) -> Vec<&'static str> {
        let (own, other) = (&self.config, &wish.config);
        let settings = [
            ("topic", self.topic == wish.topic),
            ("mode", own.mode == other.mode),
            ("on_dead_letter", own.on_dead_letter == other.on_dead_letter),
            (
                "ack_deadline_ms",
                own.ack_deadline_ms == other.ack_deadline_ms,
            ),
            (
                "backoff_min_ms",
                own.retry.backoff_ms_min == other.retry.backoff_ms_min,
            ),
            (
                "backoff_max_ms",
                own.retry.backoff_ms_max == other.retry.backoff_ms_max,
            ),
            (
                "attempts_max",
                own.retry.attempts_max == other.retry.attempts_max,
            ),
            ("age_max_ms", own.retry.age_ms_max == other.retry.age_ms_max),
            ("filter", own.filter == other.filter),
        ];
        let differing = settings.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(name, _)| name).collect()
    }

    fn to_row(&self) -> SubscriptionRow {
        let mut row = self.row_with(&self.config);
        row.revision = self.revision;
        row
    }

    /// Its row with other settings.
    pub(super) fn row_with(&self, config: &SubscriptionConfig) -> SubscriptionRow {
        let mut row = SubscriptionRow::new(
            self.name.as_str(),
            self.topic,
            self.create_time_ms,
            config,
            self.hash_key,
            self.dead_letter_topic,
        );
        row.revision = self.revision + 1;
        row.is_paused = self.is_paused;
        row.partition_count = self.topic_partition_count;
        row
    }

    fn take_row(&mut self, row: &SubscriptionRow) {
        self.revision = row.revision;
        self.config = row.config();
        self.is_paused = row.is_paused;
    }

    /// Takes the row of a partition. Returns the blocks and the records with rows that are gone by it.
    pub(in crate::core) fn take_partition_row(
        &mut self,
        number: u32,
        row: &SubscriptionPartitionRow,
    ) -> (Vec<u64>, Vec<Offset>) {
        let is_ordered = self.config.mode.is_ordered();
        let count = number as usize + 1;
        if self.partitions.len() < count {
            let lane = match self.source_of(number) {
                Some(_) => Lane::DeadLetters,
                None => Lane::Source,
            };
            let fresh = || SubscriptionPartition::new(row.floor(), is_ordered, lane);
            self.partitions.resize_with(count, fresh);
        }
        let partition = self.partition_mut(number);
        partition.map(|it| it.take_row(row)).unwrap_or_default()
    }

    /// Takes the row of a block.
    pub(in crate::core) fn take_block_row(
        &mut self,
        number: u32,
        block: u64,
        row: Option<&SettledBlockRow>,
    ) {
        if let Some(partition) = self.partition_mut(number) {
            let row = row.map(SettledBlockRow::block);
            partition.settled.put_block(block, row);
        }
    }

    /// Takes the row of a record that waits.
    pub(in crate::core) fn take_waiting_row(
        &mut self,
        number: u32,
        offset: Offset,
        row: Option<WaitingRecordRow>,
    ) {
        if let Some(partition) = self.partition_mut(number) {
            let record = row.map(WaitingRecordRow::record);
            partition.waiting.put(offset, record);
        }
    }

    /// Takes the row of a key of which something is among the dead letters.
    pub(in crate::core) fn take_parked_row(
        &mut self,
        number: u32,
        key: KeyHash,
        row: Option<ParkedKeyRow>,
    ) {
        if let Some(partition) = self.partition_mut(number) {
            match row {
                Some(row) => drop(partition.parked.insert(key, row.key())),
                None => {
                    partition.parked.remove(&key);
                    // What it has kept from consumers may be theirs now.
                    partition.window.keys.line_up(key);
                }
            }
        }
    }

    /// Whether it wants records that are appended from now on.
    fn is_hungry(&self) -> bool {
        !self.is_paused && self.consumers.open_records().is_some()
    }

    /// When something is due in it without being asked, broker time in milliseconds since the Unix epoch.
    fn next_due_ms(&self) -> Option<i64> {
        let waiting = self.partitions.iter();
        let waiting = waiting.filter_map(|partition| partition.waiting.next_due_ms());
        let waiting = match self.is_paused || self.consumers.open_records().is_none() {
            true => None,
            false => waiting.min(),
        };
        let expiry = self.leases.first().map(|(_, lease)| lease.deadline_ms);
        let pauses = self.partitions.iter().filter_map(|it| match it.halt {
            Some(Halt::Disk { until_ms }) => Some(until_ms),
            Some(Halt::Lost(_)) | None => None,
        });
        let due = waiting.into_iter().chain(expiry).chain(pauses);
        due.chain(self.burial_pause_until_ms).min()
    }

    /// Takes what was found where it asked. What it did not ask for, or not any more, changes nothing.
    fn take_inspected(&mut self, inspected: Inspected, now_ms: i64) {
        let Some(partition) = self.partition_mut(inspected.partition) else {
            return;
        };
        if !partition.is_inspected || partition.window.end() != inspected.start {
            return;
        }
        partition.is_inspected = false;
        partition.take_inspected(inspected, now_ms);
    }
}

impl State {
    /// The subscription of a number.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(id)
    }

    /// The subscription of a name.
    pub fn subscription_named(&self, name: &SubscriptionName) -> Option<&Subscription> {
        self.subscriptions.named(name)
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter()
    }

    /// Subscriptions in the order of their names, from behind one of them.
    pub fn subscriptions_after(
        &self,
        name: Option<&SubscriptionName>,
    ) -> impl Iterator<Item = &Subscription> {
        use std::ops::Bound;
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let subscriptions = &self.subscriptions;
        let ids = subscriptions
            .names
            .range::<SubscriptionName, _>((from, Bound::Unbounded));
        ids.filter_map(|(_, id)| subscriptions.get(*id))
    }

    /// Begins a life of the broker: deliveries of earlier ones are not known any more.
    pub fn begin_incarnation(&mut self, incarnation: u64) {
        self.subscriptions.incarnation = incarnation;
        for subscription in self.subscriptions.by_id.values_mut() {
            subscription.next_delivery = incarnation << DELIVERIES_PER_INCARNATION_BITS;
        }
    }

    /// Decides on creating a subscription.
    ///
    /// # Errors
    /// [`CreateSubscriptionRefusal`].
    pub fn create_subscription(
        &self,
        wish: &CreateSubscription,
        now_ms: i64,
    ) -> Result<CreateDecision, CreateSubscriptionRefusal> {
        if let Some(known) = self.subscriptions.named(&wish.name) {
            let differing = known.differing(wish);
            let name = wish.name.clone();
            return match differing.is_empty() {
                true => Ok(CreateDecision::Existing(known.id)),
                false => Err(CreateSubscriptionRefusal::Exists { name, differing }),
            };
        }
        let topic = wish.topic;
        if self.topic(topic).is_none() {
            return Err(CreateSubscriptionRefusal::TopicNotFound { topic });
        }
        if self.subscriptions.by_id.len() >= SUBSCRIPTIONS_MAX {
            return Err(CreateSubscriptionRefusal::TooMany);
        }
        let id = SubscriptionId::new(self.next_subscription);
        let partition_count = u32::try_from(wish.starts.len()).unwrap_or(u32::MAX);
        let (dead_letter_topic, made) = self.dead_letter_topic(wish, partition_count, now_ms)?;
        let broker = BrokerRow {
            next_subscription: self.next_subscription + 1,
            next_topic: self.next_topic + u64::from(made.is_some()),
            ..self.broker_row()
        };
        let name = wish.name.as_str();
        let mut row = SubscriptionRow::new(
            name,
            topic,
            now_ms,
            &wish.config,
            wish.hash_key,
            dead_letter_topic,
        );
        row.partition_count = partition_count;
        let is_ordered = wish.config.mode.is_ordered();
        let letters = (0..partition_count).map(|partition| {
            let place = PartitionRef {
                topic: dead_letter_topic,
                partition,
            };
            let known = self.partition(place);
            known.map_or(Offset::ZERO, |known| known.log_start())
        });
        let lanes = wish.starts.iter().map(|start| (*start, Lane::Source));
        let lanes = lanes.chain(letters.map(|start| (start, Lane::DeadLetters)));
        let partitions = (0..).zip(lanes).map(|(number, (start, lane))| {
            let begun = SubscriptionPartition::new(start, is_ordered, lane);
            RowId::SubscriptionPartition(id, number).put(&begun.to_row())
        });
        let made_topic = made.as_ref().map(|_| dead_letter_topic);
        let first = [RowId::Broker.put(&broker)].into_iter().chain(made);
        let rows = first
            .chain([RowId::Subscription(id).put(&row)])
            .chain(partitions);
        Ok(CreateDecision::Create {
            id,
            made_topic,
            rows: rows.collect(),
        })
    }

    /// The topic for the dead letters of a new subscription, with its row if it has to be made.
    fn dead_letter_topic(
        &self,
        wish: &CreateSubscription,
        partition_count: u32,
        now_ms: i64,
    ) -> Result<(TopicId, Option<Row>), CreateSubscriptionRefusal> {
        let name = wish.dead_letter_topic.clone();
        let Some(known) = self.topic_named(&name) else {
            let wish = CreateTopic {
                name,
                partition_count,
                config: TopicConfig::default(),
            };
            let (topic, rows) = self.create_topic(&wish, now_ms)?;
            let row = rows
                .into_iter()
                .find(|row| row.key == RowId::Topic(topic).key());
            return Ok((topic, row));
        };
        if known.partitions().len() != partition_count as usize {
            return Err(CreateSubscriptionRefusal::DeadLetterPartitions {
                topic: name,
                partition_count,
            });
        }
        if self.leads_to(known.id(), wish.topic) {
            return Err(CreateSubscriptionRefusal::DeadLetterCycle { topic: name });
        }
        Ok((known.id(), None))
    }

    /// Whether dead letters of subscriptions bring what is in one topic into another one, over any number of
    /// them.
    fn leads_to(&self, from: TopicId, to: TopicId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(topic) = open.pop() {
            if topic == to {
                return true;
            }
            let of_topic = self.subscriptions.iter().filter(|it| it.topic == topic);
            let targets = of_topic.map(|it| it.dead_letter_topic);
            open.extend(targets.filter(|target| seen.insert(*target)));
        }
        false
    }

    /// Decides on deleting a subscription.
    ///
    /// # Errors
    /// [`SubscriptionNotFound`].
    pub fn delete_subscription(
        &self,
        name: &SubscriptionName,
    ) -> Result<(SubscriptionId, SubscriptionDecision), SubscriptionNotFound> {
        let subscription = self.subscription_named(name);
        let subscription =
            subscription.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let sessions = subscription.consumers.connected();
        let sessions = sessions.filter_map(|(_, consumer)| consumer.session);
        let notices = sessions.map(|session| SubscriptionNotice {
            session,
            event: SubscriptionEvent::Deleted,
        });
        let decision = SubscriptionDecision {
            rows: vec![RowId::Subscription(subscription.id).gone()],
            notices: notices.collect(),
            ..SubscriptionDecision::default()
        };
        Ok((subscription.id, decision))
    }

    /// Decides on pausing a subscription, or letting it go on. No rows if nothing would change.
    ///
    /// # Errors
    /// [`SubscriptionNotFound`].
    pub fn pause_subscription(
        &self,
        name: &SubscriptionName,
        is_paused: bool,
    ) -> Result<Vec<Row>, SubscriptionNotFound> {
        let found = self.subscription_named(name);
        let found = found.ok_or_else(|| SubscriptionNotFound { name: name.clone() })?;
        let mut row = found.to_row();
        let is_changed = std::mem::replace(&mut row.is_paused, is_paused) != is_paused;
        let row = is_changed.then(|| RowId::Subscription(found.id).put(&row));
        Ok(row.into_iter().collect())
    }

    /// Lets a consumer in. Its records follow with [`State::step_subscription`].
    ///
    /// # Errors
    /// [`ConnectRefusal`].
    pub fn connect_consumer(
        &mut self,
        id: SubscriptionId,
        wish: &Connect,
        now_ms: i64,
    ) -> Result<SubscriptionDecision, ConnectRefusal> {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.connect(wish, now_ms, &mut decision)?;
        }
        Ok(decision)
    }

    /// Notes that a consumer's connection has ended.
    pub fn disconnect_consumer(
        &mut self,
        id: SubscriptionId,
        consumer: ConsumerId,
        session: SessionId,
        departure: ConsumerDeparture,
        now_ms: i64,
    ) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.disconnect(consumer, session, departure, now_ms, &mut decision);
        }
        decision
    }

    /// Allows more to be sent to a consumer.
    pub fn credit_consumer(&mut self, id: SubscriptionId, consumer: ConsumerId, more: Credit) {
        if let Some(subscription) = self.activate(id)
            && let Some(consumer) = subscription.consumers.get_mut(consumer)
        {
            consumer.credit.add(more);
        }
    }

    /// Sends nothing more to a consumer until it allows that, and gives back what it has not begun with.
    pub fn stop_consumer(
        &mut self,
        id: SubscriptionId,
        consumer: ConsumerId,
    ) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        if let Some(subscription) = self.activate(id) {
            subscription.stop(consumer, &mut decision);
        }
        decision
    }

    /// Decides on what a consumer says of its records. Returns what of it the consumer does not have any
    /// more: nothing happens to that.
    pub fn settle_deliveries(
        &mut self,
        id: SubscriptionId,
        settlement: &Settlement,
        now_ms: i64,
    ) -> (Vec<OffsetRange>, SubscriptionDecision) {
        let mut decision = SubscriptionDecision::default();
        let Some(subscription) = self.activate(id) else {
            return (settlement.ranges.clone(), decision);
        };
        let expired = subscription.settle(settlement, now_ms, &mut decision);
        (expired, decision)
    }

    /// Takes what was found where a subscription asked.
    pub fn take_inspected(&mut self, id: SubscriptionId, inspected: Inspected, now_ms: i64) {
        if let Some(subscription) = self.activate(id) {
            subscription.take_inspected(inspected, now_ms);
        }
    }

    /// Decides on records whose dead letters are appended with the same entry, from `base` on. None if they
    /// are not on their way any more: nothing may be appended then.
    pub fn bury(
        &mut self,
        id: SubscriptionId,
        wish: &BurialWish,
        base: Offset,
    ) -> Option<Vec<Row>> {
        self.activate(id)?.bury(wish, base)
    }

    /// Notes that records could not be moved to the dead letters: they stay, and are tried again.
    pub fn burial_failed(
        &mut self,
        id: SubscriptionId,
        wish: &BurialWish,
        reason: String,
        now_ms: i64,
    ) {
        if let Some(subscription) = self.activate(id) {
            subscription.burial_failed(wish, reason, now_ms);
        }
    }

    pub(super) fn activate(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        let found = self.subscriptions.by_id.get_mut(&id)?;
        self.subscriptions.active.insert(id);
        Some(found)
    }

    /// Subscriptions in which something is to be done, each once. Each is to be stepped until it has
    /// nothing to do.
    pub fn active_subscriptions(&mut self, now_ms: i64) -> BTreeSet<SubscriptionId> {
        self.subscriptions.take_active(now_ms)
    }

    /// Looks at a subscription again with the next round.
    pub fn keep_active(&mut self, id: SubscriptionId) {
        self.subscriptions.active.insert(id);
    }

    /// Does in one subscription what is due at broker time `now_ms`: ends leases, delivers, asks for more
    /// records to be inspected. To be called again after its rows were applied, until the decision is
    /// empty.
    pub fn step_subscription(&mut self, id: SubscriptionId, now_ms: i64) -> SubscriptionDecision {
        let mut decision = SubscriptionDecision::default();
        let topics = &self.topics;
        if let Some(subscription) = self.subscriptions.by_id.get_mut(&id) {
            subscription.expire(now_ms, &mut decision);
            if decision.rows.is_empty() {
                subscription.pass_over(&mut decision);
            }
            if decision.rows.is_empty() {
                let topic = subscription.topic;
                let topic = topics.get(&topic);
                let end_of = |number| {
                    let partition = topic.and_then(|topic| topic.partition(number));
                    partition.map_or(Offset::ZERO, |partition| partition.end)
                };
                subscription.deliver(now_ms, end_of, &mut decision);
                subscription.ask_for_burials(now_ms, &mut decision);
            }
        }
        self.subscriptions.settle_down(id);
        decision
    }

    pub(in crate::core) fn put_subscription(&mut self, id: SubscriptionId, row: &SubscriptionRow) {
        match SubscriptionName::new(&row.name) {
            Ok(name) => self.subscriptions.put(id, name, row),
            Err(error) => {
                tracing::error!(subscription = %id, %error, "subscription with an impossible name left out");
            }
        }
    }

    pub(in crate::core) fn remove_subscription(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(id) else {
            return;
        };
        for (number, partition) in (0..).zip(&subscription.partitions) {
            self.changes.note(RowId::SubscriptionPartition(id, number));
            for block in partition.settled.block_numbers() {
                self.changes.note(RowId::SettledBlock(id, number, block));
            }
            for (offset, _, _) in partition.waiting.iter() {
                self.changes.note(RowId::WaitingRecord(id, number, offset));
            }
            for key in partition.parked.keys() {
                self.changes.note(RowId::ParkedKey(id, number, key.0));
            }
        }
    }

    /// Takes a row about a subscription.
    pub(in crate::core) fn apply_subscription_row(
        &mut self,
        id: RowId,
        value: Option<&bytes::Bytes>,
    ) {
        match id {
            RowId::Subscription(subscription) => match value {
                Some(value) => self.put_subscription(subscription, &decode(value)),
                None => self.remove_subscription(subscription),
            },
            RowId::SubscriptionPartition(subscription, number) => {
                let row = value
                    .map(decode::<SubscriptionPartitionRow>)
                    .unwrap_or_default();
                let known = self.subscriptions.get_mut(subscription);
                let gone = known.map(|it| it.take_partition_row(number, &row));
                let (blocks, offsets) = gone.unwrap_or_default();
                for block in blocks {
                    self.changes
                        .note(RowId::SettledBlock(subscription, number, block));
                }
                for offset in offsets {
                    self.changes
                        .note(RowId::WaitingRecord(subscription, number, offset));
                }
            }
            RowId::SettledBlock(subscription, number, block) => {
                let row = value.map(decode::<SettledBlockRow>);
                if let Some(known) = self.subscriptions.get_mut(subscription) {
                    known.take_block_row(number, block, row.as_ref());
                }
            }
            RowId::WaitingRecord(subscription, number, offset) => {
                let row = value.map(decode::<WaitingRecordRow>);
                if let Some(known) = self.subscriptions.get_mut(subscription) {
                    known.take_waiting_row(number, offset, row);
                }
            }
            RowId::ParkedKey(subscription, number, key) => {
                let row = value.map(decode::<ParkedKeyRow>);
                if let Some(known) = self.subscriptions.get_mut(subscription) {
                    known.take_parked_row(number, KeyHash(key), row);
                }
            }
            _ => {}
        }
    }

    /// The row of a subscription, or of something of it, as it is now.
    pub(in crate::core) fn subscription_row(&self, id: RowId) -> Row {
        let partition = |subscription, number: u32| {
            let known: Option<&Subscription> = self.subscription(subscription);
            known.and_then(|known| known.partitions.get(number as usize))
        };
        let row = match id {
            RowId::Subscription(subscription) => {
                let known = self.subscription(subscription);
                known.map(|known| id.put(&known.to_row()))
            }
            RowId::SubscriptionPartition(subscription, number) => {
                partition(subscription, number).map(|it| id.put(&it.to_row()))
            }
            RowId::SettledBlock(subscription, number, block) => {
                let known = partition(subscription, number);
                let block = known.and_then(|known| known.settled.block(block));
                block.map(|block| id.put(&super::rows::block_row(block)))
            }
            RowId::WaitingRecord(subscription, number, offset) => {
                let known = partition(subscription, number);
                let record = known.and_then(|known| known.waiting.get(offset));
                record.map(|record| id.put(&record.to_row()))
            }
            RowId::ParkedKey(subscription, number, key) => {
                let known = partition(subscription, number);
                let parked = known.and_then(|known| known.parked.get(&KeyHash(key)));
                parked.map(|parked| id.put(&parked.to_row()))
            }
            _ => None,
        };
        row.unwrap_or_else(|| id.gone())
    }
}
