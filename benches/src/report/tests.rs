use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::*;
use crate::host::Usage;
use crate::round_file::{Durability, FileKind, WriteMode};

fn setting(message_bytes: usize) -> Setting {
    Setting {
        write: Some(WriteMode::Direct),
        file: Some(FileKind::Overwritten),
        durability: Some(Durability::Fdatasync),
        ..Setting::new("bare_model produce", message_bytes)
    }
}

fn figures(seconds: f64) -> Figures {
    let usage = Usage {
        seconds,
        server_cpu_seconds: Some(0.5),
        client_cpu_seconds: 0.25,
        steal_percent: 1.0,
        others_percent: 2.0,
    };
    Figures::new(1_000_000, 1000, usage)
}

fn print(format: Format) -> String {
    let machine = Machine {
        processor: "abacus".to_owned(),
        cores: 2,
        memory_gib: 24,
        kernel: "6".to_owned(),
        file_system: Some("ext4".to_owned()),
    };
    let mut sink = Vec::new();
    let mut report = Report::start(&mut sink, format, machine).unwrap();
    report.add(1, setting(10), figures(1.0)).unwrap();
    report.add(1, setting(20), figures(2.0)).unwrap();
    report.add(2, setting(10), figures(0.5)).unwrap();
    report.finish().unwrap();
    String::from_utf8(sink).unwrap()
}

#[test]
fn json_rows_are_the_machine_then_runs_then_a_median_per_setting() {
    let text = print(Format::Json);
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| row["row"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["machine", "run", "run", "run", "median", "median"]);
    assert_eq!(rows[1]["megabytes_per_second"], json!(1000.0));
    assert_eq!(rows[1]["server_cpu_seconds_per_gb"], json!(0.5));
    assert_eq!(rows[1]["durability"], json!("fdatasync"));
    assert_eq!(rows[3]["round"], json!(2));
    assert_eq!(rows[4]["rounds"], json!(2));
    let expected = json!({"median": 1500.0, "min": 1000.0, "max": 2000.0});
    assert_eq!(rows[4]["megabytes_per_second"], expected);
    assert_eq!(rows[5]["message_bytes"], json!(20));
}

#[test]
fn text_rows_name_the_setting_and_the_units() {
    let text = print(Format::Text);
    let median = text
        .lines()
        .find(|line| line.starts_with("median"))
        .unwrap();
    for part in [
        "bare_model produce",
        "direct, overwritten, fdatasync",
        "1500 (1000 to 2000) MB/s",
    ] {
        assert!(median.contains(part), "{part} is missing in: {median}");
    }
}

#[test]
fn latency_is_reported_in_microseconds() {
    let mut nanoseconds = Histogram::new(3).unwrap();
    for microseconds in 1..=100_u64 {
        nanoseconds.record(microseconds * 1000).unwrap();
    }
    let latency = figures(1.0).with_latency(&nanoseconds).latency_us.unwrap();
    assert!((latency.p50 - 50.0).abs() < 0.1, "p50={}", latency.p50);
    assert!((latency.max - 100.0).abs() < 0.1, "max={}", latency.max);
}
