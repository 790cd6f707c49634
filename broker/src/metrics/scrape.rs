//! One answer to a scrape: everything that there is to count, as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use towpath_proto::compression::Codec;
use towpath_storage::{Offset, PartitionLog};

use super::catalogue as all;
use super::catalogue::Family;
use super::exposition::{Exposition, Number, Unit};
use super::groups::{self, AppendTimes, Groups, WatchedGroup, WatchedPartition};
use super::subscriptions::{self, Subscriptions};
use super::{ConnectionMetrics, GroupsInFlight, Refusals, RpcMetrics};
use crate::fetch::Reading;
use crate::memory::Budget;
use crate::runtime::metrics::CodecMetrics;
use crate::runtime::published::{PartitionHandle, PublishedState, TopicView};
use crate::runtime::sequencer::Shared;

/// Where the numbers come from.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) engine: Shared,
    pub(crate) reading: Reading,
    pub(crate) connections: Arc<ConnectionMetrics>,
    pub(crate) rpc: Arc<RpcMetrics>,
    pub(crate) groups: Arc<GroupsInFlight>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) receiving: Budget,
    pub(crate) unread: Budget,
    /// Memory of batches that wait to be written, and how much there is of it.
    pub(crate) in_flight: (Arc<Semaphore>, usize),
    /// When the broker began to serve, milliseconds since the Unix epoch.
    pub(crate) start_time_ms: i64,
    /// How long recovery took.
    pub(crate) recovery: Duration,
}

/// Answers scrapes, one at a time: what one costs the broker does not grow with how many ask.
#[derive(Debug)]
pub(crate) struct Scraper {
    sources: Arc<Sources>,
    /// When records were appended that groups, and that subscriptions have not done with.
    times: Mutex<[AppendTimes; 2]>,
}

/// What there is to tell before the data folder is recovered.
pub(crate) fn recovering() -> String {
    let mut text = Exposition::default();
    write_build(&mut text, false);
    text.into_text()
}

impl Scraper {
    pub(crate) fn new(sources: Sources) -> Self {
        Self {
            sources: Arc::new(sources),
            times: Mutex::default(),
        }
    }

    /// Everything as of now. Waits for the sequencer and the disk two seconds at most, and leaves out
    /// what they did not tell. Safe to drop.
    pub(crate) async fn scrape(&self, is_ready: bool) -> String {
        let Sources {
            engine, reading, ..
        } = &*self.sources;
        let Shared {
            commands,
            published,
            environment,
            ..
        } = engine;
        let mut times = self.times.lock().await;
        let now_ms = || published.time_ms().max(environment.clock.wall_ms());
        let deadline = Instant::now() + groups::PATIENCE;
        let [of_groups, of_subscriptions] = &mut *times;
        let groups = groups::watch(commands, reading, of_groups, now_ms, deadline).await;
        let subscriptions =
            subscriptions::watch(commands, reading, of_subscriptions, now_ms, deadline).await;
        let sources = Arc::clone(&self.sources);
        // A hundred thousand series take so long to write that a connection would notice.
        let written =
            tokio::task::spawn_blocking(move || sources.write(&groups, &subscriptions, is_ready));
        // Without a runtime nobody waits for the text.
        written.await.unwrap_or_default()
    }
}

impl Sources {
    fn write(&self, groups: &Groups, subscriptions: &Subscriptions, is_ready: bool) -> String {
        let mut text = Exposition::default();
        write_build(&mut text, is_ready);
        let is_complete = groups.is_complete && subscriptions.is_complete;
        self.write_start(&mut text, is_complete);
        self.write_appends(&mut text);
        self.write_schedules(&mut text);
        self.write_topics(&mut text);
        self.write_groups(&mut text, groups);
        subscriptions.write(&mut text);
        self.write_disk(&mut text);
        self.write_rpc(&mut text);
        text.into_text()
    }

    fn published(&self) -> &PublishedState {
        &self.engine.published
    }

    fn write_start(&self, text: &mut Exposition, is_complete: bool) {
        let Sources {
            start_time_ms,
            recovery,
            ..
        } = self;
        let start_time_ms = u64::try_from(*start_time_ms).unwrap_or(0);
        text.one(&all::START_TIME, Duration::from_millis(start_time_ms));
        text.one(&all::RECOVERY, *recovery);
        text.one(&all::SCRAPE_COMPLETE, u64::from(is_complete));
    }

