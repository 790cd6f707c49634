//! What the broker does with more than fits at once, one step at a time and without crashes.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking and says what it did"
)]

mod compaction;
mod names;
mod schedules;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use towpath_broker::core::{CreateTopic, ScheduleTime, TopicConfig};
use towpath_broker::runtime::command::ControlCommand;
use towpath_proto::names::TopicName;
use towpath_storage::vfs::SyncPace;
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Injection, LossMode, OperationKind, SimDisk, SimOptions, Trace,
};
use towpath_tests::model::Model;
use towpath_tests::stepper::{Stepper, small_options};

fn disk() -> SimDisk {
    SimDisk::new(SimOptions {
        trace: Trace::Off,
        ..SimOptions::default()
    })
}

fn stepper(disk: &SimDisk) -> Stepper {
    Stepper::open(disk, 1, &small_options(), Model::default()).unwrap()
}

#[test]
fn more_commands_than_a_journal_file_holds_are_carried_out_in_several_rounds() {
    const COUNT: usize = 3000;
    let mut stepper = stepper(&disk());
    let created: Vec<_> = (0..COUNT)
        .map(|number| {
            let (answer, created) = oneshot::channel();
            let wish = CreateTopic {
                name: TopicName::new(&format!("{number:0200}")).unwrap(),
                partition_count: 1,
                config: TopicConfig::default(),
            };
            let command = ControlCommand::CreateTopic {
                wish,
                is_dry_run: false,
                answer,
            };
            stepper
                .engine
                .shared
                .commands
                .push_control(command)
                .unwrap();
            created
        })
        .collect();
    stepper.settle_down().unwrap();
    for mut created in created {
        assert!(created.try_recv().unwrap().unwrap().is_some(), "created");
    }
}

#[test]
fn records_at_the_head_of_a_trickle_go_when_they_are_old() {
    let mut stepper = stepper(&disk());
    stepper.create_topic("orders", 1).unwrap();
    stepper.send("orders", 0, 100);
    stepper.settle_down().unwrap();
    stepper.keep_for("orders", 80_000).unwrap();
    for second in (0..200).step_by(5) {
        stepper.send("orders", 0, 100);
        stepper.pass(Duration::from_secs(5)).unwrap();
        let topics = stepper.engine.shared.published.topics();
        let view = topics.named(&TopicName::new("orders").unwrap()).unwrap();
        let log = view.partition(0).unwrap().log();
        // 80 s, and an eighth of that: until then their segment took more.
        assert_eq!(
            log.log_start().get() > 0,
            second >= 85,
            "after {second} s it starts at {}",
            log.log_start()
        );
    }
}

#[test]
fn a_checkpoint_that_fails_is_tried_again_for_what_it_was_taken_for() {
    let disk = disk();
    let mut stepper = after_a_deletion(&disk);
    disk.inject(Injection::new(Fault::NoSpace).under("checkpoint/"));
    for _ in 0..5 {
        stepper.pass(Duration::from_secs(2)).unwrap();
    }
    assert!(has_segments(&disk), "no checkpoint says that they may go");
    disk.heal();
    for _ in 0..3 {
        stepper.pass(Duration::from_secs(2)).unwrap();
    }
    assert!(!has_segments(&disk), "they went with the next attempt");
}

#[test]
fn files_that_cannot_be_removed_are_tried_again() {
    let disk = disk();
    let mut stepper = after_a_deletion(&disk);
    disk.inject(Injection::new(Fault::Io).on(OperationKind::Unlink));
    for _ in 0..5 {
        stepper.pass(Duration::from_secs(2)).unwrap();
    }
    assert!(has_segments(&disk));
    disk.heal();
    for _ in 0..8 {
        stepper.pass(Duration::from_secs(2)).unwrap();
    }
    assert!(!has_segments(&disk), "they went with a later checkpoint");
}

#[test]
fn what_is_published_amid_a_run_by_reference_takes_its_place_in_the_partition() {
    // Four batches are far beyond what a run needs to be written by reference.
    const SENT: usize = 4;
    for place in 0..=SENT {
        let disk = disk();
        let mut stepper = stepper(&disk);
        stepper.create_topic("orders", 1).unwrap();
        stepper.send("orders", 0, 100);
        stepper.settle_down().unwrap();
        let mut published = None;
        for sent in 0..=SENT {
            if sent == place {
                published = Some(stepper.publish("orders", 0, 100));
            }
            if sent < SENT {
                stepper.send("orders", 0, 8 * 1024);
            }
        }
        stepper.settle_down().unwrap();
        let (payload, mut answer) = published.unwrap();
        answer.try_recv().unwrap().unwrap();
        let sent = &stepper.model.topic("orders").partitions[&0];
        let mut expected: Vec<_> = sent.iter().map(|batch| batch.payload.clone()).collect();
        expected.insert(1 + place, payload);

        assert_eq!(payloads(&stepper), expected, "published at {place}");
        let disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
        assert_eq!(
            payloads(&self::stepper(&disk)),
            expected,
            "published at {place}, after a power loss"
        );
    }
}

#[test]
fn what_has_waited_for_room_is_taken_in_rounds_and_in_order() {
    const BATCH_BYTES: usize = 8 * 1024;
    let mut options = small_options();
    options.sequencer.round_bytes_max = 2 * BATCH_BYTES;
    let mut stepper = Stepper::open(&disk(), 1, &options, Model::default()).unwrap();
    stepper.create_topic("orders", 1).unwrap();
    for _ in 0..64 {
        stepper.send("orders", 0, BATCH_BYTES);
    }
    let mut written = 0;
    loop {
        while stepper.engine.step_round().unwrap() {
            let now_written = payloads(&stepper).len();
            // The last batch of a round may exceed it.
            assert!(now_written - written <= 3, "{written}, then {now_written}");
            written = now_written;
        }
        if !stepper.engine.step_settle().unwrap() {
            break;
        }
    }
    let sent = stepper.model.topic("orders").partitions[&0].iter();
    let sent: Vec<_> = sent.map(|batch| batch.payload.clone()).collect();
    assert_eq!(payloads(&stepper), sent, "in the order of sending");
}

