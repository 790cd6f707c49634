//! What topics cost that look at records, and how fast a key is read.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::process::ExitCode;

use clap::Parser;
use towpath_benches::Result;
use towpath_benches::keys::{self, KeysPlan};
use towpath_benches::program::{self, ROOM_BYTES};
use towpath_benches::report::Format;

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
    program::run(run(Cli::parse()))
}

async fn run(cli: Cli) -> Result<()> {
    let (folder, mut report) = program::prepare(&cli.plan.dir, ROOM_BYTES, cli.output)?;
    keys::run(&cli.plan, &folder, &mut report).await?;
    report.finish()
}
