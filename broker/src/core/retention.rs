//! Letting go of records: on request, and by the age and the bytes that a topic keeps.
//!
//! A trim moves a log start up, exactly; segments that lie wholly below it are dropped in the same
//! entry, and their files go once a checkpoint holds that. Retention decides by whole segments, so it
//! keeps at least what was asked for.

mod letters;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use towpath_proto::names::{SubscriptionName, TopicName};
use towpath_storage::{Offset, OffsetRange, PartitionRef, Row, SegmentRef, TopicId};

use super::State;
use super::partition::Partition;
use super::row::{DroppedSegmentRow, RowId};
use super::subscription::{HOLD_WARNING_PERCENT, Hold, HoldEnd, SubscriptionId};
use super::topic::Topic;

/// A wish to trim a topic.
#[derive(Debug, Clone)]
pub struct TrimTopic {
    /// Its name.
    pub name: TopicName,
    /// Only if it has this id.
    pub topic_id: Option<TopicId>,
    /// Partitions, each with the offset below which records go.
    pub log_starts: Vec<(u32, Offset)>,
}

/// Why a topic is not trimmed. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrimRefusal {
    /// There is none of that name, or it has another id than the one asked for.
    #[error("topic \"{name}\" not found")]
    NotFound {
        /// The name.
        name: TopicName,
    },
    /// The topic has fewer partitions.
    #[error("partition {partition} not found, the topic has {partition_count}")]
    PartitionNotFound {
        /// The number asked for.
        partition: u32,
        /// How many there are.
        partition_count: u32,
    },
    /// Records that are not there yet cannot be trimmed.
    #[error("offset {requested} is past the end of partition {partition}")]
    OutOfRange {
        /// The partition.
        partition: u32,
        /// The offset.
        requested: Offset,
        /// From the log start to the end.
        range: OffsetRange,
    },
    /// Dead letters that are neither handled nor discarded cannot be trimmed: nobody else has them.
    #[error(
        "partition {partition} holds unsettled dead letters of subscription \"{subscription}\" from offset {settled_end} on"
    )]
    DeadLetters {
        /// The topic.
        name: TopicName,
        /// The partition.
        partition: u32,
        /// Whose they are.
        subscription: SubscriptionName,
        /// Everything below is settled.
        settled_end: Offset,
    },
}

/// What a trim changes in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trim {
    /// The partition.
    pub partition: PartitionRef,
    /// Lowest offset that may be read from now on.
    pub log_start: Offset,
    /// Base offsets of the segments that are dropped.
    pub dropped: Vec<Offset>,
    /// Bytes of their frames.
    pub dropped_bytes: u64,
    /// The change, written down.
    pub rows: Vec<Row>,
}

/// What retention wants done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Partitions whose log start moves up.
    pub trims: Vec<(PartitionRef, Offset)>,
    /// Partitions that leave their segment, so that it can expire.
    pub seals: Vec<PartitionRef>,
    /// What subscriptions hold no longer: it goes once they have let go of it.
    pub hold_ends: Vec<HoldEnd>,
    /// Subscriptions that hold nearly as much as they may.
    pub near_limit: BTreeSet<SubscriptionId>,
}

impl State {
    /// Decides on trimming a topic: the partitions whose log start moves, with what goes. A wish at or below a log
    /// start changes nothing there.
    ///
    /// # Errors
    /// [`TrimRefusal`].
    pub fn trim_topic(
        &self,
        wish: &TrimTopic,
    ) -> Result<(TopicId, Vec<(PartitionRef, OffsetRange)>), TrimRefusal> {
        let found = self.topic_named(&wish.name);
        let topic = found
            .filter(|topic| wish.topic_id.is_none_or(|wanted| wanted == topic.id))
            .ok_or_else(|| TrimRefusal::NotFound {
                name: wish.name.clone(),
            })?;
        let mut moved = Vec::new();
        for (number, log_start) in &wish.log_starts {
            let partition =
                topic
                    .partition(*number)
                    .ok_or_else(|| TrimRefusal::PartitionNotFound {
                        partition: *number,
                        partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
                    })?;
            if *log_start > partition.end {
                return Err(TrimRefusal::OutOfRange {
                    partition: *number,
                    requested: *log_start,
                    range: OffsetRange {
                        start: partition.log_start,
                        end: partition.end,
                    },
                });
            }
            for subscription in self.subscriptions.of_dead_letters(topic.id) {
                let settled_end = subscription.settled_letters_end(*number);
                if *log_start > settled_end {
                    return Err(TrimRefusal::DeadLetters {
                        name: wish.name.clone(),
                        partition: *number,
                        subscription: subscription.name().clone(),
                        settled_end,
                    });
                }
            }
            let start = partition.log_start;
            if *log_start > start {
                let partition = PartitionRef {
                    topic: topic.id,
                    partition: *number,
                };
                moved.push((
                    partition,
                    OffsetRange {
                        start,
                        end: *log_start,
                    },
                ));
            }
        }
        Ok((topic.id, moved))
    }

