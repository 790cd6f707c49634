//! A member that gets no partition, because others read them all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{Admin, Group, GroupName, GroupState, Offset, PartitionId, TopicName};

use crate::commands::consume::until::at;

/// How often the others are looked after. A member that gets partitions has them earlier, unless others
/// must give them back, or may come back for them.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is done while there is no partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// The user is told, once.
    Tell,
    /// All that was there is committed by others.
    CaughtUp,
}

/// The wait for a first partition.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    admin: Admin,
    group: &'a GroupName,
    /// What this member reads; others may read more.
    topic: &'a TopicName,
    ends_at_end: bool,
    /// When the next thing is to be done; none if nothing is.
    due: Option<Instant>,
    is_told: bool,
    /// Whether nothing moved at the last look.
    is_settled: bool,
    /// Where the group is to come to, once that is known.
    ends: Option<BTreeMap<PartitionId, Offset>>,
}

impl<'a> Waiting<'a> {
    /// With `ends_at_end` it is over when the group has come to the end.
    pub(super) fn new(
        admin: Admin,
        group: &'a GroupName,
        topic: &'a TopicName,
        ends_at_end: bool,
    ) -> Self {
        Self {
            admin,
            group,
            topic,
            ends_at_end,
            due: Some(Instant::now() + LOOK_INTERVAL),
            is_told: false,
            is_settled: false,
            ends: None,
        }
    }

    /// There is a partition.
    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// Waits for something to do. Safe to drop.
    pub(super) async fn next(&mut self) -> Idle {
        loop {
            at(self.due).await;
            let group = self.admin.group(self.group.as_str()).await;
            self.due = Some(Instant::now() + LOOK_INTERVAL);
            // While the broker does not answer, nobody knows; the member hears of what is for good.
            let Ok(group) = group else { continue };
            if self.ends_at_end && self.has_caught_up(&group) {
                return Idle::CaughtUp;
            }
            // What a first look finds at rest may be on its way here.
            let is_settled = group.state != GroupState::Rebalancing;
            let was_settled = std::mem::replace(&mut self.is_settled, is_settled);
            if is_settled && was_settled && !self.is_told {
                self.is_told = true;
                self.due = self.due.filter(|_| self.ends_at_end);
                return Idle::Tell;
            }
        }
    }

    /// Whether the group has committed all that was there of the topic at the first look.
    fn has_caught_up(&mut self, group: &Group) -> bool {
        let partitions = group.partitions.iter();
        let partitions: Vec<_> = partitions.filter(|it| it.topic == *self.topic).collect();
        // The member is not known yet, or the topic is gone, which it is told.
        if partitions.is_empty() {
            return false;
        }
        let ends = self.ends.get_or_insert_with(|| {
            let ends = partitions.iter().map(|it| (it.partition, it.end_offset));
            ends.collect()
        });
        partitions.iter().all(|it| {
            let end = ends.get(&it.partition);
            it.lag_records == 0 || end.is_none_or(|end| it.committed_offset >= *end)
        })
    }
}
