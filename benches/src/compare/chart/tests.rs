use std::fs;
use std::path::Path;

use super::*;
use crate::compare::summary::medians;
use crate::compare::testing::run;
use crate::compare::work::{Job, Work};

#[test]
fn a_chart_has_a_panel_for_each_job_and_a_bar_for_each_system() {
    let (produce, latency) = (Job::new(Work::Produce, 1024), Job::new(Work::Latency, 1024));
    let runs = [
        run(1, TOWPATH, Class::Fsync, &produce, 1_200_000),
        run(1, "kafka", Class::PageCache, &produce, 150_000),
        run(1, "iggy", Class::Memory, &produce, 1_000_000),
        run(2, TOWPATH, Class::Fsync, &produce, 1_000_000),
        run(2, "kafka", Class::PageCache, &produce, 140_000),
        run(2, "iggy", Class::Memory, &produce, 1_100_000),
        run(1, TOWPATH, Class::Fsync, &latency, 200),
        run(1, "redis", Class::EverySecond, &latency, 90),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compare.svg");
    let drawn = Chart::of(&medians(&runs)).to_string();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(drawn, golden, "look at the difference, then set UPDATE=1");
}

#[test]
fn no_medians_are_an_empty_chart() {
    let drawn = Chart::of(&[]).to_string();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
}
