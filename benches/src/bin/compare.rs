//! Towpath beside Kafka, NATS, Redis, Iggy, the bare model and the raw limits, in turn.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use towpath_benches::compare::{self, Chart, Comparison, Plan};
use towpath_benches::recovery::DataFolder;
use towpath_benches::report::Format;
use towpath_benches::{Error, Result, output};

#[derive(Debug, Parser)]
#[command(
    about = "Measure Towpath beside other brokers",
    after_help = "Examples:
  compare --towpath target/release/towpath --dir DIR
  compare --towpath target/release/towpath --dir DIR --work produce --peers model,kafka --rounds 1
  compare --from monday.jsonl tuesday.jsonl --svg both.svg"
)]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    plan: Plan,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::run(run(&cli.plan, cli.output))
}

async fn run(plan: &Plan, format: Format) -> Result<()> {
    let mut report = Comparison::new(std::io::stdout(), format);
    match &plan.dir {
        None => compare::read(plan, &mut report)?,
        Some(dir) => {
            let folder = DataFolder::create(dir, plan.room_bytes(), false)?;
            let dir = fs::canonicalize(folder.path()).map_err(Error::io("find the folder"))?;
            // What is given up leaves neither a server nor a folder.
            tokio::select! {
                measured = Box::pin(compare::run(plan, &dir, &mut report)) => measured?,
                _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted),
            }
        }
    }
    let medians = report.finish()?;
    match &plan.svg {
        Some(path) => {
            fs::write(path, Chart::of(&medians).to_string()).map_err(Error::io("write the chart"))
        }
        None => Ok(()),
    }
}
