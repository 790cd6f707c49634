//! What durable subscriptions cost: when they rest, with records in flight, and beside one that waits.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::io::Stdout;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::host::Machine;
use towpath_benches::recovery::DataFolder;
use towpath_benches::report::{Format, Measured, Report};
use towpath_benches::subscriptions::{self, BrokerPlan, IdlePlan, InFlightPlan, WaitingPlan};
use towpath_benches::{Error, Result, output};

/// The broker's journal, and what it leaves free before it refuses to write.
const ROOM_BYTES: u64 = 2 << 30;

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
    let outcome = tokio::runtime::Runtime::new()
        .map_err(Error::io("start the runtime"))
        .and_then(|runtime| runtime.block_on(run(&cli.command, cli.output)));
    output::exit_code(outcome)
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
        Command::InFlight(plan) => {
            let (folder, mut report) = prepare(&plan.broker, format)?;
            subscriptions::measure_in_flight(plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Idle(plan) => {
            let (folder, mut report) = prepare(&plan.broker, format)?;
            subscriptions::measure_idle(plan, &folder, &mut report).await?;
            report.finish()
        }
        Command::Waiting(plan) => {
            let (folder, mut report) = prepare(&plan.broker, format)?;
            subscriptions::measure_waiting(plan, &folder, &mut report).await?;
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
