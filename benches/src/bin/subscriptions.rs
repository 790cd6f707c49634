//! What durable subscriptions cost: when they rest, with records in flight, and beside one that waits.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::Result;
use towpath_benches::program::{self, ROOM_BYTES};
use towpath_benches::report::Format;
use towpath_benches::subscriptions::{self, IdlePlan, InFlightPlan, WaitingPlan};

#[derive(Debug, Parser)]
#[command(
    about = "Measure what durable subscriptions cost: at rest, with records in flight, beside one that waits"
)]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What records cost that consumers have.
    InFlight(InFlightPlan),
    /// What subscriptions cost that nothing happens in.
    Idle(IdlePlan),
    /// What a record costs the others that waits for an hour.
    Waiting(WaitingPlan),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(measure(cli.command, cli.output))
}

async fn measure(command: Command, format: Format) -> Result<()> {
    match command {
        Command::InFlight(plan) => {
            let (folder, mut report) = program::prepare(&plan.broker.dir, ROOM_BYTES, format)?;
            subscriptions::measure_in_flight(&plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Idle(plan) => {
            let (folder, mut report) = program::prepare(&plan.broker.dir, ROOM_BYTES, format)?;
            subscriptions::measure_idle(&plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Waiting(plan) => {
            let (folder, mut report) = program::prepare(&plan.broker.dir, ROOM_BYTES, format)?;
            subscriptions::measure_waiting(&plan, &folder, &mut report).await?;
            report.finish()
        }
    }
}
