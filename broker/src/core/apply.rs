//! Applying: the only place where the state changes, in service and in replay alike.

use towpath_proto::names::{GroupName, ProducerName, TopicName};
use towpath_storage::{
    DirectoryLine, INDEX_TABLES, PartitionRef, Row, SegmentRef, StateMachine, TopicId,
};

use super::State;
use super::group::GroupId;
use super::named_producer::{NamedProducer, NamedProducerId};
use super::partition::Partition;
use super::producer::ProducerPartition;
use super::row::{
    BrokerRow, DroppedRow, DroppedSegmentRow, GroupPartitionRow, GroupRow, NamedProducerRow,
    PartitionRow, ProducerRow, RowId, SegmentRow, TopicRow, decode,
};
use super::topic::Topic;

impl StateMachine for State {
    fn apply_row(&mut self, row: Row) {
        if row.key.table >= INDEX_TABLES {
            self.schedules.note_row(&row.key, row.value.as_ref());
            return self.index.put(row);
        }
        let Some(id) = RowId::parse(&row.key) else {
            // A newer release would have raised the format version.
            tracing::error!(table = row.key.table, "row of an unknown table left out");
            return;
        };
        let value = row.value.as_ref();
        match id {
            RowId::Broker => {
                self.take_broker_row(&value.map(decode::<BrokerRow>).unwrap_or_default());
            }
            RowId::Topic(topic) => match value {
                Some(value) => self.put_topic(topic, &decode(value)),
                None => self.remove_topic(topic),
            },
            RowId::Partition(partition) => {
                let row = value.map(decode::<PartitionRow>).unwrap_or_default();
                if let Some(known) = self.partition_mut(partition) {
                    let log_start = known.log_start;
                    known.take_row(&row);
                    if known.log_start != log_start {
                        self.subscriptions.note_trim(partition.topic);
                    }
                }
            }
            RowId::Producer(producer, partition) => {
                let known = value.map(|it| ProducerPartition::from_row(&decode::<ProducerRow>(it)));
                self.producers.put(producer, partition, known);
            }
            RowId::Dropped(topic) => {
                match value.and_then(|it| parse_name(topic, &decode::<DroppedRow>(it).name)) {
                    Some(name) => drop(self.dropped.insert(topic, name)),
                    None => drop(self.dropped.remove(&topic)),
                }
            }
            RowId::Segment(segment) => {
                let row = value.map(decode::<SegmentRow>);
                if let Some(partition) = self.partition_mut(segment.partition) {
                    partition.take_segment_row(segment.base, row.as_ref());
                }
            }
            RowId::DroppedSegment(segment) => match value.map(decode::<DroppedSegmentRow>) {
                Some(row) => drop(self.dropped_segments.insert(segment, row.size_bytes)),
                None => drop(self.dropped_segments.remove(&segment)),
            },
            RowId::Group(group) => match value {
                Some(value) => self.put_group(group, &decode(value)),
                None => self.remove_group(group),
            },
            RowId::GroupPartition(group, partition) => {
                let row = value.map(decode::<GroupPartitionRow>);
                if let Some(group) = self.groups.get_mut(group) {
                    group.take_partition_row(partition, row.as_ref());
                }
            }
            RowId::NamedProducer(name) => {
                self.take_named_producer(name, value.map(decode::<NamedProducerRow>).as_ref());
            }
            RowId::TopicSchedules(topic) => self.schedules.take_row(topic, value),
            RowId::Subscription(_)
            | RowId::SubscriptionPartition(..)
            | RowId::SettledBlock(..)
            | RowId::WaitingRecord(..)
            | RowId::ParkedKey(..)
            | RowId::SupersededFilter(..) => self.apply_subscription_row(id, value),
        }
        self.changes.note(id);
    }

    fn apply_append(&mut self, line: &DirectoryLine) {
        let partition_ref = line.place.segment.partition;
        let Some(partition) = self.partition_mut(partition_ref) else {
            // INVARIANT: an append is decided only for a partition that exists.
            tracing::error!(partition = %partition_ref, "append to an unknown partition left out");
            return;
        };
        partition.append(line);
        self.changes.note(RowId::Partition(partition_ref));
        self.changes.note(RowId::Segment(line.place.segment));
        self.subscriptions.note_append(partition_ref.topic);
        if let Some(stamp) = line.producer {
            self.producers.append(line, stamp);
            self.changes.note(RowId::Producer(stamp.id, partition_ref));
        }
    }

    fn take_changed(&mut self) -> Vec<Row> {
        let changed = self.changes.take();
        let mut rows: Vec<_> = changed.into_iter().map(|id| self.row(id)).collect();
        rows.extend(self.index.take());
        rows
    }

    fn checkpoint_loaded(&mut self) {
        self.changes.take();
        self.schedules.checkpoint_loaded();
    }
}

impl State {
    /// Marks rows as changed again, after a checkpoint that took them had failed.
    pub fn give_back(&mut self, rows: &[Row]) {
        if rows.iter().any(|row| row.key.table >= INDEX_TABLES) {
            self.index.give_back();
        }
        for id in rows.iter().filter_map(|row| RowId::parse(&row.key)) {
            self.changes.note(id);
        }
    }

    fn take_broker_row(&mut self, row: &BrokerRow) {
        self.next_topic = row.next_topic.max(1);
        self.next_group = row.next_group.max(1);
        self.past_generation = self.past_generation.max(row.past_generation);
        self.next_subscription = row.next_subscription.max(1);
        self.next_commit = row.next_commit;
        self.schedules.next_number = row.next_schedule;
    }

