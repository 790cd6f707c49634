//! How fast a consumer group heals, and what it costs when it rests.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::Result;
use towpath_benches::groups::{self, IdlePlan, TakeoverPlan};
use towpath_benches::program::{self, ROOM_BYTES};
use towpath_benches::report::Format;

#[derive(Debug, Parser)]
#[command(about = "Measure how fast a consumer group heals, and what it costs when it rests")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How long partitions are without an owner when a member goes.
    Takeover(TakeoverPlan),
    /// What members cost that have nothing to do.
    Idle(IdlePlan),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(measure(cli.command, cli.output))
}

async fn measure(command: Command, format: Format) -> Result<()> {
    match command {
        Command::Takeover(plan) => {
            let (folder, mut report) = program::prepare(&plan.broker.dir, ROOM_BYTES, format)?;
            groups::measure_takeover(&plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Idle(plan) => {
            let (folder, mut report) = program::prepare(&plan.broker.dir, ROOM_BYTES, format)?;
            groups::measure_idle(&plan, &folder, &mut report).await?;
            report.finish()
        }
    }
}
