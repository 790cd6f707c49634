//! Budget of the frames that partitions keep in memory.
//!
//! Frames leave in the order in which they came, and never before they are settled: until then memory
//! is the only place where a reader finds them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::Lsn;
use crate::journal::CommittedRound;
use crate::partition_log::PartitionLog;

/// Publishes committed rounds and evicts what exceeds the budget. Owned by the sequencer.
#[derive(Debug)]
pub struct TailCache {
    budget_bytes: usize,
    held_bytes: usize,
    /// One for each frame in memory, oldest first.
    order: VecDeque<(Lsn, Arc<PartitionLog>)>,
}

impl TailCache {
    /// A cache that keeps about `budget_bytes` of settled frames.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            held_bytes: 0,
            order: VecDeque::new(),
        }
    }

    /// Makes the frames of a durable round readable. `log_of` names the partition of each frame, or
    /// none if its topic is gone.
    pub fn publish<'a>(
        &mut self,
        round: &CommittedRound,
        mut log_of: impl FnMut(usize) -> Option<&'a Arc<PartitionLog>>,
    ) {
        let frames_bytes: usize = round.frames.iter().map(|frame| frame.bytes.len()).sum();
        for (place, frame) in round.frames.iter().enumerate() {
            let Some(log) = log_of(place) else { continue };
            // A frame is charged its share of the memory that it pins, not its length.
            let share = round.pinned_bytes as u128 * frame.bytes.len() as u128;
            let cost_bytes =
                usize::try_from(share / frames_bytes.max(1) as u128).unwrap_or(usize::MAX);
            log.publish(frame, cost_bytes);
            self.held_bytes += cost_bytes;
            self.order
                .push_back((frame.line.frame.lsn, Arc::clone(log)));
        }
    }

    /// Evicts frames over the budget whose entries are settled.
    pub fn evict(&mut self, settled: Lsn) {
        while self.held_bytes > self.budget_bytes
            && self.order.front().is_some_and(|(lsn, _)| *lsn <= settled)
        {
            if let Some((_, log)) = self.order.pop_front() {
                self.held_bytes -= log.evict_front();
            }
        }
    }

    /// Memory that the frames pin.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}