    /// What moving a log start up changes, with at most `drop_max` segments dropped; what is left of
    /// them is dropped by the next call. `None` if the partition is gone or nothing changes.
    pub fn trim(
        &self,
        partition: PartitionRef,
        log_start: Offset,
        drop_max: usize,
    ) -> Option<Trim> {
        let known = self.partition(partition)?;
        let is_moved = log_start > known.log_start && log_start <= known.end;
        if !is_moved && (drop_max == 0 || !known.is_untidy()) {
            return None;
        }
        let mut trimmed = known.clone();
        let dropped = trimmed.trim(log_start.min(known.end), drop_max);
        let mut rows = vec![RowId::Partition(partition).put(&trimmed.to_row())];
        for segment in &dropped {
            let (base, size_bytes) = (segment.base, segment.size_bytes);
            let dropped = RowId::DroppedSegment(segment.at(partition));
            rows.push(RowId::Segment(SegmentRef::new(partition, base)).gone());
            rows.push(dropped.put(&DroppedSegmentRow { size_bytes }));
        }
        Some(Trim {
            partition,
            log_start: trimmed.log_start,
            dropped: dropped.iter().map(|segment| segment.base).collect(),
            dropped_bytes: dropped.iter().map(|segment| segment.size_bytes).sum(),
            rows,
        })
    }

    /// What has expired at broker time `now_ms`; by age only if the clock can be trusted for it. At most
    /// `count_max` partitions; the rest is found by the next call.
    pub fn expire(&self, now_ms: i64, trusts_age: bool, count_max: usize) -> Expiry {
        let mut expiry = Expiry::default();
        for topic in self.topics.values() {
            if expiry.trims.len() + expiry.seals.len() >= count_max {
                break;
            }
            let mut counts = self.surplus(topic, now_ms, trusts_age);
            if counts.iter().any(|count| *count > 0) {
                self.hold(topic, now_ms, &mut counts, &mut expiry);
            }
            topic.expire(now_ms, trusts_age, &counts, &mut expiry);
        }
        expiry.trims.truncate(count_max);
        expiry.seals.truncate(count_max);
        expiry
    }

    /// How many segments of each partition of a topic retention lets go of, from the oldest on, if nobody
    /// holds them.
    fn surplus(&self, topic: &Topic, now_ms: i64, trusts_age: bool) -> Vec<usize> {
        let letters = self.letters_surplus(topic);
        letters.unwrap_or_else(|| topic.surplus(now_ms, trusts_age))
    }

    /// Keeps what subscriptions hold of what retention would let go of.
    fn hold(&self, topic: &Topic, now_ms: i64, counts: &mut [usize], expiry: &mut Expiry) {
        let surplus = counts.to_vec();
        let mut keep = |number: u32, needed: Option<Offset>| {
            let partition = topic.partition(number);
            let count = counts.get_mut(number as usize);
            if let (Some(partition), Some(count), Some(needed)) = (partition, count, needed) {
                *count = partition.count_below(needed).min(*count);
            }
        };
        let partition_count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        for subscription in self.subscriptions.of_topic(topic.id) {
            for number in 0..partition_count {
                keep(number, subscription.first_needed(number));
            }
            let hold = subscription.hold(topic, &surplus, now_ms, &self.limits);
            if hold.percent >= HOLD_WARNING_PERCENT {
                expiry.near_limit.insert(subscription.id());
                let ends = subscription.hold_ends(topic, &surplus, now_ms, &self.limits);
                expiry.hold_ends.extend(ends);
            }
        }
    }

    /// What a subscription holds that retention would have let go of.
    pub fn hold_of(&self, id: SubscriptionId, now_ms: i64, trusts_age: bool) -> Hold {
        let subscription = self.subscription(id);
        let topic = subscription.and_then(|it| self.topic(it.topic()));
        let (Some(subscription), Some(topic)) = (subscription, topic) else {
            return Hold::default();
        };
        let surplus = self.surplus(topic, now_ms, trusts_age);
        subscription.hold(topic, &surplus, now_ms, &self.limits)
    }

    /// Has a subscription let go of what it holds no longer, in its next steps.
    pub fn end_hold(&mut self, end: HoldEnd) {
        if let Some(subscription) = self.activate(end.subscription) {
            subscription.limit(end.partition, end.below);
        }
    }

    /// Takes which subscriptions hold nearly as much as they may. Returns those that did not before.
    pub fn note_near_limit(&mut self, near_limit: BTreeSet<SubscriptionId>) -> Vec<SubscriptionId> {
        self.subscriptions.note_near_limit(near_limit)
    }

    /// Segments that were trimmed and whose files have not been reported removed.
    pub fn dropped_segments(&self) -> impl Iterator<Item = SegmentRef> {
        self.dropped_segments.keys().copied()
    }

