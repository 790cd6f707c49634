//! The scheduler and the world that it drives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;
use towpath_broker::core::{AppendRefusal, AppendRequest, CreateTopic};
use towpath_broker::runtime::command::{
    AppendAnswer, AppendSink, ControlCommand, DataCommand, Permits, Ticket,
};
use towpath_broker::runtime::engine::Engine;
use towpath_broker::runtime::published::TopicView;
use towpath_proto::names::TopicName;
use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk, SimOptions, SyncFailure, Trace};
use towpath_storage::{
    Environment, Offset, OpenError, Operation, PartitionRef, ProducerStamp, ReadLimit, SimClock,
    SimEntropy, StorageError, TailRead, TopicId,
};

use super::actors::{Producer, Reader, Unanswered, digest};
use super::faults::Weather;
use crate::history::{Event, FINAL_READER, GapReason, Item, Place, Violation, check};
use crate::stepper::small_options;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The broken rules.
    pub violations: Vec<Violation>,
    /// What the clients saw.
    pub history: Vec<Event>,
    /// Digest of every file operation.
    pub trace_digest: u64,
    /// Batches acknowledged, restarts, failed starts.
    pub counts: Counts,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that were acknowledged.
    pub accepted: u64,
    /// Times that the broker died and was opened again.
    pub restarts: u64,
    /// Times that opening it failed.
    pub failed_starts: u64,
    /// File operations that change the disk.
    pub operations: u64,
}

const PRODUCERS: u64 = 3;
const READERS: u64 = 3;
const NAMES: [&str; 2] = ["orders", "stock"];
/// Batches that a producer may have under way in one partition.
const WINDOW: usize = 16;

#[derive(Debug, Default)]
struct Mailbox {
    answers: Mutex<Vec<(u64, Ticket, AppendAnswer)>>,
}

/// The sink of one producer: the ticket's handle is the topic.
#[derive(Debug)]
struct Sink {
    producer: u64,
    mailbox: Arc<Mailbox>,
}

impl AppendSink for Sink {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        self.mailbox
            .answers
            .lock()
            .unwrap()
            .push((self.producer, ticket, answer));
    }
}

struct World {
    random: Rng,
    weather: Weather,
    clock: Arc<SimClock>,
    disk: SimDisk,
    engine: Option<Engine>,
    lives: u64,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    mailbox: Arc<Mailbox>,
    /// Topics that were seen to exist, alive or not.
    topics: BTreeMap<u64, u32>,
    history: Vec<Event>,
    counts: Counts,
    trace_digest: u64,
    /// Whether every file operation is printed: `TRACE=1`.
    is_traced: bool,
    /// Whether the file system stopped and the next crash takes what was pending.
    is_unmounted: bool,
}

/// Runs one seed for so many scheduler steps.
pub fn run(seed: u64, steps: u32) -> Outcome {
    let mut random = Rng::with_seed(seed);
    let weather = Weather::draw(&mut random);
    let disk = SimDisk::new(SimOptions {
        sector_bytes: if random.bool() { 512 } else { 4096 },
        total_bytes: weather.total_bytes,
        sync_failure: match random.bool() {
            true => SyncFailure::CacheKept,
            false => SyncFailure::CacheReverted,
        },
        trace: Trace::Mutations,
        seed: random.u64(..),
        ..SimOptions::default()
    });
    let mut world = World {
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        weather,
        disk,
        engine: None,
        lives: 0,
        producers: (0..PRODUCERS).map(Producer::new).collect(),
        readers: Vec::new(),
        mailbox: Arc::default(),
        topics: BTreeMap::new(),
        history: Vec::new(),
        counts: Counts::default(),
        trace_digest: 0,
        is_traced: std::env::var_os("TRACE").is_some(),
        is_unmounted: false,
        random,
    };
    world.weather.clone().apply(&world.disk);
    world.restart();
    for _ in 0..steps {
        world.step();
    }
    world.heal_and_finish();
    Outcome {
        violations: check(&world.history),
        history: world.history,
        trace_digest: world.trace_digest,
        counts: world.counts,
    }
}

