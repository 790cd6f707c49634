//! The raw limits of this machine: appends with their sync, one loopback connection.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::host::Machine;
use towpath_benches::limits::{loopback, sync};
use towpath_benches::report::{Format, Report};
use towpath_benches::{Result, output};

#[derive(Debug, Parser)]
#[command(about = "Measure what Towpath's disk and loopback interface can do")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Append to a preallocated file and sync, one after the other.
    Sync(sync::SyncPlan),
    /// Send over one TCP connection.
    Loopback(loopback::LoopbackPlan),
}

fn main() -> ExitCode {
    output::exit_code(run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<()> {
    let dir = match &cli.command {
        Command::Sync(plan) => Some(plan.variants.dir.as_path()),
        Command::Loopback(_) => None,
    };
    let mut report = Report::start(std::io::stdout(), cli.output, Machine::describe(dir)?)?;
    match &cli.command {
        Command::Sync(plan) => sync::run(plan, &mut report)?,
        Command::Loopback(plan) => loopback::run(plan, &mut report)?,
    }
    report.finish()
}
