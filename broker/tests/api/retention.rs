//! Retention by age and by bytes, as time passes on a clock that the test moves; and the files behind it.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use towpath_proto::v1;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{Environment, SimClock};

use crate::harness::{TestBroker, all_values, config, simulated, soon, source};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);
const MIB: u64 = 1024 * 1024;
/// What a broker may take beyond what it is bound to, because it looks only once a second.
const LOOK: u64 = 2;

/// A broker on a simulated disk, whose time stands still until it is moved.
pub(crate) struct TimedBroker {
    pub(crate) broker: TestBroker,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) disk: SimDisk,
    pub(crate) environment: Environment,
}

impl TimedBroker {
    /// Starts with the topic `orders`.
    pub(crate) async fn with_topic(partition_count: u32, config: v1::TopicConfig) -> Self {
        let timed = Self::start().await;
        timed.create(partition_count, config).await;
        timed
    }

    pub(crate) async fn start() -> Self {
        let clock = Arc::new(SimClock::new(1_700_000_000_000));
        let (disk, environment) = simulated(1 << 30);
        let environment = Environment {
            clock: Arc::clone(&clock) as Arc<_>,
            ..environment
        };
        let broker = TestBroker::start_in(config(), environment.clone()).await;
        Self {
            broker,
            clock,
            disk,
            environment,
        }
    }

    /// Creates the topic `orders`.
    pub(crate) async fn create(&self, partition_count: u32, config: v1::TopicConfig) {
        let request = v1::CreateTopicRequest {
            name: "orders".to_owned(),
            partition_count,
            config: Some(config),
            ..v1::CreateTopicRequest::default()
        };
        let created = soon(self.broker.topics().create_topic(request)).await;
        created.unwrap();
    }

    /// Lets the machine be off for so long.
    pub(crate) async fn restart_after(self, pause: Duration) -> Self {
        let Self {
            broker,
            clock,
            disk,
            environment,
        } = self;
        let config = broker.stop().await;
        clock.advance(pause);
        let broker = TestBroker::start_in(config, environment.clone()).await;
        Self {
            broker,
            clock,
            disk,
            environment,
        }
    }

    /// Lets time pass, and the broker look at what has expired.
    pub(crate) async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        let round = v1::UpdateTopicRequest {
            name: "orders".to_owned(),
            validate_only: true,
            ..v1::UpdateTopicRequest::default()
        };
        let update = self.broker.topics().update_topic(round).await;
        update.unwrap();
    }

    pub(crate) async fn update(&self, config: v1::TopicConfig) {
        let request = v1::UpdateTopicRequest {
            name: "orders".to_owned(),
            config: Some(config),
            ..v1::UpdateTopicRequest::default()
        };
        soon(self.broker.topics().update_topic(request))
            .await
            .unwrap();
    }

    pub(crate) async fn shown(&self) -> v1::Topic {
        let name = "orders".to_owned();
        let request = v1::GetTopicRequest { name };
        let shown = soon(self.broker.topics().get_topic(request)).await;
        shown.unwrap().into_inner().topic.unwrap()
    }

    pub(crate) async fn log_starts(&self) -> Vec<u64> {
        let partitions = self.shown().await.partitions;
        partitions.iter().map(|it| it.log_start_offset).collect()
    }

    pub(crate) async fn publish(&self, partition: u32, value: &str) {
        self.broker.publish("orders", partition, &[value]).await;
    }

    /// Waits until there are so many segments on the disk, letting time pass for checkpoints.
    pub(crate) async fn wait_for_segments(&self, counts: RangeInclusive<usize>) {
        let waiting = async {
            while !counts.contains(&file_count(&self.disk, "log")) {
                self.pass(Duration::from_millis(10)).await;
            }
        };
        soon(waiting).await;
    }
}

/// Number of the files of partitions that end so.
fn file_count(disk: &SimDisk, extension: &str) -> usize {
    let is_of_partition = |path: &Path| {
        path.starts_with("topics") && path.extension().is_some_and(|it| it == extension)
    };
    let paths = disk.paths();
    let paths = paths.iter().map(Path::new);
    paths.filter(|path| is_of_partition(path)).count()
}

pub(crate) fn by_age(retention_age_ms: u64) -> v1::TopicConfig {
    v1::TopicConfig {
        retention_age_ms: Some(retention_age_ms),
        ..v1::TopicConfig::default()
    }
}

fn by_bytes(retention_bytes: u64) -> v1::TopicConfig {
    v1::TopicConfig {
        retention_bytes: Some(retention_bytes),
        ..v1::TopicConfig::default()
    }
}

#[tokio::test]
async fn records_are_kept_for_their_age_and_little_longer() {
    let timed = TimedBroker::with_topic(1, by_age(80_000)).await;
    // A record a second: the offset is the second in which it was appended.
    for second in 0..200_u64 {
        timed.publish(0, "v").await;
        timed.pass(SECOND).await;
        let log_start = timed.log_starts().await[0];
        let age_of_oldest = second + 1 - log_start;
        assert!(
            log_start == 0 || age_of_oldest >= 80,
            "offset {} had to stay in second {second}",
            log_start - 1
        );
        assert!(
            age_of_oldest <= 80 + 10 + LOOK,
            "offset {log_start} had to go by second {second}"
        );
    }
    // 90 seconds in segments of 10, and perhaps parts of one at both ends.
    timed.wait_for_segments(9..=11).await;
}