impl World {
    fn step(&mut self) {
        match self.random.u32(..1000) {
            0..300 => self.send(),
            300..550 => self.drive(|engine| engine.step_round().map(drop)),
            550..750 => self.drive(|engine| engine.step_settle().map(drop)),
            750..800 => self.drive(|engine| engine.step_maintenance().map(drop)),
            800..950 => self.read(),
            950..970 => self.pass_time(),
            970..980 => self.create_topic(),
            980..981 => self.delete_topic(),
            981..987 => self.drive(|engine| {
                engine.sequencer.take_checkpoint();
                Ok(())
            }),
            987..991 => self.drive(|engine| {
                engine.maintenance_worker.watch_space();
                Ok(())
            }),
            991..995 if self.weather.has_crashes => self.die(),
            _ => self.drive(|engine| engine.sequencer.idle()),
        }
        self.take_answers();
    }

    /// Takes a step of the broker; an error ends its process.
    fn drive(&mut self, step: impl FnOnce(&mut Engine) -> Result<(), StorageError>) {
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        if let Err(error) = step(engine) {
            self.note_failure(&error);
            self.take_answers();
            self.die();
        }
    }

    /// The process ends, the disk is left in some state, and a new one starts.
    fn die(&mut self) {
        self.engine = None;
        self.take_answers();
        self.crash();
        self.restart();
    }

    /// After a failed sync of a folder ext4, XFS and Btrfs stop until they are mounted again.
    fn note_failure(&mut self, error: &StorageError) {
        let is_folder = matches!(
            error,
            StorageError::Io {
                operation: Operation::SyncDir,
                ..
            }
        );
        self.is_unmounted |= is_folder;
    }

    fn crash(&mut self) {
        let mut mode = self.weather.crash_mode(&mut self.random);
        if std::mem::take(&mut self.is_unmounted) && matches!(mode, CrashMode::Kill) {
            mode = CrashMode::PowerLoss(LossMode::Everything);
        }
        self.digest_trace();
        self.disk = self.disk.crash(&mode);
        self.weather.clone().apply(&self.disk);
    }

    fn digest_trace(&mut self) {
        self.counts.operations += self.disk.operations();
        for line in self.disk.take_trace() {
            if self.is_traced {
                println!("disk: {line}");
            }
            self.trace_digest = self.trace_digest.rotate_left(1) ^ digest(line.as_bytes());
        }
    }

    fn restart(&mut self) {
        self.counts.restarts += 1;
        for attempt in 0.. {
            self.lives += 1;
            let environment = Environment {
                vfs: self.disk.vfs(),
                clock: Arc::clone(&self.clock) as _,
                entropy: Arc::new(SimEntropy::new(self.random.u64(..))),
            };
            match Engine::open(&environment, &small_options()) {
                Ok(engine) => {
                    assert!(engine.report.losses.is_empty(), "nothing was damaged");
                    self.engine = Some(engine);
                    break;
                }
                Err(error) if attempt < 3 => {
                    if let OpenError::Storage(error) = &error {
                        self.note_failure(error);
                    }
                    self.counts.failed_starts += 1;
                    self.crash();
                    if attempt == 2 {
                        self.disk.heal();
                    }
                }
                Err(error) => panic!("a healthy disk cannot be opened: {error:?}"),
            }
        }
        self.readers
            .iter_mut()
            .for_each(|reader| reader.cursor = None);
        for reader in 0..self.readers.len() {
            self.start_session(reader);
        }
        self.send_again();
    }

    fn views(&self) -> Vec<Arc<TopicView>> {
        let topics = self
            .engine
            .as_ref()
            .map(|engine| engine.shared.published.topics());
        topics
            .iter()
            .flat_map(|topics| topics.after(None).map(Arc::clone))
            .collect()
    }

