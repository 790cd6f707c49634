//! The sequencer's part in compaction: asking for it, and having its results take their place.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use towpath_storage::{PartitionRef, TopicId};

use super::super::command::Answer;
use super::super::compaction::SwapVerdict;
use super::super::published::TopicView;
use super::draft::{Draft, PendingAnswer, TableChange};
use super::{CONTROL_ROOM_BYTES, Sequencer};
use crate::core::{
    CompactTopic, CompactTopicRefusal, CompactedSegment, CompactionPlan, SegmentSwap,
};

/// Partitions that one entry has leave their segments.
const SEALED_PER_ENTRY_MAX: usize = 100;

/// Compaction that somebody has asked for.
#[derive(Debug, Default)]
pub(super) struct CompactionWishes {
    /// Partitions that leave their segments first.
    to_seal: VecDeque<PartitionRef>,
    /// Topics that the next checkpoint compacts.
    wanted: BTreeSet<TopicId>,
    /// Those of the checkpoint that is under way.
    taken: BTreeSet<TopicId>,
}

impl CompactionWishes {
    /// The checkpoint that is under way has failed.
    pub(super) fn give_back(&mut self) {
        self.wanted.append(&mut self.taken);
    }
}

impl Sequencer {
    pub(super) fn compact_topic(
        &mut self,
        wish: &CompactTopic,
        answer: Answer<(Arc<TopicView>, u64), CompactTopicRefusal>,
        draft: &mut Draft,
    ) {
        let result = self.want_compaction(wish);
        let pending = PendingAnswer::CompactTopic { answer, result };
        draft.answers.push(pending);
    }

    fn want_compaction(
        &mut self,
        wish: &CompactTopic,
    ) -> Result<(Arc<TopicView>, u64), CompactTopicRefusal> {
        let (id, dirty_bytes) = self.state.compact_topic(wish)?;
        let view = self.view(id, &wish.name)?;
        self.compaction.to_seal.extend(self.state.unsealed(id));
        self.compaction.wanted.insert(id);
        self.checkpoint.add_wanted(self.time.now_ms());
        Ok((view, dirty_bytes))
    }

    /// Has partitions leave their segments that are to be compacted.
    pub(super) fn seal_wanted(&mut self, draft: &mut Draft) {
        if self.compaction.to_seal.is_empty() || !self.fits(draft, CONTROL_ROOM_BYTES) {
            return;
        }
        let count = SEALED_PER_ENTRY_MAX.min(self.compaction.to_seal.len());
        let sealed = self.compaction.to_seal.drain(..count);
        let rows = sealed.filter_map(|partition| self.state.seal(partition));
        let rows = rows.collect();
        self.push_rows(rows, draft);
    }

    /// What may be compacted once a checkpoint of the state as it is now is done.
    pub(super) fn plan_compactions(&mut self) -> Vec<CompactionPlan> {
        let wishes = &mut self.compaction;
        let wanted = match wishes.to_seal.is_empty() {
            true => std::mem::take(&mut wishes.wanted),
            false => BTreeSet::new(),
        };
        let now_ms = self.time.now_ms();
        let trusts_age = now_ms >= self.time.trusts_age_from_ms();
        let plans = self.state.plan_compactions(&wanted, now_ms, trusts_age);
        wishes.taken = wanted;
        plans
    }

    /// Has a rewritten segment take its place, if what it was made of is still there.
    pub(super) fn swap_segments(
        &mut self,
        compacted: &CompactedSegment,
        verdict: &SwapVerdict,
        draft: &mut Draft,
    ) {
        let swap = self.state.swap_segments(compacted);
        // Files that are not needed are removed at once: no entry names them.
        let is_new = verdict.set(swap.is_some()).is_ok();
        debug_assert!(is_new, "a segment is offered once");
        let Some(mut swap) = swap else {
            return;
        };
        let rows = std::mem::take(&mut swap.rows);
        self.push_rows(rows, draft);
        self.checkpoint.add_dropped(self.time.now_ms());
        draft.table_changes.push(TableChange::Swapped(swap));
    }

    /// Shows readers the new file.
    pub(super) fn show_swap(&self, swap: &SegmentSwap) {
        let PartitionRef { topic, partition } = swap.segment.partition;
        let topic = self.table.with_id(topic);
        if let Some(handle) = topic.and_then(|topic| topic.partition(partition)) {
            let log = handle.log();
            log.swap(&swap.sources, swap.segment, swap.freed_bytes);
        }
    }
}
