//! What a client cannot see from outside: memory, and logs whose start has moved.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use towpath_proto::compression::CodecSet;
use towpath_storage::vfs::sim::{OperationKind, SimDisk, SimOptions, Trace};
use towpath_storage::{
    Environment, Lsn, Offset, OffsetRange, PartitionBounds, PartitionLog, PartitionRef, SimEntropy,
    SystemClock,
};

use super::lane::{Ahead, Lane};
use super::pass::AHEAD_BYTES_MAX;
use super::*;
use crate::core::{AppendRequest, CreateTopic};
use crate::memory::{Budget, Share};
use crate::runtime::command::{ControlCommand, DataCommand, Permits};
use crate::runtime::command_queue::CommandQueue;
use crate::runtime::engine::{Engine, EngineOptions};
use crate::runtime::threads::Threads;

/// A broker without a network.
struct Running {
    disk: SimDisk,
    threads: Threads,
    commands: Arc<CommandQueue>,
    reading: Reading,
}

impl Running {
    fn start(tail_cache_bytes: usize) -> Self {
        let disk = SimDisk::new(SimOptions {
            trace: Trace::Off,
            ..SimOptions::default()
        });
        let environment = Environment {
            vfs: disk.vfs(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SimEntropy::new(1)),
        };
        let mut options = EngineOptions::default();
        options.storage.journal_file_bytes = Some(16 * 1024 * 1024);
        options.sequencer.tail_cache_bytes = tail_cache_bytes;
        let engine = Engine::open(&environment, &options).unwrap();
        let (commands, pool) = (Arc::clone(&engine.shared.commands), ReadPool::default());
        let reading = Reading::new(&engine.shared, engine.reader.clone(), pool.clone());
        let threads = Threads::start(engine, pool).unwrap();
        Self {
            disk,
            threads,
            commands,
            reading,
        }
    }

    async fn create(&self, partition_count: u32) -> Arc<TopicView> {
        let (answer, created) = oneshot::channel();
        let wish = CreateTopic {
            name: "orders".parse().unwrap(),
            partition_count,
            config: crate::core::TopicConfig::default(),
        };
        let command = ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        };
        self.commands.push_control(command).unwrap();
        created.await.unwrap().unwrap().unwrap()
    }

    /// Appends one record of so many bytes, which nobody looks into.
    async fn append(&self, topic: &TopicView, partition: u32, payload_bytes: u32) {
        self.append_together(topic, &[(partition, payload_bytes)])
            .await;
    }

    /// Appends such records to several partitions in one entry.
    async fn append_together(&self, topic: &TopicView, records: &[(u32, u32)]) {
        let appends = records.iter().map(|&(partition, payload_bytes)| {
            let payload = vec![0; payload_bytes as usize];
            let partition = PartitionRef {
                topic: topic.id(),
                partition,
            };
            let request = AppendRequest::plain(partition, &payload, 1);
            (request, payload.into())
        });
        let (answer, published) = oneshot::channel();
        let command = DataCommand::Publish {
            appends: appends.collect(),
            facts: None,
            letters: None,
            answer,
            permits: Permits::default(),
        };
        self.commands.push_data(command).unwrap();
        published.await.unwrap().unwrap();
    }
}

fn merging() -> FetchOptions {
    FetchOptions {
        is_following: false,
        is_standing: false,
        is_merging: true,
        skips_loss: false,
        stops_at_trimmed: false,
        heartbeat_interval: Duration::from_secs(5),
        drain: Drain::new(Duration::ZERO),
        memory: memory(),
        accepted: CodecSet::default(),
    }
}

/// More than any of this needs.
fn memory() -> Arc<Unread> {
    let budget = Budget::new(1 << 30, Duration::from_secs(10));
    Unread::new(&Share::new(&budget, budget.bytes()))
}

fn of_all(topic: &Arc<TopicView>) -> Source {
    let partitions = 0..u32::try_from(topic.partitions().len()).unwrap();
    Source {
        topic: Arc::clone(topic),
        starts: partitions.map(|it| (it, Offset::ZERO)).collect(),
    }
}

#[tokio::test]
async fn a_cut_leaves_out_what_is_not_covered_by_the_durable_lsn() {
    // The sequencer moves the ends first. Here they are those of a broker that is one entry further.
    let (behind, ahead) = (Running::start(1_000_000), Running::start(1_000_000));
    let mut topics = Vec::new();
    for running in [&behind, &ahead] {
        let topic = running.create(2).await;
        running.append(&topic, 0, 10).await;
        running.append(&topic, 1, 10).await;
        topics.push(topic);
    }
    ahead.append(&topics[1], 1, 10).await;
    let published = behind.reading.published();
    let logs = || {
        topics[1]
            .partitions()
            .iter()
            .map(|partition| partition.log())
    };
    let cut = Cut::take(published, logs);
    assert_eq!(cut.lsn, published.durable());
    assert_eq!(cut.ends, [Offset::new(1), Offset::new(1)]);
    let cut = Cut::take(ahead.reading.published(), logs);
    assert_eq!(cut.ends, [Offset::new(1), Offset::new(2)]);
}

