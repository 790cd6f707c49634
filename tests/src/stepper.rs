//! A broker without threads on a simulated disk: commands go in, steps are taken one at a time, answers
//! are compared with the model.

mod commits;
mod compaction;
mod groups;
mod schedules;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use towpath_broker::core::{
    AppendRefusal, AppendRequest, CoreLimits, CreateTopic, SettingChange, TopicConfig,
    TopicConfigChange, TrimTopic, UpdateTopic,
};
use towpath_broker::runtime::command::{
    Answer, AppendAnswer, AppendSink, CommandError, ControlCommand, DataCommand, Permits,
    Published, Ticket,
};
use towpath_broker::runtime::engine::{Engine, EngineOptions};
use towpath_broker::runtime::published::PartitionHandle;
use towpath_broker::runtime::scrub::ScrubOptions;
use towpath_broker::runtime::sequencer::SequencerLimits;
use towpath_proto::names::TopicName;
use towpath_storage::vfs::sim::SimDisk;
use towpath_storage::{
    Environment, Frame, Offset, OpenError, PartitionRef, ProducerId, ProducerStamp, ReadLimit,
    SimClock, SimEntropy, StorageError, StorageOptions, TailRead,
};

use crate::model::{Deletion, KnownTrim, Model, SentBatch, payload};

pub use compaction::{KeyedRecord, KnownKeyed};
pub use subscriptions::Verdict;

/// Sizes at which every mechanism is reached with a few kilobytes.
pub fn small_options() -> EngineOptions {
    EngineOptions {
        storage: StorageOptions {
            journal_file_bytes: Some(512 * 1024),
            open_file_count_max: 16,
            dirty_segment_count_max: 256,
            recovery_dirty_segment_count_max: 256,
            ..StorageOptions::default()
        },
        core: CoreLimits {
            segment_bytes_max: 64 * 1024,
            ..CoreLimits::default()
        },
        sequencer: SequencerLimits {
            tail_cache_bytes: 32 * 1024,
            reference_bytes_min: 12 * 1024,
            ..SequencerLimits::default()
        },
        scrub: ScrubOptions::default(),
    }
}

#[derive(Debug, Default)]
struct Answers {
    by_ticket: Mutex<BTreeMap<(u32, u32, u64), AppendAnswer>>,
}

impl AppendSink for Answers {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        let key = (ticket.handle, ticket.partition, ticket.sequence);
        self.by_ticket.lock().unwrap().insert(key, answer);
    }
}

/// A broker that is driven by hand, and what its one client knows.
#[derive(Debug)]
pub struct Stepper {
    /// The broker.
    pub engine: Engine,
    /// What was acknowledged.
    pub model: Model,
    answers: Arc<Answers>,
    /// What the one member of groups was told.
    ear: Arc<groups::Ear>,
    /// What the one consumer of subscriptions has.
    hands: Arc<subscriptions::Hands>,
    schedules_in_flight: schedules::SchedulesInFlight,
    clock: Arc<SimClock>,
}

/// Where the answer to what was published comes.
pub type PublishAnswer = oneshot::Receiver<Result<Published, CommandError<AppendRefusal>>>;

/// One producer does all the writing.
const PRODUCER: ProducerId = ProducerId::new([7; 16]);