    fn pick_place(&mut self) -> Option<Place> {
        let views = self.views();
        let view = views.get(self.random.usize(..views.len().max(1)))?;
        let partition = self
            .random
            .u32(..u32::try_from(view.partitions().len()).unwrap());
        Some(Place {
            topic: view.id().get(),
            partition,
        })
    }

    fn send(&mut self) {
        let Some(place) = self.pick_place() else {
            return self.create_topic();
        };
        let number = self.random.usize(..self.producers.len());
        let producer = &mut self.producers[number];
        if producer
            .lanes
            .get(&place)
            .is_some_and(|lane| lane.unanswered.len() >= WINDOW)
        {
            return;
        }
        let batch = producer.next(place, &mut self.random);
        let item = Item {
            producer: producer.number,
            place,
            sequence: batch.sequence,
        };
        let records = u64::from(batch.record_count);
        self.history.push(Event::Sent {
            item,
            value: digest(&batch.payload),
            records,
        });
        self.push(number, place, batch);
    }

    fn push(&self, producer: usize, place: Place, batch: Unanswered) {
        let Some(engine) = &self.engine else { return };
        let id = self.producers[producer].id();
        let request = AppendRequest {
            partition: PartitionRef {
                topic: TopicId::new(place.topic),
                partition: place.partition,
            },
            producer: Some(ProducerStamp {
                id,
                epoch: 0,
                sequence: batch.sequence,
            }),
            payload_bytes: u32::try_from(batch.payload.len()).unwrap(),
            payload_crc: towpath_proto::batch::crc(&batch.payload),
            record_count: batch.record_count,
        };
        let sink = Sink {
            producer: self.producers[producer].number,
            mailbox: Arc::clone(&self.mailbox),
        };
        let ticket = Ticket {
            handle: u32::try_from(place.topic).unwrap(),
            partition: place.partition,
            sequence: batch.sequence,
        };
        let command = DataCommand::Append {
            request,
            payload: batch.payload,
            sink: Arc::new(sink),
            ticket,
            permits: Permits::default(),
        };
        engine
            .shared
            .commands
            .push_data(command)
            .expect("the broker is running");
    }

    /// Sends everything again that was not answered, in order.
    fn send_again(&mut self) {
        for producer in 0..self.producers.len() {
            let places: Vec<_> = self.producers[producer].lanes.keys().copied().collect();
            places
                .into_iter()
                .for_each(|place| self.send_lane_again(producer, place));
        }
    }

    fn send_lane_again(&self, producer: usize, place: Place) {
        let lane = self.producers[producer].lanes.get(&place);
        for batch in lane.iter().flat_map(|lane| &lane.unanswered) {
            self.push(producer, place, batch.clone());
        }
    }

    fn take_answers(&mut self) {
        let answers = std::mem::take(&mut *self.mailbox.answers.lock().unwrap());
        for (producer, ticket, answer) in answers {
            let place = Place {
                topic: u64::from(ticket.handle),
                partition: ticket.partition,
            };
            let number = usize::try_from(producer).unwrap();
            self.take_answer(number, place, ticket.sequence, answer);
        }
    }

