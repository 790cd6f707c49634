//! Compaction: which segments are rewritten, what is let go of, and having the result take their place.
//!
//! A topic with `compact` keeps the last record of each key. Which one that is says the index of key heads;
//! a rewrite goes by the rows of a checkpoint at or above what it rewrites, so whatever passed a record over
//! is durable and in the segments.

use std::collections::BTreeSet;

use towpath_proto::names::TopicName;
use towpath_storage::{
    Lsn, Offset, PartitionRef, RewritePlan, RewrittenSegment, Row, SegmentRef, TopicId,
};

use super::State;
use super::partition::{Partition, Segment};
use super::row::{DroppedSegmentRow, RowId};
use super::topic::{Topic, TopicNotFound};
use super::topic_config::StaleRecords;

/// Rewrites that one checkpoint allows at most; the next one finds the rest.
const PLANS_MAX: usize = 64;
/// Segments that are rewritten as one at most: the entry that swaps them has two rows of each.
const SOURCES_MAX: usize = 100;

/// Segments that may be rewritten as one, and which tombstones go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionPlan {
    /// The segments.
    pub rewrite: RewritePlan,
    /// Which tombstones need not be kept.
    pub tombstones: TombstoneRule,
    /// Whether a key's last record may stand before others of it, which brought an older version.
    pub has_stale_records: bool,
}

impl CompactionPlan {
    /// The partition.
    pub fn partition(&self) -> Option<PartitionRef> {
        self.rewrite.sources.first().map(|it| it.partition)
    }
}

/// Which tombstones go although they are the last records of their keys: those of which nobody can find an
/// older record any more, and that were there for long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneRule {
    /// Of entries up to this one: whatever is older than these was compacted by them.
    pub lsn_max: Lsn,
    /// Appended before this broker time, milliseconds since the Unix epoch.
    pub before_ms: i64,
}

impl TombstoneRule {
    /// Whether a tombstone of this entry goes.
    pub fn lets_go(&self, lsn: Lsn, append_time_ms: i64) -> bool {
        lsn <= self.lsn_max && append_time_ms < self.before_ms
    }
}

/// A segment that was rewritten, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedSegment {
    /// The new file and what it was made of.
    pub rewritten: RewrittenSegment,
    /// The checkpoint that said which record of a key was its last.
    pub lsn: Lsn,
    /// Tombstones that it holds.
    pub tombstone_count: u64,
}

/// What a rewritten segment changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSwap {
    /// What it takes the place of.
    pub sources: Vec<SegmentRef>,
    /// The new generation.
    pub segment: SegmentRef,
    /// Bytes of frames that are not there any more.
    pub freed_bytes: u64,
    /// The change, written down.
    pub rows: Vec<Row>,
}

/// A wish to compact a topic now.
#[derive(Debug, Clone)]
pub struct CompactTopic {
    /// Its name.
    pub name: TopicName,
    /// Only if it has this id.
    pub topic_id: Option<TopicId>,
}

/// Why a topic is not compacted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompactTopicRefusal {
    /// There is none of that name, or it has another id than the one asked for.
    #[error(transparent)]
    NotFound(#[from] TopicNotFound),
    /// It keeps every record.
    #[error("topic \"{name}\" keeps every record: it was not created with compact")]
    NotCompacted {
        /// The name.
        name: TopicName,
    },
}

impl State {
    /// What may be rewritten once a checkpoint of this state is done: of topics that have become dirty
    /// enough, of those that are `wanted`, and tombstones whose time has come at broker time `now_ms`, if
    /// the clock can be trusted for that.
    pub fn plan_compactions(
        &self,
        wanted: &BTreeSet<TopicId>,
        now_ms: i64,
        trusts_age: bool,
    ) -> Vec<CompactionPlan> {
        let mut plans = Vec::new();
        for topic in self.topics.values().filter(|it| it.config.compact) {
            let tombstones_before_ms = match trusts_age {
                true => topic.config.tombstones_before_ms(now_ms),
                false => i64::MIN,
            };
            for (number, partition) in (0..).zip(&topic.partitions) {
                let reference = PartitionRef {
                    topic: topic.id,
                    partition: number,
                };
                let work = PartitionWork {
                    reference,
                    partition,
                    sealed: partition.compactable(self.compactable_end(topic, number)),
                    group_bytes_max: topic.segment_bytes_max(&self.limits),
                    is_wanted: wanted.contains(&topic.id),
                    tombstones_before_ms,
                    has_stale_records: topic.config.stale_records == Some(StaleRecords::Mark),
                };
                work.plan(&mut plans);
            }
        }
        plans.truncate(PLANS_MAX);
        plans
    }

