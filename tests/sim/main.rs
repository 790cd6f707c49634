//! Swarm simulation: many seeds, each with faults of its own.
//!
//! `SEEDS=1000000` runs that many (default 2,000) from `SEED` (default 0), on all processors; each draws
//! its own length, unless `STEPS` says it. A failure names its seed, and the same seed fails again.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says what it did"
)]

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use towpath_tests::setting::{asked, number};
use towpath_tests::swarm::{
    Counts, Outcome, run, run_on_lying_disk, run_with_groups, run_with_subscriptions,
};

/// `TOWPATH_LOG=debug` shows what the broker has to say.
fn init_log() {
    let wanted = std::env::var("TOWPATH_LOG").unwrap_or_else(|_| "off".to_owned());
    let filter = tracing_subscriber::EnvFilter::new(wanted);
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer();
    // Both tests try; the second finds it done.
    drop(logger.try_init());
}

/// The length of all runs; each draws its own without it.
fn steps() -> Option<u32> {
    let steps = asked("STEPS")?;
    Some(u32::try_from(steps).unwrap_or(u32::MAX))
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        let (first, second) = (run(seed, steps()), run(seed, steps()));
        assert_eq!(first.trace_digest, second.trace_digest, "seed {seed}");
        assert!(first.history == second.history, "seed {seed}");
        let again = [(); 2].map(|()| run_with_groups(seed, steps()));
        let [first, second] = again;
        assert_eq!(first.trace_digest, second.trace_digest, "groups, {seed}");
        assert!(first.history == second.history, "groups, seed {seed}");
        let again = [(); 2].map(|()| run_with_subscriptions(seed, steps()));
        let [first, second] = again;
        assert_eq!(
            first.trace_digest, second.trace_digest,
            "subscriptions, {seed}"
        );
        assert!(
            first.history == second.history,
            "subscriptions, seed {seed}"
        );
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let is_found = |seed: &u64| {
        // A lost file may keep the broker from starting at all.
        let outcome = catch_unwind(AssertUnwindSafe(|| run_on_lying_disk(*seed, 1000)));
        outcome.is_ok_and(|outcome| !outcome.violations.is_empty())
    };
    assert!(
        (0..100).any(|seed| is_found(&seed)),
        "records must be lost, and the history must show it"
    );
}

#[test]
fn no_seed_breaks_a_promise() {
    let counts = run_swarm(run, 2000);
    let Counts {
        reminders,
        entities,
        mismatches,
        forwarded,
        late_forwards,
        ..
    } = counts;
    let happened = [reminders, entities, mismatches, forwarded, late_forwards];
    let has_happened = happened.iter().all(|it| *it > 0);
    // One seed alone has one of them at most.
    assert!(counts.restarts < 100 || has_happened, "{counts:?}");
}

#[test]
fn no_seed_breaks_a_promise_to_groups() {
    let counts = run_swarm(run_with_groups, 1000);
    assert!(
        counts.commits > 0 && counts.stale_commits > 0,
        "they worked"
    );
}

#[test]
fn no_seed_breaks_a_promise_to_subscriptions() {
    let counts = run_swarm(run_with_subscriptions, 1000);
    let Counts {
        compressed,
        settled,
        expired,
        dead_letters,
        redriven,
        republished,
        ..
    } = counts;
    let happened = [
        compressed,
        settled,
        expired,
        dead_letters,
        redriven,
        republished,
    ];
    // One seed alone need not do everything.
    let is_one_of_few = counts.restarts < 100;
    let has_happened = happened.iter().all(|count| *count > 0);
    assert!(is_one_of_few || has_happened, "{counts:?}");
}

/// One run of the swarm.
type Run = fn(u64, Option<u32>) -> Outcome;

/// Runs so many seeds, unless `SEEDS` says how many.
fn run_swarm(run: Run, default_count: u64) -> Counts {
    init_log();
    let (first, count) = (number("SEED", 0), number("SEEDS", default_count));
    let next = AtomicU64::new(first);
    let thread_count = std::thread::available_parallelism().map_or(1, NonZero::get);
    let thread_count = usize::try_from(count).map_or(thread_count, |it| it.min(thread_count));
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..thread_count)
            .map(|_| scope.spawn(|| run_seeds(run, &next, first + count)))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|counts| counts.unwrap_or_else(|panic| resume_unwind(panic)))
            .fold(Counts::default(), Counts::plus)
    });
    println!("{count} seeds from {first}: {counts:?}");
    assert!(counts.accepted > count, "the simulation did something");
    counts
}

/// Takes seeds until there are none left, or one fails.
fn run_seeds(run: Run, next: &AtomicU64, end: u64) -> Counts {
    let mut sum = Counts::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return sum;
        }
        if seed.is_multiple_of(10_000) && seed > 0 {
            println!("seed {seed}");
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, steps())));
        // The others need not go on.
        let stop = || next.store(end, Ordering::Relaxed);
        let Ok(outcome) = outcome else {
            stop();
            panic!("SEED={seed} SEEDS=1 repeats it");
        };
        if !outcome.violations.is_empty() {
            stop();
            panic!("SEED={seed} SEEDS=1 repeats it: {:#?}", outcome.violations);
        }
        sum = sum.plus(outcome.counts);
    }
}