#[tokio::test]
async fn a_pass_reads_nothing_of_later_entries() {
    for (is_merging, tail_cache_bytes) in [(false, 0), (true, 0), (false, 1_000_000)] {
        let running = Running::start(tail_cache_bytes);
        let topic = running.create(2).await;
        for partition in [0, 1, 0, 1] {
            running.append(&topic, partition, 10).await;
        }
        let snapshot = running.reading.published().durable();
        for partition in [0, 1, 0, 1] {
            running.append(&topic, partition, 10).await;
        }
        let options = FetchOptions {
            is_merging,
            ..merging()
        };
        let reading = running.reading.clone();
        let mut fetch = Fetch::new(reading, &[of_all(&topic)], snapshot, options);
        let mut frame_count = 0;
        while let Some(event) = fetch.next().await {
            match event {
                FetchEvent::Frame(_, frame) => {
                    assert!(frame.header.lsn <= snapshot, "{frame:?}");
                    frame_count += 1;
                }
                FetchEvent::CaughtUp { end, lsn, .. } => {
                    assert_eq!((end, lsn), (Offset::new(2), snapshot));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(frame_count, 4, "all that the snapshot covers");
    }
}

#[tokio::test]
async fn merging_reads_only_so_much_ahead() {
    const PARTITION_COUNT: u32 = 60;
    let running = Running::start(0);
    let topic = running.create(PARTITION_COUNT).await;
    for _ in 0..2 {
        for partition in 0..PARTITION_COUNT {
            running.append(&topic, partition, 1_000).await;
        }
    }
    let source = of_all(&topic);
    let durable = running.reading.published().durable();
    let mut fetch = Fetch::new(running.reading.clone(), &[source], durable, merging());
    let (mut last, mut frame_count, mut most) = (Lsn::ZERO, 0, 0);
    while let Some(event) = fetch.next().await {
        most = most.max(fetch.ahead_bytes());
        if let FetchEvent::Frame(_, frame) = event {
            assert!(frame.header.lsn > last, "{} after {last}", frame.header.lsn);
            last = frame.header.lsn;
            frame_count += 1;
        }
    }
    assert_eq!(frame_count, 2 * PARTITION_COUNT, "everything");
    // All but what is being settled comes from disk.
    assert!(most > AHEAD_BYTES_MAX / 2, "{most} bytes");
    assert!(most <= AHEAD_BYTES_MAX, "{most} bytes");
    assert_eq!(fetch.ahead_bytes(), 0, "nothing is left over");
    running.threads.stop();
}

#[tokio::test]
async fn merging_many_partitions_reads_no_block_for_every_frame() {
    const PARTITION_COUNT: u32 = 100;
    const FRAMES_EACH: u32 = 12;
    let running = Running::start(0);
    let topic = running.create(PARTITION_COUNT).await;
    for _ in 0..FRAMES_EACH {
        for partition in 0..PARTITION_COUNT {
            running.append(&topic, partition, 1_000).await;
        }
    }
    let source = of_all(&topic);
    let durable = running.reading.published().durable();
    let before = running.disk.count(OperationKind::Read);
    let mut fetch = Fetch::new(running.reading.clone(), &[source], durable, merging());
    let mut frame_count = 0;
    while let Some(event) = fetch.next().await {
        frame_count += u32::from(matches!(event, FetchEvent::Frame(..)));
    }
    let read_count = running.disk.count(OperationKind::Read) - before;
    assert_eq!(frame_count, PARTITION_COUNT * FRAMES_EACH, "everything");
    // An index, the frame that its entry names and a block of each, and what a start in the middle of
    // settling adds: another block.
    let enough = u64::from(5 * PARTITION_COUNT);
    assert!(read_count <= enough, "{read_count} reads");
    running.threads.stop();
}

#[tokio::test]
async fn a_reader_that_was_overtaken_is_told_what_was_trimmed() {
    let running = Running::start(0);
    let topic = running.create(1).await;
    let place = Place {
        source: 0,
        partition: 0,
    };
    let bounds = PartitionBounds {
        log_start: Offset::new(10),
        end: Offset::new(20),
        ..PartitionBounds::default()
    };
    let of = PartitionRef {
        topic: topic.id(),
        partition: 0,
    };
    let log = Arc::new(PartitionLog::new(of, bounds));
    let mut lane = Lane::new(place, &topic, &log, Offset::new(4));
    let trimmed = OffsetRange {
        start: Offset::new(4),
        end: Offset::new(10),
    };
    let ahead = lane.look(&running.reading, &memory(), Lsn::new(9)).await;
    assert_eq!(ahead, Ahead::Gap(trimmed, GapCause::Trimmed));
    running.threads.stop();
}

#[tokio::test]
async fn a_frame_tells_all_that_it_holds_in_memory() {
    for tail_cache_bytes in [1_000_000, 0] {
        let running = Running::start(tail_cache_bytes);
        let topic = running.create(2).await;
        for _ in 0..3 {
            let records = [(0, 20_000), (1, 100_000)];
            running.append_together(&topic, &records).await;
        }
        let source = of_all(&topic);
        let durable = running.reading.published().durable();
        let mut fetch = Fetch::new(running.reading.clone(), &[source], durable, merging());
        let mut backings = Vec::new();
        while let Some(event) = fetch.next().await {
            if let FetchEvent::Frame(place, frame) = event {
                backings.push((place.partition, frame.backing, frame));
            }
        }
        assert_eq!(backings.len(), 6, "all frames");
        for (partition, backing, frame) in &backings {
            let of_round = backings.iter().filter(|(_, it, _)| it == backing);
            let together: usize = of_round.map(|(_, _, it)| it.payload.len()).sum();
            let bytes = backing.bytes();
            assert!(bytes > together, "{bytes} bytes hold {together}");
            assert!(bytes < 600_000, "{bytes} bytes of a round or of a block");
            let lsn = frame.header.lsn;
            if tail_cache_bytes > 0 {
                assert_eq!(together, 120_000, "the round {lsn}, partition {partition}");
            }
        }
        running.threads.stop();
    }
}