    /// Decides on compacting a topic now. Returns how many bytes of frames were never compacted.
    ///
    /// # Errors
    /// [`CompactTopicRefusal`].
    pub fn compact_topic(
        &self,
        wish: &CompactTopic,
    ) -> Result<(TopicId, u64), CompactTopicRefusal> {
        let topic = self.find_topic(&wish.name, wish.topic_id)?;
        if !topic.config.compact {
            let name = wish.name.clone();
            return Err(CompactTopicRefusal::NotCompacted { name });
        }
        let partitions = topic.partitions.iter();
        let dirty_bytes = partitions.map(|it| dirty_bytes_of(&it.segments)).sum();
        Ok((topic.id, dirty_bytes))
    }

    /// Partitions of a topic that append to a segment with records.
    pub fn unsealed(&self, topic: TopicId) -> Vec<PartitionRef> {
        let Some(known) = self.topics.get(&topic) else {
            return Vec::new();
        };
        let partitions = (0..).zip(&known.partitions);
        let unsealed =
            partitions.filter(|(_, it)| it.active.is_some_and(|active| !active.is_blank()));
        let reference = |(partition, _)| PartitionRef { topic, partition };
        unsealed.map(reference).collect()
    }

    /// Decides that a rewritten segment takes the place of what it was made of. None if that is not as it
    /// was any more, or somebody has come to need what it lets go of.
    pub fn swap_segments(&self, compacted: &CompactedSegment) -> Option<SegmentSwap> {
        let RewrittenSegment {
            plan,
            segment,
            size_bytes,
            ..
        } = &compacted.rewritten;
        let reference = segment.partition;
        let topic = self.topics.get(&reference.topic)?;
        let known = topic.partition(reference.partition)?;
        if plan.end > self.compactable_end(topic, reference.partition) {
            return None;
        }
        let sealed = known.compactable(plan.end);
        let first = sealed.iter().position(|it| it.base == segment.base)?;
        let sources = sealed.get(first..)?;
        let is_same = sources
            .iter()
            .map(|it| it.at(reference))
            .eq(plan.sources.iter().copied());
        let next = known.segments.get(first + sources.len());
        let end = next.map_or(known.end, |next| next.base);
        let (oldest, newest) = (sources.first()?, sources.last()?);
        if !is_same || end != plan.end {
            return None;
        }
        let swapped = Segment {
            size_bytes: *size_bytes,
            last_append_time_ms: newest.last_append_time_ms,
            generation: segment.generation,
            compacted_lsn: compacted.lsn,
            tombstone_count: compacted.tombstone_count,
            ..*oldest
        };
        let mut rows = Vec::with_capacity(2 * sources.len());
        for source in sources {
            let id = RowId::Segment(SegmentRef::new(reference, source.base));
            rows.push(match source.base == segment.base {
                true => id.put(&swapped.to_row()),
                false => id.gone(),
            });
            let dropped = DroppedSegmentRow {
                size_bytes: source.size_bytes,
            };
            rows.push(RowId::DroppedSegment(source.at(reference)).put(&dropped));
        }
        Some(SegmentSwap {
            freed_bytes: bytes_of(sources).saturating_sub(*size_bytes),
            sources: plan.sources.clone(),
            segment: *segment,
            rows,
        })
    }

    /// Whether files of this generation of a segment are those of the state, or wait to be removed.
    pub fn names_segment(&self, segment: SegmentRef) -> bool {
        let known = self.partition(segment.partition);
        let found = known.and_then(|known| known.segment(segment.base));
        found.is_some_and(|it| it.generation == segment.generation)
            || self.dropped_segments.contains_key(&segment)
    }

