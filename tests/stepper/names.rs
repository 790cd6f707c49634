//! Lives of named producers, one step at a time and over power losses: of all batches that are on their
//! way when a life begins, those decided before it are written and all others refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use towpath_broker::core::{AppendRefusal, AppendRequest, ProducerFenced, ProducerLife};
use towpath_broker::runtime::command::{
    AppendAnswer, AppendSink, ControlCommand, DataCommand, Permits, Ticket,
};
use towpath_broker::runtime::engine::EngineOptions;
use towpath_broker::runtime::producer_command::ProducerCommand;
use towpath_proto::names::{ProducerName, TopicName};
use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk};
use towpath_storage::{PartitionRef, ProducerStamp, TopicId};
use towpath_tests::model::Model;
use towpath_tests::setting::asked;
use towpath_tests::stepper::{Stepper, small_options};

const PARTITION_COUNT: u32 = 3;

/// Answers by epoch, partition and sequence.
#[derive(Debug, Default)]
struct Ear(Mutex<BTreeMap<(u32, u32, u64), AppendAnswer>>);

impl AppendSink for Ear {
    fn answer(&self, ticket: Ticket, answer: AppendAnswer) {
        let key = (ticket.handle, ticket.partition, ticket.sequence);
        let earlier = self.0.lock().unwrap().insert(key, answer);
        assert_eq!(earlier, None, "one answer each");
    }
}

/// A broker with one topic, and programs that write to it under one name.
struct Programs {
    stepper: Stepper,
    topic: TopicId,
    ear: Arc<Ear>,
    /// Next sequence by epoch and partition.
    next: BTreeMap<(u32, u32), u64>,
    /// What must be there, by partition.
    written: BTreeMap<u32, Vec<Bytes>>,
}

