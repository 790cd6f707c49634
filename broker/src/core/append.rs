//! Deciding on a batch: who sent it, whether it is new, and where it goes.

use towpath_proto::batch;
use towpath_proto::compression::Codec;
use towpath_proto::ids;
use towpath_proto::names::SubscriptionName;
use towpath_proto::reason::ErrorReason;
use towpath_storage::{
    DirectoryLine, FrameForm, FrameHeader, FramePlace, Lsn, Offset, PartitionRef, Placement,
    PlacementError, Placing, ProducerStamp, Row, SegmentRef, TopicId, place,
};

use super::State;
use super::named_producer::{ProducerFenced, ProducerLife};
use super::partition::Partition;
use super::producer::{AcceptedBatch, Naming, Outcome, ProducerPartition, SequenceVerdict};
use super::records::ExpectedVersionMismatch;
use super::row::RowId;
use super::topic::Topic;

/// A batch, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRequest {
    /// Where it is to go.
    pub partition: PartitionRef,
    /// Who sent it; none for records that are published one by one.
    pub producer: Option<ProducerStamp>,
    /// Length of the encoded batch.
    pub payload_bytes: u32,
    /// CRC-32 of the encoded batch.
    pub payload_crc: u32,
    /// How it was compressed, in which case length and CRC are of what that made of it.
    pub codec: Option<Codec>,
    /// Number of records, at least 1.
    pub record_count: u32,
    /// The offset that the first record is to get, or the batch is refused; none for whichever it gets.
    pub expected: Option<Offset>,
}

impl AppendRequest {
    /// A request for a plain batch without a producer, which may go to any offset.
    pub fn plain(partition: PartitionRef, payload: &[u8], record_count: usize) -> Self {
        Self {
            partition,
            producer: None,
            // INVARIANT: a batch is far smaller than the numbers that there are.
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: batch::crc(payload),
            codec: None,
            record_count: u32::try_from(record_count).unwrap_or(u32::MAX),
            expected: None,
        }
    }

    /// Its header behind the end of a partition.
    fn frame(&self, partition: &Partition, lsn: Lsn, append_time_ms: i64) -> FrameHeader {
        FrameHeader {
            payload_bytes: self.payload_bytes,
            payload_crc: self.payload_crc,
            codec: self.codec.map_or(0, Codec::number),
            record_count: self.record_count,
            base_offset: partition.end,
            lsn,
            append_time_ms,
            sparse: None,
        }
    }
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendDecision {
    /// It is appended like this.
    Append(DirectoryLine),
    /// It was seen before; its outcome then.
    Repeated(Outcome),
    /// It must wait until its partition has room.
    Wait(PlacementError),
}

/// What becomes of the sequence of a batch that is refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpendDecision {
    /// It is spent by this row.
    Spend(Row),
    /// It was seen before; the outcome then, which stands.
    Repeated(Outcome),
}

