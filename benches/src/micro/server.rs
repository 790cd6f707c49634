//! What a record costs the whole broker, in instructions and allocations: the real binary under
//! callgrind, with a small load and a larger one. The difference is that of the records between.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use tempfile::TempDir;

use super::callgrind::{Counts, check, counts_option};
use super::rows::{ServerCost, ServerSetting};
use crate::broker_process::BrokerProcess;
use crate::recovery::Stop;
use crate::report::Report;
use crate::{Error, Result};

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct ServerPlan {
    /// The program that is measured, for example `target/release/towpath`.
    #[arg(long)]
    pub towpath: PathBuf,
    /// Records of a load, and of a pass over them.
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub records: u32,
    /// Keep what callgrind has counted in this folder, for `callgrind_annotate`.
    #[arg(long)]
    pub keep: Option<PathBuf>,
}

/// A load that can be small and larger.
#[derive(Debug, Clone, Copy)]
struct Load {
    work: &'static str,
    size: &'static str,
    size_bytes: u32,
}

const LOADS: [Load; 4] = [
    Load::new("produce", "1KiB", 1024),
    Load::new("produce", "100", 100),
    Load::new("consume", "1KiB", 1024),
    Load::new("consume", "100", 100),
];

/// How often as much the larger load is.
const TIMES: u32 = 4;

impl Load {
    const fn new(work: &'static str, size: &'static str, size_bytes: u32) -> Self {
        Self {
            work,
            size,
            size_bytes,
        }
    }

    /// Arguments of `towpath bench` for a load so many times as large.
    fn arguments(self, records: u32, times: u32) -> Vec<String> {
        let (records, passes) = match self.work {
            "consume" => (records, times),
            _ => (records * times, 1),
        };
        let mut arguments = vec![
            self.work.to_owned(),
            format!("--records={records}"),
            format!("--size={}", self.size),
            // Nobody is to wait long for a broker that is fifty times as slow as it is.
            "--in-flight-bytes=1MiB".to_owned(),
        ];
        if self.work == "consume" {
            arguments.extend(["--from=tail".to_owned(), format!("--passes={passes}")]);
        }
        arguments
    }
}

/// Measures all loads.
///
/// # Errors
/// [`Error::Refused`] without valgrind; the first one of any run.
pub async fn run<W: Write>(plan: &ServerPlan, report: &mut Report<W, ServerCost>) -> Result<()> {
    check().await?;
    if let Some(keep) = &plan.keep {
        std::fs::create_dir_all(keep).map_err(Error::io("make the folder for counts"))?;
    }
    for load in LOADS {
        let small = count(plan, load, 1).await?;
        let large = count(plan, load, 1 + TIMES).await?;
        let records = u64::from(plan.records) * u64::from(TIMES);
        let setting = ServerSetting::new(load.work, load.size_bytes, records);
        report.add(1, setting, setting.cost(small, large))?;
    }
    Ok(())
}

/// What a life of the broker with one load takes.
async fn count(plan: &ServerPlan, load: Load, times: u32) -> Result<Counts> {
    let folder = TempDir::new().map_err(Error::io("make a data folder"))?;
    let file = format!("{}-{}-{times}", load.work, load.size);
    let counts = match &plan.keep {
        Some(keep) => keep.join(file),
        None => folder.path().join(file),
    };
    let data_dir = folder.path().join("data");
    let option = counts_option(&counts);
    let broker = BrokerProcess::start_counted(&plan.towpath, &data_dir, &[&option]).await?;
    let arguments = load.arguments(plan.records, times);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    broker.bench(&plan.towpath, &arguments).await?;
    broker.end(Stop::Terminate).await?;
    Counts::read(&counts)
}
