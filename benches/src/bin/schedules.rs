//! What many scheduled records cost, and how fast they come when they are overdue.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::Parser;
use towpath_benches::Result;
use towpath_benches::program::{self, ROOM_BYTES};
use towpath_benches::report::Format;
use towpath_benches::schedules::{self, SchedulesPlan};

#[derive(Debug, Parser)]
#[command(
    about = "Measure what many scheduled records cost, and how fast they come when they are overdue"
)]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    plan: SchedulesPlan,
}

fn main() -> ExitCode {
    program::run(run(Cli::parse()))
}

async fn run(cli: Cli) -> Result<()> {
    let (folder, mut report) = program::prepare(&cli.plan.dir, ROOM_BYTES, cli.output)?;
    schedules::run(&cli.plan, &folder, &mut report).await?;
    report.finish()
}
