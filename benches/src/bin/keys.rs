//! What topics cost that look at records, and how fast a key is read.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::Parser;
use towpath_benches::host::Machine;
use towpath_benches::keys::{self, KeysPlan};
use towpath_benches::recovery::DataFolder;
use towpath_benches::report::{Format, Report};
use towpath_benches::{Error, Result, output};

/// The broker's journal, and what it leaves free before it refuses to write.
const ROOM_BYTES: u64 = 2 << 30;

#[derive(Debug, Parser)]
#[command(about = "Measure what topics cost that look at records, and how fast a key is read")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    plan: KeysPlan,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::runtime::Runtime::new()
        .map_err(Error::io("start the runtime"))
        .and_then(|runtime| runtime.block_on(run(&cli)));
    output::exit_code(outcome)
}

async fn run(cli: &Cli) -> Result<()> {
    // What is given up leaves neither a broker nor a folder.
    tokio::select! {
        measured = Box::pin(measure(cli)) => measured,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    }
}

async fn measure(cli: &Cli) -> Result<()> {
    let folder = DataFolder::create(&cli.plan.dir, ROOM_BYTES, false)?;
    let machine = Machine::describe(Some(folder.path()))?;
    let mut report = Report::start(std::io::stdout(), cli.output, machine)?;
    keys::run(&cli.plan, &folder, &mut report).await?;
    report.finish()
}
