use super::*;
use crate::compare::rows::LeftOut;
use crate::compare::testing::run;
use crate::compare::work::Class;

fn print(rows: Vec<Row>, format: Format) -> String {
    let mut sink = Vec::new();
    let mut report = Comparison::new(&mut sink, format);
    for row in rows {
        report.add(row).unwrap();
    }
    report.finish().unwrap();
    String::from_utf8(sink).unwrap()
}

fn runs(job: &Job) -> Vec<Row> {
    let run = |system, class, figure| Row::Run(run(1, system, class, job, figure));
    vec![
        run("towpath", Class::Fsync, 3000),
        run("other", Class::PageCache, 1500),
    ]
}

#[test]
fn every_figure_says_its_class_and_its_unit() {
    let text = print(runs(&Job::new(Work::Produce, 1024)), Format::Text);
    let table: Vec<_> = text
        .lines()
        .skip_while(|line| *line != "produce 1 KiB")
        .collect();
    for (line, parts) in [
        (
            1,
            ["acked when in", "records/s", "server s CPU/GB", "others %"],
        ),
        (2, ["towpath", "fsync", "3000 (3000 to 3000)", "3.1"]),
        (
            3,
            [
                "other",
                "page cache",
                "1500 (1500 to 1500)",
                "2.00 (2.00 to 2.00)",
            ],
        ),
    ] {
        for part in parts {
            assert!(
                table[line].contains(part),
                "{part} is missing in {}",
                table[line]
            );
        }
    }
    let text = print(runs(&Job::new(Work::Latency, 1024)), Format::Text);
    assert!(
        text.contains("p50 us") && text.contains("server us CPU/record"),
        "{text}"
    );
}

#[test]
fn what_is_left_out_is_said_once() {
    let left_out = || {
        Row::LeftOut(LeftOut {
            system: "redis".to_owned(),
            class: Some(Class::Fsync),
            work: Some(Work::Group),
            reason: "it has none".to_owned(),
        })
    };
    let text = print(vec![left_out(), left_out()], Format::Text);
    assert_eq!(text, "left out: redis (fsync), group: it has none\n");
}

#[test]
fn json_rows_name_work_class_and_figures() {
    let text = print(runs(&Job::new(Work::Produce, 1024)), Format::Json);
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 4, "two runs, two medians");
    assert_eq!(rows[1]["class"], "page-cache");
    assert_eq!(rows[1]["work"], "produce");
    assert_eq!(rows[3]["row"], "median");
    assert_eq!(rows[3]["towpath_times_as_fast"]["median"], 2.0);
}
