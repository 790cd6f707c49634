//! A member that gets no partition, because others read them all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{Admin, GroupName, Offset, PartitionId, TopicName};

use crate::commands::consume::until::at;

/// A member that gets partitions has them after this time, unless others must give them back first.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the others are looked after.
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
            due: Some(Instant::now() + PATIENCE),
            is_told: false,
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
            if !std::mem::replace(&mut self.is_told, true) {
                self.due = self.due.filter(|_| self.ends_at_end);
                return Idle::Tell;
            }
            if self.has_caught_up().await {
                return Idle::CaughtUp;
            }
            self.due = Some(Instant::now() + LOOK_INTERVAL);
        }
    }

    /// Whether the group has committed all that was there of the topic at the first look.
    async fn has_caught_up(&mut self) -> bool {
        // While the broker does not answer, nobody knows; the member hears of what is for good.
        let Ok(group) = self.admin.group(self.group.as_str()).await else {
            return false;
        };
        let partitions = group.partitions.iter();
        let mut partitions = partitions.filter(|it| it.topic == *self.topic);
        let ends = self.ends.get_or_insert_with(|| {
            let ends = partitions.clone().map(|it| (it.partition, it.end_offset));
            ends.collect()
        });
        partitions.all(|it| {
            let end = ends.get(&it.partition);
            it.lag_records == 0 || end.is_none_or(|end| it.committed_offset >= *end)
        })
    }
}
