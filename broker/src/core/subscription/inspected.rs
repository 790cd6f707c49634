//! What was found where a subscription asked, and what stops it where nothing could be found.

use towpath_storage::{Offset, OffsetRange};

use super::filter::FilterVerdict;
use super::partition::SubscriptionPartition;
use super::window::{InspectedRecord, Judged};
use super::{Subscription, SubscriptionId};
use crate::core::State;

/// What was found where a subscription asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Number of the partition.
    pub partition: u32,
    /// Number of the wish that it answers.
    pub wish: u64,
    /// The first record that was asked for.
    pub start: Offset,
    /// One past the last record that is gone, if the first one is.
    pub gone_until: Option<Offset>,
    /// Why there are none.
    pub failure: Option<InspectFailure>,
    /// The records from there on, one after the other.
    pub records: Vec<InspectedRecord>,
    /// When they were appended: first offsets of frames with their append times, milliseconds since the
    /// Unix epoch.
    pub append_times: Vec<(Offset, i64)>,
}

/// Why inspecting found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InspectFailure {
    /// These records are damaged.
    Lost(OffsetRange),
    /// The operating system could not read; nothing is known to be lost.
    Disk,
}

/// Why nothing more is delivered from a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// These records are damaged: a seek behind them lets it go on.
    Lost(OffsetRange),
    /// The operating system could not read: it is tried again.
    Disk {
        /// When, broker time in milliseconds since the Unix epoch.
        until_ms: i64,
    },
}

/// How long reading rests after the operating system could not, milliseconds.
const DISK_PAUSE_MS: i64 = 1_000;

impl State {
    /// Takes what was found where a subscription asked.
    pub fn take_inspected(&mut self, id: SubscriptionId, inspected: Inspected, now_ms: i64) {
        if let Some(subscription) = self.activate(id) {
            subscription.take_inspected(inspected, now_ms);
        }
    }
}

impl Subscription {
    /// Takes what was found where it asked. What it did not ask for, or not any more, changes nothing.
    fn take_inspected(&mut self, inspected: Inspected, now_ms: i64) {
        let Some(partition) = self.partition_mut(inspected.partition) else {
            return;
        };
        if partition.asked != Some(inspected.wish) || partition.window.end() != inspected.start {
            return;
        }
        partition.asked = None;
        let judged = partition.take_inspected(inspected, now_ms);
        self.counts.filtered += judged.filtered_count;
        self.counts.unjudged += judged.unjudged_count;
    }
}

impl SubscriptionPartition {
    /// Takes what was found behind the window. Returns what the filter said of it.
    fn take_inspected(&mut self, inspected: Inspected, now_ms: i64) -> Judged {
        self.halt = inspected.failure.map(|failure| match failure {
            InspectFailure::Lost(lost) => Halt::Lost(lost),
            InspectFailure::Disk => Halt::Disk {
                until_ms: now_ms + DISK_PAUSE_MS,
            },
        });
        if let Some(until) = inspected.gone_until {
            self.window.pass_to(until);
        }
        for (offset, append_time_ms) in inspected.append_times {
            self.window.note_time(offset, append_time_ms);
        }
        let mut judged = Judged::default();
        for found in inspected.records {
            let offset = self.window.end();
            self.window.push(found, &self.settled);
            if !self.settled.contains(offset) {
                match found.verdict {
                    FilterVerdict::Deliver | FilterVerdict::Gone => {}
                    FilterVerdict::Pass => judged.filtered_count += 1,
                    FilterVerdict::DeliverUnjudged => judged.unjudged_count += 1,
                    FilterVerdict::Die(doubt) => {
                        judged.unjudged_count += 1;
                        self.doomed.push_back((offset, doubt));
                    }
                }
            }
            if self.is_ordered {
                self.line_up(offset);
            }
            self.waiting.look_at_dying(offset);
        }
        judged
    }

    /// Whether the records behind the window can be inspected now.
    pub(super) fn can_go_on(&self, now_ms: i64) -> bool {
        match self.halt {
            None => true,
            Some(Halt::Disk { until_ms }) => until_ms <= now_ms,
            Some(Halt::Lost(_)) => false,
        }
    }
}
