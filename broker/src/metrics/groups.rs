//! How far groups have come, for one scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use towpath_proto::names::GroupName;
use towpath_storage::{Offset, PartitionRef};

use crate::core::GroupSummary;
use crate::fetch::{Lag, Reading};
use crate::runtime::command::ControlCommand;
use crate::runtime::command_queue::CommandQueue;
use crate::runtime::group_command::{GroupCommand, GroupProgress, PartitionProgress};
use crate::runtime::published::{TopicTable, TopicView};

/// Partitions of groups that one scrape tells of, about.
pub(super) const PARTITIONS_MAX: usize = 20_000;
/// Partitions that the sequencer is asked for at once, about: some tens of microseconds of its time.
const PAGE_PARTITIONS: usize = 1_000;
/// How long a scrape waits for the sequencer and the disk to say how far groups have come.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How far groups have come.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// In the order of their names.
    pub(super) groups: Vec<WatchedGroup>,
    /// Whether these are all, with everything about them.
    pub(super) is_complete: bool,
}

/// One group.
#[derive(Debug)]
pub(super) struct WatchedGroup {
    pub(super) summary: GroupSummary,
    pub(super) partitions: Vec<WatchedPartition>,
}

/// One partition of a group.
#[derive(Debug)]
pub(super) struct WatchedPartition {
    pub(super) topic: Arc<TopicView>,
    pub(super) partition: u32,
    pub(super) skipped_count: u64,
    pub(super) lag: Lag,
    /// Milliseconds; none if there was no time to find out.
    pub(super) age_ms: Option<u64>,
}

/// When records were appended that groups or subscriptions have not done with, from one scrape to the next: one that
/// stands still costs no read.
#[derive(Debug, Default)]
pub(super) struct AppendTimes {
    known: BTreeMap<(PartitionRef, Offset), i64>,
}

/// Asks the sequencer how far groups have come, a page at a time, and finds out since when they lag.
pub(super) async fn watch(
    commands: &CommandQueue,
    reading: &Reading,
    times: &mut AppendTimes,
    now_ms: impl Fn() -> i64,
    deadline: Instant,
) -> Groups {
    let (progress, is_all) = ask(commands, deadline).await;
    let topics = reading.published().topics();
    let mut groups = Groups {
        groups: Vec::with_capacity(progress.len()),
        is_complete: is_all,
    };
    let mut used = AppendTimes::default();
    for GroupProgress { group, partitions } in progress {
        let mut watched = Vec::with_capacity(partitions.len());
        for known in partitions {
            // Thousands may be answered from memory without a pause.
            tokio::task::coop::consume_budget().await;
            // Partitions of a topic that was deleted just now are left out.
            if let Some(mut partition) = look(&topics, known) {
                let lagging = Lagging {
                    topic: &partition.topic,
                    partition: partition.partition,
                    lag: partition.lag,
                };
                let since_ms = times.since_ms(reading, lagging, deadline, &mut used).await;
                partition.age_ms = since_ms.map(|at| Lag::age_ms(at, now_ms()));
                groups.is_complete &= partition.age_ms.is_some();
                watched.push(partition);
            }
        }
        groups.groups.push(WatchedGroup {
            summary: group,
            partitions: watched,
        });
    }
    *times = used;
    groups
}

/// All groups until there are too many or time is up, and whether these are all.
async fn ask(commands: &CommandQueue, deadline: Instant) -> (Vec<GroupProgress>, bool) {
    let mut told: Vec<GroupProgress> = Vec::new();
    let mut partition_count = 0;
    while partition_count < PARTITIONS_MAX {
        let after = told.last().map(|last| last.group.name.clone());
        let Some(page) = ask_page(commands, after, deadline).await else {
            return (told, false);
        };
        if page.is_empty() {
            return (told, true);
        }
        let counts = page.iter().map(|group| group.partitions.len() + 1);
        partition_count += counts.sum::<usize>();
        told.extend(page);
    }
    (told, false)
}

async fn ask_page(
    commands: &CommandQueue,
    after: Option<GroupName>,
    deadline: Instant,
) -> Option<Vec<GroupProgress>> {
    let (answer, answered) = oneshot::channel();
    let command = ControlCommand::Group(GroupCommand::Watch {
        after,
        partition_count_max: PAGE_PARTITIONS,
        answer,
    });
    commands.push_control(command).ok()?;
    timeout_at(deadline, answered).await.ok()?.ok()?.ok()
}

fn look(topics: &TopicTable, known: PartitionProgress) -> Option<WatchedPartition> {
    let PartitionRef { topic, partition } = known.partition;
    let topic = topics.with_id(topic)?;
    let log = topic.partition(partition)?.log();
    Some(WatchedPartition {
        lag: Lag::of(log, known.committed),
        partition,
        skipped_count: known.skipped_count,
        age_ms: None,
        topic: Arc::clone(topic),
    })
}

/// Somebody who may lag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lagging<'a> {
    pub(super) topic: &'a TopicView,
    pub(super) partition: u32,
    pub(super) lag: Lag,
}

impl AppendTimes {
    /// Since when somebody lags: none within if he does not, none at all if time is up. What was looked at
    /// goes to `used`, for the next scrape.
    pub(super) async fn since_ms(
        &self,
        reading: &Reading,
        lagging: Lagging<'_>,
        deadline: Instant,
        used: &mut Self,
    ) -> Option<Option<i64>> {
        let handle = lagging.topic.partition(lagging.partition)?;
        let place = (handle.log().partition(), lagging.lag.next);
        let since_ms = match self.known.get(&place) {
            Some(known) => Some(Some(*known)),
            None => {
                let since = reading.lagging_since_ms(handle.log(), lagging.lag);
                timeout_at(deadline, since).await.ok()
            }
        };
        used.known.extend(since_ms.flatten().map(|at| (place, at)));
        since_ms
    }
}
