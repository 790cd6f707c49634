//! How fast a consumer group heals, and what it costs when it rests.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::io::Stdout;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::groups::{self, BrokerPlan, IdlePlan, TakeoverPlan};
use towpath_benches::host::Machine;
use towpath_benches::recovery::DataFolder;
use towpath_benches::report::{Format, Measured, Report};
use towpath_benches::{Error, Result, output};

/// The broker's journal, and what it leaves free before it refuses to write.
const ROOM_BYTES: u64 = 2 << 30;

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
    output::run(run(&cli.command, cli.output))
}

async fn run(command: &Command, format: Format) -> Result<()> {
    // What is given up leaves neither a broker nor a folder.
    tokio::select! {
        measured = Box::pin(measure(command, format)) => measured,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

async fn measure(command: &Command, format: Format) -> Result<()> {
    match command {
        Command::Takeover(plan) => {
            let (folder, mut report) = prepare(&plan.broker, format)?;
            groups::measure_takeover(plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Idle(plan) => {
            let (folder, mut report) = prepare(&plan.broker, format)?;
            groups::measure_idle(plan, &folder, &mut report).await?;
            report.finish()
        }
    }
}

fn prepare<M: Measured>(
    plan: &BrokerPlan,
    format: Format,
) -> Result<(DataFolder, Report<Stdout, M>)> {
    let folder = DataFolder::create(&plan.dir, ROOM_BYTES, false)?;
    let machine = Machine::describe(Some(folder.path()))?;
    let report = Report::start(std::io::stdout(), format, machine)?;
    Ok((folder, report))
}
