//! How the figures of a broker change while one thing grows.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use towpath_benches::growth::{self, Chart, GrowthPlan};
use towpath_benches::report::Format;
use towpath_benches::{Error, Result, program};

#[derive(Debug, Parser)]
#[command(about = "Measure how the figures of Towpath change while one thing grows")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    plan: GrowthPlan,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run(run(cli.plan, cli.output))
}

async fn run(plan: GrowthPlan, format: Format) -> Result<()> {
    let (folder, mut report) = program::prepare(&plan.dir, plan.room_bytes(), format)?;
    growth::run(&plan, &folder, &mut report).await?;
    let chart = Chart::of(report.runs()).to_string();
    report.finish()?;
    match &plan.svg {
        Some(path) => fs::write(path, chart).map_err(Error::io("write the chart")),
        None => Ok(()),
    }
}
