//! Commits of a broker that is driven by hand.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRequest, Commit, CommitAppend, CommitOffsets, CommitSettlement, CommitWish,
    DeliveryOutcome, Settlement,
};
use towpath_broker::runtime::command::{CommitCommand, DataCommand, Permits};
use towpath_proto::v1;
use towpath_storage::{Offset, OffsetRange, PartitionRef, StorageError};

use super::{Stepper, groups};
use crate::model::Fate;

/// A second topic that commits append to, beside the one that dead letters go to.
pub(super) const AUDIT: &str = "audit";

impl Stepper {
    /// Creates the topic that commits append to beside their target.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn create_audit(&mut self) -> Result<(), StorageError> {
        self.create_target(AUDIT)
    }

    /// Acks a record that the consumer of a subscription has, commits an offset of the group of the same
    /// name, and appends a record to each of two topics: with one entry. Waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn transform(
        &mut self,
        name: &str,
        spot: (u32, u64),
        offset: u64,
        target: &str,
    ) -> Result<(), StorageError> {
        let place = self.ask_for(name, 0, offset);
        self.expect(name, |facts| {
            facts.places.insert(spot, Fate::Settled);
            facts.republished += 2;
            facts.committed = Some(offset);
        });
        let (wish, payloads) = self.transformation(name, spot, (place, offset), target);
        let (answer, mut committed) = oneshot::channel();
        let command = DataCommand::Commit(Box::new(CommitCommand {
            wish,
            payloads,
            facts: None,
            snapshot: None,
            schedule_snapshot: None,
            answer,
            permits: Permits::default(),
        }));
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        self.settle_down()?;
        let committed = committed.try_recv().expect("answered").expect("committed");
        let base_offsets = committed.published.base_offsets;
        assert_eq!(base_offsets.len(), 2, "one of each topic");
        self.acknowledge(name, place);
        self.model.subscription(name).acknowledge();
        Ok(())
    }

    fn transformation(
        &self,
        name: &str,
        spot: (u32, u64),
        (place, offset): (PartitionRef, u64),
        target: &str,
    ) -> (CommitWish, Vec<Bytes>) {
        let (partition, record) = spot;
        let settlement = Settlement {
            delivery: self.take_held(spot),
            partition,
            ranges: vec![OffsetRange {
                start: Offset::new(record),
                end: Offset::new(record + 1),
            }],
            outcome: DeliveryOutcome::Ack,
        };
        let commit = Commit {
            partition: place,
            generation: self.generation_of(place),
            offset: Offset::new(offset),
            gaps: Vec::new(),
        };
        let topics = [target, AUDIT].into_iter().enumerate();
        let (appends, payloads) = topics
            .map(|(operation, it)| self.append_to(operation, it))
            .unzip();
        let subscription = self.subscription_named(name).expect("it is there").id();
        let wish = CommitWish {
            appends,
            expectations: Vec::new(),
            offsets: vec![CommitOffsets {
                operation: 2,
                group: name.parse().unwrap(),
                member: groups::MEMBER,
                commits: vec![commit],
            }],
            key: None,
            schedules: Vec::new(),
            settlements: vec![CommitSettlement {
                operation: 3,
                subscription,
                settlement,
            }],
        };
        (wish, payloads)
    }

    fn append_to(&self, operation: usize, topic: &str) -> (CommitAppend, Bytes) {
        let topics = self.engine.shared.published.topics();
        let view = topics.named(&topic.parse().unwrap()).expect("a topic");
        // Longer than a sector: a torn round may hold a part of what belongs together.
        let record = v1::Record {
            value: Some(vec![7; 3_000].into()),
            ..v1::Record::default()
        };
        let records = vec![record];
        let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
        let partition = PartitionRef {
            topic: view.id(),
            partition: 0,
        };
        let request = AppendRequest::plain(partition, &payload, 1);
        (CommitAppend { operation, request }, payload)
    }
}