#[test]
fn while_segments_do_not_keep_up_no_batch_is_taken() {
    const BATCH_BYTES: usize = 1024;
    const COUNT: usize = 40;
    let mut options = small_options();
    options.sequencer.round_bytes_max = BATCH_BYTES;
    // A round takes 16 KiB of memory at least.
    options.sequencer.unsettled_bytes_max = 64 * 1024;
    let mut stepper = Stepper::open(&disk(), 1, &options, Model::default()).unwrap();
    stepper.create_topic("orders", 1).unwrap();
    // After this there is room in the segment for all of the others.
    stepper.send("orders", 0, BATCH_BYTES);
    stepper.settle_down().unwrap();
    (0..COUNT).for_each(|_| stepper.send("orders", 0, BATCH_BYTES));
    while stepper.engine.step_round().unwrap() {}
    let written = payloads(&stepper).len();
    assert!(
        (4..20).contains(&written),
        "{written} before any is settled"
    );
    stepper.settle_down().unwrap();
    assert_eq!(payloads(&stepper).len(), COUNT + 1, "all in the end");
}

#[test]
fn a_checkpoint_hurries_before_the_journal_takes_no_more_batches() {
    let mut stepper = stepper(&disk());
    stepper.create_topic("orders", 1).unwrap();
    stepper.settle_down().unwrap();
    let pace = |stepper: &Stepper| stepper.engine.shared.progress.checkpoint_pace();
    let mut paces = Vec::new();
    // Nobody writes a checkpoint.
    loop {
        stepper.send("orders", 0, 1024);
        if !stepper.engine.step_round().unwrap() {
            break;
        }
        paces.push(pace(&stepper));
        while stepper.engine.step_settle().unwrap() {}
    }
    let gentle = paces.iter().take_while(|it| **it == SyncPace::Gentle);
    let gentle = gentle.count();
    let hurried = &paces[gentle..];
    assert!(hurried.iter().all(|it| *it == SyncPace::Fast), "{paces:?}");
    let share = 100 * gentle / paces.len();
    assert!((50..90).contains(&share), "{share} % of {}", paces.len());
    stepper.settle_down().unwrap();
    assert_eq!(pace(&stepper), SyncPace::Gentle, "there is room again");
}

#[test]
fn the_run_of_a_round_is_the_longest_of_what_it_takes() {
    const BATCH_BYTES: usize = 8 * 1024;
    let mut options = small_options();
    options.sequencer.round_bytes_max = 2 * BATCH_BYTES;
    let disk = disk();
    let mut stepper = Stepper::open(&disk, 1, &options, Model::default()).unwrap();
    stepper.create_topic("orders", 2).unwrap();
    // The first fills a round and is long enough to be written once; the second is longer and comes later.
    for (partition, count) in [(0, 2), (1, 8)] {
        (0..count).for_each(|_| stepper.send("orders", partition, BATCH_BYTES));
    }
    while stepper.engine.step_round().unwrap() {}
    while stepper.engine.step_settle().unwrap() {}
    let before = disk.count(OperationKind::SyncData);
    assert!(stepper.engine.step_round().unwrap(), "a round");
    let syncs = disk.count(OperationKind::SyncData) - before;
    assert_eq!(payloads(&stepper).len(), 2, "batches of the round");
    assert_eq!(syncs, 2, "of its segment, and of the journal");
    stepper.settle_down().unwrap();
}

#[test]
fn short_lives_leave_few_runs_of_index_rows() {
    let (mut disk, mut model) = (disk(), Model::default());
    let month = ScheduleTime::After(30 * 24 * 3_600_000);
    for life in 0..30 {
        let mut stepper = Stepper::open(&disk, life, &small_options(), model).unwrap();
        if life == 0 {
            stepper.create_topic("orders", 1).unwrap();
        }
        // A row that the next start finds in the journal, and writes as a run.
        stepper.begin_schedule("orders", 0, month).unwrap();
        for _ in 0..2 {
            stepper.pass(Duration::from_secs(2)).unwrap();
        }
        stepper.note_schedules();
        let runs = disk.paths().into_iter().filter(|it| it.contains(".run"));
        let run_count = runs.count();
        assert!(run_count <= 4, "{run_count} runs in life {life}");
        model = stepper.model.clone();
        disk = disk.crash(&CrashMode::PowerLoss(LossMode::Everything));
    }
    let stepper = Stepper::open(&disk, 30, &small_options(), model).unwrap();
    stepper.check_schedules().unwrap();
    assert_eq!(stepper.schedule_count(), 30, "none is lost");
}

fn payloads(stepper: &Stepper) -> Vec<Bytes> {
    let topics = stepper.engine.shared.published.topics();
    let view = topics.named(&TopicName::new("orders").unwrap()).unwrap();
    let batches = stepper.read_all(view.partition(0).unwrap());
    batches.into_iter().map(|(.., payload)| payload).collect()
}

/// A topic was deleted, and its files are still there.
fn after_a_deletion(disk: &SimDisk) -> Stepper {
    let mut stepper = stepper(disk);
    stepper.create_topic("orders", 1).unwrap();
    stepper.send("orders", 0, 100);
    stepper.settle_down().unwrap();
    stepper.delete_topic("orders").unwrap();
    stepper
}

fn has_segments(disk: &SimDisk) -> bool {
    disk.paths().iter().any(|path| path.starts_with("topics/"))
}
