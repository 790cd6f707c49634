//! How far one topic was read.

use std::sync::Arc;

use towpath_proto::ids::{Lsn, Offset, OffsetRange, PartitionId, TopicId};
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::FetchedBatch;

use super::super::Batch;
use super::super::builder::ReaderOptions;
use super::super::item::{CaughtUp, Gap, GapReason, ReaderItem};
use super::super::source::{Source, Start};
use super::Delivery;
use super::partition::{End, PartitionProgress};
use crate::record::Origin;
use crate::{Error, ErrorReason};

/// One topic that is read.
#[derive(Debug)]
pub(super) struct SourceProgress {
    topic: String,
    partitions: Vec<PartitionId>,
    start: Start,
    /// What was found when the topic was first opened.
    opened: Option<Opened>,
    has_failed: bool,
}

#[derive(Debug)]
struct Opened {
    topic: TopicName,
    topic_id: TopicId,
    /// In the order of their numbers.
    partitions: Vec<PartitionProgress>,
}

impl SourceProgress {
    pub(super) fn new(source: &Source, options: &ReaderOptions) -> Self {
        let partitions = if source.partitions.is_empty() {
            &options.partitions
        } else {
            &source.partitions
        };
        Self {
            topic: source.topic.clone(),
            partitions: partitions.clone(),
            start: source.start.as_ref().unwrap_or(&options.start).clone(),
            opened: None,
            has_failed: false,
        }
    }

