//! Scheduled records under random commands, with steps in any order, power losses and clocks that jump:
//! none is early, lost or delivered twice, and those of a partition come in due order.
//!
//! `SEEDS=1000` runs that many (default 150) from `SEED` (default 0).

use std::time::Duration;

use towpath_broker::core::ScheduleTime;
use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk};
use towpath_tests::model::Model;
use towpath_tests::setting::number;
use towpath_tests::stepper::{Stepper, small_options};

const TOPICS: [&str; 2] = ["orders", "reminders"];
const HOUR: Duration = Duration::from_secs(3_600);
const START_MS: i64 = 1_700_000_000_000;

#[test]
fn no_seed_loses_a_scheduled_record() {
    let (first, count) = (number("SEED", 0), number("SEEDS", 150));
    let mut sum = Counts::default();
    for seed in first..first + count {
        println!("SEED={seed} SEEDS=1 repeats it");
        run(seed, &mut sum);
    }
    println!("{sum:?}");
    let is_all = sum.cancelled > 0 && sum.crashes > 0 && sum.jumps > 0 && sum.delivered > count;
    assert!(
        is_all || count < 50,
        "the simulation did something: {sum:?}"
    );
}

#[derive(Debug, Default)]
struct Counts {
    delivered: u64,
    cancelled: u64,
    crashes: u64,
    jumps: u64,
}

struct World {
    random: fastrand::Rng,
    disk: SimDisk,
    stepper: Stepper,
    /// What the wall clock says besides the time that has passed, milliseconds.
    wall_ms: i64,
}

fn run(seed: u64, sum: &mut Counts) {
    let disk = super::disk();
    let mut options = small_options();
    // So few that the disk is read again and again.
    options.core.schedule_window_max = 8;
    let stepper = Stepper::open_at(&disk, seed, &options, Model::default(), START_MS).unwrap();
    let mut world = World {
        random: fastrand::Rng::with_seed(seed),
        disk,
        stepper,
        wall_ms: START_MS,
    };
    for topic in TOPICS {
        world.stepper.create_topic(topic, 2).unwrap();
    }
    for _ in 0..world.random.usize(20..120) {
        world.act(sum);
        world.stepper.note_schedules();
    }
    world.stepper.settle_down().unwrap();
    world.stepper.note_schedules();
    world.stepper.check_schedules().unwrap();
    for _ in 0..50 {
        world.stepper.pass(HOUR).unwrap();
    }
    world.stepper.check_schedules().unwrap();
    assert_eq!(world.stepper.schedule_count(), 0, "all were delivered");
    let known = world.stepper.model.schedules.iter();
    sum.delivered += known.filter(|it| it.due_ms.is_some()).count() as u64;
}

impl World {
    fn when(&mut self) -> ScheduleTime {
        match self.random.u8(..4) {
            0 => ScheduleTime::After(0),
            1 => ScheduleTime::After(self.random.u64(..3_000_000)),
            _ => ScheduleTime::After(self.random.u64(..5_000)),
        }
    }

    fn act(&mut self, sum: &mut Counts) {
        let scheduled = self.stepper.model.schedules.len();
        match self.random.u8(..32) {
            0..10 => {
                let (topic, when) = (TOPICS[self.random.usize(..2)], self.when());
                let partition = self.random.u32(..2);
                self.stepper.begin_schedule(topic, partition, when).unwrap();
            }
            10..13 if scheduled > 0 => {
                let which = self.random.usize(..scheduled);
                if !self.stepper.is_busy(which) {
                    self.stepper.begin_cancel(which).unwrap();
                    sum.cancelled += 1;
                }
            }
            13..16 if scheduled > 0 => {
                let (which, when) = (self.random.usize(..scheduled), self.when());
                if !self.stepper.is_busy(which) {
                    self.stepper.begin_reschedule(which, when).unwrap();
                }
            }
            16..21 => {
                let span = Duration::from_millis(self.random.u64(..3_000));
                self.stepper.pass_by(span).unwrap();
            }
            21..28 => self.step(),
            28 => self.stepper.engine.sequencer.take_checkpoint(),
            29 => {
                self.stepper.settle_down().unwrap();
                self.stepper.note_schedules();
                self.stepper.check_schedules().unwrap();
            }
            30 => {
                sum.jumps += 1;
                let step_ms = self.random.i64(-7_200_000..7_200_000);
                self.stepper.jump_wall(step_ms);
                self.wall_ms += step_ms;
            }
            _ => {
                sum.crashes += 1;
                self.crash();
            }
        }
    }

    /// One thread of the broker goes on a little.
    fn step(&mut self) {
        let engine = &mut self.stepper.engine;
        match self.random.u8(..4) {
            0 => drop(engine.step_settle().unwrap()),
            1 => drop(engine.step_maintenance().unwrap()),
            2 => drop(engine.step_inspect()),
            _ => drop(engine.step_round().unwrap()),
        }
    }

    fn crash(&mut self) {
        let mode = CrashMode::PowerLoss(LossMode::Mixed {
            seed: self.random.u64(..),
        });
        self.disk = self.disk.crash(&mode);
        let model = self.stepper.model.clone();
        let mut options = small_options();
        options.core.schedule_window_max = 8;
        let seed = self.random.u64(..);
        let opened = Stepper::open_at(&self.disk, seed, &options, model, self.wall_ms);
        self.stepper = opened.unwrap();
        self.stepper.check_schedules().unwrap();
        self.stepper.settle_schedules().unwrap();
    }
}
