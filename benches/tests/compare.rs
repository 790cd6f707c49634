//! The program as a person runs it, as far as it goes without a broker.

#![expect(clippy::expect_used, reason = "a test helper fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn run(flags: &[&str], dir: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    if let Some(dir) = dir {
        command
            .args(["--towpath", "/nonexistent/towpath", "--dir"])
            .arg(dir);
    }
    command.args(flags).output().expect("the program starts")
}

#[track_caller]
fn assert_fails(output: &Output, reason: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it did not fail");
    assert!(errors.contains(reason), "{errors}");
}

#[test]
fn a_program_that_cannot_be_started_is_told_and_no_folder_is_left() {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join("data");
    assert_fails(
        &run(&[], Some(&dir)),
        "/nonexistent/towpath cannot be started",
    );
    assert!(!dir.exists(), "the folder stays");
}

#[test]
fn a_folder_that_is_in_use_is_refused_and_not_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("FORMAT"), "x").expect("a file");
    assert_fails(&run(&[], Some(dir.path())), "is not empty");
    assert!(dir.path().join("FORMAT").exists(), "it was removed");
}

#[test]
fn earlier_rows_give_a_table_and_a_chart() {
    let dir = tempfile::tempdir().expect("a folder");
    let (rows, chart) = (dir.path().join("rows"), dir.path().join("chart.svg"));
    let row = |system: &str, class: &str, records: u32| {
        format!(
            "{{\"row\":\"run\",\"round\":1,\"system\":\"{system}\",\"class\":\"{class}\",\"work\":\"produce\",\
             \"size_bytes\":100,\"clients\":1,\"records\":{records},\"seconds\":1,\
             \"records_per_second\":{records},\"megabytes_per_second\":1,\"steal_percent\":0,\"others_percent\":0}}"
        )
    };
    let lines = [
        row("towpath", "fsync", 300),
        row("kafka", "page-cache", 100),
    ]
    .join("\n");
    std::fs::write(&rows, lines).expect("rows");
    let paths = [
        rows.to_str().expect("a path"),
        chart.to_str().expect("a path"),
    ];
    let output = run(&["--from", paths[0], "--svg", paths[1]], None);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("produce 100 B") && text.contains("3.00 (3.00 to 3.00)"),
        "{text}"
    );
    assert!(
        std::fs::read_to_string(&chart)
            .expect("a chart")
            .contains("Towpath is 3.00 x as fast")
    );
}
