//! A data folder with every kind of file and row, in a few hundred kilobytes.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRequest, BatchFacts, CreateTopic, KeyHead, RecordFacts, Remembered, ScheduleTime,
    TopicConfig, record_hash,
};
use towpath_broker::runtime::command::{CarriedFacts, ControlCommand, DataCommand, Permits};
use towpath_broker::runtime::engine::EngineOptions;
use towpath_broker::runtime::producer_command::ProducerCommand;
use towpath_proto::compression::{Codec, Compression, compress};
use towpath_proto::names::ProducerName;
use towpath_proto::v1;
use towpath_storage::vfs::sim::{SimDisk, SimOptions, Trace};
use towpath_storage::{PartitionRef, StorageError, TopicId};
use towpath_tests::model::Model;
use towpath_tests::stepper::{Stepper, Verdict, small_options};

/// Where the folder was before, at moments between which its files have changed.
pub(crate) struct Golden {
    /// Closed, in the end.
    pub(crate) disk: SimDisk,
    /// Copies of the whole disk as it was earlier, oldest first.
    pub(crate) earlier: Vec<SimDisk>,
}

/// Sizes at which a folder with everything in it is small.
pub(crate) fn options() -> EngineOptions {
    let mut options = small_options();
    options.storage.journal_file_bytes = Some(128 * 1024);
    options.core.segment_bytes_max = 40 * 1024;
    options.sequencer.reference_bytes_min = 5 * 1024;
    options.sequencer.tail_cache_bytes = 0;
    options
}

/// Makes the folder.
pub(crate) fn golden() -> Golden {
    let disk = SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    });
    let mut earlier = Vec::new();
    let mut open = |disk: &SimDisk| {
        earlier.push(disk.fork());
        let seed = earlier.len() as u64;
        Stepper::open(disk, seed, &options(), Model::default()).unwrap()
    };
    let mut broker = open(&disk);
    first_life(&mut broker).unwrap();
    let model = std::mem::take(&mut broker.model);
    drop(broker);
    let mut broker = open(&disk);
    broker.model = model;
    let mut middle = Vec::new();
    second_life(&mut broker, || middle.push(disk.fork())).unwrap();
    broker.engine.maintenance_worker.scrub();
    broker.engine.maintenance_worker.keep_scrub();
    drop(broker);
    earlier.extend(middle);
    Golden { disk, earlier }
}

fn checkpoint(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.engine.sequencer.take_checkpoint();
    broker.settle_down()
}

/// Topics, a group, a subscription with letters, schedules: all of them in a checkpoint.
fn first_life(broker: &mut Stepper) -> Result<(), StorageError> {
    broker.create_topic("orders", 2)?;
    broker.create_topic("gone", 1)?;
    for length in [40, 700, 8, 2_000, 300] {
        broker.send("orders", 0, length);
        broker.send("orders", 1, length / 2);
        broker.send("gone", 0, 20);
        broker.settle_down()?;
        broker.note_answers();
        broker.pass(Duration::from_secs(2))?;
    }
    broker.create_topic("work", 2)?;
    broker.send_keys("work", 0, &[1, 2, 1, 3, 1]);
    broker.send_keys("work", 1, &[1, 2, 2]);
    broker.settle_down()?;
    broker.note_answers();
    broker.join_group("billing", "orders")?;
    broker.commit("billing", 0, 3)?;
    broker.subscribe("mail", "work", [5, 3])?;
    broker.say("mail", (0, 1), Verdict::Ack, &[])?;
    broker.say("mail", (0, 0), Verdict::DeadLetter, &[2, 4])?;
    broker.say("mail", (1, 0), Verdict::Nack, &[])?;
    broker.create_topic("later", 1)?;
    for delay_ms in [400_000, 500_000] {
        let when = ScheduleTime::After(delay_ms);
        broker.now(|it| it.begin_schedule("later", 0, when))?;
    }
    broker.create_compacted(1)?;
    for (keys, padding) in [
        (&[(1, false), (2, false), (3, false)][..], 3_000),
        (&[(2, false), (2, false)], 10),
        (&[(4, false), (1, true), (5, false)], 4_000),
    ] {
        broker.publish_keyed(0, keys, padding)?;
    }
    broker.compact()?;
    begin_life(broker)?;
    create_exact(broker)?;
    publish_exact(broker, 1)?;
    broker.delete_topic("gone")?;
    checkpoint(broker)
}

