use std::fs;
use std::path::Path;

use super::*;
use crate::broker_process::bench::BenchLatencyUs;
use crate::growth::Curve;

fn run(at: u64, produce: f64, worst: Option<f64>) -> (GrowthSetting, Growth) {
    let setting = GrowthSetting {
        benchmark: "growth",
        curve: Curve::Partitions,
        at,
        records: 1_000,
        latency_records: 10,
    };
    let growth = Growth {
        produce_megabytes_per_second: produce,
        worst_second_megabytes_per_second: worst,
        median_second_megabytes_per_second: worst,
        checkpoints: Some(3),
        produce_server_cpu_seconds_per_gb: Some(0.7),
        tail_megabytes_per_second: 2.0 * produce,
        one_in_flight_records_per_second: 4_000.0,
        one_in_flight_us: BenchLatencyUs {
            p50: 250.0,
            p99: 900.0,
        },
        memory_bytes: 100_000_000 + at * 1_000,
        ready_ms: 40.0,
        ready_memory_bytes: 9_000_000,
        steal_percent: 0.0,
    };
    (setting, growth)
}

#[test]
fn a_chart_has_a_plot_for_each_figure_with_its_runs_and_medians() {
    let runs = [
        run(1, 800.0, Some(600.0)),
        run(1, 850.0, None),
        run(1_000, 700.0, Some(300.0)),
        run(10_000, 300.0, Some(10.0)),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/growth.svg");
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
