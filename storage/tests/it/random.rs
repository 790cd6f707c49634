//! Random work on two partitions with crashes of every kind, against a list of what was acknowledged.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use towpath_storage::vfs::sim::{CrashMode, Filling, LossMode, SimDisk, SimOptions, Trace};
use towpath_storage::{Entropy, FrameForm, PartitionRef, SystemEntropy};

use crate::driver::{Batch, Driver, Found, P0, P1, payload};

#[derive(Debug, Clone)]
enum Step {
    /// A round of batches: partition, length, records, form.
    Round(Vec<(bool, usize, u32, bool)>),
    /// A round during which the power goes off, so many operations and bytes into it.
    Interrupted(bool, usize, u64, usize),
    Settle,
    Checkpoint,
    Roll(bool),
    Mark,
    Prepare,
    Crash(CrashMode),
}

fn step() -> impl Strategy<Value = Step> {
    let batch = || {
        (
            any::<bool>(),
            1..6_000_usize,
            1..4_u32,
            prop::bool::weighted(0.3),
        )
    };
    let crash = prop_oneof![
        3 => Just(CrashMode::Kill),
        1 => Just(CrashMode::PowerLoss(LossMode::Everything)),
        1 => Just(CrashMode::PowerLoss(LossMode::Nothing)),
        1 => any::<u64>().prop_map(|seed| CrashMode::PowerLoss(LossMode::SizeFirst(Filling::Noise(seed)))),
        1 => any::<u64>().prop_map(|seed| CrashMode::PowerLoss(LossMode::Prefix { seed })),
        2 => any::<u64>().prop_map(|seed| CrashMode::PowerLoss(LossMode::Sectors { seed })),
        3 => any::<u64>().prop_map(|seed| CrashMode::PowerLoss(LossMode::Mixed { seed })),
    ];
    prop_oneof![
        10 => prop::collection::vec(batch(), 1..5).prop_map(Step::Round),
        2 => (any::<bool>(), 1..6_000_usize, 0..4_u64, 0..9_000_usize)
            .prop_map(|(form, length, k, bytes)| Step::Interrupted(form, length, k, bytes)),
        3 => Just(Step::Settle),
        2 => Just(Step::Checkpoint),
        2 => any::<bool>().prop_map(Step::Roll),
        1 => Just(Step::Mark),
        1 => Just(Step::Prepare),
        3 => crash.prop_map(Step::Crash),
    ]
}

/// What a client knows of one partition.
#[derive(Debug, Default)]
struct Known {
    acknowledged: Vec<(u64, Bytes)>,
    end: u64,
    /// The batch of an interrupted round: there, or not.
    in_doubt: Option<(Bytes, u64)>,
}

struct Run {
    broker: Option<Driver>,
    known: [Known; 2],
    number: u64,
}

fn partition(is_second: bool) -> PartitionRef {
    if is_second { P1 } else { P0 }
}

impl Run {
    fn new() -> Self {
        let disk = SimDisk::new(SimOptions {
            trace: Trace::Off,
            ..SimOptions::default()
        });
        let mut broker = Driver::open(&disk).unwrap();
        broker.create(P0);
        broker.create(P1);
        Self {
            broker: Some(broker),
            known: Default::default(),
            number: 0,
        }
    }

    fn broker(&mut self) -> &mut Driver {
        self.broker.as_mut().unwrap()
    }

    fn batch(&mut self, is_second: bool, length: usize, form: FrameForm) -> Batch {
        self.number += 1;
        let batch = Batch::inline(partition(is_second), payload(self.number, length));
        Batch { form, ..batch }
    }

    /// Leaves room for any round in the active segments.
    fn roll_if_full(&mut self) {
        for partition in [P0, P1] {
            let broker = self.broker();
            if broker.state.active(partition).next_position > 150_000 {
                broker.roll(partition);
            }
        }
    }

