//! What an append with its sync costs, one after the other, by size and kind of file.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use hdrhistogram::Histogram;

use crate::host::Meter;
use crate::report::{Figures, Report, Setting};
use crate::round_file::{FileVariants, RoundFile, RoundFileOptions};
use crate::size::parse_bytes;
use crate::{Error, Result, output, payload};

/// Which appends to time.
#[derive(Debug, Clone, Args)]
pub struct SyncPlan {
    /// How often each setting is measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Bytes of one append, at most 4 MiB.
    #[arg(long = "size", value_parser = parse_bytes, value_delimiter = ',', default_value = "4KiB,64KiB,1MiB")]
    pub append_bytes: Vec<usize>,
    /// Appends of one run.
    #[arg(long, default_value_t = 500)]
    pub count: u64,
    /// How the file is made and written.
    #[command(flatten)]
    pub variants: FileVariants,
}

/// Measures every variant with every size, all in turn and then again.
///
/// # Errors
/// Those of the file system and of the report.
pub fn run<W: Write>(plan: &SyncPlan, report: &mut Report<W>) -> Result<()> {
    let combinations = plan.variants.combinations();
    for round in 1..=plan.rounds {
        for options in &combinations {
            for append_bytes in &plan.append_bytes {
                let (setting, figures) = measure(options, *append_bytes, plan.count)?;
                report.add(round, setting, figures)?;
            }
        }
    }
    Ok(())
}

/// Appends, each with its sync.
///
/// # Errors
/// Those of the file system.
pub(crate) fn measure(
    options: &RoundFileOptions,
    append_bytes: usize,
    count: u64,
) -> Result<(Setting, Figures)> {
    let mut file = RoundFile::create(options.clone()).map_err(Error::io("make the file"))?;
    if file.write_mode() != options.write {
        output::warn("the file system refuses direct writes: this run is buffered");
    }
    let filler = payload::region();
    let pieces = filler.chunks_exact(append_bytes).cycle();
    let mut nanoseconds = Histogram::<u64>::new(3)?;
    let meter = Meter::start(None)?;
    for (piece, _) in pieces.zip(0..count) {
        let start = Instant::now();
        file.append(&[piece]).map_err(Error::io("append"))?;
        nanoseconds.record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))?;
    }
    let figures = Figures::new(count, append_bytes, meter.stop()?).with_latency(&nanoseconds);
    let setting = Setting::new("raw_limits sync", append_bytes);
    Ok((setting.with_file(options, file.write_mode()), figures))
}
