//! Random appends, rewrites of random neighbours and restarts, against a list of records.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use towpath_storage::vfs::sim::{CrashMode, LossMode, SimDisk, SimOptions, Trace};
use towpath_storage::{Entropy, SystemEntropy};

use super::{Records, batch, keep, read};
use crate::driver::{Driver, P0};

#[derive(Debug, Clone)]
enum Step {
    /// Batches of so many records.
    Append(Vec<u64>),
    /// Seals the active segment.
    Roll,
    /// Rewrites sealed segments: a part of them, and what is let go of.
    Rewrite {
        from: usize,
        count: usize,
        seed: u64,
    },
    /// As an owner that keeps nothing of them.
    Clear {
        from: usize,
        count: usize,
    },
    Checkpoint,
    Crash(CrashMode),
}

fn step() -> impl Strategy<Value = Step> {
    let places = || (0..6_usize, 1..4_usize);
    prop_oneof![
        6 => prop::collection::vec(1..9_u64, 1..6).prop_map(Step::Append),
        4 => Just(Step::Roll),
        4 => (places(), any::<u64>())
            .prop_map(|((from, count), seed)| Step::Rewrite { from, count, seed }),
        1 => places().prop_map(|(from, count)| Step::Clear { from, count }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Crash(CrashMode::Kill)),
        1 => any::<u64>().prop_map(|seed| Step::Crash(CrashMode::PowerLoss(LossMode::Mixed { seed }))),
    ]
}

struct Run {
    broker: Option<Driver>,
    records: Records,
    end: u64,
}

impl Run {
    fn new() -> Self {
        let disk = SimDisk::new(SimOptions {
            trace: Trace::Off,
            ..SimOptions::default()
        });
        let mut broker = Driver::open(&disk).unwrap();
        broker.create(P0);
        Self {
            broker: Some(broker),
            records: Records::new(),
            end: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        let broker = self.broker.as_mut().unwrap();
        match step {
            Step::Append(counts) => {
                let active = *broker.state.active(P0);
                if active.allocated_end == 0 {
                    broker
                        .ensure(P0, towpath_storage::FIRST_STEP_BYTES)
                        .unwrap();
                }
                if active.next_position > 200_000 {
                    broker.roll(P0);
                }
                for count in counts {
                    let numbers: Vec<_> = (self.end..self.end + count).map(|it| it * 7).collect();
                    broker.round([batch(&numbers)]);
                    self.records.extend((self.end..).zip(numbers));
                    self.end += count;
                }
            }
            Step::Roll if !broker.state.active(P0).is_blank() => broker.roll(P0),
            Step::Rewrite { from, count, seed } => {
                let is_kept = |at: u64| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 > 0;
                self.rewrite(*from, *count, is_kept);
            }
            Step::Clear { from, count } => self.rewrite(*from, *count, |_| false),
            Step::Checkpoint => broker.checkpoint(),
            Step::Crash(mode) => {
                let disk = broker.disk.crash(mode);
                self.broker = None;
                self.broker = Some(Driver::open(&disk).unwrap());
            }
            Step::Roll => {}
        }
    }

    fn rewrite(&mut self, from: usize, count: usize, is_kept: impl Fn(u64) -> bool) {
        let broker = self.broker.as_mut().unwrap();
        // Only what lies below a checkpoint is rewritten.
        broker.checkpoint();
        let segments = broker.state.segments(P0);
        let from = from.min(segments.len().saturating_sub(2));
        let to = (from + count).min(segments.len() - 1);
        if from >= to {
            return;
        }
        let range = segments[from].base.get()..segments[to].base.get();
        let rewritten = broker.rewrite(P0, from..to, |frame| keep(frame, |at, _| is_kept(at)));
        let rewritten = rewritten.unwrap();
        broker.swap(&rewritten).unwrap();
        let before = self.records.len() as u64;
        self.records
            .retain(|at, _| !range.contains(at) || is_kept(*at));
        let removed = before - self.records.len() as u64;
        assert_eq!(rewritten.removed_count, removed, "what was removed");
        broker.checkpoint();
        broker.remove_sources(&rewritten).unwrap();
    }

    fn check(&self) {
        let broker = self.broker.as_ref().unwrap();
        for from in [0, self.end / 3, self.end.saturating_sub(4), self.end] {
            let expected = self.records.range(from..).map(|(at, it)| (*at, *it));
            assert_eq!(read(broker, from), expected.collect(), "from {from}");
        }
    }
}

#[test]
fn readers_agree_with_a_list_of_records() {
    let seed = std::env::var("SEED")
        .ok()
        .map(|it| it.parse().expect("SEED is a number"));
    let seed = seed.unwrap_or_else(|| SystemEntropy.next_u64());
    println!("SEED={seed}");
    let config = Config {
        cases: 48,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 1..40);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let mut run = Run::new();
        for step in &steps {
            run.take(step);
            run.check();
        }
        Ok(())
    });
    outcome.unwrap();
}