    fn write_appends(&self, text: &mut Exposition) {
        let Sources {
            engine,
            refusals,
            in_flight: (free, bytes),
            ..
        } = self;
        let engine = &engine.metrics;
        let mut series = text.family(&all::APPEND_DURATION);
        let durations = engine.append_duration.snapshot();
        series.put_histogram(&[], Unit::Nanoseconds, &durations);
        text.one(
            &all::APPEND_IN_FLIGHT_RECORDS,
            load(&engine.in_flight_records),
        );
        let in_flight_bytes = bytes.saturating_sub(free.available_permits());
        text.one(&all::APPEND_IN_FLIGHT_BYTES, in_flight_bytes);
        let mut series = text.family(&all::APPEND_REFUSALS);
        for (reason, count) in refusals.counts() {
            series.put(&[reason.as_str()], count);
        }
        let mut series = text.family(&all::APPEND_LEFT_OUT);
        series.put(&["repeated_event"], load(&engine.repeated_events));
        series.put(&["stale_entity_version"], load(&engine.stale_records));
        text.one(&all::APPEND_MARKED, load(&engine.marked_records));
        self.write_codecs(text, &all::APPEND_COMPRESSED_BYTES, |it| &it.compressed);
        self.write_codecs(text, &all::APPEND_DECOMPRESSED_BYTES, |it| &it.plain);
        let mut series = text.family(&all::FSYNC_DURATION);
        let durations = engine.sync_duration.snapshot();
        series.put_histogram(&[], Unit::Nanoseconds, &durations);
        let mut series = text.family(&all::FSYNC_BATCH_RECORDS);
        series.put_histogram(&[], Unit::One, &engine.sync_records.snapshot());
    }

    fn write_codecs(
        &self,
        text: &mut Exposition,
        family: &'static Family,
        number: impl Fn(&CodecMetrics) -> &AtomicU64,
    ) {
        let mut series = text.family(family);
        for codec in Codec::ALL {
            let of_codec = self.engine.metrics.compressions.of(codec);
            series.put(&[codec.as_str()], load(number(of_codec)));
        }
    }

    fn write_schedules(&self, text: &mut Exposition) {
        let schedules = &self.engine.metrics.schedules;
        text.one(&all::SCHEDULED_RECORDS, load(&schedules.count));
        text.one(&all::SCHEDULED_BYTES, load(&schedules.size_bytes));
        let overdue = Duration::from_millis(load(&schedules.overdue_ms));
        text.one(&all::SCHEDULED_OVERDUE, overdue);
        text.one(&all::SCHEDULED_SET_ASIDE, load(&schedules.set_aside));
        text.one(&all::SCHEDULED_DELIVERED, load(&schedules.delivered));
    }

    fn write_topics(&self, text: &mut Exposition) {
        self.write_codecs(text, &all::DELIVER_DECOMPRESSED_BYTES, |it| &it.told_plain);
        let table = self.published().topics();
        let topics: Vec<_> = table.topics().map(|it| (it.name().as_str(), it)).collect();
        let mut write = |family, number: &dyn Fn(&TopicView) -> u64| {
            let mut series = text.family(family);
            for (name, topic) in &topics {
                series.put(&[name], number(topic));
            }
        };
        write(&all::APPEND_RECORDS, &|it| it.appended().records());
        write(&all::APPEND_BYTES, &|it| it.appended().bytes());
        write(&all::DELIVER_RECORDS, &|it| it.delivered().records());
        write(&all::DELIVER_BYTES, &|it| it.delivered().bytes());
        write(&all::LOG_BYTES, &|it| {
            let logs = it.partitions().iter().map(PartitionHandle::log);
            logs.map(|log| log.size_bytes()).sum()
        });
        write(&all::LOG_SEGMENTS, &|it| {
            let logs = it.partitions().iter().map(PartitionHandle::log);
            logs.map(|log| log.segments().len() as u64).sum()
        });
        let mut write = |family, number: &dyn Fn(&PartitionLog) -> Offset| {
            let mut series = text.family(family);
            for (name, topic) in &topics {
                for (partition, handle) in topic.partitions().iter().enumerate() {
                    let partition = partition.to_string();
                    series.put(&[name, &partition], number(handle.log()).get());
                }
            }
        };
        write(&all::LOG_START_OFFSET, &PartitionLog::log_start);
        write(&all::LOG_END_OFFSET, &PartitionLog::end);
    }