    fn take(&mut self, step: &Step) {
        self.roll_if_full();
        match step {
            Step::Round(batches) => self.round(batches),
            Step::Interrupted(is_reference, length, k, bytes) => {
                self.interrupted(*is_reference, *length, *k, *bytes);
            }
            Step::Settle => self.broker().settle(),
            Step::Checkpoint => self.broker().checkpoint(),
            Step::Roll(is_second) => {
                let partition = partition(*is_second);
                if !self.broker().state.active(partition).is_blank() {
                    self.broker().roll(partition);
                }
            }
            Step::Mark => self.broker().mark(),
            Step::Prepare => self.broker().provide(0),
            Step::Crash(mode) => self.crash(mode),
        }
    }

    fn round(&mut self, batches: &[(bool, usize, u32, bool)]) {
        // At most one partition of a round goes by reference.
        let by_reference = batches.iter().find(|batch| batch.3).map(|batch| batch.0);
        for (is_second, length, records, _) in batches {
            let form = match by_reference == Some(*is_second) {
                true => FrameForm::Reference,
                false => FrameForm::Inline,
            };
            let batch = self.batch(*is_second, *length, form).records(*records);
            let known = &mut self.known[usize::from(*is_second)];
            known.acknowledged.push((known.end, batch.payload.clone()));
            known.end += u64::from(*records);
            self.broker().entry(vec![batch], Vec::new());
        }
        self.broker().commit();
    }

    fn interrupted(&mut self, is_reference: bool, length: usize, k: u64, bytes: usize) {
        let form = match is_reference {
            true => FrameForm::Reference,
            false => FrameForm::Inline,
        };
        let batch = self.batch(false, length, form);
        self.known[0].in_doubt = Some((batch.payload.clone(), 1));
        let broker = self.broker();
        broker.entry(vec![batch], Vec::new());
        broker.provide(0);
        let disk = broker.disk.clone();
        disk.stop_within(disk.operations() + k, bytes);
        let committed = broker.try_commit();
        if committed.is_ok() {
            self.resolve_in_doubt();
        }
        self.crash(&CrashMode::PowerLoss(LossMode::Mixed { seed: self.number }));
    }

    fn resolve_in_doubt(&mut self) {
        let known = &mut self.known[0];
        if let Some((payload, records)) = known.in_doubt.take() {
            known.acknowledged.push((known.end, payload));
            known.end += records;
        }
    }

    fn crash(&mut self, mode: &CrashMode) {
        let broker = self.broker.take().unwrap();
        let disk = broker.disk.crash(mode);
        drop(broker);
        let mut broker = Driver::open(&disk).unwrap();
        for partition in [P0, P1] {
            broker.ensure(partition, 65_536).unwrap();
        }
        if broker.log(P0).end().get() > self.known[0].end {
            self.resolve_in_doubt();
        }
        self.known[0].in_doubt = None;
        self.broker = Some(broker);
    }

    fn check(&mut self) {
        for (partition, known) in [P0, P1].into_iter().zip(&self.known) {
            let broker = self.broker.as_ref().unwrap();
            let expected: Vec<_> = known
                .acknowledged
                .iter()
                .map(|(base, payload)| Found::Batch(*base, payload.clone()))
                .collect();
            assert_eq!(broker.read(partition, 0), expected, "partition {partition}");
            assert_eq!(broker.log(partition).end().get(), known.end, "the end");
            assert_eq!(broker.storage.report.losses, [], "nothing is damaged");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_any_order_of_work_and_crashes() {
    let seed = std::env::var("SEED")
        .ok()
        .map(|it| it.parse().expect("SEED is a number"));
    let seed = seed.unwrap_or_else(|| SystemEntropy.next_u64());
    println!("SEED={seed}");
    let config = Config {
        cases: 300,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..50), |steps| {
            let mut run = Run::new();
            for step in &steps {
                run.take(step);
                if matches!(step, Step::Crash(_) | Step::Interrupted(..)) {
                    run.check();
                }
            }
            run.check();
            Ok(())
        })
        .unwrap();
}