#[tokio::test]
async fn a_topic_at_rest_becomes_empty() {
    let timed = TimedBroker::with_topic(2, by_age(60_000)).await;
    timed.publish(0, "a").await;
    timed.pass(30 * SECOND).await;
    timed.publish(1, "b").await;
    timed.pass(30 * SECOND).await;
    assert_eq!(timed.log_starts().await, [0, 0], "as old as the age");
    timed.pass(SECOND).await;
    assert_eq!(timed.log_starts().await, [1, 0]);
    timed.pass(30 * SECOND).await;
    assert_eq!(timed.log_starts().await, [1, 1]);
    // A partition at rest keeps no file.
    timed.wait_for_segments(0..=0).await;
    let topic = timed.shown().await;
    assert_eq!((topic.record_count, topic.size_bytes), (0, 0));
    timed.publish(0, "c").await;
    let read = timed.broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), ["c"]);
    assert_eq!(
        timed.shown().await.partitions[0].end_offset,
        2,
        "offsets go on"
    );
}

#[tokio::test]
async fn the_newest_bytes_of_the_whole_topic_are_kept_and_little_more() {
    const KEPT: u64 = 8 * MIB;
    let timed = TimedBroker::with_topic(2, by_bytes(KEPT)).await;
    // Rests from now on, and so holds what is oldest.
    timed.publish(1, "rests").await;
    let value = "v".repeat(100 * 1024);
    let mut written_bytes = 0;
    for _ in 0..200 {
        let before = timed.shown().await.size_bytes;
        timed.publish(0, &value).await;
        written_bytes += timed.shown().await.size_bytes - before;
        timed.pass(SECOND).await;
        let size_bytes = timed.shown().await.size_bytes;
        assert!(
            size_bytes >= written_bytes.min(KEPT),
            "{size_bytes} of {written_bytes}"
        );
        assert!(size_bytes <= KEPT + MIB + MIB / 4, "{size_bytes}");
    }
    assert!(written_bytes > 2 * KEPT, "{written_bytes}");
    let topic = timed.shown().await;
    let resting = &topic.partitions[1];
    assert_eq!(
        (resting.log_start_offset, resting.size_bytes),
        (1, 0),
        "what was oldest of the topic went first"
    );
    let busy = &topic.partitions[0];
    assert!(
        busy.log_start_offset > 0 && busy.end_offset == 200,
        "{busy:?}"
    );
    // One MiB each, and perhaps a part of one.
    timed.wait_for_segments(8..=10).await;
}

#[tokio::test]
async fn settings_count_from_when_they_are_set() {
    let timed = TimedBroker::with_topic(1, v1::TopicConfig::default()).await;
    timed.publish(0, "old").await;
    timed.pass(1000 * HOUR).await;
    assert_eq!(timed.log_starts().await, [0], "kept for ever");
    timed.update(by_age(60_000)).await;
    timed.pass(SECOND).await;
    assert_eq!(timed.log_starts().await, [1]);
    timed.publish(0, "new").await;
    let unset = v1::UpdateTopicRequest {
        name: "orders".to_owned(),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["retention_age_ms".to_owned()],
        }),
        ..v1::UpdateTopicRequest::default()
    };
    let unset = timed.broker.topics().update_topic(unset).await;
    assert_eq!(unset.unwrap().into_inner().topic.unwrap().config, None);
    timed.pass(1000 * HOUR).await;
    assert_eq!(timed.log_starts().await, [1], "kept for ever");
}

#[tokio::test]
async fn what_expired_while_the_broker_was_off_goes_when_it_is_back() {
    let timed = TimedBroker::with_topic(1, by_age(60_000)).await;
    timed.publish(0, "v").await;
    let timed = timed.restart_after(23 * HOUR).await;
    timed.pass(SECOND).await;
    assert_eq!(timed.log_starts().await, [1]);
    timed.wait_for_segments(0..=0).await;
}

#[tokio::test]
async fn after_more_than_a_day_the_clock_is_not_trusted_for_an_hour() {
    let timed = TimedBroker::with_topic(1, by_age(60_000)).await;
    timed.publish(0, "v").await;
    let timed = timed.restart_after(25 * HOUR).await;
    for _ in 0..59 {
        timed.pass(60 * SECOND).await;
        assert_eq!(
            timed.log_starts().await,
            [0],
            "someone may look at the clock"
        );
    }
    timed.pass(61 * SECOND).await;
    assert_eq!(timed.log_starts().await, [1]);
}

#[tokio::test]
async fn the_clock_is_trusted_by_a_broker_to_which_nothing_was_written_yet() {
    let timed = TimedBroker::start().await.restart_after(SECOND).await;
    timed.create(1, by_age(60_000)).await;
    timed.publish(0, "v").await;
    timed.pass(120 * SECOND).await;
    assert_eq!(timed.log_starts().await, [1]);
}

#[tokio::test]
async fn the_files_of_trimmed_records_are_removed() {
    let mut small = config();
    small.engine.core.segment_bytes_max = 64 * 1024;
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(small, environment).await;
    broker.create("orders", 1).await;
    let value = "v".repeat(40 * 1024);
    for _ in 0..10 {
        broker.publish("orders", 0, &[&value]).await;
    }
    assert_eq!(file_count(&disk, "log"), 10, "a segment for each");
    let request = v1::TrimTopicRequest {
        name: "orders".to_owned(),
        before: Some(v1::Position {
            position: Some(v1::position::Position::Offset(9)),
        }),
        ..v1::TrimTopicRequest::default()
    };
    soon(broker.topics().trim_topic(request)).await.unwrap();
    let removed = async {
        while file_count(&disk, "log") > 1 || file_count(&disk, "index") > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(removed).await;
    let read = broker.read_all(source("orders")).await;
    assert_eq!(all_values(&read), [value]);
}
