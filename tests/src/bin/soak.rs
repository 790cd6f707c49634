//! Everything at once, for an hour or as long as `SECONDS` says, while things go wrong.
//!
//! `cargo run --release -p towpath-tests --bin soak`: `SECONDS=n` (default 3600), `RATE=n` records a second
//! (1000), `SEED=n`, `DIR` a folder for the data (that of temporary files), `TOWPATH_BIN` another binary.
//! Exit code 1, and why on standard error, if something was lost, doubled or out of order, or if memory,
//! descriptors, open calls or the disk grow.
#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "what it finds is for people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use towpath_tests::setting::number;
use towpath_tests::soak::{self, SoakOptions};

const SECONDS: u64 = 3_600;
/// Enough for the broker to be killed a few times, and to live on.
const SECONDS_MIN: u64 = 20;
const RATE: u64 = 1_000;

fn main() -> ExitCode {
    let dir = std::env::var_os("DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let options = SoakOptions {
        duration: Duration::from_secs(number("SECONDS", SECONDS).max(SECONDS_MIN)),
        rate: number("RATE", RATE),
        seed: number("SEED", fastrand::u64(..)),
        dir,
    };
    let wrong = soak::run(&options);
    for what in &wrong {
        eprintln!("wrong: {what}");
    }
    match wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