    fn write_groups(&self, text: &mut Exposition, groups: &Groups) {
        let in_flight = &self.groups;
        let mut write = |family, number: &dyn Fn(&WatchedGroup) -> u64| {
            let mut series = text.family(family);
            for group in &groups.groups {
                series.put(&[group.summary.name.as_str()], number(group));
            }
        };
        let of = |it: &WatchedGroup| in_flight.of(it.summary.id);
        write(&all::GROUP_IN_FLIGHT_RECORDS, &|it| of(it).0);
        write(&all::GROUP_IN_FLIGHT_BYTES, &|it| of(it).1);
        write(&all::GROUP_MEMBERS, &|it| it.summary.member_count as u64);
        write(&all::GROUP_GENERATION, &|it| it.summary.generation.0);
        let mut write = |family, number: &dyn Fn(&WatchedPartition) -> Option<Number>| {
            let mut series = text.family(family);
            for group in &groups.groups {
                for it in &group.partitions {
                    let (group, topic) = (group.summary.name.as_str(), it.topic.name().as_str());
                    let partition = it.partition.to_string();
                    if let Some(number) = number(it) {
                        series.put(&[group, topic, &partition], number);
                    }
                }
            }
        };
        write(&all::GROUP_LAG_RECORDS, &|it| Some(it.lag.records().into()));
        write(&all::GROUP_LAG_SECONDS, &|it| {
            it.age_ms.map(|age_ms| Duration::from_millis(age_ms).into())
        });
        let mut series = text.family(&all::GROUP_SKIPPED_RECORDS);
        for group in &groups.groups {
            let topic_of = |it: &WatchedPartition| it.topic.id();
            let runs = group
                .partitions
                .chunk_by(|left, right| topic_of(left) == topic_of(right));
            for run in runs {
                let topic = run.first().map_or("", |it| it.topic.name().as_str());
                let skipped_count: u64 = run.iter().map(|it| it.skipped_count).sum();
                series.put(&[group.summary.name.as_str(), topic], skipped_count);
            }
        }
    }

    fn write_disk(&self, text: &mut Exposition) {
        let Shared {
            metrics: engine,
            progress,
            ..
        } = &self.engine;
        text.one(&all::DISK_FREE_BYTES, load(&engine.free_bytes));
        text.one(&all::DISK_BYTES, load(&engine.total_bytes));
        text.one(&all::DURABLE_LSN, self.published().durable().get());
        text.one(&all::SETTLED_LSN, progress.settled().get());
        text.one(&all::UNSETTLED_BYTES, progress.unsettled_bytes());
        text.one(&all::JOURNAL_FILES, load(&engine.journal_files));
        let runs = self.engine.index.snapshot().runs;
        text.one(&all::INDEX_RUNS, runs.run_count());
        text.one(&all::INDEX_ROWS, runs.row_count());
        text.one(&all::INDEX_BYTES, runs.file_bytes());
        text.one(&all::CHECKPOINTS, load(&engine.checkpoints));
        text.one(&all::CHECKPOINT_FAILURES, load(&engine.checkpoint_failures));
        let last_ms = load(&engine.checkpoint_time_ms);
        text.one(&all::CHECKPOINT_TIME, Duration::from_millis(last_ms));
        let nanos = load(&engine.checkpoint_nanos);
        text.one(&all::CHECKPOINT_DURATION, Duration::from_nanos(nanos));
        let removed = load(&engine.compacted_records);
        text.one(&all::COMPACTION_REMOVED_RECORDS, removed);
        let written = load(&engine.compaction_bytes);
        text.one(&all::COMPACTION_WRITTEN_BYTES, written);
        let (bytes, damage, time_ms) = engine.scrubbed();
        text.one(&all::SCRUB_READ_BYTES, bytes);
        text.one(&all::SCRUB_DAMAGE, damage);
        text.one(&all::SCRUB_TIME, Duration::from_millis(time_ms));
    }

    fn write_rpc(&self, text: &mut Exposition) {
        let Sources {
            connections,
            rpc,
            receiving,
            unread,
            ..
        } = self;
        let mut series = text.family(&all::RPC_REQUESTS);
        for method in rpc.methods() {
            for (code, count) in method.ended() {
                series.put(&[&method.name, code], count);
            }
        }
        let mut series = text.family(&all::RPC_DURATION);
        for method in rpc.methods().filter(|method| method.kind.is_none()) {
            let durations = method.duration.snapshot();
            series.put_histogram(&[&method.name], Unit::Nanoseconds, &durations);
        }
        let mut series = text.family(&all::OPEN_STREAMS);
        for method in rpc.methods() {
            if let Some(kind) = &method.kind {
                series.put(&[kind], method.open_count());
            }
        }
        text.one(&all::OPEN_CALLS, rpc.open_count());
        text.one(&all::CALLS_REFUSED, rpc.refused_count());
        let (accepted, open) = connections.counts();
        text.one(&all::OPEN_CONNECTIONS, open);
        text.one(&all::CONNECTIONS, accepted);
        let mut series = text.family(&all::CONNECTIONS_REFUSED);
        for (why, count) in connections.refused() {
            series.put(&[why.as_str()], count);
        }
        let mut series = text.family(&all::CONNECTIONS_CLOSED);
        for (why, count) in connections.closed() {
            series.put(&[why.as_str()], count);
        }
        for (family, budget) in [
            (&all::RECEIVING_BYTES, receiving),
            (&all::UNREAD_BYTES, unread),
        ] {
            let held_bytes = budget.bytes().saturating_sub(budget.free_bytes());
            text.one(family, held_bytes);
        }
    }
}

fn write_build(text: &mut Exposition, is_ready: bool) {
    let mut series = text.family(&all::BUILD_INFO);
    series.put(&[env!("CARGO_PKG_VERSION")], 1_u64);
    text.one(&all::READY, u64::from(is_ready));
}

fn load(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}
