//! What subscriptions are is rows: taken at their changes and at a start, given to checkpoints.

use std::collections::BTreeMap;

use towpath_proto::names::SubscriptionName;
use towpath_storage::{Offset, Row, TopicId};

use super::burial_failure::BurialProblems;
use super::caught_up::Spell;
use super::consumer::Consumers;
use super::keys::KeyHash;
use super::lease::Leases;
use super::let_go::Leaving;
use super::partition::{Lane, SubscriptionPartition};
use super::progress::SubscriptionCounts;
use super::repeat::RecentlyGivenBack;
use super::retry::OutageWatch;
use super::rows::{
    ParkedKeyRow, SettledBlockRow, SubscriptionPartitionRow, SubscriptionRow, SupersededFilterRow,
    WaitingRecordRow, block_row,
};
use super::suspects::Suspicion;
use super::{Subscription, SubscriptionConfig, SubscriptionId};
use crate::core::State;
use crate::core::row::{RowId, decode};

impl State {
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
        for revision in subscription.superseded.keys() {
            self.changes.note(RowId::SupersededFilter(id, *revision));
        }
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
            RowId::SupersededFilter(subscription, revision) => {
                let row = value.map(decode::<SupersededFilterRow>);
                if let Some(known) = self.subscriptions.get_mut(subscription) {
                    known.take_superseded_row(revision, row);
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
                block.map(|block| id.put(&block_row(block)))
            }
            RowId::WaitingRecord(subscription, number, offset) => {
                let known = partition(subscription, number);
                let record = known.and_then(|known| known.waiting.get(offset));
                record.map(|record| id.put(&record.to_row()))
            }
            RowId::SupersededFilter(subscription, revision) => {
                let known = self.subscription(subscription);
                let known = known.and_then(|known| known.superseded.get(&revision));
                known.map(|known| id.put(&known.to_row()))
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

impl Subscription {
    pub(super) fn from_row(
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
            superseded: BTreeMap::new(),
            is_paused: row.is_paused,
            topic_partition_count: row.partition_count,
            partitions: Vec::new(),
            consumers: Consumers::default(),
            leases: Leases::default(),
            outage: OutageWatch::default(),
            next_delivery,
            next_partition: 0,
            suspicion: Suspicion::default(),
            given_back: RecentlyGivenBack::default(),
            spell: Spell::default(),
            dead_letter_topic: TopicId::new(row.dead_letter_topic),
            burial_problems: BurialProblems::default(),
            leaving: Leaving::at_start(),
            counts: SubscriptionCounts::default(),
        }
    }

    pub(super) fn to_row(&self) -> SubscriptionRow {
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

    pub(super) fn take_row(&mut self, row: &SubscriptionRow) {
        self.revision = row.revision;
        let filter = self.config.record_filter();
        self.config = row.config();
        if self.config.record_filter() != filter {
            self.ask_anew();
        }
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

    /// Takes the row of a filter that it had before.
    fn take_superseded_row(&mut self, revision: u64, row: Option<SupersededFilterRow>) {
        match row {
            Some(row) => drop(self.superseded.insert(revision, row.superseded())),
            None => drop(self.superseded.remove(&revision)),
        }
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
                None => partition.forget_parked(key),
            }
        }
    }
}
