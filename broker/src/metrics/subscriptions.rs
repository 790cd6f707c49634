//! How far subscriptions have come, for one scrape.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use towpath_proto::names::SubscriptionName;

use super::catalogue as all;
use super::exposition::Exposition;
use super::groups::{AppendTimes, Lagging};
use crate::core::{LaneProgress, SubscriptionProgress};
use crate::fetch::{Lag, Reading};
use crate::runtime::command::ControlCommand;
use crate::runtime::command_queue::CommandQueue;
use crate::runtime::published::{TopicTable, TopicView};
use crate::runtime::subscription_command::SubscriptionCommand;

/// Partitions of subscriptions that one scrape tells of, about.
const PARTITIONS_MAX: usize = 20_000;
/// Partitions that the sequencer is asked for at once, about: some tens of microseconds of its time.
const PAGE_PARTITIONS: usize = 1_000;

/// How far subscriptions have come.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// In the order of their names.
    subscriptions: Vec<Watched>,
    /// Whether these are all, with everything about them.
    pub(super) is_complete: bool,
}

/// One subscription.
#[derive(Debug)]
struct Watched {
    progress: SubscriptionProgress,
    topic: Arc<TopicView>,
    /// Dead letters that are not settled.
    dead_letter_count: u64,
    /// By number: records that are not settled, and the age of the first one in milliseconds; none if there
    /// was no time to find out.
    lags: Vec<(u64, Option<u64>)>,
}

/// Asks the sequencer how far subscriptions have come, a page at a time, and finds out since when they lag.
pub(super) async fn watch(
    commands: &CommandQueue,
    reading: &Reading,
    times: &mut AppendTimes,
    now_ms: impl Fn() -> i64,
    deadline: Instant,
) -> Subscriptions {
    let (told, is_all) = ask(commands, deadline).await;
    let topics = reading.published().topics();
    let mut watched = Subscriptions {
        subscriptions: Vec::with_capacity(told.len()),
        is_complete: is_all,
    };
    let mut used = AppendTimes::default();
    for progress in told {
        // Those of a topic that was made just now are left out.
        let Some(topic) = topics.with_id(progress.topic).map(Arc::clone) else {
            continue;
        };
        let mut lags = Vec::with_capacity(progress.partitions.len());
        for (partition, known) in (0..).zip(&progress.partitions) {
            // Thousands may be answered from memory without a pause.
            tokio::task::coop::consume_budget().await;
            let Some(handle) = topic.partition(partition) else {
                continue;
            };
            let lagging = Lagging {
                topic: &topic,
                partition,
                lag: Lag::of(handle.log(), known.first_needed),
            };
            let since_ms = times.since_ms(reading, lagging, deadline, &mut used).await;
            watched.is_complete &= since_ms.is_some();
            let age_ms = since_ms.map(|at| Lag::age_ms(at, now_ms()));
            lags.push((open_count(&topic, partition, known), age_ms));
        }
        watched.subscriptions.push(Watched {
            dead_letter_count: dead_letter_count(&topics, &progress),
            progress,
            topic,
            lags,
        });
    }
    *times = used;
    watched
}

/// All subscriptions until there are too many or time is up, and whether these are all.
async fn ask(commands: &CommandQueue, deadline: Instant) -> (Vec<SubscriptionProgress>, bool) {
    let mut told: Vec<SubscriptionProgress> = Vec::new();
    let mut partition_count = 0;
    while partition_count < PARTITIONS_MAX {
        let after = told.last().map(|last| last.name.clone());
        let Some(page) = ask_page(commands, after, deadline).await else {
            return (told, false);
        };
        if page.is_empty() {
            return (told, true);
        }
        let counts = page.iter().map(|it| it.partitions.len() + 1);
        partition_count += counts.sum::<usize>();
        told.extend(page);
    }
    (told, false)
}

async fn ask_page(
    commands: &CommandQueue,
    after: Option<SubscriptionName>,
    deadline: Instant,
) -> Option<Vec<SubscriptionProgress>> {
    let (answer, answered) = oneshot::channel();
    let command = ControlCommand::Subscription(SubscriptionCommand::Watch {
        after,
        partition_count_max: PAGE_PARTITIONS,
        answer,
    });
    commands.push_control(command).ok()?;
    timeout_at(deadline, answered).await.ok()?.ok()?.ok()
}

/// Records of a partition that are not settled.
fn open_count(topic: &TopicView, partition: u32, known: &LaneProgress) -> u64 {
    let handle = topic.partition(partition);
    let beyond = handle.map_or(0, |handle| Lag::of(handle.log(), known.floor).records());
    beyond.saturating_sub(known.beyond_floor_count) + known.waiting_count
}

fn dead_letter_count(topics: &TopicTable, progress: &SubscriptionProgress) -> u64 {
    let Some(topic) = topics.with_id(progress.dead_letter_topic) else {
        return 0;
    };
    let lanes = (0..).zip(&progress.letters);
    let counts = lanes.map(|(partition, known)| open_count(topic, partition, known));
    counts.sum()
}

