use std::fs;

use super::*;
use crate::compare::testing::run;

fn job() -> Job {
    Job::new(Work::Produce, 1000)
}

fn card(version: &str) -> Card {
    Card {
        system: "other".to_owned(),
        class: Class::Fsync,
        version: version.to_owned(),
        settings: "none".to_owned(),
    }
}

#[test]
fn rates_and_costs_are_those_of_the_values() {
    let run = run(1, "other", Class::Fsync, &job(), 1_000_000);
    let close = |figure: Option<f64>, expected: f64| {
        assert!((figure.unwrap() - expected).abs() < 1e-9, "{run:?}");
    };
    close(Some(run.records_per_second), 1e6);
    close(Some(run.megabytes_per_second), 1000.0);
    close(run.server_cpu_seconds_per_gb, 0.25);
    close(run.server_cpu_us_per_record, 0.25);
}

#[test]
fn rows_are_read_as_they_were_printed_and_rounds_are_counted_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: &[Row]| {
        let path = dir.path().join(name);
        let lines = rows.iter().map(|row| serde_json::to_string(row).unwrap());
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        path
    };
    let of_round = |round| Row::Run(run(round, "other", Class::Fsync, &job(), 9));
    let left_out = Row::LeftOut(LeftOut {
        system: "iggy".to_owned(),
        class: None,
        work: Some(Work::Group),
        reason: "it is not there".to_owned(),
    });
    let first = file(
        "first",
        &[Row::System(card("1")), left_out, of_round(1), of_round(2)],
    );
    let second = file(
        "second",
        &[Row::System(card("1")), Row::System(card("2")), of_round(1)],
    );
    let rows = read(&[first, second]).unwrap();
    let rounds: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Run(run) => Some((run.round, run.done.records, run.job.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(rounds, [(1, 9, job()), (2, 9, job()), (3, 9, job())]);
    let versions: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            Row::System(card) => Some(card.version.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(versions, ["1", "2"], "each once");
    let left_out = rows.iter().find_map(|row| match row {
        Row::LeftOut(it) => Some(it.to_string()),
        _ => None,
    });
    assert_eq!(left_out.unwrap(), "iggy, group: it is not there");
}

#[test]
fn rows_of_medians_are_passed_over_and_others_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    fs::write(&path, r#"{"row":"median","system":"other"}"#).unwrap();
    assert!(read(std::slice::from_ref(&path)).unwrap().is_empty());
    fs::write(&path, "no row").unwrap();
    assert!(matches!(read(&[path]), Err(Error::Report(_))));
}