    /// Whether there is more to read.
    pub(super) fn is_wanted(&self) -> bool {
        let is_wanted = |opened: &Opened| {
            let mut partitions = opened.partitions.iter();
            partitions.any(PartitionProgress::is_wanted)
        };
        !self.has_failed && self.opened.as_ref().is_none_or(is_wanted)
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the topic was found.
    pub(super) const fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// The next offset of each partition.
    pub(super) fn next_offsets(&self) -> Vec<(TopicName, PartitionId, Offset)> {
        let Some(opened) = &self.opened else {
            return Vec::new();
        };
        let partitions = opened.partitions.iter();
        partitions
            .map(|it| (opened.topic.clone(), it.id, it.next_offset))
            .collect()
    }

    /// Asks for what was not delivered yet.
    pub(super) fn to_request(&self) -> v1::FetchSource {
        match &self.opened {
            None => self.to_first_request(),
            Some(opened) => {
                let wanted = opened.partitions.iter().filter(|it| it.is_wanted());
                let starts = wanted.map(|it| to_start(it.id, it.next_offset));
                let starts: Vec<_> = starts.collect();
                v1::FetchSource {
                    topic: self.topic.clone(),
                    partitions: starts.iter().map(|start| start.partition).collect(),
                    start: None,
                    start_offsets: starts,
                    topic_id: Some(opened.topic_id.get()),
                }
            }
        }
    }

    fn to_first_request(&self) -> v1::FetchSource {
        let start_offsets = match &self.start {
            Start::Offsets(offsets) => offsets.iter().map(|(id, at)| to_start(*id, *at)).collect(),
            _ => Vec::new(),
        };
        v1::FetchSource {
            topic: self.topic.clone(),
            partitions: self.partitions.iter().map(|it| it.get()).collect(),
            start: self.start.to_position(),
            start_offsets,
            topic_id: None,
        }
    }

    /// The topic was opened: the first time it is learned, later it is only compared.
    pub(super) fn open(
        &mut self,
        topic: &v1::OpenedTopic,
        follow: bool,
        lsn: Lsn,
        delivery: &mut Delivery,
    ) -> Result<(), Error> {
        if self.opened.is_none() {
            self.opened = Some(Opened::new(topic, follow, lsn)?);
        }
        let Some(opened) = &mut self.opened else {
            return Ok(());
        };
        if opened.topic_id.get() != topic.topic_id {
            return Err(Error::protocol(
                "the broker opened another topic of the same name",
            ));
        }
        for found in &topic.partitions {
            let id = PartitionId::new(found.partition);
            opened.catch_up_with_log(id, Offset::new(found.log_start_offset), delivery)?;
        }
        Ok(())
    }

    /// A batch that leaves out what was not told as a gap is not to be trusted.
    pub(super) fn check_order(&mut self, batch: &FetchedBatch) -> Result<(), Error> {
        let partition = self
            .opened()?
            .partition(PartitionId::new(batch.partition))?;
        if partition.is_beyond_next(batch) {
            Err(Error::corrupt("records are missing before a batch")
                .with("expected", partition.next_offset))
        } else {
            Ok(())
        }
    }

    pub(super) fn take_batch(
        &mut self,
        batch: FetchedBatch,
        delivery: &mut Delivery,
    ) -> Result<(), Error> {
        let opened = self.opened()?;
        let partition = opened.partition(PartitionId::new(batch.partition))?;
        let wanted = partition.take(&batch);
        let end = partition.take_end();
        let origin = Origin {
            topic: opened.topic.clone(),
            batch,
        };
        let id = origin.partition();
        let batch = Batch::new(Arc::new(origin), wanted);
        delivery.extend(batch.map(|batch| Ok(ReaderItem::Batch(batch))));
        opened.deliver_end(id, end, delivery);
        Ok(())
    }

    pub(super) fn take_gap(&mut self, gap: &v1::Gap, delivery: &mut Delivery) -> Result<(), Error> {
        let reason = GapReason::from_proto(gap.reason());
        let range = gap.range.unwrap_or_default();
        let range = OffsetRange::new(Offset::new(range.start), Offset::new(range.end))
            .ok_or_else(|| Error::protocol("the broker told a gap that ends before it starts"))?;
        let opened = self.opened()?;
        opened.skip(PartitionId::new(gap.partition), range, reason, delivery)
    }

    pub(super) fn take_caught_up(
        &mut self,
        caught_up: &v1::CaughtUp,
        delivery: &mut Delivery,
    ) -> Result<(), Error> {
        let opened = self.opened()?;
        let id = PartitionId::new(caught_up.partition);
        let end = End {
            offset: Offset::new(caught_up.end_offset),
            lsn: Lsn::new(caught_up.lsn),
        };
        let is_news = opened.partition(id)?.take_caught_up();
        opened.deliver_end(id, Some(end).filter(|_| is_news), delivery);
        Ok(())
    }

    /// Passes over what was trimmed while the reader was away, if that is why the broker refuses to go
    /// on. Returns whether it is.
    pub(super) fn take_trimmed(&mut self, refusal: &Error, delivery: &mut Delivery) -> bool {
        let Some(opened) = &mut self.opened else {
            return false;
        };
        let mut is_trimmed = false;
        for (id, log_start_offset) in log_starts_in(refusal) {
            // What it says of partitions that are not read here is of no interest.
            let caught_up = opened.catch_up_with_log(id, log_start_offset, delivery);
            is_trimmed |= caught_up.unwrap_or(false);
        }
        is_trimmed
    }

    /// Gives the topic up.
    pub(super) fn fail(&mut self) {
        self.has_failed = true;
        let partitions = self.opened.iter_mut().flat_map(|it| &mut it.partitions);
        partitions.for_each(PartitionProgress::fail);
    }

    /// Gives a partition up.
    pub(super) fn fail_partition(&mut self, id: PartitionId) -> Result<(), Error> {
        self.opened()?.partition(id)?.fail();
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Opened, Error> {
        let opened = self.opened.as_mut();
        opened.ok_or_else(|| Error::protocol("the broker began before it opened the topic"))
    }
}

impl Opened {
    fn new(topic: &v1::OpenedTopic, follow: bool, lsn: Lsn) -> Result<Self, Error> {
        let name = TopicName::new(&topic.topic)
            .map_err(|error| Error::protocol("the broker sent a bad topic name").because(error))?;
        let partitions = topic.partitions.iter().map(|found| {
            let end = End {
                offset: Offset::new(found.end_offset),
                lsn,
            };
            let start = Offset::new(found.start_offset);
            let id = PartitionId::new(found.partition);
            PartitionProgress::new(id, start, Some(end).filter(|_| !follow))
        });
        let mut partitions: Vec<_> = partitions.collect();
        partitions.sort_unstable_by_key(|it| it.id);
        Ok(Self {
            topic: name,
            topic_id: TopicId::new(topic.topic_id),
            partitions,
        })
    }

    fn partition(&mut self, id: PartitionId) -> Result<&mut PartitionProgress, Error> {
        let place = self.partitions.binary_search_by_key(&id, |it| it.id).ok();
        let found = place.and_then(|place| self.partitions.get_mut(place));
        found.ok_or_else(|| Error::protocol("the broker sent a partition that was not asked for"))
    }

    /// What lies before the log's start was trimmed; and the end may be where reading begins. Returns
    /// whether anything was trimmed that was not read.
    fn catch_up_with_log(
        &mut self,
        id: PartitionId,
        log_start_offset: Offset,
        delivery: &mut Delivery,
    ) -> Result<bool, Error> {
        let next_offset = self.partition(id)?.next_offset;
        let trimmed = OffsetRange::new(next_offset, log_start_offset).unwrap_or_default();
        self.skip(id, trimmed, GapReason::Trimmed, delivery)?;
        Ok(next_offset < log_start_offset)
    }

    fn skip(
        &mut self,
        id: PartitionId,
        range: OffsetRange,
        reason: GapReason,
        delivery: &mut Delivery,
    ) -> Result<(), Error> {
        let partition = self.partition(id)?;
        let range = partition.skip(range);
        let end = partition.take_end();
        let gap = range.map(|range| Gap {
            topic: self.topic.clone(),
            partition: id,
            range,
            reason,
        });
        delivery.extend(gap.map(|gap| Ok(ReaderItem::Gap(gap))));
        self.deliver_end(id, end, delivery);
        Ok(())
    }

    fn deliver_end(&self, partition: PartitionId, end: Option<End>, delivery: &mut Delivery) {
        let caught_up = end.map(|end| CaughtUp {
            topic: self.topic.clone(),
            partition,
            end_offset: end.offset,
            lsn: end.lsn,
        });
        delivery.extend(caught_up.map(|it| Ok(ReaderItem::CaughtUp(it))));
    }
}

const fn to_start(partition: PartitionId, offset: Offset) -> v1::PartitionOffset {
    v1::PartitionOffset {
        partition: partition.get(),
        offset: offset.get(),
    }
}

/// Where the logs start of the partitions in which a refusal says that the offset is out of range.
fn log_starts_in(refusal: &Error) -> Vec<(PartitionId, Offset)> {
    if refusal.reason() != Some(ErrorReason::OffsetOutOfRange) {
        return Vec::new();
    }
    let number = |text: &str| text.parse::<u64>().ok();
    let pair = |partition: &str, offset: &str| {
        let partition = u32::try_from(number(partition)?).ok()?;
        Some((PartitionId::new(partition), Offset::new(number(offset)?)))
    };
    let first = refusal.metadata("partition");
    let first = first.zip(refusal.metadata("log_start_offset"));
    let all = refusal.metadata("log_start_offsets").unwrap_or_default();
    let all = all.split(' ').filter_map(|text| text.split_once(':'));
    first
        .into_iter()
        .chain(all)
        .filter_map(|(partition, offset)| pair(partition, offset))
        .collect()
}