impl Stepper {
    /// Opens a broker on a simulated disk. The model is what was known before, the seed that of what
    /// the broker draws at random.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open(
        disk: &SimDisk,
        seed: u64,
        options: &EngineOptions,
        model: Model,
    ) -> Result<Self, OpenError> {
        Self::open_at(disk, seed, options, model, 1_700_000_000_000)
    }

    /// The same with a wall clock that says this, milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_at(
        disk: &SimDisk,
        seed: u64,
        options: &EngineOptions,
        model: Model,
        wall_ms: i64,
    ) -> Result<Self, OpenError> {
        let clock = Arc::new(SimClock::new(wall_ms));
        let environment = Environment {
            vfs: disk.vfs(),
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(SimEntropy::new(seed)),
        };
        let engine = Engine::open(&environment, options)?;
        Ok(Self {
            clock,
            engine,
            model,
            answers: Arc::default(),
            ear: Arc::default(),
            hands: Arc::default(),
            schedules_in_flight: schedules::SchedulesInFlight::default(),
        })
    }

    /// Takes steps until there is nothing to do.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn settle_down(&mut self) -> Result<(), StorageError> {
        while self.engine.step_round()?
            || self.engine.step_settle()?
            || self.engine.step_maintenance()?
            || self.engine.step_inspect()
        {}
        Ok(())
    }

    /// Lets time pass, so that everything is looked at which is done now and then.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn pass(&mut self, time: Duration) -> Result<(), StorageError> {
        self.pass_by(time)?;
        self.settle_down()
    }

    /// The same without what follows from it.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn pass_by(&mut self, time: Duration) -> Result<(), StorageError> {
        self.clock.advance(time);
        self.engine.sequencer.idle()
    }

    /// Steps the wall clock, in either direction.
    pub fn jump_wall(&self, step_ms: i64) {
        self.clock.jump_wall_ms(step_ms);
    }

    /// Creates a topic and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn create_topic(&mut self, name: &str, partition_count: u32) -> Result<(), StorageError> {
        self.model
            .topics
            .push((name.to_owned(), crate::model::KnownTopic::default()));
        let wish = CreateTopic {
            name: TopicName::new(name).unwrap(),
            partition_count,
            config: TopicConfig::default(),
        };
        let created = self.control(|answer| ControlCommand::CreateTopic {
            wish,
            is_dry_run: false,
            answer,
        })?;
        let view = created.expect("not a dry run");
        self.model.topic(name).id = Some(view.id().get());
        Ok(())
    }

    /// Deletes a topic and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), StorageError> {
        self.model.topic(name).deletion = Deletion::InDoubt;
        self.control(|answer| ControlCommand::DeleteTopic {
            name: TopicName::new(name).unwrap(),
            topic_id: None,
            is_dry_run: false,
            answer,
        })?;
        self.model.topic(name).deletion = Deletion::Done;
        Ok(())
    }

    /// Has a topic keep what is no older than this, and waits for the answer. From then on everything
    /// may go that was sent.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn keep_for(&mut self, name: &str, age_ms: u64) -> Result<(), StorageError> {
        let topic = self.model.topic(name);
        for partition in topic.partitions.keys() {
            topic.trims.entry(*partition).or_default().asked = u64::MAX;
        }
        let change = TopicConfigChange {
            retention_age_ms: SettingChange::Become(Some(age_ms)),
            ..TopicConfigChange::default()
        };
        let wish = UpdateTopic {
            name: TopicName::new(name).unwrap(),
            expected: None,
            change,
        };
        self.control(|answer| ControlCommand::UpdateTopic {
            wish,
            is_dry_run: false,
            answer,
        })
        .map(drop)
    }

    /// Trims a partition and waits for the answer.
    ///
    /// # Errors
    /// What stops the broker.
    pub fn trim(&mut self, name: &str, partition: u32, log_start: u64) -> Result<(), StorageError> {
        let known = self.model.topic(name).trims.entry(partition).or_default();
        known.asked = known.asked.max(log_start);
        let wish = TrimTopic {
            name: TopicName::new(name).unwrap(),
            topic_id: None,
            log_starts: vec![(partition, Offset::new(log_start))],
        };
        self.control(|answer| ControlCommand::TrimTopic {
            is_continuation: false,
            wish,
            is_dry_run: false,
            answer,
        })?;
        let known = self.model.topic(name).trims.entry(partition).or_default();
        known.done = known.done.max(log_start);
        Ok(())
    }

    fn control<T, R>(
        &mut self,
        command: impl FnOnce(Answer<T, R>) -> ControlCommand,
    ) -> Result<T, StorageError>
    where
        T: std::fmt::Debug,
        R: std::fmt::Debug,
    {
        let (answer, mut result) = oneshot::channel();
        let pushed = self.engine.shared.commands.push_control(command(answer));
        pushed.expect("the broker is running");
        self.settle_down()?;
        let result = result.try_recv().expect("answered");
        Ok(result.expect("not refused"))
    }

    /// Sends one batch of `length` bytes; the answer is noted by [`Stepper::note_answers`].
    pub fn send(&mut self, name: &str, partition: u32, length: usize) {
        let topic = self.model.topic(name);
        let id = topic.id.expect("the script waits for the topic");
        let batches = topic.partitions.entry(partition).or_default();
        let sequence = batches.len() as u64;
        let payload = payload(id, partition, sequence, length);
        let record_count = 1 + u32::try_from(sequence % 3).unwrap();
        batches.push(SentBatch {
            payload: payload.clone(),
            record_count,
            accepted: None,
        });
        self.push(id, partition, sequence, payload, record_count);
    }

    fn push(&self, id: u64, partition: u32, sequence: u64, payload: Bytes, record_count: u32) {
        let topic = towpath_storage::TopicId::new(id);
        let place = PartitionRef { topic, partition };
        let request = AppendRequest {
            producer: Some(ProducerStamp {
                id: PRODUCER,
                epoch: 0,
                sequence,
            }),
            ..AppendRequest::plain(place, &payload, record_count as usize)
        };
        let sink = Arc::clone(&self.answers) as Arc<dyn AppendSink>;
        let ticket = Ticket {
            handle: u32::try_from(id).unwrap(),
            partition,
            sequence,
        };
        let permits = Permits::default();
        let command = DataCommand::Append {
            request,
            payload,
            facts: None,
            sink,
            ticket,
            permits,
        };
        self.engine
            .shared
            .commands
            .push_data(command)
            .expect("the broker is running");
    }

    /// Publishes one record of `length` bytes beside the model, which knows nothing of it. Returns its
    /// bytes and where the answer comes.
    pub fn publish(&mut self, name: &str, partition: u32, length: usize) -> (Bytes, PublishAnswer) {
        let id = self.model.topic(name).id;
        let topic = towpath_storage::TopicId::new(id.expect("the script waits for the topic"));
        let payload = payload(topic.get(), partition, u64::MAX, length);
        let place = PartitionRef { topic, partition };
        let request = AppendRequest::plain(place, &payload, 1);
        let (answer, published) = oneshot::channel();
        let command = DataCommand::Publish {
            appends: vec![(request, payload.clone())],
            facts: None,
            letters: None,
            answer,
            permits: Permits::default(),
        };
        let pushed = self.engine.shared.commands.push_data(command);
        pushed.expect("the broker is running");
        (payload, published)
    }

    /// Sends again what was not acknowledged, as a client does after a restart.
    pub fn send_doubtful(&mut self) {
        for (_, topic) in &self.model.topics {
            if let (Some(id), Deletion::None) = (topic.id, topic.deletion) {
                for (partition, batches) in &topic.partitions {
                    for (sequence, batch) in (0..).zip(batches) {
                        if batch.accepted.is_none() {
                            let (payload, count) = (batch.payload.clone(), batch.record_count);
                            self.push(id, *partition, sequence, payload, count);
                        }
                    }
                }
            }
        }
    }

    /// Notes the answers that came.
    pub fn note_answers(&mut self) {
        let answers = std::mem::take(&mut *self.answers.by_ticket.lock().unwrap());
        for ((id, partition, sequence), answer) in answers {
            let topics = &mut self.model.topics;
            let found = topics
                .iter_mut()
                .find(|(_, topic)| topic.id == Some(u64::from(id)));
            let batches = found.and_then(|(_, topic)| topic.partitions.get_mut(&partition));
            let sent =
                batches.and_then(|batches| batches.get_mut(usize::try_from(sequence).unwrap()));
            match (answer, sent) {
                (AppendAnswer::Accepted { batch, .. }, Some(sent)) => {
                    if let Some(earlier) = sent.accepted {
                        assert_eq!(earlier, batch, "a repeated batch is answered as it was");
                    }
                    sent.accepted = Some(batch);
                }
                (AppendAnswer::Failed | AppendAnswer::ShuttingDown, _) => {}
                (answer, _) => panic!("unexpected answer {answer:?} to sequence {sequence}"),
            }
        }
    }

    /// Compares what the broker holds with what the model knows.
    pub fn check(&self) {
        self.check_groups();
        self.check_keyed();
        let topics = self.engine.shared.published.topics();
        for (place, (name, known)) in self.model.topics.iter().enumerate() {
            let has_later_life = self
                .model
                .topics
                .iter()
                .skip(place + 1)
                .any(|(later, _)| later == name);
            let view = topics.named(&TopicName::new(name).unwrap());
            let view = view.filter(|view| known.id.is_none_or(|id| view.id().get() == id));
            match (known.id, known.deletion) {
                (_, Deletion::Done) => {
                    assert!(view.is_none() || has_later_life, "{name} was deleted");
                }
                (Some(_), Deletion::None) => {
                    let view = view.unwrap_or_else(|| panic!("{name} was created"));
                    for (partition, batches) in &known.partitions {
                        let handle = view.partition(*partition).expect("partition");
                        let trim = known.trims.get(partition).copied().unwrap_or_default();
                        self.check_partition(handle, batches, trim);
                    }
                }
                _ => {}
            }
        }
    }

    fn check_partition(&self, handle: &PartitionHandle, batches: &[SentBatch], trim: KnownTrim) {
        let log_start = handle.log().log_start().get();
        assert!(
            (trim.done..=trim.asked).contains(&log_start),
            "starts at {log_start}, {trim:?}"
        );
        let mut read = self.read_all(handle).into_iter();
        let mut offset = 0;
        for (place, batch) in batches.iter().enumerate() {
            let end = offset + u64::from(batch.record_count);
            if end <= log_start {
                offset = end;
                continue;
            }
            let Some((base, record_count, payload)) = read.next() else {
                let lost = batches.iter().skip(place).find(|it| it.accepted.is_some());
                assert!(
                    lost.is_none(),
                    "acknowledged batches are there: {lost:?} after {place}"
                );
                return;
            };
            assert_eq!(base, offset, "offsets are dense, batch {place}");
            assert_eq!(record_count, batch.record_count, "batch {place}");
            assert_eq!(payload, batch.payload, "batch {place}");
            if let Some(accepted) = batch.accepted {
                let known = accepted.base_offset.get();
                assert_eq!(known, offset, "as acknowledged, batch {place}");
            }
            offset = end;
        }
        assert_eq!(read.next(), None, "nothing is there that was not sent");
    }

    /// Every batch of a partition: base offset, record count, bytes.
    pub fn read_all(&self, handle: &PartitionHandle) -> Vec<(u64, u32, Bytes)> {
        self.try_read_all(handle).unwrap()
    }

    fn try_read_all(
        &self,
        handle: &PartitionHandle,
    ) -> Result<Vec<(u64, u32, Bytes)>, StorageError> {
        let frames = self.try_read_frames(handle)?.into_iter();
        let batch = |frame: Frame| {
            let header = frame.header;
            (header.base_offset.get(), header.record_count, frame.payload)
        };
        Ok(frames.map(batch).collect())
    }

    fn try_read_frames(&self, handle: &PartitionHandle) -> Result<Vec<Frame>, StorageError> {
        let (log, mut offset, mut cursor) = (handle.log(), handle.log().log_start(), None);
        let limit = ReadLimit {
            bytes_max: 10_000,
            lsn_max: self.engine.shared.published.durable(),
        };
        let mut read = Vec::new();
        loop {
            let frames = match log.read_tail(offset, limit) {
                TailRead::AtEnd => break,
                TailRead::Frames(frames) => frames,
                TailRead::OnDisk { until } => {
                    let reader = &self.engine.reader;
                    let disk = reader.read(log, cursor, offset, until, limit)?;
                    assert_eq!(disk.loss, None, "partition {} at {offset}", log.partition());
                    cursor = disk.cursor;
                    disk.frames
                }
            };
            assert!(!frames.is_empty(), "a read below the end finds something");
            for frame in frames {
                assert!(frame.header.matches(&frame.payload), "the payload is whole");
                offset = frame.header.next_offset();
                read.push(frame);
            }
        }
        assert_eq!(offset, log.end(), "a read reaches the end");
        Ok(read)
    }
}