impl Programs {
    fn start(disk: &SimDisk) -> Self {
        let mut stepper = super::stepper(disk);
        stepper.create_topic("orders", PARTITION_COUNT).unwrap();
        let id = stepper.model.topic("orders").id.unwrap();
        Self {
            stepper,
            topic: TopicId::new(id),
            ear: Arc::default(),
            next: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Asks for a life; the answer comes with a later step.
    fn ask_for_life(&self) -> oneshot::Receiver<Life> {
        let (answer, begun) = oneshot::channel();
        let name = ProducerName::new("relay").unwrap();
        let command = ControlCommand::Producer(ProducerCommand::Open { name, answer });
        let pushed = self.stepper.engine.shared.commands.push_control(command);
        pushed.unwrap();
        begun
    }

    fn begin_life(&mut self) -> ProducerLife {
        let mut begun = self.ask_for_life();
        self.stepper.settle_down().unwrap();
        begun.try_recv().unwrap().unwrap()
    }

    /// Sends the next batch of a life.
    fn send(&mut self, life: ProducerLife, partition: u32) -> (u32, u64) {
        let sequence = self.next.entry((life.epoch, partition)).or_default();
        let sent = (partition, *sequence);
        *sequence += 1;
        let payload = payload(life, partition, sent.1);
        let place = PartitionRef {
            topic: self.topic,
            partition,
        };
        let request = AppendRequest {
            producer: Some(ProducerStamp {
                id: life.id,
                epoch: life.epoch,
                sequence: sent.1,
            }),
            ..AppendRequest::plain(place, &payload, 1)
        };
        let command = DataCommand::Append {
            request,
            payload,
            facts: None,
            sink: Arc::clone(&self.ear) as Arc<dyn AppendSink>,
            ticket: Ticket {
                handle: life.epoch,
                partition,
                sequence: sent.1,
            },
            permits: Permits::default(),
        };
        let pushed = self.stepper.engine.shared.commands.push_data(command);
        pushed.unwrap();
        sent
    }

    #[track_caller]
    fn check_written(&mut self, life: ProducerLife, (partition, sequence): (u32, u64)) {
        let answer = self.take_answer(life, partition, sequence);
        let is_new = matches!(
            answer,
            AppendAnswer::Accepted {
                is_duplicate: false,
                ..
            }
        );
        assert!(is_new, "{answer:?}");
        let written = self.written.entry(partition).or_default();
        written.push(payload(life, partition, sequence));
    }

    #[track_caller]
    fn check_fenced(&self, life: ProducerLife, (partition, sequence): (u32, u64), epoch: u32) {
        let fenced = ProducerFenced::ByLife {
            name: ProducerName::new("relay").unwrap(),
            epoch,
        };
        let expected = AppendAnswer::Refused(AppendRefusal::ProducerFenced(fenced));
        let answer = self.take_answer(life, partition, sequence);
        assert_eq!(answer, expected, "life {}", life.epoch);
    }

    #[track_caller]
    fn take_answer(&self, life: ProducerLife, partition: u32, sequence: u64) -> AppendAnswer {
        let mut answers = self.ear.0.lock().unwrap();
        let answer = answers.remove(&(life.epoch, partition, sequence));
        answer.unwrap()
    }

    /// Compares what is there with what must be.
    #[track_caller]
    fn check_log(&self) {
        let topics = self.stepper.engine.shared.published.topics();
        let view = topics.named(&TopicName::new("orders").unwrap()).unwrap();
        for partition in 0..PARTITION_COUNT {
            let batches = self.stepper.read_all(view.partition(partition).unwrap());
            let found: Vec<_> = batches.into_iter().map(|(.., payload)| payload).collect();
            let expected = self.written.get(&partition).cloned().unwrap_or_default();
            assert_eq!(found, expected, "partition {partition}");
        }
    }

    /// Loses power, and starts again on what is on the disk.
    fn lose_power(self, disk: &SimDisk) -> (Self, SimDisk) {
        let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
        let stepper = super::stepper(&disk);
        let programs = Self { stepper, ..self };
        programs.check_log();
        (programs, disk)
    }
}

type Life = Result<
    ProducerLife,
    towpath_broker::runtime::command::CommandError<towpath_broker::core::OpenProducerRefusal>,
>;

fn payload(life: ProducerLife, partition: u32, sequence: u64) -> Bytes {
    format!("life {} partition {partition} batch {sequence}", life.epoch).into()
}

#[test]
fn what_waits_for_room_while_a_life_begins_is_refused() {
    let disk = super::disk();
    let mut programs = Programs::start(&disk);
    let old = programs.begin_life();
    // Nothing was written yet: the first batch waits for a segment, and others behind it.
    let waiting: Vec<_> = (0..3).map(|_| programs.send(old, 0)).collect();
    programs.stepper.engine.step_round().unwrap();
    assert!(programs.stepper.engine.sequencer.is_waiting(), "in line");
    let mut begun = programs.ask_for_life();
    programs.stepper.engine.step_round().unwrap();
    let new = begun.try_recv().unwrap().unwrap();
    let first = programs.send(new, 0);
    programs.stepper.settle_down().unwrap();
    for sent in waiting {
        programs.check_fenced(old, sent, new.epoch);
    }
    programs.check_written(new, first);
    programs.check_log();
}

#[test]
fn what_was_decided_before_a_life_begins_is_written() {
    let disk = super::disk();
    let mut programs = Programs::start(&disk);
    let old = programs.begin_life();
    let first = programs.send(old, 1);
    programs.stepper.settle_down().unwrap();
    programs.check_written(old, first);
    let before: Vec<_> = (0..3).map(|_| programs.send(old, 1)).collect();
    programs.stepper.engine.step_round().unwrap();
    let mut begun = programs.ask_for_life();
    // In the round in which the life begins: behind it.
    let beside = programs.send(old, 1);
    let elsewhere = programs.send(old, 2);
    programs.stepper.engine.step_round().unwrap();
    let new = begun.try_recv().unwrap().unwrap();
    let behind = programs.send(old, 1);
    programs.stepper.settle_down().unwrap();
    for sent in before {
        programs.check_written(old, sent);
    }
    for sent in [beside, elsewhere, behind] {
        programs.check_fenced(old, sent, new.epoch);
    }
    programs.check_log();
}

#[test]
fn a_life_that_was_told_of_is_on_disk() {
    for takes_checkpoint in [false, true] {
        let disk = super::disk();
        let mut programs = Programs::start(&disk);
        let old = programs.begin_life();
        let sent = programs.send(old, 0);
        programs.stepper.settle_down().unwrap();
        programs.check_written(old, sent);
        let new = programs.begin_life();
        let (mut programs, disk) = programs.lose_power(&disk);
        if takes_checkpoint {
            // A start takes one; what came before it is in no journal any more after this one.
            (programs, _) = programs.lose_power(&disk);
        }
        let zombie = [
            programs.send(old, 0),
            programs.send(old, 1),
            programs.send(old, 2),
        ];
        let first = programs.send(new, 2);
        programs.stepper.settle_down().unwrap();
        for sent in zombie {
            programs.check_fenced(old, sent, new.epoch);
        }
        programs.check_written(new, first);
        let newest = programs.begin_life();
        assert_eq!(newest.epoch, new.epoch + 1, "none is used twice");
        programs.check_log();
    }
}

/// A program that was replaced keeps writing while the next ones come, through power losses and
/// checkpoints: nothing of it is written after the next one was told that it may.
#[test]
fn zombies_write_nothing_whatever_happens_between() {
    let seed = asked("SEED");
    let first = seed.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    for seed in first..first + if seed.is_some() { 1 } else { 30 } {
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = super::disk();
        let mut programs = Programs::start(&disk);
        let mut lives = vec![programs.begin_life()];
        for _ in 0..60 {
            match random.u32(..20) {
                0..3 => lives.push(programs.begin_life()),
                3 => (programs, disk) = programs.lose_power(&disk),
                4 => programs.stepper.pass(Duration::from_secs(2)).unwrap(),
                _ => write_beside_each_other(&mut programs, &lives, &mut random),
            }
        }
        programs.lose_power(&disk);
    }
}

/// Some lives send batches, and only those of the newest are written.
fn write_beside_each_other(
    programs: &mut Programs,
    lives: &[ProducerLife],
    random: &mut fastrand::Rng,
) {
    let newest = lives[lives.len() - 1];
    let mut sent = Vec::new();
    for _ in 0..random.usize(1..6) {
        let life = match random.bool() {
            true => newest,
            false => lives[random.usize(..lives.len())],
        };
        sent.push((life, programs.send(life, random.u32(..PARTITION_COUNT))));
        if random.bool() {
            programs.stepper.engine.step_round().unwrap();
        }
    }
    programs.stepper.settle_down().unwrap();
    for (life, batch) in sent {
        if life == newest {
            programs.check_written(life, batch);
        } else {
            programs.check_fenced(life, batch, newest.epoch);
        }
    }
    programs.check_log();
}

#[test]
fn names_survive_when_everything_about_their_partitions_is_forgotten() {
    let disk = super::disk();
    let mut options: EngineOptions = small_options();
    options.core.named_producer_rows_bytes_max = 0;
    let stepper = Stepper::open(&disk, 1, &options, Model::default()).unwrap();
    let mut programs = Programs {
        stepper,
        ..Programs::start(&super::disk())
    };
    programs.stepper.create_topic("orders", 3).unwrap();
    let old = programs.begin_life();
    let new = programs.begin_life();
    let sent = programs.send(new, 0);
    programs.stepper.settle_down().unwrap();
    programs.check_written(new, sent);
    programs.stepper.pass(Duration::from_secs(120)).unwrap();
    let next = programs.send(new, 0);
    let zombie = programs.send(old, 0);
    programs.stepper.settle_down().unwrap();
    let answer = programs.take_answer(new, next.0, next.1);
    let unknown = AppendAnswer::Refused(AppendRefusal::ProducerUnknown);
    assert_eq!(answer, unknown);
    programs.check_fenced(old, zombie, new.epoch);
}