/// More of it, behind the last checkpoint too, so that the journal holds what nothing else does.
fn second_life(broker: &mut Stepper, mut keep_copy: impl FnMut()) -> Result<(), StorageError> {
    for length in [6_000, 9_000, 900, 5_500, 4_000, 100, 6_100, 9_500, 200] {
        // By reference, and over several segments; more than an entry in each index.
        broker.send("orders", 0, length);
        broker.send("orders", 1, length - length / 5);
        broker.settle_down()?;
        broker.note_answers();
        broker.pass(Duration::from_secs(1))?;
    }
    publish_compressed(broker, Codec::Lz4)?;
    publish_compressed(broker, Codec::Zstd)?;
    publish_exact(broker, 2)?;
    keep_copy();
    checkpoint(broker)?;
    keep_copy();
    broker.trim("orders", 1, 2)?;
    broker.send("orders", 0, 6_500);
    broker.send("orders", 1, 60);
    broker.settle_down()?;
    broker.note_answers();
    broker.seek("billing", 1, 3)?;
    broker.now(|it| it.begin_schedule("later", 0, ScheduleTime::After(600_000)))?;
    publish_exact(broker, 3)?;
    publish_compressed(broker, Codec::Zstd)?;
    keep_copy();
    broker.send("orders", 0, 150);
    broker.send("orders", 1, 150);
    // A round that is not settled; and a mark, which says that it is durable.
    broker.engine.step_round()?;
    broker.note_answers();
    broker.pass_by(Duration::from_millis(200))
}

fn begin_life(broker: &mut Stepper) -> Result<(), StorageError> {
    let (answer, mut begun) = oneshot::channel();
    let name = ProducerName::new("relay").unwrap();
    let command = ControlCommand::Producer(ProducerCommand::Open { name, answer });
    broker.engine.shared.commands.push_control(command).unwrap();
    broker.settle_down()?;
    begun.try_recv().unwrap().unwrap();
    Ok(())
}

fn id_of(broker: &Stepper, topic: &str) -> TopicId {
    let topics = broker.engine.shared.published.topics();
    let view = topics.named(&topic.parse().unwrap());
    view.expect("it was created").id()
}

fn publish(
    broker: &mut Stepper,
    request: AppendRequest,
    payload: Bytes,
    facts: Option<CarriedFacts>,
) -> Result<(), StorageError> {
    let (answer, mut published) = oneshot::channel();
    let command = DataCommand::Publish {
        appends: vec![(request, payload)],
        facts: facts.map(Box::new),
        letters: None,
        answer,
        permits: Permits::default(),
    };
    broker.engine.shared.commands.push_data(command).unwrap();
    broker.settle_down()?;
    published.try_recv().unwrap().expect("not refused");
    Ok(())
}

fn publish_compressed(broker: &mut Stepper, codec: Codec) -> Result<(), StorageError> {
    let value = |place: u8| Bytes::from(vec![place; 400]);
    let records = (0..4).map(|place| v1::Record {
        value: Some(value(place)),
        ..v1::Record::default()
    });
    let plain = v1::RecordBatch {
        records: records.collect(),
    };
    let how = match codec {
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd { level: 3 },
    };
    let payload = compress(&plain.encode_to_vec(), how).expect("it becomes smaller");
    let topic = id_of(broker, "orders");
    let place = PartitionRef {
        topic,
        partition: 1,
    };
    let request = AppendRequest {
        codec: Some(codec),
        ..AppendRequest::plain(place, &payload, 4)
    };
    publish(broker, request, payload, None)
}

/// A topic that compares events and counts versions of keys.
fn create_exact(broker: &mut Stepper) -> Result<(), StorageError> {
    let wish = CreateTopic {
        name: "exact".parse().unwrap(),
        partition_count: 1,
        config: TopicConfig {
            dedupe_window_ms: Some(86_400_000),
            has_key_versions: true,
            ..TopicConfig::default()
        },
    };
    let (answer, mut created) = oneshot::channel();
    let command = ControlCommand::CreateTopic {
        wish,
        is_dry_run: false,
        answer,
    };
    broker.engine.shared.commands.push_control(command).unwrap();
    broker.settle_down()?;
    created.try_recv().unwrap().expect("not refused");
    Ok(())
}

/// Two records of two keys, each an event of its own.
fn publish_exact(broker: &mut Stepper, round: u8) -> Result<(), StorageError> {
    let topic = id_of(broker, "exact");
    let hash_key = *broker.engine.identity.broker_id.as_bytes();
    let snapshot = broker.engine.shared.index.snapshot();
    let mut records = Vec::new();
    let mut facts = Vec::new();
    for (origin, name) in [(0, 1_u8), (1, 2)] {
        let mut key = Remembered::new(record_hash(&hash_key, &[&[name]]));
        let found = snapshot.runs.get(&KeyHead::row_key(topic, &key.hash))?;
        key.on_disk = found.value().cloned();
        let event = Remembered::new(record_hash(&hash_key, &[&[round], &[name]]));
        facts.push(RecordFacts {
            origin,
            key: Some(key),
            event: Some(event),
            ..RecordFacts::default()
        });
        records.push(v1::Record {
            key: Some(Bytes::copy_from_slice(&[name])),
            value: Some(Bytes::from(vec![round; 50])),
            ..v1::Record::default()
        });
    }
    let payload: Bytes = v1::RecordBatch { records }.encode_to_vec().into();
    let place = PartitionRef {
        topic,
        partition: 0,
    };
    let request = AppendRequest::plain(place, &payload, 2);
    let facts = CarriedFacts {
        batches: vec![BatchFacts {
            records: facts,
            ..BatchFacts::default()
        }],
        plain: None,
        snapshot,
    };
    publish(broker, request, payload, Some(facts))
}