impl Subscriptions {
    pub(super) fn write(&self, text: &mut Exposition) {
        self.write_partitions(text);
        let mut write = |family, number: &dyn Fn(&Watched) -> u64| {
            let mut series = text.family(family);
            for it in &self.subscriptions {
                series.put(&[it.progress.name.as_str()], number(it));
            }
        };
        let sum = |it: &Watched, of: fn(&LaneProgress) -> u64| {
            let partitions = it.progress.partitions.iter();
            partitions.map(of).sum::<u64>()
        };
        write(&all::SUBSCRIPTION_IN_FLIGHT_RECORDS, &|it| {
            it.progress.in_flight_count
        });
        write(&all::SUBSCRIPTION_WAITING_RECORDS, &|it| {
            sum(it, |it| it.waiting_count)
        });
        write(&all::SUBSCRIPTION_PARKED_KEYS, &|it| {
            sum(it, |it| it.parked_count)
        });
        write(&all::SUBSCRIPTION_DEAD_LETTERS, &|it| it.dead_letter_count);
        write(&all::SUBSCRIPTION_DEAD_LETTER_PROBLEM, &|it| {
            u64::from(it.progress.has_dead_letter_problem)
        });
        write(&all::SUBSCRIPTION_HALTED_PARTITIONS, &|it| {
            sum(it, |it| u64::from(it.is_halted))
        });
        write(&all::SUBSCRIPTION_CONSUMERS, &|it| {
            it.progress.consumer_count as u64
        });
        write(&all::SUBSCRIPTION_HELD_BYTES, &|it| {
            it.progress.hold.bytes()
        });
        write(&all::SUBSCRIPTION_SKIPPED_RECORDS, &|it| {
            sum(it, |it| it.skipped_count)
        });
        write(&all::SUBSCRIPTION_DELIVERED_RECORDS, &|it| {
            it.progress.counts.delivered
        });
        write(&all::SUBSCRIPTION_ACKED_RECORDS, &|it| {
            it.progress.counts.acked
        });
        write(&all::SUBSCRIPTION_FILTERED_RECORDS, &|it| {
            it.progress.counts.filtered
        });
        write(&all::SUBSCRIPTION_UNJUDGED_RECORDS, &|it| {
            it.progress.counts.unjudged
        });
        write(&all::SUBSCRIPTION_REDRIVEN_RECORDS, &|it| {
            it.progress.counts.redriven
        });
        write(&all::SUBSCRIPTION_REPUBLISHED_RECORDS, &|it| {
            it.progress.counts.republished
        });
        write(&all::SUBSCRIPTION_DISCARDED_RECORDS, &|it| {
            it.progress.counts.discarded
        });
        self.write_reasons(text);
    }

    fn write_partitions(&self, text: &mut Exposition) {
        let mut records = text.family(&all::SUBSCRIPTION_LAG_RECORDS);
        for it in &self.subscriptions {
            let (name, topic) = (it.progress.name.as_str(), it.topic.name().as_str());
            for (partition, (count, _)) in it.lags.iter().enumerate() {
                records.put(&[name, topic, &partition.to_string()], *count);
            }
        }
        let mut seconds = text.family(&all::SUBSCRIPTION_LAG_SECONDS);
        for it in &self.subscriptions {
            let (name, topic) = (it.progress.name.as_str(), it.topic.name().as_str());
            for (partition, (_, age_ms)) in it.lags.iter().enumerate() {
                if let Some(age_ms) = age_ms {
                    let age = Duration::from_millis(*age_ms);
                    seconds.put(&[name, topic, &partition.to_string()], age);
                }
            }
        }
    }

    fn write_reasons(&self, text: &mut Exposition) {
        // A ratio is a number of thousandths of a second here: both are written as decimals.
        let mut ratio = text.family(&all::SUBSCRIPTION_HELD_RATIO);
        for it in &self.subscriptions {
            let share = Duration::from_millis(it.progress.hold.percent * 10);
            ratio.put(&[it.progress.name.as_str()], share);
        }
        let mut returned = text.family(&all::SUBSCRIPTION_RETURNED_RECORDS);
        for SubscriptionProgress { name, counts, .. } in self.told() {
            returned.put(&[name.as_str(), "nack"], counts.nacked);
            returned.put(&[name.as_str(), "expiry"], counts.expired);
            returned.put(&[name.as_str(), "release"], counts.released);
        }
        let mut dead = text.family(&all::SUBSCRIPTION_DEAD_LETTERED_RECORDS);
        for SubscriptionProgress { name, counts, .. } in self.told() {
            dead.put(&[name.as_str(), "dead"], counts.died);
            dead.put(&[name.as_str(), "parked"], counts.parked);
        }
    }

    fn told(&self) -> impl Iterator<Item = &SubscriptionProgress> {
        self.subscriptions.iter().map(|it| &it.progress)
    }
}
