//! How long a broker takes to come back, at several sizes of its data folder.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use towpath_benches::host::Machine;
use towpath_benches::recovery::{self, Chart, DataFolder, Plan, Recovery};
use towpath_benches::report::{Format, Report};
use towpath_benches::{Error, Result, program};

#[derive(Debug, Parser)]
#[command(about = "Measure how long Towpath takes to come back after a kill and after a stop")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    plan: Plan,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(run(cli.plan, cli.output))
}

async fn run(plan: Plan, format: Format) -> Result<()> {
    let folder = DataFolder::create(&plan.dir, plan.room_bytes(), plan.keep)?;
    let machine = Machine::describe(Some(folder.path()))?;
    let mut report = Report::<_, Recovery>::start(std::io::stdout(), format, machine)?;
    recovery::run(&plan, &folder, &mut report).await?;
    let chart = Chart::of(report.runs()).to_string();
    report.finish()?;
    match &plan.svg {
        Some(path) => fs::write(path, chart).map_err(Error::io("write the chart")),
        None => Ok(()),
    }
}
