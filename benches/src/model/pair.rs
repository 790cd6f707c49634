//! Server and client on this machine: all settings in turn, then again, so that each round compares
//! runs that lie seconds apart.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::client::Client;
use super::measure::{Measure, Workload};
use super::server_process::ServerProcess;
use crate::Result;
use crate::output;
use crate::report::Report;
use crate::round_file::{FileVariants, RoundFileOptions};

/// What to compare: every file variant gets a server process of its own in every round.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// How often each setting is measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// What to measure of each server.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "produce,latency"
    )]
    pub measure: Vec<Measure>,
    /// How the server's file is made and written.
    #[command(flatten)]
    pub variants: FileVariants,
    /// How much to send.
    #[command(flatten)]
    pub workload: Workload,
}

/// Measures the whole plan with servers started from `program`, this binary.
///
/// # Errors
/// The first one of any run; no figure is reported for that run.
pub async fn run<W: Write>(plan: &Plan, program: &Path, report: &mut Report<W>) -> Result<()> {
    let combinations = plan.variants.combinations();
    for round in 1..=plan.rounds {
        for options in &combinations {
            measure_server(plan, options, program, round, report).await?;
        }
    }
    Ok(())
}

async fn measure_server<W: Write>(
    plan: &Plan,
    options: &RoundFileOptions,
    program: &Path,
    round: u32,
    report: &mut Report<W>,
) -> Result<()> {
    let server = ServerProcess::start(program, options)?;
    let listening = server.listening();
    if listening.write != options.write {
        output::warn("the file system refuses direct writes: this run is buffered");
    }
    let mut client = Client::connect(listening.address).await?;
    plan.workload.warm_up(&mut client).await?;
    for measure in plan.measure.iter().copied() {
        for message_bytes in plan.workload.sizes(measure).iter().copied() {
            let (setting, figures) = plan
                .workload
                .measure(&mut client, measure, message_bytes, Some(server.pid()))
                .await?;
            // What is consumed comes from memory: no file had a part in it.
            let setting = match measure {
                Measure::Produce | Measure::Latency => setting.with_file(options, listening.write),
                Measure::Consume => setting,
            };
            report.add(round, setting, figures)?;
        }
    }
    Ok(())
}