    pub(super) fn broker_row(&self) -> BrokerRow {
        BrokerRow {
            next_topic: self.next_topic,
            next_group: self.next_group,
            past_generation: self.past_generation,
            next_subscription: self.next_subscription,
            next_commit: self.next_commit,
            next_schedule: self.schedules.next_number,
        }
    }

    fn row(&self, id: RowId) -> Row {
        match id {
            RowId::Broker => id.put(&self.broker_row()),
            RowId::Topic(topic) => self
                .topics
                .get(&topic)
                .map_or_else(|| id.gone(), |topic| id.put(&topic.to_row())),
            RowId::Partition(partition) => self
                .partition(partition)
                .map_or_else(|| id.gone(), |partition| id.put(&partition.to_row())),
            RowId::Producer(producer, partition) => self
                .producers
                .get(producer, partition)
                .map_or_else(|| id.gone(), |known| id.put(&known.to_row())),
            RowId::Dropped(topic) => self.dropped.get(&topic).map_or_else(
                || id.gone(),
                |name| {
                    id.put(&DroppedRow {
                        name: name.as_str().to_owned(),
                    })
                },
            ),
            RowId::Segment(segment) => self
                .partition(segment.partition)
                .and_then(|partition| partition.segment(segment.base))
                .map_or_else(|| id.gone(), |found| id.put(&found.to_row())),
            RowId::DroppedSegment(segment) => self.dropped_segments.get(&segment).map_or_else(
                || id.gone(),
                |size_bytes| {
                    id.put(&DroppedSegmentRow {
                        size_bytes: *size_bytes,
                    })
                },
            ),
            RowId::Group(group) => self
                .group(group)
                .map_or_else(|| id.gone(), |group| id.put(&group.to_row())),
            RowId::GroupPartition(group, partition) => self
                .group(group)
                .and_then(|group| group.partition(partition))
                .map_or_else(|| id.gone(), |known| id.put(&known.to_row())),
            RowId::NamedProducer(name) => self
                .named_producers
                .get(name)
                .map_or_else(|| id.gone(), |known| id.put(&known.to_row())),
            RowId::TopicSchedules(topic) => self.schedules.counts_row(topic),
            RowId::Subscription(_)
            | RowId::SubscriptionPartition(..)
            | RowId::SettledBlock(..)
            | RowId::WaitingRecord(..)
            | RowId::ParkedKey(..)
            | RowId::SupersededFilter(..) => self.subscription_row(id),
        }
    }

    pub(super) fn partition_mut(&mut self, partition: PartitionRef) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(&partition.topic)?;
        topic.partitions.get_mut(partition.partition as usize)
    }

    fn put_topic(&mut self, id: TopicId, row: &TopicRow) {
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.config = row.config();
            topic.revision = row.revision;
        } else if let Some(name) = parse_name(id, &row.name) {
            self.names.insert(name.clone(), id);
            self.topics.insert(id, Topic::from_row(id, name, row));
        }
    }

    fn remove_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.remove(&id) else {
            return;
        };
        self.names.remove(&topic.name);
        for (number, known) in (0..).zip(&topic.partitions) {
            let partition = PartitionRef {
                topic: id,
                partition: number,
            };
            self.changes.note(RowId::Partition(partition));
            for segment in &known.segments {
                let base = segment.base;
                self.changes
                    .note(RowId::Segment(SegmentRef::new(partition, base)));
            }
        }
        for (producer, partition) in self.producers.remove_topic(id) {
            self.changes.note(RowId::Producer(producer, partition));
        }
        if self.schedules.forget_topic(id) {
            self.changes.note(RowId::TopicSchedules(id));
        }
        // The topic's folder goes with everything in it.
        let segments = self.dropped_segments.keys();
        let segments = segments.filter(|segment| segment.partition.topic == id);
        for segment in segments.copied().collect::<Vec<_>>() {
            self.dropped_segments.remove(&segment);
            self.changes.note(RowId::DroppedSegment(segment));
        }
        for group in self.groups.iter_mut() {
            for partition in group.forget_topic(id) {
                self.changes
                    .note(RowId::GroupPartition(group.id, partition));
            }
        }
    }

    /// What older lives have written to partitions is forgotten with them: they get no answer from it.
    fn take_named_producer(&mut self, id: NamedProducerId, row: Option<&NamedProducerRow>) {
        let epoch = row.map(|row| row.epoch);
        match row.map(|row| (ProducerName::new(&row.name), row)) {
            Some((Ok(name), row)) => {
                let producer = NamedProducer::from_row(id, name, row);
                self.named_producers.put(producer);
            }
            Some((Err(error), _)) => {
                tracing::error!(%error, "producer with an impossible name left out");
            }
            None => self.named_producers.remove(id),
        }
        for (producer, partition) in self.producers.remove_lives_but(id, epoch) {
            self.changes.note(RowId::Producer(producer, partition));
        }
    }

    fn put_group(&mut self, id: GroupId, row: &GroupRow) {
        match GroupName::new(&row.name) {
            Ok(name) => self.groups.put(id, name, row),
            Err(error) => {
                tracing::error!(group = %id, %error, "group with an impossible name left out");
            }
        }
    }

    fn remove_group(&mut self, id: GroupId) {
        if let Some(group) = self.groups.remove(id) {
            self.past_generation = self.past_generation.max(group.generation.0);
            self.changes.note(RowId::Broker);
            for partition in group.partitions.into_keys() {
                self.changes.note(RowId::GroupPartition(id, partition));
            }
        }
    }
}

fn parse_name(topic: TopicId, name: &str) -> Option<TopicName> {
    let parsed = TopicName::new(name);
    if let Err(error) = &parsed {
        tracing::error!(%topic, %error, "topic with an impossible name left out");
    }
    parsed.ok()
}
