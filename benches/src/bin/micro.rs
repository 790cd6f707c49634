//! What the steps of the way of a batch cost, in instructions and allocations.
//!
//! `docs/benchmarks.md` says how to run it and what its rows mean.

use std::io::stdout;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use towpath_benches::Result;
use towpath_benches::allocations::CountingAllocator;
use towpath_benches::host::Machine;
use towpath_benches::micro::{self, MicroPlan, ServerPlan};
use towpath_benches::report::{Format, Report};
use towpath_benches::{output, program};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[derive(Debug, Parser)]
#[command(about = "Count instructions and allocations of single steps of the way of a batch")]
struct Cli {
    /// How rows are printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    measured: Measured,
}

#[derive(Debug, Subcommand)]
enum Measured {
    /// Measure steps, each in a process of its own under valgrind.
    Steps(MicroPlan),
    /// Measure what a record costs the whole broker, which runs under valgrind.
    Server(ServerPlan),
    /// What such a process does.
    #[command(hide = true)]
    Call {
        /// Name of the step.
        subject: String,
        /// Name of the shape.
        shape: String,
        /// Batches.
        calls: usize,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.measured {
        Measured::Steps(plan) => program::run(steps(plan, cli.output)),
        Measured::Server(plan) => program::run(server(plan, cli.output)),
        Measured::Call {
            subject,
            shape,
            calls,
        } => output::exit_code(micro::call(&subject, &shape, calls, &mut stdout())),
    }
}

async fn steps(plan: MicroPlan, format: Format) -> Result<()> {
    let mut report = Report::start(stdout(), format, Machine::describe(None)?)?;
    micro::run(&plan, &mut report).await?;
    report.finish()
}

async fn server(plan: ServerPlan, format: Format) -> Result<()> {
    let mut report = Report::start(stdout(), format, Machine::describe(None)?)?;
    micro::run_server(&plan, &mut report).await?;
    report.finish()
}
