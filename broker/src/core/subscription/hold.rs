//! Holding: retention lets go of nothing that a subscription has not settled, up to a limit.
//!
//! Whole segments are held, as whole segments are let go of. What retention would drop is *held* by a
//! subscription from the segment with the first record on that the subscription needs. The limit is one of
//! each subscription: so long past the retention age, or so many bytes in all partitions.

use towpath_storage::Offset;

use super::{Subscription, SubscriptionId};
use crate::core::CoreLimits;
use crate::core::partition::Partition;
use crate::core::topic::Topic;

/// Share of what a subscription may hold from which on an operator should know, percent.
pub const HOLD_WARNING_PERCENT: u64 = 80;

/// What a subscription holds of one partition that retention would have let go of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionHold {
    /// Bytes of frames.
    pub bytes: u64,
    /// For how long its oldest segment is past the retention age, milliseconds; 0 for a topic without one.
    pub past_ms: u64,
}

/// What a subscription holds that retention would have let go of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// By number of the partition.
    pub partitions: Vec<PartitionHold>,
    /// What it holds of what it may, percent: of the bytes or of the time, whichever is more.
    pub percent: u64,
}

impl Hold {
    /// Bytes of frames in all partitions.
    pub fn bytes(&self) -> u64 {
        self.partitions.iter().map(|it| it.bytes).sum()
    }
}

/// What a subscription holds no longer of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldEnd {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// Number of the partition.
    pub partition: u32,
    /// Nothing below is held.
    pub below: Offset,
}

/// Segments of a partition that retention would drop and a subscription needs, by their places.
#[derive(Debug, Clone, Copy)]
struct Held {
    start: usize,
    end: usize,
}

impl Subscription {
    /// What it holds of a topic of which retention would drop so many segments of each partition.
    pub(in crate::core) fn hold(
        &self,
        topic: &Topic,
        surplus: &[usize],
        now_ms: i64,
        limits: &CoreLimits,
    ) -> Hold {
        let held = self.held(topic, surplus);
        let partitions = held.zip(&topic.partitions);
        let partitions = partitions.map(|(held, partition)| PartitionHold {
            bytes: partition.bytes_of(held),
            past_ms: topic.past_ms(partition, held.start, held.end, now_ms),
        });
        let mut hold = Hold {
            partitions: partitions.collect(),
            percent: 0,
        };
        let past_ms = hold.partitions.iter().map(|it| it.past_ms).max();
        hold.percent = percent(hold.bytes(), limits.hold_bytes_max)
            .max(percent(past_ms.unwrap_or(0), limits.hold_ms_max));
        hold
    }

    /// Where its hold ends, with how many segments of each partition that leaves to retention. `surplus`
    /// is how many of each retention would drop.
    pub(in crate::core) fn hold_ends(
        &self,
        topic: &Topic,
        surplus: &[usize],
        now_ms: i64,
        limits: &CoreLimits,
    ) -> Vec<HoldEnd> {
        let mut held: Vec<Held> = self.held(topic, surplus).collect();
        let begun: Vec<_> = held.iter().map(|it| it.start).collect();
        for (held, partition) in held.iter_mut().zip(&topic.partitions) {
            while topic.past_ms(partition, held.start, held.end, now_ms) > limits.hold_ms_max {
                held.start += 1;
            }
        }
        let bytes = held.iter().zip(&topic.partitions);
        let mut bytes: u64 = bytes.map(|(held, it)| it.bytes_of(*held)).sum();
        while bytes > limits.hold_bytes_max {
            let oldest = held.iter_mut().zip(&topic.partitions);
            let oldest = oldest.filter(|(held, _)| held.start < held.end);
            let oldest = oldest.filter_map(|(held, it)| Some((it.segments.get(held.start)?, held)));
            let Some((segment, held)) = oldest.min_by_key(|(it, _)| it.last_append_time_ms) else {
                break;
            };
            held.start += 1;
            bytes -= segment.size_bytes;
        }
        let ends = (0..).zip(held.iter().zip(begun)).zip(&topic.partitions);
        let ends = ends.filter(|((_, (held, begun)), _)| held.start > *begun);
        let ends = ends.map(|((number, (held, _)), partition)| HoldEnd {
            subscription: self.id,
            partition: number,
            below: partition.end_of(held.start),
        });
        ends.collect()
    }

    fn held<'a>(
        &'a self,
        topic: &'a Topic,
        surplus: &'a [usize],
    ) -> impl Iterator<Item = Held> + 'a {
        let own = topic.partitions.iter().zip(&self.partitions);
        own.zip(surplus).map(|((partition, own), surplus)| Held {
            start: partition.count_below(own.first_needed()).min(*surplus),
            end: *surplus,
        })
    }

    /// The lowest offset that may still be needed of a partition of the topic.
    pub(in crate::core) fn first_needed(&self, number: u32) -> Option<Offset> {
        let known = self.partitions.get(number as usize);
        known.map(|known| known.first_needed())
    }

    /// The first dead letter of a partition that is not settled: all before it are.
    pub(in crate::core) fn settled_letters_end(&self, number: u32) -> Offset {
        let first = self.first_needed(self.dead_lane(number));
        first.unwrap_or(Offset::ZERO)
    }
}

impl Topic {
    /// For how long the oldest of these segments of a partition is past the retention age, milliseconds; 0
    /// without one, or if there are no such segments.
    fn past_ms(&self, partition: &Partition, start: usize, end: usize, now_ms: i64) -> u64 {
        let first = partition.segments.get(start).filter(|_| start < end);
        let (Some(first), Some(age_ms)) = (first, self.config.retention_age_ms) else {
            return 0;
        };
        let age_now_ms = now_ms.saturating_sub(first.last_append_time_ms);
        u64::try_from(age_now_ms)
            .unwrap_or(0)
            .saturating_sub(age_ms)
    }
}

impl Partition {
    fn bytes_of(&self, held: Held) -> u64 {
        let segments = self.segments.iter().take(held.end).skip(held.start);
        segments.map(|segment| segment.size_bytes).sum()
    }

    /// How many of its segments, from the oldest on, lie wholly below an offset.
    pub(in crate::core) fn count_below(&self, offset: Offset) -> usize {
        let ends = self.segments.iter().skip(1).map(|segment| segment.base);
        let ends = ends.chain([self.end]).take(self.segments.len());
        ends.take_while(|end| *end <= offset).count()
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100)
        .checked_div(whole)
        .unwrap_or(0)
        .min(100)
}