    fn take_answer(&mut self, number: usize, place: Place, sequence: u64, answer: AppendAnswer) {
        let producer = &mut self.producers[number];
        let Some(lane) = producer.lanes.get_mut(&place) else {
            return;
        };
        match answer {
            AppendAnswer::Accepted { batch, .. } => {
                let item = Item {
                    producer: producer.number,
                    place,
                    sequence,
                };
                let offset = batch.base_offset.get();
                self.history.push(Event::Accepted { item, offset });
                self.counts.accepted += 1;
                lane.unanswered
                    .retain(|waiting| waiting.sequence != sequence);
            }
            AppendAnswer::Refused(AppendRefusal::TopicNotFound { .. }) => {
                producer.lanes.remove(&place);
            }
            // What follows a producer's first batch, when that was refused.
            AppendAnswer::Refused(AppendRefusal::ProducerUnknown) => {
                let first = lane.unanswered.front().map(|waiting| waiting.sequence);
                assert_eq!(first, Some(0), "only before anything was acknowledged");
            }
            // Sent again later: a full disk may have room, and what follows a refused batch is a gap.
            AppendAnswer::Refused(
                AppendRefusal::StorageFull | AppendRefusal::SequenceGap { .. },
            )
            | AppendAnswer::Failed
            | AppendAnswer::ShuttingDown => {}
            other => panic!("unexpected answer {other:?} to {place:?} {sequence}"),
        }
    }

    fn read(&mut self) {
        if self.readers.len() < usize::try_from(READERS).unwrap() {
            let Some(place) = self.pick_place() else {
                return;
            };
            let number = self.readers.len() as u64;
            self.readers.push(Reader {
                number,
                place,
                offset: Offset::ZERO,
                cursor: None,
            });
            return self.start_session(self.readers.len() - 1);
        }
        let reader = self.random.usize(..self.readers.len());
        let bytes_max = self.random.usize(1..30_000);
        self.read_once(reader, bytes_max);
    }

    fn start_session(&mut self, reader: usize) {
        let Reader {
            number,
            place,
            offset,
            ..
        } = self.readers[reader];
        self.history.push(Event::ReadFrom {
            reader: number,
            place,
            offset: offset.get(),
        });
    }

    /// Reads on; returns whether anything was found.
    fn read_once(&mut self, reader: usize, bytes_max: usize) -> bool {
        let Reader {
            number,
            place,
            offset,
            cursor,
        } = self.readers[reader];
        let Some(engine) = &self.engine else {
            return false;
        };
        let topics = engine.shared.published.topics();
        let Some(view) = topics.with_id(TopicId::new(place.topic)) else {
            if number != FINAL_READER {
                self.follow_another(reader);
            }
            return false;
        };
        let Some(handle) = view.partition(place.partition) else {
            return false;
        };
        let limit = ReadLimit {
            bytes_max,
            lsn_max: engine.shared.published.durable(),
        };
        let (frames, loss, cursor) = match handle.log().read_tail(offset, limit) {
            TailRead::AtEnd => return false,
            TailRead::Frames(frames) => (frames, None, None),
            TailRead::OnDisk { until } => {
                match engine
                    .reader
                    .read(handle.log(), cursor, offset, until, limit)
                {
                    Ok(read) => (read.frames, read.loss, read.cursor),
                    // The operating system could not read now; nothing is known to be lost.
                    Err(_) => return true,
                }
            }
        };
        let mut next = offset;
        for frame in &frames {
            self.history.push(Event::Read {
                reader: number,
                place,
                offset: frame.header.base_offset.get(),
                value: digest(&frame.payload),
                records: u64::from(frame.header.record_count),
            });
            next = frame.header.next_offset();
        }
        if let Some(loss) = loss {
            let (start, end) = (loss.start.get(), loss.end.get());
            let reason = GapReason::DataLoss;
            self.history.push(Event::Gap {
                reader: number,
                place,
                start,
                end,
                reason,
            });
            self.digest_trace();
            panic!("nothing was damaged, but {place:?} lost {loss}");
        }
        self.readers[reader].offset = next;
        self.readers[reader].cursor = cursor;
        true
    }

    fn follow_another(&mut self, reader: usize) {
        if let Some(place) = self.pick_place() {
            let number = self.readers[reader].number;
            self.readers[reader] = Reader {
                number,
                place,
                offset: Offset::ZERO,
                cursor: None,
            };
            self.start_session(reader);
        }
    }

