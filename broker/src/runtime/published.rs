//! What the world sees: topics, the readable part of their partitions, and the durable LSN.
//!
//! The sequencer is the only writer. Readers load, and wait to be woken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use towpath_proto::names::TopicName;
use towpath_storage::{Lsn, PartitionLog, PartitionRef, TopicId};

use super::metrics::Traffic;
use crate::core::{Partition, Topic, TopicConfig, TopicRevision, TopicSettings};

/// A partition and those who wait for its end to move.
#[derive(Debug)]
pub struct PartitionHandle {
    log: Arc<PartitionLog>,
    waiters: Mutex<Vec<Arc<Notify>>>,
}

impl PartitionHandle {
    fn new(partition: PartitionRef, known: &Partition) -> Self {
        let bounds = known.bounds(partition);
        let log = Arc::new(PartitionLog::new(partition, bounds));
        Self {
            log,
            waiters: Mutex::default(),
        }
    }

    /// The readable part.
    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// Has `waiter` notified after every round that appended to the partition, until
    /// [`PartitionHandle::unsubscribe`].
    pub fn subscribe(&self, waiter: &Arc<Notify>) {
        self.waiters().push(Arc::clone(waiter));
    }

    /// Ends what [`PartitionHandle::subscribe`] began.
    pub fn unsubscribe(&self, waiter: &Arc<Notify>) {
        let mut waiters = self.waiters();
        if let Some(place) = waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiters.swap_remove(place);
        }
    }

    /// Wakes all who wait.
    pub(super) fn wake(&self) {
        for waiter in self.waiters().iter() {
            waiter.notify_one();
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<Arc<Notify>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic as the world sees it.
#[derive(Debug)]
pub struct TopicView {
    id: TopicId,
    name: TopicName,
    create_time_ms: i64,
    partitions: Vec<PartitionHandle>,
    /// Written by the sequencer once a change of it is durable.
    settings: Mutex<TopicSettings>,
    /// What became durable. Written by the sequencer.
    appended: Traffic,
    /// What readers and members of groups were given. Written by their streams.
    delivered: Traffic,
    is_deleted: AtomicBool,
}

impl TopicView {
    /// The view of a topic whose state is durable.
    pub(super) fn new(topic: &Topic) -> Self {
        let partitions = (0..)
            .zip(topic.partitions())
            .map(|(partition, known)| {
                PartitionHandle::new(
                    PartitionRef {
                        topic: topic.id(),
                        partition,
                    },
                    known,
                )
            })
            .collect();
        Self {
            id: topic.id(),
            name: topic.name().clone(),
            create_time_ms: topic.create_time_ms(),
            partitions,
            settings: Mutex::new(topic.settings()),
            appended: Traffic::default(),
            delivered: Traffic::default(),
            is_deleted: AtomicBool::new(false),
        }
    }

    /// The view of a topic that was deleted: who had it open knows it by this id and name.
    pub fn gone(id: TopicId, name: TopicName) -> Self {
        let settings = TopicSettings {
            config: TopicConfig::default(),
            revision: TopicRevision {
                topic_id: id,
                revision: 0,
            },
        };
        Self {
            id,
            name,
            create_time_ms: 0,
            partitions: Vec::new(),
            settings: Mutex::new(settings),
            appended: Traffic::default(),
            delivered: Traffic::default(),
            is_deleted: AtomicBool::new(true),
        }
    }

    /// Its settings as of now.
    pub fn settings(&self) -> TopicSettings {
        *self.lock_settings()
    }

    pub(super) fn set_settings(&self, settings: TopicSettings) {
        *self.lock_settings() = settings;
    }

    fn lock_settings(&self) -> MutexGuard<'_, TopicSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic's number.
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// The topic's name.
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Broker time of its creation, milliseconds since the Unix epoch.
    pub fn create_time_ms(&self) -> i64 {
        self.create_time_ms
    }

    /// Its partitions, by number.
    pub fn partitions(&self) -> &[PartitionHandle] {
        &self.partitions
    }

    /// One partition.
    pub fn partition(&self, number: u32) -> Option<&PartitionHandle> {
        self.partitions.get(number as usize)
    }

    /// What became durable since the start of the broker.
    pub fn appended(&self) -> &Traffic {
        &self.appended
    }

    /// What readers and members of groups were given since the start of the broker.
    pub fn delivered(&self) -> &Traffic {
        &self.delivered
    }

    /// Whether it was deleted since the view was taken.
    pub fn is_deleted(&self) -> bool {
        // ORDERING: pairs with the release in `mark_deleted`; readers then stop touching its files.
        self.is_deleted.load(Ordering::Acquire)
    }

    pub(super) fn mark_deleted(&self) {
        // ORDERING: set before the files may be removed.
        self.is_deleted.store(true, Ordering::Release);
        self.partitions.iter().for_each(PartitionHandle::wake);
    }
}

/// All topics.
#[derive(Debug, Default, Clone)]
pub struct TopicTable {
    by_name: BTreeMap<TopicName, Arc<TopicView>>,
    by_id: BTreeMap<TopicId, Arc<TopicView>>,
}

impl TopicTable {
    /// The topic of a name.
    pub fn named(&self, name: &TopicName) -> Option<&Arc<TopicView>> {
        self.by_name.get(name)
    }

    /// The topic with an id.
    pub fn with_id(&self, id: TopicId) -> Option<&Arc<TopicView>> {
        self.by_id.get(&id)
    }

    /// Topics in the order of their names, from the first after `after`.
    pub fn after<'a>(
        &'a self,
        after: Option<&TopicName>,
    ) -> impl Iterator<Item = &'a Arc<TopicView>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        self.by_name
            .range((start, Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// All topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicView>> {
        self.by_name.values()
    }

    /// Names of all topics, in order.
    pub fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.by_name.keys()
    }

    pub(super) fn insert(&mut self, topic: Arc<TopicView>) {
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Option<Arc<TopicView>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}

/// The shared end of what the sequencer publishes.
#[derive(Debug)]
pub struct PublishedState {
    topics: ArcSwap<TopicTable>,
    durable: AtomicU64,
    /// Broker time of the last round, milliseconds since the Unix epoch.
    time_ms: std::sync::atomic::AtomicI64,
}

impl PublishedState {
    /// Publishes what recovery found.
    pub(super) fn new(topics: TopicTable, durable: Lsn, time_ms: i64) -> Self {
        Self {
            topics: ArcSwap::from_pointee(topics),
            durable: AtomicU64::new(durable.get()),
            time_ms: time_ms.into(),
        }
    }

    /// All topics as of now.
    pub fn topics(&self) -> Arc<TopicTable> {
        self.topics.load_full()
    }

    /// The last entry that is on disk and may be seen. A read takes it once, reads every partition up
    /// to it, and only then takes it again, so that a commit appears whole.
    pub fn durable(&self) -> Lsn {
        // ORDERING: pairs with the release in `set_durable`: the ends of partitions moved before.
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// Broker time of the last round, milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> i64 {
        self.time_ms.load(Ordering::Relaxed)
    }

    pub(super) fn set_durable(&self, lsn: Lsn, time_ms: i64) {
        self.time_ms.store(time_ms, Ordering::Relaxed);
        // ORDERING: last, after every partition of the round shows its new end.
        self.durable.store(lsn.get(), Ordering::Release);
    }

    pub(super) fn set_topics(&self, topics: TopicTable) {
        self.topics.store(Arc::new(topics));
    }
}
