//! The program as a person runs it, as far as it goes without a broker.

#![expect(clippy::expect_used, reason = "a test helper fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn run(dir: &Path, flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_growth"))
        .args(["--towpath", "/nonexistent/towpath", "--dir"])
        .arg(dir)
        .args(flags.split_whitespace())
        .output()
        .expect("the program starts")
}

#[track_caller]
fn assert_fails(output: &Output, reason: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it did not fail");
    assert!(errors.contains(reason), "{errors}");
}

#[test]
fn a_disk_without_room_for_the_largest_step_is_refused() {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join("data");
    let output = run(&dir, "--curve stored --steps 1MiB,1000000GiB");
    assert_fails(&output, "has no room");
    assert!(!dir.exists(), "the folder stays");
}

#[test]
fn a_program_that_cannot_be_started_is_told_and_no_folder_is_left() {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join("data");
    let output = run(&dir, "--curve clients --steps 1 --rounds 1 --records 1");
    assert_fails(&output, "start the broker");
    assert!(!dir.exists(), "the folder stays");
}