    fn pass_time(&mut self) {
        self.clock
            .advance(Duration::from_millis(self.random.u64(1..5_000)));
        if self.weather.has_clock_jumps && self.random.u8(..4) == 0 {
            let year_ms = 365 * 86_400_000;
            self.clock.jump_wall_ms(self.random.i64(-year_ms..year_ms));
        }
    }

    fn create_topic(&mut self) {
        let name = NAMES[self.random.usize(..NAMES.len())];
        let partition_count = self.random.u32(1..4);
        let wish = CreateTopic {
            name: TopicName::new(name).unwrap(),
            partition_count,
        };
        let (answer, _) = oneshot::channel();
        let command = ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        };
        if let Some(engine) = &self.engine {
            engine
                .shared
                .commands
                .push_control(command)
                .expect("the broker is running");
        }
        self.drive(|engine| engine.step_round().map(drop));
        self.note_topics();
    }

    fn note_topics(&mut self) {
        for view in self.views() {
            let count = u32::try_from(view.partitions().len()).unwrap();
            self.topics.insert(view.id().get(), count);
        }
    }

    fn delete_topic(&mut self) {
        let Some(place) = self.pick_place() else {
            return;
        };
        let Some(view) = self
            .views()
            .into_iter()
            .find(|it| it.id().get() == place.topic)
        else {
            return;
        };
        // From here on its records may go, whatever becomes of the command.
        for partition in 0..u32::try_from(view.partitions().len()).unwrap() {
            let place = Place {
                topic: view.id().get(),
                partition,
            };
            self.history.push(Event::MayGo {
                place,
                below: u64::MAX,
            });
        }
        let (answer, _) = oneshot::channel();
        let command = ControlCommand::DeleteTopic {
            name: view.name().clone(),
            topic_id: Some(view.id()),
            is_dry_run: false,
            answer,
        };
        if let Some(engine) = &self.engine {
            engine
                .shared
                .commands
                .push_control(command)
                .expect("the broker is running");
        }
        self.drive(|engine| engine.step_round().map(drop));
    }

    /// The liveness phase: no more faults, everything in doubt is sent until it is answered, and all
    /// of it is read.
    fn heal_and_finish(&mut self) {
        self.disk.heal();
        self.disk.set_total_bytes(4 << 30);
        self.weather.has_crashes = false;
        self.settle_down();
        for _ in 0..20 {
            let is_done = self.producers.iter().all(|producer| {
                producer
                    .lanes
                    .values()
                    .all(|lane| lane.unanswered.is_empty())
            });
            if is_done {
                break;
            }
            self.send_again();
            self.settle_down();
        }
        for producer in &self.producers {
            for (place, lane) in &producer.lanes {
                assert!(
                    lane.unanswered.is_empty(),
                    "{place:?}: {} unanswered",
                    lane.unanswered.len()
                );
            }
        }
        self.read_everything();
        self.digest_trace();
    }

    fn settle_down(&mut self) {
        loop {
            let Some(engine) = self.engine.as_mut() else {
                return;
            };
            engine.maintenance_worker.watch_space();
            let outcome = (|| {
                Ok::<_, StorageError>(
                    engine.step_round()? || engine.step_settle()? || engine.step_maintenance()?,
                )
            })();
            self.take_answers();
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => panic!("a healthy broker goes on: {error:?}"),
            }
        }
    }

    fn read_everything(&mut self) {
        self.note_topics();
        for view in self.views() {
            for (partition, handle) in (0..).zip(view.partitions()) {
                let place = Place {
                    topic: view.id().get(),
                    partition,
                };
                let offset = handle.log().log_start();
                let reader = self.readers.len();
                self.readers.push(Reader {
                    number: FINAL_READER,
                    place,
                    offset,
                    cursor: None,
                });
                self.start_session(reader);
                while self.read_once(reader, 100_000) {}
                let (log_start, end) = (offset.get(), handle.log().end().get());
                self.history.push(Event::Final {
                    place,
                    log_start,
                    end,
                });
            }
        }
    }
}
