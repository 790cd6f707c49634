use std::fs;
use std::path::Path;

use super::*;
use crate::recovery::testing::restart;

#[test]
fn a_chart_has_a_dot_for_each_run_and_a_line_through_the_medians() {
    const GIB: u64 = 1 << 30;
    let runs = [
        restart(GIB, Stop::Kill, 100, 120.0),
        restart(GIB, Stop::Terminate, 110, 130.0),
        restart(GIB, Stop::Kill, 180, 210.0),
        restart(GIB, Stop::Terminate, 150, 180.0),
        restart(10 * GIB, Stop::Kill, 120, 140.0),
        restart(10 * GIB, Stop::Terminate, 100, 125.0),
        restart(10 * GIB, Stop::Kill, 170, 200.0),
        restart(50 * GIB, Stop::Kill, 130, 150.0),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recovery.svg");
    let drawn = Chart::of(&runs).to_string();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(drawn, golden, "look at the difference, then set UPDATE=1");
}

#[test]
fn no_runs_are_an_empty_chart() {
    let drawn = Chart::of(&[]).to_string();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
}