    /// Decides that the files of trimmed segments are gone for good.
    pub fn forget_dropped_segments(&self, segments: &[SegmentRef]) -> Vec<Row> {
        let known = segments
            .iter()
            .filter(|segment| self.dropped_segments.contains_key(segment));
        known
            .map(|segment| RowId::DroppedSegment(*segment).gone())
            .collect()
    }
}

impl Topic {
    /// How many segments of each partition are more than it keeps, from the oldest on.
    fn surplus(&self, now_ms: i64, trusts_age: bool) -> Vec<usize> {
        let mut counts: Vec<usize> = self
            .partitions
            .iter()
            .map(|partition| match self.config.retention_age_ms {
                Some(age_ms) if trusts_age => partition.aged_count(now_ms, age_ms),
                _ => 0,
            })
            .collect();
        if let Some(bytes) = self.config.retention_bytes {
            self.add_surplus(bytes, &mut counts);
        }
        counts
    }

    /// Notes what goes, of each partition so many segments.
    fn expire(&self, now_ms: i64, trusts_age: bool, counts: &[usize], expiry: &mut Expiry) {
        for ((number, partition), count) in (0..).zip(&self.partitions).zip(counts.iter().copied())
        {
            let reference = PartitionRef {
                topic: self.id,
                partition: number,
            };
            if count > 0 {
                expiry.trims.push((reference, partition.end_of(count)));
            } else if partition.is_untidy() {
                expiry.trims.push((reference, partition.log_start));
            }
            let age_ms_max = self.config.segment_age_ms_max();
            if trusts_age
                && count < partition.segments.len()
                && age_ms_max.is_some_and(|age_ms| partition.is_active_old(now_ms, age_ms))
            {
                expiry.seals.push(reference);
            }
        }
    }

    /// Adds the oldest segments of all the partitions while at least `bytes` remain without them.
    fn add_surplus(&self, bytes: u64, counts: &mut [usize]) {
        let kept = |(partition, count): (&Partition, &usize)| {
            let gone = partition.segments.iter().take(*count);
            partition.size_bytes - gone.map(|segment| segment.size_bytes).sum::<u64>()
        };
        let mut kept_bytes: u64 = self.partitions.iter().zip(&*counts).map(kept).sum();
        let limits: Vec<_> = self.partitions.iter().map(|it| it.segments.len()).collect();
        self.add_oldest(&limits, counts, |segment_bytes| {
            let is_surplus = kept_bytes >= bytes + segment_bytes;
            if is_surplus {
                kept_bytes -= segment_bytes;
            }
            is_surplus
        });
    }

    /// Adds segments to those that go of each partition, the one of all with the oldest records first, up to so
    /// many of each, until one does not go: `goes` is given the bytes of each.
    fn add_oldest(
        &self,
        limits: &[usize],
        counts: &mut [usize],
        mut goes: impl FnMut(u64) -> bool,
    ) {
        let next = |number: usize, count: usize| {
            let is_left = limits.get(number).is_some_and(|limit| count < *limit);
            let segments = &self.partitions.get(number).filter(|_| is_left)?.segments;
            let segment = segments.get(count).filter(|it| !it.is_blank())?;
            let place = Reverse((segment.last_append_time_ms, number));
            Some((place, segment.size_bytes))
        };
        let mut oldest: BinaryHeap<_> = (0..)
            .zip(&*counts)
            .filter_map(|(number, count)| next(number, *count))
            .collect();
        while let Some((Reverse((_, number)), segment_bytes)) = oldest.pop()
            && goes(segment_bytes)
            && let Some(count) = counts.get_mut(number)
        {
            *count += 1;
            oldest.extend(next(number, *count));
        }
    }
}

impl Partition {
    /// How many of its segments, from the oldest on, hold nothing younger than `age_ms`.
    fn aged_count(&self, now_ms: i64, age_ms: u64) -> usize {
        let Some(before_ms) = i64::try_from(age_ms)
            .ok()
            .and_then(|age_ms| now_ms.checked_sub(age_ms))
        else {
            return 0;
        };
        self.segments
            .iter()
            .take_while(|segment| !segment.is_blank() && segment.last_append_time_ms < before_ms)
            .count()
    }

    /// Whether the active segment was begun so long ago that appends should go to another.
    fn is_active_old(&self, now_ms: i64, age_ms: i64) -> bool {
        let active = self.active.and_then(|active| self.segment(active.base));
        let active = active.filter(|segment| !segment.is_blank());
        active.is_some_and(|active| now_ms.saturating_sub(active.first_append_time_ms) >= age_ms)
    }

    /// One past the last record of its first `count` segments.
    pub(super) fn end_of(&self, count: usize) -> Offset {
        let next = self.segments.get(count);
        next.map_or(self.end, |segment| segment.base)
    }
}
