use super::*;
use crate::compare::testing::run;
use crate::compare::work::Work;

fn ahead(job: &Job, rounds: &[(u32, u32)]) -> Spread {
    let runs: Vec<Run> = (1..)
        .zip(rounds)
        .flat_map(|(round, (towpath, other))| {
            [
                run(round, "other", Class::Memory, job, *other),
                run(round, TOWPATH, Class::Fsync, job, *towpath),
            ]
        })
        .collect();
    let medians = medians(&runs);
    assert_eq!(medians.len(), 2, "one for each system");
    assert_eq!(medians[0].rounds, rounds.len());
    assert!(medians[1].towpath_times_as_fast.is_none(), "of itself");
    medians[0].towpath_times_as_fast.unwrap()
}

#[test]
fn ratios_are_taken_round_by_round() {
    let spread = ahead(
        &Job::new(Work::Produce, 100),
        &[(10, 5), (100, 25), (30, 10)],
    );
    // The ratio of the medians would be 3 as well, those of the extremes 4 and 2.
    assert_eq!((spread.min, spread.median, spread.max), (2.0, 3.0, 4.0));
    let drifting = ahead(
        &Job::new(Work::Produce, 100),
        &[(10, 5), (100, 50), (1000, 500)],
    );
    assert_eq!(
        (drifting.min, drifting.max),
        (2.0, 2.0),
        "drift of the machine cancels out"
    );
}

#[test]
fn the_shorter_time_is_ahead() {
    let spread = ahead(&Job::new(Work::Latency, 100), &[(100, 400)]);
    assert_eq!((spread.min, spread.max), (4.0, 4.0));
}

#[test]
fn classes_and_jobs_are_kept_apart_and_in_order() {
    let (small, large) = (Job::new(Work::Produce, 100), Job::new(Work::Produce, 1000));
    let runs = [
        run(1, TOWPATH, Class::Fsync, &small, 8),
        run(1, TOWPATH, Class::Fsync, &large, 2),
        run(1, "other", Class::Fsync, &small, 4),
        run(1, "other", Class::Memory, &small, 16),
    ];
    let medians = medians(&runs);
    let kinds: Vec<_> = medians
        .iter()
        .map(|it| (it.job.size_bytes, it.system.as_str(), it.class))
        .collect();
    let expected = [
        (100, TOWPATH, Class::Fsync),
        (100, "other", Class::Fsync),
        (100, "other", Class::Memory),
        (1000, TOWPATH, Class::Fsync),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        medians[2].towpath_times_as_fast.map(|it| it.median),
        Some(0.5)
    );
}