/// Why a batch is not appended. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// The topic does not exist, or not any more.
    #[error("topic {topic} not found")]
    TopicNotFound {
        /// Its number.
        topic: TopicId,
    },
    /// The topic has fewer partitions.
    #[error("partition {partition} not found, the topic has {partition_count}")]
    PartitionNotFound {
        /// The number asked for.
        partition: u32,
        /// How many there are.
        partition_count: u32,
    },
    /// A batch before this one is missing, or this one is too old to be remembered.
    #[error("sequence {received} does not follow, expected {expected}")]
    SequenceGap {
        /// The next sequence.
        expected: ids::Sequence,
        /// The one received.
        received: ids::Sequence,
    },
    /// The producer is not known, and the batch is not its first.
    #[error("the producer is not known")]
    ProducerUnknown,
    /// This life of the producer may not write any more.
    #[error(transparent)]
    ProducerFenced(#[from] ProducerFenced),
    /// The topic holds the dead letters of a subscription, which would take any other record for one of
    /// them.
    #[error("the topic takes only the dead letters of subscription \"{subscription}\"")]
    OnlyLetters {
        /// Whose they are.
        subscription: SubscriptionName,
    },
    /// The partition does not end where the batch expects it to.
    #[error("the partition ends at {actual}, expected {expected}")]
    ExpectedOffsetMismatch {
        /// The offset that was expected for the first record.
        expected: Offset,
        /// The one that it would get.
        actual: Offset,
    },
    /// A record rests on a version that its key does not have.
    #[error(transparent)]
    ExpectedVersionMismatch(#[from] ExpectedVersionMismatch),
    /// A record brings a version of its entity that is not greater than the one that is there.
    #[error("the entity has version {current} already")]
    StaleEntityVersion {
        /// As [`RecordFacts::origin`](super::RecordFacts::origin) of the record.
        origin: u32,
        /// The version that is there.
        current: u64,
    },
    /// The disk is nearly full.
    #[error("the disk is full")]
    StorageFull,
}

impl State {
    /// Decides on a batch as part of the entry `lsn` at broker time `now_ms`.
    ///
    /// # Errors
    /// [`AppendRefusal`].
    pub fn append(
        &self,
        request: &AppendRequest,
        placing: Placing,
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<AppendDecision, AppendRefusal> {
        if let Some(outcome) = self.judge_append(request)? {
            return Ok(AppendDecision::Repeated(outcome));
        }
        let found = self.find_partition(request.partition)?;
        check_expected(found.1, request.expected, 0)?;
        let frame = request.frame(found.1, lsn, now_ms);
        self.place(found, request, placing, frame)
    }

    /// Whether a partition would end at `expected` behind `records_before` more records.
    ///
    /// # Errors
    /// [`AppendRefusal::ExpectedOffsetMismatch`], and those of a partition that there is not.
    pub fn expect_offset(
        &self,
        partition: PartitionRef,
        expected: Offset,
        records_before: u64,
    ) -> Result<(), AppendRefusal> {
        let (_, found) = self.find_partition(partition)?;
        check_expected(found, Some(expected), records_before)
    }

    /// Decides on a batch of dead letters, which alone their topic takes; as [`State::append`] otherwise.
    ///
    /// # Errors
    /// [`AppendRefusal`].
    pub fn append_letters(
        &self,
        request: &AppendRequest,
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<AppendDecision, AppendRefusal> {
        let found = self.find_partition(request.partition)?;
        let frame = request.frame(found.1, lsn, now_ms);
        self.place(found, request, Placing::Inline, frame)
    }

    /// Whether a topic takes records that are no dead letters. One that there is not does.
    ///
    /// # Errors
    /// [`AppendRefusal::OnlyLetters`].
    pub fn takes_records(&self, topic: TopicId) -> Result<(), AppendRefusal> {
        match self.subscriptions.of_dead_letters(topic).next() {
            Some(owner) => Err(AppendRefusal::OnlyLetters {
                subscription: owner.name().clone(),
            }),
            None => Ok(()),
        }
    }

    fn find_partition(
        &self,
        reference: PartitionRef,
    ) -> Result<(&Topic, &Partition), AppendRefusal> {
        let PartitionRef { topic, partition } = reference;
        let found = self.topics.get(&topic);
        let found = found.ok_or(AppendRefusal::TopicNotFound { topic })?;
        match found.partition(partition) {
            Some(known) => Ok((found, known)),
            None => Err(AppendRefusal::PartitionNotFound {
                partition,
                partition_count: u32::try_from(found.partitions.len()).unwrap_or(u32::MAX),
            }),
        }
    }

    /// Finds a place behind the end of a partition.
    fn place(
        &self,
        (topic, found): (&Topic, &Partition),
        request: &AppendRequest,
        placing: Placing,
        frame: FrameHeader,
    ) -> Result<AppendDecision, AppendRefusal> {
        if self.is_space_low {
            return Err(AppendRefusal::StorageFull);
        }
        let active = found.active.as_ref();
        let limit = topic.segment_bytes_max(&self.limits);
        let Placement {
            position,
            gap_bytes,
        } = match place(active, frame.padded_bytes(), placing, limit) {
            Ok(placement) => placement,
            Err(needs) => return Ok(AppendDecision::Wait(needs)),
        };
        let base = active.map_or(found.end, |active| active.base);
        let segment = SegmentRef::new(request.partition, base);
        Ok(AppendDecision::Append(DirectoryLine {
            place: FramePlace { segment, position },
            form: match placing {
                Placing::Inline => FrameForm::Inline,
                Placing::RunStart | Placing::RunRest => FrameForm::Reference,
            },
            gap_bytes,
            frame,
            producer: request.producer,
        }))
    }

    /// Decides on a batch that is refused for good: its sequence is spent, so that the producer may
    /// go on.
    ///
    /// # Errors
    /// [`AppendRefusal`] if the sequence is not the next one.
    pub fn spend_sequence(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
        reason: i32,
        now_ms: i64,
    ) -> Result<SpendDecision, AppendRefusal> {
        if self.partition(partition).is_none() {
            return Err(AppendRefusal::TopicNotFound {
                topic: partition.topic,
            });
        }
        if let Some(outcome) = self.judge(partition, stamp)? {
            return Ok(SpendDecision::Repeated(outcome));
        }
        let row = self.spent_row(partition, stamp, reason, now_ms);
        Ok(SpendDecision::Spend(row))
    }

    /// The row that spends the sequence of a batch which was refused for good just now; none if it may be
    /// sent again, or has no sequence.
    pub fn spend_on(
        &self,
        refusal: &AppendRefusal,
        request: &AppendRequest,
        now_ms: i64,
    ) -> Option<Row> {
        let reason = match refusal {
            AppendRefusal::ExpectedOffsetMismatch { .. } => ErrorReason::ExpectedOffsetMismatch,
            AppendRefusal::ExpectedVersionMismatch(_) => ErrorReason::ExpectedVersionMismatch,
            AppendRefusal::TopicNotFound { .. }
            | AppendRefusal::PartitionNotFound { .. }
            | AppendRefusal::SequenceGap { .. }
            | AppendRefusal::ProducerUnknown
            | AppendRefusal::ProducerFenced { .. }
            | AppendRefusal::OnlyLetters { .. }
            | AppendRefusal::StaleEntityVersion { .. }
            | AppendRefusal::StorageFull => return None,
        };
        let stamp = request.producer?;
        Some(self.spent_row(request.partition, stamp, reason.number(), now_ms))
    }

    /// What becomes of a batch of which nothing is left to be written, as the entry `lsn` at broker time
    /// `now_ms`: it is accepted where the partition ends. With the row that spends its sequence.
    ///
    /// # Errors
    /// The disk is nearly full.
    pub fn accept_nothing(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
        lsn: Lsn,
        now_ms: i64,
    ) -> Result<(AcceptedBatch, Row), AppendRefusal> {
        if self.is_space_low {
            return Err(AppendRefusal::StorageFull);
        }
        let batch = AcceptedBatch {
            base_offset: self
                .partition(partition)
                .map_or(Offset::new(0), |it| it.end),
            record_count: 0,
            lsn,
            append_time_ms: now_ms,
        };
        let row = self.outcome_row(partition, stamp, Outcome::Accepted(batch), now_ms);
        Ok((batch, row))
    }

    fn spent_row(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
        reason: i32,
        now_ms: i64,
    ) -> Row {
        self.outcome_row(partition, stamp, Outcome::Spent { reason }, now_ms)
    }

    fn outcome_row(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
        outcome: Outcome,
        now_ms: i64,
    ) -> Row {
        let known = self.producers.of_life(partition, stamp);
        let after = ProducerPartition::after(known, stamp, outcome, now_ms);
        RowId::Producer(stamp.id, partition).put(&after.to_row())
    }

    /// Decides whether a batch may be looked at: where it goes, and whether it is the next one of its
    /// producer. Returns its outcome if it was seen before.
    ///
    /// # Errors
    /// [`AppendRefusal`], of those that do not depend on its records.
    pub fn judge_append(&self, request: &AppendRequest) -> Result<Option<Outcome>, AppendRefusal> {
        self.find_partition(request.partition)?;
        if let Some(stamp) = request.producer
            && let Some(outcome) = self.judge(request.partition, stamp)?
        {
            return Ok(Some(outcome));
        }
        self.takes_records(request.partition.topic)?;
        Ok(None)
    }

    /// The earlier outcome of a repeated batch; none for the next one.
    fn judge(
        &self,
        partition: PartitionRef,
        stamp: ProducerStamp,
    ) -> Result<Option<Outcome>, AppendRefusal> {
        let ProducerStamp { id, epoch, .. } = stamp;
        // Each time that a batch is decided on, since it may have waited while a newer life began.
        self.check_life(ProducerLife { id, epoch })?;
        match self.producers.judge(partition, stamp) {
            SequenceVerdict::Next => Ok(None),
            SequenceVerdict::Repeated(outcome) => Ok(Some(outcome)),
            SequenceVerdict::Gap { expected } => Err(AppendRefusal::SequenceGap {
                expected: ids::Sequence::new(expected),
                received: ids::Sequence::new(stamp.sequence),
            }),
            SequenceVerdict::Unknown => Err(AppendRefusal::ProducerUnknown),
        }
    }

    /// The last sequence of a life of a producer in each partition of a topic that it has written to.
    pub fn last_sequences(
        &self,
        life: ProducerLife,
        topic: TopicId,
    ) -> impl Iterator<Item = (u32, u64)> {
        self.producers.last_sequences(life, topic)
    }

    /// Decides which producers to forget at broker time `now_ms`: those without a name that were silent
    /// for long while the broker was up, which it is since `up_since_ms`, and surplus ones. Time in which
    /// nobody could have written does not count, nor does a jump of the wall clock over it. At most
    /// `count_max` rows.
    pub fn forget_producers(
        &mut self,
        now_ms: i64,
        up_since_ms: i64,
        count_max: usize,
    ) -> Vec<Row> {
        let idle_since_ms = now_ms - self.limits.producer_idle_ms_max;
        let idle_before_ms = if idle_since_ms < up_since_ms {
            i64::MIN
        } else {
            idle_since_ms
        };
        let bytes_max = self.limits.producer_rows_bytes_max;
        let unnamed = Naming::Unnamed { idle_before_ms };
        let mut keys = self.producers.forgettable(unnamed, bytes_max, count_max);
        let bytes_max = self.limits.named_producer_rows_bytes_max;
        let left = count_max - keys.len();
        keys.extend(self.producers.forgettable(Naming::Named, bytes_max, left));
        keys.into_iter()
            .map(|(producer, partition)| RowId::Producer(producer, partition).gone())
            .collect()
    }

    /// Whether producers take more room than they may.
    pub fn has_surplus_producers(&self) -> bool {
        self.producers.bytes_of_unnamed() > self.limits.producer_rows_bytes_max
            || self.producers.bytes_of_named() > self.limits.named_producer_rows_bytes_max
    }
}

fn check_expected(
    partition: &Partition,
    expected: Option<Offset>,
    records_before: u64,
) -> Result<(), AppendRefusal> {
    let actual = partition.end.advance(records_before);
    match expected {
        Some(expected) if expected != actual => {
            Err(AppendRefusal::ExpectedOffsetMismatch { expected, actual })
        }
        _ => Ok(()),
    }
}