    /// Below this offset of a partition every subscription has settled all that it is to get.
    fn compactable_end(&self, topic: &Topic, number: u32) -> Offset {
        // Whoever has dead letters there counts by places that compaction would not keep.
        if self
            .subscriptions
            .of_dead_letters(topic.id)
            .next()
            .is_some()
        {
            return Offset::ZERO;
        }
        let readers = self.subscriptions.of_topic(topic.id);
        let needed = readers.filter_map(|it| it.first_needed(number));
        needed.min().unwrap_or(Offset::new(u64::MAX))
    }
}

impl Partition {
    /// Its segments that are not appended to, hold something and end at or below an offset; the oldest ones
    /// without one between them that does not.
    fn compactable(&self, below: Offset) -> &[Segment] {
        let ends = self.segments.iter().skip(1).map(|it| it.base);
        let ends = ends.chain([self.end]);
        let active = self.active.map(|active| active.base);
        let count = self
            .segments
            .iter()
            .zip(ends)
            .take_while(|(it, end)| Some(it.base) != active && !it.is_blank() && *end <= below)
            .count();
        self.segments.get(..count).unwrap_or_default()
    }
}

/// One partition that is looked at.
struct PartitionWork<'a> {
    reference: PartitionRef,
    partition: &'a Partition,
    /// What may be rewritten of it.
    sealed: &'a [Segment],
    /// Neighbours are rewritten as one up to here.
    group_bytes_max: u64,
    is_wanted: bool,
    tombstones_before_ms: i64,
    has_stale_records: bool,
}

impl PartitionWork<'_> {
    fn plan(&self, plans: &mut Vec<CompactionPlan>) {
        let dirty_bytes = dirty_bytes_of(self.sealed);
        // Half of it new: a record is then rewritten about as often as the topic doubles.
        let is_dirty =
            dirty_bytes > 0 && (self.is_wanted || 2 * dirty_bytes >= bytes_of(self.sealed));
        let mut rest = self.sealed;
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group_len(rest));
            let first = self.sealed.len() - rest.len();
            let rule = self.tombstone_rule(first);
            if is_dirty || group.iter().any(|it| has_due_tombstones(it, rule)) {
                let end = later.first().map_or_else(|| self.end(), |next| next.base);
                plans.push(self.plan_of(group, end, rule));
            }
            rest = later;
        }
    }

    fn plan_of(&self, group: &[Segment], end: Offset, tombstones: TombstoneRule) -> CompactionPlan {
        CompactionPlan {
            rewrite: RewritePlan {
                sources: group.iter().map(|it| it.at(self.reference)).collect(),
                end,
            },
            tombstones,
            has_stale_records: self.has_stale_records,
        }
    }

    /// One past the last offset of what may be rewritten.
    fn end(&self) -> Offset {
        self.partition.end_of(self.sealed.len())
    }

    /// How many of the first segments are rewritten as one.
    fn group_len(&self, segments: &[Segment]) -> usize {
        let mut bytes = 0;
        let fitting = segments.iter().take(SOURCES_MAX).take_while(|it| {
            bytes += it.size_bytes;
            bytes <= self.group_bytes_max
        });
        fitting.count().max(1)
    }

    /// Which tombstones may go from the segments from a place on.
    fn tombstone_rule(&self, first: usize) -> TombstoneRule {
        // What was compacted by a later state than that of the tombstone has nothing of its key any more.
        let before = self.sealed.iter().take(first).map(|it| it.compacted_lsn);
        TombstoneRule {
            lsn_max: before.min().unwrap_or(Lsn::new(u64::MAX)),
            before_ms: self.tombstones_before_ms,
        }
    }
}

fn has_due_tombstones(segment: &Segment, rule: TombstoneRule) -> bool {
    segment.tombstone_count > 0 && rule.lets_go(segment.compacted_lsn, segment.last_append_time_ms)
}

fn bytes_of(segments: &[Segment]) -> u64 {
    segments.iter().map(|it| it.size_bytes).sum()
}

fn dirty_bytes_of(segments: &[Segment]) -> u64 {
    let dirty = segments.iter().filter(|it| it.compacted_lsn == Lsn::ZERO);
    dirty.map(|it| it.size_bytes).sum()
}
